"""What an agent had done when its run was given up: it failed, was cancelled, or waits, and something new is asked.

Alone, an agent has in its thread what its finished nodes wrote. Behind the bypass that lies in checkpoints of the run
that was given up, and the state around it ends with that run's question.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.config import get_config
from langgraph.graph.message import add_messages
from langgraph.types import Overwrite, StateSnapshot

from langgraph_speceyes.behind.agent import Agent
from langgraph_speceyes.behind.channels import accumulates, around, exactly, merges_messages, passes, untracked
from langgraph_speceyes.behind.history import same
from langgraph_speceyes.behind.schema import MESSAGES
from langgraph_speceyes.errors import describe_error

MARK = "speceyes_query"
"""Key of a run's metadata, and so of its checkpoints' metadata, that names the query."""
NODES = ("agent", "race")
"""Nodes that an agent runs in."""
CHECKPOINTER = "__pregel_checkpointer"
"""Where LangGraph hands a checkpointer down."""

_logger = logging.getLogger(__name__)
_NONE = object()


def marked(config: RunnableConfig, query: str) -> RunnableConfig:
    """The config of an agent's run that can be found again.

    Args:
        config: A node's config.
        query: The query's id.
    """
    return {**config, "metadata": {**(config.get("metadata") or {}), MARK: query}}


class Abandoned:
    """Puts what an agent had done into the state around it, below what is new.

    It does nothing where there is no checkpointer, or where it cannot be told what the agent had done.

    Args:
        agent: The agent.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def find(self, state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a run given up has changed; called in a node, at the beginning of the next run.

        Returns:
            The values of the state that it changed, and the update that sets them.
        """
        try:
            place = _Place.of(state) if self.agent.local else None
            if place is None or self.agent.local is None:
                return {}, {}
            ends = place.ends(place.saver.list(place.thread, filter=place.filter))
            found = [self.agent.local.get_state(config) for config in ends]
            return self._joined(state, found)
        except Exception as error:
            return _lost(error)

    async def afind(self, state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a run given up has changed; see :meth:`find`."""
        try:
            place = _Place.of(state) if self.agent.local else None
            if place is None or self.agent.local is None:
                return {}, {}
            ends = place.ends([one async for one in place.saver.alist(place.thread, filter=place.filter)])
            found = [await self.agent.local.aget_state(config) for config in ends]
            # images are read off the event loop
            return await asyncio.to_thread(self._joined, state, found)
        except Exception as error:
            return _lost(error)

    def _joined(
        self, state: Mapping[str, Any], found: Sequence[StateSnapshot]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the run had done, with what has come since on top."""
        if len(found) != 2 or not found[1].next:
            return {}, {}
        began, done = (one.values for one in found)
        memory = state.get("speceyes_agent")
        held = {**(memory["kept"] if memory else {}), **state}
        values, update = dict[str, Any](), dict[str, Any]()
        for key, channel in self.agent.channels.items():
            if key not in done or passes(channel) or untracked(channel):
                continue
            now = held.get(key, _NONE)
            if key == MESSAGES:
                # the caller's own list takes the place of what was there, also where it is the same one again
                if accumulates(channel):
                    self._join_messages(began.get(key), done[key], now, values, update)
                continue
            value = _joined(began.get(key, _NONE), done[key], now, accumulates(channel))
            if not same(value, now):
                values[key], update[key] = value, exactly(around(channel), value)
        return values, update

    def _join_messages(self, began: Any, done: Any, now: Any, values: dict[str, Any], update: dict[str, Any]) -> None:
        channel, shown = self.agent.channels[MESSAGES], self.agent.readable(now)
        if merges_messages(channel):
            value = _merged(began or [], done, shown)
        else:
            value = _joined(_NONE if began is None else began, done, shown, True)
        if same(value, shown):
            return
        values[MESSAGES] = value
        said = self.agent.said(now, self.agent.restored(now, shown, value))
        # as a whole: streams would show a list of messages as new ones, and the run given up has shown them
        update[MESSAGES] = Overwrite(add_messages(now or [], said)) if isinstance(said, list) else said


@dataclass(frozen=True)
class _Place:
    """Where the checkpoints of a run given up are."""

    saver: BaseCheckpointSaver[Any]
    thread: RunnableConfig
    filter: dict[str, Any]
    parent: str

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> _Place | None:
        """The place, by the records that the run left; None where the last run came to its end."""
        query = state.get("speceyes_query")
        if not query or state.get("decision") is not None:
            return None
        settings = get_config().get("configurable") or {}
        saver, thread = settings.get(CHECKPOINTER), settings.get("thread_id")
        if not isinstance(saver, BaseCheckpointSaver) or thread is None:
            return None
        parent = settings.get("checkpoint_ns", "").rpartition("|")[0]
        return cls(saver, {"configurable": {"thread_id": thread}}, {MARK: query["id"]}, parent)

    def ends(self, found: Iterable[CheckpointTuple]) -> list[RunnableConfig]:
        """The first and the last checkpoint of the agent's last run; none where it began no run."""
        runs: dict[str, list[tuple[str, CheckpointTuple]]] = {}
        for one in found:
            settings = one.config["configurable"]
            parent, _, name = settings.get("checkpoint_ns", "").rpartition("|")
            if parent == self.parent and name.split(":")[0] in NODES:
                runs.setdefault(name, []).append((settings["checkpoint_id"], one))
        if not runs:
            return []
        # ids of checkpoints are in the order of time
        run = sorted(max(runs.values(), key=lambda run: max(run)[0]), key=lambda pair: pair[0])
        (_, first), (_, last) = run[0], run[-1]
        if first.metadata.get("source") != "input":
            # durability "exit" keeps the end of a run only
            return []
        return [{"configurable": {**one.config["configurable"], CHECKPOINTER: self.saver}} for one in (first, last)]


def _merged(began: Sequence[BaseMessage], done: Sequence[BaseMessage], now: Any) -> Any:
    """Messages with ids: those of the run, with what came, changed or went since."""
    before = {message.id: message for message in began}
    ids = {message.id for message in now}
    left: Any = [message for message in done if message.id in ids or message.id not in before]
    return add_messages(left, [message for message in now if not same(before.get(message.id), message)])


def _joined(began: Any, done: Any, now: Any, accumulates: bool) -> Any:
    """One value of those that a run began with and came to, and of what it is now."""
    if same(done, began):
        return now
    if same(now, began):
        return done
    if not accumulates:
        return now
    if isinstance(now, list) and isinstance(began, list) and same(now[: len(began)], began):
        return [*done, *now[len(began) :]]
    if isinstance(now, dict) and isinstance(began, dict):
        return {**done, **{key: value for key, value in now.items() if not same(began.get(key, _NONE), value)}}
    if isinstance(now, set | frozenset):
        return done | (now - began)
    if isinstance(now, int | float):
        return done + (now - began)
    return now


def _lost(error: Exception) -> tuple[dict[str, Any], dict[str, Any]]:
    _logger.debug("what a run given up had done cannot be read: %s", describe_error(error))
    return {}, {}
