"""Calling a LangGraph store from a thread, whatever kind it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from langgraph.store.base import BaseStore, Op
from langgraph.store.base.batch import AsyncBatchedBaseStore

from langgraph_speceyes.errors import JournalError, describe_error
from langgraph_speceyes.foreign import cleaned

_TRIES = 5


def call_store(store: BaseStore, ops: Iterable[Op], timeout_s: float) -> list[Any]:
    """Have a store do several operations.

    An async store is called on its event loop, which must be running, in another thread.

    Args:
        store: The store.
        ops: What it shall do.
        timeout_s: Longest wait for an async store, in seconds; what it was asked for may be done later all the same.

    Returns:
        A result for each.

    Raises:
        JournalError: It did not.
    """
    ops = list(ops)
    try:
        if isinstance(store, AsyncBatchedBaseStore):
            return _on_its_loop(store, ops, timeout_s)
        return _in_this_thread(store, ops)
    except JournalError:
        raise
    except Exception as error:  # every store has errors of its own
        raise JournalError(f"{type(store).__name__}: {describe_error(error)}") from cleaned(error)


def _on_its_loop(store: AsyncBatchedBaseStore, ops: list[Op], timeout_s: float) -> list[Any]:
    # not through store.batch(), which waits for ever for a loop that has come to rest
    loop = store._loop
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        raise JournalError(f"{type(store).__name__}: called on its event loop; call the journal from another thread")
    if not loop.is_running():
        raise JournalError(f"{type(store).__name__}: its event loop is not running")
    work = store.abatch(ops)
    try:
        future = asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError:
        work.close()
        raise
    try:
        return future.result(timeout_s)
    except TimeoutError as error:
        future.cancel()
        raise JournalError(f"{type(store).__name__}: no answer within {timeout_s:g} s") from error


def _in_this_thread(store: BaseStore, ops: list[Op]) -> list[Any]:
    for _ in range(_TRIES - 1):
        try:
            return store.batch(ops)
        except RuntimeError as error:
            # the in-memory store looks through a dictionary that other threads add to; nothing is written by then
            if "changed size during iteration" not in str(error):
                raise
    return store.batch(ops)
