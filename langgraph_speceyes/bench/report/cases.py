"""Single questions: when their phases ran, and the mistakes worth looking at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langgraph_speceyes.bench.report.data import PHASES, Loaded, judges_second
from langgraph_speceyes.bench.routes import deepest, depth_seconds
from langgraph_speceyes.bench.runs import PICTURES, Outcome, picture_name

SHOWN = 24
"""Most mistakes of a kind."""
_BARS = 40


@dataclass(frozen=True)
class Bar:
    """A question's time.

    Attributes:
        id: The question.
        route: Whose answer it got.
        right: Whether that is right.
        phases: Phase, start and length in seconds, in order; `other` is what no phase accounts for.
    """

    id: str
    route: str
    right: bool
    phases: list[tuple[str, float, float]]


@dataclass(frozen=True)
class Timeline:
    """The first questions of a run's first bypass.

    Attributes:
        run: The run's name.
        method: The method.
        since_first: Whether the clock starts with the first question (more than one at a time), or with each.
        bars: In the order they began.
    """

    run: str
    method: str
    since_first: bool
    bars: list[Bar]


@dataclass(frozen=True)
class Mistake:
    """A question that was answered wrongly.

    Attributes:
        id: The question.
        split: Its split.
        question: As it was asked.
        expected: The right answer.
        answer: What was answered; None if nothing was.
        speculation: What the speculator said; None if it was not asked.
        speculation_right: Whether that would have been right.
        score: The score that the gate compared; None without a scored speculation.
        score_name: Which.
        threshold: The gate's.
        tool_need: The judge's probability that tools are needed.
        decided_by: The phase that decided.
        error: Why there is no answer.
        picture: File of the small picture; None if none was kept.
        depth: With looks only: how deep the question came; the speculation is the one from there.
    """

    id: str
    split: str
    question: str
    expected: str
    answer: str | None
    speculation: str | None
    speculation_right: bool | None
    score: float | None
    score_name: str | None
    threshold: float | None
    tool_need: float | None
    decided_by: str | None
    error: str | None
    picture: str | None
    depth: int | None = None


@dataclass(frozen=True)
class Mistakes:
    """The wrong answers of one route.

    Attributes:
        run: The run's name.
        method: The method.
        route: `bypass` (the gate accepted a wrong speculation) or `fallback` (the agent was wrong).
        total: How many there are.
        of: Questions that went that way.
        shown: The first of them, highest score first.
    """

    run: str
    method: str
    route: str
    total: int
    of: int
    shown: list[Mistake]


def timeline(run: Loaded) -> Timeline | None:
    """When the phases of the first questions ran; None without a bypass."""
    for method in run.bypasses:
        mine = [o for o in run.of(method) if o["route"] is not None and "total" in o["seconds"]]
        first = sorted(mine, key=lambda o: o["began"])[:_BARS]
        if not first:
            continue
        order = ("intake", "speculate", "gate", "judge", "slot", "agent") if judges_second(mine) else PHASES
        together = run.concurrency > 1
        origin = first[0]["began"]
        bars = [_bar(o, order, o["began"] - origin if together else 0.0) for o in first]
        return Timeline(run.name, method, together, bars)
    return None


def _bar(outcome: Outcome, order: Sequence[str], start: float) -> Bar:
    phases, at = [], start
    seconds = {phase: outcome["seconds"].get(phase, 0.0) for phase in order}
    looks = {f"depth {depth}": depth_seconds(outcome, depth) for depth in range(1, deepest([outcome]) + 1)}
    # looks come when all that is known of the whole image is known
    for phase in [*order[:-2], *looks, *order[-2:]]:
        if length := (seconds | looks)[phase]:
            phases.append((phase, at, length))
            at += length
    if (rest := start + outcome["seconds"]["total"] - at) > 0:
        phases.append(("other", at, rest))
    return Bar(outcome["id"], str(outcome["route"]), outcome["right"], phases)


def mistakes(run: Loaded) -> list[Mistakes]:
    """The wrong answers of the run's first bypass, one entry a route; empty without a bypass."""
    if not run.bypasses:
        return []
    method = run.bypasses[0]
    found = []
    for route in ("bypass", "fallback"):
        mine = [o for o in run.of(method) if o["route"] == route]
        wrong = [_mistake(o, run.folder) for o in mine if not o["right"]]
        wrong.sort(key=lambda m: -1.0 if m.score is None else m.score, reverse=True)
        found.append(Mistakes(run.name, method, route, len(wrong), len(mine), wrong[:SHOWN]))
    return found


def _mistake(outcome: Outcome, folder: Path) -> Mistake:
    part, name, threshold = outcome["speculator"], outcome["score"], outcome["threshold"]
    depth = None
    for number, one in enumerate(outcome.get("depths", [])):
        if one is not None and one["threshold"] is not None:
            depth, part, threshold = number, one, one["threshold"]
    picture = folder / PICTURES / picture_name(outcome["id"])
    return Mistake(
        id=outcome["id"],
        split=outcome["split"],
        question=outcome["question"],
        expected=f"{outcome['letter']}. {outcome['expected']}" if outcome["letter"] else outcome["expected"],
        answer=outcome["answer"],
        speculation=part["answer"] if part else None,
        speculation_right=part["right"] if part else None,
        score=part.get("scores", {}).get(name) if part and name else None,
        score_name=name,
        threshold=threshold,
        tool_need=outcome["tool_need"],
        decided_by=outcome["decided_by"],
        error=outcome["error"],
        picture=str(picture) if picture.is_file() else None,
        depth=depth,
    )
