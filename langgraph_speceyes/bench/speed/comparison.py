"""SpecEyes against simpler things: a plain cascade, and the judge alone, each calibrated by the same rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from langgraph_speceyes.bench.alike import WITHOUT_LOOKS, Alike, calibrate_alike
from langgraph_speceyes.bench.benchmark import Row
from langgraph_speceyes.bench.datasets import Item
from langgraph_speceyes.bench.evaluation import sides_of
from langgraph_speceyes.bench.methods import METHODS, Models, build
from langgraph_speceyes.bench.report.text import Text, number, percent, shown
from langgraph_speceyes.bench.routes import answered_at, deepest
from langgraph_speceyes.bench.rules import score
from langgraph_speceyes.bench.runner import evaluate
from langgraph_speceyes.bench.runs import Outcome
from langgraph_speceyes.bench.speed.figures import Figure, Part, Sheet, left_out, mean_speedup, of, total_speedup
from langgraph_speceyes.bench.speed.subjects import Bench, Run, rounds, speceyes
from langgraph_speceyes.bench.statistics import Estimate, share
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.looks import look_id

KEYS = ("speceyes_over_cascade", "speceyes_over_judge_only")
AGENT, SPECEYES, CASCADE, JUDGE_ONLY = "agent", "speceyes", "cascade", "judge-only"
_NONE = "no threshold keeps the promise"


async def measure(bench: Bench) -> Part:
    """Every question of the test part through the agent and all of them, one run at a time and in turn.

    With looks the bypass is there with them and without.

    The thresholds are chosen by one rule (:func:`~langgraph_speceyes.bench.alike.calibrate_alike`) on questions about
    other images, which the bypass is run on first. The keys are ratios of total time by the wall clock: how many times
    as fast SpecEyes is; the same in processor seconds is in the further rows.
    """
    asked = list(bench.calibration())
    images = {item.image.source_key for item in asked}
    items = [item for item in bench.items if item.image.source_key not in images]
    if not asked or not items:
        return _left_out("there are no questions about images of a calibration and of a test part")
    bench.report(f"comparison: calibration on {len(asked)} questions")
    judging = bench.models.judging and bench.models.large is not None
    try:
        looks = [look_id(look) for look in bench.models.looks]
        found = await _calibration(bench, asked)
        alike = calibrate_alike(found, bench.models.gate, judging=judging, looks=looks)
    except ArgumentError as error:
        return _left_out(f"no calibration: {error}")
    graphs = {AGENT: (METHODS[AGENT](bench.models), bench.models)}
    for name, one in alike.found.items():
        if one.gate is not None:
            graphs[name] = (build(name, replace(bench.models, gate=one.gate)), bench.models)
    bench.report(f"comparison: {len(items)} questions, {len(graphs)} ways")
    for graph, models in graphs.values():
        await bench.warm(graph, models=models)
    return compared(items, await rounds(graphs, items), alike, judging=judging)


async def _calibration(bench: Bench, asked: Sequence[Item]) -> list[Outcome]:
    """Both sides of every calibration question, one at a time, and what judge and scores say."""
    models: Models = bench.models

    def rows() -> Iterator[Row]:
        return iter(asked)

    made = {SPECEYES: speceyes(models)}
    return [outcome async for outcome in evaluate(rows, made, sides=sides_of(models))]


def compared(items: Sequence[Item], found: Sequence[dict[str, Run]], alike: Alike, *, judging: bool = True) -> Part:
    """The figures.

    Args:
        items: The questions.
        found: Their runs by method, among them `agent`.
        alike: The thresholds that they ran with.
        judging: Whether there is a judge.
    """
    names = [AGENT, *(name for name in alike.found if any(name in runs for runs in found))]
    right = {name: [_right(item, runs[name]) for item, runs in zip(items, found, strict=True)] for name in names}
    splits = [item.split for item in items]
    part = Part()
    for name, key in ((CASCADE, KEYS[0]), (JUDGE_ONLY, KEYS[1])):
        why = "there is no judge" if name == JUDGE_ONLY and not judging else f"{_NONE} for {name} or speceyes"
        both = name in names and SPECEYES in names
        part.figures[key] = _total(found, name, SPECEYES, _wall) if both else left_out(why)
        if both:
            part.rows.append((f"{key}, processor seconds", _total(found, name, SPECEYES, _cpu), "x"))
    part.rows += _of_looks(found, names)
    details: dict[str, Any] = {}
    for name in names:
        won = sum(a and not b for a, b in zip(right[name], right[AGENT], strict=True))
        lost = sum(b and not a for a, b in zip(right[name], right[AGENT], strict=True))
        accepted = [run.decision is not None and run.decision["route"] == "bypass" for run in _of(found, name)]
        one: dict[str, Any] = {"accuracy": share(right[name]), "failed": sum(bool(r.error) for r in _of(found, name))}
        if name != AGENT:
            gate = alike.found[name].gate
            assert gate is not None
            one |= {"lost": lost, "won": won, "bypassed": share(accepted)}
            one |= {"threshold": None if name == JUDGE_ONLY else gate.threshold, "score": gate.score}
            one |= {"depths": list(gate.depths)} if gate.depths else {}
            one |= {"judge_threshold": gate.judge_threshold, "calibrated": alike.found[name].to_dict()}
            one |= {"speedup": _total(found, AGENT, name, _wall), "speedup_cpu": _total(found, AGENT, name, _cpu)}
            one["speedup_mean"] = _mean(found, splits, name)
        details[name] = one
    part.sheet = _sheet(details, alike, len(set(splits)))
    part.details = {
        "rule": alike.rule,
        "says": alike.says,
        "methods": {name: {key: _plain(value) for key, value in one.items()} for name, one in details.items()},
        "questions": [
            {"id": item.id, "split": item.split, "runs": {name: run.to_dict() for name, run in runs.items()}}
            | {"right": {name: right[name][k] for name in names}}
            for k, (item, runs) in enumerate(zip(items, found, strict=True))
        ],
    }
    return part


def _of_looks(found: Sequence[dict[str, Run]], names: Sequence[str]) -> list[tuple[str, Figure, str]]:
    """What looks bring, and where questions are answered; nothing without looks."""
    if SPECEYES not in names or not any("depths" in (run.decision or {}) for run in _of(found, SPECEYES)):
        return []
    rows = []
    if WITHOUT_LOOKS in names:
        for label, clock in (("total time", _wall), ("processor seconds", _cpu)):
            ratio = _total(found, WITHOUT_LOOKS, SPECEYES, clock)
            rows.append((f"speed of SpecEyes with looks over SpecEyes without, {label}", ratio, "x"))
    decisions = [run.decision for run in _of(found, SPECEYES) if run.decision is not None]
    here = [share([answered_at(d) == depth for d in decisions]) for depth in range(deepest(decisions) + 1)]
    return rows + [(f"answered at depth {depth}", of(one), "share") for depth, one in enumerate(here)]


def _left_out(reason: str) -> Part:
    return Part({key: left_out(reason) for key in KEYS})


def _of(found: Sequence[dict[str, Run]], name: str) -> list[Run]:
    return [runs[name] for runs in found]


def _right(item: Item, run: Run) -> bool:
    return score(item, run.answer, error=None if run.answer else run.error).right


def _wall(run: Run) -> float:
    return run.seconds


def _cpu(run: Run) -> float:
    return run.cpu_s


def _timed(found: Sequence[dict[str, Run]], slow: str, fast: str) -> list[int]:
    """Questions where neither had trouble: its time would mean something else."""
    return [k for k, runs in enumerate(found) if not runs[slow].error and not runs[fast].error]


def _total(found: Sequence[dict[str, Run]], slow: str, fast: str, clock: Callable[[Run], float]) -> Figure:
    rows = [found[k] for k in _timed(found, slow, fast)]
    return total_speedup([clock(runs[slow]) for runs in rows], [clock(runs[fast]) for runs in rows])


def _mean(found: Sequence[dict[str, Run]], splits: Sequence[str], fast: str) -> Figure:
    kept = _timed(found, AGENT, fast)
    slow = [found[k][AGENT].seconds for k in kept]
    return mean_speedup([splits[k] for k in kept], slow, [found[k][fast].seconds for k in kept])


def _plain(value: Any) -> Any:
    if isinstance(value, Figure):
        return value.to_dict()
    return vars(value) if isinstance(value, Estimate) else value


def _sheet(details: dict[str, dict[str, Any]], alike: Alike, splits: int) -> Sheet:
    rows: list[list[Text]] = []
    for name, one in details.items():
        line: list[Text] = [(name, ""), percent(one["accuracy"])]
        if name == AGENT:
            rows.append([*line, ("", ""), ("", ""), *[("1", "")] * 3, ("", ""), ("", "")])
            continue
        ratios = [_estimate(one[key]) for key in ("speedup", "speedup_cpu", "speedup_mean")]
        line += [(f"{one['lost']} / {one['won']}", ""), percent(one["bypassed"])]
        line += [shown(ratio, 1, 2) for ratio in ratios]
        deeper = "".join(f" / {at:.5f}" for at in one.get("depths", ()))
        threshold, beside = number(one["threshold"], 5)
        rows.append([*line, (threshold + deeper, beside), number(one["judge_threshold"], 5)])
    rows += [[(name, ""), (_NONE, ""), *[("", "")] * 7] for name, found in alike.found.items() if found.gate is None]
    columns = [
        *("method", "accuracy, %", "lost / won", "bypassed, %", "speed-up, total time", "the same, processor seconds"),
        *(f"mean of {splits} splits", "threshold", "judge's"),
    ]
    return Sheet(
        "SpecEyes against simpler things",
        columns,
        rows,
        f"Each with {alike.says}; tested on others. Speed-ups are over the agent. Lost are questions that the agent "
        "has right and the method wrong, won the other way round.",
    )


def _estimate(figure: Figure) -> Estimate:
    return Estimate(figure.median, figure.low, figure.high, figure.n)
