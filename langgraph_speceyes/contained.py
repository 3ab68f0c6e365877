"""What keeps the faults of others within the query that met them."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
import traceback
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from langgraph_speceyes.errors import EscapeError, describe_error


class Passing(BaseException):
    """Raised by this package to end something; :class:`contained` lets it pass."""


class contained:
    """What code of others raises within the block is an error of the query's: an `Exception`, whatever it was.

    A `CancelledError` of its own, `SystemExit`, `GeneratorExit` and the like become :class:`EscapeError`, and so does
    `StopIteration`, which no future takes; else one query would end the event loop, a worker thread or the program, or
    wait for ever. What is meant for the program passes: the cancellation of the task, Ctrl-C, the exit that a signal's
    handler asks for, and a coroutine that is closed.

    asyncio lets `SystemExit` out of its loop from whichever task raises it, and LangChain runs models in tasks of its
    own; a `GeneratorExit` closes the coroutines that await the task. So tasks that are begun within the block raise
    :class:`EscapeError` instead of either.
    """

    def __enter__(self) -> None:
        """Begin the block."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._token = None
            return
        if not isinstance(factory := loop.get_task_factory(), _Tasks):
            loop.set_task_factory(_Tasks(factory))
        self._token = _CONTAINED.set(True)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the block."""
        if self._token is not None:
            _CONTAINED.reset(self._token)
        if error is None:
            return
        if (stop := _stop_in(error)) is not None:
            raise EscapeError(describe_error(stop)) from error
        if isinstance(error, Exception) or _is_meant(error):
            return
        raise EscapeError(describe_error(error)) from error


_CONTAINED: ContextVar[bool] = ContextVar("speceyes_contained", default=False)


class _Tasks:
    """A loop's task factory that looks at the tasks that are begun within :class:`contained`, and at no others.

    Args:
        before: The factory that the loop had.
    """

    def __init__(self, before: Callable[..., Any] | None) -> None:
        self._before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> Any:
        if _CONTAINED.get() and isinstance(coro, Coroutine):
            coro = _Task(coro)
        return asyncio.Task(coro, loop=loop, **more) if self._before is None else self._before(loop, coro, **more)


class _Task(Coroutine[Any, Any, Any]):
    """A task's coroutine, which raises no `GeneratorExit`, and no `SystemExit` that nobody outside has asked for."""

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self._coro = coro

    def send(self, value: Any) -> Any:
        """Go on."""
        with _held():
            return self._coro.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with an error."""
        with _held():
            return self._coro.throw(*error)

    def close(self) -> None:
        """End."""
        self._coro.close()

    def __await__(self) -> Any:
        """Be awaited."""
        return self._coro.__await__()

    def __getattr__(self, name: str) -> Any:
        """What debuggers ask coroutines for."""
        return getattr(self._coro, name)


class _held:
    """Nothing within raises `GeneratorExit`, or a `SystemExit` that nobody outside has asked for."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (SystemExit, GeneratorExit)) and not _is_meant(error):
            raise EscapeError(describe_error(error)) from error


_STOPPED = ("", "coroutine raised StopIteration", "generator raised StopIteration")


def _stop_in(error: BaseException) -> StopIteration | None:
    """The `StopIteration` that an error is or stands for.

    Python turns one that leaves a coroutine or generator into a `RuntimeError` (PEP 479), and LangChain's
    `run_in_executor` makes one without a message.
    """
    if type(error) is RuntimeError and str(error) in _STOPPED:
        error = error.__cause__ or error
    return error if isinstance(error, StopIteration) else None


def _is_meant(error: BaseException) -> bool:
    """Whether what is no `Exception` is meant for the task or the program around."""
    if isinstance(error, Passing):
        return True
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if isinstance(error, asyncio.CancelledError):
        return task is not None and task.cancelling() > 0
    # Python runs signal handlers on the main thread alone
    main = threading.current_thread() is threading.main_thread()
    if isinstance(error, GeneratorExit):
        return task is None and _closes_a_coroutine(error)
    if isinstance(error, KeyboardInterrupt):
        return main
    return isinstance(error, SystemExit) and main and _from_signal(error)


def _closes_a_coroutine(error: BaseException) -> bool:
    """Whether an error was thrown into a coroutine or generator that waits, rather than raised by a function."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return bool(frame.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR))


def _from_signal(error: BaseException) -> bool:
    """Whether a handler of a signal raised an error."""
    handlers = (signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT))
    codes = {code for one in handlers if (code := getattr(one, "__code__", None)) is not None}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))
