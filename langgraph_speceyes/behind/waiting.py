"""An agent that waits for a person: what it is told beside the person's answer.

`Command(resume=..., update=...)` changes the state of the graph that it is given to, which is the one around the agent;
the agent goes on from its own.
"""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from langgraph_speceyes.behind.abandoned import CHECKPOINTER
from langgraph_speceyes.behind.agent import Agent
from langgraph_speceyes.behind.caller import call_of
from langgraph_speceyes.behind.schema import MESSAGES
from langgraph_speceyes.images import off_loop


def resume_update(agent: Agent, config: RunnableConfig) -> Command[Any] | None:
    """What an agent that waits is told beside the answer; None where it does not wait, or is told nothing.

    Args:
        agent: The agent.
        config: The config of the node that it runs in.
    """
    update = _update(agent, config)
    waits = update and agent.local is not None and agent.local.get_state(_place(config)).next
    return Command(update=update) if waits else None


async def aresume_update(agent: Agent, config: RunnableConfig) -> Command[Any] | None:
    """What an agent that waits is told beside the answer; see :func:`resume_update`."""
    if not call_of(config).update:
        return None
    # images are read off the event loop
    update = await off_loop(_update, agent, config)
    waits = update and agent.local is not None and (await agent.local.aget_state(_place(config))).next
    return Command(update=update) if waits else None


def _update(agent: Agent, config: RunnableConfig) -> list[tuple[str, Any]]:
    if (config.get("configurable") or {}).get(CHECKPOINTER) is None:
        return []
    found = [(key, value) for key, value in call_of(config).update if key in agent.channels]
    return [(key, agent.readable(value) if key == MESSAGES else value) for key, value in found]


def _place(config: RunnableConfig) -> RunnableConfig:
    """Where the agent's checkpoints are."""
    settings = config.get("configurable") or {}
    place = {key: settings[key] for key in ("thread_id", "checkpoint_ns", CHECKPOINTER) if key in settings}
    return RunnableConfig(configurable=place)
