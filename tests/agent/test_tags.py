from __future__ import annotations

import json

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langgraph_speceyes.agent import DeepEyesProtocol
from langgraph_speceyes.agent.call import make_call
from langgraph_speceyes.agent.protocols.tags import find_answer, find_tagged, parse_call, strip_thoughts
from langgraph_speceyes.errors import ToolInputError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.text() | JSON.map(json.dumps))
@example("[" * 100_000)
@example('{"name": "a", "arguments": ' * 5000)
@example("1" * 10_000)
@example('{"name": 3, "arguments": {}}')
@example('{"name": "zoom", "arguments": []}')
def test_any_text_is_a_call_or_a_tool_input_error(text: str) -> None:
    try:
        name, arguments = parse_call(text)
    except ToolInputError:
        return
    assert name
    assert isinstance(arguments, dict)


@given(st.text() | st.text().map(lambda text: f"<tool_call>{text}") | JSON.map(lambda v: f"<tool_call>{json.dumps(v)}"))
@example('<tool_call>{"name":"zoom","arguments":{"a":' + "[" * 400 + "]" * 400 + "}}")
def test_any_output_can_be_read(text: str) -> None:
    protocol = DeepEyesProtocol()
    turn = protocol.read(AIMessage(text), ["crop", "zoom"])
    assert not (turn.answered and turn.calls)
    assert len(turn.calls) <= 1
    assert isinstance(protocol.answer(AIMessage(text)), str)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), JSON))
@example({"<think>": "</think>"})
def test_a_call_survives_its_json(arguments: dict[str, object]) -> None:
    text = json.dumps({"name": "zoom", "arguments": arguments})
    assume("</tool_call>" not in text)
    found = find_tagged(f"<think>look</think><tool_call>{text}</tool_call> rest")
    assert found is not None
    name, parsed = parse_call(found.body)
    assert name == "zoom"
    assert json.dumps(parsed) == json.dumps(arguments)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{oops", "not valid JSON"),
        ('[{"name": "zoom", "arguments": {}}]', "one JSON object, got list"),
        ('{"arguments": {}}', "no name"),
        ('{"name": "zoom"}', "no object of arguments"),
        ('{"name": "zoom", "arguments": "[1]"}', "no object of arguments"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "too many digits"),
    ],
)
def test_errors_say_what_is_wrong(body: str, says: str) -> None:
    with pytest.raises(ToolInputError, match=says):
        parse_call(body)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>hm</think><answer>red</answer>", "red"),
        ("<answer> red ", "red"),
        ("<answer>red</answer><answer>blue</answer>", "red"),
        ("<think>hm</think> red", "red"),
        ("hm, so</think> red", "red"),
        ("<think>red, I suppose", "red, I suppose"),
        ("<think><answer>red</answer></think>", "red"),
        ("<think>not <answer>blue</answer></think><answer>red</answer>", "red"),
        ('blue <tool_call>{"name": 1}</tool_call>', "blue"),
        ('<tool_call>{"name"', ""),
        ("just red", "just red"),
        ("", ""),
    ],
)
def test_the_answer_of_an_output(text: str, answer: str) -> None:
    assert find_answer(text) == answer


def test_what_comes_first_counts() -> None:
    assert find_tagged("<tool_call>a</tool_call><answer>b</answer>") == ("tool_call", "a")
    assert find_tagged("<answer>b</answer><tool_call>a</tool_call>") == ("answer", "b")
    assert find_tagged("<think><tool_call>a</tool_call></think><answer>b</answer>") == ("answer", "b")
    assert find_tagged("<think>open <tool_call>a</tool_call>") == ("tool_call", "a")
    assert find_tagged("<tool_call>a") == ("tool_call", "a")
    assert find_tagged("nothing") is None
    assert strip_thoughts("a<think>b\nc</think>d") == "ad"


def test_arguments_become_what_a_checkpoint_can_hold() -> None:
    call = make_call("zoom", {"big": 10**30, "huge": 10**400, "bad": "\ud800", 1: (True, None)}, {"zoom": "zoom"})
    assert call["arguments"] == {"big": 1e30, "huge": float("inf"), "bad": "?", "1": [True, None]}
    deep: object = 0
    for _ in range(30):
        deep = [deep]
    assert "nested" in str(make_call("zoom", {"a": deep}, {"zoom": "zoom"})["error"])
