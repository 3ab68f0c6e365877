"""What a caller gives beside the input, context, limit and updates: the agent has of it what it would have alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.types import Command
from pydantic import BaseModel

from langgraph_speceyes.front.settings import KEYS

OF_CALL = "__pregel_speceyes_call"
"""Where the nodes find the call; LangGraph keeps what begins so out of checkpoints, and so do audits."""


@dataclass(frozen=True)
class Call:
    """What of a call of the bypass is the agent's.

    Attributes:
        limit: Its recursion limit, where the bypass needs a higher one for itself; None where it has the same.
        update: What comes beside the answer to an interrupt.
    """

    limit: int | None = None
    update: tuple[tuple[str, Any], ...] = ()


def called(input: Any, config: RunnableConfig | None, own: RunnableConfig | None, nodes: int) -> RunnableConfig | None:
    """The config to run a bypass with, in which the agent's part is noted.

    The phases take steps of their own, which must not count against a limit that was set for the agent.

    Args:
        input: The bypass's input.
        config: What the caller gave.
        own: What the bypass was bound to.
        nodes: How many nodes the bypass has; it comes to each at most once.
    """
    ambient = var_child_runnable_config.get()
    limits = [one["recursion_limit"] for one in (config, own, ambient) if one and one.get("recursion_limit")]
    least = nodes + 2
    limit = limits[0] if limits and 0 < limits[0] < least else None
    update: tuple[tuple[str, Any], ...] = ()
    if isinstance(input, Command) and input.graph is None and input.resume is not None and input.update is not None:
        update = tuple(input._update_as_tuples())
    if limit is None and not update:
        return config
    given = config or RunnableConfig()
    settings = {**(given.get("configurable") or {}), OF_CALL: Call(limit, update)}
    noted = RunnableConfig(**{**given, "configurable": settings})
    return noted if limit is None else RunnableConfig(**{**noted, "recursion_limit": least})


def call_of(config: Mapping[str, Any]) -> Call:
    """The call that a node is part of."""
    found = (config.get("configurable") or {}).get(OF_CALL)
    return found if isinstance(found, Call) else Call()


def for_agent(config: RunnableConfig) -> RunnableConfig:
    """A node's config as the agent is to have it."""
    settings = config.get("configurable") or {}
    if OF_CALL not in settings:
        return config
    limit = call_of(config).limit
    without = {key: value for key, value in settings.items() if key != OF_CALL}
    limits = {} if limit is None else {"recursion_limit": limit}
    return RunnableConfig(**{**config, **limits, "configurable": without})  # type: ignore[typeddict-item]


def apart(context: Any, schema: type[Any] | None, config: RunnableConfig | None) -> tuple[Any, RunnableConfig | None]:
    """The context as the agent's own, of its own class, and a config with the run's settings that came in it.

    Args:
        context: What the caller gave.
        schema: What the agent wants.
        config: The config to run with.
    """
    if not isinstance(schema, type) or not isinstance(context, dict):
        return context, config
    if issubclass(schema, BaseModel):
        named = set(schema.model_fields)
    elif is_dataclass(schema):
        named = {field.name for field in fields(schema)}
    else:
        return context, config
    settings = {key: context[key] for key in KEYS if context.get(key) is not None and key not in named}
    own = schema(**{key: value for key, value in context.items() if key not in KEYS or key in named})
    if not settings:
        return own, config
    given = config or RunnableConfig()
    both = {**(given.get("configurable") or {}), **settings}
    return own, RunnableConfig(**{**given, "configurable": both})
