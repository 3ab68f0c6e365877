"""Reading images in a thread, so that whoever no longer waits ends a fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from langgraph_speceyes.contained import contained

Given = ParamSpec("Given")
Value = TypeVar("Value")

Stop = Future[None]
"""Done when nobody waits any longer."""

_STOP: ContextVar[Stop | None] = ContextVar("speceyes_stop", default=None)


def stop_of() -> Stop | None:
    """What tells the work in this thread that its caller has gone; None where nothing does."""
    return _STOP.get()


def end(stop: Stop) -> None:
    """Say that nobody waits; again is no error."""
    with suppress(InvalidStateError):
        stop.set_result(None)


@contextmanager
def stoppable() -> Iterator[None]:
    """Have the fetches that are begun within the block, in its threads too, end with it."""
    stop, outer = Stop(), _STOP.get()
    if outer is not None:
        outer.add_done_callback(lambda _: end(stop))
    token = _STOP.set(stop)
    try:
        yield
    finally:
        _STOP.reset(token)
        end(stop)


async def off_loop(do: Callable[Given, Value], *args: Given.args, **kwargs: Given.kwargs) -> Value:
    """Run a function that reads images in a thread; a task that is cancelled ends the fetch that is under way there.

    Args:
        do: The function.
        *args: Its arguments.
        **kwargs: Its named arguments.
    """

    def run() -> Value:
        # here: a GeneratorExit that reaches a task through a future closes every coroutine on its way
        with contained():
            return do(*args, **kwargs)

    with stoppable():
        return await asyncio.to_thread(run)
