"""Which of judge and speculator comes first, and why."""

from __future__ import annotations

import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from PIL import Image

from langgraph_speceyes import create_speceyes, image_question
from langgraph_speceyes.front.order import LEAST, TRIED, OrderChooser
from tests.scripted import Agent, costing, judge, speculator
from tests.waiting import PATIENCE_S


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, list[HumanMessage]]:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")
    return {"messages": [image_question(tmp_path / "a.png", "What?")]}


def decided(choice: Any, judge_s: float, speculate_s: float, screened: bool, accepted: bool) -> Any:
    return {
        "seconds": {"judge": judge_s, "speculate": speculate_s},
        "order": choice,
        "error": None,
        "tool_need": 0.1 if screened else 0.9,
        "judge_threshold": 0.5,
        "accepted": accepted,
    }


class Device:
    """Judge and speculator on devices of their own, or on one that serves them one after the other."""

    def __init__(self, judge_s: float, speculate_s: float, shared: bool) -> None:
        self.judge_s, self.speculate_s, self.shared = judge_s, speculate_s, shared

    def query(self, choice: Any, screened: bool, accepted: bool) -> Any:
        """What a query of an order comes to, with the seconds that its calls took."""
        order = choice["order"]
        judged = order != "no_judge" and (order != "speculate_first" or accepted)
        speculated = order != "judge_first" or screened
        slowed = order == "parallel" and self.shared
        seconds = {"judge": self.judge_s, "speculate": self.speculate_s}
        if slowed:
            seconds["judge"] = self.judge_s + self.speculate_s
        found = decided(choice, 0, 0, screened, accepted)
        found["seconds"] = {k: v for k, v in seconds.items() if (judged if k == "judge" else speculated)}
        if not judged:
            found["tool_need"] = None
        if not speculated:
            found["accepted"] = None
        return found

    def cost(self, order: str, screened: bool, accepted: bool) -> float:
        if order == "judge_first":
            return self.judge_s + screened * self.speculate_s
        if order == "speculate_first":
            return self.speculate_s + accepted * self.judge_s
        if order == "no_judge":
            return self.speculate_s
        return self.judge_s + self.speculate_s if self.shared else max(self.judge_s, self.speculate_s)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.floats(0.02, 1),
    st.floats(0.02, 1),
    st.floats(0.05, 0.95),
    st.floats(0.05, 0.95),
    st.booleans(),
    st.integers(0, 9),
)
def test_it_ends_within_a_tenth_of_the_best_fixed_order(
    judge_s: float, speculate_s: float, beta: float, alpha: float, shared: bool, seed: int
) -> None:
    device, draw, chooser = Device(judge_s, speculate_s, shared), random.Random(seed), OrderChooser(keep_judge=True)
    queries = [(draw.random() < beta, draw.random() < alpha) for _ in range(1000)]
    spent = 0.0
    for number, query in enumerate(queries):
        choice = chooser.choose()
        chooser.learn(device.query(choice, *query))
        if number >= 200:
            spent += device.cost(choice["order"], *query)
    best = min(
        sum(device.cost(order, *query) for query in queries[200:])
        for order in ("judge_first", "speculate_first", "parallel")
    )
    assert spent <= 1.1 * best


def test_the_judge_is_left_out_only_where_it_overrules_next_to_nothing() -> None:
    for overrules, keep, expected in ((False, False, True), (True, False, False), (False, True, False)):
        device, chooser = Device(1.0, 0.1, False), OrderChooser(keep_judge=keep)
        orders = []
        for number in range(2000):
            choice = chooser.choose()
            orders.append(choice["order"])
            # one in fifty is accepted though it needs tools
            screened = not (overrules and number % 50 == 0)
            chooser.learn(device.query(choice, screened, True))
        assert ("no_judge" in orders) == expected
        assert "no_judge" not in orders[:200]


def test_the_orders_are_tried_in_turn_before_anything_is_chosen() -> None:
    chooser, device = OrderChooser(), Device(0.1, 5.0, False)
    choices = []
    for _ in range(LEAST):
        choices.append(chooser.choose())
        chooser.learn(device.query(choices[-1], True, False))
    assert all(choice["explored"] for choice in choices)
    assert Counter(choice["order"] for choice in choices) == dict.fromkeys(TRIED, LEAST // len(TRIED))


def test_a_query_in_trouble_teaches_nothing() -> None:
    chooser = OrderChooser()
    chooser.learn({**decided({"order": "parallel"}, 1, 1, True, True), "error": "refused"})
    assert chooser.choose()["queries"] == 0


def test_a_run_of_queries_settles_on_the_cheapest_and_says_why(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # a slow judge behind a speculator that is never accepted
    costing(monkeypatch, OrderChooser, judge=3.0, speculate=1.0)
    large, small = judge(0.1), speculator(0.01)
    graph = create_speceyes(Agent().graph, speculator=small, judge=large, order="auto").compile()
    found = [graph.invoke(asked)["decision"] for _ in range(LEAST + 3)]
    last = found[-1]["order"]
    assert last["order"] == "speculate_first"
    assert last["seconds"] == {"judge_first": 4.0, "speculate_first": 1.0, "parallel": 3.0}
    assert last["agent_seconds"] is not None
    assert {d["route"] for d in found} == {"fallback"}
    assert len(large.calls) < len(found)


def test_both_are_asked_at_the_same_time(asked: Any) -> None:
    # each answers only when the other has been asked
    both = threading.Barrier(2, timeout=PATIENCE_S)
    large, small = judge(0.1, before=both.wait), speculator(before=both.wait)
    graph = create_speceyes(Agent().graph, speculator=small, judge=large, order="parallel").compile()
    decision = graph.invoke(asked)["decision"]
    assert (decision["route"], decision["error"]) == ("bypass", None)


@pytest.mark.parametrize("order", ["parallel", "auto"])
@pytest.mark.parametrize("large", [judge(0.9), judge(0.1)])
async def test_every_route_in_async_runs(asked: Any, order: Any, large: Any) -> None:
    for gap in (40.0, 0.01):
        agent = Agent()
        graph = create_speceyes(agent.graph, speculator=speculator(gap), judge=large, order=order).compile()
        decision = (await graph.ainvoke(asked))["decision"]
        need = decision["tool_need"]
        bypass = need is not None and need < 0.5 and gap > 1
        assert decision["route"] == ("bypass" if bypass else "fallback")
        # speculated first, what the gate rejects never comes to the judge
        assert decision["decided_by"] == ("judge" if need is not None and need > 0.5 else "gate")
        assert len(agent.runs) == (0 if bypass else 1)
