"""Where a question went, and what that says of the formula's symbols: each of them in one place.

A record is a run's :class:`~langgraph_speceyes.bench.runs.Outcome` or a
:class:`~langgraph_speceyes.state.Decision`: both say by phase how long it took, and which depth answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph_speceyes.depths import at_depth

Record = Mapping[str, Any]


def passed(record: Record) -> bool:
    """Whether a question entered at depth 0; ``beta`` is the share of these.

    The others are those that the judge sent on: to the agent, or to the first look where there is one; and all where
    the first look is always taken.
    """
    if "depths" not in record:
        return bool(record["decided_by"] != "judge")
    seconds = record["seconds"]
    return "speculate" in seconds or ("judge" not in seconds and at_depth("look", 1) not in seconds)


def reached(record: Record, depth: int) -> bool:
    """Whether a question came to a depth; among these ``alpha_j`` is the share that its gate accepted."""
    return at_depth("look", depth) in record["seconds"] if depth else passed(record)


def answered_at(record: Record) -> int | None:
    """The depth whose answer was returned; None where the agent's was."""
    if record["route"] != "bypass":
        return None
    found: int | None = record.get("depth", 0)
    return found


def depth_seconds(record: Record, depth: int) -> float:
    """``c_j``: seconds of look, speculation and gate at a depth; 0 where the question did not come to it."""
    return float(sum(record["seconds"].get(at_depth(phase, depth), 0.0) for phase in _phases(depth)))


def depth_cost(record: Record, depth: int) -> float:
    """Seconds that a depth took of the whole: :func:`depth_seconds` and its phases' share of what is between them."""
    return phases_cost(record, *(at_depth(phase, depth) for phase in _phases(depth)))


def phases_cost(record: Record, *phases: str) -> float:
    """Seconds that phases took of the whole, each with :func:`between_phases`; 0 for those that did not run."""
    taken = [record["seconds"][phase] for phase in phases if phase in record["seconds"]]
    return float(sum(taken) + len(taken) * between_phases(record))


def between_phases(record: Record) -> float:
    """Seconds that no phase accounts for, above all the graph's own, by phase: each phase of a question bears as much.

    0 where phases ran beside each other and add up to more than the whole.
    """
    phases = {phase: took for phase, took in record["seconds"].items() if phase != "total"}
    return max(0.0, float(record["seconds"]["total"] - sum(phases.values()))) / len(phases) if phases else 0.0


def _phases(depth: int) -> tuple[str, ...]:
    return ("look", "speculate", "gate") if depth else ("speculate", "gate")


def deepest(records: Sequence[Record]) -> int:
    """The deepest depth that any question came to, or was asked at after the clock had stopped."""
    return max((len(record.get("depths") or [None]) for record in records), default=1) - 1
