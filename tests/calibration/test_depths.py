"""One promise over several depths. Run as a program, this file prints what 1,000 resamples of every case come to."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes.bench.sweep import Table, swept
from langgraph_speceyes.calibration import (
    DepthsGuarantee,
    common_path,
    guaranteed_threshold,
    guaranteed_thresholds,
    quantile_path,
    replay,
    separate_thresholds,
)
from langgraph_speceyes.calibration.guarantee import GRID, METHODS, Method
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed.pair import LOOKS_GATE
from tests.bench.test_depth_calibration import looking
from tests.calibration.record import FILES, row
from tests.calibration.recorded_depths import DepthOutcomes, one_depth, recorded
from tests.calibration.test_guarantee import by_chance, level

WAYS = ("path", "shorter", "quantiles", "separate")


# ---- the campaign: three depths as recorded


def calibrated(way: str, sample: DepthOutcomes, max_loss: float, confidence: float, method: Method) -> DepthsGuarantee:
    """Thresholds from a sample; for quantiles its first half lays the path and the second is calibrated on."""
    path = None
    if way == "quantiles":
        first, second = np.array_split(np.arange(sample.agent.size), 2)
        half = sample.at(first)
        path, sample = quantile_path(half.scores, eligible=half.eligible), sample.at(second)
    columns = (sample.scores, sample.right, sample.agent)
    if way == "separate":
        return separate_thresholds(
            *columns, max_loss=max_loss, confidence=confidence, method=method, eligible=sample.eligible
        )
    return guaranteed_thresholds(
        *columns,
        max_loss=max_loss,
        confidence=confidence,
        method=method,
        eligible=sample.eligible,
        path=path,
        extrapolate=False,
        shorter=way == "shorter",
    )


def truth(whole: DepthOutcomes, thresholds: tuple[float | None, ...], method: Method) -> tuple[float, float]:
    """The share that does not reach the agent and the loss, with these questions as all there are."""
    none = np.zeros_like(whole.scores)
    done = replay(
        whole.scores, whole.right, whole.agent, thresholds, depth_s=none, agent_s=none[0], eligible=whole.eligible
    )
    lost = whole.agent.astype(int) - done.right
    return float(done.bypass.mean()), float((np.maximum(lost, 0) if method == "harm" else lost).mean())


@cache
def own_oracle(judge: bool, depth: int, max_loss: float, method: Method) -> float:
    """The lowest threshold of one gate alone, coming from the safest, for one who knows all outcomes."""
    alone, lowest = one_depth(recorded(judge), depth), float(GRID[0])
    for threshold in GRID.tolist():
        if truth(alone, (threshold,) * len(alone.scores), method)[1] > max_loss:
            break
        lowest = threshold
    return lowest


@dataclass(frozen=True)
class Campaign:
    """Broken promises; means over the resamples: what the chain accepts, and each depth alone at its threshold.

    `could` is what it accepts with every depth at its own oracle's threshold, `depths_could` each of them alone.
    """

    broken: int
    accepted: float
    could: float
    depths: tuple[float, ...]
    depths_could: tuple[float, ...]

    def least_share(self) -> float:
        """Of the depths, the smallest part of what its own oracle threshold could accept."""
        return min(did / could for did, could in zip(self.depths, self.depths_could, strict=True))


def campaign(way: str, judge: bool, n: int, max_loss: float, confidence: float, method: Method, draws: int) -> Campaign:
    whole, rng = recorded(judge), np.random.default_rng([n, draws])
    depths = range(len(whole.scores))
    alone = [one_depth(whole, depth) for depth in depths]
    oracle = tuple(own_oracle(judge, depth, max_loss, method) for depth in depths)
    broken, accepted = 0, np.zeros(1 + len(alone))
    for _ in range(draws):
        sample = whole.at(rng.integers(0, whole.agent.size, n))
        thresholds = calibrated(way, sample, max_loss, confidence, method).thresholds
        share, loss = truth(whole, thresholds, method)
        broken += loss > max_loss
        accepted += [share, *(truth(one, thresholds, method)[0] for one in alone)]
    both, *each = (accepted / draws).tolist()
    return Campaign(
        broken,
        both,
        truth(whole, oracle, method)[0],
        tuple(each),
        tuple(truth(one, oracle, method)[0] for one in alone),
    )


@pytest.mark.parametrize("name", FILES)
def test_a_recorded_row_has_the_columns_that_are_read(name: str) -> None:
    one = looking(7, (0.4, 0.9, 0.8), (False, True, True), large=True, need=0.99995)
    for part in (one["speculator"], *one["depths"]):
        assert part
        part["k"] = 20
    found = row(one, looking(7, (0.5,), (False,), large=True, need=0.99995))
    with (Path(__file__).parent / name).open() as lines:
        assert set(lines.readline().strip().split(",")) == set(found)
    assert [found[f"odds{at}"] for at in ("", "_1", "_2")] == ["0.4", "0.9", "0.8"]
    assert [found[f"speculator_right{at}"] for at in ("", "_1", "_2")] == ["0", "1", "1"]
    assert (found["min"], found["tool_need"], found["agent_right"]) == ("0.5", "0.99995", "1")


def test_each_depth_doubts_where_it_cannot_tell() -> None:
    whole = recorded(judge=True)
    assert whole.scores.shape == (3, 1800)
    deep, scores, right = whole.family == "deep", whole.scores[1], whole.right[1]
    for family in set(whole.family) - {"deep"}:
        assert right[whole.family == family].mean() >= 0.97
    assert right[deep].mean() <= 0.6
    doubt = scores[deep & right][:, None] - scores[deep & ~right]
    assert (doubt > 0).mean() + (doubt == 0).mean() / 2 >= 0.93
    comes = deep & (scores < Gate.load(LOOKS_GATE).threshold)
    assert 100 < comes.sum() < 200
    assert whole.right[2, comes].mean() >= 0.85
    assert whole.eligible[1:].all()
    assert not whole.eligible[0, deep].any()


@pytest.mark.parametrize("judge", [True, False])
def test_the_promise_is_kept_and_each_depth_accepts_nine_tenths_of_what_it_could(judge: bool) -> None:
    draws = 100
    for way in ("path", "shorter"):
        done = campaign(way, judge, 1000, 0.02, 0.9, "net", draws)
        assert done.broken <= by_chance(draws, 0.1)
        assert done.least_share() >= 0.9
        assert done.accepted >= 0.9 * done.could


def test_the_promise_is_kept_along_quantiles_and_by_each_depth_itself() -> None:
    draws = 60
    for way in ("quantiles", "separate"):
        done = campaign(way, False, 1000, 0.02, 0.9, "net", draws)
        assert done.accepted > 0.6
        assert done.broken <= by_chance(draws, 0.1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", WAYS)
def test_depths_that_lose_too_much_only_together_are_not_certified(way: str, method: Method) -> None:
    # the surest three tenths of each depth lose just more than half of the limit, all other answers nothing
    draws, n, max_loss, rng = 250, 400, 0.05, np.random.default_rng(3)
    broken = 0
    for _ in range(draws):
        kind = rng.choice(3, n, p=[0.3, 0.3, 0.4])
        surest = kind == np.array([[0], [1]])
        scores = 1 / (1 + np.exp(-np.where(surest, 9, -9) - rng.normal(0, 0.3, (2, n))))
        wrong = (rng.random((2, n)) < 1.02 * max_loss / 2 / 0.3) & surest
        sample = DepthOutcomes(scores, ~wrong, np.ones(n, bool), np.ones((2, n), bool), np.full(n, ""))
        thresholds = calibrated(way, sample, max_loss, 0.9, method).thresholds
        broken += all(t is not None and t < 0.999 for t in thresholds)
    assert broken <= by_chance(draws, 0.1)


# ---- what holds for any outcomes


@st.composite
def outcomes(draw: st.DrawFn, most_depths: int = 3, most: int = 200) -> DepthOutcomes:
    depths, n = draw(st.integers(1, most_depths)), draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = rng.choice([0.0, 1.0, *GRID[[100, 300, 400]], *rng.random(30)], (depths, n))
    # from depths that mostly guess to depths that know better the surer they are
    known = scores ** draw(st.sampled_from([0.0, 0.1, 1.0]))
    right = rng.random((depths, n)) < known * draw(st.sampled_from([0.6, 0.97, 1.0]))
    agent = rng.random(n) < draw(st.sampled_from([0.3, 0.9, 1.0]))
    eligible = rng.random((depths, n)) < draw(st.sampled_from([0.0, 0.7, 1.0]))
    return DepthOutcomes(scores, right, agent, eligible, np.full(n, ""))


limits, confidences, methods = st.floats(0.01, 0.6), st.floats(0.05, 0.99), st.sampled_from(METHODS)
shifts = st.lists(st.floats(-3, 3), min_size=3, max_size=3)


def on_path(
    case: DepthOutcomes, max_loss: float, confidence: float = 0.9, method: Method = "net", seed: int = 0, **more: object
) -> DepthsGuarantee:
    return guaranteed_thresholds(
        case.scores,
        case.right,
        case.agent,
        eligible=case.eligible,
        max_loss=max_loss,
        confidence=confidence,
        method=method,
        seed=seed,
        **{"extrapolate": False, **more},  # type: ignore[arg-type]
    )


def by_itself(case: DepthOutcomes, max_loss: float, confidence: float = 0.9, method: Method = "net") -> DepthsGuarantee:
    return separate_thresholds(
        case.scores,
        case.right,
        case.agent,
        eligible=case.eligible,
        max_loss=max_loss,
        confidence=confidence,
        method=method,
    )


def lowest(found: DepthsGuarantee) -> list[float]:
    return [math.inf if threshold is None else threshold for threshold in found.thresholds]


def first_accepting(case: DepthOutcomes, thresholds: list[float], question: int) -> int | None:
    """The definition, one question at a time."""
    for depth, threshold in enumerate(thresholds):
        if case.eligible[depth, question] and case.scores[depth, question] >= threshold:
            return depth
    return None


@given(outcomes(most_depths=1), limits, confidences, methods, st.integers(0, 100))
@settings(deadline=None)
def test_one_depth_is_one_threshold(
    case: DepthOutcomes, max_loss: float, confidence: float, method: Method, seed: int
) -> None:
    one = guaranteed_threshold(
        case.scores[0],
        case.right[0],
        case.agent,
        eligible=case.eligible[0],
        max_loss=max_loss,
        confidence=confidence,
        method=method,
        seed=seed,
    )
    along = on_path(case, max_loss, confidence, method, seed, extrapolate=True)
    fields = ("max_loss", "confidence", "method", "n", "loss", "least", "more_needed", "seed")
    assert (along.thresholds, along.accepted) == ((one.threshold,), (one.accepted,))
    assert [getattr(along, name) for name in fields] == [getattr(one, name) for name in fields]
    itself = separate_thresholds(
        case.scores,
        case.right,
        case.agent,
        eligible=case.eligible,
        max_loss=max_loss,
        confidence=confidence,
        method=method,
        seed=seed,
    )
    assert (itself.thresholds, itself.accepted, itself.least) == (along.thresholds, along.accepted, along.least)
    assert itself.loss == pytest.approx(along.loss)


@given(outcomes(most=80), shifts, limits, confidences, methods, st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_it_is_the_last_step_before_one_that_fails(
    case: DepthOutcomes, by: list[float], max_loss: float, confidence: float, method: Method, seed: int
) -> None:
    depths, n = case.scores.shape
    path, expected = common_path(depths, shifts=by[:depths], grid=GRID[::25]), [math.inf] * depths
    for thresholds in path.tolist():
        takes = [first_accepting(case, thresholds, question) for question in range(n)]
        taken = np.array([float(depth is not None) for depth in takes])
        right = np.array([depth is not None and case.right[depth, at] for at, depth in enumerate(takes)])
        if level((taken, right, case.agent), 0.5, max_loss, method, seed) > 1 - confidence:
            break
        expected = thresholds
    assert lowest(on_path(case, max_loss, confidence, method, seed, path=path)) == expected


@given(outcomes(), shifts, limits, limits, confidences, confidences, methods)
@settings(deadline=None)
def test_asking_for_more_never_lowers_a_threshold(
    case: DepthOutcomes,
    by: list[float],
    one_loss: float,
    other_loss: float,
    one_confidence: float,
    other_confidence: float,
    method: Method,
) -> None:
    low, high = sorted((one_loss, other_loss))
    less, more = sorted((one_confidence, other_confidence))
    path = common_path(len(case.scores), shifts=by[: len(case.scores)])

    def along(max_loss: float, confidence: float) -> list[float]:
        return lowest(on_path(case, max_loss, confidence, method, path=path))

    def itself(max_loss: float, confidence: float) -> list[float]:
        return lowest(by_itself(case, max_loss, confidence, method))

    for way in (along, itself):
        assert np.all(np.array(way(low, less)) >= way(high, less))
        assert np.all(np.array(way(high, more)) >= way(high, less))


@given(outcomes(), st.integers(0, 2**32), limits, methods)
@settings(max_examples=50, deadline=None)
def test_the_order_of_a_path_never_matters_and_that_of_questions_to_the_bets_only(
    case: DepthOutcomes, seed: int, max_loss: float, method: Method
) -> None:
    rng = np.random.default_rng(seed)
    path = common_path(len(case.scores))
    assert on_path(case, max_loss, method=method) == on_path(
        case, max_loss, method=method, path=np.concatenate([rng.permutation(path), path[:3]])
    )
    shuffled = case.at(rng.permutation(case.agent.size))
    if method == "harm":
        assert on_path(shuffled, max_loss, method=method) == on_path(case, max_loss, method=method)
        assert by_itself(shuffled, max_loss, method=method) == by_itself(case, max_loss, method=method)


@given(outcomes(), st.integers(0, 3), st.booleans(), limits, confidences, methods)
@settings(deadline=None)
def test_a_depth_that_never_accepts_changes_nothing(
    case: DepthOutcomes, position: int, scored: bool, max_loss: float, confidence: float, method: Method
) -> None:
    at = min(position, len(case.scores))
    more = DepthOutcomes(
        np.insert(case.scores, at, 0.99 if scored else 0, axis=0),
        np.insert(case.right, at, False, axis=0),
        case.agent,
        np.insert(case.eligible, at, not scored, axis=0),
        case.family,
    )
    found, without = (on_path(one, max_loss, confidence, method, extrapolate=True) for one in (more, case))
    assert found.thresholds[:at] + found.thresholds[at + 1 :] == without.thresholds
    assert found.accepted == (*without.accepted[:at], 0.0, *without.accepted[at:])
    assert (found.loss, found.more_needed) == (without.loss, without.more_needed)


@given(outcomes(), limits, confidences, methods)
@settings(max_examples=200, deadline=None)
def test_the_record_counts_what_the_gates_would_do(
    case: DepthOutcomes, max_loss: float, confidence: float, method: Method
) -> None:
    for found in (on_path(case, max_loss, confidence, method), by_itself(case, max_loss, confidence, method)):
        by = [first_accepting(case, lowest(found), question) for question in range(case.agent.size)]
        assert found.accepted == tuple(by.count(depth) / len(by) for depth in range(len(case.scores)))
        lost = [0 if depth is None else int(case.agent[at]) - int(case.right[depth, at]) for at, depth in enumerate(by)]
        lost = [max(loss, 0) for loss in lost] if method == "harm" else lost
        assert found.loss == pytest.approx(sum(lost) / len(by))
        assert found.loss <= max_loss + 1e-12
        assert json.loads(json.dumps(found.to_dict()))["thresholds"] == list(found.thresholds)


def test_gains_of_questions_an_earlier_depth_takes_pay_for_nothing() -> None:
    # depth 1 would be right where the agent is wrong, but depth 0, wrong too, is first; elsewhere depth 1 loses
    n = 1000
    first = np.arange(n) < n // 2
    scores = np.array([np.where(first, 0.99, 0.0), np.full(n, 0.99)])
    right, agent = np.array([np.zeros(n, bool), first]), ~first
    found = separate_thresholds(scores, right, agent, max_loss=0.2)
    assert found.accepted == (0.5, 0.0)
    # nor with a depth between them that never accepts
    between = (np.insert(scores, 1, 0.0, axis=0), np.insert(right, 1, False, axis=0), agent)
    assert separate_thresholds(*between, max_loss=0.3).accepted == (0.5, 0.0, 0.0)
    # they count where no earlier depth has anything to say
    scores[0] = 0
    assert separate_thresholds(scores, right, agent, max_loss=0.2).accepted == (0.0, 1.0)


@given(outcomes(), st.lists(st.floats(0.05, 1), min_size=3, max_size=3), limits, confidences)
@settings(deadline=None)
def test_each_depth_has_its_share_of_the_limit_and_of_the_level(
    case: DepthOutcomes, parts: list[float], max_loss: float, confidence: float
) -> None:
    depths = len(case.scores)
    shares = np.array(parts[:depths]) / sum(parts[:depths])
    found = separate_thresholds(
        case.scores,
        case.right,
        case.agent,
        eligible=case.eligible,
        max_loss=max_loss,
        confidence=confidence,
        method="harm",
        shares=shares,
    )
    # without gains a depth's loss is the same whoever is first
    each = [
        guaranteed_threshold(
            case.scores[depth],
            case.right[depth],
            case.agent,
            eligible=case.eligible[depth],
            max_loss=max_loss * shares[depth],
            confidence=confidence if depths == 1 else 1 - (1 - confidence) / depths,
            method="harm",
            extrapolate=False,
        ).threshold
        for depth in range(depths)
    ]
    assert list(found.thresholds) == each


@given(outcomes(), st.floats(0.05, 0.6))
@settings(max_examples=50, deadline=None)
def test_without_labels_no_threshold_is_lower_than_with_them(case: DepthOutcomes, max_loss: float) -> None:
    # wrong answers of both may say the same or not
    agree = (case.right == case.agent) & (case.right | (np.arange(case.agent.size) % 2 == 0))
    without = on_path(replace(case, right=agree, agent=np.ones_like(case.agent)), max_loss, method="harm")
    assert np.all(np.array(lowest(without)) >= lowest(on_path(case, max_loss, method="harm")))


# ---- paths


def test_a_common_path_is_the_grid_at_every_depth_and_shifts_move_it_in_the_logit() -> None:
    assert np.array_equal(common_path(2), np.stack([GRID, GRID], axis=1))
    path = common_path(2, shifts=[0, 2])
    logits = np.log(path / (1 - path))
    assert np.array_equal(path[:, 0], GRID)
    assert np.allclose(logits[100:, 1] - logits[100:, 0], 2, atol=1e-6)


@given(outcomes(), st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_quantiles_accept_the_same_share_at_every_depth(case: DepthOutcomes, steps: int) -> None:
    eligible = case.eligible.copy()
    eligible[:, 0] = True
    path = quantile_path(case.scores, eligible=eligible, steps=steps)
    assert path.shape == (1 + steps, len(case.scores))
    assert np.all(np.diff(path, axis=0) <= 0)
    for scores, may, column in zip(case.scores, eligible, path.T, strict=True):
        for accepts, threshold in zip(np.linspace(0, 1, steps), column[1:], strict=True):
            inside, one = GRID[-1] < threshold < GRID[0], 1 / may.sum() + 1e-9
            # but for ties
            above, at_least = (scores[may] > threshold).mean(), (scores[may] >= threshold).mean()
            assert not inside or above - one <= accepts <= at_least + one


# ---- replay


@given(outcomes(most=30), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_replay_is_what_the_gates_would_have_done(case: DepthOutcomes, seed: int) -> None:
    rng = np.random.default_rng(seed)
    depths, n = case.scores.shape
    depth_s, agent_s, judge_s = rng.random((depths, n)), rng.random(n), rng.random(n)
    # what would not have run need not be known
    depth_s[~case.eligible] = np.nan
    vectors = rng.choice([0.2, 0.5, 0.9, np.nan], (2, 3, depths))
    done = replay(
        case.scores,
        case.right,
        case.agent,
        vectors,
        depth_s=depth_s,
        agent_s=agent_s,
        judge_s=judge_s,
        eligible=case.eligible,
    )
    assert done.depth.shape == done.bypass.shape == done.right.shape == done.seconds.shape == (2, 3, n)
    for at in itertools.product(range(2), range(3), range(n)):
        question = at[-1]
        depth = first_accepting(case, vectors[at[:2]].tolist(), question)
        ran = [d for d in range(depths if depth is None else depth + 1) if case.eligible[d, question]]
        seconds = judge_s[question] + sum(depth_s[d, question] for d in ran)
        assert done.bypass[at] == (depth is not None)
        assert done.depth[at] == (depths if depth is None else depth)
        assert done.right[at] == (case.agent[question] if depth is None else case.right[depth, question])
        assert done.seconds[at] == pytest.approx(seconds + (agent_s[question] if depth is None else 0))


@given(outcomes(most_depths=1), st.floats(0.01, 0.99), st.sampled_from([None, 0.3, 0.8]))
@settings(max_examples=50, deadline=None)
def test_with_one_depth_it_is_a_sweep(case: DepthOutcomes, threshold: float, judge_threshold: float | None) -> None:
    n = case.agent.size
    need, judge_s, small_s, agent_s = np.random.default_rng(n).random((4, n))
    columns = Table({"odds": case.scores[0]}, need, case.right[0], case.agent, judge_s, small_s, agent_s)
    sweep = swept(columns, score="odds", threshold=threshold, judge_threshold=judge_threshold)
    done = replay(
        case.scores,
        case.right,
        case.agent,
        [threshold],
        depth_s=small_s[None],
        agent_s=agent_s,
        judge_s=None if judge_threshold is None else judge_s,
        eligible=None if judge_threshold is None else (need < judge_threshold)[None],
    )
    assert np.array_equal(done.bypass, sweep.bypass)
    assert np.array_equal(done.right, sweep.right)
    assert done.seconds == pytest.approx(sweep.seconds)


def test_what_is_not_known_is_not_made_up() -> None:
    done = replay(
        [[0.9, 0.1, 0.1]],
        [[1, 1, 1]],
        [1, 1, 0],
        [[0.5], [None]],  # type: ignore[list-item]
        depth_s=[[1, 1, math.nan]],
        agent_s=[math.nan, 4, 4],
        judge_s=[math.nan, 2, 2],
    )
    assert done.depth.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert done.seconds[0].tolist() == pytest.approx([1, 7, math.nan], nan_ok=True)
    assert math.isnan(done.seconds[1, 0])


# ---- errors


GOOD: dict[str, object] = {
    "scores": [[0.9, None], [0.8, 0.7]],
    "speculator_right": [[True, False], [True, True]],
    "agent_right": [True, True],
    "max_loss": 0.1,
}
BAD: list[tuple[str, object]] = [
    ("scores", 0.5),
    ("scores", []),
    ("scores", [0.5, 0.5]),
    ("scores", [[0.5, 0.5], [0.5]]),
    ("scores", [[0.5, math.nan], [0.5, 0.5]]),
    ("speculator_right", [True, False]),
    ("speculator_right", [[True, False], [True]]),
    ("speculator_right", [[True, False], [True, 0.5]]),
    ("agent_right", [[True, True], [True, True]]),
    ("eligible", [True, True]),
    ("max_loss", 0),
    ("confidence", 1),
    ("method", "brutto"),
    ("seed", -1),
]


@pytest.mark.parametrize(
    ("call", "argument", "value"),
    [
        *((call, *bad) for call in (guaranteed_thresholds, separate_thresholds) for bad in BAD),
        (guaranteed_thresholds, "path", []),
        (guaranteed_thresholds, "path", [0.5, 0.5]),
        (guaranteed_thresholds, "path", [[0.5, 1.0]]),
        (guaranteed_thresholds, "path", [[0.5, math.nan]]),
        (guaranteed_thresholds, "path", [[0.5, 0.6], [0.6, 0.5]]),
        (separate_thresholds, "grid", [1.0]),
        (separate_thresholds, "shares", [0.5]),
        (separate_thresholds, "shares", [1, 0]),
        (separate_thresholds, "shares", [0.9, 0.2]),
        (separate_thresholds, "shares", [0.5, math.nan]),
    ],
)
def test_bad_arguments_are_named(call: Callable[..., object], argument: str, value: object) -> None:
    call(**GOOD)
    with pytest.raises(ArgumentError) as caught:
        call(**{**GOOD, argument: value})
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: common_path(0), "depths"),
        (lambda: common_path(2, shifts=[1]), "shifts"),
        (lambda: common_path(2, shifts=[0, math.inf]), "shifts"),
        (lambda: common_path(2, shifts=[0, 30]), "shifts"),
        (lambda: common_path(2, grid=[0]), "grid"),
        (lambda: quantile_path([[0.5]], steps=0), "steps"),
        (lambda: quantile_path([[0.5]], eligible=[[False]]), "eligible"),
        (lambda: replay([[0.5]], [[1]], [1], [0.5, 0.5], depth_s=[[1]], agent_s=[1]), "thresholds"),
        (lambda: replay([[0.5]], [[1]], [1], [1.0], depth_s=[[1]], agent_s=[1]), "thresholds"),
        (lambda: replay([[0.5]], [[1]], [1], [0.5], depth_s=[1], agent_s=[1]), "depth_s"),
        (lambda: replay([[0.5]], [[1]], [1], [0.5], depth_s=[[1]], agent_s=[-1]), "agent_s"),
        (lambda: replay([[0.5]], [[1]], [1], [0.5], depth_s=[[1]], agent_s=[1], judge_s=[1, 1]), "judge_s"),
    ],
)
def test_bad_paths_and_replays_are_named(call: Callable[[], object], argument: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument


def test_seconds_below_0_are_named_as_such() -> None:
    with pytest.raises(ArgumentError, match=r"agent_s: expected seconds of at least 0, found -1\.5"):
        replay([[0.5, 0.5]], [[1, 1]], [1, 1], [0.5], depth_s=[[1, math.nan]], agent_s=[math.nan, -1.5])


CASES = [
    *itertools.product(WAYS, (True, False), (400, 1000), [(0.02, 0.9)], ["net"]),
    *itertools.product(WAYS, (True, False), [1000], [(0.01, 0.95)], ["net"]),
    *itertools.product(("path", "separate"), (True, False), [1000], [(0.02, 0.9)], ["harm"]),
]


def report(draws: int = 1000) -> None:
    """Print every case as a row of a table."""
    print(
        "| way | judge | counted | sample | promise | broken | accepted | own oracles | depth 0 | depth 1 | depth 2 |"
    )
    print("| --- " * 11 + "|")
    for way, judge, n, (max_loss, confidence), method in CASES:
        done = campaign(way, judge, n, max_loss, confidence, method, draws)  # type: ignore[arg-type]
        each = [f"{did / could:.0%}" for did, could in zip(done.depths, done.depths_could, strict=True)]
        case = (way, "yes" if judge else "no", method, n, f"{max_loss:.0%}, {confidence:.0%}")
        figures = (f"{done.broken / draws:.3f}", f"{done.accepted:.3f}", f"{done.could:.3f}", *each)
        print("| " + " | ".join(map(str, case + figures)) + " |", flush=True)


if __name__ == "__main__":
    report(*map(int, sys.argv[1:]))
