"""Agents of LangChain's `create_agent` with its own middleware: alone, with the bypass around them, and within."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.config import get_stream_writer
from langgraph.types import Command
from pydantic import BaseModel
from typing_extensions import TypedDict

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes
from langgraph_speceyes.front.structured import STRUCTURED
from tests.agents_alone.playing import BLUE, FIRST, SECOND, THIRD, TURNS, Playing, Script, calls, front
from tests.agents_alone.threads import Input, Side, Way, bypassed, play, resumed, same, thread


@tool
def look(at: str) -> str:
    """Look at a part of the image."""
    get_stream_writer()({"looking": at})
    return f"seen: {at}"


@tool(return_direct=True)
def report(at: str) -> str:
    """Say what is seen there, and be done."""
    return f"report on {at}"


class Colour(BaseModel):
    colour: str


class ColourDict(TypedDict):
    colour: str


LOOKS: Script = {
    turn: [calls(("look", {"at": turn}, f"c{turn}"), text="Let me see."), f"I saw {turn}."] for turn in TURNS
}


@dataclass
class Case:
    """An agent, what its model says, and what people say to its interrupts in each turn."""

    script: Script = field(default_factory=lambda: LOOKS)
    middleware: Callable[[], Sequence[AgentMiddleware[Any, Any, Any]]] = list
    people: Mapping[str, Sequence[Input]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def summing() -> list[Any]:
    model = Playing(script={}, label="summary", usual="What was said before.")
    return [SummarizationMiddleware(model, trigger=("messages", 6), keep=("messages", 4))]


def decided(*decisions: dict[str, Any]) -> Command[Any]:
    return Command(resume={"decisions": list(decisions)})


EDIT = {"type": "edit", "edited_action": {"name": "look", "args": {"at": "the left"}}}
REJECT = {"type": "reject", "message": "Not there."}
APPROVE = {"type": "approve"}
TWICE: Script = {
    **LOOKS,
    FIRST: [calls(("look", {"at": "left"}, "a"), ("look", {"at": "right"}, "b")), "Both."],
    SECOND: [calls(("look", {"at": "top"}, "a")), calls(("look", {"at": "bottom"}, "b")), "Top and bottom."],
}


def formed(strategy: str) -> Script:
    if strategy == "tool":
        return {turn: [LOOKS[turn][0], calls(("Colour", {"colour": turn}, f"f{turn}"))] for turn in TURNS}
    return {turn: [LOOKS[turn][0], f'{{"colour": "{turn}"}}'] for turn in TURNS}


CASES: dict[str, Case] = {
    "plain": Case(),
    "two calls": Case(TWICE),
    "answers at once": Case({turn: [f"At once: {turn}."] for turn in TURNS}),
    "approved": Case(
        middleware=lambda: [HumanInTheLoopMiddleware({"look": True})],
        people={turn: [decided(APPROVE)] for turn in TURNS},
    ),
    "edited, rejected, approved": Case(
        TWICE,
        lambda: [HumanInTheLoopMiddleware({"look": True})],
        {FIRST: [decided(EDIT, REJECT)], SECOND: [decided(REJECT), decided(EDIT)], THIRD: [decided(APPROVE)]},
    ),
    "approved call for call": Case(
        TWICE,
        lambda: [HumanInTheLoopMiddleware({"look": True}, interrupt_mode="per_call")],
        {FIRST: [resumed(EDIT)], SECOND: [resumed(REJECT), resumed(APPROVE)], THIRD: [resumed(APPROVE)]},
    ),
    "never approved": Case(middleware=lambda: [HumanInTheLoopMiddleware({"look": True})]),
    "summary": Case(middleware=summing),
    "thread limit": Case(middleware=lambda: [ModelCallLimitMiddleware(thread_limit=3)]),
    "thread limit, raising": Case(middleware=lambda: [ModelCallLimitMiddleware(thread_limit=3, exit_behavior="error")]),
    "run limit": Case(TWICE, lambda: [ModelCallLimitMiddleware(run_limit=2)]),
    "tools: thread limit": Case(TWICE, lambda: [ToolCallLimitMiddleware(thread_limit=3)]),
    "tools: run limit": Case(TWICE, lambda: [ToolCallLimitMiddleware(run_limit=1)]),
    "tools: run limit, ending": Case(
        {**TWICE, FIRST: LOOKS[FIRST]}, lambda: [ToolCallLimitMiddleware(run_limit=1, exit_behavior="end")]
    ),
    "todos": Case(
        {
            FIRST: [calls(("write_todos", {"todos": [{"content": "look", "status": "pending"}]}, "t1")), "Planned."],
            SECOND: LOOKS[SECOND],
            THIRD: [calls(("write_todos", {"todos": [{"content": "look", "status": "completed"}]}, "t3")), "Done."],
        },
        lambda: [TodoListMiddleware()],
    ),
    "form by tool": Case(formed("tool"), options={"response_format": ToolStrategy(Colour)}),
    "form by provider": Case(formed("provider"), options={"response_format": ProviderStrategy(Colour)}),
    "form by type": Case(formed("tool"), options={"response_format": Colour}),
    "form as dictionary": Case(formed("provider"), options={"response_format": ProviderStrategy(ColourDict)}),
    "form and limit": Case(
        formed("tool"),
        lambda: [ModelCallLimitMiddleware(thread_limit=3)],
        options={"response_format": ToolStrategy(Colour)},
    ),
    "return direct": Case({turn: [calls(("report", {"at": turn}, f"r{turn}"))] for turn in TURNS}),
}
PLACES = ("around", "first", "last")
# in one piece and in parts, without and with an event loop; the agents of the other files go every way
DIAGONAL: tuple[Way, ...] = ("invoke", "astream")


def saver() -> InMemorySaver:
    return InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=[(__name__, "Colour")]))


def side(case: Case, place: str, *sure: str, **script: Sequence[Any]) -> Side:
    """The agent alone, with the bypass around it, or with the bypass as the first or the last of its middleware."""
    model, middleware = Playing(script={**case.script, **script}), list(case.middleware())
    models = [model, *(one.model for one in middleware if isinstance(one, SummarizationMiddleware))]
    mine = SpecEyesMiddleware(**front(*sure)) if place in ("first", "last") else None
    if mine:
        middleware = [mine, *middleware] if place == "first" else [*middleware, mine]
    made = create_agent(
        model,
        [look, report],
        system_prompt="You look at images.",
        middleware=middleware,
        checkpointer=None if place == "around" else saver(),
        **case.options,
    )
    if place == "around":
        made = create_speceyes(made, **front(*sure)).compile(checkpointer=saver())
    return Side(made, tuple(models))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", DIAGONAL)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", CASES)
async def test_rejected_in_every_turn_it_is_as_alone(case: str, place: str, way: Way) -> None:
    inputs = thread(CASES[case].people)
    alone = await play(side(CASES[case], "alone"), inputs, way)
    wrapped = await play(side(CASES[case], place), inputs, way)
    same(alone, wrapped, nested=place == "around")
    assert {seen.route for seen in wrapped if not seen.raised and not seen.interrupts} <= {"fallback"}


@pytest.mark.parametrize("way", DIAGONAL)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", CASES)
async def test_behind_a_bypassed_turn_it_goes_on_as_if_the_answer_were_its_own(case: str, place: str, way: Way) -> None:
    people = {**CASES[case].people, SECOND: []}
    alone = await play(side(CASES[case], "alone"), thread(people, answered=SECOND), way)
    wrapped = await play(side(CASES[case], place, SECOND), thread(people), way)
    at = bypassed(alone, wrapped, nested=place == "around")
    # beside the answer stands its form, and of earlier turns only what the agent keeps to itself, or leaves standing
    # within its own thread: around it, a list of things to do is an output of the turn that wrote it
    kept = {key: value for key, value in alone[at].state.items() if key not in ("messages", STRUCTURED)}
    if place == "around":
        kept.pop("todos", None)
    beside = {key: value for key, value in wrapped[at].state.items() if key != "messages"}
    formed = beside.pop(STRUCTURED, None)
    assert beside == kept
    assert wrapped[at].output.get(STRUCTURED) == formed
    assert set(wrapped[at].output) <= {"messages", STRUCTURED, *kept}
    expected = [BLUE] if "response_format" in CASES[case].options else []
    assert [formed["colour"] if isinstance(formed, dict) else formed.colour for _ in expected] == expected
    assert expected or formed is None
