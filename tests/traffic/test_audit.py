"""Audits: the agent answers an accepted question again, once the user has an answer."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import get_runtime
from langgraph.types import interrupt

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes
from tests.scripted import Agent, Scripted, speculator
from tests.test_graph import asked, image
from tests.traffic.test_shadow import GATE, LONG_S, memory, records

__all__ = ["image"]


@pytest.mark.parametrize(("answer", "agree"), [("blue", True), ("red", None)])
@pytest.mark.parametrize("form", ["invoke", "ainvoke"])
@pytest.mark.parametrize("around", ["graph", "middleware"])
async def test_the_agent_answers_again_and_the_two_are_compared(
    image: str, answer: str, agree: bool | None, form: str, around: str
) -> None:
    journal, model = memory(texts=True), Scripted(answer=answer)
    settings: Any = {"gate": GATE, "journal": journal, "audit": 1.0}
    if around == "middleware":
        bypass = SpecEyesMiddleware(speculator(3.0), **settings)
        graph, traffic = create_agent(model, middleware=[bypass], name="worker"), bypass.traffic
        bypass.audit_with(graph)
    else:
        agent = create_agent(model)
        built = create_speceyes(agent, speculator=speculator(3.0), **settings)
        graph, traffic = built.compile(), built.traffic
    call: Any = getattr(graph, form)
    result = await call(asked(image)) if form == "ainvoke" else await asyncio.to_thread(call, asked(image))
    assert result["messages"][-1].text == "blue"
    assert (result["decision"]["route"], result["decision"]["audited"]) == ("bypass", True)
    assert await traffic.adrain(LONG_S)
    (record,) = records(journal)
    assert (record["agree"], record["answer"], record["settled"]) == (agree, answer, True)
    assert (record["audited"], record["audit_rate"]) == (True, 1.0)
    # the agent is shown the question, and nothing of the bypass
    messages, _ = model.calls[-1]
    assert [message.type for message in messages] == ["human"]


def test_a_share_of_the_accepted_answers_is_audited(image: str) -> None:
    graph = create_speceyes(Agent("blue").graph, speculator=speculator(3.0), gate=GATE, journal=memory())
    run = graph.compile()
    rates = []
    for _ in range(400):
        found = run.invoke(asked(image), context={"speceyes_audit": 0.25})
        rates.append(found["decision"]["audited"])
    assert graph.traffic.drain(LONG_S)
    # a share of 400 fair tosses is within 5 standard deviations
    assert abs(sum(rates) / 400 - 0.25) < 5 * (0.25 * 0.75 / 400) ** 0.5
    audited = [record for record in records(graph.traffic.journal) if record["audited"]]
    assert len(audited) == sum(rates)
    assert all(record["audit_rate"] == 0.25 for record in records(graph.traffic.journal))


def test_it_waits_for_nothing_and_keeps_nobody_waiting(image: str) -> None:
    gate = threading.Event()

    def slow(state: MessagesState) -> dict[str, Any]:
        gate.wait(LONG_S)
        return {"messages": [AIMessage("blue")]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("slow", slow)
    graph.add_edge(START, "slow")
    built = create_speceyes(graph, speculator=speculator(3.0), gate=GATE, journal=memory(), audit=1.0)
    run = built.compile()
    for _ in range(5):
        assert run.invoke(asked(image))["messages"][-1].text == "blue"
    assert built.traffic.background.pending == 5
    gate.set()
    assert built.traffic.drain(LONG_S)
    assert [record["agree"] for record in records(built.traffic.journal)] == [True] * 5


async def test_the_agent_has_its_context_config_and_store_and_leaves_no_trace_in_the_thread(image: str) -> None:
    shown: list[tuple[Any, Any, Any]] = []

    def act(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        shown.append((get_runtime().context, config["configurable"].get("user"), get_runtime().store))
        return {"messages": [AIMessage("blue")]}

    agent: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState, context_schema=dict)
    agent.add_node("act", act)
    agent.add_edge(START, "act")
    graph = create_speceyes(agent.compile(), speculator=speculator(3.0), gate=GATE, journal=memory(), audit=1.0)
    run = graph.compile(InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1", "user": "ada"}}
    await run.ainvoke(asked(image), config, context={"tenant": 7})
    before = await run.aget_state(config)
    assert await graph.traffic.adrain(LONG_S)
    ((context, user, _),) = shown
    assert (context["tenant"], user) == (7, "ada")
    after = await run.aget_state(config)
    assert before == after
    assert [message.type for message in after.values["messages"]] == ["human", "ai"]


def test_an_agent_that_fails_or_stops_for_a_person_leaves_the_audit_open(image: str) -> None:
    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(str(interrupt("may I?")))]}

    person: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    person.add_node("ask", ask)
    person.add_edge(START, "ask")
    for agent, error in ((Agent(fail=True).graph, "RuntimeError"), (person, "AgentError")):
        graph = create_speceyes(agent, speculator=speculator(3.0), gate=GATE, journal=memory(), audit=1.0)
        assert graph.compile().invoke(asked(image))["decision"]["route"] == "bypass"
        assert graph.traffic.drain(LONG_S)
        (record,) = records(graph.traffic.journal)
        assert (record["settled"], record["agree"], record["error"]) == (False, None, error)


def test_the_middleware_says_once_that_it_needs_the_agent(image: str, caplog: pytest.LogCaptureFixture) -> None:
    bypass = SpecEyesMiddleware(speculator(3.0), gate=GATE, audit=1.0)
    agent = create_agent(Scripted(answer="blue"), middleware=[bypass])
    with caplog.at_level(logging.WARNING, "langgraph_speceyes"):
        for _ in range(2):
            agent.invoke(asked(image))  # type: ignore[call-overload]
    assert sum("audit_with" in record.message for record in caplog.records) == 1
