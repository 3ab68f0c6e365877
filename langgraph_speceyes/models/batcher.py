"""Calls that are under way together share forward passes."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from langgraph_speceyes.errors import ArgumentError, ClosedError, QueueFullError

Item = TypeVar("Item")
Result = TypeVar("Result")
Given = TypeVar("Given", covariant=True)
Made = TypeVar("Made", contravariant=True)

_logger = logging.getLogger(__name__)
# An expectation that nobody kept (a cancelled run) is forgotten after this many seconds.
_FORGET_S = 60.0
_CLOSED = "the model was closed"
# At exit each one's thread is ended: a thread that computes while the interpreter goes down takes the process with it.
_all: weakref.WeakSet[MicroBatcher[Any, Any]] = weakref.WeakSet()


@dataclass
class BatchStats:
    """What a batcher has done so far.

    Attributes:
        batches: Groups of calls that began together.
        calls: Calls in them.
        largest: Most calls that were under way together.
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


class Feed(Protocol[Given, Made]):
    """How a function that serves items takes further ones and hands out results.

    Items have numbers: those it began with are 0, 1, ..., those it takes later follow.
    """

    def more(self) -> Sequence[Given]:
        """Items that wait, as many as there is room for beside those that are not done yet; none is fine."""

    def done(self, number: int, result: Made, /) -> None:
        """An item's result."""

    def fail(self, number: int, error: Exception, /) -> None:
        """An item's failure, which leaves the others as they are."""


class MicroBatcher(Generic[Item, Result]):
    """A queue in front of a function that serves many items at once, on a thread of its own.

    A batch starts as soon as it is full, or as soon as nobody is known to be on the way: callers announce themselves
    with :meth:`expect`, so a lone call never waits, and calls that are known to come are waited for, but never longer
    than `max_wait_s` after the first one arrived. The function may let further items join while it runs. Items are
    served first come, first served; an item that cannot share a batch with the first one (another `group`) waits for
    the next, and nobody joins ahead of it.

    Args:
        run: Serves items, each of which it hands back as done or failed; runs on the batcher's thread. What it raises
            is the failure of the items left, each of which is first tried once more alone.
        group: Items with equal groups may share a batch.
        max_batch: Most items in one batch.
        max_wait_s: Longest wait for announced items, in seconds.
        max_queue: Most items waiting; one more is refused.
        name: Name of the thread.
        interrupt: Within what it returns, `run` ends soon on the thread it is given, by raising; None leaves it alone.

    Raises:
        ArgumentError: `max_batch` or `max_queue` is below 1, or `max_wait_s` below 0.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item], Feed[Item, Result]], None],
        *,
        group: Callable[[Item], Hashable] = lambda item: None,
        max_batch: int = 16,
        max_wait_s: float = 0.05,
        max_queue: int = 4096,
        name: str = "batcher",
        interrupt: Callable[[threading.Thread], AbstractContextManager[None]] | None = None,
    ) -> None:
        for argument, value, least in (("max_batch", max_batch, 1), ("max_queue", max_queue, 1)):
            if value < least:
                raise ArgumentError(argument, f"at least {least}", value)
        if max_wait_s < 0:
            raise ArgumentError("max_wait_s", "at least 0 seconds", max_wait_s)
        self.max_batch, self.max_wait_s, self.max_queue = max_batch, max_wait_s, max_queue
        self.stats = BatchStats()
        self._run, self._group, self._name, self._interrupt = run, group, name, interrupt
        self._closed = False
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """Have an empty queue and no thread."""
        self._waiting: list[_Entry[Item, Result]] = []
        self._expected: dict[Hashable, float] = {}
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

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
                raise ClosedError(_CLOSED)
            self._expected.pop(key, None)
            if len(self._waiting) >= self.max_queue:
                self._forget_cancelled()
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
        """End the thread, and wait until it has ended; items that wait or are under way fail with `ClosedError`."""
        with self._change:
            self._closed = True
            waiting, self._waiting = self._waiting, []
            self._change.notify_all()
        for entry in waiting:
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_exception(ClosedError(_CLOSED))
        thread = self._thread
        # a result's callback may close what has made it
        if thread is None or thread is threading.current_thread():
            return
        with self._interrupt(thread) if self._interrupt is not None and thread.is_alive() else nullcontext():
            thread.join()

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

    def _forget_cancelled(self) -> None:
        """Take those out of the queue whom nobody waits for; call with the lock held."""
        self._waiting = [entry for entry in self._waiting if not entry.future.cancelled()]

    def _join(self, group: Hashable, room: int) -> list[_Entry[Item, Result]]:
        """Items out of the queue to join a batch, none ahead of one that cannot."""
        joining: list[_Entry[Item, Result]] = []
        with self._change:
            self._forget_cancelled()
            while self._waiting and len(joining) < room and self._waiting[0].group == group and not self._closed:
                entry = self._waiting.pop(0)
                if entry.future.set_running_or_notify_cancel():
                    joining.append(entry)
        return joining

    def _count(self, new: int, together: int) -> None:
        self.stats.batches += 1
        self.stats.calls += new
        self.stats.largest = max(self.stats.largest, together)

    def _serve_one(self, batch: list[_Entry[Item, Result]], *, alone: bool = False) -> None:
        self._count(len(batch), len(batch))
        feed = _Feed(self, batch, alone)
        error: BaseException = (unfinished := RuntimeError("the batch ended without a result for this call"))
        try:
            self._run([entry.item for entry in batch], feed)
        except BaseException as raised:
            error = raised
        left = list(feed.under_way.values())
        if error is not unfinished and not left:
            _logger.error("a batch failed after all its calls were served", exc_info=error)
        if len(left) == 1 or alone or self._closed:
            for entry in left:
                entry.future.set_exception(error)
            return
        # one bad item must not fail its neighbours: serve them one by one
        for place, entry in enumerate(left):
            if self._closed:
                for later in left[place:]:
                    later.future.set_exception(ClosedError(_CLOSED))
                return
            self._serve_one([entry], alone=True)


class _Feed(Generic[Item, Result]):
    """The items of one batch that are under way, by number."""

    def __init__(self, batcher: MicroBatcher[Item, Result], batch: list[_Entry[Item, Result]], alone: bool) -> None:
        self.under_way = dict(enumerate(batch))
        self._batcher, self._group, self._next, self._alone = batcher, batch[0].group, len(batch), alone

    def more(self) -> Sequence[Item]:
        # looked at without the lock first: this is asked after every token
        if self._alone or not self._batcher._waiting:
            return ()
        joining = self._batcher._join(self._group, self._batcher.max_batch - len(self.under_way))
        if joining:
            self.under_way.update(enumerate(joining, self._next))
            self._next += len(joining)
            self._batcher._count(len(joining), len(self.under_way))
        return [entry.item for entry in joining]

    def done(self, number: int, result: Result, /) -> None:
        self.under_way.pop(number).future.set_result(result)

    def fail(self, number: int, error: Exception, /) -> None:
        self.under_way.pop(number).future.set_exception(error)


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


def _close_all() -> None:
    for batcher in list(_all):
        batcher.close()


def _forked() -> None:
    for batcher in list(_all):
        batcher._begin()


# a process that was forked has neither the threads nor the calls, but the locks that they held
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
# after all threads that a process waits for: who still uses a model then waits for nothing
atexit.register(_close_all)

__all__ = ["BatchStats", "Feed", "MicroBatcher"]
