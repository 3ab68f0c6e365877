"""`speceyes testbed check` on the embedded pair."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langgraph_speceyes.bench.check import Answered, Checked, check, report
from langgraph_speceyes.cli import app
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.questions import SPLITS, questions

KEYS = {
    *("speculator_visible", "speculator_small", "agent_small", "agent", "within_5_steps", "judge_right"),
    *("judge_tool_free_on_small", "auroc_min", "auroc_mean", "auroc_log", "auroc_bottom", "speceyes", "speedup"),
    *("beta", "alpha", "depth_mean", "n"),
}


@pytest.fixture(scope="module")
def checked(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> list[Checked]:
    return list(check(pair, 2, tmp_path_factory.mktemp("check"), part="calibration"))


def test_every_question_goes_through_agent_bypass_and_speculator(checked: list[Checked]) -> None:
    assert [c["id"] for c in checked] == [f"calibration/{split}/{k}" for split in SPLITS for k in (0, 1)]
    asked = {q.id: q for split in SPLITS for q in questions(split, "calibration", 2)}
    for one in checked:
        question = asked[one["id"]]
        assert one["agent"]["tools"]
        assert one["agent"]["right"] == question.is_right(one["agent"]["answer"])
        assert one["speceyes"]["right"] == question.is_right(one["speceyes"]["answer"])
        assert one["speculator_right"] == question.is_right(one["speculation"])
        assert one["speculation"]
        assert one["tool_need"] is not None
        assert set(one["scores"]) == {"min", "mean", "log", "bottom"}
        assert json.loads(json.dumps(one)) == one
        if one["route"] == "bypass":
            assert one["speceyes"]["answer"] == one["speculation"]


def test_the_report_counts_what_happened(checked: list[Checked]) -> None:
    found = report(checked)
    assert list(found) == [*SPLITS, "overall"]
    for split, figures in found.items():
        assert set(figures) >= KEYS
        rows = [c for c in checked if split in (c["split"], "overall")]
        assert figures["n"] == len(rows)
        assert figures["agent"] == pytest.approx(sum(c["agent"]["right"] for c in rows) / len(rows))
        assert figures["depth_mean"] == pytest.approx(sum(len(c["agent"]["tools"]) for c in rows) / len(rows))
        assert set(figures["intervals"]) == set(figures) - {"n", "intervals"}
        for name, (low, high) in figures["intervals"].items():
            assert figures[name] is None or low <= figures[name] <= high
    speedups = [found[split]["speedup"] for split in SPLITS]
    assert found["overall"]["speedup"] == pytest.approx(sum(speedups) / len(SPLITS))
    assert found["reading"]["speculator_visible"] is None


def test_a_judge_that_errs_and_an_answer_that_is_wrong_show(checked: list[Checked]) -> None:
    def changed(one: Checked) -> Checked:
        agent: Answered = {**one["agent"], "right": False, "tools": ["zoom"] * 6}
        speceyes: Answered = {**one["speceyes"], "right": False, "seconds": one["agent"]["seconds"] / 2}
        return {
            **one,
            "agent": agent,
            "speceyes": speceyes,
            "speculator_right": False,
            "tool_need": 0.01,
            "decided_by": "gate",
            "route": "bypass",
        }

    figures = report([changed(c) for c in checked])["overall"]
    wrong = ("speculator_visible", "speculator_small", "agent", "agent_small", "speceyes", "within_5_steps")
    assert [figures[name] for name in wrong] == [0.0] * len(wrong)
    assert figures["judge_tool_free_on_small"] == figures["beta"] == figures["alpha"] == 1.0
    assert figures["judge_right"] == sum(c["size"] == "large" for c in checked) / len(checked)
    assert figures["speedup"] == pytest.approx(2.0)
    assert figures["auroc_min"] is None


def test_the_command_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    out = tmp_path / "outcomes.jsonl"
    command = ["testbed", "check", "--limit", "2", "--split", "attributes", "--split", "reading", "--out", str(out)]
    first = CliRunner().invoke(app, [*command, "--json"])
    assert first.exit_code == 0, first.output
    assert set(json.loads(first.stdout)) == {"attributes", "reading", "overall"}
    lines = out.read_text().splitlines(keepends=True)
    ids = [json.loads(line)["id"] for line in lines]
    assert ids == [f"test/{split}/{k}" for split in ("attributes", "reading") for k in (0, 1)]
    kept = {**json.loads(lines[0]), "speculation": "kept from before"}
    out.write_text(json.dumps(kept) + "\n" + lines[1] + lines[2][:50])
    again = CliRunner().invoke(app, command, env={"COLUMNS": "160"})
    assert again.exit_code == 0, again.output
    assert "speed-up" in again.stdout
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [f["id"] for f in found] == ids
    assert found[0] == kept


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--part", "train"), "part"), (("--split", "colours"), "split"), (("--out", "{broken}"), "out")],
)
def test_what_is_not_there_is_named(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("not json\n")
    run = CliRunner().invoke(app, ["testbed", "check", *(a.format(broken=broken) for a in arguments)])
    assert run.exit_code == 2
    assert f"ArgumentError: {says}" in run.output
