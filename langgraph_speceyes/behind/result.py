"""What a run of an agent returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.graph import START
from langgraph.types import Overwrite

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
    """The newest values of a run's stream, and which keys were written.

    Args:
        keys: The keys of the agent's state.
        given: What the run is given: the values of one whose nodes write nothing, of which LangGraph shows none.
    """

    def __init__(self, keys: frozenset[str], given: object = None) -> None:
        self._keys = keys
        self._values = {key: value for key, value in _initial_values(given).items() if key in keys}
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


def _initial_values(given: object) -> dict[str, Any]:
    """The values that a run begins with, one by one or through its first node; none where it goes on."""
    if not isinstance(given, Mapping):
        return {}
    set_to = {key: value.value if isinstance(value, Overwrite) else value for key, value in given.items()}
    return {**set_to.pop(START, {}), **set_to}


def returned(result: object) -> Result:
    """What an agent that is no graph of this process returned.

    Raises:
        ArgumentError: It is no state.
    """
    if not isinstance(result, Mapping):
        raise ArgumentError("agent", "a state (a mapping) as its result", type(result).__name__)
    return Result(result, stopped=INTERRUPT in result)
