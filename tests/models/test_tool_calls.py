from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.models import tool_calls
from langgraph_speceyes.models.tool_calls import FORMATS, HERMES, hermes_call, outside_thoughts, read_calls
from tests.models.asking import TOOL

BY_NAME = {form.name: form for form in FORMATS}
MISTRAL, LLAMA = BY_NAME["mistral"], BY_NAME["llama"]
ARGUMENTS: dict[str, Any] = {"bbox": [1, 2, 3, 4], "why": "5"}


def xml(name: str, arguments: dict[str, Any]) -> str:
    """As Qwen3.5's template writes a call."""
    values = [(k, v if isinstance(v, str) else json.dumps(v)) for k, v in arguments.items()]
    body = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in values)
    return f"<tool_call>\n<function={name}>\n{body}</function>\n</tool_call>"


def pairs(name: str, arguments: dict[str, Any]) -> str:
    """As GLM's template writes a call."""
    values = [(k, v if isinstance(v, str) else json.dumps(v)) for k, v in arguments.items()]
    body = "".join(f"<arg_key>{k}</arg_key>\n<arg_value>{v}</arg_value>\n" for k, v in values)
    return f"<tool_call>{name}\n{body}</tool_call>"


def mistral(name: str, arguments: dict[str, Any]) -> str:
    return f"[TOOL_CALLS]{name}[ARGS]{json.dumps(arguments)}"


def mistral_list(name: str, arguments: dict[str, Any]) -> str:
    return f"[TOOL_CALLS] {json.dumps([{'name': name, 'arguments': arguments, 'id': '123456789'}])}"


def llama(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, "parameters": arguments})


WRITERS = [
    *((HERMES, hermes_call), (HERMES, xml), (HERMES, pairs), (MISTRAL, mistral), (MISTRAL, mistral_list)),
    *((LLAMA, llama), (LLAMA, lambda n, a: f"<|python_tag|>{llama(n, a)}")),
]


@pytest.mark.parametrize(("form", "write"), WRITERS)
def test_calls_are_read_in_the_forms_of_the_families(form: Any, write: Any) -> None:
    text, calls, invalid = read_calls(write("crop", ARGUMENTS), form, [TOOL])
    assert [(c["name"], c["args"]) for c in calls] == [("crop", ARGUMENTS)]
    assert (text, invalid) == ("", [])
    assert re.fullmatch(r"[0-9a-z]{9}", str(calls[0]["id"]))


@pytest.mark.parametrize(("form", "write"), [pair for pair in WRITERS if pair[0] is not LLAMA])
def test_text_around_several_calls_stays(form: Any, write: Any) -> None:
    said = f"Let me look. {write('crop', ARGUMENTS)}\n{write('zoom', {})}"
    text, calls, _ = read_calls(said, form, [TOOL])
    assert text == "Let me look."
    assert [c["name"] for c in calls] == ["crop", "zoom"]


def test_llamas_calls_follow_each_other_and_nothing_else_is_one() -> None:
    said = f"{llama('crop', ARGUMENTS)}; {llama('crop', {})}"
    assert [c["args"] for c in read_calls(said, LLAMA, [TOOL])[1]] == [ARGUMENTS, {}]
    for other in (llama("stop", {}), '{"color": "red"}', "{ red }", "the color is red", ""):
        assert read_calls(other, LLAMA, [TOOL]) == (other, [], [])


def test_bad_calls_are_reported() -> None:
    good = '<tool_call>{"name": "crop", "arguments": {"bbox": [1, 2, 3, 4]}}</tool_call>'
    text, calls, invalid = read_calls(f"Let me look. {good}<tool_call>{{broken</tool_call>", HERMES)
    assert text == "Let me look."
    assert [(c["name"], c["args"]) for c in calls] == [("crop", {"bbox": [1, 2, 3, 4]})]
    assert [i["args"] for i in invalid] == ["{broken"]
    assert read_calls("a < b", HERMES) == ("a < b", [], [])
    for wrong in (
        *('{"arguments": {}}', "[1]", '{"name": "crop", "arguments": [1]}', '{"name": "crop"} and more'),
        *("<function=>", "<function=crop><parameter=a", "a name", "crop<arg_key>a", "[" * 100_000, '{"a":' * 100_000),
    ):
        assert read_calls(f"<tool_call>{wrong}", HERMES)[2]
    for wrong in ("", "crop", "[1]", "crop{", "[[[", '[{"name": 1}]'):
        assert read_calls(f"[TOOL_CALLS]{wrong}", MISTRAL)[2]
    assert read_calls("<|python_tag|>{broken", LLAMA)[2]


@pytest.mark.parametrize("write", [xml, pairs, hermes_call])
def test_a_call_that_was_cut_off_is_none(write: Any) -> None:
    written = write("crop", {"bbox": [1, 2, 3, 4], "why": "to see it"})
    complete = [written[:end] for end in range(len("<tool_call>"), len(written) + 1)]
    read = [read_calls(one, HERMES, [TOOL])[1] for one in complete]
    assert [call["args"] for (call,) in filter(None, read)] == [
        {"bbox": [1, 2, 3, 4], "why": "to see it"} for _ in filter(None, read)
    ]
    assert read[-1]


def test_values_have_the_types_of_their_schemas() -> None:
    properties = {"s": {"type": "string"}, "n": {"type": ["integer", "null"]}, "b": {"type": "boolean"}, "o": {}}
    offered = {"type": "function", "function": {"name": "f", "parameters": {"properties": properties}}}
    written = {"s": "7", "n": 7, "b": True, "o": {"a": [1]}}
    for write in (xml, pairs):
        assert read_calls(write("f", written), HERMES, [offered])[1][0]["args"] == written
    assert read_calls(pairs("f", {"b": "True", "n": "None", "x": "red"}), HERMES, [offered])[1][0]["args"] == {
        "b": True,
        "n": None,
        "x": "red",
    }


@pytest.mark.parametrize(("opening", "closing"), [("<think>", "</think>"), ("[THINK]", "[/THINK]")])
@pytest.mark.parametrize(("form", "write"), WRITERS)
def test_nothing_inside_a_thought_is_a_call(form: Any, write: Any, opening: str, closing: str) -> None:
    call = write("crop", ARGUMENTS)
    for thought in (f"{opening}{call}{closing}", f"{opening}{call}"):
        assert read_calls(f"{thought}red", form, [TOOL]) == (f"{thought}red", [], [])
    assert read_calls(f"I may {call} {closing} red", form, [TOOL], inside=True)[1:] == ([], [])
    assert len(read_calls(f"{opening}{call}{closing}{call}", form, [TOOL])[1]) == 1
    assert len(read_calls(f"hm {closing}{call}", form, [TOOL], inside=True)[1]) == 1


_PIECES = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "<think>", "</think>", "<function=f>", "<parameter=a>", "</parameter>"),
        *("</function>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "[TOOL_CALLS]", "[ARGS]", "{", "}"),
        *("[", "]", '"', '"name"', ":", "f", " ", "\n", ",", ";", "<|python_tag|>", hermes_call("crop", {"a": "b"})),
    ]
)


@given(st.lists(_PIECES, max_size=24).map("".join), st.booleans())
def test_whatever_a_model_writes_is_read(text: str, inside: bool) -> None:
    assert "".join(part for part, _ in outside_thoughts(text, inside=inside)) == text
    for form in FORMATS:
        rest, calls, invalid = read_calls(text, form, [TOOL], inside=inside)
        if not calls and not invalid:
            assert rest == text
        assert all(isinstance(call["args"], dict) for call in calls)


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text(max_size=20), max_size=4),
)
def test_json_calls_hold_any_text(arguments: dict[str, str]) -> None:
    hostile = arguments | {"end": "</tool_call>[TOOL_CALLS]"}
    for form, write in ((HERMES, hermes_call), (LLAMA, llama), (MISTRAL, mistral), (MISTRAL, mistral_list)):
        assert [call["args"] for call in read_calls(write("crop", hostile), form, [TOOL])[1]] == [hostile]


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "<tool_call>",
            "<tool_call></tool_call>",
            '<tool_call>{"a":"',
            "<tool_call>   ",
            "<think>",
            "</think><think>",
        ),
        *("<tool_call>f<arg_key>a</arg_key><arg_value>b</arg_value>", "<arg_key>a</arg_key><arg_value>b</arg_value>"),
        *("<parameter=a>b</parameter>", "[TOOL_CALLS]", "[TOOL_CALLS]{", '{"name":"crop","parameters":{}};', " "),
    ],
)
def test_reading_takes_steps_in_proportion_to_the_text(unit: str) -> None:
    """Counted as lines of the readers that are run, not in seconds."""

    def lines(text: str, form: Any) -> int:
        count = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal count
            if frame.f_code.co_filename != tool_calls.__file__:
                return None
            count += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            read_calls(text, form, [TOOL])
        finally:
            sys.settrace(before)
        return count

    for form in FORMATS:
        for head in ("", "<tool_call>f", "<tool_call><function=f>", "<|python_tag|>"):
            short, long = lines(head + unit * 100, form), lines(head + unit * 400, form)
            assert long <= 4.5 * short + 200
