"""Queries as a run of one's own has them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from langgraph_speceyes.bench.routes import answered_at, deepest, depth_seconds, reached
from langgraph_speceyes.bench.runs import BAD_ROW, Outcome, read_runs
from langgraph_speceyes.bench.simulation.assumed import TURN_TOKENS
from langgraph_speceyes.bench.simulation.fleet import Call, spoken
from langgraph_speceyes.bench.simulation.query import Looked, Query, Tool, Turn
from langgraph_speceyes.depths import at_depth
from langgraph_speceyes.errors import ArgumentError


@dataclass(frozen=True)
class Recorded:
    """Queries as a run has them, drawn again and again.

    Attributes:
        name: Its name.
        recorded: The run's questions.
        front_batch: Queries that the reference would lead through its front end together.
        source: The run's folder, and what was assumed.
    """

    name: str
    recorded: tuple[Query, ...]
    front_batch: int = 6
    source: str = ""

    @property
    def beta(self) -> float:
        """Screening ratio."""
        return sum(q.passed for q in self.recorded) / len(self.recorded)

    @property
    def alpha(self) -> float:
        """Acceptance rate; 0 where nothing passes."""
        passed = [q for q in self.recorded if q.passed]
        return sum(q.accepted for q in passed) / len(passed) if passed else 0.0

    @property
    def agent_s(self) -> float:
        """``L_agent``, mean seconds of the agent."""
        return float(np.mean([q.agent_s for q in self.recorded]))

    @property
    def limit(self) -> float:
        """``1 / (1 - beta * alpha)``; with looks one over the share that falls back."""
        accepted = sum(q.bypassed for q in self.recorded) / len(self.recorded)
        return float("inf") if accepted >= 1 else 1 / (1 - accepted)

    def queries(self, count: int, seed: int = 0) -> list[Query]:
        """All questions in a random order, and again, until there are enough."""
        rng = np.random.default_rng((seed, 3))
        found: list[Query] = []
        while len(found) < count:
            found += [self.recorded[k] for k in rng.permutation(len(self.recorded))]
        return found[:count]


def from_run(
    folder: str | os.PathLike[str],
    *,
    shared: float = 0.7,
    tool_share: float = 0.1,
    method: str | None = None,
) -> Recorded:
    """The queries of a run of `speceyes eval` with the agent beside a bypass, one question at a time.

    Args:
        folder: The run's folder.
        shared: Share of a call's seconds that calls beside it share, spread evenly over its tokens; the rest is its
            prefill. A run with one question at a time cannot tell: measure it, or try several.
        tool_share: Share of the agent's seconds that its tools take, where it called any.
        method: Which bypass; the default is the first.

    A judgment is one token; tokens of calls that the run does not know are :data:`TURN_TOKENS`.

    Raises:
        ArgumentError: The run has no bypass, no agent's seconds for some of its questions, more than one question
            under way at once, or a share is outside 0 to 1.
    """
    for name, value in (("shared", shared), ("tool_share", tool_share)):
        if not 0 <= value <= 1:
            raise ArgumentError(name, "0 to 1", value)
    ((manifest, outcomes),) = read_runs([folder])
    if manifest.get("concurrency", 1) != 1:
        raise ArgumentError("run", "one with --concurrency 1, whose seconds are a query's own", manifest["concurrency"])
    usable = [o for o in outcomes if o["rule"] != BAD_ROW and o["error"] is None]
    chosen = method or next((o["method"] for o in usable if o["route"] and o["method"] != "speculator"), None)
    decided = [o for o in usable if o["method"] == chosen and o["route"]]
    if not decided:
        raise ArgumentError("run", "one with a bypass", f"methods {sorted({o['method'] for o in outcomes})}")
    alone = {o["id"]: o["agent"] for o in usable if o["method"] == "agent" and o["agent"]}
    found = []
    for outcome in decided:
        part = alone.get(outcome["id"]) or outcome["agent"]
        if part is None:
            raise ArgumentError("run", "the agent's seconds of every question (--method agent, or --full)", str(folder))
        found.append(_recorded(outcome, part, shared, tool_share))
    assumed = (
        f"{shared:.0%} of a call shared by those beside it, {tool_share:.0%} of the agent's time in tools (assumed)"
    )
    return Recorded(str(folder), tuple(found), source=f"{len(found)} questions of {folder}; {assumed}")


def _recorded(outcome: Outcome, part: Mapping[str, Any], shared: float, tool_share: float) -> Query:
    seconds = outcome["seconds"]
    # without looks what the small model failed at is the agent's at once
    passed = ("speculate" in seconds) if "depths" in outcome else outcome["decided_by"] == "gate"

    def call(took: float, tokens: int) -> Call:
        return spoken(shared * took, (1 - shared) * took, tokens)

    steps = len(part.get("tools") or ())
    in_tools = tool_share * part["seconds"] if steps else 0.0
    # a provider that does not count says 0, or nothing
    said = part["tokens"].get("output") or TURN_TOKENS * (steps + 1)

    def drafted_at(depth: int) -> int:
        return outcome["tokens"].get(at_depth("speculate", depth), {}).get("output") or TURN_TOKENS

    turn = call((part["seconds"] - in_tools) / (steps + 1), round(said / (steps + 1)))
    turns = (*(Turn(turn, Tool(in_tools / steps)) for _ in range(steps)), Turn(turn))
    looks = tuple(
        Looked(
            call(depth_seconds(outcome, depth) - seconds[at_depth("look", depth)], drafted_at(depth)),
            answered_at(outcome) == depth,
            seconds[at_depth("look", depth)],
        )
        for depth in range(1, deepest([outcome]) + 1)
        if reached(outcome, depth)
    )
    return Query(
        call(seconds["judge"], 1) if "judge" in seconds else None,
        call(depth_seconds(outcome, 0), drafted_at(0)) if passed else None,
        passed,
        answered_at(outcome) == 0,
        turns,
        looks=looks,
    )
