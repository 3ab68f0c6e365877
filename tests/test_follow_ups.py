"""Threads of several turns: what the front end may answer, and what only the agent can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from PIL import Image

from langgraph_speceyes import create_speceyes, image_question
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.question import FOLLOW_UPS, read_question, reason_to_leave
from tests.scripted import Agent, judge, speculator

CONFIG: Any = {"configurable": {"thread_id": "1"}}


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "one.png")
    return str(tmp_path / "one.png")


@pytest.fixture
def other(tmp_path: Path) -> str:
    Image.new("RGB", (40, 30), "plum").save(tmp_path / "two.png")
    return str(tmp_path / "two.png")


def turn(graph: Any, message: Any) -> dict[str, Any]:
    result: dict[str, Any] = graph.invoke({"messages": [message]}, CONFIG)
    return result["decision"]  # type: ignore[no-any-return]


def seen(model: Any) -> tuple[str, list[str]]:
    """What a model was last asked: the text, and the images it was shown."""
    message = model.calls[-1][0][-1]
    return message.text, [b for b in message.content if b["type"] == "image"]


@pytest.mark.parametrize(
    ("follow_ups", "judged", "own_image", "decided_by", "reason"),
    [
        ("judge", True, True, "gate", None),
        ("judge", True, False, "intake", "a follow-up without an image of its own"),
        ("judge", False, True, "intake", "a follow-up, and no judge to tell whether it stands on its own"),
        ("judge", False, False, "intake", "a follow-up without an image of its own"),
        ("agent", True, True, "intake", "a follow-up"),
        ("bypass", False, True, "gate", None),
        ("bypass", True, False, "gate", None),
    ],
)
def test_second_turns(
    picture: str, other: str, follow_ups: Any, judged: bool, own_image: bool, decided_by: str, reason: str | None
) -> None:
    agent, small, large = Agent(), speculator(), judge(0.1) if judged else None
    graph = create_speceyes(agent.graph, speculator=small, judge=large, follow_ups=follow_ups)
    thread = graph.compile(checkpointer=InMemorySaver())
    first = turn(thread, image_question(picture, "What colour is it?"))
    assert (first["route"], first["follow_up"], first["reason"]) == ("bypass", False, None)
    second = turn(thread, image_question(other, "And this?") if own_image else HumanMessage("And how large?"))
    assert (second["decided_by"], second["reason"], second["follow_up"]) == (decided_by, reason, True)
    if decided_by == "intake":
        assert second["route"] == "fallback"
        assert len(small.calls) == 1
        # the agent sees the whole thread, as it does alone
        assert [m.type for m in agent.runs[-1]] == ["human", "ai", "human"]
    else:
        text, images = seen(small)
        assert text.startswith("And this?" if own_image else "And how large?")
        assert len(images) == 1
        if large:
            assert "conversation" in seen(large)[0]


def test_a_judge_who_says_that_a_follow_up_needs_the_conversation_sends_it_to_the_agent(
    picture: str, other: str
) -> None:
    agent, small = Agent(), speculator()
    thread = create_speceyes(agent.graph, speculator=small, judge=judge(0.9)).compile(checkpointer=InMemorySaver())
    turn(thread, image_question(picture, "What colour is it?"))
    assert turn(thread, image_question(other, "The same as before?"))["decided_by"] == "judge"
    assert small.calls == []


def test_questions_without_an_image_or_a_text_are_the_agents(picture: str) -> None:
    agent, small = Agent(), speculator()
    graph = create_speceyes(agent.graph, speculator=small, judge=judge(0.1)).compile()
    for message, reason in (
        (HumanMessage("Hello"), "no image to look at"),
        (HumanMessage([{"type": "image", "url": picture}]), "the newest turn asks nothing"),
    ):
        decision = graph.invoke({"messages": [message]})["decision"]
        assert (decision["route"], decision["decided_by"], decision["reason"]) == ("fallback", "intake", reason)
    assert small.calls == []
    assert len(agent.runs) == 2


def test_an_image_and_a_text_in_two_messages_are_one_question(picture: str) -> None:
    small = speculator()
    graph = create_speceyes(Agent().graph, speculator=small).compile()
    messages = [SystemMessage("Be brief."), HumanMessage([{"type": "image", "url": picture}]), HumanMessage("Colour?")]
    assert graph.invoke({"messages": messages})["decision"]["route"] == "bypass"
    text, images = seen(small)
    assert text.startswith("Colour?")
    assert len(images) == 1


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(ArgumentError, match="follow_ups"):
        create_speceyes(Agent().graph, speculator=speculator(), follow_ups="always")  # type: ignore[arg-type]


_IMAGE = {"type": "image", "url": "a.png"}
_MESSAGES: st.SearchStrategy[AnyMessage] = st.sampled_from(
    [
        HumanMessage("why?"),
        HumanMessage([_IMAGE]),
        HumanMessage([_IMAGE, {"type": "text", "text": "what?"}]),
        AIMessage("blue"),
        ToolMessage("seen", tool_call_id="1"),
        SystemMessage("hi"),
    ]
)


@given(st.lists(_MESSAGES, max_size=8), st.sampled_from(FOLLOW_UPS), st.booleans())
@settings(max_examples=300, deadline=None)
def test_what_tools_showed_earlier_is_never_bypassed_unjudged(
    messages: list[AnyMessage], follow_ups: Any, judged: bool
) -> None:
    asked = read_question(messages)
    assert (asked is None) == all(m.type != "human" for m in messages)
    if asked is None:
        return
    last = max(i for i, m in enumerate(messages) if m.type == "human")
    earlier = any(m.type in ("ai", "tool") for m in messages[:last])
    fit = reason_to_leave(asked, follow_ups, judged) is None
    if fit:
        assert asked.has_text
        assert asked.has_image
    if fit and earlier and follow_ups != "bypass":
        assert judged
        assert asked.brings_image
