"""The promise of a guaranteed threshold. Run as a program, this file prints it for 1,000 draws of every case."""

from __future__ import annotations

import csv
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from langgraph_speceyes.calibration import Guarantee, guaranteed_threshold, smallest_sample
from langgraph_speceyes.calibration.guarantee import GRID, METHODS, Method
from langgraph_speceyes.errors import ArgumentError, MissingExtraError
from langgraph_speceyes.scoring import Gate

Outcomes = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True)
class Kind:
    """Questions of one kind: their share, their scores' logits, and who alone is right how often."""

    share: float
    mean: float
    sd: float
    only_agent: float
    only_speculator: float


#: Score models whose true loss at any threshold is known.
MODELS = {
    "separated": [Kind(0.7, 8, 1.5, 0, 0.1), Kind(0.1, 3, 1.2, 1, 0), Kind(0.2, 3.5, 1.5, 0.4, 0.05)],
    "overlapping": [Kind(0.72, 6, 1.5, 0, 0.07), Kind(0.17, 4, 1.5, 1, 0), Kind(0.11, 4, 1.5, 0, 0)],
    "anti": [Kind(0.7, 4, 1, 0, 0.05), Kind(0.3, 7, 1, 0.8, 0)],
}
ADVERSARIES = ("anti", "net edge", "harm edge", "sparse edge")


def model(name: str, max_loss: float) -> list[Kind]:
    """By name; at the edges the surest questions alone lose a little more than allowed, and the rest loses nothing."""
    over, rest = 1.02 * max_loss / 0.3, Kind(0.7, 4, 1, 0, 0)
    edges = {
        "net edge": [Kind(0.3, 9, 0.5, 0.1 + over, 0.1), rest],
        "harm edge": [Kind(0.3, 9, 0.5, over, 0.3), rest],
        "sparse edge": [Kind(0.3, 9, 0.5, over, 0), rest],
    }
    return edges[name] if name in edges else MODELS[name]


def draw(kinds: Sequence[Kind], shape: tuple[int, ...], rng: np.random.Generator) -> Outcomes:
    which = rng.choice(len(kinds), shape, p=[kind.share for kind in kinds])
    mean, sd, only_agent, only_speculator = (
        np.array([getattr(kind, name) for kind in kinds])[which]
        for name in ("mean", "sd", "only_agent", "only_speculator")
    )
    scores = 1 / (1 + np.exp(-rng.normal(mean, sd)))
    u, both = rng.random(shape), rng.random(shape) < 0.8
    agent_alone, speculator_alone = u < only_agent, u >= 1 - only_speculator
    return scores, speculator_alone | both & ~agent_alone, agent_alone | both & ~speculator_alone


def truth(kinds: Sequence[Kind], threshold: float, method: Method) -> tuple[float, float]:
    """The share accepted and the loss, over all questions there could be."""
    logit = math.log(threshold / (1 - threshold))
    shares = [kind.share * math.erfc((logit - kind.mean) / kind.sd / math.sqrt(2)) / 2 for kind in kinds]
    losses = [kind.only_agent - (kind.only_speculator if method == "net" else 0) for kind in kinds]
    return sum(shares), sum(share * loss for share, loss in zip(shares, losses, strict=True))


def oracle(kinds: Sequence[Kind], max_loss: float, method: Method) -> float:
    """What could be accepted by one who knows the model, coming from the safest threshold."""
    accepted = 0.0
    for threshold in GRID:
        share, loss = truth(kinds, threshold, method)
        if loss > max_loss:
            break
        accepted = share
    return accepted


def trials(
    name: str, n: int, max_loss: float, confidence: float, method: Method, draws: int
) -> tuple[int, float, float]:
    """How many of many calibrations break the promise, what they accept on average, and the oracle."""
    kinds, rng = model(name, max_loss), np.random.default_rng([n, draws])
    broken, accepted = 0, 0.0
    for outcomes in zip(*draw(kinds, (draws, n), rng), strict=True):
        found = guaranteed_threshold(
            *outcomes, max_loss=max_loss, confidence=confidence, method=method, extrapolate=False
        )
        if found.threshold is not None:
            share, loss = truth(kinds, found.threshold, method)
            broken, accepted = broken + (loss > max_loss), accepted + share / draws
    return broken, accepted, oracle(kinds, max_loss, method)


def recorded(split: str) -> tuple[Outcomes, NDArray[np.bool_]]:
    """What the embedded pair did on its test part (`make results`), and which questions its judge lets through."""
    with (Path(__file__).parent / "embedded_outcomes.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if split in (row["split"], "all")]
    need, scores = (np.array([float(row[name]) for row in rows]) for name in ("tool_need", "min"))
    small, large = (np.array([row[name] == "1" for row in rows]) for name in ("speculator_right", "agent_right"))
    # also questions that need tools, or there would be nothing for the gate to do
    return (scores, small, large), need < 0.9999


def recorded_trials(
    split: str, n: int, max_loss: float, confidence: float, method: Method, draws: int
) -> tuple[int, float, float]:
    """As :func:`trials`, with the recorded questions as the whole population: samples are drawn with replacement."""
    (scores, small, large), eligible = recorded(split)
    lost = large.astype(int) - small if method == "net" else large & ~small
    rng = np.random.default_rng([n, draws])
    broken, accepted, could = 0, 0.0, 0.0
    for threshold in GRID:
        passed = eligible & (scores >= threshold)
        if np.mean(passed * lost) > max_loss:
            break
        could = float(passed.mean())
    for _ in range(draws):
        at = rng.integers(0, scores.size, n)
        found = guaranteed_threshold(
            scores[at],
            small[at],
            large[at],
            eligible=eligible[at],
            max_loss=max_loss,
            confidence=confidence,
            method=method,
            extrapolate=False,
        )
        if found.threshold is not None:
            passed = eligible & (scores >= found.threshold)
            broken += bool(np.mean(passed * lost) > max_loss)
            accepted += float(passed.mean()) / draws
    return broken, accepted, could


def by_chance(draws: int, share: float, surprise: float = 1e-4) -> int:
    """The number of draws that is exceeded with no more than this probability."""
    pmf, tail = [math.comb(draws, k) * share**k * (1 - share) ** (draws - k) for k in range(draws + 1)], 0.0
    for k in range(draws, -1, -1):
        tail += pmf[k]
        if tail > surprise:
            return k
    return 0


def lowest(found: Guarantee) -> float:
    return math.inf if found.threshold is None else found.threshold


def sample(name: str, n: int, seed: int) -> Outcomes:
    """Outcomes of which every third score is a threshold of the grid."""
    scores, small, large = draw(model(name, 0.05), (n,), np.random.default_rng(seed))
    scores[::3] = GRID[np.searchsorted(-GRID, -scores[::3])]
    return scores, small, large


samples = st.builds(sample, st.sampled_from([*MODELS, *ADVERSARIES]), st.integers(1, 400), st.integers(0, 2**32))
limits = st.floats(0.01, 0.6)
confidences = st.floats(0.05, 0.99)
methods = st.sampled_from(METHODS)


# ---- the promise


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [*MODELS, *ADVERSARIES[1:]])
def test_the_promise_is_kept(name: str, method: Method) -> None:
    for n, max_loss, confidence in ((200, 0.05, 0.9), (400, 0.02, 0.8)):
        broken, _, _ = trials(name, n, max_loss, confidence, method, draws=250)
        assert broken <= by_chance(250, 1 - confidence)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("split", ["attributes", "existence", "all"])
def test_the_promise_is_kept_on_the_embedded_pairs_outcomes(split: str, method: Method) -> None:
    broken, _, _ = recorded_trials(split, 400, 0.02, 0.9, method, draws=150)
    assert broken <= by_chance(150, 0.1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("confidence", [0.5, 0.7, 0.9])
def test_the_promise_is_exact_for_every_outcome_of_few_questions(method: Method, confidence: float) -> None:
    # all 3^7 outcomes of 7 questions, weighted by models that lose just over the limit
    max_loss, n = 0.3, 7
    passed: dict[tuple[int, int], float] = {}
    for outcome in itertools.product((-1, 0, 1), repeat=n):
        small, large = [loss <= 0 for loss in outcome], [loss >= 0 for loss in outcome]
        found = guaranteed_threshold(
            [0.9] * n,
            small,
            large,
            max_loss=max_loss,
            confidence=confidence,
            method=method,
            grid=[0.5],
            extrapolate=False,
        )
        key = outcome.count(1), outcome.count(-1)
        passed[key] = passed.get(key, 0) + (found.accepted == 1)
    assert sum(passed.values())
    for gains in (0.0, 0.01, 0.05, 0.1, 0.2, 0.34):
        losses = 0.3 + (gains if method == "net" else 0)
        even = 1 - losses - gains
        chance = sum(ways * losses**k * gains**m * even ** (n - k - m) for (k, m), ways in passed.items())
        assert chance <= 1 - confidence + 1e-12


def test_the_promise_is_kept_for_questions_in_an_order_of_their_own() -> None:
    kinds, rng, broken = model("net edge", 0.05), np.random.default_rng(0), 0
    for trial in range(300):
        scores, small, large = draw(kinds, (200,), rng)
        # all gains first: betting in this order would make a fortune before the first loss
        order = np.argsort(large.astype(int) - small.astype(int), kind="stable")
        found = guaranteed_threshold(
            scores[order], small[order], large[order], max_loss=0.05, seed=trial, extrapolate=False
        )
        broken += found.threshold is not None and truth(kinds, found.threshold, "net")[1] > 0.05
    assert broken <= by_chance(300, 0.1)


@pytest.mark.parametrize(
    ("name", "method", "n", "max_loss", "at_least"),
    [
        ("separated", "net", 500, 0.02, 0.92),
        ("separated", "net", 2000, 0.02, 0.95),
        ("separated", "harm", 500, 0.02, 0.92),
        ("separated", "harm", 2000, 0.02, 0.96),
        ("overlapping", "net", 500, 0.02, 0.7),
        ("overlapping", "net", 2000, 0.02, 0.85),
        ("overlapping", "net", 500, 0.05, 0.84),
        ("overlapping", "net", 2000, 0.05, 0.9),
        ("overlapping", "harm", 500, 0.05, 0.86),
        ("overlapping", "harm", 2000, 0.05, 0.93),
    ],
)
def test_little_acceptance_is_given_away(name: str, method: Method, n: int, max_loss: float, at_least: float) -> None:
    _, accepted, could = trials(name, n, max_loss, 0.9, method, draws=30)
    assert accepted >= at_least * could


def test_net_accepts_more_than_harm_where_the_speculator_also_gains() -> None:
    net, harm = (trials("overlapping", 500, 0.02, 0.9, method, draws=30)[1] for method in METHODS)
    assert net > 1.4 * harm


# ---- what the threshold is


def level(outcomes: Outcomes, threshold: float, max_loss: float, method: Method, seed: int) -> float:
    """At which level the definition refutes that more than the limit is lost at a threshold; 1 at none."""
    scores, small, large = outcomes
    n, order = scores.size, np.random.default_rng(seed).permutation(scores.size)
    lost = [int(scores[i] >= threshold) * (int(large[i]) - int(small[i])) for i in order]
    if method == "harm":
        lost = [max(loss, 0) for loss in lost]
    if sum(lost) > max_loss * n:
        return 1.0
    if method == "harm":
        return sum(math.comb(n, j) * max_loss**j * (1 - max_loss) ** (n - j) for j in range(sum(lost) + 1))
    wealth, squares, best = 1.0, 1.0, 1.0
    for i, loss in enumerate(lost, start=1):
        bet = min(math.sqrt(2 * math.log(20) / (n * squares / i)), 0.8 / (1 - max_loss))
        wealth *= 1 + bet * (max_loss - loss)
        squares += loss**2
        best = max(best, wealth)
    return 1 / best


@given(samples, limits, confidences, methods, st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_it_is_the_last_threshold_before_one_that_fails(
    outcomes: Outcomes, max_loss: float, confidence: float, method: Method, seed: int
) -> None:
    grid, expected = GRID[::20], math.inf
    for threshold in grid:
        if level(outcomes, threshold, max_loss, method, seed) > 1 - confidence:
            break
        expected = threshold
    found = guaranteed_threshold(
        *outcomes,
        max_loss=max_loss,
        confidence=confidence,
        method=method,
        seed=seed,
        grid=grid,
        extrapolate=False,
    )
    assert lowest(found) == expected


@given(samples, limits, st.sampled_from(GRID[100:400].tolist()), methods, st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_a_threshold_fails_from_its_level_on(
    outcomes: Outcomes, max_loss: float, threshold: float, method: Method, seed: int
) -> None:
    at = level(outcomes, threshold, max_loss, method, seed)
    for side, confidence in ((True, 1 - at * (1 + 1e-6)), (False, 1 - at * (1 - 1e-6))):
        if 0 < confidence < 1 - 1e-6:
            found = guaranteed_threshold(
                *outcomes,
                max_loss=max_loss,
                confidence=confidence,
                method=method,
                grid=[threshold],
                seed=seed,
                extrapolate=False,
            )
            assert (found.threshold is not None) is side


@given(samples, limits, limits, confidences, confidences, methods)
@settings(max_examples=150, deadline=None)
def test_asking_for_more_never_lowers_the_threshold(
    outcomes: Outcomes,
    one_loss: float,
    other_loss: float,
    one_confidence: float,
    other_confidence: float,
    method: Method,
) -> None:
    def at(max_loss: float, confidence: float) -> float:
        return lowest(
            guaranteed_threshold(*outcomes, max_loss=max_loss, confidence=confidence, method=method, extrapolate=False)
        )

    low, high = sorted((one_loss, other_loss))
    less, more = sorted((one_confidence, other_confidence))
    assert at(low, less) >= at(high, less)
    assert at(high, more) >= at(high, less)


@given(samples, limits, confidences, methods)
@settings(max_examples=100, deadline=None)
def test_the_record_counts_what_the_gate_would_do(
    outcomes: Outcomes, max_loss: float, confidence: float, method: Method
) -> None:
    scores, small, large = outcomes
    found = guaranteed_threshold(*outcomes, max_loss=max_loss, confidence=confidence, method=method, extrapolate=False)
    accepted = scores >= lowest(found)
    lost = accepted & large & ~small
    gained = accepted & small & ~large & (method == "net")
    assert found.n == scores.size
    assert found.accepted == accepted.mean()
    assert found.loss == pytest.approx(lost.mean() - gained.mean())
    assert found.loss <= max_loss
    assert found.threshold is None or found.threshold in GRID


@given(samples, st.integers(0, 2**32), methods)
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_questions_matters_to_the_bets_only(outcomes: Outcomes, seed: int, method: Method) -> None:
    def found(rows: Outcomes) -> Guarantee:
        return guaranteed_threshold(*rows, max_loss=0.1, method=method, seed=3, extrapolate=False)

    order = np.random.default_rng(seed).permutation(outcomes[0].size)
    scores, small, large = outcomes
    shuffled = found((scores[order], small[order], large[order]))
    assert found(outcomes) == found(outcomes)
    if method == "harm":
        assert shuffled == found(outcomes)
    # the order of a grid never matters
    assert found(outcomes) == guaranteed_threshold(
        *outcomes, max_loss=0.1, method=method, seed=3, grid=GRID[::-1], extrapolate=False
    )


@given(limits, confidences, methods)
@settings(max_examples=100, deadline=None)
def test_nothing_is_certified_on_too_few_questions(max_loss: float, confidence: float, method: Method) -> None:
    least = smallest_sample(max_loss, confidence, method)
    for n, enough in ((least // 2, False), (least - 1, False), (least, True)):
        if n:
            found = guaranteed_threshold(
                [0.9] * n, [True] * n, [True] * n, max_loss=max_loss, confidence=confidence, method=method
            )
            assert (found.threshold is not None) is enough
            assert found.accepted == enough
            assert found.least == least
            assert found.more_needed == (0 if enough else least - n)


def test_the_smallest_sample_is_the_closed_form() -> None:
    assert smallest_sample(0.02, 0.9, "harm") == 114
    assert smallest_sample(0.01, 0.95, "harm") == 299
    assert smallest_sample(0.02, 0.9) < 1.35 * 114
    # far too many to go through one by one
    assert smallest_sample(1e-9, 0.9) == pytest.approx(2.98e9, rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_a_speculator_as_good_as_the_agent_is_always_accepted(method: Method) -> None:
    rng = np.random.default_rng(0)
    # so many that not all thresholds fit into one table
    scores, agent = 1 / (1 + np.exp(-rng.uniform(-6, 18, 3000))), rng.random(3000) < 0.7
    found = guaranteed_threshold(scores, agent | (rng.random(3000) < 0.5), agent, max_loss=0.02, method=method)
    assert found.threshold == GRID[-1]
    assert found.accepted == 1
    assert found.more_needed == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_harmful_speculator_is_never_accepted(method: Method) -> None:
    scores = np.random.default_rng(0).uniform(0.9, 0.999, 1000)
    found = guaranteed_threshold(scores, np.zeros(1000), np.ones(1000), max_loss=0.02, method=method)
    assert found.accepted <= 0.02
    assert found.loss == found.accepted
    # not even a little, when they are all equally sure of themselves
    found = guaranteed_threshold([0.99] * 1000, np.zeros(1000), np.ones(1000), max_loss=0.02, method=method)
    assert found.accepted == 0
    assert lowest(found) > 0.99
    assert found.more_needed is None


@given(samples, st.integers(0, 2**32), methods)
@settings(max_examples=50, deadline=None)
def test_the_judge_is_respected(outcomes: Outcomes, seed: int, method: Method) -> None:
    scores, small, large = outcomes
    rng = np.random.default_rng(seed)
    eligible = rng.random(scores.size) < 0.6

    def found(scores: object, small: object, eligible: object = None) -> Guarantee:
        return guaranteed_threshold(
            scores,  # type: ignore[arg-type]
            small,  # type: ignore[arg-type]
            large,
            max_loss=0.1,
            method=method,
            eligible=eligible,  # type: ignore[arg-type]
        )

    result = found(scores, small, eligible)
    assert result.accepted == (eligible & (scores >= lowest(result))).mean()
    # whatever the speculator would have said and scored on the others
    assert found(np.where(eligible, scores, rng.random(scores.size)), eligible & small, eligible) == result
    assert found(np.where(eligible, scores, 0), small) == result
    assert found([s if e else None for s, e in zip(scores, eligible, strict=True)], small) == result
    assert found(scores, small, np.ones(scores.size, dtype=bool)) == found(scores, small)
    assert found(scores, small, np.zeros(scores.size)).accepted == 0


def test_testing_ends_at_the_first_threshold_that_fails() -> None:
    # the surest questions lose, the many less sure ones would more than make up for it
    scores = np.repeat([0.999, 0.9], [100, 900])
    small = np.repeat([False, True], [100, 900])
    found = guaranteed_threshold(scores, small, ~small, max_loss=0.02)
    assert found.accepted == 0
    assert lowest(found) > 0.999


# ---- how many more


def test_more_needed_is_about_what_it_takes() -> None:
    n, rng = 300, np.random.default_rng(0)
    found = [
        guaranteed_threshold(*outcomes, max_loss=0.05)
        for outcomes in zip(*draw(model("overlapping", 0.05), (25, n), rng), strict=True)
    ]
    size = int(np.median([math.inf if g.more_needed is None else n + g.more_needed for g in found]))

    def reached(size: int) -> float:
        _, accepted, could = trials("overlapping", size, 0.05, 0.9, "net", draws=25)
        return accepted / could

    assert reached(size // 3) < 0.9 < reached(3 * size)


def test_more_is_needed_below_nine_tenths_of_what_these_questions_would_allow() -> None:
    rng, kept = np.random.default_rng(0), set()
    for scores, small, large in zip(*draw(model("overlapping", 0.05), (40, 400), rng), strict=True):
        allowed = 0.0
        for threshold in GRID:
            accepted = scores >= threshold
            if (accepted * (large.astype(int) - small)).mean() > 0.05:
                break
            allowed = accepted.mean()
        found = guaranteed_threshold(scores, small, large, max_loss=0.05)
        assert (found.more_needed == 0) is bool(found.accepted >= 0.9 * allowed)
        kept.add(found.more_needed == 0)
    assert kept == {True, False}


def test_more_needed_is_an_extra() -> None:
    outcomes = draw(model("separated", 0.05), (100,), np.random.default_rng(0))
    with_it = guaranteed_threshold(*outcomes, max_loss=0.05)
    without = guaranteed_threshold(*outcomes, max_loss=0.05, extrapolate=False)
    assert with_it.more_needed is not None
    assert without.more_needed is None
    assert {**with_it.to_dict(), "more_needed": None} == without.to_dict()


# ---- the record, errors, imports


def test_a_gate_file_takes_the_record(tmp_path: Path) -> None:
    outcomes = draw(model("separated", 0.05), (300,), np.random.default_rng(0))
    found = guaranteed_threshold(*outcomes, max_loss=0.05)
    assert found.threshold is not None
    gate = Gate(threshold=found.threshold, calibration=found.to_dict())
    gate.save(tmp_path / "gate.json")
    assert Gate.load(tmp_path / "gate.json") == gate
    assert gate.calibration == found.to_dict() == json.loads(json.dumps(found.to_dict()))
    assert {
        "method": "guarantee",
        "counted": "net",
        "questions": 300,
        "max_loss": 0.05,
    }.items() <= found.to_dict().items()


GOOD: dict[str, object] = {
    "scores": [0.9, 0.8],
    "speculator_right": [True, False],
    "agent_right": [True, True],
    "max_loss": 0.1,
}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("scores", []),
        ("scores", 0.5),
        ("scores", [[0.5, 0.5]]),
        ("scores", [0.5, 1.01]),
        ("scores", [-0.01, 0.5]),
        ("scores", [0.5, math.nan]),
        ("scores", [None, math.nan]),
        ("scores", ["0.5", "0.5"]),
        ("scores", [True, False]),
        ("speculator_right", [True]),
        ("speculator_right", [0.5, 1]),
        ("speculator_right", ["yes", "no"]),
        ("agent_right", [True, False, True]),
        ("agent_right", [math.nan, 1.0]),
        ("eligible", [True]),
        ("eligible", [None, True]),
        ("max_loss", 0),
        ("max_loss", 1),
        ("max_loss", math.nan),
        ("max_loss", "0.1"),
        ("confidence", 0),
        ("confidence", 1),
        ("confidence", math.nan),
        ("method", "brutto"),
        ("grid", []),
        ("grid", [0.5, 1.0]),
        ("grid", [0.5, math.nan]),
        ("seed", -1),
        ("seed", None),
    ],
)
def test_bad_arguments_are_named(argument: str, value: object) -> None:
    guaranteed_threshold(**GOOD)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError) as caught:
        guaranteed_threshold(**{**GOOD, argument: value})  # type: ignore[arg-type]
    assert caught.value.argument == argument
    if argument in ("max_loss", "confidence", "method"):
        with pytest.raises(ArgumentError):
            smallest_sample(**{"max_loss": 0.1, "confidence": 0.9, argument: value})  # type: ignore[arg-type]


def test_only_harm_needs_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    guaranteed_threshold(**GOOD)  # type: ignore[arg-type]
    with pytest.raises(MissingExtraError, match="eval"):
        guaranteed_threshold(**GOOD, method="harm")  # type: ignore[arg-type]


def test_importing_it_does_not_load_scipy() -> None:
    code = "import sys, langgraph_speceyes.calibration; print('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def report(draws: int = 1000) -> None:
    """Print, for every model, size and pair of limits, how often the promise is broken and what is accepted."""
    print("| model | method | n | max_loss | confidence | broken | accepted | oracle |\n" + "| --- " * 8 + "|")
    cases = itertools.product((200, 500, 2000), ((0.02, 0.9), (0.05, 0.9), (0.01, 0.95)), [*MODELS, *ADVERSARIES[1:]])
    for n, (max_loss, confidence), name in cases:
        for method in METHODS:
            broken, accepted, could = trials(name, n, max_loss, confidence, method, draws)
            row = (name, method, n, max_loss, confidence, f"{broken / draws:.3f}", f"{accepted:.3f}", f"{could:.3f}")
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
    for n, (max_loss, confidence) in itertools.product((400, 1000), ((0.02, 0.9), (0.01, 0.95))):
        for split, method in itertools.product(("attributes", "existence", "all"), METHODS):
            broken, accepted, could = recorded_trials(split, n, max_loss, confidence, method, draws)
            row = (split, method, n, max_loss, confidence, f"{broken / draws:.3f}", f"{accepted:.3f}", f"{could:.3f}")
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    report(*map(int, sys.argv[1:]))
