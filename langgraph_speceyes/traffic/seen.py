"""A record of the journal as evidence for a gate that opens itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from langgraph_speceyes.traffic.record import Record


@dataclass(frozen=True, slots=True)
class SeenRecord:
    """What :meth:`~langgraph_speceyes.calibration.opening.Opening.observe` is told of a question.

    Attributes:
        scores: By depth; None where no threshold accepts.
        differs: By depth.
        rate: The audit rate in force.
        accepted: Whether the user got an answer of the small model.
        audited: Whether the agent's is known as well.
        overdue: Whether the answers were not compared in time.
    """

    scores: tuple[float | None, ...]
    differs: tuple[bool, ...]
    rate: float
    accepted: bool
    audited: bool
    overdue: bool


def seen_record(
    record: Record, *, gate: str, judge_threshold: float | None, score: str, depths: int, waited: bool
) -> SeenRecord | Literal["other", "awaited"]:
    """A record as evidence.

    Args:
        record: The record.
        gate: What the scores must depend on.
        judge_threshold: The judge's threshold in use.
        score: Which answer score the gate compares.
        depths: How many answers a question may have; one with more began in a graph with more looks.
        waited: Whether it was waited for long enough.

    Returns:
        The evidence; ``other`` for a record that is none, ``awaited`` for one that is to be waited for.
    """
    rate = record["audit_rate"]
    # what decides here was fixed before the question was seen
    if record["gate"] != gate or record["judge_threshold"] != judge_threshold or not 0 < rate <= 1:
        return "other"
    if any(one["depth"] >= depths for one in record.get("depths", ())):
        return "other"
    accepted = record["route"] == "bypass"
    # what the judge or intake keeps from the gate is kept from that of depth 0
    kept = record["screened"] or record["reason"] is not None
    scores = [None if kept else _score(record, record["score_name"], score)]
    agreed = [record["agree"]]
    for one in record.get("depths", ()):
        # a depth that was left out has no place among those that were asked
        scores += [None] * (one["depth"] - len(scores)) + [_score(one, record["score_name"], score)]
        agreed += [None] * (one["depth"] - len(agreed)) + [one["agree"]]
    if _unjudged(record) and record["agree"] is True:
        # a lower threshold may let it through, or the judge send it on to the looks: what may be lost counts
        scores[0] = None
    usable = tuple(map(_usable, scores))
    if kept and all(one is None for one in scores):
        return SeenRecord((None,), (False,), rate, accepted, record["audited"], False)
    if accepted and not record["audited"]:
        return SeenRecord(usable, (False,) * len(usable), rate, True, False, False)
    if not record["settled"]:
        if not waited:
            return "awaited"
        # nobody knows what this would have become: counted against every threshold where there is no score
        unknown = all(one is None for one in scores)
        return SeenRecord((1.0,) if unknown else usable, (True,) * len(usable), rate, accepted, True, True)
    return SeenRecord(usable, tuple(one is not True for one in agreed), rate, accepted, True, False)


def _unjudged(record: Record) -> bool:
    """Whether a judge whose turn is behind the first gate was not asked, and would send the question to a look."""
    judged = record["judge_threshold"] is None or "judge" in record["seconds"]
    return not judged and bool(record.get("depths"))


def _score(scored: Any, compared: str, wanted: str) -> float | None:
    found: float | None = scored["scores"].get(wanted)
    return scored["score"] if found is None and compared == wanted else found


def _usable(score: float | None) -> float | None:
    """A score that a threshold can be compared with; other values are never accepted."""
    return score if score is not None and not math.isnan(score) and 0 <= score <= 1 else None
