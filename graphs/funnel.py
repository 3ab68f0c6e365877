"""Many queries at once over the embedded pair, which it shares with the graph in `embedded.py`."""

from __future__ import annotations

from typing import Any

from langgraph.graph.state import CompiledStateGraph

from graphs.shared import embedded_pair, factory, image_policy
from langgraph_speceyes import create_funnel


@factory
def graph() -> CompiledStateGraph[Any, Any, Any, Any]:
    """The compiled graph: `{"queries": [[message], ...]}` to `{"outcomes": [...]}`."""
    return create_funnel(embedded_pair().speceyes(policy=image_policy())).compile(name="funnel")
