"""Agents on a server of their own, for bypasses elsewhere."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

from langgraph_speceyes.testbed.pair import load_pair

_lock = threading.Lock()
_made: list[Any] = []


def _embedded() -> Any:
    with _lock:
        if not _made:
            import torch

            torch.set_num_threads(1)
            _made.append(load_pair().agent().compile(name="agent"))
        return _made[0]


async def agent() -> Any:
    """The embedded agent, without a bypass."""
    return await asyncio.to_thread(_embedded)


def ask(state: MessagesState) -> dict[str, Any]:
    """Two questions to a person."""
    first = interrupt("first?")
    second = interrupt("second?")
    return {"messages": [AIMessage(f"{first} and {second} after {len(state['messages'])}")]}


_graph = StateGraph(MessagesState)
_graph.add_node("ask", ask)
_graph.add_edge(START, "ask")
_graph.add_edge("ask", END)
asking = _graph.compile()
