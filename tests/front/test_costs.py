"""What questions cost: by phase, and against what the agent would have cost."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langgraph.cache.memory import InMemoryCache
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import CachePolicy
from PIL import Image

from langgraph_speceyes import SpecEyesMiddleware, create_funnel, create_speceyes, image_question
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.front.costs import Costs
from tests.scripted import Agent, Scripted, entry, judge, speculator
from tests.waiting import auntil

# a call of a scripted model reads 7 tokens and writes 1
PRICES: Any = {
    "judge": {"input": 3.0, "output": 15.0},
    "speculator": {"input": 0.5, "output": 1.5},
    "agent": {"input": 30.0, "output": 150},
}
JUDGED, SPECULATED, AGENT = 36e-6, 5e-6, 360e-6
SURE, TOOLS = "easy", "hard"


class Choosing(Scripted):
    """A judge that sends some questions to the agent."""

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        need = 0.9 if TOOLS in messages[-1].text else 0.1
        self.content = [entry("Yes", [("Yes", math.log(need)), ("no", math.log(1 - need))])]
        return super()._generate(messages, *args, **kwargs)


class Bare(Scripted):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


@pytest.fixture
def asks(tmp_path: Path) -> Any:
    Image.new("RGB", (40, 30)).save(tmp_path / "street.png")
    return lambda words: {"messages": [image_question(str(tmp_path / "street.png"), words)]}


def settings(**others: Any) -> dict[str, Any]:
    return {"speculator": speculator(), "judge": Choosing(), "prices": PRICES} | others


def graph(**others: Any) -> Any:
    return create_speceyes(create_agent(Bare()), **settings(**others)).compile()


def within(**others: Any) -> Any:
    small = others.pop("speculator", None) or speculator()
    rest = {key: value for key, value in settings(**others).items() if key != "speculator"}
    return create_agent(Bare(), middleware=[SpecEyesMiddleware(small, **rest)])


def spent(cost: Any) -> Any:
    assert json.loads(json.dumps(cost, allow_nan=False)) == cost
    return {phase: pytest.approx(one) for phase, one in cost["spent"].items()}


@pytest.mark.parametrize("made", [graph, within])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_question_costs_what_its_calls_do(asks: Any, made: Any, asynchronous: bool) -> None:
    compiled = made()

    async def cost(words: str) -> Any:
        given = asks(words)
        result = await (compiled.ainvoke(given) if asynchronous else asyncio.to_thread(compiled.invoke, given))
        signed = result["messages"][-1].response_metadata["speceyes"]["cost"]
        assert signed == result["decision"]["cost"]
        return signed

    first = await cost(SURE)
    assert spent(first) == {"judge": JUDGED, "speculate": SPECULATED}
    assert first["total"] == pytest.approx(JUDGED + SPECULATED)
    assert first["agent_alone"] is None, "it has not run yet"
    second = await cost(TOOLS)
    assert spent(second) == {"judge": JUDGED, "agent": AGENT}
    assert (second["total"], second["agent_alone"]) == (pytest.approx(JUDGED + AGENT), pytest.approx(AGENT))
    third = await cost(SURE)
    assert third["agent_alone"] == pytest.approx(AGENT)


def test_in_a_funnel_and_its_stream(asks: Any) -> None:
    funnel = create_funnel(create_speceyes(create_agent(Bare()), **settings())).compile()
    outcomes = funnel.invoke({"queries": [asks(SURE), asks(TOOLS)]})["outcomes"]
    assert [set(one["decision"]["cost"]["spent"]) for one in outcomes] == [{"judge", "speculate"}, {"judge", "agent"}]
    events = [part for part in graph().stream(asks(SURE), stream_mode="custom") if part["event"] == "decision"]
    assert [one["cost"]["total"] for one in events] == [pytest.approx(JUDGED + SPECULATED)]


async def test_what_hedging_throws_away_is_paid_for(asks: Any) -> None:
    """The agent's model has answered, and its next step waits, when the gate accepts."""
    model, told = Bare(), list[None]()

    async def ask(state: MessagesState) -> Any:
        answer = await model.ainvoke(state["messages"])
        told.append(None)
        return {"messages": [answer]}

    async def stay(state: MessagesState) -> Any:
        await asyncio.Event().wait()

    agent = StateGraph(MessagesState)
    agent.add_node("ask", ask)
    agent.add_node("stay", stay)
    agent.add_edge(START, "ask")
    agent.add_edge("ask", "stay")

    class Late(Scripted):
        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            await auntil(lambda: told)
            return self._generate(*args, **kwargs)

    small = Late(content=speculator().content)
    hedged = create_speceyes(agent, speculator=small, prices=PRICES, hedge=True).compile()
    cost = (await hedged.ainvoke(asks(SURE)))["decision"]["cost"]
    assert spent(cost) == {"speculate": SPECULATED, "hedge": AGENT}
    assert cost["total"] == pytest.approx(SPECULATED + AGENT)


def test_what_is_not_known_is_none(asks: Any) -> None:
    without = {key: price for key, price in PRICES.items() if key != "agent"}
    cost = graph(prices=without).invoke(asks(TOOLS))["decision"]["cost"]
    assert (cost["spent"]["agent"], cost["total"], cost["agent_alone"]) == (None, None, None)
    # an agent whose tokens nobody sees
    cost = create_speceyes(Agent().graph, **settings()).compile().invoke(asks(TOOLS))["decision"]["cost"]
    assert (cost["spent"], cost["agent_alone"]) == ({"judge": pytest.approx(JUDGED), "agent": None}, None)
    # a call that failed may have been paid for
    cost = graph(judge=judge(0.1, error="down")).invoke(asks(SURE))["decision"]["cost"]
    assert (cost["spent"]["judge"], cost["total"]) == (None, None)
    assert graph(prices=None).invoke(asks(SURE))["decision"]["cost"] is None


def test_an_agent_that_was_cancelled_before_it_called_a_model_cost_nothing() -> None:
    hedge = {"cancelled": True, "tokens": {"input": 0, "output": 0}}
    decision: Any = {"hedge": hedge, "error": "the front end was in trouble", "tokens": {}}
    assert Costs(PRICES).priced(decision)["cost"] == {"spent": {"hedge": 0.0}, "total": 0.0, "agent_alone": None}


def test_what_a_cache_answers_is_free(asks: Any) -> None:
    compiled = graph(cache_policy=CachePolicy(), cache=InMemoryCache())
    compiled.invoke(asks(SURE))
    assert compiled.invoke(asks(SURE))["decision"]["cost"]["total"] == 0.0


@given(st.lists(st.tuples(st.integers(1, 10**7), st.integers(0, 10**6)), min_size=1, max_size=20))
def test_the_agents_mean_is_of_all_its_runs(runs: list[tuple[int, int]]) -> None:
    costs, own = Costs(PRICES), []
    decision: Any = {"hedge": None, "error": None, "tokens": {}}
    assert costs.priced(decision)["cost"] == {"spent": {}, "total": 0.0, "agent_alone": None}
    for read, wrote in runs:
        found = costs.priced({**decision, "tokens": {"agent": {"input": read, "output": wrote}}})["cost"]
        assert found is not None
        assert found["agent_alone"] == pytest.approx((read * 30 + wrote * 150) / 1e6)
        own.append(found["agent_alone"])
    assert costs.mean == pytest.approx(sum(own) / len(own))


@pytest.mark.parametrize(
    "prices",
    [
        3.0,
        {"speculate": {"input": 1.0, "output": 1.0}},
        {"judge": {"input": 1.0}},
        {"judge": {"input": 1.0, "output": -1.0}},
        {"judge": {"input": math.nan, "output": 1.0}},
        {"judge": {"input": math.inf, "output": 1.0}},
        {"judge": {"input": "1", "output": 1.0}},
        {"judge": (1.0, 2.0)},
    ],
)
def test_what_are_no_prices_is_named(prices: Any) -> None:
    with pytest.raises(ArgumentError, match="prices: expected a mapping of agent, judge, speculator"):
        create_speceyes(Agent().graph, speculator=speculator(), prices=prices)


ODD: list[Any] = [{"input_tokens": None, "output_tokens": None}, {"input_tokens": math.nan}, {"output_tokens": -1}, "7"]


@pytest.mark.parametrize("said", ODD, ids=repr)
@pytest.mark.parametrize("gap", [40.0, 0.01])
def test_what_is_no_number_of_tokens_counts_as_not_said(asks: Any, said: Any, gap: float) -> None:
    class Odd(Bare):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            result = super()._generate(*args, **kwargs)
            # no check of LangChain's sees what is set later
            result.generations[0].message.usage_metadata = said  # type: ignore[attr-defined]
            return result

    small = Odd(content=speculator(gap).content)
    around = create_speceyes(create_agent(Odd()), speculator=small, prices=PRICES).compile()
    within = create_agent(Odd(), middleware=[SpecEyesMiddleware(small, prices=PRICES)])
    for one in (around, within):
        decision = one.invoke(asks(SURE))["decision"]
        assert decision["error"] is None
        assert all(used == {"input": 0, "output": 0} for used in decision["tokens"].values())
