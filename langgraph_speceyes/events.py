"""Custom stream events: each decision as it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.config import get_stream_writer


def emit(event: str, record: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Send a record to those who stream with `stream_mode="custom"`.

    Args:
        event: ``"judge"``, ``"look"``, ``"speculate"``, ``"gate"`` or ``"decision"``.
        record: What is sent: ``{"type": "speceyes", "event", "query": id, **record}``. The id is the same for all
            events of one query.
        state: The state, for the id.
    """
    query = (state.get("speceyes_query") or {}).get("id")
    get_stream_writer()({"type": "speceyes", "event": event, "query": query, **record})
