"""Calling an agent on another server as if it were here: its thread, its context, its interrupts."""

from __future__ import annotations

import uuid
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.pregel.protocol import PregelProtocol
from langgraph.runtime import get_runtime
from langgraph.types import Command, interrupt


class RemoteAgent(Runnable[Any, Any]):
    """A `RemoteGraph` in a node.

    LangGraph starts a remote graph from the beginning when the graph around it resumes, and a server takes only UUIDs
    as thread ids. Here a thread of any name has one thread of its own on the server, and the answer to an interrupt
    goes to where the remote agent stopped.

    Args:
        graph: The remote graph.
    """

    def __init__(self, graph: PregelProtocol[Any, Any, Any, Any]) -> None:
        self.graph = graph

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:
        """Run the agent, or go on where it was interrupted."""
        config = _threaded(config)
        step = self._resumed(config) or input
        while True:
            try:
                return self.graph.invoke(step, config, **_context())
            except GraphInterrupt as stopped:
                step = Command(resume=interrupt(_value(stopped)))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:
        """Run the agent; see :meth:`invoke`."""
        config = _threaded(config)
        step = await self._aresumed(config) or input
        while True:
            try:
                return await self.graph.ainvoke(step, config, **_context())
            except GraphInterrupt as stopped:
                step = Command(resume=interrupt(_value(stopped)))

    def _resumed(self, config: RunnableConfig) -> Command[Any] | None:
        answers = _answers(config)
        return _command(answers, self.graph.get_state(_only_thread(config))) if answers else None

    async def _aresumed(self, config: RunnableConfig) -> Command[Any] | None:
        answers = _answers(config)
        return _command(answers, await self.graph.aget_state(_only_thread(config))) if answers else None


def _threaded(config: RunnableConfig | None) -> RunnableConfig:
    """The config with a thread id that a server takes."""
    config = config or {}
    settings = dict(config.get("configurable") or {})
    thread = settings.get("thread_id")
    if thread is not None:
        try:
            settings["thread_id"] = str(uuid.UUID(str(thread)))
        except ValueError:
            settings["thread_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"langgraph-speceyes:{thread}"))
    return {**config, "configurable": settings}


def _only_thread(config: RunnableConfig) -> RunnableConfig:
    """A config for the thread's newest state on the server; this graph's own checkpoints mean nothing there."""
    return {"configurable": {"thread_id": config["configurable"]["thread_id"]}}


def _answers(config: RunnableConfig) -> list[Any]:
    """What was answered so far to this node's interrupts, the newest last; without a thread nothing can be."""
    found: list[Any] = []
    while "thread_id" in config["configurable"]:
        try:
            found.append(interrupt(None))
        except GraphInterrupt:
            break  # no further answer; what is caught here is shown to nobody
    return found


def _command(answers: list[Any], state: Any) -> Command[Any] | None:
    """The command that goes on, if the server's thread waits for an answer."""
    waits = any(task.interrupts for task in state.tasks)
    return Command(resume=answers[-1]) if waits else None


def _value(stopped: GraphInterrupt) -> Any:
    return stopped.args[0][0].value


def _context() -> dict[str, Any]:
    context = get_runtime().context
    return {} if context is None else {"context": context}
