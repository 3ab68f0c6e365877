"""Every class of channel behind the bypass, on both routes, over three turns: the state is the agent's own."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy
import pytest
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langgraph.channels import EphemeralValue, Topic, UntrackedValue
from langgraph.channels.any_value import AnyValue
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.managed import RemainingSteps
from langgraph.pregel.protocol import PregelProtocol
from PIL import Image
from typing_extensions import TypedDict

from langgraph_speceyes import create_speceyes, image_question
from langgraph_speceyes.looks import tiles
from tests.scripted import Scripted, judge, peaked

ANSWER = "blue"
TURNS = 3


def joined(state: Any, writes: Sequence[Any]) -> Any:
    for write in writes:
        state = add_messages(state or [], write)
    return state


def listed(state: Any, writes: Sequence[Any]) -> Any:
    return [*(state or []), *(one for write in writes for one in write)]


def kept_files(files: dict[str, str], writes: Sequence[dict[str, str | None]]) -> dict[str, str]:
    for write in writes:
        files = {k: v for k, v in {**files, **write}.items() if v is not None}  # None deletes
    return files


def largest(one: int, other: int) -> int:
    return max(one, other)


def largest_of(one: int, other: int, least: int) -> int:
    return max(one, other, least)


# the annotation of a key, and what the agent writes into it in turn n
CHANNELS: dict[str, tuple[Any, Any]] = {
    "last value": (str, lambda n, old: f"turn {n}"),
    "last value read back": (int, lambda n, old: (old or 0) + 1),
    "any value": (Annotated[str, AnyValue], lambda n, old: f"turn {n}"),
    "operator.add": (Annotated[list[str], operator.add], lambda n, old: [f"turn {n}"]),
    "own reducer": (Annotated[int, largest], lambda n, old: n),
    # LangGraph's own `add_messages(format=...)` is one of these
    "own reducer, with a setting": (Annotated[int, partial(largest_of, least=1)], lambda n, old: n),
    # a type of which there is no empty value
    "own reducer, nothing at first": (Annotated[int | None, largest], lambda n, old: n),
    "DeltaChannel list": (Annotated[list[str], DeltaChannel(listed)], lambda n, old: [f"turn {n}"]),
    "DeltaChannel files": (
        Annotated[dict[str, Any], DeltaChannel(kept_files, dict)],
        # a file is written, and deleted in the turn after
        lambda n, old: {f"file {n}": "text", **({f"file {n - 1}": None} if f"file {n - 1}" in (old or {}) else {})},
    ),
    "Topic": (Annotated[list[str], Topic(str, True)], lambda n, old: [f"turn {n}"]),
    "Topic of a step": (Annotated[list[str], Topic(str, False)], lambda n, old: [f"turn {n}"]),
    "untracked": (Annotated[Any, UntrackedValue], lambda n, old: f"turn {n}"),
    "ephemeral": (Annotated[Any, EphemeralValue], lambda n, old: f"turn {n}"),
    "managed": (RemainingSteps, None),
    "messages without reducer": (str, lambda n, old: f"turn {n}"),
    "messages by operator.add": (str, lambda n, old: f"turn {n}"),
    "messages in a DeltaChannel": (str, lambda n, old: f"turn {n}"),
    "private": (int, lambda n, old: (old or 0) + 1),
    # which cannot be compared with others
    "array": (Any, lambda n, old: numpy.full(2, n)),
}
MESSAGES: dict[str, Any] = {
    "messages without reducer": list[AnyMessage],
    "messages by operator.add": Annotated[list[AnyMessage], operator.add],
    "messages in a DeltaChannel": Annotated[list[AnyMessage], DeltaChannel(joined)],
}


class Elsewhere(PregelProtocol):
    """A graph on another server, as far as can be told from here: it is no `Pregel`."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def __getattr__(self, name: str) -> Any:
        return getattr(self.graph, name)

    def invoke(self, input: Any, config: Any = None, **options: Any) -> Any:
        return self.graph.invoke(input, {"configurable": {"thread_id": "there"}}, **options)

    async def ainvoke(self, input: Any, config: Any = None, **options: Any) -> Any:
        return await self.graph.ainvoke(input, {"configurable": {"thread_id": "there"}}, **options)


for _name in PregelProtocol.__abstractmethods__ - {"invoke", "ainvoke"}:
    setattr(Elsewhere, _name, lambda self, *a, _name=_name, **k: getattr(self.graph, _name)(*a, **k))
Elsewhere.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


def schema_of(channel: str) -> Any:
    annotation, _ = CHANNELS[channel]
    messages = MESSAGES.get(channel, Annotated[list[AnyMessage], add_messages])
    return TypedDict("Agents", {"messages": messages, "extra": annotation}, total=False)  # type: ignore[operator]


def agent_of(channel: str) -> StateGraph[Any, Any, Any, Any]:
    """Two nodes: the first writes the key, the second answers with what it sees of it."""
    _, write = CHANNELS[channel]
    schema = schema_of(channel)

    def note(state: Any) -> dict[str, Any]:
        n = sum(isinstance(m, HumanMessage) for m in state["messages"])
        return {} if write is None else {"extra": write(n, state.get("extra"))}

    def answer(state: Any) -> dict[str, Any]:
        answer = AIMessage("managed" if write is None else f"agent: {state.get('extra')}")
        whole = channel == "messages without reducer"
        return {"messages": [*state["messages"], answer] if whole else [answer]}

    narrow = TypedDict("Narrow", {key: hint for key, hint in schema.__annotations__.items() if key != "extra"})  # type: ignore[operator]
    within = {"input_schema": narrow, "output_schema": narrow} if channel == "private" else {}
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(schema, **within)
    graph.add_node("note", note)
    graph.add_node("answer", answer)
    graph.add_edge(START, "note")
    graph.add_edge("note", "answer")
    graph.add_edge("answer", END)
    return graph


class ByTurn(Scripted):
    """Sure of its answer where the question is marked as easy, and a look has shown something if one must."""

    needs: str = ""

    def _generate(self, messages: Any, *args: Any, **options: Any) -> Any:
        easy = "easy" in str(messages[-1].content) and self.needs in str(messages[-1].content)
        content = [peaked(ANSWER, 64, 40.0 if easy else 0.01)]
        return Scripted(answer=ANSWER, content=content)._generate(messages, *args, **options)


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """A state to compare: ids and the bypass's own records aside."""

    def one(value: Any) -> Any:
        if isinstance(value, BaseMessage):
            return value.type, value.text
        if isinstance(value, numpy.ndarray):
            return value.tolist()
        return [one(item) for item in value] if isinstance(value, list | tuple) else value

    return {k: one(v) for k, v in values.items() if k != "decision" and not k.startswith("speceyes_")}


ROUTES = ("bypass", "fallback", "failed phase", "hedge", "in turn", "audited", "shadow", "off", "looks")
FORMS = ("uncompiled", "compiled", "remote")
CELLS = [
    (channel, route, form)
    for channel in CHANNELS
    for route in ROUTES
    for form in FORMS
    # a cancelled agent must leave nothing behind, and what another server keeps to itself is not seen from here; the
    # server of these tests knows one thread only
    if not (form == "remote" and route in ("hedge", "audited"))
]


# neighbours take turns; `make threads` runs every cell in both ways
WAYS = [
    (*cell, asynchronous)
    for number, cell in enumerate(CELLS)
    for asynchronous in (False, True)
    if "SPECEYES_EXAMPLES" in os.environ or number % 2 == asynchronous
]


@pytest.mark.parametrize(("channel", "route", "form", "asynchronous"), WAYS)
async def test_the_state_is_the_agents_own(
    tmp_path: Path, channel: str, route: str, form: str, asynchronous: bool
) -> None:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "one.png")
    saver, alone_saver = InMemorySaver(), InMemorySaver()
    behind: Any = agent_of(channel)
    if form == "compiled":
        behind = behind.compile()
    elif form == "remote":
        behind = Elsewhere(behind.compile(checkpointer=InMemorySaver(), name="there"))
    failing = Scripted(error="down")
    wrapped = create_speceyes(
        behind,
        speculator=failing if route == "failed phase" else ByTurn(needs="seen" if route == "looks" else ""),
        judge=judge(0.1),
        follow_ups="bypass",
        hedge=route == "hedge",
        mode=route if route in ("shadow", "off") else "on",
        audit=1.0 if route == "audited" else 0.0,
        looks=[tiles(1, 2), lambda image, question: "seen"] if route == "looks" else (),
        state_schema=schema_of(channel) if form == "remote" else None,
    ).compile(checkpointer=saver)
    alone = agent_of(channel).compile(checkpointer=alone_saver)
    config: Any = {"configurable": {"thread_id": "1"}}
    ran = False
    for turn in range(1, TURNS + 1):
        easy = route in ("bypass", "audited") or (route in ("in turn", "looks") and turn == 2)
        # in shadow the front end would answer, which must make no difference
        mark = "easy" if easy or route == "shadow" else "hard"
        question = image_question(str(tmp_path / "one.png"), f"question {turn} {mark}")
        given = {"messages": [question]}
        if channel == "messages without reducer" and turn > 1:
            given = {"messages": [*wrapped.get_state(config).values["messages"], question]}
        if asynchronous:
            result = await wrapped.ainvoke(given, config)
        else:
            result = wrapped.invoke(given, config)
        decision = result["decision"]
        assert decision["route"] == ("bypass" if easy else "fallback")
        assert decision.get("depth") == (2 if easy and route == "looks" else None)
        if channel == "messages without reducer" and turn > 1:
            given = {"messages": [*alone.get_state(config).values["messages"], question]}
        if not easy:
            ran = True
            expected = alone.invoke(given, config)
            assert plain(result) == plain(expected)
            if not (channel == "private" and form == "remote"):
                # what an agent on another server keeps to itself stays there
                states = (plain(graph.get_state(config).values) for graph in (wrapped, alone))
                assert len({repr(state.get("extra")) for state in states}) == 1
            continue
        # its own turn, had it ended with that answer
        whole = channel == "messages without reducer"
        messages = [*given["messages"], AIMessage(ANSWER)] if whole else [question, AIMessage(ANSWER)]
        before = plain(alone.get_state(config).values)
        alone.update_state(config, {"messages": messages}, as_node="answer")
        assert plain(result)["messages"] == plain(alone.get_state(config).values)["messages"]
        accumulates = channel in ("operator.add", "DeltaChannel list", "DeltaChannel files", "Topic")
        accumulates = accumulates or channel.startswith("own reducer")
        if accumulates and ran:
            assert plain(result)["extra"] == before["extra"]
        elif not accumulates:
            assert result.get("extra") is None


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("form", ["compiled", "remote"])
@pytest.mark.parametrize("channel", [one for one in CHANNELS if one != "managed" and not one.startswith("messages")])
async def test_what_the_caller_gives_reaches_the_agent(
    tmp_path: Path, channel: str, form: str, asynchronous: bool
) -> None:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "one.png")
    schema, (_, write) = schema_of(channel), CHANNELS[channel]
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(schema)
    graph.add_node("say", lambda state: {"messages": [AIMessage(f"agent: {state.get('extra')}")]})
    graph.add_edge(START, "say")
    saver = InMemorySaver()
    wrapped = create_speceyes(
        Elsewhere(graph.compile(checkpointer=InMemorySaver(), name="there")) if form == "remote" else graph.compile(),
        speculator=ByTurn(),
        follow_ups="bypass",
        state_schema=schema if form == "remote" else None,
    ).compile(checkpointer=saver)
    alone = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    for turn in range(1, TURNS + 1):
        given = {"messages": [image_question(str(tmp_path / "one.png"), f"question {turn} hard")]}
        if turn != 2:
            given["extra"] = write(turn, None)
        result = (await wrapped.ainvoke(given, config)) if asynchronous else wrapped.invoke(given, config)
        assert plain(result) == plain(alone.invoke(given, config))
