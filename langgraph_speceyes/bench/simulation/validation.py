"""The simulation against a live run of the embedded pair on this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from langchain_core.messages import HumanMessage

from langgraph_speceyes.bench.simulation.designs import Machine, Simulated, simulate
from langgraph_speceyes.bench.simulation.live import watch
from langgraph_speceyes.bench.simulation.this_machine import lock_share
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import clear_cache

if TYPE_CHECKING:
    from langgraph_speceyes.testbed.pair import Pair

Live = Literal["speceyes", "agent_batched"]


Latency = tuple[float, float, float]
"""Mean, 50th and 95th percentile, in seconds."""


@dataclass(frozen=True)
class Figures:
    """Of a run, live or simulated.

    Attributes:
        throughput: Questions a second over the whole run.
        latency_s: Seconds of a question: mean, 50th and 95th percentile.
    """

    throughput: float
    latency_s: Latency

    def error(self, measured: Figures) -> tuple[float, Latency]:
        """This over the measured, less 1: of the throughput and of the latencies."""
        mean, p50, p95 = (s / m - 1 for s, m in zip(self.latency_s, measured.latency_s, strict=True))
        return self.throughput / measured.throughput - 1, (mean, p50, p95)


@dataclass(frozen=True)
class Compared:
    """A live run and its simulations.

    Attributes:
        design: What was run.
        concurrency: Questions under way at once.
        questions: How many.
        measured: The live run.
        simulated: The simulation on this machine's cores, from the core time of every part.
        replayed: The simulation from the wall time of every part, in which what ran at once has slowed each other down
            already: it tells queues and batches apart from the sharing of cores.
        lock: Shares of a forward pass, and of the threads' work, that hold the interpreter's lock.
        others: Cores that other processes used meanwhile, in the mean; the simulation has the rest.
        load: The machine's load average at the end.
    """

    design: Live
    concurrency: int
    questions: int
    measured: Figures
    simulated: Figures
    replayed: Figures
    lock: tuple[float, float]
    others: float
    load: float

    def to_dict(self) -> dict[str, Any]:
        """All of it with the errors, for JSON."""
        errors = {name: getattr(self, name).error(self.measured) for name in ("simulated", "replayed")}
        return {**asdict(self), "errors": errors}


def validate(
    pair: Pair,
    questions: Sequence[HumanMessage],
    concurrency: int,
    *,
    design: Live = "speceyes",
    lock: tuple[float, float] | None = None,
) -> Compared:
    """Run questions through the embedded pair and through the simulation, and compare.

    The simulation is given what each query asked for in this very run: the time of preparing images and prompts, the
    tokens of each call, the time of each tool, the event loop's share; and the seconds of a joining pass by its calls
    and the tokens it reads, and of a decoding step by its rows, fitted to the run's own. It is not told when anything
    happened, which calls were under way together, or how long anything waited in a queue.

    Args:
        pair: The models, with torch on one thread.
        questions: Questions with image; ones that the pair has not seen, since it caches.
        concurrency: Questions under way at once.
        design: The bypass, or the agent alone.
        lock: From :func:`measured_lock`; None measures it.

    Raises:
        ArgumentError: There are no questions, or none may be under way.
    """
    if not questions:
        raise ArgumentError("questions", "at least one", "none")
    if concurrency < 1:
        raise ArgumentError("concurrency", "at least 1", concurrency)
    lock = measured_lock(pair, questions[0]) if lock is None else lock
    graph = pair.speceyes().compile() if design == "speceyes" else pair.agent().compile()
    seen = asyncio.run(watch(pair, graph, questions, concurrency))
    cores = os.cpu_count() or 1
    # asyncio's own pool has so many threads
    own = Machine(2, small=1, max_batch=pair.speculator.batch_size, threads=min(32, cores + 4))
    shared = replace(own, cores=max(0.1, cores - seen.others), models_on_cores=True, lock=lock)
    return Compared(
        design,
        concurrency,
        len(questions),
        Figures(len(questions) / seen.wall_s, _latency(seen.latencies)),
        _figures(simulate(seen.queries("core"), design, shared, concurrency)),
        _figures(simulate(seen.queries("wall"), design, own, concurrency)),
        lock,
        seen.others,
        seen.load,
    )


def measured_lock(pair: Pair, question: HumanMessage) -> tuple[float, float]:
    """Shares of a forward pass, and of preparing a question, that hold the interpreter's lock.

    Measured with both models, and then two preparations, on two threads; others on the machine make it seem more.
    """
    models: tuple[Any, Any] = (pair.speculator, pair.large)
    settings = {"max_tokens": 8, "logprobs": True, "top_logprobs": 20}

    def forward(model: Any) -> Callable[[], object]:
        request = model._request([question], None, settings)
        return lambda: model._engine.generate([request])

    def prepare(model: Any) -> Callable[[], object]:
        def work() -> None:
            clear_cache()
            model._request([question], None, settings)

        return work

    return lock_share([forward(m) for m in models]), lock_share([prepare(m) for m in models])


def _figures(found: Simulated) -> Figures:
    return Figures(len(found.ended) / found.makespan_s, _latency(found.latencies))


def _latency(seconds: Sequence[float]) -> Latency:
    return float(np.mean(seconds)), float(np.percentile(seconds, 50)), float(np.percentile(seconds, 95))
