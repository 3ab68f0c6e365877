"""Figures over something that varies: the gate threshold, offline; concurrency, batch size and K, between runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from langgraph_speceyes.bench.report.data import AGENT, Loaded, judges_second, same
from langgraph_speceyes.bench.report.table import Cell, cell, shares_of
from langgraph_speceyes.bench.statistics import Estimate, Floats, drawn_means, interval, means, sums
from langgraph_speceyes.bench.sweep import Table, sweepable, swept, table
from langgraph_speceyes.scoring import DEFAULT_K, SCORES

_THRESHOLDS = 40


@dataclass(frozen=True)
class Curve:
    """A figure over the thresholds, with its 95 % interval at each."""

    value: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Sweep:
    """A score at every threshold.

    Attributes:
        thresholds: The gate's, ascending: the lowest accepts every scored speculation, the highest none.
        bypassed: Share of the questions the speculator would have answered.
        accuracy: Share right.
        speedup: Mean latency of the agent over that of the bypass.
    """

    thresholds: list[float]
    bypassed: list[float]
    accuracy: Curve
    speedup: Curve


@dataclass(frozen=True)
class Sweeps:
    """The first bypass of a run at other thresholds.

    Attributes:
        run: The run's name.
        method: The method.
        n: Questions.
        score: The score that it used.
        threshold: The threshold that it used; None if it used several.
        judge_threshold: The judge's, which stays; None without a judge.
        agent: The agent's share right on the same questions.
        speculator: The speculator's.
        scores: By name; with looks at one threshold for all depths.
        deeper: With looks only: how many depths there are from 1 on.
        without: With looks only: by name, depth 0 alone, as it would be without them.
    """

    run: str
    method: str
    n: int
    score: str | None
    threshold: float | None
    judge_threshold: float | None
    agent: float
    speculator: float
    scores: dict[str, Sweep]
    deeper: int | None = None
    without: dict[str, Sweep] | None = None


@dataclass(frozen=True)
class Point:
    """A run's or a method's place in a series; figures over all its questions together."""

    x: int
    run: str
    throughput: float | None
    throughput_speedup: Estimate
    speedup: Estimate
    accuracy: Estimate
    serial_limit: float | None


@dataclass(frozen=True)
class Line:
    """A method over what varies."""

    label: str
    points: list[Point]


@dataclass(frozen=True)
class Series:
    """Lines over one thing that varies between runs of one benchmark.

    Attributes:
        benchmark: Its name.
        over: `concurrency`, `batch size` or `K`.
        lines: One a method.
    """

    benchmark: str
    over: str
    lines: list[Line]


def sweeps(run: Loaded) -> tuple[Sweeps | None, str]:
    """Other thresholds for the run's first bypass that has both sides of its questions.

    Returns:
        None and why, if there is none.
    """
    for method in run.bypasses:
        mine = run.of(method)
        rows = sweepable(mine)
        ready = [o for o in mine if o["route"] is not None]
        if not rows or len(rows) < len(ready):
            continue
        if judges_second(mine):
            return None, f"{run.name}: {method} speculates before it judges, so the judge has not seen every question."
        return _sweeps(run.name, method, rows), ""
    return None, (
        f"{run.name} does not have the agent's and the speculator's answer to every question "
        "(speceyes eval --full), so no other threshold can be tried."
    )


def _sweeps(run: str, method: str, rows: list[Any]) -> Sweeps:
    judges = [o["judge_threshold"] for o in rows if o["judge_threshold"] is not None]
    judge = float(judges[0]) if judges else None
    columns = table(rows)
    groups = [o["group"] for o in rows]
    found, without = {}, {}
    deeper = len(columns.deeper)
    for score in SCORES:
        if score not in columns.scores or not columns.scores[score].any():
            continue
        by_depth = [columns.scores, *(one.scores for one in columns.deeper)]
        every = np.concatenate([scores[score] for scores in by_depth if score in scores])
        thresholds = _thresholds(every)
        found[str(score)] = _sweep(columns, groups, score, thresholds, judge, deeper)
        if deeper:
            without[str(score)] = _sweep(columns, groups, score, thresholds, judge, 0)
    used = {(o["score"], o["threshold"]) for o in rows}
    score, threshold = next(iter(used)) if len(used) == 1 else (rows[0]["score"], None)
    agent, speculator = float(columns.agent_right.mean()), float(columns.speculator_right.mean())
    more: dict[str, Any] = {"deeper": deeper, "without": without} if deeper else {}
    return Sweeps(run, method, len(rows), score, threshold, judge, agent, speculator, found, **more)


def _sweep(
    columns: Table, groups: Sequence[str], score: str, thresholds: list[float], judge: float | None, deeper: int
) -> Sweep:
    """One score at some thresholds, each the same at every depth."""
    tried = [swept(columns, score=score, threshold=t, judge_threshold=judge, depths=[t] * deeper) for t in thresholds]
    bypassed = [float(one.bypass.mean()) for one in tried]
    every = sums([columns.agent_s, *(one.right for one in tried), *(one.seconds for one in tried)], groups)
    at, drawn, n = means(every), drawn_means(every), len(tried)
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracy = _curve(at[1 : n + 1], drawn[:, 1 : n + 1])
        speedup = _curve(at[0] / at[n + 1 :], drawn[:, :1] / drawn[:, n + 1 :])
    return Sweep(thresholds, bypassed, accuracy, speedup)


def _thresholds(values: Floats) -> list[float]:
    """Evenly spaced quantiles of the scores, and a threshold above all of them."""
    spread = np.unique(np.quantile(values, np.linspace(0, 1, _THRESHOLDS), method="nearest"))
    return [*spread.tolist(), float(np.nextafter(spread[-1], 2.0))]


def _curve(value: Floats, drawn: Floats) -> Curve:
    low, high = interval(drawn)
    return Curve(value.tolist(), low.tolist(), high.tolist())


def series(runs: Sequence[Loaded]) -> list[Series]:
    """What runs of one benchmark and the same models show of concurrency, batch size and K."""
    groups: dict[str, list[Loaded]] = {}
    for run in runs:
        groups.setdefault(same(run.manifest, "benchmark", "models", "looks", "prompts"), []).append(run)
    found = []
    for group in groups.values():
        places = [(run, method) for run in group for method in run.methods]
        cells = {(run.name, method): _pooled(run, method) for run, method in places}
        for over, x, fixed in _AXES:
            lines: dict[str, list[Point]] = {}
            for run, method in places:
                at = x(run, method)
                if at is None or (over == "K" and method not in run.bypasses):
                    continue
                lines.setdefault(fixed(run, method), []).append(_point(at, run.name, cells[run.name, method]))
            kept = [
                Line(label, sorted(points, key=lambda p: p.x))
                for label, points in lines.items()
                if len({p.x for p in points}) > 1
            ]
            if kept:
                found.append(Series(group[0].benchmark, over, kept))
    return found


_AXES: list[tuple[str, Callable[[Loaded, str], int | None], Callable[[Loaded, str], str]]] = [
    (
        "concurrency",
        lambda run, method: run.concurrency,
        lambda run, method: _label(method, run, batch=True),
    ),
    (
        "batch size",
        lambda run, method: run.batch_size,
        lambda run, method: _label(method, run, concurrency=True),
    ),
    (
        "K",
        lambda run, method: run.k(method),
        lambda run, method: _label(_without_k(method), run, concurrency=True, batch=True, k=False),
    ),
]


def _label(method: str, run: Loaded, *, batch: bool = False, concurrency: bool = False, k: bool = True) -> str:
    """A line's name: the method and what stays the same along it, where that is not the default."""
    more = []
    if batch and run.batch_size is not None:
        more.append(f"batch {run.batch_size}")
    if concurrency and run.concurrency > 1:
        more.append(f"concurrency {run.concurrency}")
    if k and method in run.bypasses and (at := run.k(method)) not in (None, DEFAULT_K):
        more.append(f"K {at}")
    return f"{method} ({', '.join(more)})" if more else method


def _without_k(method: str) -> str:
    name, _, rest = method.partition(":")
    kept = [part for part in rest.split(",") if part and not part.startswith("k=")]
    return f"{name}:{','.join(kept)}" if kept else name


def _pooled(run: Loaded, method: str) -> Cell:
    return cell(run.of(method), run.of(AGENT), shares_of(run))


def _point(x: int, run: str, found: Cell) -> Point:
    limit = None
    if found.routes is not None:
        answered = found.bypassed.value or 0.0
        limit = 1 / (1 - answered) if answered < 1 else None
    return Point(x, run, found.throughput, found.throughput_speedup, found.speedup, found.accuracy, limit)
