"""Custom stream events: each decision as it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.config import get_stream_writer


def emit(event: str, record: Mapping[str, Any]) -> None:
    """Send a record to those who stream with `stream_mode="custom"`: ``{"type": "speceyes", "event", **record}``."""
    get_stream_writer()({"type": "speceyes", "event": event, **record})
