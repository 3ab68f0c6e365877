"""How the journal lies in a LangGraph store: where each item is, and what it holds.

Under the journal's namespace:

* ``chunks``: an item for each run of records that one writer wrote, with the stamps of the first and last and their
  number. A writer begins a new chunk when its own is full; so a reader needs those chunks only that reach beyond its
  position, and the oldest can be removed whole.
* ``records/<chunk>``: the records of a chunk, by position.
* ``ids``: for each id, where its record is. What no id points to is no record.
* ``named``: values by name. ``meta``: the schema.

A stamp is a time in microseconds since the epoch, a position the stamp of a record's first write and its writer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from langgraph.store.base import GetOp, PutOp, SearchOp

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images.graph_store import check_namespace
from langgraph_speceyes.traffic.record import Record

DIGITS = 16
"""Of a stamp, as text; enough until the year 2286."""
EVERYTHING = 10_000_000
"""As many items as a search may return where all are wanted: pages of a search are no snapshot."""


class Place(NamedTuple):
    """Where a record is: its chunk and its position."""

    chunk: str
    position: str


@dataclass
class Chunk:
    """A run of records of one writer.

    Attributes:
        label: Its name; labels sort by time.
        first: The first record's stamp.
        last: The last one's.
        records: How many were written into it.
    """

    label: str
    first: int
    last: int
    records: int

    @classmethod
    def begin(cls, stamp: int, writer: str) -> Self:
        """An empty chunk."""
        return cls(position_of(stamp, writer), stamp, stamp, 0)

    @classmethod
    def of(cls, label: str, value: dict[str, Any]) -> Self:
        """A chunk as its item describes it."""
        return cls(label, int(value["first"]), int(value["last"]), int(value["records"]))

    @property
    def value(self) -> dict[str, int]:
        """What its item holds."""
        return {"first": self.first, "last": self.last, "records": self.records}


def position_of(stamp: int, writer: str) -> str:
    """A position; positions sort as text."""
    return f"{stamp:0{DIGITS}d}-{writer}"


def stamp_of(position: str) -> int:
    """The time in a position, in microseconds since the epoch.

    Raises:
        ArgumentError: It is none.
    """
    stamp, dash, writer = position.partition("-") if isinstance(position, str) else ("", "", "")
    if not (len(stamp) == DIGITS and stamp.isdecimal() and dash and writer):
        raise ArgumentError("after", "a position that this journal returned", repr(position))
    return int(stamp)


class Layout:
    """The operations on the items under a namespace.

    Args:
        namespace: The journal's.

    Raises:
        ArgumentError: It is none.
    """

    def __init__(self, namespace: tuple[str, ...]) -> None:
        check_namespace(namespace)
        self.namespace = namespace

    def get(self, room: str, key: str) -> GetOp:
        """Read an item."""
        return GetOp((*self.namespace, room), key)

    def put(self, room: str, key: str, value: dict[str, Any] | None) -> PutOp:
        """Keep an item, or remove it."""
        return _put((*self.namespace, room), key, value)

    def get_record(self, place: Place) -> GetOp:
        """Read a record."""
        return GetOp((*self.namespace, "records", place.chunk), place.position)

    def put_record(self, place: Place, record: Record | None) -> PutOp:
        """Keep a record, or remove it."""
        value = None if record is None else {"record": dict(record)}
        return _put((*self.namespace, "records", place.chunk), place.position, value)

    def put_place(self, id: str, place: Place | None) -> PutOp:
        """Keep where a record is, or that it is nowhere."""
        return self.put("ids", id, None if place is None else place._asdict())

    def chunks(self, reaching: int | None = None) -> SearchOp:
        """Find chunks: all, or those whose last record has this stamp or a later one."""
        # `filter` is no more than a help to the store: whoever reads looks again
        wanted = None if reaching is None else {"last": {"$gte": reaching}}
        return SearchOp((*self.namespace, "chunks"), filter=wanted, limit=EVERYTHING, refresh_ttl=False)

    def records(self, chunk: str) -> SearchOp:
        """Find all records of a chunk."""
        return SearchOp((*self.namespace, "records", chunk), limit=EVERYTHING, refresh_ttl=False)


def _put(namespace: tuple[str, ...], key: str, value: dict[str, Any] | None) -> PutOp:
    return PutOp(namespace, key, value, index=False, ttl=None)
