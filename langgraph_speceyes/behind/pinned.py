"""The images of the question, handed to an agent's tools: its own messages may hide or remove them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.agent import PINNED_IMAGES
from langgraph_speceyes.images import ImageRef
from langgraph_speceyes.question import question_at


def with_images(config: RunnableConfig, adapter: StateAdapter, state: Mapping[str, Any]) -> RunnableConfig:
    """The config of an agent's run that names the question's images."""
    images = question_images(adapter, state)
    if not images:
        return config
    settings = {**(config.get("configurable") or {}), PINNED_IMAGES: [image.uri for image in images]}
    return {**config, "configurable": settings}


def question_images(adapter: StateAdapter, state: Mapping[str, Any]) -> Sequence[ImageRef]:
    """The images of the question that a run is about; none where they cannot be found."""
    query = state.get("speceyes_query")
    if not query or not query["turn"]:
        return ()
    try:
        return question_at(adapter.messages(state), query["turn"]).images
    except Exception:
        # the agent may do without
        return ()
