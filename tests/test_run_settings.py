"""Settings that a run brings along, in LangGraph's context or `configurable`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import get_runtime
from pydantic import BaseModel

from langgraph_speceyes import Gate, SpecEyesMiddleware, create_funnel, create_speceyes
from langgraph_speceyes.errors import ArgumentError, GateMismatchError
from tests.scripted import Agent, Scripted, judge, peaked, speculator
from tests.test_graph import asked, image

__all__ = ["image"]


class Typed(TypedDict):
    user: str


@dataclass(frozen=True)
class Plain:
    user: str = "nobody"


@dataclass
class Thawed:
    user: str = "nobody"


class Checked(BaseModel):
    user: str = "nobody"


def agent_with(context: type[Any] | None) -> tuple[StateGraph[Any, Any, Any, Any], list[Any]]:
    """An agent that wants a context, and the contexts it was shown."""
    shown: list[Any] = []

    def act(state: MessagesState) -> dict[str, Any]:
        shown.append(get_runtime().context)
        return {"messages": [AIMessage("from the agent")]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState, context_schema=context)
    graph.add_node("act", act)
    graph.add_edge(START, "act")
    return graph, shown


def calls(*models: Scripted) -> list[int]:
    return [len(model.calls) for model in models]


@pytest.mark.parametrize("where", ["context", "configurable"])
@pytest.mark.parametrize(
    ("given", "route", "asked_models", "reason"),
    [
        ({}, "bypass", [1, 1], None),
        ({"speceyes_mode": "on"}, "bypass", [1, 1], None),
        ({"speceyes_mode": "off"}, "fallback", [0, 0], "turned off"),
        ({"speceyes_threshold": 1 - 1e-9}, "fallback", [1, 1], None),
        ({"speceyes_judge_threshold": 0.05}, "fallback", [1, 0], None),
        ({"speceyes_group": "receipts", "speceyes_mode": None}, "bypass", [1, 1], None),
    ],
)
async def test_a_run_brings_its_settings(
    image: str, where: str, given: dict[str, Any], route: str, asked_models: list[int], reason: str | None
) -> None:
    large, small, agent = judge(0.1), speculator(3.0), Agent()
    graph = create_speceyes(agent.graph, speculator=small, judge=large, gate=Gate("min", 0.98, 64)).compile()
    how: Any = {"context": given} if where == "context" else {"config": {"configurable": given}}
    for result in (graph.invoke(asked(image), **how), await graph.ainvoke(asked(image), **how)):
        decision = result["decision"]
        assert (decision["route"], decision["reason"]) == (route, reason)
        assert decision["mode"] == (given.get("speceyes_mode") or "on")
        assert result["messages"][-1].text == ("blue" if route == "bypass" else "from the agent")
    assert calls(large, small) == [2 * n for n in asked_models]
    if "speceyes_threshold" in given:
        assert decision["threshold"] == given["speceyes_threshold"]
    if "speceyes_judge_threshold" in given:
        assert decision["judge_threshold"] == 0.05


@pytest.mark.parametrize("schema", [None, Typed, Plain, Thawed, Checked])
def test_the_agents_own_context_goes_with_them(image: str, schema: type[Any] | None) -> None:
    agent, shown = agent_with(schema)
    graph = create_speceyes(agent, speculator=speculator(), gate=Gate("min", 0.98, 64)).compile()
    context = {"user": "ada"}
    assert graph.invoke(asked(image), context=context)["decision"]["route"] == "bypass"
    off = graph.invoke(asked(image), context={**context, "speceyes_mode": "off"})
    assert off["decision"]["mode"] == "off"
    (seen,) = shown
    assert (seen["user"] if isinstance(seen, dict) else seen.user) == "ada"
    assert schema in (None, Typed) or isinstance(seen, schema)
    if schema in (Plain, Thawed, Checked):
        # as callers give it who know nothing of the bypass
        graph.invoke(asked(image), context=schema(user="bob"), config={"configurable": {"speceyes_mode": "off"}})
        assert shown[-1] == schema(user="bob")
    assert set(graph.get_context_jsonschema()["properties"]) >= {"speceyes_mode", "speceyes_threshold"}


@pytest.mark.parametrize(
    ("given", "argument"),
    [
        ({"speceyes_mode": "fast"}, "speceyes_mode"),
        ({"speceyes_threshold": 1}, "speceyes_threshold"),
        ({"speceyes_threshold": "0.9"}, "speceyes_threshold"),
        ({"speceyes_threshold": float("nan")}, "speceyes_threshold"),
        ({"speceyes_threshold": True}, "speceyes_threshold"),
        ({"speceyes_judge_threshold": 0.5}, "speceyes_judge_threshold"),
        ({"speceyes_audit": 1.5}, "speceyes_audit"),
        ({"speceyes_audit": [0.5]}, "speceyes_audit"),
        ({"speceyes_group": ""}, "speceyes_group"),
        ({"speceyes_group": 7}, "speceyes_group"),
    ],
)
@pytest.mark.parametrize("where", ["context", "configurable"])
def test_they_are_checked_like_arguments(image: str, given: dict[str, Any], argument: str, where: str) -> None:
    graph = create_speceyes(Agent().graph, speculator=speculator(), gate=Gate("min", 0.98, 64)).compile()
    how: Any = {"context": given} if where == "context" else {"config": {"configurable": given}}
    with pytest.raises(ArgumentError) as raised:
        graph.invoke(asked(image), **how)
    assert raised.value.argument == argument


def test_a_gate_calibrated_behind_a_judge_refuses_another_threshold_of_it(image: str) -> None:
    gate = Gate("min", 0.98, 64, judge_threshold=0.3, calibration={"method": "paper"})
    graph = create_speceyes(Agent().graph, speculator=speculator(), judge=judge(0.1), gate=gate).compile()
    with pytest.raises(GateMismatchError, match=r"judge_threshold: expected 0\.3"):
        graph.invoke(asked(image), context={"speceyes_judge_threshold": 0.5})


@pytest.mark.parametrize(("mode", "problem"), [("fast", "mode"), (None, "mode")])
def test_the_graphs_own_mode_is_checked(mode: Any, problem: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        create_speceyes(Agent().graph, speculator=speculator(), mode=mode)
    assert raised.value.argument == problem


async def test_the_middleware_and_the_funnel_take_them(image: str) -> None:
    from langchain.agents import create_agent

    for given, text in (({}, "blue"), ({"speceyes_mode": "off"}, "from the model")):
        settings: Any = {"configurable": given}
        bypass = SpecEyesMiddleware(speculator(), gate=Gate("min", 0.98, 64))
        model = Scripted(answer="from the model", content=[peaked("x", 64, 1.0)])
        agent = create_agent(model, middleware=[bypass])
        assert agent.invoke(asked(image), settings)["messages"][-1].text == text  # type: ignore[call-overload]
        assert (await agent.ainvoke(asked(image), settings))["messages"][-1].text == text  # type: ignore[call-overload]
        graph = create_speceyes(Agent("from the model").graph, speculator=speculator(), gate=Gate("min", 0.98, 64))
        found = create_funnel(graph).compile().invoke({"queries": [asked(image)["messages"]] * 2}, settings)
        assert [outcome["answer"] for outcome in found["outcomes"]] == [text, text]
