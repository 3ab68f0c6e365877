"""Gates that open themselves on recorded questions: samples of what `make opening-sim` measures in full."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from langgraph_speceyes.bench.opening.__main__ import main
from langgraph_speceyes.bench.opening.campaign import alarms, campaign
from langgraph_speceyes.bench.opening.streams import ORDERS, Outcomes, follow, read_outcomes
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.traffic.opening import SelfOpening

TABLE = Path(__file__).parents[1] / "calibration" / "embedded_outcomes.csv"
SETTINGS = SelfOpening(max_loss=0.02, confidence=0.9)


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return read_outcomes(TABLE, "odds")


def test_outcomes_are_what_the_table_says(outcomes: Outcomes, tmp_path: Path) -> None:
    assert outcomes.scores.shape == outcomes.differs.shape == outcomes.lost.shape == (1500,)
    # two wrong answers may differ too
    assert outcomes.differs.sum() > (outcomes.lost != 0).sum()
    assert np.all(outcomes.differs[outcomes.lost != 0])
    assert outcomes.accepted(None) == outcomes.loss(None) == 0
    assert 0 < outcomes.loss(0.5) < outcomes.accepted(0.5) < 1
    (tmp_path / "table.csv").write_text("split,speculator_right,agent_right,agree\na,1,1,1\n")
    with pytest.raises(ArgumentError, match="odds"):
        read_outcomes(tmp_path / "table.csv", "odds")


@pytest.mark.parametrize("order", ORDERS)
def test_streams_are_as_long_as_asked_and_are_of_the_population(outcomes: Outcomes, order: str) -> None:
    stream = ORDERS[order](outcomes, 1003, np.random.default_rng(0))
    assert stream.shape == (1003,)
    assert stream.min() >= 0
    assert stream.max() < 1500


def test_easy_questions_come_first_and_splits_one_after_the_other(outcomes: Outcomes) -> None:
    rng = np.random.default_rng(0)
    easy = ORDERS["easy first"](outcomes, 1000, rng)
    assert not outcomes.differs[easy[:400]].any()
    assert outcomes.differs[easy[400:]].any()
    splits = outcomes.splits[ORDERS["split by split"](outcomes, 1000, rng)]
    assert (splits[1:] != splits[:-1]).sum() == 4
    hard = ORDERS["hard last"](outcomes, 1000, rng)
    assert outcomes.lost[hard[600:]].mean() > outcomes.lost[hard[:600]].mean() + 0.1


def test_sampled_it_opens_soon_and_stays_within_the_limit(outcomes: Outcomes) -> None:
    found = campaign(outcomes, SETTINGS, runs=8)
    assert found["opens_median"] <= 200
    assert found["accepts_mean"] >= 0.48
    assert found["above"] <= 0.25  # two of eight; a tenth is promised
    assert found["ever_closed"] == 0
    assert found["accuracy_lost"] < 0.02
    assert 0.1 < found["bypassed"] < found["could_accept"]
    assert found["audits"] < 1250


def test_sampled_a_stream_that_was_easy_at_first_is_found_out(outcomes: Outcomes) -> None:
    found = campaign(outcomes, SETTINGS, order="easy first", runs=3, questions=2000)
    assert found["ever_closed"] == 1
    assert found["accuracy_lost_worst"] < 0.05


def test_sampled_at_the_edge_the_promise_holds() -> None:
    # Above 0.9 the loss is 0.06, with what lies from 0.8 to 0.9 it is 0.11: over the limit of 0.1, and mostly in what
    # is accepted already, which is seen by audits only.
    rng = np.random.default_rng(5)
    scores = np.repeat([0.95, 0.85, 0.3], [4000, 2000, 4000])
    differs = np.arange(10_000) % 4000 < np.repeat([600, 0, 0], [4000, 2000, 4000])
    differs[4000:4500] = True
    lost = differs.astype(np.int8)
    edge = Outcomes(scores, differs, lost, np.repeat("one", 10_000))
    settings = SelfOpening(max_loss=0.1, confidence=0.9, audit=0.1, grid=(0.9, 0.8))
    assert (edge.loss(0.9), edge.loss(0.8)) == (0.06, 0.11)
    opened = above = 0
    for _ in range(40):
        course = follow(edge, rng.integers(0, 10_000, 1000), settings, rng)
        opened += bool(np.any(course.thresholds == 0.9))
        above += bool(np.any(course.thresholds == 0.8))
    assert opened > 25
    assert above <= 9  # of 40 a tenth is promised; more than 9 have a probability below 1 %


def test_a_course_says_what_was_in_force(outcomes: Outcomes) -> None:
    rng = np.random.default_rng(0)
    stream = ORDERS["shuffled"](outcomes, 400, rng)
    course = follow(outcomes, stream, SETTINGS, rng)
    first = course.first("opened")
    assert first is not None
    assert np.all(np.isnan(course.thresholds[:first]))
    assert not np.isnan(course.thresholds[first:]).any()
    assert not course.accepted[:first].any()
    assert np.array_equal(course.accepted[first:], outcomes.scores[stream[first:]] >= course.thresholds[first:])
    assert course.first("closed") is None


def test_detectors_are_counted_before_and_after_the_change() -> None:
    found = alarms(0.01, 0.3, change=100, audits=400, runs=10)
    assert (found["false_alarms"], found["runs"]) == (0, 10)
    assert 0 < found["delay_median"] <= found["delay_p90"] < 100
    assert alarms(0.9, 0.9, change=100, audits=100, runs=5)["false_alarms"] == 1


def test_the_command_prints_figures_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(TABLE), "--runs", "2", "--questions", "250", "--plot", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["opening", *arguments])
    main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("order") for line in lines] == [*ORDERS, None, None, None, None]
    assert (tmp_path / "opening.png").stat().st_size > 10_000
