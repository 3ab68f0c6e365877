from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langgraph_speceyes.agent import NativeProtocol, create_visual_agent
from langgraph_speceyes.errors import ArgumentError

BOX = {"bbox_2d": [10, 20, 110, 70]}


def run(model: Any, question: HumanMessage, **settings: Any) -> dict[str, Any]:
    return create_visual_agent(model, **settings).compile().invoke({"messages": [question]})


def test_crop_then_answer(scripted: Any, called: Any, question: HumanMessage, path: str) -> None:
    model = scripted(called(("crop", BOX)), "red")
    result = run(model, question)
    asked, call, seen, answer = result["messages"]
    assert asked.content == question.content
    assert call.tool_calls[0]["name"] == "crop"
    assert isinstance(seen, ToolMessage)
    assert seen.content == [{"type": "image", "url": f"{path}#xywh=10,20,100,50"}]
    assert (seen.tool_call_id, seen.status, seen.name) == ("call_0", "success", "crop")
    assert answer.content == "red"
    assert answer.response_metadata["tool_steps"] == 1
    assert answer.name == "visual_agent"
    assert result["tool_steps"] == 1
    [step] = result["steps"]
    assert step.pop("seconds") > 0
    assert step == {
        "tool": "crop",
        "arguments": BOX,
        "box": [10, 20, 110, 70],
        "image": f"{path}#xywh=10,20,100,50",
        "text": None,
        "error": None,
    }
    assert model.tools == [["crop", "zoom", "ocr"]] * 2
    assert model.sent[1][2:] == [call, seen]


def test_the_prompt_begins_with_the_system_prompt_and_the_question(
    scripted: Any, called: Any, question: HumanMessage
) -> None:
    model = scripted("red")
    run(model, question, system="Look.", instruction="Be brief.")
    system, asked = model.sent[0]
    assert system == SystemMessage("Look.")
    assert asked.content == [question.content[0], {"type": "text", "text": "What colour?\nBe brief."}]
    model = scripted("red")
    run(model, question, system="")
    assert [message.type for message in model.sent[0]] == ["human"]
    assert model.sent[0][0].content == question.content


def test_an_instruction_after_an_image_is_a_block_of_its_own(scripted: Any, question: HumanMessage) -> None:
    model = scripted("red")
    turned = HumanMessage(question.content[::-1])
    run(model, turned, instruction="Be brief.")
    assert model.sent[0][1].content == [*turned.content, {"type": "text", "text": "\nBe brief."}]


def test_several_calls_in_one_message(scripted: Any, called: Any, question: HumanMessage, echo: Any) -> None:
    calls = called(("crop", BOX), ("ocr", {}), ("crop", {"bbox_2d": [9, 9, 1, 1]}), ("zoom", BOX))
    result = run(scripted(calls, "red"), question, reader=echo)
    results = result["messages"][2:6]
    assert [message.tool_call_id for message in results] == ["call_0", "call_1", "call_2", "call_3"]
    assert [message.status for message in results] == ["success", "success", "error", "success"]
    assert results[1].content == "400x300\nsecond line"
    assert [step["tool"] for step in result["steps"]] == ["crop", "ocr", "crop", "zoom"]
    assert result["messages"][-1].response_metadata["tool_steps"] == result["tool_steps"] == 4


def test_calls_beyond_the_limit_are_answered_but_not_run(
    scripted: Any, called: Any, question: HumanMessage, echo: Any
) -> None:
    model = scripted(called(("crop", BOX), ("nope", {}), ("ocr", {}), ("nope", {})), "red")
    result = run(model, question, max_steps=2, reader=echo)
    results = result["messages"][2:6]
    assert [message.status for message in results] == ["success", "error", "error", "error"]
    assert "not run: all 2 tool steps" in results[2].content
    assert "not run: all 2 tool steps" in results[3].content
    assert [step["tool"] for step in result["steps"]] == ["crop", "nope"]
    assert result["tool_steps"] == 2
    assert model.tools == [["crop", "zoom", "ocr"], []]


def test_a_bad_box_can_be_corrected(scripted: Any, called: Any, question: HumanMessage) -> None:
    model = scripted(called(("crop", {"bbox_2d": [50, 0, 10, 10]})), called(("crop", BOX)), "red")
    result = run(model, question)
    error = model.sent[1][-1]
    assert isinstance(error, ToolMessage)
    assert error.status == "error"
    assert "x1 < x2" in error.content
    bad, good = result["steps"]
    assert "x1 < x2" in bad["error"]
    assert bad["box"] is bad["image"] is None
    assert good["error"] is None
    assert result["messages"][-1].content == "red"


def test_an_unknown_tool_is_named(scripted: Any, called: Any, question: HumanMessage) -> None:
    model = scripted(called(("zoom", BOX)), "red")
    result = run(model, question, tools=("crop", "ocr"))
    assert model.tools[0] == ["crop", "ocr"]
    assert result["messages"][2].content == "Error: there is no tool 'zoom'; the tools are crop, ocr"
    assert result["messages"][2].tool_call_id == "call_0"
    assert result["steps"][0]["tool"] == "zoom"
    assert result["tool_steps"] == 1


def test_broken_arguments_are_answered(scripted: Any, question: HumanMessage) -> None:
    broken = {"name": "crop", "args": "{", "id": "b1", "error": None, "type": "invalid_tool_call"}
    model = scripted(AIMessage("", invalid_tool_calls=[broken]), "red")
    result = run(model, question)
    assert (result["messages"][2].tool_call_id, result["messages"][2].status) == ("b1", "error")
    assert "not valid JSON" in result["steps"][0]["error"]
    assert result["messages"][-1].content == "red"


def test_calls_without_ids_get_one(scripted: Any, question: HumanMessage) -> None:
    model = scripted(AIMessage("", tool_calls=[{"name": "crop", "args": BOX, "id": None}]), "red")
    result = run(model, question)
    id = result["messages"][1].tool_calls[0]["id"]
    assert id
    assert result["messages"][2].tool_call_id == id


def test_the_last_call_is_without_tools(scripted: Any, called: Any, question: HumanMessage) -> None:
    stubborn = called(("crop", BOX)).model_copy(update={"content": "blue"})
    stubborn.additional_kwargs["tool_calls"] = [{"id": "call_0"}]
    model = scripted(stubborn)
    result = run(model, question, max_steps=3)
    assert model.tools == [["crop", "zoom", "ocr"]] * 3 + [[]]
    assert model.sent[-1][-1] == HumanMessage(NativeProtocol().final)
    assert all(message.content != NativeProtocol().final for message in result["messages"])
    assert result["tool_steps"] == 3
    final = result["messages"][-1]
    assert (final.content, final.tool_calls) == ("blue", [])
    assert "tool_calls" not in final.additional_kwargs


def test_an_empty_output_is_reminded_and_counted(scripted: Any, question: HumanMessage) -> None:
    model = scripted("", "  ", "red")
    result = run(model, question)
    assert model.sent[1][-1].content == NativeProtocol().reminder
    assert [step["error"] for step in result["steps"]] == ["neither a tool call nor an answer"] * 2
    assert result["messages"][-1].content == "red"
    silent = scripted("")
    result = run(silent, question, max_steps=2)
    assert len(silent.sent) == 3
    assert result["messages"][-1].content == ""


def test_images_in_a_user_message_follow_all_tool_messages(
    scripted: Any, called: Any, question: HumanMessage, path: str, echo: Any
) -> None:
    model = scripted(called(("crop", BOX), ("ocr", {}), ("zoom", BOX)), "red")
    protocol = NativeProtocol(images_in_user_message=True)
    result = run(model, question, protocol=protocol, reader=echo)
    kinds = [message.type for message in result["messages"]]
    assert kinds == ["human", "ai", "tool", "tool", "tool", "human", "ai"]
    assert result["messages"][2].content == "The image is in the next user message."
    assert result["messages"][3].content == "400x300\nsecond line"
    assert result["messages"][5].content == [
        {"type": "text", "text": "Result of crop:"},
        {"type": "image", "url": f"{path}#xywh=10,20,100,50"},
        {"type": "text", "text": "Result of zoom:"},
        {"type": "image", "url": f"{path}#xywh=10,20,100,50&scale=2.0"},
    ]


def test_thoughts_are_no_part_of_the_answer(scripted: Any, question: HumanMessage) -> None:
    result = run(scripted("<think>hm</think>red"), question)
    assert [message.content for message in result["messages"][1:]] == ["red"]
    assert result["messages"][-1].response_metadata["raw_output"] == "<think>hm</think>red"


def test_a_model_without_tools_is_refused() -> None:
    with pytest.raises(ArgumentError, match="bind_tools"):
        create_visual_agent(FakeListChatModel(responses=["red"]))
