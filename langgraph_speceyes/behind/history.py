"""An agent's messages against those it was given: which are new, and which of them are its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

_SERIALIZER = JsonPlusSerializer()


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, also where they do not say so, as arrays do not; False where nothing tells."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:
        pass
    try:
        return _SERIALIZER.dumps_typed(one) == _SERIALIZER.dumps_typed(other)
    except Exception:
        return False


def new_messages(held: Any, messages: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """The messages of a run that were not there before, with their places, whether they have ids or not."""
    before = list(held or [])
    ids = {m.id for m in before if isinstance(m, BaseMessage) and m.id is not None}
    kept = 0
    while kept < min(len(before), len(messages)) and _same(before[kept], messages[kept]):
        kept += 1
    for index, message in enumerate(messages):
        identified = isinstance(message, BaseMessage) and message.id is not None
        if (identified and message.id not in ids) or (not identified and index >= kept):
            yield index, message


def answer_of(messages: Sequence[Any]) -> AIMessage | ToolMessage | None:
    """The message that is an agent's answer: the last one, also a tool's, else the newest of the model."""
    if messages and isinstance(last := messages[-1], AIMessage | ToolMessage):
        return last
    return next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)


def last_answer(messages: Sequence[Any]) -> list[Any]:
    """The end of a run's messages that is its answer: the last one, with the call that a tool's result belongs to."""
    if not messages:
        return []
    begin = len(messages) - 1
    if isinstance(messages[begin], ToolMessage):
        while begin and isinstance(messages[begin], ToolMessage):
            begin -= 1
        if not (isinstance(messages[begin], AIMessage) and messages[begin].tool_calls):
            begin += 1
        return list(messages[begin:])
    answer = next((m for m in reversed(messages) if isinstance(m, AIMessage) and not m.tool_calls), messages[-1])
    return [answer]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, BaseMessage) and isinstance(other, BaseMessage) and one.id and other.id:
        return one.id == other.id
    return same(one, other)
