"""Waiting for something to happen, never for a time to pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""After so long a test gives up on what should have happened. Nothing is meant to come near it."""


def until(condition: Callable[[], object]) -> None:
    """Block until something is so."""
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.001)


async def auntil(condition: Callable[[], object]) -> None:
    """Wait until something is so; the event loop goes on."""
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        await asyncio.sleep(0.001)
