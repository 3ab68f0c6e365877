"""What a live run of the embedded pair cost, query by query, as the simulation takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from langgraph_speceyes.bench.simulation.fleet import MODELS, Call, Model
from langgraph_speceyes.bench.simulation.query import Query, Tool, Turn
from langgraph_speceyes.errors import MissingExtraError

Seconds = Literal["core", "wall"]


@dataclass(frozen=True)
class Forward:
    """One forward pass of a model: calls join, or those under way get a token each.

    Attributes:
        model: Which.
        calls: Calls in it.
        read: Tokens of their prompts that were not found in the cache; None in a decoding step.
        core_s: Core time of the model's thread, since the last one, until its tokens are known and told.
        wall_s: Wall time.
        ended: Calls that got their last token.
        after_s: Core and wall time that keeping their prompts took then.
    """

    model: Model
    calls: int
    read: int | None
    core_s: float
    wall_s: float
    ended: int = 0
    after_s: tuple[float, float] = (0.0, 0.0)


@dataclass
class Step:
    """A thread's work, or a model's call, on behalf of a query."""

    core_s: float = 0.0
    wall_s: float = 0.0
    tool: bool = False
    model: Model | None = None
    judging: bool = False
    tokens: int = 0
    read: int = 0


@dataclass
class Watched:
    """A live run, as it was seen.

    Attributes:
        began: When each query was sent, seconds from the run's beginning.
        ended: When each was answered.
        bypassed: Which were answered by the speculator.
        passed: Which the judge let pass.
        forwards: The joining passes and decoding steps.
        wall_s: Wall time of the run.
        process_s: Core time of the process.
        loop_s: Core time of the event loop.
        others: Cores that other processes used meanwhile, in the mean.
        load: The machine's load average over a minute, at the run's end.
        steps: Threads' work and models' calls on behalf of each query, as they ended.
    """

    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    bypassed: list[bool] = field(default_factory=list)
    passed: list[bool] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    wall_s: float = 0.0
    process_s: float = 0.0
    loop_s: float = 0.0
    others: float = 0.0
    load: float = 0.0
    steps: dict[int, list[Step]] = field(default_factory=dict)

    @property
    def latencies(self) -> list[float]:
        """Seconds of each query."""
        return [e - b for b, e in zip(self.began, self.ended, strict=True)]

    def queries(self, seconds: Seconds = "core") -> list[Query]:
        """What each query asked for, as the simulation takes it.

        Core time of the process that belongs to no thread that was watched is that of the tools' helper threads.

        Args:
            seconds: ``"core"``: core time, to be simulated on as many cores; ``"wall"``: wall time, which holds what
                work running at once took from each other, to be simulated on cores without number.
        """
        wall = seconds == "wall"
        costs = {model: _costs([f for f in self.forwards if f.model == model], wall) for model in MODELS}
        every = [step for steps in self.steps.values() for step in steps]
        watched = sum(step.core_s for step in every) + sum(f.core_s + f.after_s[0] for f in self.forwards) + self.loop_s
        in_tools = sum(step.core_s for step in every if step.tool)
        beside = max(0.0, self.process_s - watched) / in_tools if in_tools and not wall else 0.0
        # the loop takes a query on at its begin, after every call and tool, and at a bypass
        turns = sum(step.tool or step.model is not None for step in every) + len(self.began) + sum(self.bypassed)
        loop_s = self.loop_s / turns
        if wall:
            # its waits are not seen: as much longer as the threads' work became
            loop_s *= sum(step.wall_s for step in every) / max(1e-9, sum(step.core_s for step in every))
        return [self._query(k, costs, beside, loop_s, wall) for k in range(len(self.began))]

    def _query(self, k: int, costs: dict[Model, _Costs], beside: float, loop_s: float, wall: bool) -> Query:
        judge: Call | None = None
        speculate: Call | None = None
        turns: list[Turn] = []
        before = 0.0
        for step in self.steps.get(k, []):
            took = step.wall_s if wall else step.core_s
            if step.model is None and not step.tool:
                before += took
                continue
            if step.tool:
                if turns:
                    turns[-1] = Turn(turns[-1].call, Tool(took, beside * took))
                continue
            assert step.model is not None
            call, before = costs[step.model].call(step.tokens, step.read, before), 0.0
            if step.model == "small":
                speculate = call
            elif step.judging:
                judge = call
            else:
                turns.append(Turn(call))
        return Query(judge, speculate, self.passed[k], self.bypassed[k], tuple(turns), loop_s=loop_s)


@dataclass(frozen=True)
class _Costs:
    """Seconds of a joining pass, of each call and token read in it; of a step, of each row in it; after each answer."""

    joining: float
    call_s: float
    read: float
    step: float
    row: float
    after: float

    def call(self, tokens: int, read: int, prepare_s: float) -> Call:
        return Call(
            self.joining, self.call_s + self.read * read, prepare_s, tokens, self.step, self.row, after_s=self.after
        )


def _costs(forwards: Sequence[Forward], wall: bool) -> _Costs:
    def took(several: Sequence[Forward]) -> list[float]:
        return [f.wall_s if wall else f.core_s for f in several]

    joining, steps = [f for f in forwards if f.read is not None], [f for f in forwards if f.read is None]
    joins, call, read = _fitted([(1, f.calls, f.read or 0) for f in joining], took(joining), 3)
    step, row = _fitted([(1, f.calls) for f in steps], took(steps), 2)
    after = sum(f.after_s[wall] for f in forwards) / max(1, sum(f.ended for f in forwards))
    return _Costs(joins, call, read, step, row, after)


def _fitted(causes: Sequence[tuple[int, ...]], took: Sequence[float], count: int) -> list[float]:
    """Least squares with costs of at least 0 each, scaled so that the whole run's sum is the measured one."""
    if not causes:
        return [0.0] * count
    try:
        from scipy.optimize import nnls
    except ModuleNotFoundError as missing:
        raise MissingExtraError("fitting service times", "eval") from missing
    design: NDArray[Any] = np.array(causes, dtype=float)
    scale = design.max(axis=0)
    scale[scale == 0] = 1.0
    found = nnls(design / scale, np.array(took))[0] / scale
    found *= sum(took) / max(1e-12, float((design @ found).sum()))
    return [float(value) for value in found]
