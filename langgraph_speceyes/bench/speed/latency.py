"""One question at a time: what the front end costs where it accepts nothing, and what it saves where it does."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from langgraph_speceyes.bench.methods import METHODS, Models
from langgraph_speceyes.bench.routes import answered_at, deepest, depth_seconds, passed, reached
from langgraph_speceyes.bench.speed.figures import (
    Figure,
    Part,
    left_out,
    mean_speedup,
    of,
    paired,
    spread,
    total_speedup,
    typical,
)
from langgraph_speceyes.bench.speed.subjects import NOT_LOCAL, Bench, Run, as_local, changed, rounds, speceyes
from langgraph_speceyes.bench.statistics import share

KEYS = (
    *("speedup_total", "speedup_cached", "speedup_plain_total", "speedup_plain", "speedup_dense"),
    *("gate_off_ratio_judge", "gate_off_ratio_all"),
)
PLAIN, AGENT, SPECEYES, SCREENED, REJECTED = "plain agent", "agent", "SpecEyes", "all screened", "all rejected"
WITHOUT, NEVER = "SpecEyes without looks", "all rejected at every depth"
DENSE = "dense"
_ALL, _NONE = sys.float_info.min, math.nextafter(1.0, 0.0)


async def measure(bench: Bench) -> Part:
    """Every question through all of them, one run at a time.

    The agent without and with caches; SpecEyes as calibrated, with every question judged tool-needing, and with every
    speculation rejected, both without looks. Each run begins with empty caches.

    With looks there are SpecEyes without them beside these, and every look taken and nothing accepted; further rows
    have what each depth costs and accepts.

    `gate_off_ratio_judge` and `gate_off_ratio_all` are medians of the questions'
    latency ratios, over the questions that really went that way; `speedup_total` and `speedup_plain_total` are ratios
    of total time over the agent with and without caches, `speedup_cached` and `speedup_plain` the same as unweighted
    means of the splits, `speedup_dense` that of one split; intervals by percentile bootstrap over questions.
    """
    models, graphs, missing = bench.models, {}, dict[str, str]()
    bare = models.with_looks(0)
    graphs[AGENT] = METHODS["agent"](models), models
    graphs[SPECEYES] = speceyes(models), models
    plain = changed(models, prefixes=False, features=False)
    if isinstance(plain, Models):
        graphs[PLAIN] = METHODS["agent"](plain), plain
    else:
        missing |= dict.fromkeys(("speedup_plain_total", "speedup_plain"), plain)
    if not models.judging or models.large is None:
        missing["gate_off_ratio_judge"] = "there is no judge"
        graphs[REJECTED] = speceyes(bare, threshold=_NONE), models
    else:
        graphs[SCREENED] = speceyes(bare, judge_threshold=_ALL), models
        graphs[REJECTED] = speceyes(bare, judge_threshold=_NONE, threshold=_NONE), models
    if models.looks:
        graphs[WITHOUT] = speceyes(bare), models
        graphs[NEVER] = speceyes(models, threshold=_NONE), models
    if models.large is None or as_local(models.large) is None:
        # the second of two runs would find its prompt in the server's cache
        missing |= dict.fromkeys(("gate_off_ratio_judge", "gate_off_ratio_all"), f"{NOT_LOCAL}: no caches to empty")
        graphs.pop(SCREENED, None)
        graphs.pop(REJECTED, None)
    bench.report(f"latency: {len(bench.items)} questions, {len(graphs)} ways")
    for graph, own in graphs.values():
        await bench.warm(graph, models=own)
    found = await rounds(graphs, bench.items)
    splits = [item.split for item in bench.items]
    figures = {
        "speedup_total": _speedup(found, splits, AGENT, total=True),
        "speedup_plain_total": _speedup(found, splits, PLAIN, total=True),
        "gate_off_ratio_judge": _ratio(found, SCREENED, "judge"),
        "gate_off_ratio_all": _ratio(found, REJECTED, "gate"),
        "speedup_plain": _speedup(found, splits, PLAIN),
        "speedup_cached": _speedup(found, splits, AGENT),
        "speedup_dense": _speedup(found, splits, AGENT, DENSE),
    }
    by_split = {
        split: {name: _speedup(found, splits, name, split) for name in (PLAIN, AGENT) if name in graphs}
        for split in dict.fromkeys(splits)
    }
    part = Part(figures | {key: left_out(reason) for key, reason in missing.items()})
    part.details = {
        "questions": [
            {"id": item.id, "split": item.split, "runs": {name: run.to_dict() for name, run in runs.items()}}
            for item, runs in zip(bench.items, found, strict=True)
        ],
        "seconds": {name: spread([runs[name].seconds for runs in found]) for name in graphs},
        "cpu_s": {name: spread([runs[name].cpu_s for runs in found]) for name in graphs},
        "by_split": {split: {n: f.to_dict() for n, f in ratios.items()} for split, ratios in by_split.items()},
        "routes": _routes(found),
        "failed": sum(run.error is not None for runs in found for run in runs.values()),
        "caches_emptied": as_local(models.large) is not None and as_local(models.speculator) is not None,
    }
    for route, phases in part.details["routes"].items():
        seconds = [r[SPECEYES].seconds for r in found if _route(r[SPECEYES]) == route]
        part.rows.append((f"latency, {route}", _milliseconds(typical(seconds)), "ms"))
        part.details["routes"][route] = {"questions": len(seconds), "phases": phases}
    for split, ratios in by_split.items():
        part.rows += [
            (f"speed-up over the {name}, total time of {split}", figure, "x") for name, figure in ratios.items()
        ]
    if models.looks:
        part.rows += by_depth(found, splits)
    for name in graphs:
        part.rows.append((f"latency, {name}", _milliseconds(typical([r[name].seconds for r in found])), "ms"))
    return part


def by_depth(found: Sequence[dict[str, Run]], splits: Sequence[str]) -> list[tuple[str, Figure, str]]:
    """What each depth costs the questions that come to it, how many it accepts, and what the looks bring.

    Args:
        found: The runs by method: SpecEyes with and without looks, and with nothing accepted.
        splits: Of the questions.
    """
    decisions = [r[SPECEYES].decision for r in found]
    taken = [d for d in decisions if d is not None and d["decided_by"] != "intake"]
    rows = [
        (f"speed-up over {WITHOUT}, total time", _speedup(found, splits, WITHOUT, total=True), "x"),
        ("screening ratio beta", of(share([passed(d) for d in taken])), "share"),
    ]
    for depth in range(deepest(taken) + 1):
        came = [d for d in taken if reached(d, depth)]
        cost = typical([depth_seconds(d, depth) for d in came])
        rows.append((f"c_{depth}, look, speculation and gate", _milliseconds(cost), "ms"))
        accepted = share([answered_at(d) == depth for d in came])
        rows.append((f"alpha_{depth}, accepted of what came", of(accepted), "share"))
    kept = [r for r in found if not r[NEVER].error and not r[AGENT].error]
    never = paired([r[NEVER].seconds for r in kept], [r[AGENT].seconds for r in kept])
    rows.append(("latency with every look and nothing accepted, over the agent's", never, "x"))
    return rows


def _ratio(found: Sequence[dict[str, Run]], name: str, decided_by: str) -> Figure:
    """Against the agent, over the questions that the phase in question sent to it."""
    pairs = []
    for runs in found:
        run = runs.get(name)
        if run is None or run.error or runs[AGENT].error or run.decision is None:
            continue
        if run.decision["route"] == "fallback" and run.decision["decided_by"] == decided_by:
            pairs.append((run.seconds, runs[AGENT].seconds))
    return paired([a for a, _ in pairs], [b for _, b in pairs]) if pairs else left_out("no question went this way")


def _speedup(
    found: Sequence[dict[str, Run]], splits: Sequence[str], slow: str, only: str | None = None, *, total: bool = False
) -> Figure:
    rows = [
        (split, runs[slow].seconds, runs[SPECEYES].seconds)
        for split, runs in zip(splits, found, strict=True)
        if slow in runs and only in (None, split) and not runs[slow].error and not runs[SPECEYES].error
    ]
    if not rows:
        return left_out(f"no question of the split {only}" if only else "no questions")
    if total:
        return total_speedup([r[1] for r in rows], [r[2] for r in rows])
    return mean_speedup([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])


def _route(run: Run) -> str:
    if run.decision is None:
        return "failed"
    if run.decision["route"] == "bypass":
        depth = run.decision.get("depth")
        return "accepted" if depth is None else f"accepted at depth {depth}"
    rejected = "rejected by the gate"
    names = {"judge": "judged tool-needing", "gate": rejected, "look": rejected}
    return names.get(run.decision["decided_by"], "to agent")


def _routes(found: Sequence[dict[str, Run]]) -> dict[str, Any]:
    """Mean seconds of each phase by route.

    `other` is what no phase accounts for: above all the graph.
    """
    kept: dict[str, list[dict[str, float]]] = {}
    for runs in found:
        run = runs[SPECEYES]
        if run.decision is None:
            continue
        phases = {k: v for k, v in run.decision["seconds"].items() if k != "total"}
        kept.setdefault(_route(run), []).append(phases | {"other": max(0.0, run.seconds - sum(phases.values()))})
    return {
        route: {phase: sum(r.get(phase, 0.0) for r in rows) / len(rows) for phase in {p: 0 for r in rows for p in r}}
        for route, rows in sorted(kept.items())
    }


def _milliseconds(figure: Figure) -> Figure:
    median, low, high = (None if v is None else v * 1e3 for v in (figure.median, figure.low, figure.high))
    return Figure(median, low, high, figure.n, figure.reason)
