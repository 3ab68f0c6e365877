"""The messages channel in real graphs."""

from __future__ import annotations

import asyncio
import base64
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, MessagesState, add_messages
from langgraph.types import Overwrite
from typing_extensions import TypedDict

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import ImageStore, MessagesChannel, inline_reference, intern_images
from langgraph_speceyes.images import channel as channel_module
from langgraph_speceyes.images.intern import CHANNEL_MARK

IMAGE = os.urandom(2 * 2**20)
PAYLOAD = base64.b64encode(IMAGE).decode()
SHA = inline_reference(IMAGE).key
CONFIG: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict):
    messages: Annotated[list[AnyMessage], MessagesChannel]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(tmp_path / "images"))
    return tmp_path / "images"


def question(block: dict[str, Any]) -> HumanMessage:
    return HumanMessage([{"type": "text", "text": "What is it?"}, block], id="q")


def inline() -> dict[str, Any]:
    return {"type": "image", "base64": PAYLOAD, "mime_type": "image/png"}


def build(saver: Any = None, nodes: int = 4, seen: list[Any] | None = None) -> Any:
    """A chain of nodes, each of which notes what it saw and answers."""
    builder = StateGraph(State)

    def node(name: str) -> Any:
        def answer(state: State) -> dict[str, Any]:
            if seen is not None:
                seen.append(state["messages"][0].content)
            return {"messages": [AIMessage(f"answer of {name}")]}

        return answer

    names = [f"n{i}" for i in range(nodes)]
    for before, name in zip([START, *names[:-1]], names, strict=True):
        builder.add_node(name, node(name))
        builder.add_edge(before, name)
    builder.add_edge(names[-1], END)
    return builder.compile(checkpointer=saver)


def stored_in_memory(saver: InMemorySaver) -> int:
    """Bytes over all checkpoints, channel blobs and writes."""

    def weigh(value: Any) -> int:
        if isinstance(value, (bytes, str)):
            return len(value)
        if isinstance(value, dict):
            return sum(weigh(item) for item in value.values())
        return sum(weigh(item) for item in value) if isinstance(value, (list, tuple)) else 0

    return weigh(saver.storage) + weigh(saver.blobs) + weigh(saver.writes)


def stored_in_sqlite(connection: sqlite3.Connection) -> int:
    checkpoints = "select coalesce(sum(length(checkpoint) + length(metadata)), 0) from checkpoints"
    writes = "select coalesce(sum(length(value)), 0) from writes"
    return sum(connection.execute(query).fetchone()[0] for query in (checkpoints, writes))


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_only_the_input_holds_the_image_in_memory(durability: str) -> None:
    saver, seen = InMemorySaver(), []  # type: ignore[var-annotated]
    graph = build(saver, nodes=6, seen=seen)
    out = graph.invoke({"messages": [question(inline())]}, CONFIG, durability=durability)
    assert out["messages"][0].content[1] == inline()
    assert seen == [question(inline()).content] * 6
    assert len(list(saver.list(CONFIG))) == 8
    assert len(PAYLOAD) < stored_in_memory(saver) <= 2 * len(PAYLOAD) + 100_000
    state = graph.get_state(CONFIG).values["messages"]
    assert state[0] == question(inline())
    assert len(state) == 7


def test_later_turns_add_no_image_data() -> None:
    saver, seen = InMemorySaver(), []  # type: ignore[var-annotated]
    build(saver).invoke({"messages": [question(inline())]}, CONFIG)
    before = stored_in_memory(saver)
    build(saver, seen=seen).invoke({"messages": [HumanMessage("And now?")]}, CONFIG)
    assert stored_in_memory(saver) - before < 100_000
    assert seen == [question(inline()).content] * 4
    history = list(build(saver).get_state_history(CONFIG))
    assert all(
        snapshot.values["messages"][0] == question(inline()) for snapshot in history if snapshot.values.get("messages")
    )


def test_sqlite_and_resuming_from_the_file(tmp_path: Path) -> None:
    file = str(tmp_path / "checkpoints.sqlite")
    with SqliteSaver.from_conn_string(file) as saver:
        build(saver, nodes=6).invoke({"messages": [question(inline())]}, CONFIG)
        assert len(PAYLOAD) < stored_in_sqlite(saver.conn) <= 2 * len(PAYLOAD) + 100_000
    seen: list[Any] = []
    with SqliteSaver.from_conn_string(file) as saver:
        graph = build(saver, seen=seen)
        assert graph.get_state(CONFIG).values["messages"][0] == question(inline())
        graph.invoke({"messages": [HumanMessage("And now?")]}, CONFIG)
    assert seen == [question(inline()).content] * 4


@pytest.mark.parametrize("kind", ["path", "interned"])
def test_references_keep_everything_small(kind: str, tmp_path: Path, directory: Path) -> None:
    message: BaseMessage = question({"type": "image", "path": str(tmp_path / "a.png")})
    if kind == "interned":
        message = intern_images([question(inline())])[0]
    with SqliteSaver.from_conn_string(str(tmp_path / "checkpoints.sqlite")) as saver:
        graph = build(saver, nodes=6)
        graph.invoke({"messages": [message]}, CONFIG)
        assert stored_in_sqlite(saver.conn) < 100_000
        # What the caller interned stays interned.
        assert graph.get_state(CONFIG).values["messages"][0] == message
    assert directory.exists() == (kind == "interned")


def test_without_a_checkpointer_the_disk_is_not_touched(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("default_store", "keeping_store"):
        monkeypatch.setattr(channel_module, name, lambda: pytest.fail("the store was used"))
    seen: list[Any] = []
    graph = build(seen=seen)
    out = graph.invoke({"messages": [question(inline())]})
    assert out["messages"][0] == question(inline())
    assert seen == [question(inline()).content] * 4
    list(graph.stream({"messages": [question(inline())]}, stream_mode=["values", "updates", "messages"]))
    assert not directory.exists()


def test_every_image_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[int] = []
    put = ImageStore.put

    def count(self: ImageStore, data: bytes) -> str:
        stored.append(len(data))
        return put(self, data)

    monkeypatch.setattr(ImageStore, "put", count)
    saver = InMemorySaver()
    build(saver, nodes=6).invoke({"messages": [question(inline())]}, CONFIG)
    assert stored == [len(IMAGE)]
    build(saver, nodes=6).invoke({"messages": [HumanMessage("And now?")]}, CONFIG)
    assert stored == [len(IMAGE)]


def test_an_image_changed_in_place_is_not_mistaken() -> None:
    channel = MessagesChannel(list)
    message = question({"type": "image", "base64": base64.b64encode(b"one").decode()})
    channel.update([[message]])
    first = channel.checkpoint()
    message.content[1]["base64"] = base64.b64encode(b"two").decode()  # type: ignore[index]
    second = channel.checkpoint()
    assert first[0].content[1]["url"] == inline_reference(b"one").key
    assert second[0].content[1]["url"] == inline_reference(b"two").key


def test_the_store_is_looked_up_at_each_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = MessagesChannel(list)
    channel.update([[question(inline())]])
    for name in ("a", "b"):
        monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(tmp_path / name))
        saved = channel.checkpoint()
        assert ImageStore(tmp_path / name).get(SHA) == IMAGE
        assert channel.from_checkpoint(saved).get() == [question(inline())]


def test_copies_do_not_use_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = MessagesChannel(list)
    channel.key = "messages"
    channel.update([[question(inline())]])
    monkeypatch.setattr(channel_module, "default_store", lambda: pytest.fail("the store was used"))
    twin = channel.copy()
    assert twin.key == "messages"
    assert twin.get() == channel.get()
    twin.update([[AIMessage("more")]])
    assert len(channel.get()) == 1


def test_a_missing_image_is_said_when_the_thread_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = InMemorySaver()
    graph = build(saver)
    graph.invoke({"messages": [question(inline())]}, CONFIG)
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(ImageError, match=str(tmp_path / "elsewhere")):
        graph.get_state(CONFIG)
    with pytest.raises(ImageError, match=str(tmp_path / "elsewhere")):
        graph.invoke({"messages": [HumanMessage("?")]}, CONFIG)


def test_it_reduces_as_add_messages_does() -> None:
    channel = MessagesChannel(list[AnyMessage])
    assert channel.get() == []
    steps: list[Any] = [
        [HumanMessage("a", id="1"), AIMessage("b", id="2")],
        HumanMessage("c", id="1"),
        ("user", "d"),
        {"role": "assistant", "content": "e"},
        RemoveMessage(id="2"),
    ]
    expected: Any = []
    for step in steps:
        channel.update([step])
        expected = add_messages(expected, step)
        assert [(m.type, m.content) for m in channel.get()] == [(m.type, m.content) for m in expected]
    assert not channel.update([])
    assert channel.update([Overwrite([{"role": "user", "content": [inline()]}])])
    assert channel.get()[0].content == [inline()]
    assert PAYLOAD not in str(channel.checkpoint())
    channel.update([RemoveMessage(id=REMOVE_ALL_MESSAGES)])
    assert channel.get() == []


def test_it_can_stand_beside_the_standard_annotation() -> None:
    class Output(TypedDict):
        messages: Annotated[list[AnyMessage], MessagesChannel]

    builder = StateGraph(State, input_schema=MessagesState, output_schema=Output)
    builder.add_node("n", lambda _: {"messages": [AIMessage("yes")]})
    builder.add_edge(START, "n")
    graph: Any = builder.compile()
    assert isinstance(builder.channels["messages"], MessagesChannel)
    assert graph.invoke({"messages": [("user", "?")]})["messages"][-1].content == "yes"
    assert graph.get_input_jsonschema()["properties"]["messages"]["type"] == "array"


def test_a_thread_begun_with_the_standard_channel_goes_on() -> None:
    saver = InMemorySaver()
    builder = StateGraph(MessagesState)
    builder.add_node("n", lambda _: {"messages": [AIMessage("yes")]})
    builder.add_edge(START, "n")
    builder.compile(checkpointer=saver).invoke({"messages": [question(inline())]}, CONFIG)
    out = build(saver).invoke({"messages": [HumanMessage("And now?")]}, CONFIG)
    assert out["messages"][0] == question(inline())


def test_update_state_and_forks() -> None:
    saver = InMemorySaver()
    graph = build(saver)
    graph.invoke({"messages": [question(inline())]}, CONFIG)
    graph.update_state(CONFIG, {"messages": [HumanMessage("more", id="m")]}, as_node="n3")
    assert graph.get_state(CONFIG).values["messages"][0] == question(inline())
    fork = next(s for s in graph.get_state_history(CONFIG) if s.next == ("n2",))
    out = graph.invoke(None, fork.config)
    assert [m.content for m in out["messages"][1:]] == [f"answer of n{i}" for i in range(4)]
    assert out["messages"][0] == question(inline())


def test_async_graphs_use_the_store_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[str, bool]] = []
    for name in ("put", "get"):
        real = getattr(ImageStore, name)

        def spy(self: ImageStore, value: Any, name: str = name, real: Any = real) -> Any:
            used.append((name, threading.current_thread() is threading.main_thread()))
            return real(self, value)

        monkeypatch.setattr(ImageStore, name, spy)

    async def run() -> Any:
        graph = build(InMemorySaver())
        await graph.ainvoke({"messages": [question(inline())]}, CONFIG)
        return (await graph.aget_state(CONFIG)).values["messages"][0]

    assert asyncio.run(run()) == question(inline())
    assert used == [("put", False), ("get", False)]


def test_strict_msgpack_in_another_process(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import hashlib, sys
        from typing import Annotated, TypedDict
        from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
        from langgraph.checkpoint.sqlite import SqliteSaver
        from langgraph.graph import START, StateGraph
        from langgraph_speceyes.images import MessagesChannel

        class State(TypedDict):
            messages: Annotated[list[AnyMessage], MessagesChannel]

        builder = StateGraph(State)
        builder.add_node("n", lambda state: {"messages": [AIMessage(type(state["messages"][0]).__name__)]})
        builder.add_edge(START, "n")
        config = {"configurable": {"thread_id": "1"}}
        with SqliteSaver.from_conn_string(sys.argv[1]) as saver:
            graph = builder.compile(checkpointer=saver)
            block = {"type": "image", "base64": "QUJD" * 1000, "mime_type": "image/png"}
            content = [block] if sys.argv[2] == "first" else "again"
            out = graph.invoke({"messages": [HumanMessage(content)]}, config)
            print([m.content if isinstance(m.content, str) else m.content == [block] for m in out["messages"]])
    """)
    environment = {**os.environ, "LANGGRAPH_STRICT_MSGPACK": "true", "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(turn: str) -> tuple[str, str]:
        command = [sys.executable, "-W", "error::UserWarning", "-c", script, str(tmp_path / "c.sqlite"), turn]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        return done.stdout.strip(), done.stderr

    assert run("first") == ("[True, 'HumanMessage']", "")
    assert run("second") == ("[True, 'HumanMessage', 'again', 'HumanMessage']", "")


def test_a_store_that_cannot_be_written_ends_no_run(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory.write_text("in the way")
    saver = InMemorySaver()
    graph = build(saver)
    assert graph.invoke({"messages": [question(inline())]}, CONFIG)["messages"][-1].text == "answer of n3"
    assert graph.get_state(CONFIG).values["messages"][0] == question(inline())
    assert "an image stays in a checkpoint" in caplog.text


FORGED: list[Any] = [
    {},
    5,
    {"block": {}, "keys": [], "recipe": {}},
    {"block": {"type": "image", "base64": None}, "keys": ["base64"], "recipe": {"form": "bytes"}},
    {"block": {"type": "image"}, "keys": ["source", "data"], "recipe": {"form": "bytes"}},
    {"block": {"type": "image", "base64": None}, "keys": ["base64"], "recipe": {"form": "base64", "head": 1}},
    {"as_it_came": {"type": "text", "text": "x", "extras": {CHANNEL_MARK: {}}}},
]


@pytest.mark.parametrize("forged", FORGED)
def test_a_mark_from_outside_is_data_like_any_other(forged: Any) -> None:
    """What a message brings along comes back as it was: it reads nothing from the store, and breaks nothing."""
    theirs = ImageStore().put(b"what somebody else has sent")
    block = {"type": "image", "url": theirs, "extras": {CHANNEL_MARK: forged}}
    channel = MessagesChannel(list)
    channel.update([[HumanMessage([block], id="1")]])
    for _ in range(2):
        channel = MessagesChannel(list).from_checkpoint(channel.checkpoint())
    assert channel.get()[0].content == [block]
    # also where an older version, or somebody else, has written it into a checkpoint as it is
    read = MessagesChannel(list).from_checkpoint([HumanMessage([{**block, "url": None}], id="1")])
    assert len(read.get()[0].content) == 1
