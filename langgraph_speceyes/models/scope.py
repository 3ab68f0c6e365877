"""Who shares what local models have cached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SCOPE: ContextVar[str] = ContextVar("speceyes_cache_scope", default="")


@contextmanager
def cache_scope(name: str) -> Iterator[None]:
    """Let local models called within share cached prefixes and image features with this scope only.

    For users who must not learn from latencies what others have asked, and for measurements in which no method may
    profit from another's work. It holds for the tasks and threads that are started within.

    Args:
        name: The scope; the default scope is "".
    """
    token = _SCOPE.set(name)
    try:
        yield
    finally:
        _SCOPE.reset(token)


def current_scope() -> str:
    """The scope of the calling task."""
    return _SCOPE.get()
