"""Work that nobody waits for: comparing, shadow runs, audits. Bounded, and drained before the process ends."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import math
import os
import queue
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from langgraph_speceyes.contained import contained
from langgraph_speceyes.errors import describe_error
from langgraph_speceyes.traffic import recorder  # noqa: F401  what is begun at exit last is closed first: jobs, then records

WAITING = 1000
"""Jobs that may wait; one more is dropped, and counted."""
WORKERS = 2
BEHIND_S = 0.02
"""How long a job waits before it begins, so that the run it came from has brought its answer home."""
EXIT_S = 10.0
"""How long the end of the process waits for jobs under way."""
_LOOK_S = 0.1
"""How often whoever waits for jobs looks for those whose event loop was closed."""

_logger = logging.getLogger(__name__)
_all: weakref.WeakSet[Background] = weakref.WeakSet()


class Job(Protocol):
    """One piece of work, in two forms. What it raises is logged."""

    def run(self) -> None:
        """Do it on a thread."""

    async def arun(self) -> None:
        """Do it on the event loop of the run that it came from, whose clients belong to that loop."""


class Background:
    """Does jobs beside the runs they come from: those of async runs on their event loop, all others on threads.

    A job that its event loop does not live to finish goes on, from its beginning, on a thread.

    Args:
        waiting: Most jobs that wait.
        workers: Jobs under way at once, on threads and on each event loop.
    """

    def __init__(self, waiting: int = WAITING, workers: int = WORKERS) -> None:
        self.waiting, self.workers = waiting, workers
        self.dropped, self.failed = 0, 0
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[float, Job]] = queue.SimpleQueue()
        self._lock, self._changed = threading.Lock(), threading.Condition()
        self._pending, self._threads, self._process = 0, 0, os.getpid()
        self._drains = 0
        self._tasks: dict[asyncio.Task[None], Job] = {}
        self._limits: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def pending(self) -> int:
        """Jobs that wait or are under way."""
        return self._pending

    def do(self, job: Job, *, on_thread: bool = False) -> bool:
        """Take a job on, from a run that may go on at once.

        Args:
            job: The job.
            on_thread: Whether it belongs on a thread wherever it comes from.

        Returns:
            Whether there was room for it.
        """
        if self._process != os.getpid():
            self._reset()
        self._take_over()
        with self._changed:
            if self._pending >= self.waiting:
                self.dropped += 1
                return False
            self._pending += 1
        loop = None if on_thread else _running_loop()
        if loop is None:
            self._on_thread(job)
            return True
        # a context of its own: nothing of the run it came from hangs on to it
        task = loop.create_task(self._on_loop(job, loop), context=contextvars.Context())
        self._tasks[task] = job
        task.add_done_callback(self._over)
        return True

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until no job is left; not from an event loop that has jobs of its own to do.

        Returns:
            Whether none is left.
        """
        until = math.inf if timeout_s is None else time.monotonic() + timeout_s
        with self._hurry():
            while True:
                can_go_on = self._go_on()
                with self._changed:
                    left = max(0.0, until - time.monotonic())
                    if self._changed.wait_for(lambda: not self._pending, min(_LOOK_S, left)):
                        return True
                if not can_go_on or time.monotonic() >= until:
                    return False

    async def adrain(self, timeout_s: float | None = None) -> bool:
        """Wait until no job is left; see :meth:`drain`."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._hurry():
            while self._pending:
                if not self._go_on() or (until is not None and time.monotonic() >= until):
                    return False
                await asyncio.sleep(0.01)
        return True

    @contextmanager
    def _hurry(self) -> Iterator[None]:
        """Have jobs begin at once meanwhile."""
        with self._changed:
            self._drains += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._drains -= 1

    def _on_thread(self, job: Job) -> None:
        self._jobs.put((time.monotonic() + BEHIND_S, job))
        self._start()

    def _start(self) -> bool:
        """Have threads for the jobs that wait; whether there is one."""
        with self._lock:
            if self._threads >= min(self.workers, self._pending):
                return True
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="speceyes-traffic", daemon=True).start()
        except RuntimeError:  # too many threads, or the interpreter ends; the next job tries again
            with self._lock:
                self._threads -= 1
                return self._threads > 0
        return True

    def _go_on(self) -> bool:
        """See that what waits will be done; false where no thread can be started for it."""
        self._take_over()
        return self._jobs.empty() or self._start()

    def _take_over(self) -> None:
        """Go on with the jobs whose event loop was closed without cancelling them."""
        for task in list(self._tasks):
            if task.get_loop().is_closed():
                self._over(task)

    def _work(self) -> None:
        while True:
            try:
                due, job = self._jobs.get(timeout=1.0)
            except queue.Empty:
                with self._lock:
                    if not self._jobs.empty():
                        continue
                    self._threads -= 1
                    return
            with self._changed:
                self._changed.wait_for(lambda: self._drains, max(0.0, due - time.monotonic()))
            try:
                with contained():
                    job.run()
            except Exception as error:
                self._trouble(job, error)
            finally:
                del job
                self._done()

    async def _on_loop(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            limit = self._limits.setdefault(loop, asyncio.Semaphore(self.workers))
        if not self._drains:
            await asyncio.sleep(BEHIND_S)
        async with limit:
            with contained():
                await job.arun()

    def _over(self, task: asyncio.Task[None]) -> None:
        if (job := self._tasks.pop(task, None)) is None:
            return  # taken over
        if task.cancelled() or not task.done():
            # the loop ends, and with it a task that may not even have begun
            self._on_thread(job)
            return
        if (error := task.exception()) is not None:
            self._trouble(job, error)
        self._done()

    def _trouble(self, job: Job, error: BaseException) -> None:
        self.failed += 1
        _logger.warning("%s: %s", type(job).__name__, describe_error(error))

    def _done(self) -> None:
        with self._changed:
            self._pending -= 1
            self._changed.notify_all()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@atexit.register
def _at_exit() -> None:
    until = time.monotonic() + EXIT_S
    for one in list(_all):
        one.drain(max(0.0, until - time.monotonic()))
