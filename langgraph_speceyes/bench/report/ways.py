"""Ways to put judge, depths and agent together: those that ran, and those replayed from the record of a full run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from langgraph_speceyes.bench.report.data import AGENT, CASCADE, Loaded, judges_second
from langgraph_speceyes.bench.runs import Outcome
from langgraph_speceyes.bench.statistics import Estimate, Floats, mean_speedup, share, sums, total_speedup
from langgraph_speceyes.bench.sweep import sweepable, swept, table


@dataclass(frozen=True)
class Way:
    """One way on the same questions as all others.

    Attributes:
        name: What it consists of.
        live: Whether it ran; else it is replayed from what was measured of its parts.
        right: Share right.
        answered: Share that the small model answered; no figure for a way that decides nothing.
        speedup: All seconds of the agent over all of its own.
        speedup_cpu: The same in processor seconds; no figure for what was replayed or not recorded.
        over_cascade: All seconds of the plain cascade over its own; no figure without a cascade.
        speedup_mean: The mean of the splits' speed-ups.
        by_split: Speed-up in each split.
        right_by_split: Share right in each split.
    """

    name: str
    live: bool
    right: Estimate
    answered: Estimate
    speedup: Estimate
    speedup_cpu: Estimate
    over_cascade: Estimate
    speedup_mean: Estimate
    by_split: dict[str, Estimate]
    right_by_split: dict[str, Estimate]


@dataclass(frozen=True)
class Ways:
    """All of them on some questions.

    Attributes:
        run: The run's name, or several.
        n: Questions.
        ways: The ways, those that ran first.
    """

    run: str
    n: int
    ways: list[Way]


@dataclass(frozen=True)
class _Took:
    """What a way did: ``[n]`` each."""

    name: str
    live: bool
    right: np.ndarray[tuple[int], np.dtype[np.bool_]]
    seconds: Floats
    cpu_s: Floats | None
    answered: np.ndarray[tuple[int], np.dtype[np.bool_]] | None


def ways(runs: Sequence[Loaded]) -> Ways | None:
    """The ways of runs that differ in their splits only, on the questions that all methods have.

    A replay takes each part's seconds as they were measured, and adds what the bypass itself took beyond its phases:
    the question's intake, and the graph's mean. The agent's are those behind the bypass where it was asked there, else
    its own latency, which is a little more.

    Returns:
        None for runs without agent, without looks, or without both sides of every question (`--full`).
    """
    outcomes = [o for run in runs for o in run.outcomes]
    methods = list(dict.fromkeys(name for run in runs for name in run.methods))
    found = {
        name: {o["id"]: o for o in outcomes if o["method"] == name and "total" in o["seconds"]} for name in methods
    }
    main = next((name for name in methods if any("depths" in o for o in found[name].values())), None)
    if main is None or AGENT not in found:
        return None
    ids = [id for id in found[main] if all(id in rows for rows in found.values())]
    rows = [found[main][id] for id in ids]
    if not ids or len(sweepable(rows)) < len(rows) or judges_second(rows):
        return None
    took = [_live(name, [found[name][id] for id in ids]) for name in methods]
    took += _replayed(rows)
    return Ways(", ".join(run.name for run in runs), len(ids), _ways(took, [o["split"] for o in rows]))


def _live(name: str, outcomes: Sequence[Outcome]) -> _Took:
    cpu = [o["cpu_s"] for o in outcomes if "cpu_s" in o]
    decided = [o["route"] == "bypass" for o in outcomes if o["route"] is not None]
    return _Took(
        name,
        True,
        np.array([o["right"] for o in outcomes]),
        np.array([o["seconds"]["total"] for o in outcomes]),
        np.array(cpu) if len(cpu) == len(outcomes) else None,
        np.array(decided) if len(decided) == len(outcomes) else None,
    )


def _replayed(rows: Sequence[Outcome]) -> list[_Took]:
    """The other ways, at the thresholds of the run."""
    columns = table(rows)
    score, at = rows[0]["score"], rows[0]["threshold"]
    if score is None or at is None:
        return []
    judge = next((o["judge_threshold"] for o in rows if o["judge_threshold"] is not None), None)
    deeper = [_threshold(rows, depth, at) for depth in range(1, len(columns.deeper) + 1)]
    last = len(deeper)
    tried: list[tuple[str, float | None, float | None, list[float]]] = [
        ("depth 0", at, None, []),
        ("depth 1 at once", None, None, deeper[:1]),
        (f"depths 0 to {last}", at, None, deeper),
    ]
    if last > 1:
        tried.insert(2, (f"depths 1 to {last} at once", None, None, deeper))
    if judge is not None:
        tried.append(("judge, depth 0", at, judge, []))
        tried += [(f"judge, depths 0 to {end}", at, judge, deeper[:end]) for end in range(1, last + 1)]
    beyond = beyond_phases(rows)
    found = []
    for name, threshold, judged, depths in tried:
        one = swept(columns, score=score, threshold=threshold, judge_threshold=judged, depths=depths)
        found.append(_Took(f"{name}, agent", False, one.right, one.seconds + beyond, None, one.bypass))
    return found


def _threshold(rows: Sequence[Outcome], depth: int, default: float) -> float:
    """What the run compared a depth's scores with; depth 0's where no question came to it."""
    parts = [o["depths"][depth] for o in rows if "depths" in o]
    return next((part["threshold"] for part in parts if part and part["threshold"] is not None), default)


def beyond_phases(rows: Sequence[Outcome]) -> Floats:
    """Seconds of each question's intake, and of the graph on the mean, ``[n]``."""
    intake = np.array([o["seconds"].get("intake", 0.0) for o in rows])
    phases = [sum(value for phase, value in o["seconds"].items() if phase != "total") for o in rows]
    return intake + float(np.mean([o["seconds"]["total"] - one for o, one in zip(rows, phases, strict=True)]))


def _ways(took: Sequence[_Took], splits: Sequence[str]) -> list[Way]:
    names = list(dict.fromkeys(splits))
    at = {name: np.array([split == name for split in splits]) for name in names}
    agent = next(one for one in took if one.name == AGENT)
    cascade = next((one for one in took if one.name.partition(":")[0] == CASCADE), None)
    found = []
    for one in took:
        strata = [sums([one.seconds[at[name]], agent.seconds[at[name]]]) for name in names]
        over = [] if cascade is None else [sums([one.seconds, cascade.seconds])]
        both = [] if one.cpu_s is None or agent.cpu_s is None else [sums([one.cpu_s, agent.cpu_s])]
        found.append(
            Way(
                one.name,
                one.live,
                share(one.right.tolist()),
                share([] if one.answered is None else one.answered.tolist()),
                total_speedup(strata),
                total_speedup(both),
                total_speedup(over),
                mean_speedup(strata),
                {name: total_speedup([rows]) for name, rows in zip(names, strata, strict=True)},
                {name: share(one.right[at[name]].tolist()) for name in names},
            )
        )
    return found
