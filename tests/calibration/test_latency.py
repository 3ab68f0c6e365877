"""The expected latency over depths."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.calibration.latency import expected_latency

seconds = st.floats(0, 100)
shares = st.floats(0, 1)
deeper = st.lists(st.tuples(seconds, shares), min_size=1, max_size=4)


@given(seconds, shares, seconds, shares, seconds)
def test_depth_0_alone_is_the_papers_formula(
    judge: float, beta: float, cost: float, alpha: float, agent: float
) -> None:
    paper = judge + beta * cost + (1 - beta * alpha) * agent
    assert expected_latency(judge, beta, [(cost, alpha)], agent) == pytest.approx(paper)


@given(seconds, shares, deeper, seconds)
def test_a_look_that_costs_and_gives_nothing_changes_nothing(
    judge: float, beta: float, depths: list[tuple[float, float]], agent: float
) -> None:
    plain = expected_latency(judge, beta, depths, agent)
    assert expected_latency(judge, beta, [*depths, (0.0, 0.0)], agent) == pytest.approx(plain)


@given(seconds, shares, deeper, st.tuples(seconds, shares), seconds)
def test_a_last_depth_pays_where_it_saves_more_than_it_costs(
    judge: float, beta: float, depths: list[tuple[float, float]], last: tuple[float, float], agent: float
) -> None:
    cost, alpha = last
    gained = expected_latency(judge, beta, depths, agent) - expected_latency(judge, beta, [*depths, last], agent)
    # the share of the questions that come to it: those from depth 0, and those that the judge sends past it
    come = 1 - beta if len(depths) == 1 else 0.0
    rest = 1.0
    for _, accepted in depths[1:]:
        rest *= 1 - accepted
    from_first = beta * (1 - depths[0][1])
    reach = (from_first + come) if len(depths) == 1 else (from_first + 1 - beta) * rest
    assert gained == pytest.approx(reach * (alpha * agent - cost), abs=1e-6)


def test_it_is_the_mean_of_questions_that_go_their_ways() -> None:
    judge, beta, depths, agent = 1.0, 0.6, [(2.0, 0.5), (3.0, 0.7), (5.0, 0.4)], 20.0
    random, total, count = Random(1), 0.0, 40_000
    for _ in range(count):
        took, at = judge, 0 if random.random() < beta else 1
        while at < len(depths):
            took += depths[at][0]
            if random.random() < depths[at][1]:
                break
            at += 1
        else:
            took += agent
        total += took
    assert total / count == pytest.approx(expected_latency(judge, beta, depths, agent), rel=0.02)
