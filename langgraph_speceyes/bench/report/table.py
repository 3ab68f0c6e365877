"""The paper's table: what each method gets right on each split, how fast, and where its questions went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from langgraph_speceyes.bench.report.data import (
    AGENT,
    NOTHING,
    SPECULATOR,
    Loaded,
    busy_shares,
    judges_second,
    same,
)
from langgraph_speceyes.bench.report.depths import split_depths
from langgraph_speceyes.bench.report.published import Cycle, YesNo, cycle, yes_no
from langgraph_speceyes.bench.runs import BAD_ROW, Outcome
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


@dataclass(frozen=True)
class Routes:
    """Where a bypass sent its questions, and what that should cost.

    Attributes:
        beta: Share that the judge let pass (screening ratio).
        alpha: Share of those that the gate accepted.
        judge_s: ``c_J``, mean seconds of intake and judgment.
        speculate_s: ``c_S``, mean seconds of speculation and gate where they ran. Like ``c_J`` with as much of the time
            between a question's phases.
        agent_s: ``L_agent``, mean seconds of the agent behind the bypass over the questions that fell back; None where
            none did.
        predicted_s: ``c_J + beta * c_S + (1 - beta * alpha) * L_agent`` (paper, section 3), with the means of one half
            of the questions.
        measured_s: Mean latency of the other half.
        trouble: Questions that a failure of the front end sent to the agent.
    """

    beta: Estimate
    alpha: Estimate
    judge_s: float
    speculate_s: float
    agent_s: float | None
    predicted_s: float
    measured_s: float
    trouble: int


@dataclass(frozen=True)
class Cell:
    """A method on a split.

    Attributes:
        n: Questions.
        accuracy: Share right; what failed, could not be read or was not answered is in it as wrong.
        errors: Questions whose method failed.
        bad_rows: Rows of the benchmark that could not be used.
        unanswered: Answers from which the rule read nothing clear.
        seconds: Mean latency.
        seconds_p95: 95th percentile of the latency.
        throughput: Questions per busy second.
        pairs: Questions with a latency that `agent` has one for too.
        speedup: All seconds of the agent over all of the method's, on those: the speed-up in total time.
        throughput_speedup: The method's questions per busy second over the agent's, on those.
        difference: Share right minus the agent's, on the questions both have.
        lost: Questions of these that the agent has right and the method wrong.
        won: Those that the method has right and the agent wrong.
        bypassed: Share that the speculator answered; no figure for a method that decides nothing.
        routes: For a bypass without looks.
    """

    n: int
    accuracy: Estimate
    errors: int
    bad_rows: int
    unanswered: int
    seconds: Estimate
    seconds_p95: float | None
    throughput: float | None
    pairs: int
    speedup: Estimate
    throughput_speedup: Estimate
    difference: Estimate
    lost: int
    won: int
    bypassed: Estimate
    routes: Routes | None


@dataclass(frozen=True)
class Mean:
    """The unweighted mean of a row's splits; speed-ups are averaged as such, as in the paper's tables.

    Attributes:
        splits: How many splits.
        accuracy: Of the shares right.
        speedup: Of the speed-ups by latency.
        throughput_speedup: Of the speed-ups by throughput.
        difference: Of the differences to the agent.
    """

    splits: int
    accuracy: Estimate
    speedup: Estimate
    throughput_speedup: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Row:
    """A method in runs that differ in the benchmark only.

    Attributes:
        label: How it is shown: the method, and the runs where several have it.
        method: The method.
        runs: The runs' names.
        cells: By column, `benchmark / split`.
        total: All their questions together.
        mean: Over the splits.
        missing: Sentences on what could not be given.
    """

    label: str
    method: str
    runs: list[str]
    cells: dict[str, Cell]
    total: Cell
    mean: Mean
    missing: list[str]


@dataclass(frozen=True)
class Table:
    """All of it.

    Attributes:
        columns: `(benchmark, split)` in order.
        rows: The methods.
        yes_no: Splits whose every question is answered yes or no.
        cycles: Splits whose questions were asked in rotations.
        missing: Sentences on what could not be given.
    """

    columns: list[tuple[str, str]]
    rows: list[Row]
    yes_no: list[YesNo]
    cycles: list[Cycle]
    missing: list[str]


def column(benchmark: str, split: str) -> str:
    """A column's key."""
    return f"{benchmark} / {split}"


class _Asked(NamedTuple):
    """A question: the method's outcome, the agent's if it has one, and the shares of their methods' busy seconds."""

    mine: Outcome
    agent: Outcome | None
    share: float | None
    agent_share: float | None


@dataclass(frozen=True)
class _Split:
    """What bootstrap samples are drawn from: sums of columns over questions that both methods have."""

    accuracy: Estimate
    right: Floats
    seconds: Floats
    busy: Floats


def table(runs: Sequence[Loaded]) -> Table:
    """Every method of every run on every split."""
    columns = list(dict.fromkeys((run.benchmark, o["split"]) for run in runs for o in run.outcomes))
    rows, answered, cycles, missing = [], [], [], []
    groups = _groups(runs)
    for group in groups:
        for method in dict.fromkeys(name for run in group for name in run.methods):
            having = [run for run in group if method in run.methods]
            more = f" and {len(having) - 1} more" if len(having) > 1 else ""
            label = method if len(groups) == 1 else f"{method} · {having[0].name}{more}"
            row, parts = _row(label, method, having)
            rows.append(row)
            for key, outcomes in parts.items():
                if (found := yes_no(outcomes)) is not None:
                    answered.append(YesNo(label, key, *found))
                if any(o["group"] for o in outcomes):
                    cycles.append(cycle(label, key, outcomes))
    for run in runs:
        missing += _incomplete(run)
    return Table(columns, rows, answered, cycles, missing)


def cell(outcomes: Sequence[Outcome], agent: Sequence[Outcome], shares: dict[tuple[str, str], float]) -> Cell:
    """A method's figures.

    Args:
        outcomes: Of the method.
        agent: Of the method `agent` in the same run; empty if it has none.
        shares: What :func:`shares_of` says of the run.
    """
    return _cell(_asked(outcomes, agent, shares))[0]


def shares_of(run: Loaded) -> dict[tuple[str, str], float]:
    """Each outcome's share of its method's busy seconds, by method and question; what did not run is left out."""
    found: dict[tuple[str, str], float] = {}
    for method in run.methods:
        ran = [o for o in run.of(method) if "total" in o["seconds"]]
        shares = busy_shares([o["began"] for o in ran], [o["seconds"]["total"] for o in ran])
        found |= {(method, o["id"]): float(value) for o, value in zip(ran, shares, strict=True)}
    return found


def _groups(runs: Sequence[Loaded]) -> list[list[Loaded]]:
    """Runs that differ in the benchmark only and so share their rows, as in the paper's table."""
    groups: list[tuple[str, set[tuple[str, str]], list[Loaded]]] = []
    for run in runs:
        gate = {key: run.manifest.get("gate", {}).get(key) for key in ("score", "k")}
        setting = same(run.manifest, "models", "looks", "prompts", "concurrency") + str(gate) + str(run.batch_size)
        splits = {(run.benchmark, o["split"]) for o in run.outcomes}
        for known, taken, group in groups:
            if known == setting and not taken & splits:
                taken |= splits
                group.append(run)
                break
        else:
            groups.append((setting, splits, [run]))
    return [group for _, _, group in groups]


def _row(label: str, method: str, runs: Sequence[Loaded]) -> tuple[Row, dict[str, list[Outcome]]]:
    cells: dict[str, Cell] = {}
    parts: dict[str, list[Outcome]] = {}
    drawn: list[_Split] = []
    everything: list[_Asked] = []
    missing = []
    for run in runs:
        mine, agents = run.of(method), run.of(AGENT)
        if not agents:
            missing.append(f"{run.name} has no method agent, so {method} has no speed-up over it.")
        if judges_second(mine):
            missing.append(
                f"{method} in {run.name} speculates before it judges: beta, alpha and the paper's latency formula are "
                "for the other order."
            )
        asked = _asked(mine, agents, shares_of(run))
        everything += asked
        for split in dict.fromkeys(o["split"] for o in mine):
            key = column(run.benchmark, split)
            here = [one for one in asked if one.mine["split"] == split]
            parts[key] = [one.mine for one in here]
            cells[key], one = _cell(here)
            drawn.append(one)
    mean = Mean(
        splits=len(drawn),
        accuracy=mean_of([one.accuracy for one in drawn]),
        speedup=mean_speedup([one.seconds for one in drawn]),
        throughput_speedup=mean_speedup([one.busy for one in drawn]),
        difference=estimate(_difference, [one.right for one in drawn]),
    )
    return Row(label, method, [run.name for run in runs], cells, _cell(everything)[0], mean, missing), parts


def _asked(outcomes: Sequence[Outcome], agent: Sequence[Outcome], shares: dict[tuple[str, str], float]) -> list[_Asked]:
    others = {o["id"]: o for o in agent}
    return [
        _Asked(o, others.get(o["id"]), shares.get((o["method"], o["id"])), shares.get((AGENT, o["id"])))
        for o in outcomes
    ]


def _cell(asked: Sequence[_Asked]) -> tuple[Cell, _Split]:
    outcomes = [one.mine for one in asked]
    pairs = [(one.mine, one.agent) for one in asked if one.agent is not None]
    ran = [o for o in outcomes if "total" in o["seconds"]]
    took = [o["seconds"]["total"] for o in ran]
    busy = [one.share for one in asked if one.share is not None]
    groups = [a["group"] for a, _ in pairs]
    right = _sums([(float(a["right"]), float(b["right"])) for a, b in pairs], groups)
    # what did not run has no share, and no seconds
    both = [
        (one.mine, one.agent, one.share, one.agent_share)
        for one in asked
        if one.agent is not None and one.share is not None and one.agent_share is not None
    ]
    groups = [a["group"] for a, *_ in both]
    seconds = _sums([(a["seconds"]["total"], b["seconds"]["total"]) for a, b, *_ in both], groups)
    shared = _sums([(mine, agents) for *_, mine, agents in both], groups)
    accuracy = _accuracy(outcomes)
    decided = [o["route"] == "bypass" for o in outcomes if o["route"] is not None]
    if outcomes and outcomes[0]["method"].partition(":")[0] == SPECULATOR:
        decided = []
    found = Cell(
        n=len(outcomes),
        accuracy=accuracy,
        errors=sum(o["error"] is not None and o["rule"] != BAD_ROW for o in outcomes),
        bad_rows=sum(o["rule"] == BAD_ROW for o in outcomes),
        unanswered=sum(o["read"] is None and o["error"] is None and o["rule"] != BAD_ROW for o in outcomes),
        seconds=estimate(_first, [sums([took], [o["group"] for o in ran])]) if took else NOTHING,
        seconds_p95=float(np.percentile(took, 95)) if took else None,
        throughput=len(busy) / sum(busy) if sum(busy) > 0 else None,
        pairs=len(both),
        speedup=total_speedup([seconds]),
        throughput_speedup=total_speedup([shared]),
        difference=estimate(_difference, [right]),
        lost=sum(b["right"] and not a["right"] for a, b in pairs),
        won=sum(a["right"] and not b["right"] for a, b in pairs),
        bypassed=share(decided),
        routes=_routes(outcomes),
    )
    return found, _Split(accuracy, right, seconds, shared)


def _sums(pairs: Sequence[tuple[float, float]], groups: Sequence[str]) -> Floats:
    if not pairs:
        return np.zeros((0, 3))
    return sums([[mine for mine, _ in pairs], [agent for _, agent in pairs]], groups)


def _accuracy(outcomes: Sequence[Outcome]) -> Estimate:
    right = [o["right"] for o in outcomes]
    if not any(o["group"] for o in outcomes):
        return share(right)
    return estimate(_first, [sums([right], [o["group"] for o in outcomes])])


def _first(means: Floats) -> Floats:
    return np.asarray(means[..., 0])


def _difference(means: Floats) -> Floats:
    return np.asarray(means[..., 0] - means[..., 1])


def _routes(outcomes: Sequence[Outcome]) -> Routes | None:
    decided = [o for o in outcomes if o["route"] is not None and "total" in o["seconds"]]
    if not decided or outcomes[0]["method"].partition(":")[0] == SPECULATOR or judges_second(outcomes):
        return None
    if any("depths" in o for o in decided):
        # with looks it is told by depth
        return None
    found = split_depths(outcomes[0]["split"], decided, 0)
    (only,) = found.levels
    trouble = sum(o["trouble"] is not None for o in decided)
    costs = found.judge_s, only.cost_s, found.agent_s
    return Routes(found.beta, only.accepted, *costs, found.predicted_s, found.measured_s, trouble)


def _incomplete(run: Loaded) -> list[str]:
    """What a run says it has and has not."""
    counts = {method: len(run.of(method)) for method in run.methods}
    found = [
        f"{run.name}: {name} has no outcome yet." for name in run.manifest.get("methods", []) if name not in counts
    ]
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(f"{run.name} is not complete or has failed in part; outcomes: {each}.")
    if run.concurrency > 1 and run.manifest.get("full"):
        found.append(
            f"{run.name} was made with --full and {run.concurrency} questions at once: what was asked after the clock "
            "had stopped ran beside other questions and slowed them down."
        )
    return found
