"""From runs to gates: the offline sweep, the thresholds it leads to, the gate file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from langgraph_speceyes.bench.benchmark import Benchmark, part_of
from langgraph_speceyes.bench.calibrate import calibrate_run, fastest
from langgraph_speceyes.bench.datasets import BadRow, Item
from langgraph_speceyes.bench.runs import Outcome
from langgraph_speceyes.bench.sweep import sweep, sweepable
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import inline_reference, parse_reference
from langgraph_speceyes.scoring import Gate
from tests.runs import outcome, written

many = st.lists(
    st.builds(
        lambda score, need, small, large: outcome(0, score=score, need=need, small=small, large=large),
        st.floats(0, 1),
        st.none() | st.floats(0, 1),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(many, st.floats(0.01, 0.99), st.none() | st.floats(0.01, 0.99))
def test_a_sweep_decides_as_judge_and_gate_do(outcomes: list[Outcome], at: float, judge: float | None) -> None:
    swept = sweep(outcomes, score="mean", threshold=at, judge_threshold=judge)
    for k, one in enumerate(outcomes):
        small, large, need = one["speculator"], one["agent"], one["tool_need"]
        assert small
        assert large
        speculated = judge is None or (need is not None and need < judge)
        passes = speculated and small.get("scores", {})["mean"] >= at
        assert swept.bypass[k] == passes
        assert swept.right[k] == (small["right"] if passes else large["right"])
        assert swept.seconds[k] == (judge is not None) * 1.0 + speculated * 2.0 + (not passes) * 4.0


def test_only_what_has_both_sides_can_be_swept() -> None:
    whole, half, bad = outcome(1), outcome(2), outcome(3)
    half["agent"] = None
    bad["route"] = None
    assert sweepable([whole, half, bad]) == [whole]
    for outcomes in ([half], []):
        with pytest.raises(ArgumentError, match="run"):
            sweep(outcomes, score="min", threshold=0.5, judge_threshold=None)


def test_without_a_judge_there_is_no_threshold_for_it() -> None:
    unjudged = outcome(1, need=None)
    del unjudged["seconds"]["judge"]
    assert sweep([unjudged], score="min", threshold=0.5, judge_threshold=None).seconds.tolist() == [2.0]
    with pytest.raises(ArgumentError, match="judge_threshold"):
        sweep([unjudged], score="min", threshold=0.5, judge_threshold=0.5)


def test_an_answer_without_tokens_never_passes() -> None:
    assert not sweep([outcome(1, score=0.0)], score="min", threshold=1e-12, judge_threshold=None).bypass.any()


def split_at(clear: int, unclear: int, **options: Any) -> list[Outcome]:
    """Speculations that are right above 0.8 and wrong below."""
    rng = np.random.default_rng(0)
    scores = [*rng.uniform(0.85, 0.99, clear), *rng.uniform(0.3, 0.75, unclear)]
    return [outcome(k, score=float(s), small=k < clear, **options) for k, s in enumerate(scores)]


def test_the_papers_way_finds_where_right_and_wrong_part() -> None:
    outcomes = [
        *split_at(30, 10, need=0.1),
        *(outcome(100 + k, score=0.4, need=0.9, small=False) for k in range(10)),
    ]
    found = fastest(outcomes, Gate(speculator="small"))
    assert found.gate is not None
    assert 0.75 < found.gate.threshold < 0.85
    # screening costs 1 s for every question and saves 2 s for ten of fifty: the judge is kept, as late as possible
    assert found.gate.judge_threshold is not None
    assert 0.1 < found.gate.judge_threshold < 0.9
    assert found.accuracy == found.agent_accuracy == 1.0
    assert found.accepted == 0.6
    assert found.speedup == pytest.approx(4 / ((30 * 3 + 10 * 7 + 10 * 5) / 50))
    assert found.gate.calibration == {"method": "paper", "questions": 50}


def test_what_one_split_gains_does_not_pay_for_another() -> None:
    # at 0.5 the small model is better in one split by as much as it is worse in the other
    better = [outcome(k, score=0.6, large=False) for k in range(10)]
    worse = [outcome(20 + k, score=0.5, small=False, split="two") for k in range(5)]
    sure = [outcome(40 + k, score=0.9, split="two") for k in range(5)]
    found = fastest([*better, *worse, *sure], Gate(), choose_judge=False)
    assert found.gate is not None
    assert 0.5 < found.gate.threshold < 0.6
    pooled = fastest([{**o, "split": "one"} for o in (*better, *worse, *sure)], Gate(), choose_judge=False)  # type: ignore[typeddict-item]
    assert pooled.gate is not None
    assert pooled.gate.threshold < 0.5


def test_of_about_equally_fast_points_the_safest_is_taken() -> None:
    scores = np.linspace(0.8, 0.99, 100)
    outcomes = [outcome(k, score=float(score)) for k, score in enumerate(scores)]
    found = fastest(outcomes, Gate(), choose_judge=False)
    assert found.gate is not None
    # 2 s for each that passes; a rejected one costs 4 s more, and 1 % of 200 s is 2 s: none may be given away
    assert 0.79 < found.gate.threshold < 0.8 or found.accepted == 1.0
    dear = [{**o, "speculator": {**o["speculator"], "seconds": 10.0}} for o in outcomes if o["speculator"]]
    found = fastest(dear, Gate(), choose_judge=False)  # type: ignore[arg-type]
    assert found.gate is not None
    # 10 s for each, and 4 s more for one that is rejected: two may be
    assert scores[1] < found.gate.threshold < scores[2]


def test_where_nothing_keeps_the_accuracy_nothing_is_accepted() -> None:
    found = fastest([outcome(k, score=1.0, small=False) for k in range(4)], Gate(), choose_judge=False)
    assert found.gate is not None
    assert found.gate.threshold > 0.999


def test_a_promise_is_made_where_the_sample_allows_it(tmp_path: Path) -> None:
    outcomes = split_at(500, 100)
    run = written(tmp_path / "run", outcomes)
    found = calibrate_run(run, max_loss=0.02, confidence=0.9)
    assert found.gate is not None
    assert found.guarantee is not None
    assert 0.6 < found.gate.threshold < 0.86
    assert (found.gate.speculator, found.gate.agent, found.gate.judge_threshold) == ("small", "large", 0.5)
    assert found.gate.calibration is not None
    assert found.gate.calibration["max_loss"] == 0.02
    assert found.agent_accuracy - found.accuracy <= 0.02
    assert found.accepted >= 500 / 600


def test_too_few_questions_say_how_many_more(tmp_path: Path) -> None:
    run = written(tmp_path / "run", split_at(20, 5))
    shown = CliRunner().invoke(app, ["calibrate", str(run), "--out", str(tmp_path / "gate.json")])
    assert shown.exit_code == 1, shown.output
    found = calibrate_run(run)
    assert found.gate is None
    assert found.guarantee is not None
    assert f"{found.guarantee.least - 25} more" in shown.output
    assert not (tmp_path / "gate.json").exists()
    # every question goes to the agent
    assert (found.accepted, found.speedup) == (0.0, 1.0)


def test_a_run_that_is_not_over_says_so(tmp_path: Path) -> None:
    half = written(tmp_path / "half", split_at(20, 5), count=40)
    shown = CliRunner().invoke(app, ["calibrate", str(half)])
    assert "left out: 15 questions that the run has not come to yet" in shown.output
    assert calibrate_run(half).left_out == {"that the run has not come to yet": 15}
    for whole in (written(tmp_path / "whole", split_at(20, 5), count=25), written(tmp_path / "old", split_at(20, 5))):
        assert calibrate_run(whole).left_out == {}


def test_what_failed_is_a_question_that_nobody_has_right(tmp_path: Path) -> None:
    outcomes = split_at(30, 10)
    for one in outcomes[:4]:
        one |= {"route": None, "error": "the server is gone", "speculator": None, "agent": None}  # type: ignore[typeddict-item]
    found = calibrate_run(written(tmp_path / "run", outcomes), method="paper")
    assert found.questions == 40
    assert found.agent_accuracy == 0.9
    assert found.accepted == 26 / 40


def test_the_gate_file_is_one_that_a_graph_loads(tmp_path: Path) -> None:
    run = written(tmp_path / "run", [*split_at(40, 10), *split_at(5, 40, split="two")])
    out = tmp_path / "gate.json"
    arguments = ["calibrate", str(run), "--method", "paper", "--score", "mean", "--split", "one", "--out", str(out)]
    shown = CliRunner().invoke(app, [*arguments, "--json"])
    assert shown.exit_code == 0, shown.output
    gate = Gate.load(out)
    assert (gate.score, gate.k, gate.speculator) == ("mean", 64, "small")
    figures = json.loads(shown.stdout)
    assert figures["threshold"] == gate.threshold
    assert figures["questions"] == 50
    table = CliRunner().invoke(app, arguments)
    assert "speed-up here" in table.output
    assert "The agent alone is faster" not in table.output


def test_a_bypass_that_costs_time_is_said_to_do_so(tmp_path: Path) -> None:
    outcomes = split_at(80, 80)
    for one in outcomes:
        for phase in ("judge", "speculate"):
            one["seconds"][phase] = 100.0
    run = written(tmp_path / "run", outcomes)
    shown = CliRunner().invoke(app, ["calibrate", str(run), "--max-loss", "0.1", "--confidence", "0.8"])
    assert shown.exit_code == 0, shown.output
    assert "The agent alone is faster" in shown.output


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        ({"benchmark": {"name": "embedded", "part": "test"}}, {}, "calibration questions"),
        ({}, {"score": "best"}, "score"),
        ({}, {"method": "guess"}, "method"),
        ({}, {"counted": "all"}, "counted"),
        ({}, {"splits": ["two"]}, "split"),
        ({}, {"max_loss": 1.5}, "max_loss"),
        ({"format": 99}, {}, "format"),
    ],
)
def test_what_cannot_be_calibrated_is_named(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    run = written(tmp_path / "run", split_at(5, 5), **changes)
    with pytest.raises(ArgumentError, match=says):
        calibrate_run(run, **options)


def test_a_side_that_is_missing_and_mixed_candidates_are_named(tmp_path: Path) -> None:
    outcomes = split_at(5, 5)
    outcomes[3]["agent"] = None
    with pytest.raises(ArgumentError, match="1 of 10"):
        calibrate_run(written(tmp_path / "half", outcomes))
    mixed = split_at(5, 5)
    assert mixed[0]["speculator"]
    mixed[0]["speculator"]["k"] = 20
    with pytest.raises(ArgumentError, match="K = "):
        calibrate_run(written(tmp_path / "mixed", mixed))
    with pytest.raises(ArgumentError, match="run: expected the folder of a run"):
        calibrate_run(tmp_path / "none")


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=20))
def test_no_image_is_in_both_halves(names: list[str]) -> None:
    for name in names:
        ref = inline_reference(name.encode())
        files = [Item(id, "s", "?", (), "y", parse_reference(f"/{place}/{name}.jpg")) for id, place in ("1a", "2b")]
        rotations = [Item(id, "s", "?", (), "y", ref, group=f"{name} {id[0]}") for id in ("1a", "1b", "2a", "2b")]
        assert len({part_of(item) for item in files}) == 1
        assert len({part_of(item) for item in rotations}) == 1
    both = {part_of(Item("1", "s", "?", (), "y", parse_reference(f"{k}.jpg"))) for k in range(40)}
    assert both == {"test", "calibration"}
    assert part_of(BadRow(Path("x"), "line 1", "bad")) == "test"


def test_images_of_one_name_in_folders_of_their_own_are_told_apart(tmp_path: Path) -> None:
    found = set()
    for case in range(40):
        item = Item("1", "s", "?", (), "y", parse_reference(str(tmp_path / str(case) / "photo.jpg")))
        found.add(part_of(item, tmp_path))
        # wherever the folder lies
        there = replace(item, image=parse_reference(f"/elsewhere/{case}/photo.jpg"))
        assert part_of(there, Path("/elsewhere")) == part_of(item, tmp_path)
    assert found == {"test", "calibration"}


def test_the_halves_make_up_the_whole(tmp_path: Path) -> None:
    from PIL import Image

    lines = []
    for k in range(12):
        Image.new("RGB", (32, 32), (k, 0, 0)).save(tmp_path / f"{k}.png")
        lines += [{"image": f"{k}.png", "question": f"{k}{x}?", "answer": "red"} for x in "ab"]
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    halves = [{row.id for row in Benchmark(str(file), part=part).rows(tmp_path)} for part in ("test", "calibration")]
    whole = {row.id for row in Benchmark(str(file)).rows(tmp_path)}
    assert halves[0] | halves[1] == whole
    assert not halves[0] & halves[1]
    assert all(halves)
