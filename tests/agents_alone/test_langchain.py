"""Agents of LangChain's `create_agent` with its own middleware: alone, with the bypass around them, and within."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from tests.agents_alone.playing import FIRST, SECOND, THIRD, TURNS, Playing, Script, calls, front, question
from tests.agents_alone.threads import WAYS, Input, Side, Way, play, same

ASKED: list[Input] = [question(turn) for turn in TURNS]


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
    """An agent, what its model says, and what its thread is asked."""

    script: Script = field(default_factory=lambda: LOOKS)
    middleware: Callable[[], Sequence[AgentMiddleware[Any, Any, Any]]] = list
    inputs: Sequence[Input] = tuple(ASKED)
    options: dict[str, Any] = field(default_factory=dict)


def summing() -> list[Any]:
    model = Playing(script={}, label="summary", usual="What was said before.")
    return [SummarizationMiddleware(model, trigger=("messages", 6), keep=("messages", 4))]


def decided(*decisions: dict[str, Any]) -> Command[Any]:
    return Command(resume={"decisions": list(decisions)})


def each(decision: dict[str, Any]) -> Callable[[Any], Command[Any]]:
    return lambda interrupts: Command(resume={interrupt.id: decision for interrupt in interrupts})


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
        inputs=[x for one in ASKED for x in (one, decided(APPROVE))],
    ),
    "edited, rejected, approved": Case(
        TWICE,
        lambda: [HumanInTheLoopMiddleware({"look": True})],
        [ASKED[0], decided(EDIT, REJECT), ASKED[1], decided(REJECT), decided(EDIT), ASKED[2], decided(APPROVE)],
    ),
    "approved call for call": Case(
        TWICE,
        lambda: [HumanInTheLoopMiddleware({"look": True}, interrupt_mode="per_call")],
        [ASKED[0], each(EDIT), ASKED[1], each(REJECT), each(APPROVE), ASKED[2], each(APPROVE)],
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
STREAMED_OTHERWISE = ("approved call for call", "never approved")
"""Around these agents streams differ from those of the agent alone: interrupts of one step come one after the other,
and what a run given up had said is shown again by the next one."""


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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", CASES)
async def test_rejected_in_every_turn_it_is_as_alone(case: str, place: str, way: Way) -> None:
    if place == "around" and way == "astream" and case in STREAMED_OTHERWISE:
        way = "ainvoke"
    alone = await play(side(CASES[case], "alone"), CASES[case].inputs, way)
    wrapped = await play(side(CASES[case], place), CASES[case].inputs, way)
    same(alone, wrapped)
