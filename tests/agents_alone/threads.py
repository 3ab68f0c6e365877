"""A thread of an agent, and everything that can be seen of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage

from tests.agents_alone.playing import Playing

Way = Literal["invoke", "stream", "ainvoke", "astream"]
WAYS: tuple[Way, ...] = ("invoke", "astream")
Input = Any
"""A question, a command that resumes, or a function that makes one of the interrupts that the thread waits for."""
# tools that are called together come one after the other, in their order
CONFIG: Any = {"configurable": {"thread_id": "1"}, "max_concurrency": 1}
OWN = {"decision", "jump_to"}
"""What the bypass adds, beside keys that begin with its name; and what LangChain keeps for one step only."""


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
        given = one(waiting) if callable(one) else one
        given = {"messages": [given.model_copy(deep=True)]} if isinstance(given, HumanMessage) else given
        marks = [len(model.seen) for model in side.models]
        seen, parts = Seen(), list[Any]()
        try:
            parts = await _run(side.graph, given, way, options)
        except Exception as error:
            seen.raised = f"{type(error).__name__}: {error}"
        roots = [data for where, mode, data in parts if mode == "values" and not where]
        waiting = [i for data in roots[-1:] for i in data.get("__interrupt__", ())]
        held = roots[-1] if roots else {}
        seen.output = told({key: value for key, value in held.items() if key != "__interrupt__"})
        seen.state = told(side.graph.get_state(CONFIG).values)
        # those of one step come in any order
        seen.interrupts = sorted((told(interrupt.value) for interrupt in waiting), key=repr)
        seen.said = said([data for _, mode, data in parts if mode == "messages"])
        customs = [data for _, mode, data in parts if mode == "custom"]
        seen.sent = [data for data in customs if not (isinstance(data, dict) and data.get("type") == "speceyes")]
        seen.asked = [
            [(told(messages), told(kwargs)) for messages, kwargs in model.seen[mark:]]
            for model, mark in zip(side.models, marks, strict=True)
        ]
        seen.route = (held.get("decision") or {}).get("route")
        found.append(seen)
    return found


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
        return {**known, "text": value.text}
    if isinstance(value, Mapping):
        kept = {key: one for key, one in value.items() if key not in OWN and not str(key).startswith("speceyes_")}
        return {key: told(one) for key, one in kept.items()}
    return [told(one) for one in value] if isinstance(value, list | tuple) else value


def said(streamed: Sequence[Any]) -> list[Any]:
    """Messages as a stream showed them, the parts of each put together."""
    shown: list[Any] = []
    for _, parts in itertools.groupby((message for message, _ in streamed), key=lambda message: message.id):
        whole = list(parts)
        words = "".join(part.text for part in whole)
        made = [call["name"] for part in whole for call in getattr(part, "tool_calls", [])]
        shown.append((whole[0].type.removesuffix("MessageChunk"), words, made, len(whole)))
    return shown


def same(alone: Sequence[Seen], wrapped: Sequence[Seen]) -> None:
    """Fail unless two threads went alike, run for run and in all that can be seen."""
    assert len(alone) == len(wrapped)
    for run, (one, other) in enumerate(zip(alone, wrapped, strict=True)):
        for name in ("raised", "interrupts", "asked", "output", "state", "sent", "said"):
            if name in ("output", "state") and (one.interrupts or one.raised):
                # what it has done so far lies in the agent's own checkpoints, until the run goes on or is given up
                continue
            assert getattr(other, name) == getattr(one, name), f"run {run}: {name}"


Build = Callable[[], Side]

__all__ = ["CONFIG", "WAYS", "AIMessageChunk", "Build", "Input", "Seen", "Side", "Way", "play", "said", "same", "told"]
