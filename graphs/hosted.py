"""The bypass over OpenAI-compatible endpoints, such as two vLLM servers.

Set in the environment of the server:

    SPECEYES_SPECULATOR_MODEL   the small model
    SPECEYES_SPECULATOR_URL     its endpoint, such as http://localhost:8000/v1
    SPECEYES_AGENT_MODEL        the large model: judge, and the agent's model
    SPECEYES_AGENT_URL          its endpoint
    SPECEYES_GATE               path of a gate file; without one it is `Gate()`, which nobody calibrated
    SPECEYES_PROTOCOL           how the large model calls tools: native (default) or deepeyes
    SPECEYES_COORDINATES        what its boxes count: absolute (default), relative_1000 or resized
    SPECEYES_RESIZE             for resized: the family whose rule the server resizes images by, such as qwen2.5-vl
    SPECEYES_IMAGE_ROOTS        folders whose images callers may refer to by path; none without it
    OPENAI_API_KEY              the key of both endpoints; servers of your own may need none
"""

from __future__ import annotations

import os
from typing import Any

from langgraph.graph.state import CompiledStateGraph

from graphs.shared import factory, image_policy
from langgraph_speceyes import create_speceyes
from langgraph_speceyes.agent import create_visual_agent
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.models.hosted import hosted_model


@factory
def graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """The compiled graph.

    Raises:
        ArgumentError: A variable is missing, or has a value that cannot be used; the error names it.
    """
    key = os.environ.get("OPENAI_API_KEY")
    small = hosted_model(_set("SPECEYES_SPECULATOR_MODEL"), base_url=_set("SPECEYES_SPECULATOR_URL"), api_key=key)
    large = hosted_model(_set("SPECEYES_AGENT_MODEL"), base_url=_set("SPECEYES_AGENT_URL"), api_key=key)
    policy = image_policy()
    agent = create_visual_agent(
        large,
        protocol=os.environ.get("SPECEYES_PROTOCOL") or "native",
        coordinates=os.environ.get("SPECEYES_COORDINATES") or "absolute",
        resize=os.environ.get("SPECEYES_RESIZE") or None,
        policy=policy,
    )
    gate = os.environ.get("SPECEYES_GATE") or None
    return create_speceyes(agent, speculator=small, judge=large, gate=gate, policy=policy).compile(name="speceyes")


def _set(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise ArgumentError(variable, "a value in the server's environment", "none")
    return value
