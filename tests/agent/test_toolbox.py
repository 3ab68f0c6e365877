from __future__ import annotations

import base64
import io
import threading
from typing import Annotated, Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import InjectedState
from langgraph.types import Command, interrupt
from PIL import Image

from langgraph_speceyes.agent import DeepEyesProtocol, Observation, ToolSpec, create_visual_agent, tool_schemas
from langgraph_speceyes.agent.tools import OcrArguments
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import load_image


@tool
def count(what: str, state: Annotated[dict[str, Any], InjectedState]) -> str:
    """Count things."""
    if what == "ghosts":
        raise ToolException("ghosts cannot be counted")
    if what == "crash":
        raise RuntimeError("the counter is broken")
    return f"3 {what} in {len(state['messages'][0].content)} blocks"


def run(model: Any, question: HumanMessage, **settings: Any) -> dict[str, Any]:
    return create_visual_agent(model, **settings).compile().invoke({"messages": [question]})


def test_a_langchain_tool_is_a_node_of_its_own(scripted: Any, called: Any, question: HumanMessage) -> None:
    model = scripted(called(("count", {"what": "cars"})), "three")
    graph = create_visual_agent(model, tools=("crop", count))
    assert {"question", "model", "crop", "count", "answer"} == set(graph.nodes)
    result = graph.compile().invoke({"messages": [question]})
    assert model.tools[0] == ["crop", "count"]
    assert result["messages"][2].content == "3 cars in 2 blocks"
    assert result["steps"][0]["text"] == "3 cars in 2 blocks"
    assert result["steps"][0]["box"] is None


def test_a_langchain_tool_in_text(scripted: Any, question: HumanMessage) -> None:
    model = scripted(
        '<tool_call>{"name": "count", "arguments": {"what": "cars"}}</tool_call>', "<answer>three</answer>"
    )
    run(model, question, tools=(count,), protocol=DeepEyesProtocol(reminder=""))
    assert model.sent[1][-1].content == "<tool_response>3 cars in 2 blocks</tool_response>"
    assert '"what"' in model.sent[0][0].content
    assert '"state"' not in model.sent[0][0].content


@pytest.mark.parametrize(
    ("arguments", "says"), [({"what": "ghosts"}, "cannot be counted"), ({}, "what"), ({"what": 3}, "valid string")]
)
def test_what_the_model_may_correct_is_told(
    scripted: Any, called: Any, question: HumanMessage, arguments: dict[str, Any], says: str
) -> None:
    result = run(scripted(called(("count", arguments)), "three"), question, tools=(count,))
    assert result["messages"][2].status == "error"
    assert says in result["messages"][2].content
    assert says in result["steps"][0]["error"]


def test_other_failures_are_raised(scripted: Any, called: Any, question: HumanMessage) -> None:
    with pytest.raises(RuntimeError, match="the counter is broken"):
        run(scripted(called(("count", {"what": "crash"}))), question, tools=(count,))


def encoded(colour: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_images_of_a_langchain_tool_become_references(scripted: Any, called: Any, question: HumanMessage) -> None:
    @tool
    def paint() -> list[dict[str, str]]:
        """Paint."""
        images = [{"type": "image", "base64": encoded(colour), "mime_type": "image/png"} for colour in ("red", "blue")]
        return [{"type": "text", "text": "painted"}, *images]

    result = run(scripted(called(("paint", {})), "red"), question, tools=(paint,))
    text, first, second = result["messages"][2].content
    assert text == {"type": "text", "text": "painted"}
    assert first["url"].startswith("sha256:")
    assert load_image(second["url"]).getpixel((0, 0)) == (0, 0, 255)
    assert result["steps"][0]["image"] == first["url"]


async def test_an_async_tool(scripted: Any, called: Any, question: HumanMessage) -> None:
    threads = []

    @tool
    async def fetch(key: str) -> str:
        """Fetch."""
        if key == "none":
            raise ToolException("nothing there")
        threads.append(threading.get_ident())
        return key.upper()

    model = scripted(called(("fetch", {"key": "none"}), ("fetch", {"key": "a"})), "A")
    graph = create_visual_agent(model, tools=(fetch,)).compile()
    result = await graph.ainvoke({"messages": [question]})
    assert [step["text"] for step in result["steps"]] == [None, "A"]
    assert "nothing there" in result["steps"][0]["error"]
    assert threads == [threading.get_ident()]


def test_a_tool_may_interrupt(scripted: Any, called: Any, question: HumanMessage) -> None:
    @tool
    def confirm(what: str) -> str:
        """Ask the user."""
        return f"the user said {interrupt(what)}"

    model = scripted(called(("crop", {"bbox_2d": [0, 0, 9, 9]}), ("confirm", {"what": "sure?"})), "done")
    graph = create_visual_agent(model, tools=("crop", confirm)).compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    stopped = graph.invoke({"messages": [question]}, config)
    assert stopped["__interrupt__"][0].value == "sure?"
    assert stopped["tool_steps"] == 1
    result = graph.invoke(Command(resume="yes"), config)
    assert [step["tool"] for step in result["steps"]] == ["crop", "confirm"]
    assert result["messages"][3].content == "the user said yes"
    assert len(model.sent) == 2


def test_a_tool_must_return_content(scripted: Any, called: Any, question: HumanMessage) -> None:
    @tool
    def jump(id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Jump."""
        return Command(update={"messages": [ToolMessage("jumped", tool_call_id=id)]})

    with pytest.raises(ArgumentError, match="text or content blocks"):
        run(scripted(called(("jump", {}))), question, tools=(jump,))


def test_a_pure_tool(scripted: Any, called: Any, question: HumanMessage) -> None:
    spec = ToolSpec("size", "Sizes.", OcrArguments, lambda arguments, view: Observation(str(len(view.images))))
    result = run(scripted(called(("size", {})), "1"), question, tools=(spec,))
    assert result["steps"][0]["text"] == "1"


@pytest.mark.parametrize("name", ["model", "answer", "question", "messages", "steps", "calls", "tool_steps", "a|b"])
def test_names_the_graph_needs_are_refused(scripted: Any, name: str) -> None:
    renamed = count.model_copy(update={"name": name})
    with pytest.raises(ArgumentError, match="tools"):
        create_visual_agent(scripted("x"), tools=(renamed,))


@pytest.mark.parametrize("tools", [(), ("crop", "crop"), ("crop", "fly"), "crop", ("",), (3,), {"crop": 1}], ids=repr)
def test_bad_tools_are_refused_when_the_agent_is_built(scripted: Any, tools: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^tools: "):
        create_visual_agent(scripted("x"), tools=tools)


def test_schemas_count_in_a_known_space() -> None:
    with pytest.raises(ArgumentError, match=r"^coordinates: expected one of absolute, .*, found 'pixels'"):
        tool_schemas(["crop"], "pixels")
