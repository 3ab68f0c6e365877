from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langgraph_speceyes.agent import DeepEyesProtocol, ResizeRule, create_visual_agent

SYSTEM = "Answer the question about the image. Tools: zoom, crop, ocr."
TRAINED = DeepEyesProtocol(system=SYSTEM, instruction="Think, then call a tool or answer.", reminder="", final="")
RULE = ResizeRule(32, 192 * 160, 192 * 160)
ZOOM = '<think>Too small, search.</think><tool_call>{"name":"zoom","arguments":{"bbox_2d":[0,0,96,64]}}</tool_call>'
ANSWER = "<think>Found it.</think><answer>red</answer>"


def run(model: Any, question: HumanMessage, **settings: Any) -> dict[str, Any]:
    settings = {"protocol": TRAINED, "coordinates": "resized", "resize": RULE, **settings}
    return create_visual_agent(model, **settings).compile().invoke({"messages": [question]})


def call(tool: str, box: Any = (0, 0, 96, 64)) -> str:
    return f"<tool_call>{json.dumps({'name': tool, 'arguments': {'bbox_2d': box}})}</tool_call>"


def test_the_trained_models_dialogue(scripted: Any, question: HumanMessage, path: str) -> None:
    model = scripted(ZOOM, ANSWER)
    result = run(model, question)
    asked = question.model_copy(
        update={"content": [question.content[0], {"type": "text", "text": f"What colour?\n{TRAINED.instruction}"}]}
    )
    first, second = model.sent
    assert [message.content for message in first] == [SYSTEM, asked.content]
    assert second[:2] == first
    assert second[2].content == ZOOM
    assert isinstance(second[2], AIMessage)
    assert second[2].tool_calls == []
    assert isinstance(second[3], HumanMessage)
    assert second[3].content == [
        {"type": "text", "text": "<tool_response>"},
        {"type": "image", "url": f"{path}#xywh=0,0,200,150&scale=2.0"},
        {"type": "text", "text": "</tool_response>"},
    ]
    assert len(second) == 4
    assert model.tools == [[], []]
    assert [message.content for message in result["messages"]] == [
        question.content,
        ZOOM,
        second[3].content,
        "red",
    ]
    assert result["messages"][-1].response_metadata == {"tool_steps": 1, "raw_output": ANSWER}
    assert result["steps"][0]["box"] == [0, 0, 200, 150]
    assert result["steps"][0]["arguments"] == {"bbox_2d": [0, 0, 96, 64]}


def test_the_models_own_rule_is_used(scripted: Any, question: HumanMessage) -> None:
    model = scripted(ZOOM, ANSWER, resize_rule=RULE)
    assert run(model, question, resize=None)["steps"][0]["box"] == [0, 0, 200, 150]


def test_text_is_a_plain_response(scripted: Any, question: HumanMessage, echo: Any) -> None:
    model = scripted(call("ocr"), ANSWER)
    result = run(model, question, reader=echo)
    assert model.sent[1][-1].content == "<tool_response>200x150\nsecond line</tool_response>"
    assert result["steps"][0]["text"] == "200x150\nsecond line"


def test_a_reminder_follows_the_response(scripted: Any, question: HumanMessage, echo: Any) -> None:
    protocol = DeepEyesProtocol(reminder="Go on.")
    model = scripted(call("ocr"), call("crop"), ANSWER)
    run(model, question, protocol=protocol, reader=echo)
    assert model.sent[1][-1].content.endswith("second line</tool_response>\nGo on.")
    assert model.sent[2][-1].content[-1] == {"type": "text", "text": "</tool_response>\nGo on."}


@pytest.mark.parametrize(
    ("output", "says", "tool"),
    [
        ("<tool_call>{oops</tool_call>", "not valid JSON", ""),
        ("<tool_call>[1, 2]</tool_call>", "one JSON object, got list", ""),
        ('<tool_call>{"name": "zoom"}</tool_call>', "no object of arguments", ""),
        ('<tool_call>{"arguments": {}}</tool_call>', "no name", ""),
        ('<tool_call>{"name": "zoom", "arguments": {}}</tool_call>', "bbox_2d: field required", "zoom"),
        (call("fly"), "there is no tool 'fly'; the tools are crop, zoom, ocr", "fly"),
        (call("zoom", [9, 9, 1, 1]), "x1 < x2", "zoom"),
    ],
)
def test_bad_calls_are_told_and_counted(
    scripted: Any, question: HumanMessage, output: str, says: str, tool: str
) -> None:
    model = scripted(output, ANSWER)
    result = run(model, question)
    told = model.sent[1][-1]
    assert isinstance(told, HumanMessage)
    assert told.content.startswith("<tool_response>Error: ")
    assert told.content.endswith("</tool_response>")
    assert says in told.content
    assert [(step["tool"], says in step["error"]) for step in result["steps"]] == [(tool, True)]
    assert result["tool_steps"] == 1
    assert result["messages"][-1].content == "red"


def test_an_output_without_call_or_answer_is_reminded(scripted: Any, question: HumanMessage) -> None:
    model = scripted("I wonder.", "<think>hm</think>", ANSWER)
    result = run(model, question, protocol=DeepEyesProtocol(reminder="Go on."))
    assert [message.content for message in model.sent[2][-4:]] == ["I wonder.", "Go on.", "<think>hm</think>", "Go on."]
    assert model.sent[1][-1].type == "human"
    assert result["tool_steps"] == 2
    model = scripted("I wonder.", ANSWER)
    run(model, question)
    assert model.sent[1][-1].content == TRAINED.instruction


def test_it_ends_whatever_the_model_says(scripted: Any, question: HumanMessage) -> None:
    for output, answer in (("I wonder.", "I wonder."), (ZOOM, ""), ("<tool_call>{", "")):
        model = scripted(output)
        result = run(model, question, max_steps=2)
        assert len(model.sent) == 3
        assert result["tool_steps"] == 2
        assert result["messages"][-1].content == answer


def test_the_last_call_ends_with_the_final_instruction(scripted: Any, question: HumanMessage) -> None:
    model = scripted(ZOOM, ZOOM, ANSWER)
    result = run(model, question, protocol=DeepEyesProtocol(final="Answer now."), max_steps=2)
    assert [sent[-1].content == "Answer now." for sent in model.sent] == [False, False, True]
    assert result["messages"][-1].content == "red"
    model = scripted(ZOOM, ANSWER)
    run(model, question, max_steps=1)
    assert model.sent[1][-1].content[0]["text"] == "<tool_response>"


def test_only_the_first_call_counts(scripted: Any, question: HumanMessage) -> None:
    output = call("crop") + call("zoom") + "<tool_response>made up</tool_response><answer>blue</answer>"
    model = scripted(output, ANSWER)
    result = run(model, question)
    assert [step["tool"] for step in result["steps"]] == ["crop"]
    assert model.sent[1][2].content == output
    assert result["messages"][-1].content == "red"


def test_tool_calls_a_server_parsed_are_not_kept(scripted: Any, question: HumanMessage) -> None:
    parsed = AIMessage(ZOOM, tool_calls=[{"name": "zoom", "args": {}, "id": "x"}])
    model = scripted(parsed, ANSWER)
    result = run(model, question)
    assert result["messages"][1].tool_calls == []
    assert result["messages"][1].content == ZOOM


def test_aliases(scripted: Any, question: HumanMessage) -> None:
    model = scripted(call("image_zoom_in_tool"), call("nope"), ANSWER)
    result = run(model, question, protocol=DeepEyesProtocol())
    assert [step["tool"] for step in result["steps"]] == ["zoom", "nope"]
    system = model.sent[0][0]
    assert isinstance(system, SystemMessage)
    named = [json.loads(line)["function"]["name"] for line in system.content.splitlines() if line.startswith('{"type"')]
    assert named == ["crop", "image_zoom_in_tool", "ocr"]
    result = run(scripted(call("image_zoom_in_tool"), ANSWER), question, protocol=DeepEyesProtocol(), tools=("crop",))
    assert "no tool 'image_zoom_in_tool'; the tools are crop" in result["steps"][0]["error"]


def test_by_name_with_another_system_prompt(scripted: Any, question: HumanMessage) -> None:
    model = scripted(ANSWER)
    run(model, question, protocol="deepeyes", system="Tools:\n{tools}", tools=("crop",))
    head, line = model.sent[0][0].content.splitlines()
    assert head == "Tools:"
    assert json.loads(line)["function"]["name"] == "crop"
    assert "pixels of the image as you see it" in line
    assert model.sent[0][1].content[-1]["text"].endswith("\n" + DeepEyesProtocol().instruction)
