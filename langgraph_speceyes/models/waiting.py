"""Waiting for a model's or look's answer no longer than the caller does."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Value = TypeVar("Value")

_UNTIL: ContextVar[float | None] = ContextVar("speceyes_deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let local models called within raise `TimeoutError` after some seconds; no thread is left waiting for them.

    Args:
        seconds: From now on. Of two deadlines the earlier one counts.
    """
    until, outer = time.monotonic() + seconds, _UNTIL.get()
    token = _UNTIL.set(until if outer is None else min(until, outer))
    try:
        yield
    finally:
        _UNTIL.reset(token)


def wait_for(future: Future[Value], abandoned: threading.Event) -> Value:
    """The result, within the deadline.

    Args:
        future: Is cancelled when the caller stops waiting.
        abandoned: Is set when the caller stops waiting, for whatever reason: what is under way ends soon.

    Raises:
        TimeoutError: The deadline has passed.
    """
    try:
        return future.result(_left())
    except BaseException:
        future.cancel()
        abandoned.set()
        raise


def on_thread(do: Callable[[], Value]) -> Future[Value]:
    """Run a function on a thread of its own, with the context variables of this one."""
    future: Future[Value] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(do))
        except BaseException as error:
            future.set_exception(error)

    # a daemon: what never returns must not keep the process alive
    threading.Thread(target=run, daemon=True).start()
    return future


def next_of(values: queue.SimpleQueue[Value]) -> Value:
    """The next of several values that come one by one, within the deadline.

    Args:
        values: Where they come.

    Raises:
        TimeoutError: The deadline has passed.
    """
    try:
        return values.get(timeout=_left())
    except queue.Empty:
        raise TimeoutError from None


def _left() -> float | None:
    """Seconds until the deadline; None without one."""
    until = _UNTIL.get()
    return None if until is None else max(0.0, until - time.monotonic())
