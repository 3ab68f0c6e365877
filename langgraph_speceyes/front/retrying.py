"""Trying a model call again, by LangGraph's policies."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from langgraph.types import RetryPolicy

Value = TypeVar("Value")


class Retries:
    """What LangGraph does with a node's `retry_policy`, for a phase that never fails as a node.

    The first policy that takes an error counts, as in LangGraph. A pause that would end behind the call's time limit is
    not begun.

    Args:
        policies: The policies; none tries once.
    """

    def __init__(self, policies: Sequence[RetryPolicy] = ()) -> None:
        self.policies = policies

    def run(self, attempt: Callable[[], Value], until: float, failed: Callable[[], object]) -> Value:
        """Try until it succeeds, or no policy goes on.

        Args:
            attempt: What to do.
            until: Moment of the time limit, by the monotonic clock.
            failed: Told of each failure behind which there is another attempt.
        """
        attempts = 0
        while True:
            try:
                return attempt()
            except Exception as error:
                attempts += 1
                if (pause := self._pause(error, attempts, until)) is None:
                    raise
            failed()
            time.sleep(pause)

    async def arun(self, attempt: Callable[[], Awaitable[Value]], until: float, failed: Callable[[], object]) -> Value:
        """Try until it succeeds; see :meth:`run`."""
        attempts = 0
        while True:
            try:
                return await attempt()
            except Exception as error:
                attempts += 1
                if (pause := self._pause(error, attempts, until)) is None:
                    raise
            failed()
            await asyncio.sleep(pause)

    def _pause(self, error: Exception, attempts: int, until: float) -> float | None:
        """Seconds until the next attempt; None for no more."""
        policy = next((one for one in self.policies if _takes(one, error)), None)
        if policy is None or attempts >= policy.max_attempts:
            return None
        pause = min(policy.max_interval, policy.initial_interval * policy.backoff_factor ** (attempts - 1))
        pause += random.uniform(0, 1) if policy.jitter else 0.0
        return pause if time.monotonic() + pause < until else None


def _takes(policy: RetryPolicy, error: Exception) -> bool:
    kinds = policy.retry_on
    if isinstance(kinds, type):
        return isinstance(error, kinds)
    return isinstance(error, tuple(kinds)) if isinstance(kinds, Sequence) else kinds(error)
