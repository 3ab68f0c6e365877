"""The bypass, the plain cascade and the judge alone under one rule, and the figures that compare them."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes.bench.alike import Alike, calibrate_alike
from langgraph_speceyes.bench.calibrated import Calibrated
from langgraph_speceyes.bench.datasets import Item
from langgraph_speceyes.bench.runs import Outcome
from langgraph_speceyes.bench.speed.comparison import compared
from langgraph_speceyes.bench.speed.subjects import Run
from langgraph_speceyes.bench.sweep import sweep
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import parse_reference
from langgraph_speceyes.scoring import Gate, ScoreName

GATE = Gate(threshold=0.5, judge_threshold=0.5, k=64)


def recorded(count: int, seed: int = 0, *, judged: bool = True, harmless: bool = False) -> list[Outcome]:
    """Outcomes of a bypass with both sides: the speculator is right where its scores are high and no tools needed."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(count):
        hard = rng.random()
        small_right = bool(rng.random() > hard) or harmless
        scores = {name: float(np.clip(1 - hard + rng.normal(0, 0.1), 0.01, 0.99)) for name in get_args(ScoreName)}
        small = {"answer": "a", "right": small_right, "seconds": 0.03, "error": None, "tokens": {}}
        agent = {"answer": "a", "right": bool(rng.random() < 0.97), "seconds": 0.3, "error": None, "tokens": {}}
        outcome: Any = {
            "method": "speceyes",
            "id": f"{k}",
            "split": "ab"[k % 2],
            "question": "What colour?",
            "expected": "a",
            "group": "",
            "rule": "free_form",
            "image": f"{k}.png",
            "route": "fallback",
            "error": None,
            "tool_need": float(np.clip(hard + rng.normal(0, 0.1), 0.001, 0.999)) if judged else None,
            "speculator": {**small, "scores": scores, "k": 64},
            "agent": agent,
            "seconds": {"judge": 0.01, "total": 0.4} if judged else {"total": 0.4},
        }
        found.append(outcome)
    return found


@pytest.mark.parametrize("rule", ["guarantee", "paper"])
@given(seed=st.integers(0, 1000))
@settings(max_examples=4, deadline=None)
def test_each_threshold_is_that_of_its_own_way_and_keeps_the_rule(rule: str, seed: int) -> None:
    outcomes = recorded(400, seed)
    alike = calibrate_alike(outcomes, GATE, judging=True, rule=rule)
    assert list(alike.found) == ["speceyes", "judge-only", "cascade"]
    agent = np.array([o["agent"]["right"] for o in outcomes])  # type: ignore[index]
    splits = np.array([o["split"] for o in outcomes])
    for name, found in alike.found.items():
        gate = found.gate
        if gate is None:
            continue
        assert (gate.score == "log") == (name == "cascade")
        assert (gate.judge_threshold is None) == (name == "cascade")
        one = sweep(outcomes, score=gate.score, threshold=gate.threshold, judge_threshold=gate.judge_threshold)
        assert found.accepted == pytest.approx(one.bypass.mean())
        assert found.accuracy == pytest.approx(one.right.mean())
        if rule == "paper":
            for split in "ab":
                assert one.right[splits == split].sum() >= agent[splits == split].sum()
        else:
            # what was certified is what is used
            assert found.guarantee is not None
            assert one.bypass.mean() == pytest.approx(found.guarantee.accepted)
            assert agent.mean() - one.right.mean() == pytest.approx(found.guarantee.loss)


def test_the_judge_alone_is_certified_at_its_own_threshold_and_the_gate_lets_everything_through() -> None:
    outcomes = recorded(400, harmless=True)
    gate = calibrate_alike(outcomes, GATE, judging=True, rule="guarantee").found["judge-only"].gate
    assert gate is not None
    assert gate.judge_threshold is not None
    # nothing is ever lost: all of them may pass
    assert all(o["tool_need"] < gate.judge_threshold for o in outcomes)  # type: ignore[operator]
    # what the judge cannot tell, and what has no answer, is the agent's
    outcomes[0]["tool_need"] = None
    outcomes[1]["speculator"]["scores"] = {}  # type: ignore[index]
    found = calibrate_alike(outcomes, GATE, judging=True, rule="guarantee").found["judge-only"]
    assert found.accepted == pytest.approx(398 / 400)


def test_too_few_questions_are_the_papers_and_no_judge_has_no_judge_alone() -> None:
    assert calibrate_alike(recorded(20), GATE, judging=True).rule == "paper"
    assert calibrate_alike(recorded(300), GATE, judging=True).rule == "guarantee"
    for rule in ("guarantee", "paper"):
        alike = calibrate_alike(recorded(300, judged=False), Gate(), judging=False, rule=rule)
        assert list(alike.found) == ["speceyes", "cascade"]
    with pytest.raises(ArgumentError, match="rule"):
        calibrate_alike(recorded(300), GATE, judging=True, rule="best")


# the figures


def ran(answer: str, seconds: float, route: str | None = None, error: str | None = None) -> Run:
    decision: Any = None
    if route:
        decision = dict.fromkeys(("decided_by", "tool_need", "score", "error")) | {"route": route, "seconds": {}}
    return Run(seconds, seconds / 2, decision, 0, 0, 0, 0, answer, error)


SECONDS = st.floats(0.01, 10)
ANSWERS = st.sampled_from(["red", "blue"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "split": st.sampled_from("ab"),
            **{name: st.tuples(ANSWERS, SECONDS) for name in ("agent", "speceyes", "judge-only", "cascade")},
        }
    ),
    min_size=1,
    max_size=12,
)


@given(ROWS)
@settings(max_examples=20, deadline=None)
def test_ratios_are_of_total_time_and_lost_and_won_are_against_the_agent(rows: list[dict[str, Any]]) -> None:
    names = ["agent", "speceyes", "judge-only", "cascade"]
    items = [
        Item(f"{k}", row["split"], "What colour?", (), "red", parse_reference("/a.png")) for k, row in enumerate(rows)
    ]
    runs = [
        {name: ran(*row[name], route=None if name == "agent" else "bypass" if k % 2 else "fallback") for name in names}
        for k, row in enumerate(rows)
    ]
    found = compared(items, runs, alike())
    total = {name: math.fsum(row[name][1] for row in rows) for name in names}
    right = {name: [row[name][0] == "red" for row in rows] for name in names}
    for key, name in (("speceyes_over_cascade", "cascade"), ("speceyes_over_judge_only", "judge-only")):
        assert found.figures[key].median == pytest.approx(total[name] / total["speceyes"])
    for name in names[1:]:
        one = found.details["methods"][name]
        assert one["speedup"]["median"] == pytest.approx(total["agent"] / total[name])
        assert one["speedup_cpu"]["median"] == pytest.approx(one["speedup"]["median"])
        lost = sum(a and not b for a, b in zip(right["agent"], right[name], strict=True))
        assert (one["lost"], one["won"]) == (lost, sum(right[name]) - sum(right["agent"]) + lost)
        assert one["bypassed"]["value"] == pytest.approx(len(rows) // 2 / len(rows))
        ratios = []
        for split in {row["split"] for row in rows}:
            here = [row for row in rows if row["split"] == split]
            ratios.append(math.fsum(r["agent"][1] for r in here) / math.fsum(r[name][1] for r in here))
        assert one["speedup_mean"]["median"] == pytest.approx(math.fsum(ratios) / len(ratios))


def test_trouble_is_wrong_and_has_no_time_and_what_has_no_threshold_has_no_ratio() -> None:
    item = Item("0", "a", "What colour?", (), "red", parse_reference("/a.png"))
    fine = {"agent": ran("red", 4.0), "speceyes": ran("red", 2.0, "bypass"), "judge-only": ran("red", 3.0, "bypass")}
    broken = {**fine, "judge-only": Run(99.0, 99.0, None, 0, 0, 0, 0, None, "TimeoutError")}
    found = compared([item, item], [fine, broken], alike(cascade=False))
    assert found.figures["speceyes_over_judge_only"].median == pytest.approx(1.5)
    assert found.details["methods"]["judge-only"]["accuracy"]["value"] == 0.5
    assert found.details["methods"]["judge-only"]["failed"] == 1
    assert "no threshold" in str(found.figures["speceyes_over_cascade"].reason)
    assert found.sheet is not None
    shown = {row[0][0]: row for row in found.sheet.rows}
    assert list(shown) == ["agent", "speceyes", "judge-only", "cascade"]
    assert "no threshold" in shown["cascade"][1][0]
    assert len({len(row) for row in found.sheet.rows}) == 1
    without = compared([item], [{k: v for k, v in fine.items() if k != "judge-only"}], alike(), judging=False)
    assert without.figures["speceyes_over_judge_only"].reason == "there is no judge"


def alike(*, cascade: bool = True) -> Alike:
    def made(gate: Gate | None) -> Calibrated:
        return Calibrated(gate, None, 10, 0.5, 0.9, 0.9, 1.5)

    plain = Gate(score="log", threshold=0.9) if cascade else None
    return Alike("paper", "thresholds", {"speceyes": made(GATE), "judge-only": made(GATE), "cascade": made(plain)})
