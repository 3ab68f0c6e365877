"""Throughput and latency of the designs over numbers of accelerators."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from langgraph_speceyes.bench.simulation.assumed import CORES
from langgraph_speceyes.bench.simulation.designs import DESIGNS, Design, Machine, Simulated, simulate
from langgraph_speceyes.bench.simulation.paper import PRESETS
from langgraph_speceyes.bench.simulation.recorded import Recorded, from_run
from langgraph_speceyes.bench.simulation.setting import Setting
from langgraph_speceyes.errors import ArgumentError

Load = Literal["each", "fixed", "batch"]
Source = Setting | Recorded
ACCELERATORS = (1, 2, 4, 8, 16, 32, 64)
EACH, FIXED = 16, 64
"""Queries in flight: for each accelerator, and in all."""
_LEAST, _ROUNDS = 2000, 10


@dataclass(frozen=True)
class Predicted:
    """One design on one machine.

    Attributes:
        design: The design.
        accelerators: How many.
        load: ``"each"``: so many queries in flight for each accelerator; ``"fixed"``: so many whatever their number;
            ``"batch"``: all at once.
        in_flight: Queries under way at once.
        throughput: Queries a second.
        speedup: Throughput over that of the serial agent on the same accelerators under the same load.
        latency_mean_s: Mean seconds of a query.
        latency_p50_s: The median.
        latency_p95_s: The 95th percentile.
        utilisation: Share of the accelerators' time that they were busy.
        batch: Mean tokens that a pass or step of the large model makes: one for each call in it.
    """

    design: Design
    accelerators: int
    load: Load
    in_flight: int
    throughput: float
    speedup: float
    latency_mean_s: float
    latency_p50_s: float
    latency_p95_s: float
    utilisation: float
    batch: float


@dataclass(frozen=True)
class Prediction:
    """What the simulation says of one source of queries.

    Attributes:
        name: Of the preset, or the run's folder.
        source: Where its numbers are from.
        beta: Screening ratio.
        alpha: Acceptance rate.
        agent_s: ``L_agent``, seconds.
        limit: ``1 / (1 - beta * alpha)``.
        seed: Seed of the queries.
        rows: Every design on every number of accelerators.
    """

    name: str
    source: str
    beta: float
    alpha: float
    agent_s: float
    limit: float
    seed: int
    rows: tuple[Predicted, ...]

    def of(self, design: Design, load: Load) -> list[Predicted]:
        """One design under one load, by the number of accelerators."""
        return [row for row in self.rows if (row.design, row.load) == (design, load)]

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON; a limit without bounds is None."""
        return {**asdict(self), "limit": None if self.limit == float("inf") else self.limit}


def resolve(source: str | os.PathLike[str] | Source, **options: Any) -> Source:
    """A source of queries by its name.

    Args:
        source: A preset's name, the folder of a run, or a source.
        options: For a run's folder, as :func:`from_run` takes them.

    Raises:
        ArgumentError: It is neither.
    """
    if not isinstance(source, (str, os.PathLike)):
        return source
    if str(source) in PRESETS:
        return PRESETS[str(source)]
    if Path(source).is_dir():
        return from_run(source, **options)
    raise ArgumentError("simulate", f"one of {', '.join(PRESETS)}, or the folder of a run", repr(str(source)))


def run(
    source: str | os.PathLike[str] | Source = "vstar",
    *,
    accelerators: Sequence[int] = ACCELERATORS,
    designs: Sequence[Design] = DESIGNS,
    loads: Sequence[Load] = ("each", "fixed"),
    each: int = EACH,
    fixed: int = FIXED,
    machine: Machine | None = None,
    cores: int = CORES,
    small: int = 0,
    reuse: float | None = None,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Prediction:
    """Predict throughput and latency of every design, load and number of accelerators.

    All designs get the same queries. Every accelerator holds both models unless `small` says otherwise.

    Args:
        source: A preset's name (:data:`~langgraph_speceyes.bench.simulation.paper.PRESETS`), the folder of a run of
            `speceyes eval`, or a source.
        accelerators: Numbers of accelerators.
        designs: Which designs.
        loads: Which loads.
        each: Queries in flight for each accelerator, for the load ``"each"``.
        fixed: Queries in flight, for the load ``"fixed"``; queries in all, for ``"batch"``.
        machine: Batch sizes and waits; the default is up to 16 calls side by side.
        cores: Cores beside each accelerator.
        small: Of how many accelerators one serves the small model only, and the others the large one: 8 sets one in
            eight apart; 0 lets all serve both.
        reuse: Share of a turn's prefill that cached prefixes save; None leaves the setting's.
        seed: Seed of the queries.
        report: Called with how many simulations are done and how many there are.

    Raises:
        ArgumentError: The source is unknown, or a number is out of range.
    """
    found = resolve(source)
    if reuse is not None and isinstance(found, Setting):
        found = replace(found, reuse=reuse)
    base = replace(machine or Machine(), front_batch=found.front_batch)
    jobs = [(load, count) for load in loads for count in accelerators]
    rows: list[Predicted] = []
    for done, (load, count) in enumerate(jobs):
        report(done, len(jobs))
        in_flight = each * count if load == "each" else fixed
        queries = found.queries(fixed if load == "batch" else max(_LEAST, _ROUNDS * in_flight), seed)
        on = replace(
            base, accelerators=count, cores=cores * count, small=max(1, count // small) if small and count > 1 else 0
        )
        serial = simulate(queries, "agent_serial", replace(on, small=0), in_flight)
        for design in designs:
            # the serial designs lead a query through one accelerator
            alone = design in ("agent_serial", "reference")
            made = (
                serial
                if design == "agent_serial"
                else simulate(queries, design, replace(on, small=0) if alone else on, in_flight)
            )
            rows.append(_row(made, load, made.throughput / serial.throughput))
    report(len(jobs), len(jobs))
    return Prediction(found.name, found.source, found.beta, found.alpha, found.agent_s, found.limit, seed, tuple(rows))


def _row(made: Simulated, load: Load, speedup: float) -> Predicted:
    large = made.served["large"]
    return Predicted(
        made.design,
        made.machine.accelerators,
        load,
        made.in_flight,
        made.throughput,
        speedup,
        made.latency_mean_s,
        made.latency_s(50),
        made.latency_s(95),
        made.utilisation,
        large.tokens / (large.passes + large.steps) if large.passes else 0.0,
    )
