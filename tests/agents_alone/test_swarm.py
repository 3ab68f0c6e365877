"""langgraph-swarm: its members, or all of it, behind the bypass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_swarm import create_handoff_tool, create_swarm
from langgraph_swarm.handoff import get_handoff_destinations

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes
from tests.agents_alone.playing import FIRST, SECOND, THIRD, Playing, Script, calls, front
from tests.agents_alone.threads import WAYS, Side, Way, bypassed, play, same, thread

PLACES = ("all", "members", "within")
ALICE: Script = {
    FIRST: [calls(("look", {"at": "left"}, "a1")), calls(("transfer_to_bob", {}, "a2"), text="Bob knows.")],
    SECOND: ["Alice again."],
    THIRD: ["And again."],
}
BOB: Script = {
    FIRST: ["It is for me, Bob."],
    SECOND: [calls(("transfer_to_alice", {}, "b1"))],
    THIRD: [calls(("look", {"at": "right"}, "b2")), "Bob looked."],
}


@tool
def look(at: str) -> str:
    """Look at a part of the image."""
    return f"seen: {at}"


def member(name: str, other: str, model: Playing, place: str, sure: Sequence[str]) -> Any:
    made = create_agent(
        model,
        [look, create_handoff_tool(agent_name=other)],
        name=name,
        system_prompt=f"You are {name}.",
        middleware=[SpecEyesMiddleware(**front(*sure))] if place == "within" else [],
    )
    return create_speceyes(made, **front(*sure)).compile(name=name) if place == "members" else made


def side(place: str, *sure: str) -> Side:
    alice, bob = Playing(script=ALICE, label="alice"), Playing(script=BOB, label="bob")
    members = [member("alice", "bob", alice, place, sure), member("bob", "alice", bob, place, sure)]
    swarm: Any = create_swarm(members, default_active_agent="alice")
    if place == "all":
        swarm = create_speceyes(swarm, **front(*sure))
    return Side(swarm.compile(checkpointer=InMemorySaver()), (alice, bob))


@pytest.mark.parametrize("place", ["alone", "members", "within"])
def test_whom_a_member_hands_over_to_is_found(place: str) -> None:
    assert get_handoff_destinations(member("alice", "bob", Playing(script=ALICE), place, ())) == ["bob"]
    drawn = side(place).graph.get_graph()
    assert {("alice", "bob"), ("bob", "alice")} <= {(edge.source, edge.target) for edge in drawn.edges}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
async def test_rejected_in_every_turn_it_is_as_alone(place: str, way: Way) -> None:
    alone, wrapped = [await play(side(one), thread(), way) for one in ("alone", place)]
    same(alone, wrapped)
    assert [seen.output["active_agent"] for seen in wrapped] == ["bob", "alice", "alice"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
async def test_behind_a_bypassed_turn_it_goes_on_as_if_the_answer_were_its_own(place: str, way: Way) -> None:
    # a member writes its name on its answers, the swarm as a whole has none
    alone = await play(side("alone"), thread(answered=SECOND, author=None if place == "all" else "bob"), way)
    wrapped = await play(side(place, SECOND), thread(), way)
    # a member's decision stays with the member: the swarm has no key for it
    assert bypassed(alone, wrapped, at=1) == 1
    # nobody handed over in between
    assert wrapped[-1].output["active_agent"] == "bob"
