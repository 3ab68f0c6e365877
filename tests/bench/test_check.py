"""`speceyes testbed check` on the embedded pair."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langgraph_speceyes.bench.benchmark import EMBEDDED, Benchmark
from langgraph_speceyes.bench.check import METHODS, paired, report
from langgraph_speceyes.bench.chosen import embedded_models
from langgraph_speceyes.bench.evaluation import Evaluation
from langgraph_speceyes.bench.report import figures as report_figures
from langgraph_speceyes.bench.report.data import load
from langgraph_speceyes.bench.runs import Outcome, Run
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import SCORES
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.questions import SPLITS, Question, questions

KEYS = {
    *("speculator_visible", "speculator_small", "agent_small", "agent", "within_5_steps", "judge_right"),
    *("judge_tool_free_on_small", "auroc_min", "auroc_mean", "auroc_log", "auroc_bottom", "speceyes", "speedup"),
    *("speedup_mean", "beta", "alpha", "depth_mean", "n"),
}
ASKED = [question for split in SPLITS for question in questions(split, "calibration", 2)]


@pytest.fixture(scope="module")
def outcomes(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    benchmark = Benchmark(EMBEDDED, part="calibration", limit=2)
    out = tmp_path_factory.mktemp("check") / "run"
    return asyncio.run(Evaluation(benchmark, METHODS, embedded_models(pair), out, full=True).run())


def test_every_question_goes_through_agent_bypass_and_speculator(outcomes: list[Outcome]) -> None:
    found = paired(outcomes, ASKED)
    assert [c.question for c in found] == ASKED
    for one in found:
        is_right = one.question.is_right
        assert one.agent.get("tools")
        assert one.agent["right"] == is_right(one.agent["answer"])
        assert one.outcome["right"] == is_right(one.outcome["answer"] or "")
        assert one.speculator["right"] == is_right(one.speculator["answer"])
        assert one.speculator["answer"]
        assert one.outcome["tool_need"] is not None
        assert set(one.speculator.get("scores", {})) == set(SCORES)
        if one.outcome["route"] == "bypass":
            assert one.outcome["answer"] == one.speculator["answer"]


def test_the_report_counts_what_happened(outcomes: list[Outcome]) -> None:
    checked = paired(outcomes, ASKED)
    found = report(checked)
    assert list(found) == [*SPLITS, "overall"]
    for split, figures in found.items():
        assert set(figures) >= KEYS
        rows = [c for c in checked if split in (c.question.split, "overall")]
        assert figures["n"] == len(rows)
        assert figures["agent"] == pytest.approx(sum(c.agent["right"] for c in rows) / len(rows))
        assert figures["depth_mean"] == pytest.approx(sum(len(c.agent.get("tools", [])) for c in rows) / len(rows))
        assert set(figures["intervals"]) == set(figures) - {"n", "intervals"}
        for name, (low, high) in figures["intervals"].items():
            assert figures[name] is None or low <= figures[name] <= high
        agent = sum(c.alone["seconds"]["total"] for c in rows)
        assert figures["speedup"] == pytest.approx(agent / sum(c.outcome["seconds"]["total"] for c in rows))
    speedups = [found[split]["speedup"] for split in SPLITS]
    assert found["overall"]["speedup_mean"] == pytest.approx(sum(speedups) / len(SPLITS))
    assert all(found[split]["speedup_mean"] is None for split in SPLITS)
    assert found["reading"]["speculator_visible"] is None


def test_the_check_and_the_report_give_one_figure_one_interval(
    outcomes: list[Outcome], pair: Pair, tmp_path: Path
) -> None:
    """Written to two runs in another order, as `make results` does, the report has the same numbers."""
    checked = report(paired(outcomes, ASKED))
    folders = []
    for k, splits in enumerate((SPLITS[3:], SPLITS[:3])):
        manifest = {"format": 1, "benchmark": {"name": "embedded", "splits": splits}, "methods": list(METHODS)}
        folder = tmp_path / f"{k}"
        with Run(folder).writing(manifest):
            for outcome in reversed(outcomes):
                if outcome["split"] in splits:
                    Run(folder).append(outcome)
        folders.append(folder)
    row = next(row for row in report_figures(load(folders)).table.rows if row.method == "speceyes")
    found = {**{split: row.cells[f"embedded / {split}"].speedup for split in SPLITS}, "overall": row.total.speedup}
    for name, speedup in found.items():
        one = (checked[name]["speedup"], *checked[name]["intervals"]["speedup"])
        assert one == pytest.approx((speedup.value, speedup.low, speedup.high))
    mean = (checked["overall"]["speedup_mean"], *checked["overall"]["intervals"]["speedup_mean"])
    assert mean == pytest.approx((row.mean.speedup.value, row.mean.speedup.low, row.mean.speedup.high))


def test_a_judge_that_errs_and_an_answer_that_is_wrong_show(outcomes: list[Outcome]) -> None:
    changed = copy.deepcopy(outcomes)
    for one in changed:
        one["right"] = False
        if one["method"] == "agent":
            assert one["agent"] is not None
            one["agent"] |= {"right": False, "tools": ["zoom"] * 6}
            one["seconds"]["total"] = 2.0
        else:
            assert one["speculator"] is not None
            one["speculator"]["right"] = False
            one |= {"tool_need": 0.01, "decided_by": "gate", "route": "bypass"}
            one["seconds"]["total"] = 1.0
    figures = report(paired(changed, ASKED))["overall"]
    wrong = ("speculator_visible", "speculator_small", "agent", "agent_small", "speceyes", "within_5_steps")
    assert [figures[name] for name in wrong] == [0.0] * len(wrong)
    assert figures["judge_tool_free_on_small"] == figures["beta"] == figures["alpha"] == 1.0
    assert figures["judge_right"] == sum(q.size == "large" for q in ASKED) / len(ASKED)
    assert figures["speedup"] == pytest.approx(2.0)
    assert figures["auroc_min"] is None


def test_what_was_said_after_a_look_is_counted_by_size(outcomes: list[Outcome]) -> None:
    changed = copy.deepcopy(outcomes)
    for one in changed:
        if one["method"] == "agent":
            continue
        size = next(q.size for q in ASKED if q.id == one["id"])
        said: Any = {**(one["speculator"] or {}), "right": size == "small", "scores": {"odds": float(size == "small")}}
        # nothing was shown about what is visible
        one |= {"depth": None, "depths": [said, said if size != "large" else {**said, "scores": {}}]}
    figures = report(paired(changed, ASKED))["overall"]
    assert (figures["depth_1_large"], figures["depth_1_small"], figures["depth_1_speck"]) == (None, 1.0, 0.0)
    assert figures["depth_1_auroc_odds"] == 1.0
    assert "depth_2_small" not in figures


def test_only_whole_pairs_count(outcomes: list[Outcome]) -> None:
    assert len(paired(outcomes[:-1], ASKED)) == len(ASKED) - 1
    lacking = copy.deepcopy(outcomes)
    lacking[1]["agent" if lacking[1]["method"] == "agent" else "speculator"] = None
    with pytest.raises(ArgumentError, match="without one"):
        paired(lacking, ASKED)


def test_the_command_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["testbed", "check", "--limit", "2", "--split", "attributes", "--split", "relations", "--out", str(out)]
    first = CliRunner().invoke(app, [*command, "--json"])
    assert first.exit_code == 0, first.output
    assert set(json.loads(first.stdout)) == {"attributes", "relations", "overall"}
    file = out / "outcomes.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    keys = {(one["method"], one["id"]) for one in map(json.loads, lines)}
    wanted: list[Question] = [q for split in ("attributes", "relations") for q in questions(split, "test", 2)]  # type: ignore[arg-type]
    assert keys == {(method, q.id) for method in METHODS for q in wanted}
    kept = {**json.loads(lines[0]), "reason": "kept from before"}
    file.write_text(json.dumps(kept) + "\n" + "".join(lines[1:5]) + lines[5][:50])
    again = CliRunner().invoke(app, command, env={"COLUMNS": "160"})
    assert again.exit_code == 0, again.output
    assert "speed-up" in again.stdout
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(found) == len(keys)
    assert {(one["method"], one["id"]) for one in found} == keys
    assert found[0] == kept


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--part", "train"), "part"), (("--split", "colours"), "split"), (("--out", "{file}"), "out")],
)
def test_what_is_not_there_is_named(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    file = tmp_path / "file"
    file.write_text("not a run\n")
    run = CliRunner().invoke(app, ["testbed", "check", *(a.format(file=file) for a in arguments)])
    assert run.exit_code == 2
    assert f"ArgumentError: {says}" in run.output
