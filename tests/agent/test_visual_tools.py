"""The tools in agents of others: which images they look at, and what the model is told when there are none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from PIL import Image
from pydantic import BaseModel
from typing_extensions import TypedDict

from langgraph_speceyes.agent import PINNED_IMAGES, images_to_look_at, observation_message, visual_tools
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import block_of, parse_reference
from tests.images.blocks import UNLOADABLE, UNREADABLE

BOX = [10, 20, 110, 120]


@pytest.fixture
def other(tmp_path: Path) -> str:
    """A picture that is too small for the box."""
    Image.new("RGB", (9, 9), "red").save(tmp_path / "other.png")
    return str(tmp_path / "other.png")


def picture(path: str) -> dict[str, Any]:
    return {"type": "image", "url": path}


def calling(**arguments: Any) -> AIMessage:
    made = {"name": "crop", "args": {"bbox_2d": BOX, **arguments}, "id": "1", "type": "tool_call"}
    return AIMessage("", tool_calls=[made])  # type: ignore[list-item]


def graph_of(schema: Any = MessagesState) -> Any:
    graph = StateGraph(schema)
    graph.add_node("tools", ToolNode(visual_tools(["crop"])))
    graph.add_edge(START, "tools")
    return graph.compile()


def looked(messages: list[Any], pinned: Any = None, **arguments: Any) -> ToolMessage:
    config: Any = {"configurable": {} if pinned is None else {PINNED_IMAGES: pinned}}
    result = graph_of().invoke({"messages": [*messages, calling(**arguments)]}, config)
    answer = result["messages"][-1]
    assert isinstance(answer, ToolMessage)
    return answer


def region(path: str) -> list[dict[str, Any]]:
    return [{"type": "image", "url": f"{path}#xywh=10,20,100,100"}]


def test_the_images_of_the_question(path: str, other: str) -> None:
    question = HumanMessage([picture(other), picture(path), {"type": "text", "text": "?"}])
    assert looked([question], image=1).content == region(path)
    assert looked([HumanMessage([picture(other)]), AIMessage("ok"), question], image=1).content == region(path)
    assert looked([question, AIMessage("ok"), HumanMessage("And now?")], image=1).content == region(path)


@pytest.mark.parametrize("name", ["bbox_2d", "bbox"])
def test_boxes_are_understood_as_models_spell_them(path: str, name: str) -> None:
    call = {"name": "crop", "args": {name: "[10, 20, 110, 120]"}, "id": "1", "type": "tool_call"}
    messages = [HumanMessage([picture(path)]), AIMessage("", tool_calls=[call])]  # type: ignore[list-item]
    assert graph_of().invoke({"messages": messages})["messages"][-1].content == region(path)


@pytest.mark.parametrize("kind", ["another's", "the package's own"])
def test_what_the_agent_shows_itself_is_not_the_question(path: str, other: str, kind: str) -> None:
    shown: Any = HumanMessage if kind == "another's" else observation_message
    run = [
        HumanMessage([picture(path), {"type": "text", "text": "?"}]),
        AIMessage("", tool_calls=[{"name": "screenshot", "args": {}, "id": "0", "type": "tool_call"}]),
        ToolMessage("shown below", tool_call_id="0"),
        shown([{"type": "text", "text": "Result of screenshot:"}, picture(other)]),
    ]
    assert looked(run).content == region(path)
    # with the question summarised away it is still better than nothing
    left = str(looked(run[1:]).content)
    assert ("lies outside the image" if kind == "another's" else "no image to look at") in left


def test_pinned_images_come_first(path: str, other: str) -> None:
    messages = [HumanMessage([picture(other)])]
    assert looked(messages, pinned=[path]).content == region(path)
    assert looked([HumanMessage("a summary")], pinned=(other, path), image=1).content == region(path)
    assert looked([], pinned=["gs://bucket/a.png", path]).content == region(path)
    for odd in ([], ["gs://bucket/a.png"], [3], None, "text", 7):
        assert looked([HumanMessage([picture(path)])], pinned=odd).content == region(path)


@pytest.mark.parametrize("block", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_images_that_only_the_model_reads_are_left_out(path: str, block: dict[str, Any]) -> None:
    assert looked([HumanMessage([block, picture(path)])]).content == region(path)
    answer = looked([HumanMessage([block])])
    assert answer.status == "error"
    assert "there is no image to look at" in str(answer.content)


@pytest.mark.parametrize("name", [name for name in UNLOADABLE if name != "region of a remote image"])
def test_images_that_cannot_be_opened_are_told_to_the_model(name: str) -> None:
    answer = looked([HumanMessage([UNLOADABLE[name]])])
    assert answer.status == "error"
    assert "the image cannot be opened: expected" in str(answer.content)


def test_a_conversation_without_images_is_told_to_the_model() -> None:
    for messages in ([], [HumanMessage("a summary")], [SystemMessage("s"), AIMessage("ok")]):
        assert "there is no image to look at" in str(looked(messages).content)


async def test_the_same_in_async_runs(path: str) -> None:
    for block, status in ((picture(path), "success"), (UNLOADABLE["missing file"], "error")):
        result = await graph_of().ainvoke({"messages": [HumanMessage([block]), calling()]})
        assert result["messages"][-1].status == status


def test_states_of_other_kinds(path: str) -> None:
    class Model(BaseModel):
        messages: Annotated[list[AnyMessage], add_messages]

    @dataclass
    class Data:
        messages: Annotated[list[AnyMessage], add_messages]

    class Plain(TypedDict):
        messages: list[Any]

    question = HumanMessage([picture(path)])
    as_dict = {"role": "user", "content": [picture(path)]}
    for schema, first in ((Model, question), (Data, question), (Plain, question), (Plain, as_dict)):
        result = graph_of(schema).invoke({"messages": [first, calling()]})
        assert result["messages"][-1].content == region(path)


KINDS = st.sampled_from(["user", "image", "tool", "ai", "odd"])


@settings(deadline=None)
@given(st.lists(KINDS, max_size=8))
def test_any_conversation_has_some_images_or_none(kinds: list[str]) -> None:
    made: list[BaseMessage] = []
    for index, kind in enumerate(kinds):
        made.append(
            {
                "user": HumanMessage("?"),
                "image": HumanMessage([block_of(parse_reference(f"{index}.png"))]),
                "tool": ToolMessage([picture("tool.png")], tool_call_id="1"),
                "ai": AIMessage("ok"),
                "odd": HumanMessage([UNREADABLE["file id"]]),
            }[kind]
        )
    found = images_to_look_at(made)
    assert bool(found) == ("image" in kinds)
    assert "tool.png" not in [ref.source for ref in found]


@tool
def count(what: str) -> str:
    """Count things."""
    return what


@pytest.mark.parametrize(("tools", "found"), [(["crop", "code"], "'code'"), ([count], "StructuredTool")])
def test_tools_that_are_none_of_these_are_refused(tools: Any, found: str) -> None:
    with pytest.raises(ArgumentError, match=rf"^tools: expected crop, zoom, ocr or .*, found {found}"):
        visual_tools(tools)
