"""Stores of the user's choice, and the way back to messages without references."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.store.memory import InMemoryStore
from typing_extensions import TypedDict

from langgraph_speceyes.errors import ArgumentError, ImageError
from langgraph_speceyes.images import (
    GraphImageStore,
    ImageRef,
    ImageStore,
    ImageStoreProtocol,
    MessagesChannel,
    default_store,
    inline_reference,
    intern_images,
    intern_reference,
    load_image,
    reset_default_store,
    restore_images,
    restore_thread,
    set_default_store,
)
from tests.images.pictures import encode, picture
from tests.images.test_store import DATA, INLINE_BLOCKS, SHA

CONFIG: Any = {"configurable": {"thread_id": "1"}}


class State(TypedDict):
    messages: Annotated[list[AnyMessage], MessagesChannel]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(tmp_path / "folder"))
    yield tmp_path / "folder"
    reset_default_store()


@pytest.fixture
def inner() -> InMemoryStore:
    return InMemoryStore()


@pytest.fixture(params=["folder", "graph", "graph in parts"])
def store(request: pytest.FixtureRequest, tmp_path: Path, inner: InMemoryStore) -> ImageStoreProtocol:
    if request.param == "folder":
        return ImageStore(tmp_path / "images")
    return GraphImageStore(inner) if request.param == "graph" else GraphImageStore(inner, part_bytes=100)


def graph_of(saver: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("answer", lambda state: {"messages": [AIMessage("ok")]})
    graph.add_edge(START, "answer")
    return graph.compile(checkpointer=saver)


def kept(saver: InMemorySaver) -> list[BaseMessage]:
    """The messages as the newest checkpoint holds them."""
    found = saver.get_tuple(CONFIG)
    assert found is not None
    messages: list[BaseMessage] = found.checkpoint["channel_values"]["messages"]
    return messages


def test_every_store_keeps_images(store: ImageStoreProtocol) -> None:
    assert isinstance(store, ImageStoreProtocol)
    for data in (DATA, b"", b"x", os.urandom(1000), os.urandom(300)):
        reference = store.put(data)
        assert store.put(data) == reference
        assert store.get(reference) == data
        assert store.size(reference) == len(data)
    assert store.get(SHA) == DATA


def test_what_a_store_lacks(store: ImageStoreProtocol) -> None:
    for read in (store.get, store.size):
        with pytest.raises(ImageError, match=SHA) as caught:
            read(SHA, "screenshot")
        assert caught.value.argument == "screenshot"
    for reference in ("sha256:../../etc/passwd", SHA[:-1], ""):
        with pytest.raises(ImageError, match="64 hexadecimal"):
            store.get(reference)


@settings(deadline=None)
@given(st.binary(max_size=500), st.integers(1, 200))
def test_parts_make_up_the_image(data: bytes, part_bytes: int) -> None:
    store = GraphImageStore(InMemoryStore(), part_bytes=part_bytes)
    assert store.get(store.put(data)) == data


def test_items_of_a_graph_store_are_json_of_limited_size(inner: InMemoryStore) -> None:
    store = GraphImageStore(inner, namespace=("mine",), part_bytes=300)
    store.put(os.urandom(1000))
    items = inner.search(("mine",), limit=100)
    assert sorted(len(item.value["data"]) for item in items) == [136, 400, 400, 400]
    assert {type(value) for item in items for value in item.value.values()} == {str, int}
    assert repr(store) == "GraphImageStore(InMemoryStore, mine)"


def test_damage_in_a_graph_store_is_noticed(inner: InMemoryStore) -> None:
    store = GraphImageStore(inner, part_bytes=100)
    store.put(DATA)
    for value in ({"data": "AAAA", "bytes": 3, "parts": 1}, {"data": "not base64", "bytes": 3, "parts": 1}):
        inner.put(("speceyes", "images"), SHA[7:], value)
        with pytest.raises(ImageError, match="damaged"):
            store.get(SHA)
    # a write that was cut short is made good
    store.put(DATA)
    assert store.get(SHA) == DATA
    inner.delete(("speceyes", "images"), f"{SHA[7:]}-1")
    with pytest.raises(ImageError, match="none for"):
        store.get(SHA)


def test_trouble_of_the_store_itself_has_one_error() -> None:
    class Down(InMemoryStore):
        def batch(self, ops: Any) -> Any:
            raise ConnectionError("no route to the database")

    store = GraphImageStore(Down())
    for use in (lambda: store.put(DATA), lambda: store.get(SHA), lambda: store.size(SHA)):
        with pytest.raises(ImageError, match="no route to the database"):
            use()


@pytest.mark.parametrize("namespace", [(), ("a.b",), ("",), ("langgraph",), "images", (1,)])
def test_what_is_no_namespace(namespace: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^namespace: expected a tuple of texts"):
        GraphImageStore(InMemoryStore(), namespace=namespace)


@pytest.mark.parametrize("bad", [None, "store", {}, ImageStore])
def test_what_is_no_graph_store(bad: Any) -> None:
    with pytest.raises(ArgumentError, match="store"):
        GraphImageStore(bad)
    with pytest.raises(ArgumentError, match="part_bytes"):
        GraphImageStore(InMemoryStore(), part_bytes=0)
    if bad is not None:
        with pytest.raises(ArgumentError, match="put, size and get"):
            set_default_store(bad)


async def test_stores_that_live_on_the_loop_are_refused() -> None:
    from langgraph.store.base.batch import AsyncBatchedBaseStore

    class OnTheLoop(AsyncBatchedBaseStore):
        async def abatch(self, ops: Any) -> Any:
            return []

        def batch(self, ops: Any) -> Any:
            return []

    with pytest.raises(ArgumentError, match="sync methods"):
        GraphImageStore(OnTheLoop())


@pytest.mark.parametrize("block", INLINE_BLOCKS)
def test_the_chosen_store_is_used_everywhere(block: dict[str, Any], store: ImageStoreProtocol, folder: Path) -> None:
    set_default_store(store)
    assert default_store() is store
    message = HumanMessage([block])
    interned = intern_images([message])
    assert interned == intern_images([message], store)
    assert restore_images(interned) == [message]
    ref = inline_reference(encode(picture()))
    assert load_image(intern_reference(ref)).tobytes() == picture().tobytes()
    assert not folder.exists()
    reset_default_store()
    assert default_store().directory == folder  # type: ignore[attr-defined]


async def test_checkpoints_with_a_chosen_store(store: ImageStoreProtocol, folder: Path) -> None:
    set_default_store(store)
    question = HumanMessage([{"type": "image", "base64": base64.b64encode(DATA).decode()}], id="q")
    saver = InMemorySaver()
    await graph_of(saver).ainvoke({"messages": [question]}, CONFIG)
    assert kept(saver)[0].content[0]["url"] == SHA  # type: ignore[index]
    assert (await graph_of(saver).aget_state(CONFIG)).values["messages"][0] == question
    assert (await graph_of(saver).ainvoke({"messages": [HumanMessage("?")]}, CONFIG))["messages"][0] == question
    assert not folder.exists()


def test_none_leaves_messages_alone(folder: Path) -> None:
    question = HumanMessage([{"type": "image", "base64": base64.b64encode(DATA).decode()}], id="q")
    before, saver = InMemorySaver(), InMemorySaver()
    graph_of(before).invoke({"messages": [question]}, CONFIG)
    files = list(folder.rglob("*"))
    set_default_store(None)
    graph_of(saver).invoke({"messages": [question]}, CONFIG)
    assert kept(saver)[0] == question
    assert intern_images([question])[0] is question
    ref = ImageRef(inline_reference(DATA).source)
    assert intern_reference(ref) is ref
    # a thread from before is still read, and from then on holds its images
    assert graph_of(before).invoke({"messages": [HumanMessage("?")]}, CONFIG)["messages"][0] == question
    assert kept(before)[0] == question
    assert list(folder.rglob("*")) == files


@pytest.mark.parametrize("block", INLINE_BLOCKS)
@pytest.mark.parametrize("by", ["channel", "caller", "both"])
def test_the_way_out_of_a_thread(block: dict[str, Any], by: str) -> None:
    question = HumanMessage([block, {"type": "text", "text": "?"}], id="q")
    plain = AIMessage([{"type": "image", "url": f"{SHA}#xywh=1,2,3,4"}], id="a")
    saver = InMemorySaver()
    given = [question] if by == "channel" else intern_images([question])
    graph_of(saver).invoke({"messages": [*given, plain]}, CONFIG)
    held = kept(saver) if by != "caller" else given
    assert held[0].content[0]["url"].startswith(SHA)  # type: ignore[index]
    out = restore_thread([*held, plain])
    assert out[0] == question
    assert out[-1] is plain
    assert restore_thread(out) == out


def test_no_way_out_without_the_images(tmp_path: Path) -> None:
    interned = intern_images([HumanMessage([INLINE_BLOCKS[0]])])
    with pytest.raises(ImageError, match="other"):
        restore_thread(interned, ImageStore(tmp_path / "other"))
    assert restore_thread([HumanMessage("text")]) == [HumanMessage("text")]
