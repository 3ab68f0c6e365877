"""The agent once more, on a question that has its answer: beside the run, with nothing of it kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.pregel import Pregel
from langgraph.runtime import Runtime

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.behind.agent import Agent, result_messages
from langgraph_speceyes.behind.caller import for_agent
from langgraph_speceyes.behind.history import answer_of, new_messages
from langgraph_speceyes.behind.pinned import with_images
from langgraph_speceyes.behind.result import Result
from langgraph_speceyes.behind.schema import MESSAGES
from langgraph_speceyes.behind.slots import Slots
from langgraph_speceyes.errors import AgentError
from langgraph_speceyes.images import off_loop
from langgraph_speceyes.state import Mode

RUNTIME = "__pregel_runtime"
_OURS = ("__pregel", "checkpoint")


class AgentAgain:
    """Runs an agent from the state that a question was answered in.

    It has the run's context, store and config, but neither its checkpoints nor its streams and callbacks.

    Args:
        agent: The agent.
        adapter: Where the question is in the state.
        slots: A cap on concurrent agent runs, or None.
        mode: The mode that a bypass within the agent is to be in.
    """

    def __init__(
        self, agent: Agent, adapter: StateAdapter, slots: Slots | None = None, *, mode: Mode | None = None
    ) -> None:
        if isinstance(graph := agent.runnable, Pregel):
            forgetful = copy.copy(graph)
            forgetful.checkpointer = None
            agent = replace(agent, runnable=forgetful)
        self.agent, self.adapter, self.slots, self.mode = agent, adapter, slots, mode

    def config(self, state: Mapping[str, Any]) -> RunnableConfig:
        """The config to run with, from that of the node under way."""
        around: Any = for_agent(get_config())
        given = around.get("configurable") or {}
        settings = {key: value for key, value in given.items() if not key.startswith(_OURS)}
        if self.mode is not None:
            settings["speceyes_mode"] = self.mode
        if isinstance(runtime := given.get(RUNTIME), Runtime):
            settings[RUNTIME] = Runtime(context=runtime.context, store=runtime.store)
        if self.agent.remote:
            # a thread on its server would remember the second answer
            settings.pop("thread_id", None)
        config = RunnableConfig(configurable=settings, run_name="audit", tags=["speceyes:audit"])
        if "recursion_limit" in around:
            config["recursion_limit"] = around["recursion_limit"]
        return config if self.agent.remote else with_images(config, self.adapter, state)

    def run(self, state: Mapping[str, Any], config: RunnableConfig) -> tuple[Mapping[str, Any], Any]:
        """Run the agent.

        Args:
            state: The state that the question is in.
            config: What :meth:`config` returned.

        Returns:
            What it returned, and the message among it that is its answer, if there is one.

        Raises:
            AgentError: It stopped for a person.
        """
        with self.slots.hold() if self.slots else nullcontext():
            return self.read(state, self.agent.invoke(self.agent.given_of(state, config).input, config))

    async def arun(self, state: Mapping[str, Any], config: RunnableConfig) -> tuple[Mapping[str, Any], Any]:
        """Run the agent; see :meth:`run`."""
        async with self.slots.ahold() if self.slots else nullcontext():
            # images are read off the event loop
            given = await off_loop(self.agent.given_of, state, config)
            return self.read(state, await self.agent.ainvoke(given.input, config))

    def read(self, state: Mapping[str, Any], result: Result) -> tuple[Mapping[str, Any], Any]:
        """What a run returned, and the message among it that is its answer; see :meth:`run`."""
        if result.stopped:
            raise AgentError("the agent stopped for a person")
        return result.values, said_of(self.agent, state, result)


def said_of(agent: Agent, state: Mapping[str, Any], result: Result) -> Any:
    """The message of a run that is the agent's answer, if there is one."""
    messages: Sequence[Any] = result_messages(agent, result)
    return answer_of([message for _, message in new_messages(state.get(MESSAGES), messages)])
