"""What a local model gets: caches or not and why, tools and their form, thoughts, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from langgraph_speceyes.images import ResizeRule
from langgraph_speceyes.models.engine import Engine
from langgraph_speceyes.models.limits import batches
from langgraph_speceyes.models.rendering import Fallback, Renderer
from langgraph_speceyes.models.resizing import processor_name, rule_of

__all__ = ["Capabilities"]


@dataclass(frozen=True)
class Capabilities:
    """What a local model can do, and how it is run.

    Attributes:
        model: The model's name.
        family: Its kind, as transformers names it.
        device: Where it runs.
        dtype: Type of its weights.
        attention: How attention is computed, as transformers names it.
        cached: Whether prompts share prefixes and images, and calls join a running batch; else each batch is generated
            as a whole.
        plain_because: Why not; empty where they do.
        batched: Whether calls share forward passes; else each is generated alone.
        tools: Where tools are shown: by the chat template, in a system text (for templates that show none), or not at
            all, which is an error.
        calls: The form in which the model's tool calls are read.
        thinking: Whether the prompt for an answer begins a thought or asks for one: always, unless `template_options`
            turn it off, or if they turn it on.
        system: Whether the template shows system prompts, beside images too; else they go before the first question.
        alternates: Whether turns of one role that follow each other are put together for it.
        context: Most tokens of prompt and answer; None where the checkpoint does not say.
        resize: The rule by which its processor resizes images; None for one without a known rule.
        processor: The image processor's class.
        image_tokens: Most tokens of one image; None without a known rule.
    """

    model: str
    family: str
    device: str
    dtype: str
    attention: str
    cached: bool
    plain_because: str
    batched: bool
    tools: str
    calls: str
    thinking: str
    system: bool
    alternates: bool
    context: int | None
    resize: ResizeRule | None
    processor: str
    image_tokens: int | None

    @property
    def images(self) -> int | None:
        """Most images of the largest size in one prompt; None where that is not known."""
        if self.context is None or self.image_tokens is None:
            return None
        return self.context // self.image_tokens

    @property
    def _plain(self) -> str:
        return "plain" if self.batched else "plain, one call at a time"

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {**asdict(self), "images": self.images}

    def rows(self) -> list[tuple[str, str]]:
        """What there is, a line each: what was looked at, and how it is."""
        images = "any number" if self.images is None else f"{self.images} of the largest size"
        if self.image_tokens is not None:
            images += f", {self.image_tokens} tokens each at most"
        rule = "resized by the processor alone: no 'resized' coordinates"
        if self.resize is not None:
            rule = f"{self.resize.kind}'s rule, sides in multiples of {self.resize.factor} pixels"
        return [
            ("kind", self.family),
            ("runs", f"on {self.device} in {self.dtype}, attention {self.attention}"),
            ("path", "cached" if self.cached else f"{self._plain}: {self.plain_because}"),
            ("tools", f"{self.tools}, calls read as {self.calls}"),
            ("thinking", self.thinking),
            ("system prompts", "shown" if self.system else "put before the first question"),
            ("roles", "put together where they do not alternate" if self.alternates else "as they come"),
            ("context", "not stated" if self.context is None else f"{self.context} tokens"),
            ("images a prompt", images),
            ("image sizes", f"{self.processor}: {rule}"),
        ]

    def line(self) -> str:
        """The most important in one line."""
        path = "cached" if self.cached else f"{self._plain} ({self.plain_because})"
        return (
            f"{self.model}: {self.family} on {self.device} in {self.dtype}, {path}; tools {self.tools}, "
            f"thinking {self.thinking}, context {self.context or 'not stated'}"
        )

    def describe(self) -> str:
        """All of it as text."""
        width = max(len(name) for name, _ in self.rows())
        return "\n".join([self.model, *(f"{name:<{width}}  {how}" for name, how in self.rows())])


def found(
    name: str, engine: Engine, renderer: Renderer, fallback: Fallback, options: Mapping[str, Any]
) -> Capabilities:
    """Look at a loaded model.

    Args:
        name: What it is called.
        engine: Runs it.
        renderer: Writes its prompts.
        fallback: What becomes of tools that its template does not show.
        options: Variables that its template is given.
    """
    model = engine.model
    text = model.config.get_text_config(decoder=True)
    facts, rule = renderer.facts, rule_of(renderer.processor)
    tools = "by the template" if renderer.shows_tools else "an error" if fallback == "error" else "in a system text"
    thinking = "always" if facts.thinking else "no"
    if facts.switch:
        thinking = "unless enable_thinking is False" if facts.thinking else "if enable_thinking is True"
        if (asked := options.get("enable_thinking")) is not None:
            thinking = "turned on" if asked else "turned off"
    return Capabilities(
        model=name,
        family=model.config.model_type,
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        attention=str(getattr(text, "_attn_implementation", None) or "of its own"),
        cached=engine.decoder is not None,
        plain_because=engine.plain_because,
        batched=engine.decoder is not None or batches(model.config),
        tools=tools,
        calls=renderer.calls_as,
        thinking=thinking,
        system=facts.system,
        alternates=facts.alternates,
        context=engine.context,
        resize=rule,
        processor=processor_name(getattr(renderer.processor, "image_processor", None)),
        image_tokens=None if rule is None else _most_tokens(rule),
    )


def _most_tokens(rule: ResizeRule) -> int:
    frames = 2 if rule.kind == "glm" else 1
    return max(1, rule.max_pixels // frames // rule.factor**2)
