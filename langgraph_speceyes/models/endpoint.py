"""What a model's endpoint can do, and what follows from it; :mod:`~langgraph_speceyes.models.probing` finds it out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from langchain_core.messages import AIMessage
from pydantic import BaseModel

from langgraph_speceyes.scoring.odds import LEAST_CANDIDATES

__all__ = ["Endpoint", "Verdict", "at_endpoint", "listed_tokens", "model_name", "stated_limit"]

_AT_URL = re.compile(r"(?P<name>.+?)@(?P<url>https?://.+)", re.IGNORECASE | re.DOTALL)

_ABOUT = re.compile(r"logprobs|top_n_tokens", re.IGNORECASE)
_LIMITS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # vLLM, also with its later endings
        r"logprobs of -?\d+, which is greater than max allowed: (\d+)",
        # a range in brackets: DashScope, DeepSeek, Gemini
        r"range\b[^\[\]]{0,80}\[\s*-?\d+\s*,\s*(\d+)\s*\]",
        # OpenAI, Azure, TGI, xAI and servers that check with pydantic
        r"(?:less than or equal to|<=|at most|no more than|up to|between \d+ and|max(?:imum)?(?: value)?(?: of| is)?:?)"
        r" ?(\d+)",
    )
)

Verdict = Literal["yes", "ignored", "refused"]
"""`ignored`: accepted without an error, and without any effect."""


@dataclass(frozen=True)
class Endpoint:
    """What a model's endpoint can do.

    Attributes:
        model: The model's name.
        url: Where it is, where that is known.
        asked: Candidates asked for (K).
        k: Candidates it returned for every token: the largest K of a gate over it; 0 without any.
        limit: The most `top_logprobs` it gives, if fewer than asked.
        logprobs: Whether it returns log-probabilities.
        raw_logits: What it calls log-probabilities are raw logits (vLLM's `--logprobs-mode raw_logits`).
        images: Whether it takes images in user messages.
        tool_images: Whether it takes them in messages of role `tool`.
        tools: Whether it takes tools.
        continues: Whether it goes on with an open turn of the model (`continue_final_message`), images within it
            included, as the protocol Thyme needs it.
        requests: Requests this took.
        said: Its own words on what it refused, by the name of the attribute.
        image_tokens: Tokens that it counted for an image of 1400 x 1000 pixels beyond those of one of 112 x 112; None
            where no rule was asked about, or nothing is counted.
        rule_tokens: The same by the rule that was asked about.
    """

    model: str
    url: str | None
    asked: int
    k: int
    limit: int | None
    logprobs: Verdict
    raw_logits: bool
    images: Verdict
    tool_images: Verdict
    tools: Verdict
    continues: Verdict
    requests: int
    said: dict[str, str] = field(default_factory=dict)
    image_tokens: int | None = None
    rule_tokens: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it, and the advice, as JSON can hold it."""
        return {**asdict(self), "advice": self.advice()}

    def rows(self) -> list[tuple[str, str]]:
        """What was found, a line each: what was looked at, and how it is."""
        verdicts: list[tuple[str, Verdict, str]] = [
            ("logprobs", self.logprobs, "logprobs"),
            ("images in user messages", self.images, "images"),
            ("images in tool messages", self.tool_images, "tool_images"),
            ("tools", self.tools, "tools"),
            ("going on with a turn", self.continues, "continues"),
        ]
        lines = [(name, verdict + self._words(verdict, key)) for name, verdict, key in verdicts]
        if self.logprobs == "yes":
            of = f"of {self.asked} asked for" + ("" if self.limit is None else f", the limit is {self.limit}")
            values = "raw logits, not log-probabilities" if self.raw_logits else "log-probabilities"
            lines[1:1] = [("candidates a token (K)", f"{self.k} {of}"), ("their values", values)]
        if self.rule_tokens is not None:
            counted = "not counted" if self.image_tokens is None else f"{self.image_tokens} tokens more"
            lines.append(("a larger image", f"{counted}, {self.rule_tokens} by the rule"))
        return lines

    def advice(self) -> list[str]:
        """What follows, in plain words, the most important first."""
        lines = [self._about_k()]
        if self.raw_logits:
            lines.append(
                "The values are raw logits: the scores that compare candidates hold, the score `log` does not; "
                "start vLLM without --logprobs-mode raw_logits for all of them."
            )
        if self.images != "yes":
            lines.append(f"Images are {self.images}: it can neither answer nor judge questions about images.")
        elif self.tool_images != "yes":
            lines.append(
                f"Images in tool messages are {self.tool_images}: as the agent's model give it "
                "NativeProtocol(images_in_user_message=True), or protocol='deepeyes'."
            )
        if self.tools != "yes":
            lines.append(
                f"Tools are {self.tools}: as the agent's model give it protocol='deepeyes', or start vLLM with "
                "--enable-auto-tool-choice --tool-call-parser NAME."
            )
        if self.images == "yes" and self.continues != "yes":
            lines.append(
                f"Going on with a turn that holds images is {self.continues}: it cannot be the model of an agent of "
                "the protocol 'thyme'; vLLM with --chat-template-content-format openai can."
            )
        if self.rule_tokens is not None and self.image_tokens != self.rule_tokens:
            lines.append(
                "Images are not resized by the rule, as far as can be told: 'resized' coordinates would be off. Give "
                "ResizeRule(factor, min_pixels, max_pixels) of its preprocessor_config.json and --mm-processor-kwargs."
            )
        return lines

    def describe(self) -> str:
        """All of it as text."""
        width = max(len(name) for name, _ in self.rows())
        found = [f"{name:<{width}}  {how}" for name, how in self.rows()]
        return "\n".join([self.name, *found, *self.advice()])

    @property
    def name(self) -> str:
        """The model and where it is."""
        return f"{self.model} at {self.url}" if self.url else self.model

    def _words(self, verdict: Verdict, key: str) -> str:
        return f": {self.said[key]}" if verdict == "refused" and key in self.said else ""

    def _about_k(self) -> str:
        if self.logprobs != "yes":
            return (
                f"Logprobs are {self.logprobs}: it can be neither speculator nor judge, only the agent's model; "
                "vLLM returns them."
            )
        if self.k < LEAST_CANDIDATES:
            if self.raw_logits:
                return f"K = {self.k}: too few raw logits to compare, so it cannot be the speculator."
            return (
                f"K = {self.k}: too few to compare, so as the speculator it needs a gate of the score `log`, "
                f"Gate(score='log', k={self.k}); vLLM returns more."
            )
        if self.k < self.asked:
            return (
                f"K = {self.k}: give the gate k={self.k} (`odds` keeps its threshold, the paper's scores must be "
                f"calibrated at that K), or start vLLM with --max-logprobs {self.asked}."
            )
        return f"K = {self.k}: a gate with k={self.k} can be used as it is."


def listed_tokens(message: AIMessage) -> list[dict[str, Any]] | None:
    """The tokens that a model's message lists with their log-probabilities; None where it lists none.

    Returns:
        `response_metadata["logprobs"]["content"]`, in the layout of OpenAI's chat completions. LiteLLM's class keeps
        objects there.
    """
    found = message.response_metadata.get("logprobs")
    if isinstance(found, BaseModel):
        found = found.model_dump()
    content = found.get("content") if isinstance(found, Mapping) else None
    return None if content is None else list(content)


def model_name(model: object) -> str | None:
    """What a model is called, where it says so."""
    for attribute in ("model_name", "model", "model_id"):
        if isinstance(found := getattr(model, attribute, None), str):
            return found
    return None


def at_endpoint(name: str) -> tuple[str, str | None]:
    """The parts of `NAME@URL`; a name that has no endpoint of its own, and None."""
    found = _AT_URL.fullmatch(name)
    return (found["name"], found["url"]) if found else (name, None)


def stated_limit(text: str) -> int | None:
    """The most `top_logprobs` a server gives, as its refusal of more says; None where it does not say."""
    if not _ABOUT.search(text):
        return None
    return next((int(found[1]) for pattern in _LIMITS if (found := pattern.search(text))), None)
