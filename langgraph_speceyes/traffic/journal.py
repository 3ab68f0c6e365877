"""Where records of questions go: a protocol, and what its stores have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from langgraph_speceyes.traffic.record import Record


@runtime_checkable
class Journal(Protocol):
    """A journal of records, in the order in which their questions were written down.

    All methods may be called from any thread and from several processes. A write that has returned is kept. What
    cannot be done raises :class:`~langgraph_speceyes.errors.JournalError`; whoever records for a run catches it.

    Attributes:
        texts: Whether question and answers are kept as text.
    """

    texts: bool

    def write(self, record: Record) -> None:
        """Keep a record; one with a known id takes the place of the earlier one, in its old position."""

    def get(self, id: str) -> Record | None:
        """The record of an id."""

    def read(self, after: str | None = None, *, limit: int = 1000) -> Sequence[tuple[str, Record]]:
        """Records in order.

        Args:
            after: A position that an earlier call returned; only records behind it. None begins at the oldest.
            limit: Most records.

        Returns:
            Pairs of position and record.
        """

    def save(self, name: str, value: dict[str, Any]) -> None:
        """Keep a small value under a name beside the records: the state of a gate that opens itself, an alarm."""

    def load(self, name: str) -> dict[str, Any] | None:
        """The value last saved under a name."""

    def close(self) -> None:
        """Let go of files and connections."""
