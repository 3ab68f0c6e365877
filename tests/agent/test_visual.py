from __future__ import annotations

import asyncio
import base64
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph
from PIL import Image

from langgraph_speceyes.agent import DeepEyesProtocol, NativeProtocol, ResizeRule, create_visual_agent
from langgraph_speceyes.agent.question import question_images
from langgraph_speceyes.errors import ArgumentError, ImageError, InputError
from langgraph_speceyes.images import ImagePolicy
from tests.waiting import PATIENCE_S

BOX = {"bbox_2d": [10, 20, 110, 70]}
THREAD = {"configurable": {"thread_id": "1"}}


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": True}, "max_steps"),
        ({"max_steps": 2.5}, "max_steps"),
        ({"protocol": "vyme"}, "protocol"),
        ({"protocol": "thyme", "tools": ("crop",)}, "tools"),
        ({"protocol": 3}, "protocol"),
        ({"protocol": NativeProtocol(), "system": "Look."}, "system"),
        ({"protocol": DeepEyesProtocol(), "instruction": "Look."}, "instruction"),
        ({"coordinates": "inches"}, "coordinates"),
        ({"coordinates": "resized"}, "resize"),
        ({"coordinates": "resized", "resize": (28, 1, 2)}, "resize"),
        ({"coordinates": "resized", "resize": ResizeRule(28, 200, 100)}, "resize"),
    ],
)
def test_bad_settings_are_refused_when_the_agent_is_built(
    scripted: Any, settings: dict[str, Any], argument: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        create_visual_agent(scripted("red"), **settings)
    assert caught.value.argument == argument


def image(path: str) -> dict[str, str]:
    return {"type": "image", "url": path}


@pytest.mark.parametrize("content", ["none", "text", "image", "other"])
def test_input_without_question_or_image_is_refused(scripted: Any, path: str, content: str) -> None:
    messages = {
        "none": [],
        "text": [HumanMessage("What colour?")],
        "image": [HumanMessage([image(path)])],
        "other": [SystemMessage("Hello."), AIMessage("Hi.")],
    }[content]
    model = scripted("red")
    with pytest.raises(InputError, match="messages"):
        create_visual_agent(model).compile().invoke({"messages": messages})
    assert model.sent == []


def test_an_unreadable_image_is_the_users_error(scripted: Any, called: Any, tmp_path: Path) -> None:
    asked = HumanMessage([image(str(tmp_path / "none.png")), {"type": "text", "text": "What?"}])
    graph = create_visual_agent(scripted(called(("crop", BOX)))).compile()
    with pytest.raises(ImageError, match=r"none\.png"):
        graph.invoke({"messages": [asked]})


def test_the_policy_reaches_model_and_tools(scripted: Any, called: Any, question: HumanMessage) -> None:
    policy = ImagePolicy(roots=())
    for settings in ({"accepts_image_references": True}, {"accepts_image_references": False}):
        graph = create_visual_agent(scripted(called(("crop", BOX)), **settings), policy=policy).compile()
        with pytest.raises(ImageError, match="roots"):
            graph.invoke({"messages": [question]})


def test_image_and_question_may_be_separate_messages(scripted: Any, called: Any, path: str) -> None:
    messages = [SystemMessage("Hi."), HumanMessage([image(path)]), HumanMessage("What colour?")]
    model = scripted(called(("crop", BOX)), "red")
    result = create_visual_agent(model, instruction="Go.").compile().invoke({"messages": messages})
    assert result["steps"][0]["box"] == [10, 20, 110, 70]
    assert model.sent[0][-1].content == "What colour?\nGo."
    assert model.sent[0][2].content == [image(path)]


def test_images_are_those_of_the_latest_turn_that_has_any(path: str) -> None:
    first, second = HumanMessage([image("a.png")]), HumanMessage([image("b.png"), image("c.png"), "?"])
    assert [r.uri for r in question_images([first, second])] == ["a.png", "b.png", "c.png"]
    assert [r.uri for r in question_images([first, AIMessage("x"), second])] == ["b.png", "c.png"]
    assert [r.uri for r in question_images([second, AIMessage("x"), HumanMessage("and?")])] == ["b.png", "c.png"]


def test_a_new_run_counts_from_zero_and_looks_at_the_users_image(
    scripted: Any, path: str, question: HumanMessage
) -> None:
    call = '<tool_call>{"name":"crop","arguments":{"bbox_2d":[10,20,110,70]}}</tool_call>'
    model = scripted(call, call, "<answer>red</answer>", call, "<answer>blue</answer>")
    graph = create_visual_agent(model, protocol="deepeyes", max_steps=2).compile(checkpointer=InMemorySaver())
    first = graph.invoke({"messages": [question]}, THREAD)
    assert first["tool_steps"] == 2
    second = graph.invoke({"messages": [HumanMessage("And now?")]}, THREAD)
    assert second["tool_steps"] == len(second["steps"]) == 1
    # the crops of the first run are no images of the user
    assert second["steps"][0]["image"] == f"{path}#xywh=10,20,100,50"
    assert second["messages"][-1].content == "blue"
    prompt = model.sent[-1]
    assert [m.content for m in prompt if m.type == "human" and "And now?" in str(m.content)] == [
        "And now?\n" + DeepEyesProtocol().instruction
    ]
    assert "<answer>red</answer>" not in [m.content for m in prompt]
    assert "red" in [m.content for m in prompt]


def test_models_that_read_files_get_references_others_base64(
    scripted: Any, called: Any, question: HumanMessage, path: str, picture: Image.Image
) -> None:
    reads = scripted(called(("crop", BOX)), "red")
    result = create_visual_agent(reads).compile().invoke({"messages": [question]})
    assert reads.sent[1][1].content[0] == image(path)
    assert reads.sent[1][3].content == [image(f"{path}#xywh=10,20,100,50")]
    for settings in ({"accepts_image_references": False}, {"inline": True}):
        inline = settings.pop("inline", None)
        model = scripted(called(("crop", BOX)), "red", **settings)
        result = create_visual_agent(model, inline=inline).compile().invoke({"messages": [question]})
        sent = model.sent[1][1].content[0]
        assert base64.b64decode(sent["base64"]) == Path(path).read_bytes()
        assert model.sent[1][3].content[0]["type"] == "image"
        assert "base64" in model.sent[1][3].content[0]
        assert "base64" not in str(result["messages"])
    told = scripted("red", accepts_image_references=False)
    create_visual_agent(told, inline=False).compile().invoke({"messages": [question]})
    assert told.sent[0][1].content[0] == image(path)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_checkpoints_hold_no_image_data(
    scripted: Any,
    called: Any,
    question: HumanMessage,
    path: str,
    echo: Any,
    asynchronous: bool,
) -> None:
    # None is what LANGGRAPH_STRICT_MSGPACK=true stands for; the variable itself is read at import
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    odd = {"bbox_2d": [10, 20, 110, 70], "label": "x", "odd": {"big": 10**30}}
    calls = called(("crop", odd), ("zoom", BOX), ("ocr", {}), ("nope", {}))
    calls.tool_calls[0]["args"] = odd
    model = scripted(calls, "red", accepts_image_references=False)
    data = base64.b64encode(Path(path).read_bytes()).decode()
    asked = HumanMessage(
        [{"type": "image", "base64": data, "mime_type": "image/png"}, {"type": "text", "text": "What?"}]
    )
    graph = create_visual_agent(model, reader=echo).compile(checkpointer=saver)
    if asynchronous:
        result = await graph.ainvoke({"messages": [asked]}, THREAD)
    else:
        result = graph.invoke({"messages": [asked]}, THREAD)
    assert result["messages"][0].content == asked.content
    assert result["tool_steps"] == 4
    state = graph.get_state(THREAD)
    assert state.values["steps"] == result["steps"]
    assert state.values["messages"][-1].response_metadata == {"tool_steps": 4}
    blobs = {key: value[1] for key, value in saver.blobs.items() if key[2] != "__start__"}
    assert any(b"sha256:" in blob for blob in blobs.values())
    for key, blob in blobs.items():
        assert data.encode()[:60] not in blob, key
        assert Path(path).read_bytes()[:60] not in blob, key
    # what the caller passed is also kept as the run's input; what the agent writes is not
    written = [(key, w) for key, ws in saver.writes.items() for w in ws.values()]
    holders = [w for _, w in written if data.encode()[:60] in w[2][1]]
    assert len(holders) <= 2


async def test_the_async_form_does_not_block_the_loop(scripted: Any, called: Any, question: HumanMessage) -> None:
    loop = asyncio.get_running_loop()

    def loop_answers() -> None:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(PATIENCE_S)

    class Slow:
        def read(self, image: Image.Image) -> list[str]:
            threads.append(threading.get_ident())
            loop_answers()
            return ["slow"]

    threads: list[int] = []
    model = scripted(called(("ocr", {})), "red", before=loop_answers, accepts_image_references=False)
    graph = create_visual_agent(model, reader=Slow()).compile()
    result = await graph.ainvoke({"messages": [question]})
    assert result["messages"][-1].content == "red"
    assert result["steps"][0]["error"] is None
    assert threading.get_ident() not in threads + model.threads


async def test_images_are_encoded_in_a_thread(
    scripted: Any, question: HumanMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langgraph_speceyes.agent import loop

    threads = []

    def encode(messages: Any, policy: Any, most_pixels: int | None = None) -> Any:
        threads.append(threading.get_ident())
        return messages

    monkeypatch.setattr(loop, "inline_images", encode)
    await create_visual_agent(scripted("red"), inline=True).compile().ainvoke({"messages": [question]})
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_batch_and_stream(scripted: Any, called: Any, question: HumanMessage, path: str) -> None:
    graph = create_visual_agent(scripted(called(("zoom", BOX)), "red")).compile()
    nodes = [name for update in graph.stream({"messages": [question]}, stream_mode="updates") for name in update]
    assert nodes == ["question", "model", "zoom", "model", "answer"]
    graph = create_visual_agent(scripted("red")).compile()
    asked = [HumanMessage([image(path), {"type": "text", "text": f"Question {i}?"}]) for i in range(4)]
    results = graph.batch([{"messages": [one]} for one in asked])
    assert [r["messages"][0].content for r in results] == [one.content for one in asked]
    assert {r["messages"][-1].content for r in results} == {"red"}


async def test_a_stream_of_messages_ends_with_the_plain_answer(scripted: Any, question: HumanMessage) -> None:
    graph = create_visual_agent(scripted("<think>hm</think><answer>red</answer>"), protocol="deepeyes").compile()
    chunks = [c async for c in graph.astream({"messages": [question]}, stream_mode="messages")]
    assert [(meta["langgraph_node"], message.content) for message, meta in chunks] == [
        ("model", "<think>hm</think><answer>red</answer>"),
        ("answer", "red"),
    ]


async def test_runs_are_named_after_their_nodes(scripted: Any, called: Any, question: HumanMessage, echo: Any) -> None:
    calls = called(("crop", BOX), ("zoom", BOX), ("ocr", {}))
    graph = create_visual_agent(scripted(calls, "red"), reader=echo).compile()
    events = [e async for e in graph.astream_events({"messages": [question]}, version="v2")]
    names = [e["name"] for e in events if e["event"] == "on_chain_start"]
    assert [name for name in names if name in ("crop", "zoom", "ocr", "model")] == [
        "model",
        "crop",
        "zoom",
        "ocr",
        "model",
    ]


def test_it_can_be_interrupted_before_a_tool(scripted: Any, called: Any, question: HumanMessage, echo: Any) -> None:
    model = scripted(called(("crop", BOX), ("ocr", {})), "red")
    graph = create_visual_agent(model, reader=echo).compile(checkpointer=InMemorySaver(), interrupt_before=["ocr"])
    stopped = graph.invoke({"messages": [question]}, THREAD)
    assert stopped["tool_steps"] == 1
    assert graph.get_state(THREAD).next == ("ocr",)
    result = graph.invoke(None, THREAD)
    assert [step["tool"] for step in result["steps"]] == ["crop", "ocr"]
    assert result["messages"][-1].content == "red"
    assert len(model.sent) == 2


def test_as_a_subgraph_it_adds_its_messages_to_the_parents(scripted: Any, called: Any, question: HumanMessage) -> None:
    agent = create_visual_agent(scripted(called(("crop", BOX)), "<think>so</think>red")).compile()
    parent = StateGraph(MessagesState)
    parent.add_node("agent", agent)
    parent.add_edge(START, "agent")
    parent.add_edge("agent", END)
    result = parent.compile().invoke({"messages": [question]})
    assert [message.type for message in result["messages"]] == ["human", "ai", "tool", "ai"]
    assert result["messages"][-1].content == "red"


def test_what_the_model_reports_is_kept(scripted: Any, question: HumanMessage) -> None:
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    said = AIMessage("<answer>red</answer>", usage_metadata=usage, response_metadata={"finish_reason": "stop"})
    result = create_visual_agent(scripted(said), name="eyes").compile().invoke({"messages": [question]})
    final = result["messages"][-1]
    assert final.usage_metadata == usage
    assert final.response_metadata["finish_reason"] == "stop"
    assert final.response_metadata["tool_steps"] == 0
    assert final.name == "eyes"


def test_a_custom_protocol(scripted: Any, called: Any, question: HumanMessage) -> None:
    class Shouting(NativeProtocol):
        def answer(self, message: AIMessage) -> str:
            return str(message.text).upper()

    result = create_visual_agent(scripted("red"), protocol=Shouting()).compile().invoke({"messages": [question]})
    assert result["messages"][-1].content == "RED"
