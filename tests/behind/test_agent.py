"""An agent behind the bypass: what it is given, and what becomes of it in the state around it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from PIL import Image

from langgraph_speceyes import Gate, create_speceyes, image_question
from langgraph_speceyes.behind import agent as behind
from tests.scripted import Agent, speculator
from tests.waiting import PATIENCE_S


@pytest.fixture
def path(tmp_path: Path) -> str:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "one.png")
    return str(tmp_path / "one.png")


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads that images are read on for an agent; this one refuses to, as servers do on their event loop."""
    found: set[int] = set()
    read, loop = behind.inline_local_images, threading.get_ident()

    def watched(*args: Any, **settings: Any) -> Any:
        found.add(threading.get_ident())
        return list(args[0]) if threading.get_ident() == loop else read(*args, **settings)

    monkeypatch.setattr(behind, "inline_local_images", watched)
    return found


async def test_images_are_read_off_the_event_loop_and_the_state_keeps_the_callers_path(
    path: str, readers: set[int]
) -> None:
    agent = Agent()
    graph = create_speceyes(agent.graph, speculator=speculator(0.01)).compile()
    result = await graph.ainvoke({"messages": [image_question(path, "What?")]})
    assert agent.runs[0][0].content[0]["base64"]  # type: ignore[index]
    assert result["messages"][0].content[0]["url"] == path
    assert readers
    assert threading.get_ident() not in readers


async def test_so_they_are_for_an_audit(path: str, readers: set[int]) -> None:
    agent = Agent()
    graph = create_speceyes(agent.graph, speculator=speculator(3.0), gate=Gate("min", 0.98, 64), audit=1.0)
    result = await graph.compile().ainvoke({"messages": [image_question(path, "What?")]})
    assert result["decision"]["audited"]
    assert await graph.traffic.adrain(PATIENCE_S)
    assert agent.runs[0][0].content[0]["base64"]  # type: ignore[index]
    assert threading.get_ident() not in readers


async def test_and_for_an_update_beside_the_answer_to_an_interrupt(path: str, readers: set[int]) -> None:
    seen = []

    def act(state: MessagesState) -> dict[str, Any]:
        seen.append(state["messages"])
        return {"messages": [AIMessage(interrupt("Really?"))]}

    agent = StateGraph(MessagesState)
    agent.add_node("act", act)
    agent.add_edge(START, "act")
    graph = create_speceyes(agent, speculator=speculator(0.01)).compile(InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({"messages": [image_question(path, "What?")]}, config)
    update = {"messages": [image_question(path, "And here?")]}
    result = await graph.ainvoke(Command(resume="yes", update=update), config)
    assert result["messages"][-1].text == "yes"
    assert seen[-1][-1].content[0]["base64"]
    assert threading.get_ident() not in readers
