"""A ReAct agent written by hand: alone, and with the bypass around it."""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt

from langgraph_speceyes import create_speceyes
from tests.agents_alone.playing import FIRST, SECOND, THIRD, TURNS, Playing, Script, calls, front
from tests.agents_alone.threads import WAYS, Side, Way, bypassed, play, resumed, same, thread

LOOKS: Script = {
    FIRST: [calls(("look", {"at": "left"}, "a")), calls(("look", {"at": "right"}, "b")), "Left and right."],
    SECOND: [calls(("look", {"at": "top"}, "a"), ("look", {"at": "bottom"}, "b")), "Top and bottom."],
    THIRD: ["Nothing to look at."],
}
ASKS: Script = {turn: [calls(("ask", {"what": turn}, "a")), "They told me."] for turn in TURNS}
Place = Literal["alone", "around"]
PLACES: tuple[Place, ...] = ("alone", "around")


class Looked(MessagesState):
    steps: Annotated[list[str], operator.add]
    verdict: str


@tool
def look(at: str) -> str:
    """Look at a part of the image."""
    get_stream_writer()({"looking": at})
    return f"seen: {at}"


@tool
def ask(what: str) -> str:
    """Ask a person."""
    return f"They say {interrupt(what)}."


def side(place: Place, *sure: str, script: Script = LOOKS) -> Side:
    model, tools = Playing(script=script), [look, ask]
    bound = model.bind_tools(tools)

    def act(state: Looked) -> dict[str, Any]:
        reply = bound.invoke(state["messages"])
        done = {} if reply.tool_calls else {"verdict": f"{len(state['steps']) + 1} steps"}
        return {"messages": [reply], "steps": [reply.text or "tools"], **done}

    graph = StateGraph(Looked)
    graph.add_node("act", act)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "act")
    graph.add_conditional_edges("act", tools_condition)
    graph.add_edge("tools", "act")
    built: Any = create_speceyes(graph, **front(*sure)) if place == "around" else graph
    return Side(built.compile(checkpointer=InMemorySaver()), (model,))


@pytest.mark.parametrize("way", WAYS)
async def test_rejected_in_every_turn_it_is_as_alone(way: Way) -> None:
    alone, wrapped = [await play(side(place), thread(), way) for place in PLACES]
    same(alone, wrapped)
    assert [seen.route for seen in wrapped] == ["fallback"] * 3


@pytest.mark.parametrize("way", WAYS)
async def test_a_tool_that_asks_a_person(way: Way) -> None:
    people = {turn: [resumed("yes")] for turn in TURNS}
    alone, wrapped = [await play(side(place, script=ASKS), thread(people), way) for place in PLACES]
    same(alone, wrapped, nested=True)
    assert [seen.interrupts for seen in wrapped] == [[FIRST], [], [SECOND], [], [THIRD], []]


@pytest.mark.parametrize("way", WAYS)
async def test_a_question_that_comes_while_it_waits_for_a_person(way: Way) -> None:
    script = {**ASKS, SECOND: ["At once."]}
    alone, wrapped = [await play(side(place, script=script), thread(), way) for place in PLACES]
    same(alone, wrapped, nested=True)
    assert [seen.interrupts for seen in wrapped] == [[FIRST], [], [THIRD]]


@pytest.mark.parametrize("way", WAYS)
async def test_behind_a_bypassed_turn_it_goes_on_as_if_the_answer_were_its_own(way: Way) -> None:
    alone = await play(side("alone"), thread(answered=SECOND), way)
    wrapped = await play(side("around", SECOND), thread(), way)
    at = bypassed(alone, wrapped)
    # what was added up stays, what an earlier turn came to does not
    assert set(wrapped[at].output) == {"messages", "steps"}
    assert wrapped[at].output["steps"] == alone[at].state["steps"]
