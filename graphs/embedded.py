"""The bypass over the embedded pair: no endpoint, no GPU."""

from __future__ import annotations

from typing import Any

from langgraph.graph.state import CompiledStateGraph

from graphs.shared import embedded_pair, factory, image_policy


@factory
def graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """The compiled graph; the server brings checkpointer and store."""
    return embedded_pair().speceyes(policy=image_policy()).compile(name="speceyes")
