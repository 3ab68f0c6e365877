"""An opening under the watch of a detector: what is in force for the next question, and when it closes again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from langgraph_speceyes.calibration.detector import Detector
from langgraph_speceyes.calibration.opening import Opening
from langgraph_speceyes.errors import ArgumentError

__all__ = ["AUDIT_FLOOR", "FULL_AUDIT", "Event", "Terms", "WatchedOpening", "audit_rate"]

#: Share of accepted answers that is audited in the long run.
AUDIT_FLOOR = 0.1

#: Questions after the opening that may all be audited at most, while there is more to open.
FULL_AUDIT = 4000

# There is more to open while this much more than now is in reach.
_MORE = 1.1

# Questions at the full rate once there is not; the rate then falls as 1 over their number.
_HELD = 200

Event = Literal["opened", "lowered", "warned", "closed"]


class Terms(NamedTuple):
    """What is in force for a question; to be fixed before it is seen.

    Attributes:
        threshold: Scores from here on are accepted; None while shut.
        rate: Share of accepted answers to audit; 1 while shut.
        start: How often the evidence has begun anew.
    """

    threshold: float | None
    rate: float
    start: int


def audit_rate(since: int, quiet: int, floor: float = AUDIT_FLOOR) -> float:
    """The audit rate: full while there is more to open, then falling to its floor.

    Evidence at rate r grows about r times as fast, and what is not opened costs far more than audits. Once little is in
    reach, the rate falls as ``200 / quiet``, so that doubling the questions adds the same number of audits again.

    Args:
        since: Questions since the opening, >= 0.
        quiet: Those of them at which little more was in reach, >= 0.
        floor: What it falls to.

    Returns:
        The rate, from ``floor`` to 1.
    """
    return max(floor, min(1.0, _HELD / max(quiet, since - FULL_AUDIT, 1)))


class WatchedOpening:
    """An :class:`Opening`, the audit rate that follows from it, and a :class:`Detector` that closes it.

    When the detector alarms, the evidence so far is discarded and everything begins anew, shut. The promise of an
    opening is for each start.

    Args:
        opening: The evidence; fresh.
        detector: The watch; fresh, with the opening's limit.
        floor: What the audit rate falls to, in (0, 1].
        start: Which start this is.

    Raises:
        ArgumentError: An argument is out of its range.
    """

    def __init__(self, opening: Opening, detector: Detector, *, floor: float = AUDIT_FLOOR, start: int = 1) -> None:
        if isinstance(floor, bool) or not isinstance(floor, int | float) or not 0 < floor <= 1:
            raise ArgumentError("floor", "a number in (0, 1]", repr(floor))
        self.opening, self.detector, self.floor, self.start = opening, detector, float(floor), start
        self._since = self._quiet = 0

    @property
    def terms(self) -> Terms:
        """What is in force for the next question: a function of the questions before it alone."""
        threshold = self.opening.threshold
        return Terms(
            threshold, 1.0 if threshold is None else audit_rate(self._since, self._quiet, self.floor), self.start
        )

    def observe(
        self,
        score: float | Sequence[float | None] | None,
        differs: bool | Sequence[bool | None] | None = None,
        *,
        rate: float = 1.0,
        accepted: bool = False,
        audited: bool = True,
    ) -> Event | None:
        """Take in one question; arguments as in :meth:`Opening.observe`.

        Returns:
            What it has led to. After ``"closed"`` nothing more is to be observed: go on with :meth:`begin_anew`.

        Raises:
            ArgumentError: An argument is out of its range.
        """
        before, warned = self.opening.threshold, self.detector.warned
        loss = self.opening.observe(score, differs, rate=rate, accepted=accepted, audited=audited)
        after = self.opening.threshold
        if before is not None:
            self._since += 1
            self._quiet += self.opening.reachable < _MORE * self.opening.accepted
            self.detector.observe(loss, rate=rate)
            if self.detector.alarmed:
                return "closed"
        if after != before:
            return "opened" if before is None else "lowered"
        return "warned" if self.detector.warned and not warned else None

    def begin_anew(self, *, keep: bool = False) -> WatchedOpening:
        """The next start.

        Args:
            keep: Whether the evidence is kept, and with it the threshold; only the detector is fresh then.
        """
        opening, detector = self.opening.to_dict(), self.detector.to_dict()
        fresh = Opening(
            opening["max_loss"],
            opening["confidence"],
            grid=opening["grid"],
            fractions=opening["fractions"],
            depths=self.opening.depths,
        )
        watch = Detector(
            detector["max_loss"],
            false_alarms=detector["false_alarms"],
            horizon=detector["horizon"],
            lambdas=detector["lambdas"],
        )
        kept = Opening.from_dict(opening) if keep else fresh
        anew = WatchedOpening(kept, watch, floor=self.floor, start=self.start + 1)
        anew._since, anew._quiet = (self._since, self._quiet) if keep else (0, 0)
        return anew

    def to_dict(self) -> dict[str, Any]:
        """The state as plain JSON; :meth:`from_dict` goes on from it to the last bit."""
        return {
            "start": self.start,
            "floor": self.floor,
            "since": self._since,
            "quiet": self._quiet,
            "opening": self.opening.to_dict(),
            "detector": self.detector.to_dict(),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> WatchedOpening:
        """The one whose :meth:`to_dict` this is.

        Raises:
            ArgumentError: It is none.
        """
        try:
            opening, detector = Opening.from_dict(state["opening"]), Detector.from_dict(state["detector"])
            self = cls(opening, detector, floor=state["floor"], start=int(state["start"]))
            self._since, self._quiet = int(state["since"]), int(state["quiet"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError("state", "the state of an opening", f"{type(error).__name__}: {error}") from error
        return self
