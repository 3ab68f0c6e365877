"""The rows of the table, from what the runs hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from langgraph_speceyes.bench.calibrate import JUDGE_THRESHOLD
from langgraph_speceyes.bench.report.ways import beyond_phases
from langgraph_speceyes.bench.reproduce.published import (
    AGENT,
    DRAFT,
    SPECREASON,
    Published,
    published,
    published_mean,
)
from langgraph_speceyes.bench.reproduce.run import BYPASS, GATES, LIVE, TEST, TEST_METHODS, Plan, comparable, why_none
from langgraph_speceyes.bench.runs import Outcome
from langgraph_speceyes.bench.statistics import (
    Estimate,
    Floats,
    estimate,
    mean_of,
    mean_speedup,
    share,
    sums,
    total_speedup,
)
from langgraph_speceyes.bench.sweep import sweepable, swept, table
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import Gate

Mask = NDArray[np.bool_]
SCORE_ORDER = ("log", "mean", "bottom", "min", "odds")
"""As the paper's table has them, ours last."""


@dataclass(frozen=True)
class Cell:
    """A method on a column's questions, or on several columns'.

    Attributes:
        n: Questions.
        accuracy: Share right.
        speedup: All seconds of the agent over all of its own; over several columns their unweighted mean.
        bypassed: Share that the small model answered; no figure for a method that decides nothing.
        paper: What the paper gives.
    """

    n: int
    accuracy: Estimate
    speedup: Estimate
    bypassed: Estimate
    paper: Published | None


@dataclass(frozen=True)
class Row:
    """A method before a backbone.

    Attributes:
        backbone: Whose agent answers what is left.
        method: `draft only`, `agent`, `SpecReason`, or the score's name.
        threshold: The operating point; None where nothing is compared.
        cells: By column.
        mean: The unweighted mean of the columns, as in the paper.
        total: All questions together, in total time.
    """

    backbone: str
    method: str
    threshold: float | None
    cells: dict[str, Cell]
    mean: Cell
    total: Cell


@dataclass(frozen=True)
class Reproduced:
    """The table of one or more backbones.

    Attributes:
        columns: In order.
        rows: In order, backbone by backbone.
        k: Candidates a token, by backbone.
        missing: Sentences on what could not be given.
        live: For each backbone the bypass that ran, over the replay of the same: all seconds of it over all of it.
    """

    columns: list[str]
    rows: list[Row]
    k: dict[str, int | None]
    missing: list[str]
    live: dict[str, float]


@dataclass(frozen=True)
class _Took:
    """What a method did, ``[n]`` each."""

    right: Mask
    seconds: Floats
    bypass: Mask | None = None


def reproduced(plan: Plan) -> Reproduced:
    """The table, from complete runs.

    Raises:
        ArgumentError: A backbone has no question that every method answered.
    """
    rows: list[Row] = []
    columns: list[str] = []
    missing: list[str] = []
    ks: dict[str, int | None] = {}
    live: dict[str, float] = {}
    for backbone in (one.name for one in plan.backbones):
        outcomes = plan.outcomes(backbone, TEST)
        by_method = {name: {(o["split"], o["id"]): o for o in outcomes if o["method"] == name} for name in TEST_METHODS}
        asked = list(by_method[BYPASS])
        known = {(o["split"], o["id"]) for o in sweepable(list(by_method[BYPASS].values()))}
        ids = [
            id for id in asked if id in known and all("total" in rows_[id]["seconds"] for rows_ in by_method.values())
        ]
        if not ids:
            found = why_none(plan, backbone, outcomes)
            raise ArgumentError("out", f"questions that every method answered, before {backbone}", found)
        if len(ids) < len(asked):
            missing.append(
                f"{backbone}: {len(asked) - len(ids)} of {len(asked)} questions left out, where a method failed."
            )
        bypass = [by_method[BYPASS][id] for id in ids]
        took, thresholds, factor = _replayed(plan, backbone, bypass)
        for name, method in ((AGENT, "agent"), (SPECREASON, "specreason")):
            took[name] = _live([by_method[method][id] for id in ids])
        live[backbone] = factor
        ks[backbone] = next((part["k"] for o in bypass if (part := o["speculator"]) and part.get("k")), None)
        missing += [
            f"{backbone}: no row for {score}, whose answers have different numbers of candidates."
            for score in SCORE_ORDER
            if score not in took
        ]
        splits, groups = [split for split, _ in ids], [o["group"] for o in bypass]
        columns += [split for split in dict.fromkeys(splits) if split not in columns]
        order = (DRAFT, AGENT, SPECREASON, *SCORE_ORDER)
        rows += [_row(backbone, name, took, thresholds.get(name), splits, groups) for name in order if name in took]
    return Reproduced(columns, rows, ks, missing, live)


def _live(outcomes: Sequence[Outcome]) -> _Took:
    return _Took(np.array([o["right"] for o in outcomes]), np.array([o["seconds"]["total"] for o in outcomes]))


def _replayed(plan: Plan, backbone: str, outcomes: list[Outcome]) -> tuple[dict[str, _Took], dict[str, float], float]:
    """The small model alone, and the bypass with each score at its operating point; how the one that ran compares."""
    columns, beyond = table(outcomes), beyond_phases(outcomes)
    found = {DRAFT: _Took(columns.speculator_right, columns.speculate_s + beyond)}
    thresholds: dict[str, float] = {}
    for score in comparable(outcomes):
        file = plan.out / backbone / GATES / f"{score}.json"
        if not file.is_file():
            continue
        thresholds[score] = Gate.load(file).threshold
        one = swept(columns, score=score, threshold=thresholds[score], judge_threshold=JUDGE_THRESHOLD)
        found[score] = _Took(one.right, one.seconds + beyond, one.bypass)
    ran = sum(o["seconds"]["total"] for o in outcomes)
    return found, thresholds, ran / float(found[LIVE].seconds.sum())


def _row(
    backbone: str,
    method: str,
    took: dict[str, _Took],
    threshold: float | None,
    splits: Sequence[str],
    groups: Sequence[str],
) -> Row:
    mine, agent = took[method], took[AGENT]
    cells: dict[str, Cell] = {}
    strata: list[Floats] = []
    for column in dict.fromkeys(splits):
        at = np.array([split == column for split in splits])
        drawn = [group for group, here in zip(groups, at, strict=True) if here]
        strata.append(sums([mine.seconds[at], agent.seconds[at]], drawn))
        cells[column] = Cell(
            int(at.sum()),
            _accuracy(mine.right[at], drawn),
            _of_agent(method, total_speedup(strata[-1:])),
            share([] if mine.bypass is None else mine.bypass[at].tolist()),
            published(backbone, method, column),
        )
    bypassed = [cell.bypassed for cell in cells.values()]
    mean = Cell(
        len(splits),
        mean_of([cell.accuracy for cell in cells.values()]),
        _of_agent(method, mean_speedup(strata)),
        mean_of(bypassed),
        published_mean(backbone, method),
    )
    total = replace(
        mean,
        accuracy=_accuracy(mine.right, groups),
        speedup=_of_agent(method, total_speedup(strata)),
        bypassed=share([] if mine.bypass is None else mine.bypass.tolist()),
        paper=None,
    )
    return Row(backbone, method, threshold, cells, mean, total)


def _accuracy(right: Mask, groups: Sequence[str]) -> Estimate:
    if any(groups):
        return estimate(lambda means: means[..., 0], [sums([right], groups)])
    return share(right.tolist())


def _of_agent(method: str, speedup: Estimate) -> Estimate:
    return Estimate(1.0, None, None, speedup.n) if method == AGENT else speedup
