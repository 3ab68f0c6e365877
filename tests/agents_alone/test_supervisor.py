"""langgraph-supervisor: its worker, or all of it, behind the bypass."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_supervisor import create_supervisor

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes
from tests.agents_alone.playing import BLUE, FIRST, SECOND, THIRD, TURNS, Playing, Script, calls, front
from tests.agents_alone.threads import WAYS, Side, Way, bypassed, play, same, thread, words

# what the supervisor itself is built of
pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved", "ignore:AgentState")
MODES = ("full_history", "last_message")
PLACES = ("all", "worker", "within")
BOSS: Script = {
    FIRST: [calls(("transfer_to_looker", {}, "b1")), "The looker has said it."],
    SECOND: [calls(("transfer_to_looker", {}, "b1")), "Once more."],
    THIRD: ["I know it myself."],
}
LOOKER: Script = {turn: [calls(("look", {"at": turn}, "l1"), text="I look."), f"Found {turn}."] for turn in TURNS}


@tool
def look(at: str) -> str:
    """Look at a part of the image."""
    return f"seen: {at}"


def side(place: str, mode: Any, *sure: str, looker: Script = LOOKER) -> Side:
    boss, small = Playing(script=BOSS, label="boss"), Playing(script=looker, label="looker")
    middleware = [SpecEyesMiddleware(**front(*sure))] if place == "within" else []
    worker: Any = create_agent(small, [look], name="looker", middleware=middleware)
    if place == "worker":
        worker = create_speceyes(worker, **front(*sure)).compile(name="looker")
    team: Any = create_supervisor([worker], model=boss, output_mode=mode, prompt="You lead.")
    if place == "all":
        team = create_speceyes(team, **front(*sure))
    return Side(team.compile(checkpointer=InMemorySaver()), (boss, small))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", PLACES)
async def test_rejected_in_every_turn_it_is_as_alone(place: str, mode: str, way: Way) -> None:
    alone, wrapped = [await play(side(one, mode), thread(), way) for one in ("alone", place)]
    same(alone, wrapped)
    assert [bool(seen.asked[1]) for seen in wrapped] == [True, True, False]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
async def test_all_of_it_behind_a_bypassed_turn(mode: str, way: Way) -> None:
    alone = await play(side("alone", mode), thread(answered=SECOND), way)
    wrapped = await play(side("all", mode, SECOND), thread(), way)
    assert set(wrapped[bypassed(alone, wrapped)].output) == {"messages"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", ["worker", "within"])
async def test_a_worker_that_is_bypassed_answers_the_supervisor(place: str, mode: str, way: Way) -> None:
    """What the worker alone would have said at once is what it says by the bypass; all else goes on as it would."""
    alone = await play(side("alone", mode, looker={**LOOKER, SECOND: [BLUE]}), thread(), way)
    wrapped = await play(side(place, mode, SECOND), thread(), way)
    assert [len(seen.asked[1]) for seen in wrapped] == [2, 0, 0]
    for one, other in zip(alone, wrapped, strict=True):
        assert words(other.output["messages"]) == words(one.output["messages"])
        told = [[(words(messages), kwargs) for messages, kwargs in seen.asked[0]] for seen in (one, other)]
        assert told[0] == told[1]
