"""When an audit may be a run of its own; `tests/deploy/test_watched.py` has a server run some."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_speceyes import create_speceyes
from langgraph_speceyes.behind import own_run as module
from langgraph_speceyes.behind.own_run import OwnRun
from langgraph_speceyes.traffic import watch
from tests.scripted import Agent, speculator
from tests.test_graph import asked, image
from tests.traffic.test_shadow import LONG_S, memory, records

__all__ = ["image"]

HERE = {"assistant_id": "assistant", "graph_id": "graph", "langgraph_request_id": "1", "colour": "blue"}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[OwnRun | None]:
    """What became of each question that was to be audited, as if in a server; none of them is run."""
    monkeypatch.setitem(sys.modules, "langgraph_api", ModuleType("langgraph_api"))
    found: list[OwnRun | None] = []

    def noted(*arguments: Any) -> None:
        found.append(module.own_run(*arguments))

    monkeypatch.setattr(watch, "own_run", noted)
    return found


def ask(image: str, configurable: dict[str, Any], **more: Any) -> Any:
    graph = create_speceyes(Agent("blue").graph, speculator=speculator(), journal=memory(), audit=1.0)
    run = graph.compile()
    answer = run.invoke(asked(image), {"configurable": configurable, "recursion_limit": 40}, **more)
    assert graph.traffic.drain(LONG_S)
    assert answer["decision"]["audited"]
    return graph


def test_it_is_the_same_question_to_the_same_assistant_with_the_mode_off(image: str, made: list[OwnRun | None]) -> None:
    graph = ask(image, HERE, context={"speceyes_mode": "on", "speceyes_group": "mine"})
    (own,) = made
    assert own is not None
    assert (own.assistant, own.recursion_limit, own.sent) == ("assistant", 40, False)
    assert [message.content for message in own.input["messages"]] == [asked(image)["messages"][0].content]
    assert own.context == {"colour": "blue", "speceyes_mode": "off", "speceyes_group": "mine"}
    (record,) = records(graph.traffic.journal)
    assert own.metadata == {"speceyes": "audit", "speceyes_audit_of": record["id"]}


@pytest.mark.parametrize(
    "configurable", [{}, {"colour": "blue"}, {**HERE, "langgraph_auth_user": {"identity": "somebody"}}]
)
def test_elsewhere_or_for_a_user_there_is_none(
    image: str, made: list[OwnRun | None], configurable: dict[str, Any]
) -> None:
    ask(image, configurable)
    assert made == [None]


def test_out_of_a_server_there_is_none(image: str, made: list[OwnRun | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "langgraph_api")
    ask(image, HERE)
    assert made == [None]


def test_within_another_graph_there_is_none(image: str, made: list[OwnRun | None]) -> None:
    graph = create_speceyes(Agent("blue").graph, speculator=speculator(), journal=memory(), audit=1.0)
    around = StateGraph(MessagesState)
    around.add_node("inner", graph.compile())
    around.add_edge(START, "inner")
    around.compile().invoke(asked(image), {"configurable": HERE})
    assert graph.traffic.drain(LONG_S)
    assert made == [None]


class Kept(MessagesState):
    """A state with something that an agent keeps to itself."""

    steps: int


def test_what_the_agent_keeps_to_itself_is_not_left_behind(image: str, made: list[OwnRun | None]) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    agent = StateGraph(Kept, input_schema=MessagesState, output_schema=MessagesState)
    agent.add_node("act", lambda state: {"messages": [HumanMessage("red")], "steps": 1})
    agent.add_edge(START, "act")
    graph = create_speceyes(agent, speculator=speculator(), journal=memory(), audit=1.0)
    run = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {**HERE, "thread_id": "1"}}
    run.invoke(asked(image), config, context={"speceyes_mode": "off"})
    run.invoke(asked(image, "And now?"), config)
    assert graph.traffic.drain(LONG_S)
    assert made == [None]


@pytest.mark.parametrize("trouble", ["json", "server", "stopped"])
async def test_trouble_leaves_the_audit_open_and_what_cannot_be_sent_is_asked_here(
    image: str, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:

    class Own(OwnRun):
        async def result(self) -> Any:
            if trouble == "json":
                raise TypeError("bytes are no JSON")
            self.sent = True
            raise module.AgentError("its run on the server failed: down")

    def own(*_: Any) -> OwnRun:
        made = Own("assistant", {}, {}, {})
        made.sent = trouble == "stopped"
        return made

    monkeypatch.setattr(watch, "own_run", own)
    agent = Agent("blue")
    graph = create_speceyes(agent.graph, speculator=speculator(), journal=memory(), audit=1.0)
    run = graph.compile()
    if trouble == "stopped":  # the event loop is gone: the job goes on on a thread
        await asyncio.to_thread(run.invoke, asked(image))
        assert await asyncio.to_thread(graph.traffic.drain, LONG_S)
    else:
        await run.ainvoke(asked(image))
        assert await graph.traffic.adrain(LONG_S)
    (record,) = records(graph.traffic.journal)

    if trouble == "json":
        assert (record["settled"], record["agree"], len(agent.runs)) == (True, True, 1)
    else:
        assert (record["settled"], record["agree"], len(agent.runs)) == (False, None, 0)
        assert record["error"] == "AgentError"
