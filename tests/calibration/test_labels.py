"""Promises from few labels and from none. Run as a program, this file prints 1,000 resamples of every case."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from langgraph_speceyes.calibration import LABELS, Labelled, Labels, guaranteed_threshold, labelled_threshold
from langgraph_speceyes.calibration.guarantee import METHODS, Method
from langgraph_speceyes.errors import ArgumentError

MAX_LOSS, CONFIDENCE, QUESTIONS, MOST_LABELS = 0.02, 0.9, 400, 20
Mask = NDArray[np.bool_]


@dataclass
class Case:
    """Questions whose truth is known; answers that agree are right or wrong together."""

    scores: NDArray[np.float64]
    agree: Mask
    small: Mask
    large: Mask

    def at(self, rows: NDArray[np.intp]) -> Case:
        return Case(self.scores[rows], self.agree[rows], self.small[rows], self.large[rows])


def recorded() -> Case:
    """What the embedded pair did on its test part, with the strict rule's word on whether two answers agree."""
    with (Path(__file__).parent / "embedded_outcomes.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    agree, small, large = (
        np.array([row[name] == "1" for row in rows]) for name in ("agree", "speculator_right", "agent_right")
    )
    return Case(np.array([float(row["odds"]) for row in rows]), agree, small, large)


def found(case: Case, labels: Labels, method: Method, most: int = 10**6) -> tuple[Labelled, int]:
    """The end of calibration, with a person who answers what is asked, one after the other, up to a number."""
    n = case.scores.size
    small: list[bool | None] = [None] * n
    large: list[bool | None] = [None] * n
    if labels == "all":
        small, large = case.small.tolist(), case.large.tolist()
    limits = {"max_loss": MAX_LOSS, "confidence": CONFIDENCE}
    asked, before = 0, 1.0
    while True:
        now = labelled_threshold(
            case.scores,
            labels=labels,
            agree=case.agree,
            speculator_right=small,
            agent_right=large,
            method=method,
            extrapolate=False,
            **limits,
        )
        # what was certified stays so
        assert (now.guarantee.threshold or 1.0) <= before
        before = now.guarantee.threshold or 1.0
        if not now.needed or asked == most:
            return now, asked
        first = now.needed[0]
        assert small[first] is None
        assert not case.agree[first]
        small[first], large[first] = bool(case.small[first]), bool(case.large[first])
        asked += 1


def resampled(labels: Labels, method: Method, draws: int) -> tuple[float, float, list[int]]:
    """Share of broken promises, mean acceptance and labels asked for, with the recorded questions as all there are."""
    whole, rng = recorded(), np.random.default_rng(5)
    lost = whole.large.astype(int) - whole.small
    lost = np.maximum(lost, 0) if method == "harm" else lost
    if labels == "none":  # what is promised is that no more than this differs
        lost = (~whole.agree).astype(int)
    broken, accepted, asked = 0, 0.0, []
    for _ in range(draws):
        end, count = found(whole.at(rng.integers(0, whole.scores.size, QUESTIONS)), labels, method, MOST_LABELS)
        asked.append(count)
        if (threshold := end.guarantee.threshold) is not None:
            passed = whole.scores >= threshold
            broken += bool(np.mean(passed * lost) > MAX_LOSS)
            accepted += float(passed.mean()) / draws
    return broken / draws, accepted, asked


@pytest.mark.parametrize("method", METHODS)
def test_few_labels_do_for_the_promise_that_all_of_them_make(method: Method) -> None:
    draws = 40
    _, most, _ = resampled("all", method, draws)
    broken, accepted, asked = resampled("disagreements", method, draws)
    assert accepted >= 0.95 * most
    # 10 % and four standard deviations
    assert broken <= 0.1 + 4 * np.sqrt(0.09 / draws)
    assert max(asked) <= MOST_LABELS
    assert np.median(asked) > 0


@pytest.mark.parametrize("method", METHODS)
def test_where_the_agent_is_nearly_always_right_no_labels_do_nearly_as_much(method: Method) -> None:
    draws = 100
    _, most, _ = resampled("all", method, draws)
    broken, accepted, asked = resampled("none", "harm", draws)
    assert broken <= 0.1 + 4 * np.sqrt(0.09 / draws)
    assert accepted >= 0.95 * most
    assert set(asked) == {0}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(1, 250))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = rng.choice([0.0, 0.2, 0.5, 0.9, 0.95, 0.99, 1.0, *rng.random(20)], n)
    small, large = (rng.random(n) < draw(st.sampled_from([0.5, 0.9, 0.98, 1.0])) for _ in range(2))
    agree = (small == large) & (rng.random(n) < draw(st.sampled_from([0.5, 1.0])))
    return Case(scores, agree, small, large)


methods = st.sampled_from(METHODS)


@given(cases(), methods)
def test_asking_from_the_top_ends_where_all_labels_do(case: Case, method: Method) -> None:
    end, asked = found(case, "disagreements", method)
    everything, _ = found(case, "all", method)
    assert end.guarantee.threshold == everything.guarantee.threshold
    assert end.guarantee.accepted == everything.guarantee.accepted
    assert asked == end.labelled <= end.differing
    assert end.differing <= np.sum(~case.agree)


@given(cases(), methods, st.integers(0, 5))
def test_stopping_early_only_accepts_less(case: Case, method: Method, most: int) -> None:
    early, _ = found(case, "disagreements", method, most)
    end, _ = found(case, "disagreements", method)
    assert (early.guarantee.threshold or 1.0) >= (end.guarantee.threshold or 1.0)


@given(cases())
def test_what_differs_is_at_least_what_is_harmed(case: Case) -> None:
    none, _ = found(case, "none", "harm")
    everything, _ = found(case, "all", "harm")
    assert (none.guarantee.threshold or 1.0) >= (everything.guarantee.threshold or 1.0)
    differs = guaranteed_threshold(
        case.scores, case.agree, np.ones_like(case.agree), max_loss=MAX_LOSS, confidence=CONFIDENCE, method="harm"
    )
    assert none.guarantee.threshold == differs.threshold


@given(cases(), methods)
def test_nobody_can_tell_is_lost(case: Case, method: Method) -> None:
    limits = {"max_loss": MAX_LOSS, "confidence": CONFIDENCE}
    over = labelled_threshold(
        case.scores, labels="disagreements", agree=case.agree, passed_over=~case.agree, method=method, **limits
    )
    lost = labelled_threshold(case.scores, labels="none", agree=case.agree, method=method, **limits)
    assert over.guarantee.threshold == lost.guarantee.threshold
    assert not over.needed


@given(cases(), st.integers(0, 2**32))
def test_what_the_judge_keeps_is_not_asked_about(case: Case, seed: int) -> None:
    eligible = np.random.default_rng(seed).random(case.scores.size) < 0.7
    now = labelled_threshold(
        case.scores, labels="disagreements", agree=case.agree, eligible=eligible, max_loss=0.2, confidence=0.5
    )
    assert all(eligible[k] and not case.agree[k] for k in now.needed)
    ordered = [case.scores[k] for k in now.needed]
    assert ordered == sorted(ordered, reverse=True)


def test_no_label_is_asked_for_that_cannot_help() -> None:
    few = Case(np.full(20, 0.9), np.zeros(20, bool), np.ones(20, bool), np.ones(20, bool))
    now = labelled_threshold(few.scores, labels="disagreements", agree=few.agree, max_loss=0.001, confidence=0.999)
    assert (now.guarantee.threshold, now.needed) == (None, ())
    # one lost answer at the very top, and nothing below can be tested any more
    scores, agree = np.array([0.99, *[0.9] * 30]), np.array([False, *[True] * 30])
    lost = labelled_threshold(
        scores,
        labels="disagreements",
        agree=agree,
        speculator_right=[False, *[None] * 30],
        agent_right=[True, *[None] * 30],
        max_loss=0.02,
    )
    assert (lost.guarantee.threshold is None or lost.guarantee.threshold > 0.99, lost.needed) == (True, ())


def test_undecided_answers_differ() -> None:
    scores, limits = np.linspace(0.5, 0.99, 200), {"max_loss": 0.05, "confidence": 0.9}
    agree: list[bool | None] = [True] * 190 + [None] * 10
    undecided = labelled_threshold(scores, labels="none", agree=agree, **limits)
    differing = labelled_threshold(scores, labels="none", agree=[bool(one) for one in agree], **limits)
    assert undecided == differing
    assert undecided.differing == 10


def test_the_record_says_what_it_rests_on() -> None:
    case = recorded().at(np.arange(400))
    end, asked = found(case, "disagreements", "net")
    record = end.to_dict()
    assert (record["labels"], record["labelled"], record["method"]) == ("disagreements", asked, "guarantee")
    assert "labelled" not in found(case, "all", "net")[0].to_dict()


@pytest.mark.parametrize(
    ("argument", "changes"),
    [
        ("labels", {"labels": "some"}),
        ("agree", {"labels": "none", "agree": None}),
        ("agree", {"labels": "none", "agree": [True]}),
        ("agree", {"labels": "none", "agree": ["yes", "no"]}),
        ("speculator_right", {"labels": "all", "speculator_right": [True, None], "agent_right": [True, True]}),
        ("speculator_right", {"labels": "all"}),
        ("agent_right", {"labels": "disagreements", "agent_right": [2, 1]}),
        ("passed_over", {"labels": "disagreements", "passed_over": [True]}),
        ("max_loss", {"labels": "disagreements", "max_loss": 0}),
        ("max_loss", {"labels": "disagreements", "max_loss": 2, "scores": [1.0, 1.0], "agree": [False, False]}),
    ],
)
def test_bad_arguments_are_named(argument: str, changes: dict[str, object]) -> None:
    values: dict[str, object] = {"scores": [0.5, 0.9], "agree": [True, False], "max_loss": 0.1, **changes}
    with pytest.raises(ArgumentError) as error:
        labelled_threshold(values.pop("scores"), **values)  # type: ignore[arg-type]
    assert error.value.argument == argument


def report(draws: int = 1000) -> None:
    """Print the promise and its price: acceptance, labels asked for, promises broken."""
    print(f"{QUESTIONS} questions, at most {MAX_LOSS:.0%} lost with {CONFIDENCE:.0%} confidence, {draws} resamples")
    print("counted  labels         broken  accepted  of all  labels asked: median, 90th percentile, most")
    for method in METHODS:
        most = 0.0
        for labels in LABELS:
            broken, accepted, asked = resampled(labels, method, draws)
            most = most or accepted
            counts = f"{np.median(asked):.0f}, {np.quantile(asked, 0.9):.0f}, {max(asked)}"
            print(f"{method:8} {labels:14} {broken:6.3f} {accepted:9.3f} {accepted / most:7.1%}  {counts}")


if __name__ == "__main__":
    report()
