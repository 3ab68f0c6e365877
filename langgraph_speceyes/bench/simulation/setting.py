"""Where the simulated queries come from: the paper's settings, or a run of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np

from langgraph_speceyes.bench.runs import BAD_ROW, Outcome, read_runs
from langgraph_speceyes.bench.simulation.fleet import Call
from langgraph_speceyes.bench.simulation.query import Query, Tool, Turn
from langgraph_speceyes.bench.statistics import predicted_latency
from langgraph_speceyes.errors import ArgumentError

MAX_DEPTH = 5
"""Most tool steps of a query (paper, section 4.1)."""

# What the paper does not say, for a 7B model in 16 bits under transformers' `generate` on an A100 40 GB
TURN_TOKENS = 119
"""Tokens of one turn: 414 tokens in 3.48 rounds, which the paper gives for SpecReason on the same agent."""
TOKEN_S = 0.030
"""Seconds of one decoding step, and of what a pass of newcomers shares. Assumed: reading 15 GB of weights at 1.555 TB/s
(NVIDIA's data sheet of the A100 40 GB) takes 10 ms, and an eager step of 28 layers about three times as long, for the
small model too, since launching the kernels is what takes long. Calls beside each other add nothing to it: reading
the keys and values of 16,384 tokens, 0.9 GB, takes 0.6 ms."""
PREFILL_TOKENS_PER_S = 0.5 * 312e12 / (2 * 7.6e9)
"""Prefill at half the A100's 312 TFLOPS in bfloat16, 2 FLOP a token and weight. Assumed; attention's share left out."""
SMALL = 2.0 / 7.6
"""Weights of the small model over those of the large one."""
CORES = 12
"""Cores beside one accelerator: what Google rents out with an A100 40 GB (a2-highgpu-1g)."""
TOOL_S = 0.1
"""Seconds of a crop, its resizing and encoding. Assumed."""
SPREAD = 0.5
"""Coefficient of variation of a turn's tokens. Assumed."""


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
        """``1 / (1 - beta * alpha)``: what the reference's speed-up tends to with the batch size."""
        accepted = self.beta * self.alpha
        return float("inf") if accepted >= 1 else 1 / (1 - accepted)

    @property
    def latency_s(self) -> float:
        """Mean seconds of one query after another, by the paper's formula."""
        return predicted_latency(self.judge.alone_s, self.speculate.alone_s, self.agent_s, self.beta, self.alpha)

    def scaled(self, agent_s: float) -> Setting:
        """The same setting on a machine whose agent takes other seconds; no ratio changes."""
        by = agent_s / self.agent_s
        return replace(
            self,
            judge=_times(self.judge, by),
            speculate=_times(self.speculate, by),
            turn=_times(self.turn, by),
            tool_s=self.tool_s * by,
        )

    def all_on_accelerator(self) -> Setting:
        """The same setting if accelerators did what is taken to be the process's own work: the pessimist's view."""
        return replace(self, judge=_moved(self.judge), speculate=_moved(self.speculate), turn=_moved(self.turn))

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
        found = []
        for chance, length in zip(chances, lengths, strict=True):
            steps = int(np.count_nonzero(chance[2:] < self.depth / MAX_DEPTH))
            turns = tuple(self._turn(float(length[k]), k < steps) for k in range(steps + 1))
            passed, accepted = bool(chance[0] < self.beta), bool(chance[1] < self.alpha)
            found.append(Query(self.judge, self.speculate, passed, accepted, turns))
        return found

    def _turn(self, length: float, calls_tool: bool) -> Turn:
        call = replace(self.turn, tokens=max(1, round(self.turn.tokens * length)))
        cached = replace(call, prefill_s=(1 - self.reuse) * call.prefill_s) if self.reuse else None
        return Turn(call, Tool(self.tool_s) if calls_tool else None, cached)


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
        """``1 / (1 - beta * alpha)``."""
        accepted = self.beta * self.alpha
        return float("inf") if accepted >= 1 else 1 / (1 - accepted)

    def queries(self, count: int, seed: int = 0) -> list[Query]:
        """All questions in a random order, and again, until there are enough."""
        rng = np.random.default_rng((seed, 3))
        found: list[Query] = []
        while len(found) < count:
            found += [self.recorded[k] for k in rng.permutation(len(self.recorded))]
        return found[:count]


Source = Setting | Recorded


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
    passed = outcome["decided_by"] == "gate"

    def call(took: float, tokens: int) -> Call:
        return _spoken(shared * took, (1 - shared) * took, tokens)

    steps = len(part.get("tools") or ())
    in_tools = tool_share * part["seconds"] if steps else 0.0
    # a provider that does not count says 0, or nothing
    said = part["tokens"].get("output") or TURN_TOKENS * (steps + 1)
    drafted = outcome["tokens"].get("speculate", {}).get("output") or TURN_TOKENS
    turn = call((part["seconds"] - in_tools) / (steps + 1), round(said / (steps + 1)))
    turns = (*(Turn(turn, Tool(in_tools / steps)) for _ in range(steps)), Turn(turn))
    return Query(
        call(seconds["judge"], 1) if "judge" in seconds else None,
        call(seconds.get("speculate", 0.0) + seconds.get("gate", 0.0), drafted) if passed else None,
        passed,
        outcome["route"] == "bypass",
        turns,
    )


@dataclass(frozen=True)
class Published:
    """What the paper says of DeepEyes with the `min` score on one benchmark, all of it speed-ups over the agent.

    Attributes:
        questions: How many.
        speedup: At the operating point.
        fastest: The largest of any score and threshold, at the operating point's batch size.
        draft: Of the small model alone.
        rejecting: With a threshold (0.995) that lets hardly anything pass.
        by_batch: By the front end's batch size.
        front_batch: The batch size of the operating point.
        image_tokens: Tokens of its images after resizing, at most 16,384.
        depth: Mean tool steps. Assumed.
    """

    questions: int
    speedup: float
    fastest: float
    draft: float
    rejecting: float
    by_batch: Mapping[int, float] = field(repr=False)
    front_batch: int
    image_tokens: int
    depth: float


_POPE_BATCHES = {1: 1.46, 2: 1.77, 4: 1.98, 8: 2.13, 12: 2.16, 16: 2.18}
_HR_BATCHES = {1: 1.05, 2: 1.13, 4: 1.17}
PUBLISHED: dict[str, Published] = {
    "vstar_attributes": Published(115, 1.53, 2.89, 5.44, 0.93, {1: 1.36, 2: 1.61, 4: 1.75, 6: 1.76}, 6, 4300, 1.5),
    "vstar_positions": Published(76, 1.90, 3.47, 5.31, 0.86, {1: 1.96, 6: 3.03}, 6, 4300, 1.5),
    "hrbench4k": Published(800, 1.13, 1.88, 3.20, 0.79, _HR_BATCHES, 4, 15500, 1.5),
    # its front end is taken to be that of HR-Bench 4K: images are cut to the same 16,384 tokens
    "hrbench8k": Published(800, 1.08, 1.77, 2.90, 0.79, _HR_BATCHES, 4, 16384, 1.5),
    "pope_adversarial": Published(3000, 2.13, 2.13, 4.20, 0.76, _POPE_BATCHES, 8, 391, 0.5),
    "pope_popular": Published(3000, 2.15, 2.15, 3.78, 0.76, _POPE_BATCHES, 8, 391, 0.5),
    "pope_random": Published(3000, 2.19, 2.19, 4.07, 0.76, _POPE_BATCHES, 8, 391, 0.5),
}
"""Table 1, the threshold sweep and the batch ablation of the paper (arXiv 2603.23483)."""


def derived(name: str, said: Published) -> Setting:
    """A setting whose reference design has the published speed-ups.

    With the agent's seconds as the unit, one over a speed-up is ``front(B) + 1 - beta * alpha``, and the front end's
    share of a query ``front(B) = base / B + slope``:

    * `base` is what the batch ablation's speed-ups fall by with the batch size (least squares);
    * `slope` is what is left of the front end where the gate accepts hardly anything: at most a little too small.
      What exceeds the prefill of the image is the process's own work (the authors' code encodes images and collects
      garbage on its only thread), which takes no accelerator: `prepare_s`;
    * ``beta * alpha`` is then what the operating point leaves;
    * of `beta` alone it is known that it is not below ``beta * alpha`` of the fastest point: the middle between that
      and 1 is taken;
    * ``c_S`` is one over the small model's own speed-up, the rest of the front end the judge's.

    What the paper says nothing about is the agent: its depth, its seconds, and how its turns would batch. A turn is
    :data:`TURN_TOKENS` tokens of :data:`TOKEN_S` each, which calls side by side share, and one prefill of the image,
    which they do not. A judgment is one token, so calls share one pass of :data:`TOKEN_S`. What exceeds that in the
    seconds that judgments share is the process's own work too, once a batch (`setup_s`); a design without such batches
    is charged all of it for each judgment. A speculation makes as many tokens as its shared seconds have
    :data:`TOKEN_S`.
    """
    sizes = np.array(list(said.by_batch))
    inverse = 1 / np.array(list(said.by_batch.values()))
    base = float(np.polyfit(1 / sizes, inverse, 1)[0])
    slope = 1 / said.rejecting - 1 - base / said.front_batch
    front = base / said.front_batch + slope
    product = 1 - 1 / said.speedup + front
    beta = (1 + (1 - 1 / said.fastest + front)) / 2
    small = min(0.9, beta / said.draft / (base + slope))

    prefill = said.image_tokens / PREFILL_TOKENS_PER_S
    turn = _spoken(TURN_TOKENS * TOKEN_S, prefill, TURN_TOKENS)
    agent_s = (1 + said.depth) * turn.alone_s + said.depth * TOOL_S
    return Setting(
        name,
        beta=beta,
        alpha=product / beta,
        judge=_parted((1 - small) * base * agent_s, (1 - small) * slope * agent_s, prefill, 1),
        speculate=_parted(
            small * base * agent_s,
            small * slope / beta * agent_s,
            SMALL * prefill,
            ceil(small * base * agent_s / TOKEN_S),
        ),
        turn=turn,
        depth=said.depth,
        front_batch=said.front_batch,
        source="front end, beta and alpha from the paper's speed-ups; depth, seconds and batching of the agent assumed",
    )


def mixed(name: str, settings: Sequence[Setting], weights: Sequence[float]) -> Setting:
    """The weighted mean of settings, so that a mix of their queries costs the same."""
    share = np.array(weights) / np.sum(weights)

    def mean(values: Sequence[float]) -> float:
        return float(share @ np.array(values))

    def call(name: str) -> Call:
        calls = [getattr(s, name) for s in settings]
        shared, own, prepare, setup = (
            mean([getattr(c, part) for c in calls]) for part in ("shared_s", "own_s", "prepare_s", "setup_s")
        )
        return _spoken(shared, own, round(mean([c.tokens for c in calls])), prepare, setup)

    beta, product = mean([s.beta for s in settings]), mean([s.beta * s.alpha for s in settings])
    return replace(
        settings[0],
        name=name,
        beta=beta,
        alpha=product / beta,
        judge=call("judge"),
        speculate=call("speculate"),
        turn=call("turn"),
    )


def _spoken(shared_s: float, prefill_s: float, tokens: int, prepare_s: float = 0.0, setup_s: float = 0.0) -> Call:
    """A call whose shared seconds are spread evenly over its tokens, at least one."""
    tokens = max(1, tokens)
    return Call(shared_s / tokens, prefill_s, prepare_s, tokens, shared_s / tokens, setup_s=setup_s)


def _parted(shared_s: float, own_s: float, prefill_s: float, tokens: int) -> Call:
    """A call that is the accelerator's up to its prefill and `TOKEN_S` a token, and beyond that a core's."""
    setup = max(0.0, shared_s - tokens * TOKEN_S)
    return _spoken(shared_s - setup, min(own_s, prefill_s), tokens, max(0.0, own_s - prefill_s), setup)


def _times(call: Call, by: float) -> Call:
    seconds = ("pass_s", "prefill_s", "prepare_s", "step_s", "token_s", "setup_s", "after_s")
    return replace(call, **{name: getattr(call, name) * by for name in seconds})


def _moved(call: Call) -> Call:
    return replace(
        call, pass_s=call.pass_s + call.setup_s, prefill_s=call.prefill_s + call.prepare_s, prepare_s=0.0, setup_s=0.0
    )


def _presets() -> dict[str, Setting]:
    found = {name: derived(name, said) for name, said in PUBLISHED.items()}
    for name in ("vstar", "pope"):
        parts = [part for part in PUBLISHED if part.startswith(name)]
        weights = [PUBLISHED[part].questions for part in parts]
        found[name] = mixed(name, [found[part] for part in parts], weights)
    return found


PRESETS: dict[str, Setting] = _presets()
"""The paper's benchmarks by name; `vstar` and `pope` mix their parts."""
