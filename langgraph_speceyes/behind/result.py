"""What a run of an agent returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph_speceyes.errors import ArgumentError

INTERRUPT = "__interrupt__"
"""Where a graph that nothing can resume says that it stopped for a person."""


@dataclass(frozen=True)
class Result:
    """What a run of an agent returned.

    Attributes:
        values: The keys of its state.
        written: The keys that its nodes wrote; None where that cannot be seen.
        stopped: Whether it stopped for a person, which it does in this way only where nothing around it can wait.
    """

    values: Mapping[str, Any]
    written: frozenset[str] | None = None
    stopped: bool = False


class Collected:
    """The newest values of a run's stream, and which keys were written."""

    def __init__(self, keys: frozenset[str]) -> None:
        self._keys, self._values = keys, dict[str, Any]()
        self._written: set[str] = set()
        self._stopped = False

    def add(self, part: Any) -> None:
        """Take in a part of the stream."""
        mode, data = part
        self._stopped = self._stopped or INTERRUPT in data
        if mode == "values":
            self._values = {key: value for key, value in data.items() if key in self._keys}
            return
        for update in data.values():
            for one in update if isinstance(update, list) else [update]:
                if isinstance(one, Mapping):
                    self._written |= self._keys & set(one)

    @property
    def result(self) -> Result:
        """What the run has returned so far."""
        return Result(self._values, frozenset(self._written), self._stopped)


def returned(result: object) -> Result:
    """What an agent that is no graph of this process returned.

    Raises:
        ArgumentError: It is no state.
    """
    if not isinstance(result, Mapping):
        raise ArgumentError("agent", "a state (a mapping) as its result", type(result).__name__)
    return Result(result, stopped=INTERRUPT in result)
