"""Deep agents, whose messages and files are kept as changes: alone, and with the bypass around them and within."""

from __future__ import annotations

from typing import Any

import pytest
from deepagents import create_deep_agent
from langchain.agents.middleware import TodoListMiddleware
from langgraph.checkpoint.memory import InMemorySaver

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes
from tests.agents_alone.playing import FIRST, SECOND, THIRD, TURNS, Playing, Script, calls, front
from tests.agents_alone.threads import WAYS, Seen, Side, Way, bypassed, play, resumed, same, thread

PLACES = ("around", "within")
FILES: Script = {
    FIRST: [
        calls(("write_file", {"file_path": "/a.txt", "content": "one"}, "w1"), text="I note it."),
        calls(("write_file", {"file_path": "/b.txt", "content": "two"}, "w2")),
        calls(("write_todos", {"todos": [{"content": "look", "status": "pending"}]}, "t1")),
        "Two files.",
    ],
    SECOND: [
        calls(("edit_file", {"file_path": "/a.txt", "old_string": "one", "new_string": "three"}, "e1")),
        calls(("delete", {"file_path": "/b.txt"}, "d1"), ("read_file", {"file_path": "/a.txt"}, "r1")),
        "One file.",
    ],
    THIRD: [
        calls(("ls", {"path": "/"}, "l1")),
        calls(("write_file", {"file_path": "/c.txt", "content": "four"}, "w3")),
        calls(("write_todos", {"todos": [{"content": "look", "status": "completed"}]}, "t2")),
        "Two again.",
    ],
}
TASKS: Script = {
    turn: [calls(("task", {"description": f"{turn}: look", "subagent_type": "looker"}, "k1")), f"It saw {turn}."]
    for turn in TURNS
}
APPROVED = resumed({"decisions": [{"type": "approve"}]})


def side(place: str, *sure: str, script: Script = FILES, **options: Any) -> Side:
    model, helper = Playing(script=script), Playing(script={}, label="looker", usual="a bus")
    looker = {"name": "looker", "description": "Looks.", "system_prompt": "Look.", "model": helper}
    mine = [SpecEyesMiddleware(**front(*sure))] if place == "within" else []
    made: Any = create_deep_agent(
        model,
        subagents=[looker],  # type: ignore[list-item]
        middleware=[TodoListMiddleware(), *mine],
        checkpointer=None if place == "around" else InMemorySaver(),
        **options,
    )
    if place == "around":
        made = create_speceyes(made, **front(*sure)).compile(checkpointer=InMemorySaver())
    return Side(made, (model, helper))


def files(seen: Seen) -> dict[str, str]:
    return {path: file["content"] for path, file in seen.output["files"].items()}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
async def test_rejected_in_every_turn_it_is_as_alone(place: str, way: Way) -> None:
    alone, wrapped = [await play(side(one), thread(), way) for one in ("alone", place)]
    same(alone, wrapped)
    assert [files(seen) for seen in wrapped] == [
        {"/a.txt": "one", "/b.txt": "two"},
        {"/a.txt": "three"},
        {"/a.txt": "three", "/c.txt": "four"},
    ]
    assert [seen.output["todos"][0]["status"] for seen in wrapped] == ["pending", "pending", "completed"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("people", [{SECOND: [APPROVED]}, {}], ids=["approved", "never approved"])
async def test_a_file_that_a_person_lets_it_edit(people: Any, place: str, way: Way) -> None:
    options: Any = {"interrupt_on": {"edit_file": True}}
    alone, wrapped = [await play(side(one, **options), thread(people), way) for one in ("alone", place)]
    same(alone, wrapped, nested=place == "around")
    assert len(wrapped[1].interrupts) == 1
    assert files(wrapped[-1])["/a.txt"] == ("three" if people else "one")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
async def test_behind_a_bypassed_turn_it_goes_on_as_if_the_answer_were_its_own(place: str, way: Way) -> None:
    alone = await play(side("alone"), thread(answered=SECOND), way)
    wrapped = await play(side(place, SECOND), thread(), way)
    at = bypassed(alone, wrapped)
    assert files(wrapped[at]) == {"/a.txt": "one", "/b.txt": "two"}
    assert files(wrapped[-1]) == {"/a.txt": "one", "/b.txt": "two", "/c.txt": "four"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
async def test_a_task_for_another_agent(place: str, way: Way) -> None:
    alone, wrapped = [await play(side(one, script=TASKS), thread(), way) for one in ("alone", place)]
    same(alone, wrapped)
    assert all(len(seen.asked[1]) == 1 for seen in wrapped)
