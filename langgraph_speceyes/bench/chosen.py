"""Which models answer, as a person names them: on the command line, or in `speceyes.toml`."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from langgraph_speceyes.agent import AgentProtocol, GrowingProtocol
from langgraph_speceyes.agent.visual import PROTOCOLS
from langgraph_speceyes.bench.looks import PAIR, named_looks
from langgraph_speceyes.bench.methods import Models, named
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.looks import Look
from langgraph_speceyes.models.endpoint import at_endpoint, model_name
from langgraph_speceyes.scoring import Gate, resolve_gate
from langgraph_speceyes.testbed.code_agent import load_code_pair
from langgraph_speceyes.testbed.looks import embedded_looks
from langgraph_speceyes.testbed.pair import AGENT_NAME, GATE, LOOKS_GATE, PROMPTS, SPECULATOR_NAME, Pair, load_pair

CONFIG = "speceyes.toml"
"""Read from the working directory, if it is there."""
_NAMES = ("speculator", "agent", "judge", "base_url", "agent_prompt", "protocol", "coordinates", "resize")
"""What names models and says how they are called, in the place of which `models` stands."""
_PROVIDER = re.compile(r"[a-z][a-z0-9_]+:[^\\/]")


@dataclass(frozen=True)
class Chosen:
    """Which models answer; without a name, the embedded pair.

    A model is named as `NAME@URL` behind an OpenAI-compatible endpoint, or by its name alone where `base_url` says
    where all of them are; as LangChain names it (`openai:gpt-5-mini`); or as a hub id or a folder, which runs in this
    process.

    Attributes:
        models: Dotted name of a function that returns :class:`~langgraph_speceyes.bench.methods.Models`, in the place
            of names of models, and of how they are called.
        speculator: The small model.
        agent: The agent's model, which also judges.
        judge: The model that judges, where it is another one.
        base_url: The endpoint of models that are named without one.
        api_key_env: Environment variable that holds the endpoints' key; the default is `OPENAI_API_KEY`.
        protocol: How the agent's model calls tools: `native`, `deepeyes` or `thyme`.
        agent_prompt: File with the words that the agent's model was trained with, as
            :meth:`~langgraph_speceyes.agent.ThymeProtocol.from_file` reads it.
        coordinates: What its boxes count.
        resize: The family, such as `qwen2.5-vl`, whose rule an endpoint's processor follows, for `resized` coordinates.
        gate: Gate file; the default is the function's, the embedded pair's own, or an uncalibrated one.
        batch_size: Most calls in one forward pass of a local model.
        look: What the small model is shown before it answers again, a depth each, as
            :func:`~langgraph_speceyes.bench.looks.named_looks` names it.
    """

    models: str | None = None
    speculator: str | None = None
    agent: str | None = None
    judge: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    protocol: str = "native"
    agent_prompt: Path | None = None
    coordinates: str = "absolute"
    resize: str | None = None
    gate: Path | None = None
    batch_size: int = 16
    look: tuple[str, ...] = ()

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the choice from a TOML file whose keys are the attributes, paths counted from its folder.

        Raises:
            ArgumentError: It is no TOML, or a key or value is not one of these.
        """
        try:
            found = tomllib.loads(path.read_text("utf-8-sig"))
        except (OSError, ValueError) as error:
            raise ArgumentError(path.name, "a TOML file", error) from None
        kinds: dict[str, type] = {"batch_size": int, "look": list}
        known = {field.name: kinds.get(field.name, str) for field in fields(cls)}
        for key, value in found.items():
            if key not in known:
                raise ArgumentError(path.name, f"the keys {', '.join(known)}", key)
            if type(value) is not known[key]:
                raise ArgumentError(f"{path.name}: {key}", known[key].__name__, repr(value))
        for key in ("gate", "agent_prompt"):
            if key in found:
                found[key] = path.parent / found[key]
        found["look"] = tuple(map(str, found.get("look", ())))
        return cls(**found)

    def changed(self, options: Mapping[str, Any]) -> Self:
        """The same with what a command line gives; None is nothing given."""
        given = {key: value for key, value in options.items() if value is not None and value != []}
        given |= {"look": tuple(given["look"])} if "look" in given else {}
        # a function that returns models, and names of models, are two ways: the command line's is the one that is meant
        ways = ({"models"}, set(_NAMES))
        if len([way for way in ways if way & set(given)]) == 1:
            (other,) = (way for way in ways if not way & set(given))
            given |= {key: value for key, value in asdict(type(self)()).items() if key in other}
        return replace(self, **given)

    @property
    def embedded(self) -> bool:
        """Whether the embedded pair answers."""
        return self.models is None and self.speculator is None and self.agent is None

    @property
    def _served(self) -> bool:
        """Whether the embedded pair answers behind an endpoint: it understands the words it was trained on alone."""
        names = [(name or "").partition("@")[0] for name in (self.speculator, self.agent)]
        return names == [SPECULATOR_NAME, AGENT_NAME]

    def _pair(self, small: Any, large: BaseChatModel) -> Pair:
        return Pair(small, large, Gate.load(GATE) if self.gate is None else resolve_gate(self.gate))

    def load(self) -> Models:
        """Make the models, with their looks.

        Raises:
            ArgumentError: A model is missing or cannot be made, or the function returns something else.
            GateMismatchError: The gate was calibrated for other models.
            MissingExtraError: What a model or look needs is not installed.
        """
        found = self._models()
        if not self.look:
            return found
        looks = named_looks(self.look, found.speculator, _trained_looks(found))
        own = self.gate is None and self.look == (PAIR,) and found.prompts is PROMPTS
        return replace(found, looks=looks, gate=Gate.load(LOOKS_GATE) if own else found.gate)

    def _models(self) -> Models:
        if self.models is not None:
            if beside := self._said(_NAMES):
                raise ArgumentError("models", f"no --{beside} beside it", self.models)
            found = made(self.models, "models")
            if not isinstance(found, Models):
                raise ArgumentError("models", "a function that returns bench.methods.Models", type(found).__name__)
            return replace(found, gate=resolve_gate(self.gate)) if self.gate else found
        if (self.speculator is None) != (self.agent is None):
            given, missing = ("speculator", "agent") if self.agent is None else ("agent", "speculator")
            raise ArgumentError(missing, f"a model beside --{given}, or neither for the embedded pair", "none")
        chosen = resolve_gate(self.gate)
        if self.speculator is None or self.agent is None:
            if beside := self._said(_NAMES):
                raise ArgumentError("speculator", f"a model, and --agent, beside --{beside}", "none")
            return self._embedded()
        from langgraph_speceyes import create_visual_agent
        from langgraph_speceyes.prompts import Prompts

        large = self._model("agent", self.agent)
        judge = large if self.judge is None else self._model("judge", self.judge)
        small = self._model("speculator", self.speculator)
        if self._served:
            return replace(embedded_models(self._pair(small, large)), large=judge)

        speaks = self.speaks()

        def agent(over: BaseChatModel) -> Runnable[Any, Any]:
            resize = self.resize or getattr(large, "resize_rule", None)
            looking = create_visual_agent(over, protocol=speaks, coordinates=self.coordinates, resize=resize)
            return looking.compile(name="agent")

        return Models(small, judge, agent(large), chosen, Prompts(), agent)

    def _said(self, keys: Sequence[str]) -> str | None:
        """The option of the first of these that has been given; None where all are as they are without a word."""
        plain = type(self)()
        return next((key.replace("_", "-") for key in keys if getattr(self, key) != getattr(plain, key)), None)

    def speaks(self) -> str | AgentProtocol | GrowingProtocol:
        """How the agent's model calls tools: the protocol's name, or one with the words of the file.

        Raises:
            ArgumentError: The file cannot be used.
        """
        if self.agent_prompt is None or self.protocol not in PROTOCOLS:
            return self.protocol
        return PROTOCOLS[self.protocol].from_file(self.agent_prompt)

    def _model(self, role: str, name: str) -> BaseChatModel:
        name, url = at_endpoint(name)
        if url := url or self.base_url:
            from langgraph_speceyes.models.hosted import hosted_model, key_from

            # as it was scored: the likeliest tokens
            return hosted_model(name, base_url=url, api_key=key_from(self.api_key_env), temperature=0.0)
        if _PROVIDER.match(name) and not Path(name).exists():
            from langgraph_speceyes.models.given import resolve_model

            model = resolve_model(role, name)
            assert isinstance(model, BaseChatModel), "names are resolved to chat models"
            return model
        from langgraph_speceyes import LocalChatModel

        try:
            return LocalChatModel.from_pretrained(name, max_batch=self.batch_size)
        except ArgumentError as error:
            if error.argument != "model_id":
                raise
            expected = f"{error.expected}; or NAME@URL, or --base-url, for a model behind an endpoint"
            raise ArgumentError(role, expected, error.found) from error

    def _embedded(self) -> Models:
        pair = load_pair(max_batch=self.batch_size)
        import torch

        # a forward pass of models this small is over before a second thread has begun
        torch.set_num_threads(1)
        return embedded_models(replace(pair, gate=resolve_gate(self.gate)) if self.gate else pair)


def _trained_looks(models: Models) -> Sequence[Look] | None:
    """The looks that the embedded pair was trained on, where its speculator is the one that answers."""
    if model_name(models.speculator) != SPECULATOR_NAME:
        return None
    return embedded_looks(models.speculator)


def embedded_models(pair: Pair) -> Models:
    """What methods are made of, from the embedded pair."""

    def agent(model: BaseChatModel) -> Runnable[Any, Any]:
        return replace(pair, large=model).agent().compile(name="agent")

    return Models(pair.speculator, pair.large, agent(pair.large), pair.gate, pair.prompts, agent)


def embedded_code_models() -> Models:
    """The embedded speculator in front of the agent that writes code, with the pair's looks.

    `speceyes eval --models langgraph_speceyes.bench.chosen.embedded_code_models`.
    """
    import torch

    pair = load_code_pair()
    torch.set_num_threads(1)
    return replace(embedded_models(pair), looks=pair.looks, gate=pair.looks_gate)


def embedded_models_with_worse_judge() -> Models:
    """The embedded pair behind a judge that errs on purpose (:func:`~langgraph_speceyes.testbed.worse.worse_judge`).

    `speceyes eval --models langgraph_speceyes.bench.chosen.embedded_models_with_worse_judge`: the judge's own errors
    are so rare that no table shows what the gate does about them.
    """
    from langgraph_speceyes.testbed.worse import worse_judge

    pair = load_pair()
    judge: Any = pair.large
    return replace(embedded_models(pair), large=worse_judge(judge))


def made(function: str, argument: str) -> Any:
    """What a function of the user's returns.

    Raises:
        ArgumentError: There is no such function, or it wants arguments.
    """
    make = named(function, argument)
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        expected = "a function that can be called without arguments"
        raise ArgumentError(argument, expected, f"{function}: {error}") from None
    return make()
