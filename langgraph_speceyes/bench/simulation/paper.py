"""The paper's settings, derived from the speed-ups that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from langgraph_speceyes.bench.simulation.assumed import PREFILL_TOKENS_PER_S, SMALL, TOKEN_S, TOOL_S, TURN_TOKENS
from langgraph_speceyes.bench.simulation.fleet import Call, spoken
from langgraph_speceyes.bench.simulation.setting import Setting


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
    turn = spoken(TURN_TOKENS * TOKEN_S, prefill, TURN_TOKENS)
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
        return spoken(shared, own, round(mean([c.tokens for c in calls])), prepare, setup)

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


def _parted(shared_s: float, own_s: float, prefill_s: float, tokens: int) -> Call:
    """A call that is the accelerator's up to its prefill and `TOKEN_S` a token, and beyond that a core's."""
    setup = max(0.0, shared_s - tokens * TOKEN_S)
    return spoken(shared_s - setup, min(own_s, prefill_s), tokens, max(0.0, own_s - prefill_s), setup)


def _presets() -> dict[str, Setting]:
    found = {name: derived(name, said) for name, said in PUBLISHED.items()}
    for name in ("vstar", "pope"):
        parts = [part for part in PUBLISHED if part.startswith(name)]
        weights = [PUBLISHED[part].questions for part in parts]
        found[name] = mixed(name, [found[part] for part in parts], weights)
    return found


PRESETS: dict[str, Setting] = _presets()
"""The paper's benchmarks by name; `vstar` and `pope` mix their parts."""
