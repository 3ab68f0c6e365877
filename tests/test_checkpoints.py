"""What a checkpointer keeps of a run: everything needed to go on, and no image bytes."""

from __future__ import annotations

import base64
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command, interrupt
from PIL import Image

from langgraph_speceyes import create_speceyes, create_visual_agent
from tests.scripted import Agent, Scripted, judge, speculator

CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Looking(Scripted):
    """Crops three times, then answers."""

    looks: int = 3

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        n = len(self.calls) % (self.looks + 1)
        box = f"[{n}, 0, {100 + n}, 90]"
        call = f'<think>closer</think><tool_call>{{"name": "crop", "arguments": {{"bbox_2d": {box}}}}}</tool_call>'
        self.answer = call if n < self.looks else "<answer>found it</answer>"
        return super()._generate(messages, stop, run_manager, **kwargs)


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(tmp_path / "images"))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, which no encoder makes small: 5 MB as PNG."""
    path = tmp_path_factory.mktemp("big") / "big.png"
    Image.frombytes("RGB", (1320, 1320), os.urandom(1320 * 1320 * 3)).save(path)
    assert path.stat().st_size > 5_000_000
    return path


@pytest.fixture(params=["memory", "sqlite"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCheckpointSaver[Any]]:
    if request.param == "memory":
        yield InMemorySaver()
        return
    connection = sqlite3.connect(tmp_path / "checkpoints.sqlite", check_same_thread=False)
    yield SqliteSaver(connection)
    connection.close()


def stored(saver: BaseCheckpointSaver[Any]) -> int:
    """Bytes over all checkpoints, blobs and writes."""
    if isinstance(saver, SqliteSaver):
        tables = [("checkpoints", "checkpoint"), ("checkpoints", "metadata"), ("writes", "value")]
        return sum(
            saver.conn.execute(f"select coalesce(sum(length({column})), 0) from {table}").fetchone()[0]
            for table, column in tables
        )
    assert isinstance(saver, InMemorySaver)
    return _weigh([dict(saver.storage), dict(saver.blobs), dict(saver.writes)])


def _weigh(value: Any) -> int:
    if isinstance(value, (bytes, str)):
        return len(value)
    if isinstance(value, dict):
        return sum(_weigh(k) + _weigh(v) for k, v in value.items())
    return sum(_weigh(v) for v in value) if isinstance(value, (list, tuple)) else 8


def looking_graph(saver: BaseCheckpointSaver[Any], **options: Any) -> tuple[Any, Looking]:
    model = Looking(**options)
    agent = create_visual_agent(model, protocol="deepeyes")
    graph = create_speceyes(agent, speculator=speculator(0.01), judge=judge(0.2))
    return graph.compile(checkpointer=saver), model


def question(block: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [HumanMessage([block, {"type": "text", "text": "What is there?"}])]}


def test_a_run_by_reference_with_three_tool_steps_keeps_under_100_kb(saver: Any, picture: Path) -> None:
    graph, _ = looking_graph(saver)
    result = graph.invoke(question({"type": "image", "url": str(picture)}), CONFIG)
    assert result["messages"][-1].text == "found it"
    assert result["decision"]["tool_steps"] == 3
    assert stored(saver) < 100_000


def test_a_run_with_an_inline_image_keeps_at_most_twice_its_size(saver: Any, picture: Path) -> None:
    graph, model = looking_graph(saver)
    data = base64.b64encode(picture.read_bytes()).decode()
    given = question({"type": "image", "base64": data, "mime_type": "image/png"})
    result = graph.invoke(given, CONFIG)
    assert result["decision"]["tool_steps"] == 3
    assert result["messages"][0].content == given["messages"][0].content
    assert stored(saver) <= 2 * len(data) + 100_000
    # the model saw the image all the same
    sent = [b for b in model.calls[-1][0][-1].content if isinstance(b, dict) and b["type"] == "image"]
    assert sent[0]["base64"]
    before = stored(saver)
    again = graph.get_state(CONFIG).values["messages"]
    assert again[0].content == given["messages"][0].content
    assert stored(saver) == before


def test_a_run_that_stops_before_the_agent_goes_on_and_answers(saver: Any, picture: Path) -> None:
    graph, model = looking_graph(saver)
    builder = graph.builder
    graph = builder.compile(checkpointer=saver, interrupt_before=["agent"])
    stopped = graph.invoke(question({"type": "image", "url": str(picture)}), CONFIG)
    assert "decision" not in stopped or stopped["decision"] is None
    assert not model.calls
    state = graph.get_state(CONFIG)
    assert state.next == ("agent",)
    assert state.values["speceyes_judgment"]["tools_needed"] is False
    assert state.values["speceyes_verdict"]["accepted"] is False
    fresh = builder.compile(checkpointer=saver)
    result = fresh.invoke(None, CONFIG)
    assert result["messages"][-1].text == "found it"
    assert result["decision"]["tool_steps"] == 3
    assert set(result["decision"]["seconds"]) == {"intake", "judge", "speculate", "gate", "agent", "total"}


def test_an_agents_own_interrupt_reaches_the_caller_and_resumes(saver: Any, picture: Path) -> None:
    from langchain_core.messages import AIMessage
    from langgraph.graph import START, MessagesState, StateGraph

    def confirm(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"a person said {interrupt('may I?')}")]}

    agent = StateGraph(MessagesState)
    agent.add_node("confirm", confirm)
    agent.add_edge(START, "confirm")
    small = speculator(0.01)
    graph = create_speceyes(agent, speculator=small).compile(checkpointer=saver)
    stopped = graph.invoke(question({"type": "image", "url": str(picture)}), CONFIG)
    assert stopped["__interrupt__"][0].value == "may I?"
    result = graph.invoke(Command(resume="yes"), CONFIG)
    assert result["messages"][-1].text == "a person said yes"
    assert len(small.calls) == 1


@pytest.mark.parametrize("gap", [40.0, 0.01])
def test_every_record_comes_back_as_it_was(saver: Any, picture: Path, gap: float) -> None:
    graph = create_speceyes(Agent().graph, speculator=speculator(gap), judge=judge(0.2)).compile(checkpointer=saver)
    result = graph.invoke(question({"type": "image", "url": str(picture)}), CONFIG)
    values = graph.get_state(CONFIG).values
    assert values["decision"] == result["decision"]
    assert values["messages"] == result["messages"]
    for key in ("query", "judgment", "speculation", "verdict"):
        assert isinstance(values[f"speceyes_{key}"], dict)
