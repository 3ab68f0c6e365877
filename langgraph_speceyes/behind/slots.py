"""A cap on how many agents run at once, the same for threads and tasks, and for every graph that shares it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

from langgraph_speceyes.errors import ArgumentError


def resolve_slots(value: int | Slots | None) -> Slots | None:
    """A cap on agent runs from what a caller gives.

    Raises:
        ArgumentError: It is neither a whole number of at least 1 nor a :class:`Slots`.
    """
    if value is None or isinstance(value, Slots):
        return value
    try:
        return Slots(value)
    except ArgumentError as error:
        raise ArgumentError("max_concurrent_agents", f"{error.expected}, or Slots", error.found) from None


class Slots:
    """A first-come, first-served semaphore for threads and event loops alike.

    LangGraph's `max_concurrency` counts within one graph's loop, so nested graphs exceed it. Give one `Slots` to
    several graphs and its limit holds over all of them.

    Args:
        limit: Most holders at once.

    Raises:
        ArgumentError: `limit` is no whole number of at least 1.
    """

    def __init__(self, limit: int) -> None:
        if type(limit) is not int or limit < 1:
            raise ArgumentError("limit", "a whole number of at least 1", repr(limit))
        self.limit = limit
        self.peak = 0
        """Most holders there ever were at once."""
        self._held = 0
        self._queue: deque[Future[None]] = deque()
        self._lock = threading.Lock()

    def _enter(self) -> Future[None]:
        ticket: Future[None] = Future()
        with self._lock:
            if self._held < self.limit:
                self._held += 1
                self.peak = max(self.peak, self._held)
                ticket.set_result(None)
            else:
                self._queue.append(ticket)
        return ticket

    def _leave(self) -> None:
        with self._lock:
            while self._queue:
                # cancelled waiters are passed over; the slot changes hands, so the count stays
                ticket = self._queue.popleft()
                if ticket.set_running_or_notify_cancel():
                    ticket.set_result(None)
                    return
            self._held -= 1

    def _abandon(self, ticket: Future[None]) -> None:
        # under the lock a slot is either not yet handed over, or handed over for good
        with self._lock:
            gone = ticket.cancel()
        if not gone:
            self._leave()

    @contextmanager
    def hold(self, stop: Future[None] | None = None) -> Iterator[None]:
        """Hold a slot, blocking the thread until there is one.

        Args:
            stop: When this is done, a thread that still waits leaves the queue.

        Raises:
            CancelledError: (of `concurrent.futures`) `stop` was done first.
        """
        ticket = self._enter()
        if stop is not None:
            stop.add_done_callback(lambda _: ticket.cancel())
        try:
            ticket.result()
        except BaseException:
            self._abandon(ticket)
            raise
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def ahold(self) -> AsyncIterator[None]:
        """Hold a slot, suspending the task until there is one."""
        ticket = self._enter()
        try:
            if not ticket.done():
                await asyncio.shield(asyncio.wrap_future(ticket))
        except BaseException:
            self._abandon(ticket)
            raise
        try:
            yield
        finally:
            self._leave()
