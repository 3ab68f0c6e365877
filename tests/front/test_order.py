"""Which of judge and speculator comes first, and why."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from PIL import Image

from langgraph_speceyes import create_speceyes, image_question
from langgraph_speceyes.front.order import EVERY, LEAST, OrderChooser
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


def taught(queries: list[tuple[float, float, bool, bool]]) -> OrderChooser:
    chooser = OrderChooser()
    for query in queries:
        chooser.learn(decided({"order": "parallel"}, *query))
    return chooser


_QUERY = st.tuples(st.floats(0.001, 9), st.floats(0.001, 9), st.booleans(), st.booleans())


@given(st.lists(_QUERY, min_size=LEAST, max_size=60))
def test_the_cheapest_order_by_the_formula_is_taken(queries: list[tuple[float, float, bool, bool]]) -> None:
    choice = taught(queries).choose()
    n = len(queries)
    c_j, c_s = (sum(q[i] for q in queries) / n for i in (0, 1))
    beta, accepted = sum(q[2] for q in queries) / n, sum(q[3] for q in queries) / n
    costs = {
        "judge_first": c_j + beta * c_s,
        "speculate_first": c_s + accepted * c_j,
        "parallel": sum(max(q[0], q[1]) for q in queries) / n,
    }
    overruled = any(q[3] and not q[2] for q in queries)
    if not overruled:
        costs["no_judge"] = c_s
    assert choice["seconds"] == pytest.approx(costs)
    assert choice["seconds"][choice["order"]] == min(choice["seconds"].values())
    assert (choice["order"] == "no_judge") <= (not overruled)
    assert choice["beta"] == pytest.approx(beta)


def test_it_looks_at_both_first_and_now_and_then() -> None:
    chooser = OrderChooser()
    orders = []
    for _ in range(LEAST + 3 * EVERY):
        choice = chooser.choose()
        orders.append(choice["explored"])
        # a dear speculator that is often overruled
        chooser.learn(decided(choice, 0.1, 5.0, False, len(orders) % 2 == 0))
    assert all(orders[:LEAST])
    assert sum(orders[LEAST:]) == 3


def test_a_query_in_trouble_teaches_nothing() -> None:
    chooser = OrderChooser()
    chooser.learn({**decided({"order": "parallel"}, 1, 1, True, True), "error": "refused"})
    assert chooser.choose()["queries"] == 0


def test_a_run_of_queries_settles_on_the_cheapest_and_says_why(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # a slow judge that the gate makes needless
    costing(monkeypatch, OrderChooser, judge=3.0, speculate=1.0)
    large, small = judge(0.1), speculator(0.01)
    graph = create_speceyes(Agent().graph, speculator=small, judge=large, order="auto").compile()
    found = [graph.invoke(asked)["decision"] for _ in range(LEAST + 3)]
    assert [d["order"]["order"] for d in found[:LEAST]] == ["parallel"] * LEAST
    last = found[-1]
    # nothing was accepted, so the judge has overruled nothing
    assert last["order"]["order"] in ("speculate_first", "no_judge")
    assert last["order"]["seconds"] == {"judge_first": 4.0, "speculate_first": 1.0, "parallel": 3.0, "no_judge": 1.0}
    assert last["order"]["agent_seconds"] is not None
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
        bypass = decision["tool_need"] < 0.5 and gap > 1
        assert decision["route"] == ("bypass" if bypass else "fallback")
        assert decision["decided_by"] == ("judge" if decision["tool_need"] > 0.5 else "gate")
        assert len(agent.runs) == (0 if bypass else 1)
