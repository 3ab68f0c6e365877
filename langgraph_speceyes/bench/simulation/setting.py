"""Queries as distributions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from langgraph_speceyes.bench.simulation.assumed import SPREAD, TOOL_S
from langgraph_speceyes.bench.simulation.fleet import Call
from langgraph_speceyes.bench.simulation.query import Looked, Query, Tool, Turn
from langgraph_speceyes.calibration.latency import expected_latency
from langgraph_speceyes.errors import ArgumentError

MAX_DEPTH = 5
"""Most tool steps of a query (paper, section 4.1)."""


@dataclass(frozen=True)
class LookSetting:
    """A further depth.

    Attributes:
        call: The speculator's call after the look.
        alpha: ``alpha_j``, share that its gate accepts of the queries that come to it.
        tool_s: Core time of the look.
    """

    call: Call
    alpha: float
    tool_s: float = TOOL_S

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 <= self.alpha <= 1:
            raise ArgumentError("alpha", "0 to 1", self.alpha)

    @property
    def alone_s(self) -> float:
        """``c_j``, seconds with the machine to itself."""
        return self.tool_s + self.call.alone_s


@dataclass(frozen=True)
class Setting:
    """Queries as distributions. Seconds and tokens are those of :class:`Call`.

    Attributes:
        name: Its name.
        beta: Screening ratio: share of queries that the judge lets pass.
        alpha: Acceptance rate: share of those that the gate accepts.
        judge: The judgment; its `alone_s` is ``c_J``.
        speculate: Speculation and gate; ``c_S``.
        turn: One turn of the agent, of mean length.
        tool_s: Core time of one tool call.
        depth: Mean tool steps of a query (``D``), 0 to 5; binomial.
        spread: Coefficient of variation of a turn's tokens; log-normal.
        front_batch: Queries that the reference leads through its front end together.
        reuse: Share of a turn's `prefill_s` that is saved where the large model has read the prompt's beginning before.
            The reference and a serial agent save nothing.
        source: Where the numbers are from.
        looks: Further depths, for what the judge sends on and the gate rejects.
    """

    name: str
    beta: float
    alpha: float
    judge: Call
    speculate: Call
    turn: Call
    tool_s: float = TOOL_S
    depth: float = 1.5
    spread: float = SPREAD
    front_batch: int = 6
    reuse: float = 0.0
    source: str = ""
    looks: tuple[LookSetting, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, most in (
            ("beta", 1.0),
            ("alpha", 1.0),
            ("reuse", 1.0),
            ("depth", float(MAX_DEPTH)),
            ("spread", 10.0),
        ):
            if not 0 <= getattr(self, name) <= most:
                raise ArgumentError(name, f"0 to {most:g}", getattr(self, name))

    @property
    def agent_s(self) -> float:
        """``L_agent``, mean seconds of the agent with the machine to itself."""
        return (1 + self.depth) * self.turn.alone_s + self.depth * self.tool_s

    @property
    def limit(self) -> float:
        """One over the share that falls back: what the reference's speed-up tends to with the batch size.

        Without looks that is ``1 / (1 - beta * alpha)``.
        """
        accepted = self.beta * self.alpha
        for look in self.looks:
            accepted += (1 - accepted) * look.alpha
        return float("inf") if accepted >= 1 else 1 / (1 - accepted)

    @property
    def latency_s(self) -> float:
        """Mean seconds of one query after another, by the paper's formula."""
        depths = [(self.speculate.alone_s, self.alpha), *((look.alone_s, look.alpha) for look in self.looks)]
        return expected_latency(self.judge.alone_s, self.beta, depths, self.agent_s)

    def scaled(self, agent_s: float) -> Setting:
        """The same setting on a machine whose agent takes other seconds; no ratio changes."""
        by = agent_s / self.agent_s
        return replace(
            self,
            judge=scaled(self.judge, by),
            speculate=scaled(self.speculate, by),
            turn=scaled(self.turn, by),
            tool_s=self.tool_s * by,
            looks=tuple(LookSetting(scaled(look.call, by), look.alpha, look.tool_s * by) for look in self.looks),
        )

    def all_on_accelerator(self) -> Setting:
        """The same setting if accelerators did what is taken to be the process's own work: the pessimist's view."""
        looks = tuple(replace(look, call=_moved(look.call)) for look in self.looks)
        judge, speculate = _moved(self.judge), _moved(self.speculate)
        return replace(self, judge=judge, speculate=speculate, turn=_moved(self.turn), looks=looks)

    def queries(self, count: int, seed: int = 0) -> list[Query]:
        """Draw queries; the first of a longer list are those of a shorter one.

        Args:
            count: How many.
            seed: Seed of the draw.
        """
        chances = np.random.default_rng((seed, 1)).random((count, 2 + MAX_DEPTH))
        normal = np.random.default_rng((seed, 2)).standard_normal((count, 1 + MAX_DEPTH))
        sigma = float(np.sqrt(np.log1p(self.spread**2)))
        lengths = np.exp(sigma * normal - sigma**2 / 2)
        # apart from the others, which stay what they are without looks
        seen = np.random.default_rng((seed, 4)).random((count, len(self.looks)))
        found = []
        for chance, length, luck in zip(chances, lengths, seen, strict=True):
            steps = int(np.count_nonzero(chance[2:] < self.depth / MAX_DEPTH))
            turns = tuple(self._turn(float(length[k]), k < steps) for k in range(steps + 1))
            passed, accepted = bool(chance[0] < self.beta), bool(chance[1] < self.alpha)
            looks = tuple(
                Looked(look.call, bool(one < look.alpha), look.tool_s)
                for look, one in zip(self.looks, luck, strict=True)
            )
            found.append(Query(self.judge, self.speculate, passed, accepted, turns, looks=looks))
        return found

    def _turn(self, length: float, calls_tool: bool) -> Turn:
        call = replace(self.turn, tokens=max(1, round(self.turn.tokens * length)))
        cached = replace(call, prefill_s=(1 - self.reuse) * call.prefill_s) if self.reuse else None
        return Turn(call, Tool(self.tool_s) if calls_tool else None, cached)


def scaled(call: Call, by: float) -> Call:
    """A call of other seconds."""
    seconds = ("pass_s", "prefill_s", "prepare_s", "step_s", "token_s", "setup_s", "after_s")
    return replace(call, **{name: getattr(call, name) * by for name in seconds})


def _moved(call: Call) -> Call:
    return replace(
        call, pass_s=call.pass_s + call.setup_s, prefill_s=call.prefill_s + call.prepare_s, prepare_s=0.0, setup_s=0.0
    )
