"""Masking what runs beneath a node: models, tools and subgraphs, whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.langchain import LangChainTracer
from langgraph.types import TracePolicy
from langsmith.run_trees import RunTree

from langgraph_speceyes.tracing.client import masking_view
from langgraph_speceyes.tracing.mask import mask_images


def _masked_state(state: Any) -> Any:
    """A state with digests in place of images; the bypass's own records hold none and are not searched."""
    if not isinstance(state, dict):
        return mask_images(state)
    masked = {k: v if k == "decision" or str(k).startswith("speceyes_") else mask_images(v) for k, v in state.items()}
    # the same object tells LangGraph that there is nothing to keep apart for tracers
    return masked if any(masked[k] is not v for k, v in state.items()) else state


_MASKED = TracePolicy(process_inputs=_masked_state, process_outputs=_masked_state)


def trace_policy(trace_images: bool = False) -> TracePolicy | None:
    """What a node's own run shows: by default its state with digests in place of images."""
    return None if trace_images else _MASKED


@contextmanager
def masked_beneath(config: RunnableConfig | None = None) -> Iterator[RunnableConfig]:
    """Mask the LangSmith runs started within the block, with the config yielded or with the ambient one.

    Other handlers, and what models and tools get, stay as they are. Without LangSmith's tracer nothing happens.

    Args:
        config: A node's config; None for the ambient one.

    Yields:
        The config to hand down.
    """
    if config is None:
        config = var_child_runnable_config.get() or {}
    callbacks = config.get("callbacks")
    if not isinstance(callbacks, BaseCallbackManager):
        yield config
        return
    swapped: dict[int, BaseCallbackHandler] = {}
    for handler in (*callbacks.handlers, *callbacks.inheritable_handlers):
        if isinstance(handler, LangChainTracer) and id(handler) not in swapped:
            _mask_run(handler.run_map.get(str(callbacks.parent_run_id)))
            swapped[id(handler)] = _masking(handler)
    if not swapped:
        yield config
        return
    manager = callbacks.copy()
    manager.handlers = [swapped.get(id(h), h) for h in callbacks.handlers]
    manager.inheritable_handlers = [swapped.get(id(h), h) for h in callbacks.inheritable_handlers]
    inner: RunnableConfig = {**config, "callbacks": manager}
    # who is called without a config takes the ambient one; who is called with one merges the two
    token = var_child_runnable_config.set(inner)
    try:
        yield inner
    finally:
        var_child_runnable_config.reset(token)


def _masking(tracer: LangChainTracer) -> LangChainTracer:
    """A tracer with the same runs and settings, of the same class, that sends through a masking client."""
    # tracers are their own copies, and a subclass may be built from other arguments
    twin = object.__new__(type(tracer))
    twin.__dict__.update(tracer.__dict__)
    twin.client = masking_view(tracer.client)
    return twin


def _mask_run(run: Any) -> None:
    """Mask the rest of a node's own run, and with it the runs that functions beneath it attach to it."""
    if not isinstance(run, RunTree):
        return
    run.ls_client = masking_view(run.client)
    if run.replicas:
        run.replicas = [{**r, "client": masking_view(c)} if (c := r.get("client")) else r for r in run.replicas]
