"""The bypass inside larger graphs."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt
from PIL import Image

from langgraph_speceyes import create_speceyes, image_question
from langgraph_speceyes.state import Decision
from tests.scripted import Agent, judge, speculator

CONFIG: Any = {"configurable": {"thread_id": "1"}}
REJECTED = 0.01


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    paths = []
    for index in range(4):
        Image.new("RGB", (40, 30), (60 * index, 99, 99)).save(tmp_path / f"{index}.png")
        paths.append(str(tmp_path / f"{index}.png"))
    return paths


def bypass(gap: float = 40.0, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    return create_speceyes(Agent().graph, speculator=speculator(gap), judge=judge(0.1), **options)


class Report(MessagesState):
    decision: Decision
    query: str
    approved: bool


def private(values: Any) -> list[str]:
    return [key for key in values if key.startswith("speceyes_")]


@pytest.mark.parametrize("gap", [40.0, REJECTED])
def test_a_node_of_a_larger_graph_with_a_person_in_it_and_its_checkpoints_on_disk(
    pictures: list[str], tmp_path: Path, gap: float
) -> None:
    def review(state: Report) -> dict[str, Any]:
        return {"approved": interrupt({"answer": state["messages"][-1].text, "score": state["decision"]["score"]})}

    parent = StateGraph(Report)
    parent.add_node("look", bypass(gap).compile(name="look"))
    parent.add_node("review", review)
    parent.add_edge(START, "look")
    parent.add_edge("look", "review")
    parent.add_edge("review", END)
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        graph = parent.compile(checkpointer=saver)
        stopped = graph.invoke({"messages": [image_question(pictures[0], "What?")], "query": "mine"}, CONFIG)
        (asked,) = stopped["__interrupt__"]
        assert asked.value["answer"] == ("blue" if gap > 1 else "from the agent")
    # another process, later
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
        graph = parent.compile(checkpointer=saver)
        result = graph.invoke(Command(resume=True), CONFIG)
        assert (result["approved"], result["query"]) == (True, "mine")
        assert [m.type for m in result["messages"]] == ["human", "ai"]
        for state in graph.get_state_history(CONFIG):
            assert not private(state.values)
        again = graph.invoke({"messages": [image_question(pictures[1], "And this?")]}, CONFIG)
        assert again["decision"]["follow_up"] is True


class Folder(TypedDict):
    paths: list[str]
    answers: Annotated[list[tuple[str, str]], operator.add]


async def test_under_send_each_on_a_path_of_its_own(pictures: list[str]) -> None:
    one = bypass().compile(name="look")

    def spread(state: Folder) -> list[Send]:
        return [Send("look", {"path": path}) for path in state["paths"]]

    async def look(task: dict[str, str]) -> dict[str, Any]:
        result = await one.ainvoke({"messages": [image_question(task["path"], "What?")]})
        return {"answers": [(task["path"], result["messages"][-1].text)]}

    parent = StateGraph(Folder)
    parent.add_node("look", look)
    parent.add_conditional_edges(START, spread, ["look"])
    parent.add_edge("look", END)
    graph = parent.compile(checkpointer=InMemorySaver())
    result = await graph.ainvoke({"paths": pictures, "answers": []}, CONFIG)
    assert sorted(result["answers"]) == [(path, "blue") for path in pictures]
    assert set(result) == {"paths", "answers"}


async def test_the_compiled_bypass_itself_under_send(pictures: list[str]) -> None:
    class Many(TypedDict):
        paths: list[str]
        messages: Annotated[list[AnyMessage], operator.add]

    parent = StateGraph(Many)
    parent.add_node("look", bypass(output_mode="last_message").compile())
    parent.add_conditional_edges(
        START,
        lambda state: [Send("look", {"messages": [image_question(p, "What?")]}) for p in state["paths"]],
        ["look"],
    )
    result = await parent.compile().ainvoke({"paths": pictures, "messages": []})
    answers = [m for m in result["messages"] if isinstance(m, AIMessage)]
    assert len(answers) == len(pictures)
    assert set(result) == {"paths", "messages"}


def test_parallel_branches_do_not_meet(pictures: list[str]) -> None:
    class Both(TypedDict):
        first: str
        second: str

    def branch(path: str, key: str, gap: float) -> Any:
        graph = bypass(gap).compile(name=key)

        def run(state: Both) -> dict[str, Any]:
            return {key: graph.invoke({"messages": [image_question(path, "What?")]})["decision"]["route"]}

        return run

    parent = StateGraph(Both)
    parent.add_node("one", branch(pictures[0], "first", 40.0))
    parent.add_node("two", branch(pictures[1], "second", REJECTED))
    for name in ("one", "two"):
        parent.add_edge(START, name)
        parent.add_edge(name, END)
    graph = parent.compile(checkpointer=InMemorySaver())
    assert graph.invoke({}, CONFIG) == {"first": "bypass", "second": "fallback"}  # type: ignore[arg-type]


def test_parallel_subgraph_nodes_share_the_parents_messages(pictures: list[str]) -> None:
    parent = StateGraph(MessagesState)
    for name, gap in (("one", 40.0), ("two", REJECTED)):
        parent.add_node(name, bypass(gap).compile(name=name))
        parent.add_edge(START, name)
        parent.add_edge(name, END)
    result = parent.compile(checkpointer=InMemorySaver()).invoke(
        {"messages": [image_question(pictures[0], "What?")]}, CONFIG
    )
    assert sorted(m.text for m in result["messages"][1:]) == ["blue", "from the agent"]
    assert set(result) == {"messages"}


@pytest.mark.parametrize("gap", [40.0, REJECTED])
async def test_streams_of_the_parent_reach_the_phases_and_hold_nothing_private(pictures: list[str], gap: float) -> None:
    parent = StateGraph(MessagesState)
    parent.add_node("look", bypass(gap).compile())
    parent.add_edge(START, "look")
    graph = parent.compile(checkpointer=InMemorySaver())
    given: Any = {"messages": [image_question(pictures[0], "What?")]}
    parts = [
        part
        async for part in graph.astream(
            given, CONFIG, stream_mode=["updates", "values", "custom", "messages"], subgraphs=True
        )
    ]
    inside = [next(iter(data)) for ns, mode, data in parts if mode == "updates" and len(ns) == 1]
    assert inside[:4] == ["intake", "judge", "speculate", "gate"]
    assert inside[4] == ("bypass" if gap > 1 else "agent")
    events = [data["event"] for _, mode, data in parts if mode == "custom"]
    assert events == ["judge", "speculate", "gate", "decision"]
    assert not any(private(data) for ns, mode, data in parts if mode == "values" and not ns)
    # neither judge nor speculator speak in the user's stream: the answer does, once
    said = [data[0] for _, mode, data in parts if mode == "messages"]
    assert [m.text for m in said if not isinstance(m, HumanMessage)] == ["blue" if gap > 1 else "from the agent"]
