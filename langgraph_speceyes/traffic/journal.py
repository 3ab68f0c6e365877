"""Where records of questions go: the protocol that its stores have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.traffic.record import Record

LIMIT = 100_000
"""Records a journal keeps by default."""


@runtime_checkable
class Journal(Protocol):
    """A journal of records, in the order in which their questions were first written down.

    All methods may be called from any thread and from several processes, and may block: not on an event loop. A write
    that has returned is kept, until `limit` newer records have come. Each method raises
    :class:`~langgraph_speceyes.errors.JournalError` where the journal cannot be used at the moment,
    :class:`~langgraph_speceyes.errors.ArgumentError` where it never will with these arguments, and
    :class:`~langgraph_speceyes.errors.ClosedError` after `close`. Whoever records for a run goes through a
    :class:`~langgraph_speceyes.traffic.recorder.Recorder`, which raises and waits for none of that.

    Attributes:
        texts: Whether question and answers are kept as text.
    """

    texts: bool

    def write(self, record: Record) -> None:
        """Keep a record; one with a known id takes the place of the earlier one, in its old position."""

    def write_many(self, records: Sequence[Record]) -> None:
        """Keep several records, in their order; of two with one id the later. If it raises, some may be kept."""

    def get(self, id: str) -> Record | None:
        """The record of an id, as it was last written."""

    def read(self, after: str | None = None, *, limit: int = 1000) -> Sequence[tuple[str, Record]]:
        """Records in order, each as it was last written.

        A record that is written again keeps its position: who has read past it does not get it again. `settled` says
        whether one is final.

        Args:
            after: A position that an earlier call returned; only records behind it. None begins at the oldest. A
                position stays good when its record is gone.
            limit: Most records.

        Returns:
            Pairs of position and record. None at all: there are no more at the moment.
        """

    def save(self, name: str, value: dict[str, Any]) -> None:
        """Keep a small value under a name beside the records: the state of a gate that opens itself, an alarm."""

    def load(self, name: str) -> dict[str, Any] | None:
        """The value last saved under a name."""

    def close(self) -> None:
        """Let go of files and connections."""


def check_number(argument: str, value: object, least: float, *, whole: bool = True) -> None:
    """Refuse a number that is too small, or none.

    Raises:
        ArgumentError: It is.
    """
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value >= least:
        raise ArgumentError(argument, f"{'a whole number' if whole else 'a number'}, at least {least:g}", repr(value))
