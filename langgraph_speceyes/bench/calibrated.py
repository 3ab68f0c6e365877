"""What calibration finds: a gate, the promise it rests on, and how it does on the questions at hand."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from langgraph_speceyes.calibration import Guarantee
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.state import Order


@dataclass(frozen=True)
class Tried:
    """A composition on the half that is for choosing.

    Attributes:
        name: The composition's.
        threshold: Found for it there; None where nothing could be certified.
        accepted: Share of the half's questions it accepts.
        loss: Share it loses, as the labels count it.
        speedup: Mean seconds of the agent over its own.
        order: The faster order of the phases; None without a judge.
        taken: Whether it was chosen.
    """

    name: str
    threshold: float | None
    accepted: float
    loss: float
    speedup: float
    order: Order | None
    taken: bool


@dataclass(frozen=True)
class AtDepth:
    """The gate at one depth.

    Attributes:
        depth: From 0, the answer without a look.
        look: What tells its look from others; None at depth 0.
        threshold: Its own.
        accepted: Share of all questions that it answers.
        loss: Share of all questions that it loses, as the labels count it.
    """

    depth: int
    look: str | None
    threshold: float
    accepted: float
    loss: float


@dataclass(frozen=True)
class Loss:
    """The gate on the questions of one group.

    Attributes:
        value: The column's value.
        questions: How many.
        accepted: Share of them it accepts.
        loss: Share of them it loses, as the labels count it.
        promise: Whether the gate's promise holds for this group by itself.
        threshold: The lowest that would keep it here; None without one, or where no promise was asked for.
        least: Questions it takes to certify anything here; 0 where no promise was asked for.
    """

    value: str
    questions: int
    accepted: float
    loss: float
    promise: bool
    threshold: float | None
    least: int


@dataclass(frozen=True)
class Calibrated:
    """A gate and how it would have done on the questions it was found on.

    Attributes:
        gate: The gate; None when no threshold keeps the promise.
        guarantee: What is promised; None by the paper's way, which promises nothing.
        questions: How many it rests on.
        accepted: Share the speculator would have answered.
        accuracy: Share right at the gate; None where not every question has labels.
        agent_accuracy: The agent's share right on the same questions; None likewise.
        speedup: Mean latency of the agent over that of the bypass, by the recorded times.
        composition: Judge, depths and score in words; None without looks.
        depths: The gate by depth; empty without looks.
        labels: Which questions had labels.
        differing: Questions that may be accepted and whose answers differ; 0 with all labels.
        labelled: Those of them with a label.
        needed: Labels that would take the threshold further down, for the next step alone.
        by: The column that losses are shown by.
        losses: The gate by that column.
        tried: Compositions that were compared on the other half.
        order: The faster order of the phases; None without a judge, and by the paper's way.
        left_out: Questions that do not count, by the reason.
    """

    gate: Gate | None
    guarantee: Guarantee | None
    questions: int
    accepted: float
    accuracy: float | None
    agent_accuracy: float | None
    speedup: float
    labels: str = "all"
    differing: int = 0
    labelled: int = 0
    needed: int = 0
    by: str | None = None
    losses: tuple[Loss, ...] = ()
    tried: tuple[Tried, ...] = ()
    order: Order | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    composition: str | None = None
    depths: tuple[AtDepth, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        without = () if self.composition else ("composition", "depths")
        return {
            "threshold": self.gate.threshold if self.gate else None,
            "score": self.gate.score if self.gate else None,
            "judge_threshold": self.gate.judge_threshold if self.gate else None,
            "guarantee": self.guarantee.to_dict() if self.guarantee else None,
            **{name: value for name, value in asdict(self).items() if name not in ("gate", "guarantee", *without)},
        }
