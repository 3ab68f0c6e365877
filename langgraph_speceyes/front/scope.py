"""The calls that a query announces to models that batch, and takes back when it ends, however it ends."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langgraph.cache.base import BaseCache

from langgraph_speceyes.front.caching import GRAPH_CACHE
from langgraph_speceyes.front.calling import ModelCall


class CallScope:
    """What batching models are told of the calls to come, so that they wait for those and for no others.

    Args:
        calls: The front end's model calls by phase.
        later: Calls that only some queries come to, by phase: they are announced when they are certain.
    """

    def __init__(self, calls: Mapping[str, ModelCall], later: Mapping[str, ModelCall] | None = None) -> None:
        self.calls, self.later = calls, later or {}

    def enter(self, query: str) -> None:
        """Announce all calls of a query, until it leaves or the run of the graph around it ends."""
        self._announce(self.calls, query)

    def announce(self, phase: str, query: str) -> None:
        """Announce a call that has become certain."""
        self._announce({phase: self.later[phase]}, query)

    def _announce(self, calls: Mapping[str, ModelCall], query: str) -> None:
        run = _RUN.get()
        if run is not None:
            run.add(self, query)
            if run.ended:
                return
        for phase, call in calls.items():
            call.expect(call_key(phase, query))
        if run is not None and run.ended:
            # since the first look: a node may outlast its run by a moment
            self.leave(query)

    def leave(self, query: str, keep: Collection[str] = ()) -> None:
        """Take the announcements back that no call has followed.

        Args:
            query: The query's id.
            keep: Phases that are still to come.
        """
        for phase, call in [*self.calls.items(), *self.later.items()]:
            if phase not in keep:
                call.dismiss(call_key(phase, query))

    @contextmanager
    def during(self, query: str) -> Iterator[None]:
        """Announce all calls of a query for the time of the block."""
        self.enter(query)
        try:
            yield
        finally:
            self.leave(query)

    @contextmanager
    def left_on_failure(self, query: str) -> Iterator[None]:
        """Take the announcements back where the block fails or is cancelled."""
        try:
            yield
        except BaseException:
            self.leave(query)
            raise


class RunScope:
    """The queries of one run of a graph, which may stop between two phases: for a person, a limit, or for good.

    As a context manager it takes their announcements back at its end.

    Args:
        cache: The graph's cache, which its model calls may use.
    """

    def __init__(self, cache: BaseCache[Any] | None = None) -> None:
        self._cache = cache
        self._queries: list[tuple[CallScope, str]] = []
        self.ended = False
        """Whether nobody goes on with it."""

    def __enter__(self) -> RunScope:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True
        for scope, query in self._queries:
            scope.leave(query)

    def under_way(self) -> UnderWay:
        """Let what begins in a block belong to the run. A generator must not hold it while its caller goes on."""
        return UnderWay(self, self._cache)

    def add(self, scope: CallScope, query: str) -> None:
        """Note a query whose announcements are to be taken back at the end."""
        self._queries.append((scope, query))


class UnderWay:
    """A context manager for many blocks one after the other: a graph has one for each part that it streams.

    Args:
        run: The run that what begins in a block belongs to.
        cache: The graph's cache.
    """

    __slots__ = ("_cache", "_run", "_tokens")

    def __init__(self, run: RunScope, cache: BaseCache[Any] | None) -> None:
        self._run, self._cache = run, cache

    def __enter__(self) -> None:
        self._tokens = _RUN.set(self._run), GRAPH_CACHE.set(self._cache)

    def __exit__(self, *_: object) -> None:
        run, cache = self._tokens
        _RUN.reset(run)
        GRAPH_CACHE.reset(cache)


_RUN: ContextVar[RunScope | None] = ContextVar("speceyes_run", default=None)


def call_key(phase: str, query: str) -> str:
    """The key of a phase's call."""
    return f"{phase} {query}"
