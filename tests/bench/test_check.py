"""`speceyes testbed check` on the embedded pair."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langgraph_speceyes.bench.check import Checked, check, record, report
from langgraph_speceyes.cli import app
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.questions import SPLITS

KEYS = {
    *("speculator_visible", "speculator_small", "agent_small", "agent", "within_5_steps", "judge_right"),
    *("judge_tool_free_on_small", "auroc_min", "auroc_mean", "auroc_log", "auroc_bottom", "speceyes", "speedup"),
    *("beta", "alpha", "depth_mean", "n"),
}


@pytest.fixture(scope="module")
def checked(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> list[Checked]:
    return list(check(pair, 2, tmp_path_factory.mktemp("check"), part="calibration"))


def test_every_question_goes_through_agent_bypass_and_speculator(checked: list[Checked]) -> None:
    assert [c.question.id for c in checked] == [f"calibration/{split}/{k}" for split in SPLITS for k in (0, 1)]
    for one in checked:
        assert one.agent.decision is None
        assert one.speceyes.decision is not None
        assert one.speceyes.decision["tool_need"] is not None
        assert set(one.scores) == {"min", "mean", "log", "bottom"}
        assert one.speculation
        assert one.agent.calls
        assert json.loads(json.dumps(record(one)))["speculator_right"] == one.question.is_right(one.speculation)


def test_the_report_counts_what_happened(checked: list[Checked]) -> None:
    found = report(checked)
    assert list(found) == [*SPLITS, "overall"]
    for split, figures in found.items():
        assert set(figures) >= KEYS
        rows = [c for c in checked if split in (c.question.split, "overall")]
        assert figures["n"] == len(rows)
        assert figures["agent"] == pytest.approx(sum(c.agent.right for c in rows) / len(rows))
        assert figures["depth_mean"] == pytest.approx(sum(len(c.agent.calls) for c in rows) / len(rows))
        assert set(figures["intervals"]) == set(figures) - {"n", "intervals"}
        for name, (low, high) in figures["intervals"].items():
            assert figures[name] is None or low <= figures[name] <= high
    speedups = [found[split]["speedup"] for split in SPLITS]
    assert found["overall"]["speedup"] == pytest.approx(sum(speedups) / len(SPLITS))
    assert found["reading"]["speculator_visible"] is None


def test_a_judge_that_errs_and_an_answer_that_is_wrong_show(checked: list[Checked]) -> None:
    def changed(one: Checked) -> Checked:
        decision: Any = {**(one.speceyes.decision or {}), "tool_need": 0.01, "decided_by": "gate", "route": "bypass"}
        return replace(
            one,
            speculation="no",
            agent=replace(one.agent, right=False, calls=[{"tool": "zoom"}] * 6),
            speceyes=replace(one.speceyes, right=False, decision=decision, seconds=one.agent.seconds / 2),
        )

    figures = report([changed(c) for c in checked])["overall"]
    wrong = ("speculator_visible", "speculator_small", "agent", "agent_small", "speceyes", "within_5_steps")
    assert [figures[name] for name in wrong] == [0.0] * len(wrong)
    assert figures["judge_tool_free_on_small"] == figures["beta"] == figures["alpha"] == 1.0
    assert figures["judge_right"] == sum(c.question.size == "large" for c in checked) / len(checked)
    assert figures["speedup"] == pytest.approx(2.0)
    assert figures["auroc_min"] is None


def test_the_command_prints_one_object_and_writes_every_outcome(tmp_path: Path) -> None:
    lines = tmp_path / "outcomes.jsonl"
    run = CliRunner().invoke(app, ["testbed", "check", "--limit", "1", "--out", str(lines), "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert set(found) == {*SPLITS, "overall"}
    assert [json.loads(line)["id"] for line in lines.read_text().splitlines()] == [f"test/{s}/0" for s in SPLITS]


def test_a_part_that_is_not_there_is_named() -> None:
    run = CliRunner().invoke(app, ["testbed", "check", "--part", "train"])
    assert run.exit_code == 2
    assert "part" in run.output
    assert "train" in run.output
