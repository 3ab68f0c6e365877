"""Ways to answer a question: each one function from the models to a graph over messages."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langgraph_speceyes.bench.cascade import RULE_OF_THUMB, create_cascade
from langgraph_speceyes.bench.compositions import OPEN
from langgraph_speceyes.bench.specreason import SpecReasonModel
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.graph import create_speceyes
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.looks import Look
from langgraph_speceyes.prompts import Prompts
from langgraph_speceyes.scoring import Gate, check_score, uncalibrated_on_purpose
from langgraph_speceyes.state import Order


@dataclass(frozen=True)
class Models:
    """What methods are made of.

    Attributes:
        speculator: The small model ``M_S``.
        large: The large model ``M_L``, which judges; None if the agent's model is not known, and nothing is judged.
        agent: The compiled agent over messages.
        gate: Score, K, thresholds.
        prompts: Instructions of the front end.
        agent_over: The same agent over another model; None if it cannot be made.
        judging: Whether the bypass has a judge.
        order: Whether the judge or the speculator comes first.
        policy: Which images may be loaded.
        looks: What the small model is shown before it answers again; of the bypass only.
    """

    speculator: BaseChatModel
    large: BaseChatModel | None
    agent: Runnable[Any, Any]
    gate: Gate
    prompts: Prompts
    agent_over: Callable[[BaseChatModel], Runnable[Any, Any]] | None = None
    judging: bool = True
    order: Order = "judge_first"
    policy: ImagePolicy = DEFAULT_POLICY
    looks: tuple[Look, ...] = ()

    def with_looks(self, count: int) -> Models:
        """The same with the first looks only, and the gate's thresholds for these.

        Raises:
            ArgumentError: There are fewer.
        """
        if not 0 <= count <= len(self.looks):
            raise ArgumentError("looks", f"0 to {len(self.looks)}", count)
        return replace(self, looks=self.looks[:count], gate=self.gate.of_looks(count))


Method = Callable[[Models], Runnable[Any, Any]]
"""Takes `{"messages": [question]}`; the last message it returns is the answer. A `decision` beside it is recorded."""


def agent(models: Models) -> Runnable[Any, Any]:
    """The agent alone."""
    return models.agent


def speculator(models: Models) -> Runnable[Any, Any]:
    """The small model alone; what it leaves empty stays unanswered."""
    silent: Runnable[Any, Any] = RunnableLambda(lambda _: {"messages": [AIMessage("")]})
    gate = replace(models.gate.of_looks(0), threshold=OPEN, judge_threshold=None, calibration=None)
    with uncalibrated_on_purpose():
        graph = create_speceyes(
            silent, speculator=models.speculator, gate=gate, prompts=models.prompts, policy=models.policy
        )
    return graph.compile(name="speculator")


def speceyes(models: Models) -> Runnable[Any, Any]:
    """The bypass in front of the agent; with looks also behind a gate that was calibrated without any."""
    gate = replace(models.gate, calibration=None) if models.looks and models.gate.depths is None else models.gate
    with uncalibrated_on_purpose():
        graph = create_speceyes(
            models.agent,
            speculator=models.speculator,
            judge=models.large if models.judging else None,
            gate=gate,
            prompts=models.prompts,
            order=models.order,
            policy=models.policy,
            looks=models.looks,
        )
    return graph.compile(name="speceyes")


def judge_only(models: Models) -> Runnable[Any, Any]:
    """The bypass without a gate and looks: where the judge needs no tools, the speculator's answer is returned.

    Raises:
        ArgumentError: There is no judge.
    """
    if models.large is None or not models.judging:
        raise ArgumentError("method", "models with a judge for 'judge-only'", "none")
    gate = replace(models.gate.of_looks(0), threshold=OPEN, calibration=None)
    with uncalibrated_on_purpose():
        graph = create_speceyes(
            models.agent,
            speculator=models.speculator,
            judge=models.large,
            gate=gate,
            prompts=models.prompts,
            policy=models.policy,
        )
    return graph.compile(name="judge-only")


def cascade(models: Models) -> Runnable[Any, Any]:
    """A plain cascade without a judge (:func:`~langgraph_speceyes.bench.cascade.create_cascade`).

    Its threshold is that of a gate for the score `log`; with another gate it is a rule of thumb.
    """
    return create_cascade(
        models.agent,
        models.speculator,
        threshold=_log_gate(models.gate).threshold,
        prompts=models.prompts,
        policy=models.policy,
    ).compile(name="cascade")


def _log_gate(gate: Gate) -> Gate:
    """A gate for the cascade's score: what was chosen for another one, or for answers after a look, says nothing."""
    if gate.score == "log" and gate.first_look != "always":
        return gate
    return replace(gate.of_looks(0), score="log", threshold=RULE_OF_THUMB, judge_threshold=None, calibration=None)


def specreason(models: Models) -> Runnable[Any, Any]:
    """The agent with each step drafted by the small model and rated by the large one; options change nothing.

    Raises:
        ArgumentError: The large model is not known, or no agent can be made over another model.
    """
    if models.large is None or models.agent_over is None:
        missing = "large" if models.large is None else "agent_over"
        raise ArgumentError("method", "models with large and agent_over for 'specreason'", f"no {missing}")
    return models.agent_over(SpecReasonModel(small=models.speculator, large=models.large))


METHODS: dict[str, Method] = {
    "agent": agent,
    "speculator": speculator,
    "speceyes": speceyes,
    "judge-only": judge_only,
    "cascade": cascade,
    "specreason": specreason,
}
"""The methods by name."""

_OPTIONS = ("gate", "score", "threshold", "k", "judge", "judge_threshold", "order", "looks")
_OWN_OPTIONS = {"cascade": ("gate", "threshold"), "judge-only": ("gate", "judge_threshold")}


def build(spec: str, models: Models) -> Runnable[Any, Any]:
    """The graph of a method as the command names it.

    Args:
        spec: A name of :data:`METHODS` or the dotted name of a function of yours (`package.module.function`), then
            after a colon, separated by commas, what differs from `models`: `gate=FILE`, `score=mean` (with a
            `threshold`, for a threshold is of one score), `threshold=0.9`, `k=32`, `judge=off`, `judge_threshold=0.3`,
            `order=speculate_first`, `looks=0` (how many of the looks); of `cascade` `gate` and `threshold`, of
            `judge-only` `gate` and `judge_threshold`.
        models: The models.

    Raises:
        ArgumentError: The method or an option is unknown, its value is out of range, or another score has no threshold.
    """
    name, _, rest = spec.partition(":")
    known = _OWN_OPTIONS.get(name, _OPTIONS)
    options = dict(_option(part, spec, known) for part in rest.split(",") if part)
    if name == "cascade" and "gate" in options and _log_gate(own := Gate.load(options["gate"])) is not own:
        found = "answers after a look" if own.score == "log" else own.score
        raise ArgumentError("gate", "a gate for the score log, the cascade's", f"one for {found}")
    if name == "cascade":
        models = replace(models, gate=_log_gate(models.gate))
    make, given = _method(name), _changed(models, options)
    try:
        inspect.signature(make).bind(given)
    except (TypeError, ValueError) as error:
        raise ArgumentError("method", "a function that takes the models", f"{name}: {error}") from None
    graph = make(given)
    if not isinstance(graph, Runnable):
        raise ArgumentError("method", "a function that returns a compiled graph", f"{name}: {type(graph).__name__}")
    return graph


def _method(name: str) -> Method:
    if name in METHODS:
        return METHODS[name]
    if "." not in name:
        known = ", ".join(METHODS)
        raise ArgumentError("method", f"one of {known}, or the dotted name of a function", repr(name))
    return named(name, "method")


def named(name: str, argument: str) -> Callable[..., Any]:
    """The function of a dotted name.

    Raises:
        ArgumentError: There is none.
    """
    module, _, function = name.rpartition(".")
    if "" not in sys.path and (here := os.getcwd()) not in sys.path:
        # a command is started by its own folder, and a module of the user's lies beside where it is started
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), function) if module else None
    except (ImportError, AttributeError) as error:
        raise ArgumentError(argument, "the dotted name of a function", f"{name!r} ({error})") from None
    if not callable(found):
        raise ArgumentError(argument, "the dotted name of a function", repr(name))
    return found  # type: ignore[no-any-return]


def _option(text: str, spec: str, known: Sequence[str]) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if key not in known or not equals:
        raise ArgumentError("method", f"options {', '.join(known)}, each with =value", f"{text!r} in {spec!r}")
    return key, value


def _changed(models: Models, options: Mapping[str, str]) -> Models:
    models = replace(models, gate=Gate.load(options["gate"])) if "gate" in options else models
    if "looks" in options:
        count = int(_number("looks", options["looks"], int))
        if not count and models.gate.first_look == "always" and "threshold" not in options:
            found = "looks=0; the gate's thresholds are for answers after the first look"
            raise ArgumentError("method", "threshold= beside it", found)
        models = models.with_looks(count)
    gate = models.gate
    changes: dict[str, Any] = {}
    if "score" in options:
        changes["score"] = check_score(options["score"])
        if changes["score"] != gate.score and "threshold" not in options:
            found = f"score={changes['score']} alone; the gate's {gate.threshold:g} is for {gate.score!r}"
            raise ArgumentError("method", "threshold= beside another score=", found)
    for key in ("threshold", "k", "judge_threshold"):
        if key in options:
            changes[key] = _number(key, options[key], int if key == "k" else float)
    judge = options.get("judge", "on")
    if judge not in ("on", "off"):
        raise ArgumentError("judge", "on or off", repr(judge))
    if changes or (judge == "off" and gate.judge_threshold is not None):
        # what it was calibrated for no longer holds
        gate = replace(gate, calibration=None, **changes)
    order: Any = options.get("order", models.order)  # create_speceyes checks it
    return replace(models, gate=gate, judging=models.judging and judge == "on", order=order)


def _number(key: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise ArgumentError(key, "a whole number" if kind is int else "a number", repr(text)) from None
