"""A gate that opens itself: the settings that users pass as `gate=`."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from langgraph_speceyes.calibration.detector import Detector
from langgraph_speceyes.calibration.opening import OPENING_GRID, Opening
from langgraph_speceyes.calibration.watched import AUDIT_FLOOR, WatchedOpening
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.traffic.journal import Journal

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

__all__ = ["DEADLINE", "OpeningEvent", "SelfOpening"]

DEADLINE = 600.0
"""Seconds that a question's audit or comparison is waited for."""


@dataclass(frozen=True, slots=True)
class SelfOpening:
    """A gate that begins shut, in shadow, and opens downwards as evidence from its own traffic allows.

    Promised, with probability ``confidence``, at every moment of a start: at most ``max_loss`` of all questions get an
    answer that differs from the agent's. The page *A gate that opens itself* says what that rests on. With looks the
    promise is one over all depths, which open together, at one threshold.

    Attributes:
        max_loss: The limit, a share of all questions, strictly between 0 and 1.
        confidence: How surely it is kept, strictly between 0 and 1.
        journal: Where the evidence is: a path, a journal, LangGraph's store; None for the graph's own journal.
        score: Which answer score is compared.
        k: Candidates per token behind it.
        judge_threshold: From which probability of "needs tools" on a question goes to the agent; None leaves it to
            the judge.
        audit: What the share of accepted answers that are audited falls to, in (0, 1].
        deadline: Seconds after which a question whose answers were not compared counts as differing.
        false_alarms: How probable it is that the detector closes the gate without a cause, within its horizon.
        horizon: The detector's horizon, in audits.
        grid: Thresholds to open along, set down without looking at outcomes; None for those of
            :data:`~langgraph_speceyes.calibration.opening.OPENING_GRID`.

    Raises:
        ArgumentError: An attribute is out of its range; the error names it.
    """

    max_loss: float = 0.02
    confidence: float = 0.9
    journal: str | os.PathLike[str] | Journal | BaseStore | None = None
    score: str = "odds"
    k: int = 20
    judge_threshold: float | None = None
    audit: float = AUDIT_FLOOR
    deadline: float = DEADLINE
    false_alarms: float = 0.05
    horizon: int = 2000
    grid: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check every attribute."""
        if self.grid is not None:
            object.__setattr__(self, "grid", tuple(float(one) for one in self.grid))
        number = isinstance(self.deadline, int | float) and not isinstance(self.deadline, bool)
        if not number or not 0 < self.deadline < float("inf"):
            raise ArgumentError("deadline", "seconds above 0", repr(self.deadline))
        audit = self.audit
        if isinstance(audit, bool) or not isinstance(audit, int | float) or not 0 < audit <= 1:
            raise ArgumentError("audit", "a share in (0, 1]", repr(audit))
        self.fresh()
        score: Any = self.score
        Gate(score, 0.5, self.k, judge_threshold=self.judge_threshold)

    def fresh(self, depths: int = 1) -> WatchedOpening:
        """The state without evidence.

        Args:
            depths: How many answers a question may have: one, and one for each look.
        """
        grid = OPENING_GRID if self.grid is None else self.grid
        return WatchedOpening(
            Opening(self.max_loss, self.confidence, grid=grid, depths=depths),
            Detector(self.max_loss, false_alarms=self.false_alarms, horizon=self.horizon),
            floor=self.audit,
        )

    def gate(self, threshold: float) -> Gate:
        """The gate at a threshold."""
        how = {"method": "self_opening", "max_loss": self.max_loss, "confidence": self.confidence}
        score: Any = self.score
        return Gate(score, threshold, self.k, judge_threshold=self.judge_threshold, calibration=how)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON, without the journal."""
        values = asdict(replace(self, journal=None))
        return values | {"grid": None if self.grid is None else list(self.grid)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SelfOpening:
        """The settings whose :meth:`to_dict` this is.

        Raises:
            ArgumentError: They are none.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ArgumentError("values", "the settings of a gate that opens itself", str(error)) from error


EventName = Literal["opened", "lowered", "warned", "closed", "reset", "reopened"]


class OpeningEvent(TypedDict):
    """Something that happened to the gate.

    Attributes:
        event: ``"opened"``, ``"lowered"``; ``"warned"`` and ``"closed"`` by the detector; ``"reset"`` and
            ``"reopened"`` by a person.
        at: When the question that led to it was asked, or when a person acted; seconds since the epoch.
        start: Which start it belongs to.
        questions: Questions of that start until then.
        threshold: The threshold from then on; None while shut.
        level: The detector's level.
        reason: Why, in words.
    """

    event: EventName
    at: float
    start: int
    questions: int
    threshold: float | None
    level: float
    reason: str
