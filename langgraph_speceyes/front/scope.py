"""The calls that a query announces to models that batch, and takes back when it ends, however it ends."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from langgraph_speceyes.front.calling import ModelCall


class CallScope:
    """What batching models are told of the calls to come, so that they wait for those and for no others.

    Args:
        calls: The front end's model calls by phase.
    """

    def __init__(self, calls: Mapping[str, ModelCall]) -> None:
        self.calls = calls
        self.announces = True
        """False where a graph may stop between phases, for a person or for good."""

    def enter(self, query: str) -> None:
        """Announce all calls of a query."""
        if self.announces:
            for phase, call in self.calls.items():
                call.expect(call_key(phase, query))

    def leave(self, query: str, keep: Collection[str] = ()) -> None:
        """Take the announcements back that no call has followed.

        Args:
            query: The query's id.
            keep: Phases that are still to come.
        """
        for phase, call in self.calls.items():
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


def call_key(phase: str, query: str) -> str:
    """The key of a phase's call."""
    return f"{phase} {query}"
