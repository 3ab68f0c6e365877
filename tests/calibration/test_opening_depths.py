"""Evidence of several depths that share one threshold: each bet is on the first depth that accepts."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes.calibration.opening import Opening
from langgraph_speceyes.calibration.watched import WatchedOpening
from langgraph_speceyes.errors import ArgumentError
from tests.calibration.recorded_depths import recorded
from tests.calibration.test_guarantee import by_chance

GRID = (0.95, 0.8, 0.6, 0.3)
scores = st.sampled_from([None, 0.0, 0.1, 0.3, 0.5, 0.6, 0.9, 0.95, 1.0])
questions = st.lists(
    st.tuples(
        st.lists(st.tuples(scores, st.booleans()), min_size=1, max_size=3),
        st.sampled_from([1.0, 0.5, 0.1]),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


def observe(opening: Opening, asked: Any) -> float:
    depths, rate, accepted, audited = asked
    by_depth = [score for score, _ in depths], [differs for _, differs in depths]
    return opening.observe(*by_depth, rate=rate, accepted=accepted, audited=audited)


@given(questions)
@settings(deadline=None)
def test_every_threshold_bets_on_the_first_depth_that_accepts(stream: list[Any]) -> None:
    several = Opening(0.1, 0.9, grid=GRID, depths=3)
    alone = [Opening(0.1, 0.9, grid=[at]) for at in GRID]
    for asked in stream:
        depths, rate, accepted, audited = asked
        observe(several, asked)
        for at, one in zip(GRID, alone, strict=True):
            # as one depth: what is returned at this threshold, if anything
            first = next(((s, d) for s, d in depths if s is not None and s >= at), (None, False))
            one.observe(*first, rate=rate, accepted=accepted, audited=audited)
    assert several.evidence == pytest.approx([one.evidence[0] for one in alone])
    n = len(stream)
    for at, one in zip(GRID, alone, strict=True):
        k = GRID.index(at)
        assert several._above[k] == one._above[0]
        assert several._above_by[:, k].sum() == one._above[0]
        assert math.isclose(several._loss_by[:, k].sum(), one._loss[0], abs_tol=1e-9)
    assert several.questions == n


@given(questions)
@settings(deadline=None)
def test_one_depth_is_as_before_and_states_go_on_to_the_last_bit(stream: list[Any]) -> None:
    one, listed = Opening(0.1, 0.9, grid=GRID), Opening(0.1, 0.9, grid=GRID)
    several = Opening(0.1, 0.9, grid=GRID, depths=3)
    for depths, rate, accepted, audited in stream:
        (score, differs), *_ = depths
        options = {"rate": rate, "accepted": accepted, "audited": audited}
        assert one.observe(score, differs, **options) == listed.observe([score], [differs], **options)
        observe(several, (depths, rate, accepted, audited))
        several = Opening.from_dict(json.loads(json.dumps(several.to_dict())))
    assert one.to_dict() == listed.to_dict()
    assert not {"depths", "above_by"} & set(one.to_dict())
    again = Opening(0.1, 0.9, grid=GRID, depths=3)
    for asked in stream:
        observe(again, asked)
    assert again.to_dict() == several.to_dict()
    assert again.by_depth == several.by_depth


def test_what_is_returned_is_what_the_detector_sees() -> None:
    opening = Opening(0.3, 0.5, grid=[0.9, 0.8], depths=2)
    while opening.threshold != 0.8:
        opening.observe([0.5, 0.85], [True, False])
    accepted: dict[str, Any] = {"rate": 0.5, "accepted": True}
    assert opening.observe([0.5, 0.85], [False, True], **accepted) == 2.0
    assert opening.observe([0.85, 0.99], [False, True], **accepted) == 0.0
    assert opening.observe([0.5, 0.85], [False, True], audited=False, **accepted) == 0.0
    first, second = opening.by_depth
    assert (first.threshold, second.threshold) == (0.8, 0.8)
    assert first.accepted < second.accepted
    assert (first.differing, second.differing > 0) == (0.0, True)
    for wrong in ([0.5, 0.5, 0.5], [True] * 3), ([0.5, 0.5], [True]):
        with pytest.raises(ArgumentError, match="score"):
            opening.observe(*wrong)
    with pytest.raises(ArgumentError, match="depths"):
        opening.observe_many([0.5], [True])


def test_the_promise_over_all_depths_is_kept_at_every_moment() -> None:
    whole, max_loss, runs, broken, opened = recorded(judge=True), 0.04, 60, 0, 0
    # answers that differ, of which a wrong answer of the agent's makes some
    differs = ~(whole.right & whole.agent)
    score = np.where(whole.eligible, whole.scores, 0.0)
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        watched = WatchedOpening.from_dict(
            WatchedOpening(Opening(max_loss, 0.9, depths=len(score)), _detector(max_loss)).to_dict()
        )
        for k in rng.integers(0, whole.agent.size, 800):
            watched.opening.observe(score[:, k].tolist(), differs[:, k].tolist())
        at = watched.opening.threshold
        if at is None:
            continue
        opened += 1
        accepts = np.concatenate([score >= at, np.ones((1, whole.agent.size), bool)])
        lost = np.concatenate([differs, np.zeros((1, whole.agent.size), bool)])[
            accepts.argmax(axis=0), np.arange(whole.agent.size)
        ]
        broken += lost.mean() > max_loss
    assert opened > runs // 2
    assert broken <= by_chance(runs, 0.1)


def _detector(max_loss: float) -> Any:
    from langgraph_speceyes.calibration.detector import Detector

    return Detector(max_loss)
