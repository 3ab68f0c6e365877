"""What judge and speculator say, and what becomes of it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from PIL import Image
from pydantic import BaseModel

from langgraph_speceyes import Gate, create_speceyes, image_question
from langgraph_speceyes.decision import decide
from langgraph_speceyes.errors import PhaseError
from langgraph_speceyes.front.calling import finish_reason
from tests.scripted import Agent, Scripted, entry, judge, peaked, speculator


class Says(Scripted):
    """Answers with one message."""

    message: AIMessage

    def _generate(self, *args: Any, **options: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.message.model_copy(deep=True))])


CALL: dict[str, Any] = {"name": "crop", "args": {}, "id": "call_1", "type": "tool_call"}


def says(text: Any, tokens: list[str], **fields: Any) -> Says:
    of_message = {name: fields.pop(name) for name in ("tool_calls", "additional_kwargs") if name in fields}
    content = [peaked(token, 64, 40.0) for token in tokens]
    usage = {"input_tokens": 70, "output_tokens": 5, "total_tokens": 75}
    metadata = {"logprobs": {"content": content}, **fields}
    return Says(message=AIMessage(text, response_metadata=metadata, usage_metadata=usage, **of_message))


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, list[HumanMessage]]:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")
    return {"messages": [image_question(tmp_path / "a.png", "What colour?")]}


def run(asked: Any, small: Any, **options: Any) -> Any:
    return create_speceyes(Agent().graph, speculator=small, **options).compile().invoke(asked)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (
            "<think>\nIt is.\n</think>\n\nblue",
            ["<think>", "\n", "It", " is", ".\n", "</think>", "\n\n", "blue", "</s>"],
        ),
        ("<answer>blue</answer>", ["<answer>", "blue", "</answer>"]),
        # the server's parser keeps the thought, and its tokens, elsewhere
        ("blue", ["It", " is", "</think>", "blue", ""]),
        ([{"type": "reasoning", "reasoning": "It is."}, {"type": "text", "text": "blue"}], ["It", " is", ".", "blue"]),
    ],
)
def test_only_the_answer_is_given_and_scored(asked: Any, text: Any, tokens: list[str]) -> None:
    found = run(asked, says(text, tokens, finish_reason="stop"))
    assert (found["decision"]["route"], found["messages"][-1].text) == ("bypass", "blue")
    assert [token for token, _ in found["decision"]["answer_tokens"]] == ["blue"]


@pytest.mark.parametrize(
    ("small", "why"),
    [
        (says("A long street with many", ["A", " long"], finish_reason="length"), "cut at the token limit"),
        (says("A long street", ["A"], stop_reason="max_tokens"), "cut at the token limit"),
        (says("A long street", ["A"], incomplete_details={"reason": "max_output_tokens"}), "cut at the token limit"),
        (says("x" * 64, ["x"] * 64), "64 tokens and no end token"),
        (says("<think>It is", ["<think>", "It", " is"], finish_reason="stop"), "inside a thought"),
        (says("I will look", ["I", " will", " look"], tool_calls=[CALL]), "calls a tool"),
        (
            says("I cannot", ["I", " cannot"], additional_kwargs={"refusal": "I cannot"}),
            r"refuses to answer (I cannot)",
        ),
        (says("not", ["not"], model_provider="openai"), "stream without a reason"),
    ],
)
def test_what_is_no_whole_answer_is_the_agents(asked: Any, small: Any, why: str) -> None:
    found = run(asked, small)
    decision = found["decision"]
    assert (decision["route"], decision["decided_by"]) == ("fallback", "speculate")
    assert found["messages"][-1].text == "from the agent"
    assert why in decision["error"]
    # what it wrote was paid for
    assert decision["tokens"]["speculate"] == {"input": 70, "output": 5}
    with pytest.raises(PhaseError, match=re.escape(why)):
        run(asked, small, strict=True)


def test_a_thought_beside_the_text_is_seen(asked: Any) -> None:
    small = says("blue", ["token_id:1", "token_id:2"], finish_reason="stop")
    assert run(asked, small)["decision"]["route"] == "bypass"
    counted = {"input_tokens": 70, "output_tokens": 5, "total_tokens": 75, "output_token_details": {"reasoning": 4}}
    for seen in ({"usage_metadata": counted}, {"additional_kwargs": {"reasoning_content": "It is."}}):
        thinking = Says(message=small.message.model_copy(update=seen))
        assert "cannot be told" in run(asked, thinking)["decision"]["error"]


class Listed(BaseModel):
    """What LiteLLM's class keeps."""

    content: list[dict[str, Any]]


def test_tokens_that_are_listed_in_an_object_are_scored(asked: Any) -> None:
    small = says("blue", ["blue"], logprobs=Listed(content=[peaked("blue", 64, 40.0)]))
    assert run(asked, small)["decision"]["route"] == "bypass"


def test_a_judge_that_says_neither_word_has_not_judged(asked: Any) -> None:
    top = [("<think>", -0.0001), ("No", -10.1), ("Yes", -12.5)]
    large = Scripted(answer="<think>", content=[entry("<think>", top)])
    decision = run(asked, speculator(), judge=large)["decision"]
    assert (decision["route"], decision["decided_by"], decision["tool_need"]) == ("fallback", "judge", None)
    assert "'<think>' first" in decision["error"]
    with pytest.raises(PhaseError, match="'<think>' first"):
        run(asked, speculator(), judge=large, strict=True)


def test_a_bypassed_answer_says_what_it_cost(asked: Any) -> None:
    answer = run(asked, speculator(), judge=judge(0.1))["messages"][-1]
    assert answer.usage_metadata == {"input_tokens": 7, "output_tokens": 1, "total_tokens": 8}
    small = says("blue", ["blue"])
    small.message.usage_metadata = None
    assert run(asked, small)["messages"][-1].usage_metadata is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_decision_is_strict_json(asked: Any, bad: float) -> None:
    token = peaked("blue", 65, 40.0)
    token["top_logprobs"][3]["logprob"] = bad
    found = run(asked, Scripted(content=[token]))
    for record in (found["decision"], found["messages"][-1].response_metadata):
        json.dumps(record, allow_nan=False)
    assert (found["decision"]["score"] is None) == (not bad < 0)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
)


@given(st.dictionaries(st.text(), _ANY), st.floats())
def test_whatever_an_agent_records_is_strict_json(record: dict[str, Any], seconds: float) -> None:
    decision = decide({}, Gate(), "fallback", agent_seconds=seconds, tool_calls=[record])  # type: ignore[typeddict-item]
    assert json.loads(json.dumps(decision, allow_nan=False)) == decision


def test_a_record_without_a_bottom_is_cut() -> None:
    record: dict[str, Any] = {}
    record["self"] = record
    json.dumps(decide({}, Gate(), "fallback", tool_calls=[record]), allow_nan=False)  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"finish_reason": "stop"}, "stop"),
        ({"stop_reason": "end_turn"}, "end_turn"),
        ({"done_reason": "length"}, "length"),
        ({"incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens"),
        ({"incomplete_details": None, "finish_reason": None}, None),
        ({"finish_reason": "", "model_provider": "openai"}, None),
        ({"finish_reason": None, "model_provider": "openai"}, None),
        ({"status": "completed", "model_provider": "openai"}, None),
        # what is left of a stream that broke off
        ({"model_name": "m", "model_provider": "openai"}, "a stream without a reason at its end"),
        ({}, None),
    ],
)
def test_reasons_by_their_names(metadata: dict[str, Any], reason: str | None) -> None:
    assert finish_reason(AIMessage("x", response_metadata=metadata)) == reason
