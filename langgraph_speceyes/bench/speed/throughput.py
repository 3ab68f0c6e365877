"""Many questions at once: queries a second against the agent's, at the same concurrency and one at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from langgraph_speceyes.bench.methods import METHODS
from langgraph_speceyes.bench.routes import passed
from langgraph_speceyes.bench.speed.figures import Figure, Part, left_out, typical
from langgraph_speceyes.bench.speed.subjects import Bench, changed, empty, gathered, speceyes, together, turn

KEYS = ("throughput_over_agent", "throughput_over_limit")
WIDE = 32
_QUERIES, _REPEATS = 64, 5
_LEVELS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


async def measure(bench: Bench) -> Part:
    """Queries a second of SpecEyes at concurrency 32, and at other concurrencies, beside the agent's.

    A repeat asks the same questions of the agent, 32 at once and one after another, and of SpecEyes, 32 at once, in
    turns at going first and each from empty caches. `throughput_over_agent` is the ratio of the two throughputs at 32
    at once. `throughput_over_limit` is SpecEyes's at 32 over the serial agent's, over ``1 / (1 - beta * alpha)`` with
    the share ``beta * alpha`` of accepted questions in that repeat: the limit of a bypass in front of an agent that
    runs one query after another (paper, the funnel). Medians and bootstrap intervals over repeats.
    """
    models = bench.models
    agent, bypass = METHODS["agent"](models), speceyes(models)
    await bench.warm(agent, bypass)
    items = bench.items[: 16 if bench.quick else _QUERIES]
    repeats = []
    for number in range(2 if bench.quick else _REPEATS):
        bench.report(f"throughput: {len(items)} questions at concurrency {WIDE}, repeat {number + 1}")
        row: dict[str, Any] = {"queries": len(items)}
        for which in turn(["agent", "agent at once", "SpecEyes"], number):
            empty(models)
            cpu = time.process_time()
            if which == "SpecEyes":
                row["speceyes_s"], outcomes = await together(bypass, items, WIDE)
                row |= _shares(outcomes)
            else:
                took = await gathered(agent, items, 1 if which == "agent" else WIDE)
                row["agent_s" if which == "agent" else "agent_at_once_s"] = took
            row[f"{which} cpu_s"] = time.process_time() - cpu
        row["over_agent"] = row["agent_at_once_s"] / row["speceyes_s"]
        row["over_serial_agent"] = row["agent_s"] / row["speceyes_s"]
        row["limit"] = 1 / (1 - row["accepted"]) if row["accepted"] < 1 else None
        repeats.append(row)
    figures = {"throughput_over_agent": typical([r["over_agent"] for r in repeats])}
    part = Part(figures | {"throughput_over_limit": _over_limit(repeats)}, {"repeats": repeats})
    alone = typical([r["over_serial_agent"] for r in repeats])
    part.rows.append((f"throughput, SpecEyes at {WIDE} / agent one at a time", alone, "x"))
    part.details["curve"] = await _curve(bench)
    return part


def _shares(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Share of accepted questions (``beta * alpha`` without looks), of those that passed the judge, and failures."""
    decisions = [o["decision"] for o in outcomes if o["decision"]]
    count = len(decisions) or 1
    return {
        "accepted": sum(d["route"] == "bypass" for d in decisions) / count,
        "beta": sum(passed(d) for d in decisions) / count,
        "failed": len(outcomes) - len(decisions),
    }


def _over_limit(repeats: Sequence[dict[str, Any]]) -> Figure:
    kept = [r["over_serial_agent"] / r["limit"] for r in repeats if r["limit"]]
    return typical(kept) if kept else left_out("every question was accepted: there is no limit")


async def _curve(bench: Bench) -> list[dict[str, Any]]:
    """Queries a second of agent, SpecEyes and SpecEyes without batching, concurrency by concurrency."""
    models = bench.models
    alone = changed(models, batching=False)
    bypasses = {"SpecEyes": (speceyes(models), models)}
    if not isinstance(alone, str):
        bypasses["SpecEyes, no batching"] = speceyes(alone), alone
    agent = METHODS["agent"](models)
    found = []
    for wide in (1, 4, 16) if bench.quick else _LEVELS:
        if wide > len(bench.items):
            break
        items = bench.items[: max(wide, 16 if bench.quick else _QUERIES)]
        bench.report(f"throughput: {len(items)} questions at concurrency {wide}")
        row: dict[str, Any] = {"concurrency": wide, "queries": len(items)}
        empty(models)
        row["agent"] = len(items) / await gathered(agent, items, wide)
        for name, (graph, own) in bypasses.items():
            empty(own)
            seconds, outcomes = await together(graph, items, wide)
            row |= {name: len(items) / seconds, "accepted": _shares(outcomes)["accepted"]}
        found.append(row)
    return found
