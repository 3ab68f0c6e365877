"""Bypasses whose traffic is watched, over models that answer at once; the agent takes its time, and notes its runs."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.config import get_config
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_speceyes import Gate, create_speceyes
from langgraph_speceyes.bench.canned import Canned, content, message
from langgraph_speceyes.traffic import SQLiteJournal, StoreJournal


async def act(state: MessagesState) -> dict[str, Any]:
    """The agent; it fails in audits of questions about failures."""
    config = get_config()
    audited = config["metadata"].get("speceyes_audit_of", "")
    line = f"{config['metadata'].get('run_id')} {audited} {config['configurable'].get('speceyes_group')}\n"
    await asyncio.to_thread(_note, line)
    await asyncio.sleep(0.2)
    if audited and "fail" in state["messages"][-1].text:
        raise RuntimeError("the tools are down")
    return {"messages": [AIMessage("blue")]}


def _note(line: str) -> None:
    with open(os.environ["WATCHED_JOURNAL"] + ".runs", "a") as file:
        file.write(line)


_agent: Any = StateGraph(MessagesState)
_agent.add_node("act", act)
_agent.add_edge(START, "act")


def _watched(journal: Any) -> Any:
    speculator = Canned(say=lambda _: message("blue", content("blue")))
    gate = Gate("odds", 0.98, 20)
    return create_speceyes(_agent.compile(), speculator=speculator, gate=gate, journal=journal, audit=1.0).compile()


file = _watched(SQLiteJournal(os.environ["WATCHED_JOURNAL"], texts=True))
store = _watched(StoreJournal(texts=True))
