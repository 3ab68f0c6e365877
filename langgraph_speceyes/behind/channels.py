"""What the class of a channel means for the state around an agent: how it is kept, set and emptied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from langgraph.channels import (
    AnyValue,
    BinaryOperatorAggregate,
    EphemeralValue,
    LastValue,
    Topic,
    UntrackedValue,
)
from langgraph.channels.base import BaseChannel
from langgraph.channels.delta import DeltaChannel
from langgraph.graph.message import add_messages
from langgraph.types import Overwrite

from langgraph_speceyes.images import MessagesChannel

CLEARED = "__speceyes_cleared__"
"""In an `Overwrite`: the key is to have no value. Text, since a checkpoint holds pending writes."""


class Mirror(BaseChannel[Any, Any, Any]):
    """An agent's channel in the state around it: as it is alone, but an `Overwrite` sets or empties it.

    Args:
        inner: The agent's channel.
    """

    __slots__ = ("inner",)

    def __init__(self, inner: BaseChannel[Any, Any, Any]) -> None:
        super().__init__(inner.typ, inner.key)
        self.inner = inner

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mirror) and self.inner == other.inner

    __hash__ = BaseChannel.__hash__

    @property
    def ValueType(self) -> Any:
        """Type of the value."""
        return self.inner.ValueType

    @property
    def UpdateType(self) -> Any:
        """Type of an update."""
        return self.inner.UpdateType

    def copy(self) -> Self:
        """A copy."""
        return self._around(self.inner.copy())

    def checkpoint(self) -> Any:
        """What a checkpoint holds: the same as the agent's own."""
        return self.inner.checkpoint()

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """The channel that a checkpoint holds."""
        return self._around(self.inner.from_checkpoint(checkpoint))

    def update(self, values: Sequence[Any]) -> bool:
        """Apply updates as the agent's channel does; an `Overwrite` comes first and replaces what was there."""
        self.inner.key = self.key
        exact = [value.value for value in values if isinstance(value, Overwrite)]
        if not exact:
            return self.inner.update(values)
        self.inner = _emptied(self.inner)
        if not _clears(exact[-1]):
            self.inner.update([exact[-1]])
        if rest := [value for value in values if not isinstance(value, Overwrite)]:
            self.inner.update(rest)
        return True

    def get(self) -> Any:
        """The value."""
        return self.inner.get()

    def is_available(self) -> bool:
        """Whether there is a value."""
        return self.inner.is_available()

    def consume(self) -> bool:
        """Told that a step has read it."""
        return self.inner.consume()

    def finish(self) -> bool:
        """Told that the run ends."""
        return self.inner.finish()

    def _around(self, inner: BaseChannel[Any, Any, Any]) -> Self:
        twin = type(self)(inner)
        twin.key = self.key
        return twin


class TurnValue(UntrackedValue[Any]):
    """A value of one run, which no checkpoint holds; an `Overwrite` sets or empties it."""

    def update(self, values: Sequence[Any]) -> bool:
        """Take the last value."""
        if not values:
            return False
        last = values[-1]
        if isinstance(last, Overwrite):
            empty = _clears(last.value)
            self.value = _emptied(self).value if empty else last.value
            return True
        return super().update(values)


class Aggregate(BinaryOperatorAggregate[Any]):
    """As LangGraph's, but an `Overwrite` also sets one whose type has no empty value, and any callable may reduce."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        # LangGraph compares the names of reducers, which a `functools.partial` lacks
        return isinstance(other, BinaryOperatorAggregate) and self.operator is other.operator

    __hash__ = BaseChannel.__hash__

    def update(self, values: Sequence[Any]) -> bool:
        """Apply updates as LangGraph does to a channel that has a value."""
        exact = [value for value in values if isinstance(value, Overwrite)]
        if exact and not self.is_available():
            self.value, values = exact[0].value, exact
        return super().update(values)


def _clears(value: Any) -> bool:
    # arrays and the like cannot be compared with a text
    return isinstance(value, str) and value == CLEARED


def _emptied(channel: BaseChannel[Any, Any, Any]) -> Any:
    fresh = channel.copy().from_checkpoint(_nothing())
    fresh.key = channel.key
    return fresh


def _nothing() -> Any:
    """What an empty channel checkpoints."""
    return LastValue(Any).checkpoint()


def around(channel: BaseChannel[Any, Any, Any]) -> BaseChannel[Any, Any, Any]:
    """The channel that holds a key of an agent in the state around it."""
    if merges_messages(channel):
        return MessagesChannel()
    if passes(channel):
        return TurnValue(channel.typ, guard=False)
    if isinstance(channel, UntrackedValue):
        return TurnValue(channel.typ, guard=channel.guard)
    if isinstance(channel, BinaryOperatorAggregate | DeltaChannel):
        return _aggregate(channel).copy()
    return Mirror(channel.copy())


def within(channel: BaseChannel[Any, Any, Any]) -> BaseChannel[Any, Any, Any]:
    """The channel that an agent runs with: its own; images of merged messages stay out of its checkpoints."""
    if merges_messages(channel):
        return MessagesChannel()
    if isinstance(channel, Topic) and channel.accumulate:
        return Mirror(channel.copy())
    return _aggregate(channel)


def _aggregate(channel: BaseChannel[Any, Any, Any]) -> BaseChannel[Any, Any, Any]:
    """The channel, as an :class:`Aggregate` where it is LangGraph's."""
    if type(channel) is not BinaryOperatorAggregate:
        return channel
    twin = Aggregate(channel.typ, channel.operator)
    twin.key = channel.key
    return twin


def merges_messages(channel: BaseChannel[Any, Any, Any]) -> bool:
    """Whether it is one of messages with LangGraph's `add_messages` reducer."""
    return isinstance(channel, MessagesChannel) or (
        isinstance(channel, BinaryOperatorAggregate) and channel.operator is add_messages
    )


def accumulates(channel: BaseChannel[Any, Any, Any]) -> bool:
    """Whether an update is put together with what is there, instead of taking its place."""
    inner = channel.inner if isinstance(channel, Mirror) else channel
    return isinstance(inner, BinaryOperatorAggregate | DeltaChannel | Topic) and not passes(inner)


def passes(channel: BaseChannel[Any, Any, Any]) -> bool:
    """Whether its value is gone after one step, so that it belongs into an input and not into a state."""
    return isinstance(channel, EphemeralValue | AnyValue) or (isinstance(channel, Topic) and not channel.accumulate)


def untracked(channel: BaseChannel[Any, Any, Any]) -> bool:
    """Whether no checkpoint holds its value."""
    return isinstance(channel, UntrackedValue)


def exactly(channel: BaseChannel[Any, Any, Any], value: Any) -> Any:
    """The update that makes a channel of :func:`around` or :func:`within` hold just this value."""
    takes = isinstance(channel, BinaryOperatorAggregate | DeltaChannel | Mirror | TurnValue)
    return Overwrite(value) if takes else value


def emptied() -> Any:
    """The update that takes the value out of a :class:`Mirror` or :class:`TurnValue`."""
    return Overwrite(CLEARED)
