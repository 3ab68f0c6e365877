"""Bypasses whose traffic is watched, over models that answer at once; the agent takes its time."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_speceyes import Gate, create_speceyes
from langgraph_speceyes.bench.canned import Canned, content, message
from langgraph_speceyes.traffic import SQLiteJournal, StoreJournal


async def act(state: MessagesState) -> dict[str, Any]:
    """The agent."""
    await asyncio.sleep(0.2)
    return {"messages": [AIMessage("blue")]}


_agent: Any = StateGraph(MessagesState)
_agent.add_node("act", act)
_agent.add_edge(START, "act")


def _watched(journal: Any) -> Any:
    speculator = Canned(say=lambda _: message("blue", content("blue")))
    gate = Gate("odds", 0.98, 20)
    return create_speceyes(_agent.compile(), speculator=speculator, gate=gate, journal=journal, audit=1.0).compile()


file = _watched(SQLiteJournal(os.environ["WATCHED_JOURNAL"], texts=True))
store = _watched(StoreJournal(texts=True))
