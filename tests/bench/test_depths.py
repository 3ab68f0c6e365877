"""Runs with looks: what is kept of each depth, and what replays of it say."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import Field
from typer.testing import CliRunner

from langgraph_speceyes.bench.alike import calibrate_alike
from langgraph_speceyes.bench.benchmark import EMBEDDED, Benchmark
from langgraph_speceyes.bench.calibrate import calibrate_run, prepared, terms_of
from langgraph_speceyes.bench.canned import content
from langgraph_speceyes.bench.chosen import embedded_models
from langgraph_speceyes.bench.compositions import available
from langgraph_speceyes.bench.datasets import Item
from langgraph_speceyes.bench.evaluation import Evaluation
from langgraph_speceyes.bench.every_depth import ShutGate, completed
from langgraph_speceyes.bench.evidence import read_evidence
from langgraph_speceyes.bench.labelling import Labelling
from langgraph_speceyes.bench.looks import named_looks
from langgraph_speceyes.bench.methods import Models, build
from langgraph_speceyes.bench.report import figures, write_report
from langgraph_speceyes.bench.report.data import load
from langgraph_speceyes.bench.routes import answered_at, between_phases, depth_cost, depth_seconds, passed, reached
from langgraph_speceyes.bench.runs import Outcome, Run
from langgraph_speceyes.bench.simulation import PRESETS, Machine, from_run, look_curves, simulate, with_look
from langgraph_speceyes.bench.simulation.looks import speedup
from langgraph_speceyes.bench.speed import Bench, latency
from langgraph_speceyes.bench.sweep import Deeper, Table, sweep, sweepable, swept, table
from langgraph_speceyes.calibration.latency import expected_latency
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.graph import create_speceyes
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.looks import look_id, resolve_looks, tiles
from langgraph_speceyes.prompts import Prompts, image_question
from langgraph_speceyes.scoring import Gate, score_answer
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.traffic import SQLiteJournal
from tests import scripted as scripts
from tests.scripted import Agent, Scripted, peaked
from tests.waiting import PATIENCE_S

SPLITS = ("attributes", "relations")
METHODS = ["agent", "speceyes", "speceyes:looks=0", "cascade"]


def look_left(image: str, question: str) -> str:
    """A look of somebody's own."""
    return f"{image}#xywh=0,0,200,200"


@pytest.fixture(scope="module")
def models(pair: Pair) -> Models:
    return replace(embedded_models(pair), looks=(tiles(2, 2),))


def evaluated(models: Models, out: Path, methods: Sequence[str], **options: Any) -> list[Outcome]:
    benchmark = Benchmark(EMBEDDED, part="calibration", limit=4, splits=SPLITS)
    return asyncio.run(Evaluation(benchmark, methods, models, out, **options).run())


@pytest.fixture(scope="module")
def folder(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("depths") / "run"
    evaluated(models, out, METHODS, full=True)
    return out


def of(folder: Path, method: str) -> list[Outcome]:
    return [o for o in Run(folder).outcomes() if o["method"] == method]


# what is kept


def test_every_depth_of_every_question_is_on_record(folder: Path) -> None:
    mine = of(folder, "speceyes")
    assert len(mine) == 8
    assert {answered_at(o) for o in mine} > {0}, "some come further than depth 0"
    for outcome in mine:
        first, second = outcome["depths"]
        assert first is not None
        assert second is not None
        assert outcome["speculator"]
        assert outcome["speculator"].items() <= first.items()
        assert second["look"] == "tiles"
        for depth, part in ((0, first), (1, second)):
            assert part["answer"]
            assert set(part.get("scores", {})) == {"odds", "min", "mean", "bottom", "log"}
            assert (part["threshold"] is not None) == reached(outcome, depth)
            assert part["seconds"] > 0
        assert second["entered_s"] > 0
        if reached(outcome, 1) and not passed(outcome):
            assert second["entered_s"] == pytest.approx(depth_seconds(outcome, 1))
        assert outcome["agent"]
        assert outcome["cpu_s"] > 0
        if outcome["route"] == "bypass":
            part = outcome["depths"][outcome["depth"] or 0]
            assert part is not None
            assert (outcome["answer"], outcome["right"]) == (part["answer"], part["right"])


class Answers(Scripted):
    """An answer that is surely right, with its log-probabilities, to whatever it is asked."""

    answer: str = "blue"
    content: list[dict[str, Any]] | None = Field(default_factory=lambda: [peaked("blue", 64, 40.0)])


def blind(image: str, question: str) -> None:
    """A look that never shows anything."""


@pytest.fixture
def squares(tmp_path: Path) -> Benchmark:
    """Questions about images of two sizes."""
    rows = []
    for number in range(40):
        side = 40 if number % 4 else 20
        Image.new("RGB", (side, side), (number, 0, 200)).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "question": "What colour?", "answer": "blue", "id": f"{number}"})
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return Benchmark("own", tmp_path / "questions.jsonl", part="calibration")


def scripted(looks: Sequence[Any], policy: ImagePolicy = DEFAULT_POLICY) -> Models:
    agent, gate = Agent("blue").graph.compile(), Gate(calibration={})
    return Models(Answers(), None, agent, gate, Prompts(), policy=policy, looks=resolve_looks(looks))


@pytest.mark.parametrize("looks", [1, 2])
def test_a_question_that_is_left_to_the_agent_has_no_answer_at_any_depth(
    squares: Benchmark, tmp_path: Path, looks: int
) -> None:
    models = scripted([look_left] * looks, ImagePolicy(min_side=30))
    asyncio.run(Evaluation(squares, ["agent", "speceyes"], models, tmp_path / "run", full=True).run())
    kept = of(tmp_path / "run", "speceyes")
    left = [o for o in kept if o["decided_by"] == "intake"]
    assert 0 < len(left) < len(kept) == len(sweepable(kept))
    for outcome in left:
        assert len(outcome["depths"]) == 1 + looks
        for part in outcome["depths"]:
            assert part is not None
            assert (part["answer"], part["seconds"], part["threshold"]) == ("", 0.0, None)
            assert "cannot be opened" in (part["error"] or "")
    found = sweep(kept, score="odds", threshold=0.5, judge_threshold=None, depths=[0.5] * looks)
    assert [o for o, bypass in zip(kept, found.bypass, strict=True) if not bypass] == left


@pytest.mark.parametrize("looks", [[blind], [blind, look_left], [look_left, blind]])
def test_a_depth_without_a_single_answer_accepts_nothing(
    squares: Benchmark, tmp_path: Path, looks: Sequence[Any]
) -> None:
    models = scripted(looks)
    asyncio.run(Evaluation(squares, ["agent", "speceyes"], models, tmp_path / "run", full=True).run())
    kept = of(tmp_path / "run", "speceyes")
    for depth, one in enumerate(looks, 1):
        thresholds = [None] * (depth - 1) + [0.5]
        found = sweep(kept, score="odds", threshold=None, judge_threshold=None, depths=thresholds)
        assert found.bypass.all() == (one is not blind)
        assert found.bypass.any() == (one is not blind)
    gate = calibrate_run(tmp_path / "run", max_loss=0.4, confidence=0.6).gate
    assert gate is not None
    assert len(gate.depths or ()) == len(looks)
    # nothing is known about a threshold there
    seen = {depth for one in available(read_evidence(tmp_path / "run")) for depth in one.depths}
    assert seen == {0, *(depth for depth, one in enumerate(looks, 1) if one is not blind)}


@pytest.mark.parametrize("looks", [[look_left], [look_left, blind]])
@pytest.mark.parametrize("judged", [False, True])
def test_a_journal_whose_first_look_is_always_taken_calibrates_a_gate_that_takes_it(
    squares: Benchmark, tmp_path: Path, looks: Sequence[Any], judged: bool
) -> None:
    journal = SQLiteJournal(tmp_path / "journal.sqlite")
    options: Any = {"speculator": Answers(), "judge": scripts.judge(0.1) if judged else None, "looks": looks}
    watched = create_speceyes(
        Agent("blue").graph, journal=journal, mode="shadow", first_look="always", gate=Gate(calibration={}), **options
    )
    graph = watched.compile()
    for file in sorted(tmp_path.glob("*.png")):
        graph.invoke({"messages": [image_question(file, "What colour?")]})
    assert watched.traffic.drain(PATIENCE_S)
    journal.close()
    for choose in (False, True):
        found = calibrate_run(journal.path, max_loss=0.4, confidence=0.6, labels="none", choose=choose)
        assert found.gate is not None
        assert found.gate.first_look == "always"
    gate = calibrate_run(journal.path, max_loss=0.4, confidence=0.6, labels="none").gate
    live = create_speceyes(Agent("blue").graph, **options, gate=replace(gate, looks=None)).compile()  # type: ignore[type-var]
    assert live.invoke({"messages": [image_question(tmp_path / "1.png", "What colour?")]})["decision"]["depth"] == 1


def test_answers_after_a_look_that_is_always_taken_can_be_labelled(tmp_path: Path) -> None:
    Image.new("RGB", (80, 60), "teal").save(tmp_path / "image.png")
    journal = SQLiteJournal(tmp_path / "journal.sqlite", texts=True)
    options: Any = {"looks": [lambda *_: "shown"], "first_look": "always", "mode": "shadow", "journal": journal}
    watched = create_speceyes(Agent("red").graph, speculator=Answers(), gate=Gate(calibration={}), **options)
    graph = watched.compile()
    for _ in range(20):
        graph.invoke({"messages": [image_question(tmp_path / "image.png", "What colour?")]})
    assert watched.traffic.drain(PATIENCE_S)
    journal.close()
    evidence, composition = prepared(journal.path, people=True)
    pending = Labelling(evidence, composition, terms_of(0.2, 0.6, "net", "all", None)).next()
    assert pending is not None
    assert pending.id.endswith("@1")
    assert (pending.shown.question, pending.shown.answer) == ("What colour?", "red")
    assert pending.shown.speculation not in ("", "red")


def test_without_looks_a_row_is_what_it_was(models: Models, folder: Path, tmp_path: Path) -> None:
    bare = evaluated(replace(models, looks=()), tmp_path / "bare", ["agent", "speceyes"], full=True)
    assert not any({"depth", "depths", "cpu_s"} & set(o) for o in bare)
    assert "looks" not in Run(tmp_path / "bare").manifest()
    assert Run(folder).manifest()["looks"] == [look_id(tiles(2, 2))]
    mine = {o["id"]: o for o in of(folder, "speceyes:looks=0")}
    for outcome in bare:
        if outcome["method"] == "speceyes":
            other = mine[outcome["id"]]
            assert "depths" not in other
            assert (other["route"], other["decided_by"]) == (outcome["route"], outcome["decided_by"])
            assert passed(other) == passed(outcome) == (outcome["decided_by"] != "judge")
    with pytest.raises(ArgumentError, match="looks"):
        evaluated(models, tmp_path / "bare", ["agent", "speceyes"], full=True)


def test_replayed_is_what_a_live_run_decides(models: Models, folder: Path, tmp_path: Path) -> None:
    kept = of(folder, "speceyes")
    assert len(sweepable(kept)) == len(kept)
    at = models.gate.judge_threshold
    deeper = sorted(part["scores"]["odds"] for o in kept if (part := o["depths"][1]))
    middle = (deeper[3] + deeper[4]) / 2
    routes = set()
    for k, (threshold, judge) in enumerate([(models.gate.threshold, at), (0.9995, at), (0.9, None)]):
        gate = Gate(threshold=threshold, depths=(middle,), judge_threshold=judge)
        judged = "judge=off" if judge is None else f"judge_threshold={judge}"
        live = evaluated(replace(models, gate=gate), tmp_path / f"{k}", [f"speceyes:{judged}"])
        found = {o["id"]: o for o in live}
        replayed = sweep(kept, score="odds", threshold=threshold, judge_threshold=judge, depths=[middle])
        depths = [None if d == 2 else int(d) for d in replayed.depth]
        assert [found[o["id"]]["depth"] for o in kept] == depths
        assert [found[o["id"]]["right"] for o in kept] == replayed.right.tolist()
        routes |= set(depths)
    assert routes == {0, 1, None}


def test_the_live_run_replayed_at_its_own_thresholds_takes_its_own_seconds(models: Models, folder: Path) -> None:
    kept = of(folder, "speceyes")
    gate = models.gate
    replayed = sweep(
        kept, score="odds", threshold=gate.threshold, judge_threshold=gate.judge_threshold, depths=[gate.threshold]
    )
    for outcome, seconds in zip(kept, replayed.seconds, strict=True):
        phases = {k: v for k, v in outcome["seconds"].items() if k not in ("intake", "total")}
        assert seconds == pytest.approx(sum(phases.values()))


# replays


def _table(draw: Any, n: int, looks: int) -> Table:
    shares = st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0])

    def column(values: Any) -> Any:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    seconds = st.sampled_from([0.01, 0.02, 0.04])
    return Table(
        scores={"odds": column(shares)},
        tool_need=column(st.sampled_from([0.1, 0.6, np.nan])),
        speculator_right=column(st.booleans()),
        agent_right=column(st.booleans()),
        judge_s=column(seconds),
        speculate_s=column(seconds),
        agent_s=column(seconds),
        deeper=tuple(
            Deeper({"odds": column(shares)}, column(st.booleans()), column(seconds), column(seconds))
            for _ in range(looks)
        ),
    )


@given(st.data())
def test_a_replay_is_what_going_from_gate_to_gate_gives(data: st.DataObject) -> None:
    n, looks = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 2))
    columns = _table(data.draw, n, looks)
    threshold = data.draw(st.sampled_from([None, 0.3, 0.7]))
    depths = data.draw(st.lists(st.sampled_from([None, 0.3, 0.9]), min_size=0, max_size=looks))
    judge = data.draw(st.sampled_from([None, 0.5]))
    found = swept(columns, score="odds", threshold=threshold, judge_threshold=judge, depths=depths)
    for k in range(n):
        seconds, sent_on = (0.0 if judge is None else columns.judge_s[k]), judge is not None
        sent_on = sent_on and not columns.tool_need[k] < 0.5
        answer: tuple[int, bool] | None = None
        asked = threshold is not None and not sent_on
        if threshold is not None and asked:
            seconds += columns.speculate_s[k]
            if columns.scores["odds"][k] >= threshold:
                answer = 0, bool(columns.speculator_right[k])
        for depth, (at, one) in enumerate(zip(depths, columns.deeper, strict=False), 1):
            if answer is not None:
                break
            seconds += one.seconds[k] if asked else one.entered_s[k]
            asked = True
            if at is not None and one.scores["odds"][k] >= at:
                answer = depth, bool(one.right[k])
        if answer is None:
            seconds += columns.agent_s[k]
            answer = len(depths) + 1, bool(columns.agent_right[k])
        assert (found.depth[k], found.right[k]) == answer
        assert found.seconds[k] == pytest.approx(seconds)
        assert found.bypass[k] == (answer[0] <= len(depths))


def test_a_replay_of_more_depths_than_there_are_is_refused(folder: Path) -> None:
    kept = of(folder, "speceyes")
    with pytest.raises(ArgumentError, match="depths"):
        sweep(kept, score="odds", threshold=0.9, judge_threshold=None, depths=[0.9, 0.9])
    one = {**kept[0], "depths": [kept[0]["depths"][0], None]}
    with pytest.raises(ArgumentError, match="every depth"):
        table([*kept[1:], one])  # type: ignore[list-item]


@given(st.data())
def test_the_formula_gives_the_mean_of_what_was_measured(data: st.DataObject) -> None:
    """With c_j over those that pay them and L_agent over those that fall back it is an identity."""
    looks = data.draw(st.integers(0, 2))
    costs = st.sampled_from([0.01, 0.02, 0.05])
    records = []
    for _ in range(data.draw(st.integers(1, 12))):
        sent_on, until = data.draw(st.booleans()), data.draw(st.integers(0, looks + 1))
        if not looks and sent_on:
            until = 1
        seconds = {"judge": data.draw(costs)}
        first = 1 if sent_on else 0
        for depth in range(first, looks + 1):
            suffix = f"_{depth}" if depth else ""
            names = ("look", "speculate", "gate") if depth else ("speculate", "gate")
            seconds |= {f"{name}{suffix}": data.draw(costs) for name in names}
            if depth >= until:
                until = depth
                break
        else:
            until = looks + 1
        bypass = until <= looks
        if not bypass:
            seconds["agent"] = data.draw(costs)
        seconds["total"] = sum(seconds.values()) + data.draw(st.sampled_from([0.0, 0.006]))
        record = {"route": "bypass" if bypass else "fallback", "seconds": seconds}
        record["decided_by"] = "judge" if sent_on and not looks else "gate"
        if looks:
            record |= {"depth": until if bypass else None, "depths": []}
        records.append(record)

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else 0.0

    depths = []
    for depth in range(looks + 1):
        came = [r for r in records if reached(r, depth)]
        accepted = mean([answered_at(r) == depth for r in came])
        depths.append((mean([depth_cost(r, depth) for r in came]), accepted))
    agent = mean([r["seconds"]["agent"] + between_phases(r) for r in records if "agent" in r["seconds"]])
    beta = mean([passed(r) for r in records])
    judge = mean([r["seconds"]["judge"] + between_phases(r) for r in records])
    expected = expected_latency(judge, beta, depths, agent)
    assert expected == pytest.approx(mean([r["seconds"]["total"] for r in records]))


def test_what_was_asked_afterwards_fills_in_what_was_not() -> None:
    def part(seconds: float, threshold: float | None = None) -> Any:
        return {"seconds": seconds, "threshold": threshold, "accepted": threshold is not None, "look": None}

    every, entered = [part(0.1, 0.5), part(0.2, 0.5), part(0.3, 0.5)], part(0.25, 0.5)
    at_zero = completed([part(0.15, 0.9)], every, entered)
    assert [one and one["seconds"] for one in at_zero] == [0.15, 0.2, 0.3]
    assert [one and one["threshold"] for one in at_zero] == [0.9, None, None]
    assert [one and one["accepted"] for one in at_zero] == [True, None, None]
    assert at_zero[1]
    assert at_zero[1]["entered_s"] == 0.25
    sent_on = completed([None, part(0.27, 0.9)], every, entered)
    assert [one and one["seconds"] for one in sent_on] == [0.1, 0.2, 0.3]
    assert sent_on[1]
    assert (sent_on[1]["entered_s"], sent_on[1]["threshold"]) == (0.27, 0.9)


def test_a_shut_gate_accepts_no_score() -> None:
    sure = score_answer(content("green", gap=800.0))
    assert sure.value == 1.0
    assert Gate(threshold=math.nextafter(1.0, 0.0)).accepts(sure)
    for depth in (0, 1):
        assert not ShutGate(threshold=0.5, depths=(0.5,)).at(depth).accepts(sure)


# reports


def test_a_report_tells_it_by_depth(folder: Path, tmp_path: Path) -> None:
    found = figures(load([folder]))
    (one,) = found.depths
    assert (one.method, [split.name for split in one.splits]) == ("speceyes", ["all questions", *SPLITS])
    mine = of(folder, "speceyes")
    for split in one.splits:
        rows = [o for o in mine if split.name in ("all questions", o["split"])]
        assert sum(level.answered.value or 0 for level in split.levels) + (split.agent.value or 0) == pytest.approx(1)
        assert [level.came for level in split.levels] == [sum(reached(o, d) for o in rows) for d in (0, 1)]
        assert split.beta.value == pytest.approx(np.mean([passed(o) for o in rows]))
        assert all(level.every_right.n == len(rows) for level in split.levels)
        # of the questions that it has its means from the formula gives the mean, and it is held against the others
        totals = np.array([o["seconds"]["total"] for o in rows])
        one, other = np.array_split(np.random.default_rng(0).permutation(len(rows)), 2)
        assert split.predicted_s == pytest.approx(totals[one].mean())
        assert split.measured_s == pytest.approx(totals[other].mean())
    (together,) = found.ways
    by_name = {way.name: way for way in together.ways}
    assert [way.name for way in together.ways if way.live] == METHODS
    replayed = by_name["judge, depths 0 to 1, agent"]
    live = by_name["speceyes"]
    assert (replayed.right, replayed.answered) == (live.right, live.answered)
    assert by_name["judge, depth 0, agent"].right == by_name["speceyes:looks=0"].right
    assert by_name["depth 1 at once, agent"].answered.n == len(mine)
    assert by_name["agent"].speedup.value == by_name["cascade"].over_cascade.value == 1
    write_report([folder], tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## A second look" in text
    assert (tmp_path / "report" / "depths-run-speceyes.png").stat().st_size > 5000
    assert (tmp_path / "report" / "selective-run-depth-1-k20.png").exists()


def test_without_looks_a_report_says_nothing_of_depths(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "manifest.json").write_text((folder / "manifest.json").read_text())
    kept = [o for o in Run(folder).outcomes() if o["method"] in ("agent", "speceyes:looks=0")]
    (bare / "outcomes.jsonl").write_text("".join(json.dumps(o) + "\n" for o in kept))
    found = figures(load([bare]))
    text = json.dumps(found.to_dict())
    for key in ("depths", "depth", "deeper", "without", "ways"):
        assert f'"{key}"' not in text.replace('"depths": null', "").replace('"depths": [', '"gate depths": [')
    (row,) = [row for row in found.table.rows if row.method != "agent"]
    assert row.total.routes is not None


# thresholds


@pytest.mark.parametrize("rule", ["guarantee", "paper"])
def test_a_bypass_with_looks_is_calibrated_by_the_rule_of_the_others(rule: str) -> None:
    outcomes = made(400)
    gate = Gate(threshold=0.5, judge_threshold=0.5, depths=(0.1,))
    alike = calibrate_alike(outcomes, gate, judging=True, rule=rule)
    assert set(alike.found) == {"speceyes", "speceyes:looks=0", "judge-only", "cascade"}
    found, without = alike.found["speceyes"], alike.found["speceyes:looks=0"]
    assert found.gate is not None
    assert found.gate.depths is not None
    assert len(found.gate.depths) == 1
    assert without.gate is not None
    assert not without.gate.depths
    at = found.gate.judge_threshold
    one = sweep(
        outcomes, score="odds", threshold=found.gate.threshold, judge_threshold=at, depths=list(found.gate.depths)
    )
    assert found.accepted == pytest.approx(one.bypass.mean())
    assert found.accuracy == pytest.approx(one.right.mean())
    assert found.accepted > without.accepted
    agent = np.array([o["agent"]["right"] for o in outcomes if o["agent"]])
    assert one.right.mean() >= agent.mean() - 0.02


def made(count: int) -> list[Outcome]:
    """Outcomes of a bypass with one look, which sees what the whole image does not show."""
    rng = np.random.default_rng(3)
    found: list[Any] = []
    for k in range(count):
        seen = bool(rng.random() < 0.5)
        parts = []
        for right in (seen, True):
            score = float(rng.uniform(0.9, 0.99) if right else rng.uniform(0.2, 0.6))
            side = {"answer": "a", "right": right, "seconds": 0.03, "error": None, "tokens": {}, "k": 20}
            parts.append({**side, "scores": {"odds": score, "log": score}, "look": None, "threshold": None})
        agent = {"answer": "a", "right": True, "seconds": 0.3, "error": None, "tokens": {}}
        found.append(
            {
                "method": "speceyes",
                "id": f"{k}",
                "split": "ab"[k % 2],
                "question": "What?",
                "expected": "a",
                "group": "",
                "rule": "free_form",
                "image": f"{k}.png",
                "route": "fallback",
                "error": None,
                "tool_need": 0.1 if seen else 0.9,
                "speculator": parts[0],
                "agent": agent,
                "depths": parts,
                "depth": None,
                "seconds": {"judge": 0.01, "total": 0.4},
            }
        )
    return found


def test_the_speed_benchmark_knows_depths(models: Models, tmp_path: Path) -> None:
    rows = Benchmark(EMBEDDED, limit=2, part="calibration", splits=SPLITS).rows(tmp_path)
    items = [row for row in rows if isinstance(row, Item)]
    part = asyncio.run(latency.measure(Bench(models, items, quick=True)))
    labels = {label: figure for label, figure, _ in part.rows}
    assert labels["c_0, look, speculation and gate"].n >= 1
    assert labels["c_1, look, speculation and gate"].n >= 1
    assert labels["latency with every look and nothing accepted, over the agent's"].n == len(items)
    for row in part.details["questions"]:
        rejected = row["runs"]["all rejected at every depth"]
        assert {"speculate", "look_1", "speculate_1", "agent"} <= set(rejected["phases"]) or "judge" in rejected[
            "phases"
        ]
        assert "look_1" not in row["runs"]["all rejected"]["phases"]
        assert rejected["decision"]["depth"] is None


# simulations


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 0.5))
def test_a_look_in_a_simulation_costs_and_answers_what_the_formula_says(
    beta: float, alpha: float, deeper: float, cost: float
) -> None:
    setting = replace(PRESETS["hrbench4k"], beta=beta, alpha=alpha)
    looking = with_look(setting, cost, deeper)
    (look,) = looking.looks
    assert look.alone_s == pytest.approx(cost * setting.agent_s)
    left = beta * (1 - alpha) + 1 - beta
    expected = setting.judge.alone_s + beta * setting.speculate.alone_s + left * cost * setting.agent_s
    assert looking.latency_s == pytest.approx(expected + left * (1 - deeper) * setting.agent_s)
    assert 1 / looking.limit == pytest.approx(left * (1 - deeper), abs=1e-9)
    plain, looked = setting.queries(20), looking.queries(20)
    assert [replace(q, looks=()) for q in looked] == plain
    for design in ("speceyes", "reference"):
        alone = [simulate([q], design, Machine(max_wait_s=0.0), 1).makespan_s for q in looked[:3]]
        for query, seconds in zip(looked, alone, strict=False):
            (one,) = query.looks
            passed_on = not (query.passed and query.accepted)
            expected = setting.judge.alone_s + query.passed * setting.speculate.alone_s
            expected += passed_on * (look.alone_s + (not one.accepted) * query.agent_s)
            assert seconds == pytest.approx(expected)


def test_the_published_speed_ups_are_those_without_a_look() -> None:
    for name, published in (("hrbench4k", 1.13), ("hrbench8k", 1.08)):
        setting = PRESETS[name]
        assert speedup(setting, setting.front_batch) == pytest.approx(published, abs=0.01)
        for curve in look_curves(setting, costs=(0.1,), check=None):
            assert all(b > a for a, b in itertools.pairwise(curve.speedup))
            assert curve.speedup[0] < curve.without < curve.speedup[-1]
    with pytest.raises(ArgumentError, match="cost"):
        with_look(PRESETS["hrbench4k"], 0.001, 0.5)


def test_a_run_with_looks_can_be_simulated(folder: Path) -> None:
    recorded = from_run(folder, method="speceyes")
    mine = of(folder, "speceyes")
    assert [q.bypassed for q in recorded.recorded] == [o["route"] == "bypass" for o in mine]
    assert [len(q.looks) for q in recorded.recorded] == [int(reached(o, 1)) for o in mine]


# how looks are named


@pytest.mark.parametrize("name", ["tiles", "tiles:1x1", "tiles:2", "nothing", "pair", "no.such.look"])
def test_a_look_that_there_is_not_is_named(name: str, pair: Pair) -> None:
    with pytest.raises(ArgumentError):
        named_looks([name], pair.speculator)


def test_looks_by_name(pair: Pair) -> None:
    own = (tiles(3, 3),)
    found = named_looks(["tiles:2x3", "own_calls", "pair", "tests.bench.test_depths.look_left"], pair.speculator, own)
    assert [look.name for look in found] == ["tiles", "own_calls", "tiles", "look_left"]
    assert repr(found[0]) == "tiles(2, 3)"
    assert found[2] is own[0]


@pytest.mark.parametrize("spec", ["speceyes:looks=2", "speceyes:looks=-1", "speceyes:looks=all", "cascade:looks=0"])
def test_looks_of_a_method_that_cannot_be(models: Models, spec: str) -> None:
    with pytest.raises(ArgumentError):
        build(spec, models)


def test_fewer_looks_have_fewer_thresholds(models: Models) -> None:
    two = replace(models, looks=(tiles(2, 2), tiles(2, 1)), gate=replace(models.gate, depths=(0.9, 0.8)))
    assert two.with_looks(1).gate.depths == (0.9,)
    assert two.with_looks(0).gate.depths is None
    for spec in ("speceyes", "speceyes:looks=1", "speceyes:looks=0", "speculator", "judge-only", "cascade"):
        build(spec, two)


def test_a_threshold_for_answers_after_a_look_is_none_for_those_without(models: Models) -> None:
    always = replace(models, gate=replace(models.gate, depths=(0.9,), first_look="always"))
    build("speceyes:looks=1", always)
    build("speceyes:looks=0,threshold=0.9", always)
    with pytest.raises(ArgumentError, match="threshold= beside it"):
        build("speceyes:looks=0", always)


def test_the_command_takes_looks(tmp_path: Path) -> None:
    command = ["eval", "embedded", "--look", "tiles:2x2", "--method", "speceyes", "--split", "attributes"]
    run = CliRunner().invoke(app, [*command, "--limit", "1", "--out", str(tmp_path / "run"), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["attributes"]["speceyes"]["n"] == 1
    (outcome,) = Run(tmp_path / "run").outcomes()
    assert "depths" in outcome
    refused = CliRunner().invoke(app, [*command[:3], "tiles:9", *command[4:], "--out", str(tmp_path / "other")])
    assert refused.exit_code == 2
    assert "look" in refused.output
