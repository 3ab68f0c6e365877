"""Thresholds of several depths from labels for all answers, for some or for none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes.calibration import Labelled, guaranteed_thresholds, labelled_thresholds, separate_thresholds
from langgraph_speceyes.calibration.guarantee import METHODS, Method
from langgraph_speceyes.errors import ArgumentError
from tests.calibration.recorded_depths import DepthOutcomes, recorded
from tests.calibration.test_depths import confidences, limits, lowest, methods, on_path, outcomes, truth
from tests.calibration.test_guarantee import by_chance, level


def found_of(case: DepthOutcomes, agree: Any, labels: Any, **options: Any) -> Labelled:
    return labelled_thresholds(
        case.scores,
        labels=labels,
        agree=list(agree),
        speculator_right=options.pop("small", list(case.right)),
        agent_right=options.pop("large", case.agent),
        eligible=case.eligible,
        **{"extrapolate": False, **options},
    )


def thresholds(found: Labelled) -> list[float]:
    return [np.inf if t is None else t for t in (found.by_depth.thresholds if found.by_depth else [None] * 9)]


def agreeing(case: DepthOutcomes, rng: np.random.Generator) -> Any:
    """Answers that agree are right or wrong together; of those that are both wrong some agree."""
    return case.right & case.agent | (~case.right & ~case.agent & (rng.random(case.right.shape) < 0.5))


@given(outcomes(), limits, confidences, methods)
@settings(max_examples=50, deadline=None)
def test_the_shorter_chains_are_tested_with_the_whole(
    case: DepthOutcomes, max_loss: float, confidence: float, method: Method
) -> None:
    shorter = on_path(case, max_loss, confidence, method, shorter=True)
    assert np.all(np.array(lowest(shorter)) >= lowest(on_path(case, max_loss, confidence, method)))
    assert shorter.shorter
    n = case.agent.size
    for depths in range(1, len(case.scores) + 1):
        takes = np.zeros(n, bool)
        right = np.zeros(n, bool)
        for depth, threshold in list(enumerate(lowest(shorter)))[:depths]:
            now = ~takes & case.eligible[depth] & (case.scores[depth] >= threshold)
            right[now], takes = case.right[depth][now], takes | now
        if takes.any():
            assert level((takes.astype(float), right, case.agent), 0.5, max_loss, method, 0) <= 1 - confidence


@given(outcomes(), st.integers(0, 2**32), limits, confidences, methods)
@settings(max_examples=50, deadline=None)
def test_all_labels_are_the_thresholds_and_those_of_disagreements_go_as_far(
    case: DepthOutcomes, seed: int, max_loss: float, confidence: float, method: Method
) -> None:
    agree = agreeing(case, np.random.default_rng(seed))
    options: Any = {"max_loss": max_loss, "confidence": confidence, "method": method}
    every = found_of(case, agree, "all", **options)
    assert thresholds(every) == lowest(on_path(case, max_loss, confidence, method, shorter=True))
    some = found_of(case, agree, "disagreements", **options)
    assert thresholds(some) == thresholds(every)
    assert some.needed == ()
    none = found_of(case, agree, "none", **options)
    expected = guaranteed_thresholds(
        case.scores,
        agree,
        np.ones_like(case.agent),
        eligible=case.eligible,
        shorter=True,
        extrapolate=False,
        **options,
    )
    assert thresholds(none) == lowest(expected)
    itself = found_of(case, agree, "all", found="separate", **options)
    separate = separate_thresholds(case.scores, case.right, case.agent, eligible=case.eligible, **options)
    assert thresholds(itself) == lowest(separate)


@given(outcomes(most=60), st.integers(0, 2**32), limits, methods)
@settings(max_examples=30, deadline=None)
def test_labels_that_are_asked_for_lead_to_those_of_all(
    case: DepthOutcomes, seed: int, max_loss: float, method: Method
) -> None:
    agree, n = agreeing(case, np.random.default_rng(seed)), case.agent.size
    small: Any = [[None] * n for _ in case.scores]
    large: Any = [None] * n
    options: Any = {"max_loss": max_loss, "method": method}
    every, before = thresholds(found_of(case, agree, "disagreements", **options)), None
    for _ in range(case.scores.size + 1):
        found = found_of(case, agree, "disagreements", small=small, large=large, **options)
        at = thresholds(found)[: len(every)]
        assert np.all(np.array(at) >= every), "nothing is certified that all labels would not certify"
        assert before is None or method == "net" or np.all(np.array(at) <= before)
        before = at
        if not found.needed:
            break
        depth, k = divmod(found.needed[0], n)
        assert not agree[depth, k]
        small[depth][k], large[k] = bool(case.right[depth, k]), bool(case.agent[k])
    assert at == every
    assert found.labelled <= found.differing


@pytest.mark.parametrize("method", METHODS)
def test_without_labels_the_promise_holds_and_with_few_as_well(method: Method) -> None:
    whole, rng, draws, broken = recorded(True), np.random.default_rng(5), 60, 0
    agree = agreeing(whole, np.random.default_rng(1))
    for _ in range(draws):
        chosen = rng.integers(0, whole.agent.size, 500)
        sample = whole.at(chosen)
        for labels in ("none", "disagreements"):
            found = found_of(sample, agree[:, chosen], labels, max_loss=0.04, method=method)
            at = found.by_depth.thresholds if found.by_depth else (None,) * len(whole.scores)
            broken += truth(whole, at, method)[1] > 0.04
    assert broken <= by_chance(2 * draws, 0.1)


def test_what_is_missing_is_named() -> None:
    case = recorded(True).at(np.arange(50))
    with pytest.raises(ArgumentError, match="speculator_right"):
        found_of(case, case.right, "all", small=[[None] * 50, [True] * 50, [True] * 50], max_loss=0.1)
    with pytest.raises(ArgumentError, match="depths"):
        found_of(case, case.right[:1], "none", max_loss=0.1)
    with pytest.raises(ArgumentError, match="labels"):
        found_of(case, case.right, "few", max_loss=0.1)


def test_gains_of_the_last_look_pay_for_no_chain_without_it() -> None:
    # depth 0 loses a tenth of all questions, depth 1 gains a fifth where depth 0 has nothing to say
    n = 1000
    share = np.random.default_rng(2).permutation(n) / n
    first, lost, gained = share < 0.5, share < 0.1, share >= 0.8
    case = DepthOutcomes(
        np.array([np.where(first, 0.99, 0.0), np.where(first, 0.0, 0.99)]),
        np.array([~lost, ~first]),
        ~gained,
        np.ones((2, n), bool),
        np.full(n, ""),
    )
    assert sum(on_path(case, 0.05).accepted) == 1
    assert not on_path(case, 0.05).shorter
    assert sum(on_path(case, 0.05, shorter=True).accepted) == 0


def test_what_agrees_with_a_wrong_answer_gains_nothing() -> None:
    # three tenths are wrong on both sides and agree; one tenth is lost
    n = 1000
    share = np.random.default_rng(2).permutation(n) / n
    lost, both_wrong = share < 0.1, share > 0.7
    right, agent = np.stack([~lost & ~both_wrong] * 2), ~both_wrong
    case = DepthOutcomes(np.full((2, n), 0.99), right, agent, np.ones((2, n), bool), np.full(n, ""))
    agree = np.stack([~lost] * 2)
    for labels in ("all", "disagreements", "none"):
        assert found_of(case, agree, labels, max_loss=0.05).guarantee.accepted == 0
        assert found_of(case, agree, labels, max_loss=0.2).guarantee.accepted == 1
