"""Which looks are left out, from what questions have cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes import Gate
from langgraph_speceyes.calibration.latency import expected_latency
from langgraph_speceyes.front.depth_choice import DepthChooser, Free, free_to_leave, ways_to_leave

AGENT = 1.0


def ask(chooser: DepthChooser, costs: list[float], alphas: list[float], rng: Any) -> Any:
    """One question that depth 0 rejects."""
    choice = chooser.choose()
    depths: list[Any] = [{"depth": 0, "accepted": False, "seconds": 0.1}]
    seconds, accepted = {}, False
    for depth, (cost, alpha) in enumerate(zip(costs, alphas, strict=True), 1):
        if depth in choice["left_out"]:
            depths.append({"depth": depth, "accepted": None, "seconds": 0.0})
            continue
        accepted = bool(rng.random() < alpha)
        depths.append({"depth": depth, "accepted": accepted, "seconds": cost})
        if accepted:
            break
    if not accepted:
        seconds["agent"] = AGENT
    chooser.learn({"seconds": seconds, "depths": depths, "depth_choice": choice})  # type: ignore[arg-type, typeddict-item]
    return choice


@given(
    st.lists(st.tuples(st.floats(0.01, 1.5), st.floats(0, 0.95)), min_size=1, max_size=3),
    st.sampled_from(["any", "last", "none"]),
)
@settings(max_examples=40, deadline=None)
def test_what_clearly_does_not_pay_is_left_out_and_what_clearly_pays_is_not(
    depths: list[tuple[float, float]], free: Free
) -> None:
    costs, alphas = [cost for cost, _ in depths], [alpha for _, alpha in depths]
    chooser, rng = DepthChooser(len(depths), free), np.random.default_rng(0)
    found = [ask(chooser, costs, alphas, rng) for _ in range(500)][-1]
    left = set(chooser.choose()["left_out"]) if not found["explored"] else set(found["left_out"])
    assert tuple(sorted(left)) in ways_to_leave(len(depths), free)
    if free == "none":
        assert not left
        return
    # backwards, as far as the formula is clear
    value, clear = AGENT, True
    for depth in range(len(depths), 0, -1):
        pays = alphas[depth - 1] * value - costs[depth - 1]
        may_go = free == "any" or left >= set(range(depth + 1, len(depths) + 1))
        if abs(pays) < 0.3:
            clear = False
        if clear and may_go and not chooser.choose()["explored"]:
            assert (depth in left) == (pays < 0)
        if pays > 0 or not may_go:
            value = costs[depth - 1] + (1 - alphas[depth - 1]) * value


def test_it_takes_less_than_with_the_look_and_notices_a_change() -> None:
    chooser, rng = DepthChooser(1, "any"), np.random.default_rng(1)
    bad = [ask(chooser, [0.8], [0.2], rng) for _ in range(300)]
    left = [one["left_out"] == [1] for one in bad]
    assert not any(left[:17])
    assert sum(left[150:]) > 120
    assert expected_latency(0, 1, [(0.1, 0)], AGENT) < expected_latency(0, 1, [(0.1, 0), (0.8, 0.2)], AGENT)
    figures = bad[-1]
    assert figures["seconds"]["1"] == pytest.approx(0.8)
    assert figures["behind"]["1"] == pytest.approx(AGENT)
    assert figures["alpha"]["1"] * figures["behind"]["1"] <= figures["seconds"]["1"]
    # the look becomes good: it is tried now and then, until that shows
    good = [ask(chooser, [0.1], [0.9], rng) for _ in range(4000)]
    assert any(one["explored"] for one in good)
    assert good[-1]["left_out"] == []


def test_what_may_be_left_out_follows_from_the_promise() -> None:
    def free(**made: Any) -> Free:
        return free_to_leave(Gate(depths=(0.5,), calibration=made or None))

    assert free() == "any"
    assert free(method="by hand") == "any"
    assert free(method="guarantee", found="separate") == "any"
    assert free(method="guarantee", found="path", shorter=True) == "last"
    assert free(method="guarantee", found="path", shorter=False) == "none"
    assert ways_to_leave(2, "any") == [(), (1,), (2,), (1, 2)]
    assert ways_to_leave(2, "last") == [(), (2,), (1, 2)]
    assert ways_to_leave(2, "none") == [()]
