"""A thread of an agent, and everything that can be seen of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langgraph.constants import START
from langgraph.types import Command, Interrupt, StateSnapshot

from tests.agents_alone.playing import BLUE, TURNS, Playing, question

Way = Literal["invoke", "stream", "ainvoke", "astream"]
WAYS: tuple[Way, ...] = ("invoke", "stream", "ainvoke", "astream")
Input = Any
"""A question, a command that resumes, or a function that makes one of the interrupts that the thread waits for."""
CONFIG: Any = {"configurable": {"thread_id": "1"}}
ASIDE = {"decision", "jump_to", "created_at", "modified_at"}
"""What the bypass adds, beside keys that begin with its name; what LangChain's agents keep for a single step; times."""


RANDOM = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Ids that frameworks give to tool calls they make themselves."""


USAGE = UsageMetadata(input_tokens=7, output_tokens=1, total_tokens=8)
"""What an answer of the small model costs."""


@dataclass(frozen=True)
class Answered:
    """A question that enters a thread together with its answer, which no agent had to give."""

    question: HumanMessage
    author: str | None = None
    answer: str = BLUE


def thread(
    people: Mapping[str, Sequence[Input]] | None = None, answered: str | None = None, author: str | None = None
) -> list[Input]:
    """The questions of three turns, each with what people say to its interrupts.

    Args:
        people: What they say, by question.
        answered: The question that enters with its answer.
        author: Whose name is on that answer.
    """
    inputs: list[Input] = []
    for turn in TURNS:
        asked = Answered(question(turn), author) if turn == answered else question(turn)
        inputs += [asked, *(people or {}).get(turn, ())]
    return inputs


def resumed(answer: Any) -> Callable[[Sequence[Interrupt]], Command[Any]]:
    """The same answer to all interrupts of a run."""
    return lambda interrupts: Command(resume={interrupt.id: answer for interrupt in interrupts})


def words(messages: Sequence[Any]) -> list[Any]:
    """What messages say, and who is noted as their author."""
    return [(message["type"], message["name"], message["text"], message.get("tool_calls")) for message in messages]


@dataclass(frozen=True)
class Side:
    """An agent, alone or with the bypass, and the models in it."""

    graph: Any
    models: tuple[Playing, ...]


@dataclass
class Seen:
    """What is seen of one run.

    Attributes:
        output: What it returned.
        state: What the thread's state holds behind it.
        interrupts: What it waits for.
        said: What `stream_mode="messages"` showed.
        sent: What `stream_mode="custom"` showed.
        asked: What each model was called with.
        route: Who answered, where there is a bypass.
        raised: The error that it ended with.
    """

    output: Any = None
    state: Any = None
    interrupts: list[Any] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    route: str | None = None
    raised: str | None = None


async def play(side: Side, inputs: Sequence[Input], way: Way, **options: Any) -> list[Seen]:
    """Run a thread."""
    found: list[Seen] = []
    waiting: Any = ()
    for one in inputs:
        if isinstance(one, Answered):
            messages = [
                one.question.model_copy(deep=True),
                AIMessage(one.answer, name=one.author, usage_metadata=USAGE),
            ]
            side.graph.update_state(CONFIG, {"messages": messages}, as_node=START)
            found.append(Seen(state=told(side.graph.get_state(CONFIG).values)))
            continue
        given = one(waiting) if callable(one) else one
        given = {"messages": [given.model_copy(deep=True)]} if isinstance(given, HumanMessage) else given
        marks = [len(model.seen) for model in side.models]
        seen, parts = Seen(), list[Any]()
        try:
            parts = await _run(side.graph, given, way, options)
        except Exception as error:
            seen.raised = f"{type(error).__name__}: {error}"
        roots = [data for where, mode, data in parts if mode == "values" and not where]
        # a stream shows each on its own
        waiting = list({i.id: i for data in roots for i in data.get("__interrupt__", ())}.values())
        held = {key: value for data in roots[-1:] for key, value in data.items() if key != "__interrupt__"}
        seen.output = told(held)
        seen.state = told(_innermost(side.graph.get_state(CONFIG, subgraphs=True)).values)
        seen.interrupts = in_order(told(interrupt.value) for interrupt in waiting)
        seen.said = said([data for _, mode, data in parts if mode == "messages"])
        customs = [data for _, mode, data in parts if mode == "custom"]
        seen.sent = in_order(one for one in customs if not (isinstance(one, dict) and one.get("type") == "speceyes"))
        seen.asked = [
            [(told(messages), told(kwargs)) for messages, kwargs in model.seen[mark:]]
            for model, mark in zip(side.models, marks, strict=True)
        ]
        seen.route = (held.get("decision") or {}).get("route")
        found.append(seen)
    return found


def _innermost(snapshot: StateSnapshot) -> StateSnapshot:
    """The state of the graph that waits, where it waits within others."""
    for task in snapshot.tasks:
        if isinstance(task.state, StateSnapshot):
            return _innermost(task.state)
    return snapshot


async def _run(graph: Any, given: Any, way: Way, options: dict[str, Any]) -> list[Any]:
    settings: Any = {"stream_mode": ["values", "messages", "custom"], "subgraphs": True, **options}
    match way:
        case "invoke":
            return [((), "values", graph.invoke(given, CONFIG, **options))]
        case "ainvoke":
            return [((), "values", await graph.ainvoke(given, CONFIG, **options))]
        case "stream":
            return list(graph.stream(given, CONFIG, **settings))
        case "astream":
            return [part async for part in graph.astream(given, CONFIG, **settings)]


def told(value: Any) -> Any:
    """A value as it is compared: ids of messages aside, and what the bypass adds."""
    if isinstance(value, BaseMessage):
        known = value.model_dump(exclude={"id"})
        known["response_metadata"] = {k: v for k, v in known["response_metadata"].items() if k != "speceyes"}
        return told({**known, "text": value.text})
    if isinstance(value, Mapping):
        kept = {key: one for key, one in value.items() if key not in ASIDE and not str(key).startswith("speceyes_")}
        return {key: told(one) for key, one in kept.items()}
    if isinstance(value, str) and RANDOM.fullmatch(value):
        return "random"
    return [told(one) for one in value] if isinstance(value, list | tuple) else value


def said(streamed: Sequence[Any]) -> list[Any]:
    """Messages as a stream showed them, the parts of each put together."""
    shown: list[Any] = []
    for _, parts in itertools.groupby((message for message, _ in streamed), key=lambda message: message.id):
        whole = list(parts)
        words = "".join(part.text for part in whole)
        made = [call["name"] for part in whole for call in getattr(part, "tool_calls", [])]
        shown.append((whole[0].type.removesuffix("MessageChunk"), words, made, len(whole)))
    parts = itertools.groupby(shown, key=lambda one: bool(one[0] == "tool"))
    return [one for tools, run in parts for one in (in_order(run) if tools else run)]


def in_order(values: Iterable[Any]) -> list[Any]:
    """What tools that run at the same time left, which comes now in this order and now in that, alone as well."""
    return sorted(values, key=repr)


def same(alone: Sequence[Seen], wrapped: Sequence[Seen], *, nested: bool = False) -> None:
    """Fail unless two threads went alike, run for run and in all that can be seen.

    Args:
        alone: The agent's.
        wrapped: The one with a bypass.
        nested: Whether the agent is a graph within the bypass: then what a run that waits returns is the outer state.
    """
    for run, (one, other) in enumerate(zip(alone, wrapped, strict=True)):
        for name in ("raised", "interrupts", "asked", "output", "state", "sent", "said"):
            if name == "output" and nested and one.interrupts:
                continue
            assert getattr(other, name) == getattr(one, name), f"run {run}: {name}"


def bypassed(alone: Sequence[Seen], wrapped: Sequence[Seen], *, nested: bool = False, at: int | None = None) -> int:
    """Fail unless two threads went alike around a turn that only one of them answered itself.

    Args:
        alone: The agent's.
        wrapped: The one with a bypass.
        nested: As for :func:`same`.
        at: The run of that turn, where its output does not tell.

    Returns:
        The run of that turn.
    """
    if at is None:
        (at,) = [run for run, seen in enumerate(wrapped) if seen.route == "bypass"]
    assert not any(wrapped[at].asked), "a model of the agent was asked"
    assert wrapped[at].output["messages"] == wrapped[at].state["messages"] == alone[at].state["messages"]
    same(alone[:at], wrapped[:at], nested=nested)
    same(alone[at + 1 :], wrapped[at + 1 :], nested=nested)
    return at
