"""The settings of one run: the graph's own, and what LangGraph's context or `configurable` changes for this run."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.config import get_config
from langgraph.runtime import get_runtime
from typing_extensions import TypedDict

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.state import MODES, Mode, RunSettings

LONGEST_GROUP = 200


class SpecEyesContext(TypedDict, total=False):
    """What a run's context, or its `configurable`, may set: for an assistant, an A/B test, an operator.

    Attributes:
        speceyes_mode: ``"on"``, ``"shadow"`` or ``"off"``.
        speceyes_threshold: The gate's threshold, strictly between 0 and 1.
        speceyes_judge_threshold: The judge's, strictly between 0 and 1.
        speceyes_audit: Share of accepted answers that the agent answers again, 0 to 1.
        speceyes_group: A name for the kind of question, by which the journal can be read.
    """

    speceyes_mode: Mode | None
    speceyes_threshold: float | None
    speceyes_judge_threshold: float | None
    speceyes_audit: float | None
    speceyes_group: str | None


KEYS = tuple(SpecEyesContext.__annotations__)


@dataclass(frozen=True)
class Standing:
    """What a gate that opens itself allows now.

    Attributes:
        threshold: From which score on answers are accepted; None while it is shut.
        audit_rate: Share of accepted answers that the agent must answer again.
        shut: Why it is shut; None where it is open.
    """

    threshold: float | None
    audit_rate: float
    shut: str | None


class RunReader:
    """Reads the settings of the run under way.

    Args:
        mode: The graph's mode.
        gate: The graph's gate.
        judge_threshold: The judge's threshold; None without a judge.
        audit_rate: Share of accepted answers that the agent answers again.
        standing: What a gate that opens itself allows now; None for a gate with a threshold of its own.
    """

    def __init__(
        self,
        mode: Mode,
        gate: Gate,
        judge_threshold: float | None,
        audit_rate: float = 0.0,
        standing: Callable[[], Standing] | None = None,
    ) -> None:
        self.mode, self.gate, self.judge_threshold = mode, gate, judge_threshold
        self.audit_rate, self.standing = audit_rate, standing

    def __call__(self) -> RunSettings:
        """The settings of this run.

        Raises:
            ArgumentError: One that the run sets is out of its range, or has no use in this graph.
            GateMismatchError: The gate was calibrated behind a judge with another threshold.
        """
        given = _given()
        mode: Mode = given.get("speceyes_mode") or self.mode
        if mode not in MODES:
            raise ArgumentError("speceyes_mode", f"one of {', '.join(MODES)}", repr(mode))
        threshold, audit_rate, shut = self._threshold(given.get("speceyes_threshold"))
        if (own := given.get("speceyes_audit")) is not None:
            audit_rate = check_share("speceyes_audit", own)
        if mode == "on" and threshold is None:
            mode = "shadow"
        return RunSettings(
            mode=mode,
            threshold=threshold,
            judge_threshold=self._judge(given.get("speceyes_judge_threshold")),
            audit_rate=audit_rate,
            audited=mode == "on" and random.random() < audit_rate,
            group=_group(given.get("speceyes_group")),
            shut=shut,
        )

    def _threshold(self, own: Any) -> tuple[float | None, float, str | None]:
        if self.standing is None:
            at = self.gate.threshold if own is None else check_probability("speceyes_threshold", own)
            return at, self.audit_rate, None
        if own is not None:
            raise ArgumentError("speceyes_threshold", "none beside a gate that opens itself", own)
        standing = self.standing()
        return standing.threshold, max(self.audit_rate, standing.audit_rate), standing.shut

    def _judge(self, own: Any) -> float | None:
        if own is None:
            return self.judge_threshold
        if self.judge_threshold is None:
            raise ArgumentError("speceyes_judge_threshold", "none in a graph without a judge", own)
        at = check_probability("speceyes_judge_threshold", own)
        self.gate.check_settings(judge_threshold=at)
        return at


def check_probability(argument: str, value: object) -> float:
    """A number strictly between 0 and 1, as a plain float.

    Raises:
        ArgumentError: It is something else.
    """
    number = _number(value)
    if number is None or not 0 < number < 1:
        raise ArgumentError(argument, "a number strictly between 0 and 1", repr(value))
    return number


def check_share(argument: str, value: object) -> float:
    """A number from 0 to 1, as a plain float.

    Raises:
        ArgumentError: It is something else.
    """
    number = _number(value)
    if number is None or not 0 <= number <= 1:
        raise ArgumentError(argument, "a number from 0 to 1", repr(value))
    return number


def _number(value: object) -> float | None:
    if isinstance(value, bool | str | bytes):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _group(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= LONGEST_GROUP):
        found = f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
        raise ArgumentError("speceyes_group", f"a name of 1 to {LONGEST_GROUP} characters", found)
    return value


def _given() -> dict[str, Any]:
    """What the run sets, its context before its config."""
    try:
        configurable: Mapping[str, Any] = get_config().get("configurable") or {}
    except RuntimeError:
        # outside of any graph
        return {}
    runtime: Any = get_runtime() if "__pregel_runtime" in configurable else None
    context = getattr(runtime, "context", None)
    found = {}
    for key in KEYS:
        value = context.get(key) if isinstance(context, Mapping) else getattr(context, key, None)
        found[key] = configurable.get(key) if value is None else value
    return found
