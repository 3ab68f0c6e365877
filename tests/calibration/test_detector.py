"""The detector: its level is expected to grow by the audits only, until more differs than the limit allows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.calibration.detector import LAMBDAS, Detector
from langgraph_speceyes.errors import ArgumentError

limits = st.floats(1e-3, 0.9)
audits = st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.5, 1.0])), max_size=60)


def fed(detector: Detector, stream: list[tuple[bool, float]]) -> Detector:
    for differs, rate in stream:
        detector.observe(differs / rate, rate=rate)
    return detector


@given(audits, limits, st.sampled_from([0.1, 0.5, 1.0]), st.floats(0, 1))
def test_the_level_is_expected_to_grow_by_the_rate_at_most_within_the_limit(
    past: list[tuple[bool, float]], m: float, rate: float, p: float
) -> None:
    state = fed(Detector(m), past).to_dict()
    before = Detector.from_dict(state).level
    assert before >= 0
    loss = p * m  # any expected loss up to the limit: seen as 1/rate with probability loss * rate
    seen, unseen = Detector.from_dict(state), Detector.from_dict(state)
    after = loss * rate * seen.observe(1 / rate, rate=rate) + (1 - loss * rate) * unseen.observe(0, rate=rate)
    assert after <= (before + rate) * (1 + 1e-9)
    assert unseen.level >= 0


def test_with_every_audit_known_it_is_the_textbooks_recursion() -> None:
    m, levels = 0.03, np.zeros(len(LAMBDAS))
    detector = Detector(m)
    for differs in np.random.default_rng(0).random(300) < 0.05:
        levels = (1 + np.array(LAMBDAS) * (differs - m)) * (levels + 1)
        assert detector.observe(differs) == pytest.approx(levels.mean())
    assert detector.observed == 300


@given(audits, st.integers(0, 60))
def test_the_state_goes_through_json_to_the_last_bit(stream: list[tuple[bool, float]], cut: int) -> None:
    whole = fed(Detector(0.03), stream)
    restored = Detector.from_dict(json.loads(json.dumps(fed(Detector(0.03), stream[:cut]).to_dict())))
    assert fed(restored, stream[cut:]).to_dict() == whole.to_dict()


def test_it_warns_before_it_alarms_and_keeps_both() -> None:
    detector, seen = Detector(0.03, false_alarms=0.05, horizon=100), []
    assert (detector.warning_level, detector.alarm_level) == (100, 2000)
    for _ in range(4):
        level = detector.observe(True)
        seen.append((detector.warned, detector.alarmed))
        assert detector.warned == (level >= 100)
        assert detector.alarmed == (level >= 2000)
    assert seen == [(False, False), (True, False), (True, True), (True, True)]
    for _ in range(500):
        detector.observe(False)
    assert detector.level < 100
    assert detector.warned
    assert detector.alarmed


def test_large_limits_cut_the_bets_so_that_the_level_stays_positive() -> None:
    detector = Detector(0.5)
    for _ in range(10):
        assert detector.observe(False) > 0


def runs(before: float, after: float, change: int, length: int, count: int, m: float, seed: int) -> list[int | None]:
    """At which audit each of many runs alarms."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        rates = np.where(np.arange(length) < change, before, after)
        detector, at = Detector(m), None
        for number, differs in enumerate(rng.random(length) < rates, 1):
            detector.observe(differs)
            if detector.alarmed:
                at = number
                break
        found.append(at)
    return found


def test_sampled_false_alarms_at_the_limit_are_rare() -> None:
    alarms = [at for at in runs(0.03, 0.03, 2000, 2000, 40, 0.03, 1) if at]
    assert len(alarms) <= 6  # 5 % of 40, and a chance of 1 in 100 of more


def test_sampled_delays_after_a_change_are_short() -> None:
    found = runs(0.01, 0.2, 200, 600, 40, 0.03, 2)
    delays = sorted((at or 10**6) - 200 for at in found)
    assert delays[0] > 0
    assert delays[36] <= 100


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"max_loss": 1}, "max_loss"),
        ({"max_loss": 0.1, "false_alarms": 0}, "false_alarms"),
        ({"max_loss": 0.1, "horizon": 0}, "horizon"),
        ({"max_loss": 0.1, "lambdas": [-1]}, "lambdas"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, float], name: str) -> None:
    with pytest.raises(ArgumentError) as error:
        Detector(**arguments)  # type: ignore[arg-type]
    assert error.value.argument == name


@pytest.mark.parametrize(("loss", "rate", "name"), [(0, 0, "rate"), (2, 1, "loss"), (-1, 1, "loss"), (11, 0.1, "loss")])
def test_observations_out_of_range_are_named(loss: float, rate: float, name: str) -> None:
    with pytest.raises(ArgumentError) as error:
        Detector(0.1).observe(loss, rate=rate)
    assert error.value.argument == name
