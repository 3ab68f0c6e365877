"""Recording for runs: nothing that happens to the journal happens to them."""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from typing import TypedDict

from langgraph_speceyes.contained import contained
from langgraph_speceyes.errors import JournalError, describe_error
from langgraph_speceyes.traffic.guard import FORK_WAIT_S, watch_forks
from langgraph_speceyes.traffic.journal import Journal, check_number
from langgraph_speceyes.traffic.kept import kept
from langgraph_speceyes.traffic.record import Record

_logger = logging.getLogger(__name__)

BATCH = 256
"""Most records of one write."""
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
HURRIED_WAIT_S = 0.05
"""Between two tries while somebody waits for the end."""
IDLE_S = 10.0
"""After so long without a record the thread ends; the next record starts another."""
EXIT_S = 5.0
"""Longest that all recorders together keep an interpreter from its end."""


class Counts(TypedDict):
    """What became of the records that a process handed over.

    Attributes:
        written: The journal has them.
        waiting: Not written yet.
        failed: No journal could keep them: they are no records.
        dropped: Lost, because too many were waiting, or the recorder was closed while the journal was in trouble.
    """

    written: int
    waiting: int
    failed: int
    dropped: int


class Recorder:
    """Hands records to a journal, in a thread of its own.

    While the journal cannot be written, records wait, and it is tried again and again; beyond `limit` the newest are
    dropped. What waits is written at the interpreter's end, as far as a few seconds allow; a process that ends
    otherwise (`os._exit`, a signal) calls `flush` before, or loses what waits. In a forked process the recorder begins
    anew; what waited is written by the parent.

    Args:
        journal: Where they go. It is not closed here.
        limit: Most records that wait.

    Raises:
        ArgumentError: The number is below 1.
    """

    def __init__(self, journal: Journal, *, limit: int = 10_000) -> None:
        check_number("limit", limit, 1)
        self.journal, self.limit = journal, limit
        self._closed = False
        self._begin_anew()
        _living.add(self)
        watch_forks(self)

    def __repr__(self) -> str:
        """Name the journal, and the counts."""
        return f"Recorder({self.journal!r}, {self.counts})"

    @property
    def counts(self) -> Counts:
        """What became of the records so far, in this process."""
        with self._changed:
            return Counts(written=self._written, waiting=self._waiting, failed=self._failed, dropped=self._dropped)

    def record(self, record: Record) -> None:
        """Have a record written soon. It never raises, and never waits for the journal.

        The record is copied; it may be changed, and recorded again under the same id.
        """
        try:
            copied = kept(record, texts=self.journal.texts)
        except Exception as error:  # a run is not to fail from its record
            self._fail(error)
            return
        with self._changed:
            if self._closed or self._waiting >= self.limit:
                self._dropped += 1
                return
            self._queue.append(copied)
            self._accepted += 1
            self._start()
            self._changed.notify_all()

    def flush(self, timeout_s: float = EXIT_S) -> bool:
        """Wait until everything recorded so far is written, failed or dropped.

        Args:
            timeout_s: Longest wait, in seconds.

        Returns:
            Whether it is.
        """
        with self._changed:
            wanted = self._accepted
            self._hurried += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._done >= wanted, timeout_s)
            finally:
                self._hurried -= 1

    def close(self, timeout_s: float = EXIT_S) -> bool:
        """Write what waits, and end. What is recorded afterwards is dropped.

        Args:
            timeout_s: Longest wait, in seconds; what is not written by then is dropped.

        Returns:
            Whether everything that waited was written.
        """
        with self._changed:
            dropped = self._dropped
            self._give_up_at = time.monotonic() + timeout_s
            self._closed = True
            alone = bool(self._queue) and not self._start()
            thread = self._thread
            self._changed.notify_all()
        if alone:  # no thread can be started at the interpreter's end
            self._work()
        elif thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s + HURRIED_WAIT_S)
        with self._changed:
            self._settle(dropped=len(self._queue))
            self._queue.clear()
            return self._waiting == 0 and self._dropped == dropped

    @property
    def _waiting(self) -> int:
        return self._accepted - self._done

    def _begin_anew(self) -> None:
        self._changed = threading.Condition()  # never held while the journal is at work
        self._queue: deque[Record] = deque()
        self._accepted = self._done = 0
        self._written = self._failed = self._dropped = 0
        self._hurried = 0
        self._give_up_at = float("inf")
        self._thread: threading.Thread | None = None
        self._in_trouble = self._said_failed = False

    def _start(self) -> bool:
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._work, name="speceyes-recorder", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # too many threads, or the interpreter ends; the next record tries again
                return False
            self._thread = thread
        return True

    def _work(self) -> None:
        while batch := self._next():
            self._write(batch)

    def _next(self) -> list[Record]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed, IDLE_S)
            if not self._queue:
                # under the lock, so that a record that comes now starts another thread
                if self._thread is threading.current_thread():
                    self._thread = None
                return []
            return [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]

    def _write(self, batch: Sequence[Record]) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                with contained():
                    self.journal.write_many(batch)
            except JournalError as error:
                self._trouble(error)
            except Exception as error:  # not the journal's state: one of the records, or the journal's own mistake
                if len(batch) > 1:
                    for record in batch:
                        self._write([record])
                else:
                    self._fail(error, accepted=True)
                return
            else:
                self._settle(written=len(batch))
                self._recovered()
                return
            if time.monotonic() >= self._give_up_at:
                self._settle(dropped=len(batch))
                return
            self._rest(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _rest(self, wait_s: float) -> None:
        with self._changed:
            if self._changed.wait_for(lambda: self._hurried or self._closed, wait_s):
                again = time.monotonic() + HURRIED_WAIT_S
                self._changed.wait_for(lambda: time.monotonic() >= again, HURRIED_WAIT_S)

    def _settle(self, *, written: int = 0, failed: int = 0, dropped: int = 0) -> None:
        with self._changed:
            self._written += written
            self._failed += failed
            self._dropped += dropped
            self._done += written + failed + dropped
            self._changed.notify_all()

    def _fail(self, error: Exception, *, accepted: bool = False) -> None:
        with self._changed:
            if accepted:
                self._settle(failed=1)
            else:
                self._failed += 1
            said, self._said_failed = self._said_failed, True
        if not said:
            _logger.warning("a record cannot be kept (%s); more such are counted only", describe_error(error))

    def _trouble(self, error: JournalError) -> None:
        if not self._in_trouble:
            self._in_trouble, self._dropped_before = True, self._dropped
            _logger.warning(
                "the journal cannot be written (%s); up to %d records wait for it, further ones are dropped",
                error,
                self.limit,
            )

    def _recovered(self) -> None:
        if self._in_trouble:
            self._in_trouble = False
            _logger.warning(
                "the journal is written again; %d records were dropped", self._dropped - self._dropped_before
            )

    def before_fork(self) -> bool:
        """Let no other thread change the counts while the process is copied."""
        return self._changed.acquire(timeout=FORK_WAIT_S)

    def after_fork(self) -> None:
        """Go on, in the parent."""
        self._changed.release()

    def in_child(self) -> None:
        """Begin anew: the thread is the parent's, and so is what waits."""
        self._begin_anew()


_living: weakref.WeakSet[Recorder] = weakref.WeakSet()


@atexit.register
def _drain() -> None:
    limit = time.monotonic() + EXIT_S
    for recorder in list(_living):
        recorder.close(max(0.0, limit - time.monotonic()))
