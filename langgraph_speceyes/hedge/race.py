"""The front end and the agent at the same time: the agent is cancelled when the gate accepts."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphInterrupt
from langgraph.graph import END
from langgraph.pregel import Pregel

from langgraph_speceyes.behind.agent import Agent
from langgraph_speceyes.behind.fallback import Fallback, Ran
from langgraph_speceyes.behind.meter import Meter
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.front.alone import alone
from langgraph_speceyes.front.end import FrontEnd
from langgraph_speceyes.front.nested import NestedRun, arun_nested, run_nested
from langgraph_speceyes.front.route import accepted
from langgraph_speceyes.hedge.held import HeldStream
from langgraph_speceyes.models.waiting import on_thread
from langgraph_speceyes.nodes import SubgraphNode
from langgraph_speceyes.state import Hedge, query_id

FOUND = ("speceyes_judgment", "speceyes_speculation", "speceyes_verdict")
"""What the front end leaves."""
SCRATCHPAD = "__pregel_scratchpad"
"""Where LangGraph counts what a node runs."""


class Race:
    """Judge, speculator and gate beside the agent, in one node: a step of the graph waits for all of its branches.

    What the gate accepts cancels the agent, of which nothing enters the state or a stream. Otherwise its run is the
    fallback. An agent that stops for an interrupt while it races is run again by the node of its own: there the front
    end is over and on record, so that whoever answers resumes the agent and nothing else.

    Args:
        front: The front end.
        keys: Keys of the agent's state.
        fallback: The agent.
    """

    def __init__(self, front: FrontEnd, keys: Collection[str], fallback: Fallback) -> None:
        self.front, self.fallback, self.scope = alone(front, keys), fallback, front.scope

    def node(self, trace_images: bool = False) -> SubgraphNode:
        """The race as a node.

        Args:
            trace_images: Whether the runs beneath show images instead of their digests.
        """
        return SubgraphNode(self._run, self._arun, self.fallback.agent.runnable, trace_images=trace_images)

    def _run(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        meter, held, run = Meter(), HeldStream(), NestedRun()
        front = on_thread(lambda: run_nested(self.front, state, _apart(config), run))
        agent = on_thread(lambda: self._watched(state, held.config(meter.config(config)), meter))
        ran: Ran | None = None
        try:
            both: set[Future[Any]] = {front, agent}
            wait(both, return_when=FIRST_COMPLETED)
            if not _answered(agent):
                wait({front})
            hedge = self._settled(front, agent, meter, run)
            if not hedge["cancelled"]:
                if not hedge["interrupted"]:
                    held.release()
                try:
                    # that of an agent that was cancelled is nobody's
                    with self.fallback.failure_reported({**state, **run.values}):
                        ran = agent.result()
                except GraphInterrupt:
                    hedge = meter.hedge(cancelled=True, interrupted=True)
        finally:
            self._abandon(state, run)
            if ran is None:
                # its thread ends at its next step; nobody waits for it
                meter.stop()
        return self._update(state, config, run.values, hedge, ran)

    async def _arun(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        meter, held, run = Meter(), HeldStream(), NestedRun()
        front = asyncio.create_task(arun_nested(self.front, state, _apart(config), run))
        agent = asyncio.create_task(self._awatched(state, held.config(meter.config(config)), meter))
        ran: Ran | None = None
        try:
            await asyncio.wait({front, agent}, return_when=asyncio.FIRST_COMPLETED)
            if not _answered(agent):
                await front
            hedge = self._settled(front, agent, meter, run)
            if not hedge["cancelled"]:
                if not hedge["interrupted"]:
                    held.release()
                try:
                    with self.fallback.failure_reported({**state, **run.values}):
                        ran = await agent
                except GraphInterrupt:
                    hedge = meter.hedge(cancelled=True, interrupted=True)
        finally:
            self._abandon(state, run)
            await _cancelled(front)
            if ran is None:
                meter.stop()
                await _cancelled(agent)
        return self._update(state, config, run.values, hedge, ran)

    def _settled(self, front: Any, agent: Any, meter: Meter, run: NestedRun) -> Hedge:
        """Which side settles the question: an agent that has its answer first, else the front end."""
        if _answered(agent) and not front.done():
            run.abandoned = True
            return meter.hedge(agent_first=True)
        front.result()
        return meter.hedge(cancelled=accepted(run.values), interrupted=_interrupted(agent))

    def _abandon(self, state: Any, run: NestedRun) -> None:
        run.abandoned = True
        self.scope.leave(query_id(state))

    def _watched(self, state: Any, config: RunnableConfig, meter: Meter) -> Ran:
        # a graph adds the ambient config's callbacks to those of its own
        token = var_child_runnable_config.set(config)
        try:
            return self.fallback.run(_copied(state), config, meter)
        finally:
            meter.end()
            var_child_runnable_config.reset(token)

    async def _awatched(self, state: Any, config: RunnableConfig, meter: Meter) -> Ran:
        # a graph adds the ambient config's callbacks to those of its own
        token = var_child_runnable_config.set(config)
        try:
            return await self.fallback.arun(await asyncio.to_thread(_copied, state), config, meter)
        finally:
            meter.end()
            var_child_runnable_config.reset(token)

    def _update(
        self, state: Any, config: RunnableConfig, last: dict[str, Any], hedge: Hedge, ran: Ran | None
    ) -> dict[str, Any]:
        found = {key: last.get(key) for key in FOUND}
        if (depths := last.get("speceyes_depths")) is not None:
            found["speceyes_depths"] = depths
        update: dict[str, Any] = {**found, "speceyes_query": {**state["speceyes_query"], "hedge": hedge}}
        if ran is not None:
            both: Any = {**state, **update}
            update |= self.fallback.update(both, ran)
        self.fallback.notes.phase(config, state, update)
        return update


def check_forgetful(agent: Agent) -> None:
    """A cancelled agent must leave nothing behind for the next turn.

    Raises:
        ArgumentError: It keeps memory of its own.
    """
    inner = agent.runnable
    lasting = isinstance(inner, Pregel) and any(
        isinstance(one, Pregel) and one.checkpointer is True
        for one in (inner, *(graph for _, graph in inner.get_subgraphs(recurse=True)))
    )
    if agent.remote or lasting:
        found = "one on another server" if agent.remote else "one with checkpoints of its own"
        raise ArgumentError("hedge", "an agent that remembers nothing between turns but its state", found)


def raced(state: Mapping[str, Any]) -> str:
    """Where a query goes after the race."""
    if state.get("decision") is not None:
        return END
    return "bypass" if accepted(state) else "agent"


def _apart(config: RunnableConfig) -> RunnableConfig:
    """A node's config for a graph that is not counted among those it runs.

    LangGraph numbers the graphs of a node as they begin, and the agent's checkpoints lie under its number.
    """
    settings = {key: value for key, value in config["configurable"].items() if key != SCRATCHPAD}
    return {**config, "configurable": settings}


def _copied(state: Any) -> Any:
    """A state that an agent may change in place, as some do, and be cancelled.

    Values that cannot be copied are shared, as they are between the nodes of any graph.
    """
    copied = {}
    for key, value in state.items():
        try:
            copied[key] = copy.deepcopy(value)
        except Exception:
            copied[key] = value
    return copied


def _interrupted(agent: Future[Ran] | asyncio.Future[Ran]) -> bool:
    return agent.done() and not agent.cancelled() and isinstance(agent.exception(), GraphInterrupt)


def _answered(agent: Future[Ran] | asyncio.Future[Ran]) -> bool:
    return agent.done() and not agent.cancelled() and agent.exception() is None


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not report it
