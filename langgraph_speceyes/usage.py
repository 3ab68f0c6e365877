"""How many tokens a model says that a call took."""

from __future__ import annotations

from collections.abc import Mapping

from langchain_core.messages import AIMessage

_MOST = 10**15
"""Tokens beyond which a number is no count."""


def usage(message: AIMessage) -> dict[str, int]:
    """Tokens read and written, zero where the model does not say, or says what is no number of tokens."""
    found: object = message.usage_metadata
    said = found if isinstance(found, Mapping) else {}
    return {"input": _count(said.get("input_tokens")), "output": _count(said.get("output_tokens"))}


def _count(value: object) -> int:
    # neither NaN nor an infinity lies between two numbers
    return int(value) if isinstance(value, int | float) and 0 <= value <= _MOST else 0
