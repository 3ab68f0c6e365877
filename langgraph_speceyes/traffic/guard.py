"""One thread at a time, for a while; and what threads share when the process is forked."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from langgraph_speceyes.errors import JournalError

FORK_WAIT_S = 1.0
"""Longest that a fork waits for a thread that is at work."""


class Forked(Protocol):
    """Something that threads share, and that knows what a fork means for it."""

    def before_fork(self) -> bool:
        """Come to rest. Returns whether `after_fork` is to be called in the parent."""

    def after_fork(self) -> None:
        """Go on, in the parent."""

    def in_child(self) -> None:
        """Begin anew: the other threads and what they held are gone."""


_watched: weakref.WeakSet[Forked] = weakref.WeakSet()
_resting = threading.local()


def watch_forks(shared: Forked) -> None:
    """Have something told of forks for as long as it lives."""
    _watched.add(shared)


def _before() -> None:
    _resting.held = [each for each in list(_watched) if each.before_fork()]


def _in_parent() -> None:
    for each in _resting.held:
        each.after_fork()
    _resting.held = []


def _in_child() -> None:
    _resting.held = []
    for each in list(_watched):
        each.in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


class Guard:
    """A lock that nobody waits for without an end, and that is free in a forked process.

    Args:
        timeout_s: Longest wait for it, in seconds.
        begin_anew: Called in a forked process.
    """

    def __init__(self, timeout_s: float, begin_anew: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._timeout_s, self._begin_anew = timeout_s, begin_anew
        watch_forks(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it.

        Raises:
            JournalError: Another thread has held it for too long.
        """
        lock = self._lock
        if not lock.acquire(timeout=self._timeout_s):
            raise JournalError(f"another thread has been at work on the journal for more than {self._timeout_s:g} s")
        try:
            yield
        finally:
            lock.release()

    def before_fork(self) -> bool:
        """Take it, so that no thread is within the journal's library while the process is copied."""
        return self._lock.acquire(timeout=FORK_WAIT_S)

    def after_fork(self) -> None:
        """Give it back."""
        self._lock.release()

    def in_child(self) -> None:
        """Nobody holds it here."""
        self._lock = threading.Lock()
        self._begin_anew()
