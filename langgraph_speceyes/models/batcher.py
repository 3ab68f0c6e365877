"""Calls that arrive together share one forward pass."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from langgraph_speceyes.errors import ArgumentError, ClosedError, QueueFullError

Item = TypeVar("Item")
Result = TypeVar("Result")

# An expectation that nobody kept (a cancelled run) is forgotten after this many seconds.
_FORGET_S = 60.0


@dataclass
class BatchStats:
    """What a batcher has done so far.

    Attributes:
        batches: Forward batches run.
        calls: Calls served in them.
        largest: Size of the largest batch.
    """

    batches: int = 0
    calls: int = 0
    largest: int = 0


@dataclass
class _Entry(Generic[Item, Result]):
    item: Item
    group: Hashable
    future: Future[Result]
    arrived: float = field(default_factory=time.monotonic)


class MicroBatcher(Generic[Item, Result]):
    """A queue in front of a function that serves many items at once, on a thread of its own.

    A batch starts as soon as it is full, or as soon as nobody is known to be on the way: callers announce themselves
    with :meth:`expect`, so a lone call never waits, and calls that are known to come are waited for, but never longer
    than `max_wait_s` after the first one arrived. Items are served first come, first served; an item that cannot share
    a batch with the first one (another `group`) waits for the next.

    Args:
        run: Serves a list of items, one result each in their order; runs on the batcher's thread.
        group: Items with equal groups may share a batch.
        max_batch: Most items in one batch.
        max_wait_s: Longest wait for announced items, in seconds.
        max_queue: Most items waiting; one more is refused.
        name: Name of the thread.

    Raises:
        ArgumentError: `max_batch` or `max_queue` is below 1, or `max_wait_s` below 0.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        group: Callable[[Item], Hashable] = lambda item: None,
        max_batch: int = 16,
        max_wait_s: float = 0.05,
        max_queue: int = 4096,
        name: str = "batcher",
    ) -> None:
        for argument, value, least in (("max_batch", max_batch, 1), ("max_queue", max_queue, 1)):
            if value < least:
                raise ArgumentError(argument, f"at least {least}", value)
        if max_wait_s < 0:
            raise ArgumentError("max_wait_s", "at least 0 seconds", max_wait_s)
        self.max_batch, self.max_wait_s, self.max_queue = max_batch, max_wait_s, max_queue
        self.stats = BatchStats()
        self._run, self._group, self._name = run, group, name
        self._waiting: list[_Entry[Item, Result]] = []
        self._expected: dict[Hashable, float] = {}
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def expect(self, key: Hashable) -> None:
        """Announce a call that will be submitted with this key, or be called off with :meth:`dismiss`."""
        with self._change:
            self._expected[key] = time.monotonic()

    def dismiss(self, key: Hashable) -> None:
        """Call an announcement off; unknown keys are ignored."""
        with self._change:
            if self._expected.pop(key, None) is not None:
                self._change.notify_all()

    def submit(self, item: Item, key: Hashable = None) -> Future[Result]:
        """Queue an item.

        Args:
            item: What to serve.
            key: The key under which it was announced, if it was.

        Returns:
            A future; cancelling it before its batch starts takes the item out of the queue.

        Raises:
            QueueFullError: `max_queue` items are waiting.
            ClosedError: The batcher was closed.
        """
        entry: _Entry[Item, Result] = _Entry(item, self._group(item), Future())
        with self._change:
            if self._closed:
                raise ClosedError("the model was closed")
            self._expected.pop(key, None)
            if len(self._waiting) >= self.max_queue:
                self._change.notify_all()
                raise QueueFullError(
                    f"{len(self._waiting)} calls are waiting, all that max_queue allows; send fewer at once or raise it"
                )
            self._waiting.append(entry)
            if self._thread is None:
                # a weak reference: a batcher that nobody holds any more ends its thread
                self._thread = threading.Thread(
                    target=_serve, args=(weakref.ref(self), self._change), name=self._name, daemon=True
                )
                self._thread.start()
            self._change.notify_all()
        return entry.future

    def close(self) -> None:
        """Stop the thread; items still waiting fail."""
        with self._change:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            self._change.notify_all()
        for entry in waiting:
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_exception(ClosedError("the model was closed"))

    def _patience(self) -> float:
        """Seconds still to wait before the next batch starts; call with the lock held and items waiting."""
        now = time.monotonic()
        self._expected = {k: t for k, t in self._expected.items() if now - t < _FORGET_S}
        if len(self._waiting) >= self.max_batch or not self._expected:
            return 0.0
        return max(0.0, self._waiting[0].arrived + self.max_wait_s - now)

    def _take(self) -> list[_Entry[Item, Result]]:
        """The next batch, out of the queue; cancelled items are dropped. Call with the lock held."""
        batch: list[_Entry[Item, Result]] = []
        left: list[_Entry[Item, Result]] = []
        for entry in self._waiting:
            fits = len(batch) < self.max_batch and (not batch or entry.group == batch[0].group)
            if not fits:
                left.append(entry)
            elif entry.future.set_running_or_notify_cancel():
                batch.append(entry)
        self._waiting = left
        return batch

    def _serve_one(self, batch: list[_Entry[Item, Result]]) -> None:
        self.stats.batches += 1
        self.stats.calls += len(batch)
        self.stats.largest = max(self.stats.largest, len(batch))
        try:
            results = self._run([entry.item for entry in batch])
        except BaseException as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            # one bad item must not fail its neighbours: serve them one by one
            for entry in batch:
                self._serve_one([entry])
            return
        for entry, result in zip(batch, results, strict=True):
            entry.future.set_result(result)


def _serve(reference: weakref.ref[MicroBatcher[Item, Result]], change: threading.Condition) -> None:
    while True:
        batcher = reference()
        if batcher is None:
            return
        with change:
            if batcher._closed:
                return
            if not batcher._waiting:
                del batcher
                change.wait(timeout=5.0)
                continue
            patience = batcher._patience()
            if patience > 0:
                change.wait(timeout=patience)
                continue
            batch = batcher._take()
        if batch:
            batcher._serve_one(batch)
        del batcher, batch


__all__ = ["BatchStats", "MicroBatcher"]
