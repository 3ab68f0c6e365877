"""The agent once more as a run of its own on a LangGraph Server: in the server's queue, beside everybody's runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.config import get_config
from langgraph.runtime import get_runtime

from langgraph_speceyes.behind.agent import Agent
from langgraph_speceyes.behind.caller import for_agent
from langgraph_speceyes.behind.result import Result, returned
from langgraph_speceyes.errors import AgentError

TAG = "speceyes:audit"
LONGEST_S = 600.0
"""Longest wait for such a run, its time in the queue included."""

_NESTED = "|"
_SERVERS = ("__", "langgraph_", "checkpoint", "x-")
_OF_THE_RUN = ("thread_id", "run_id", "assistant_id", "graph_id", "cron_id", "user_id")


@dataclass
class OwnRun:
    """A run of the same assistant, in which the agent alone answers.

    It has no thread, so that the server deletes it when it is done.

    Attributes:
        assistant: The assistant's id.
        input: What the graph is asked.
        context: The settings of the run that it repeats, with the mode ``off``.
        metadata: What tells such runs apart.
        recursion_limit: That of the run that it repeats.
        sent: Whether the server was asked.
    """

    assistant: str
    input: dict[str, Any]
    context: dict[str, Any]
    metadata: dict[str, str]
    recursion_limit: int | None = None
    sent: bool = field(default=False, init=False)

    async def result(self) -> Result:
        """Have the server run it, and wait.

        Raises:
            AgentError: The run failed, or took too long.
            TypeError: Something in it cannot be sent as JSON; nothing was sent.
        """
        from langgraph_sdk import get_client

        config: Any = {"tags": [TAG]}
        if self.recursion_limit is not None:
            config["recursion_limit"] = self.recursion_limit
        # without a URL it is this very server, asked within the process and past its authentication
        async with get_client(url=None, api_key=None, timeout=LONGEST_S) as client:
            self.sent = True
            try:
                values = await asyncio.wait_for(
                    client.runs.wait(
                        None,
                        self.assistant,
                        input=self.input,
                        context=self.context,
                        config=config,
                        metadata=self.metadata,
                        on_completion="delete",
                        on_disconnect="cancel",
                    ),
                    LONGEST_S,
                )
            except TypeError:
                self.sent = False
                raise
            except TimeoutError as error:
                raise AgentError(f"the server had no answer within {LONGEST_S:g} s") from error
            except Exception as error:  # the server's word for what the run raised
                raise AgentError(f"its run on the server failed: {error}") from error
        return returned(values)


def own_run(agent: Agent, state: Mapping[str, Any], record: str) -> OwnRun | None:
    """The run that repeats the one under way with the agent alone; None where there can be none.

    There can be one within a LangGraph Server, where this graph is the assistant itself and no part of another, and
    where the input is all that the agent had:

    * A server that authenticates takes calls from within as nobody's, so that the agent would not act for the user.
    * What an agent keeps to itself between turns is in its thread, and the run has none.

    Args:
        agent: The agent.
        state: The state that the question was answered in.
        record: Id of the record that it is about.
    """
    if "langgraph_api" not in sys.modules:
        return None
    around: Any = for_agent(get_config())
    given: Mapping[str, Any] = around.get("configurable") or {}
    assistant = given.get("assistant_id")
    if not assistant or _NESTED in str(given.get("checkpoint_ns") or "") or agent.remote:
        return None
    if given.get("langgraph_auth_user") is not None:
        return None
    memory = state.get("speceyes_agent")
    if (memory and memory["kept"]) or any(key in state for key in agent.private):
        return None
    settings = {key: value for key, value in given.items() if not key.startswith(_SERVERS) and key not in _OF_THE_RUN}
    context = get_runtime().context
    return OwnRun(
        assistant=str(assistant),
        input={key: state[key] for key in agent.given if key in state},
        context={**settings, **(context if isinstance(context, Mapping) else {}), "speceyes_mode": "off"},
        metadata={"speceyes": "audit", "speceyes_audit_of": record},
        recursion_limit=around.get("recursion_limit"),
    )
