"""The journal in a LangGraph store, for servers whose machines share no folder."""

from __future__ import annotations

import copy
import json
import math
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, cast

from langgraph.store.base import BaseStore, Op

from langgraph_speceyes.errors import ArgumentError, ClosedError, JournalError
from langgraph_speceyes.traffic.calling import call_store
from langgraph_speceyes.traffic.chunks import Chunk, Layout, Place, position_of, stamp_of
from langgraph_speceyes.traffic.guard import Guard
from langgraph_speceyes.traffic.journal import LIMIT, check_number
from langgraph_speceyes.traffic.kept import check_name, kept
from langgraph_speceyes.traffic.record import READABLE, SCHEMA, Record
from langgraph_speceyes.traffic.sqlite import as_json

NAMESPACE = ("speceyes", "journal")
CHUNK = 500
"""Most records of a chunk, and of one call of the store."""
_CHUNKS = 20
"""Chunks at least that `limit` records are in, so that removing one removes few."""
_TRIES = 3
_MOST_IN_DOUBT = 10_000


class StoreJournal:
    """A journal in any LangGraph store: in memory, SQLite, Postgres, a LangGraph Server's `runtime.store`.

    The order is that of first writes, by the writers' clocks. A record is read `settle_s` after its first write, so
    that none appears before a position that was read: as long as the machines' clocks agree to `settle_s / 2`, every
    record whose write has returned is read. A first write that takes longer than `settle_s / 2`, or fails, is done
    again under a new position; then a reader may have had the record at the earlier one, and gets it twice, with the
    same id. So it is when two processes write the same id for the first time at the same moment.

    What is acknowledged is as safe as the store makes it. The store's methods are called from the caller's thread;
    those of an async store on its event loop, so never call the journal there.

    Args:
        store: The store; None leaves it to `bind`.
        namespace: Where the journal is in it.
        texts: Whether question, answers and references of images are kept.
        limit: Most records; the oldest make room, in twentieths. Each further writer may add a twentieth to it.
        settle_s: How long a record waits before it is read, in seconds; 0 where this object is the only writer.
        timeout_s: Longest wait for another thread, and for an async store, in seconds.

    Raises:
        ArgumentError: It is no store or namespace, or a number is too small.
    """

    def __init__(
        self,
        store: BaseStore | None = None,
        *,
        namespace: tuple[str, ...] = NAMESPACE,
        texts: bool = False,
        limit: int = LIMIT,
        settle_s: float = 2.0,
        timeout_s: float = 5.0,
    ) -> None:
        if store is not None:
            _check_store(store)
        check_number("limit", limit, 1)
        check_number("settle_s", settle_s, 0, whole=False)
        check_number("timeout_s", timeout_s, 0, whole=False)
        self._layout = Layout(namespace)
        self._store, self._is_given = store, store is not None
        self.texts, self.limit, self.settle_s, self.timeout_s = texts, limit, settle_s, timeout_s
        self._most = max(1, min(CHUNK, limit // _CHUNKS))
        self._closed = False
        self._begin_anew()
        self._guard = Guard(timeout_s, self._begin_anew)

    def __repr__(self) -> str:
        """Name the store and the namespace."""
        name = "unbound" if self._store is None else type(self._store).__name__
        return f"StoreJournal({name}, {'/'.join(self._layout.namespace)}, texts={self.texts}, limit={self.limit})"

    def bind(self, store: BaseStore | None) -> None:
        """Use a store from now on, where none was given to begin with: what a run has as `runtime.store`.

        It may be called at each run; None changes nothing.

        Raises:
            ArgumentError: It is no store.
        """
        if store is not None and not self._is_given:
            _check_store(store)
            self._store = store

    @property
    def bound(self) -> bool:
        """Whether it has a store yet."""
        return self._store is not None

    def write(self, record: Record) -> None:
        """Keep a record; one with a known id takes the place of the earlier one, in its old position.

        A record that was removed and is written again is a new one.
        """
        self.write_many([record])

    def write_many(self, records: Sequence[Record]) -> None:
        """Keep several records, in their order; of two with one id the later. If it raises, some may be kept."""
        last = {record["id"]: record for record in [kept(record, texts=self.texts) for record in records]}
        ready = list(last.values())
        with self._guard.held():
            self._check()
            while ready:
                count = min(CHUNK, len(ready))
                self._write(ready[:count])
                ready = ready[count:]

    def get(self, id: str) -> Record | None:
        """The record of an id, as it was last written."""
        check_name("id", id)
        self._check()
        (place,) = self._places([id])
        item = None if place is None else self._call([self._layout.get_record(place)])[0]
        return None if item is None else cast(Record, copy.deepcopy(item.value["record"]))

    def read(self, after: str | None = None, *, limit: int = 1000) -> list[tuple[str, Record]]:
        """Records in order; see :class:`~langgraph_speceyes.traffic.journal.Journal`.

        Those of the last `settle_s` seconds come later; fewer than `limit` do not mean that there are no more.
        """
        check_number("limit", limit, 1)
        since = 0 if after is None else stamp_of(after)
        # a stamp is whole microseconds, and a batch's run ahead of the clock
        until = _now() - round(self.settle_s * 1e6) if self.settle_s else math.inf
        self._check()
        found = self._call([self._layout.chunks(None if after is None else since)])[0]
        chunks = sorted((Chunk.of(item.key, item.value) for item in found), key=lambda chunk: chunk.first)
        chunks = [chunk for chunk in chunks if chunk.last >= since and chunk.first <= until]
        ready: list[tuple[str, Record]] = []
        for number, chunk in enumerate(chunks, 1):
            ready += self._in_chunk(chunk.label, after or "", until)
            # no record of the chunks to come is before the first of the next
            sure = chunks[number].first if number < len(chunks) else math.inf
            if sum(stamp_of(position) < sure for position, _ in ready) >= limit:
                break
        ready.sort(key=lambda pair: pair[0])
        return [(position, copy.deepcopy(record)) for position, record in ready[:limit]]

    def save(self, name: str, value: dict[str, Any]) -> None:
        """Keep a small value under a name; of two processes that save at once, one's is kept."""
        check_name("name", name)
        plain = json.loads(as_json("value", value))
        self._check()
        self._call([self._layout.put("named", name, {"value": plain})])

    def load(self, name: str) -> dict[str, Any] | None:
        """The value last saved under a name."""
        check_name("name", name)
        self._check()
        (item,) = self._call([self._layout.get("named", name)])
        return None if item is None else cast(dict[str, Any], copy.deepcopy(item.value["value"]))

    def close(self) -> None:
        """Let go of the store, which is not closed; what comes afterwards raises `ClosedError`."""
        with self._guard.held():
            self._closed = True
            self._store = None

    def _begin_anew(self) -> None:
        self._writer = uuid.uuid4().hex[:12]
        self._chunk: Chunk | None = None
        self._stamp = 0
        self._in_doubt: dict[str, None] = {}
        self._checked: BaseStore | None = None

    def _opened(self) -> BaseStore | None:
        """The store, if there is one yet."""
        return self._store

    def _call(self, ops: Sequence[Op]) -> list[Any]:
        store = self._opened()
        if self._closed:
            raise ClosedError(f"{self!r} is closed")
        if store is None:
            raise JournalError(f"{self!r} has no store yet: give one, or call bind() within a run")
        return call_store(store, ops, self.timeout_s) if ops else []

    def _check(self) -> None:
        if self._closed:
            raise ClosedError(f"{self!r} is closed")
        store = self._opened()
        if store is None or store is self._checked:
            return
        (item,) = self._call([self._layout.get("meta", "schema")])
        found = None if item is None else item.value.get("schema")
        if item is not None and found not in READABLE:
            reads = " and ".join(map(str, READABLE))
            raise JournalError(f"{self!r}: a journal of schema {found}; this version reads schema {reads}")
        if found != SCHEMA:
            self._call([self._layout.put("meta", "schema", {"schema": SCHEMA})])
        self._checked = store

    def _places(self, ids: Sequence[str]) -> list[Place | None]:
        items = self._call([self._layout.get("ids", id) for id in ids])
        return [None if item is None else Place(item.value["chunk"], item.value["position"]) for item in items]

    def _in_chunk(self, label: str, after: str = "", until: float = math.inf) -> list[tuple[str, Record]]:
        items = self._call([self._layout.records(label)])[0]
        records: list[tuple[str, Record]] = [
            (item.key, item.value["record"]) for item in items if item.key > after and stamp_of(item.key) <= until
        ]
        places = self._places([record["id"] for _, record in records])
        return [pair for pair, place in zip(records, places, strict=True) if place == Place(label, pair[0])]

    def _write(self, records: Sequence[Record]) -> None:
        places = dict(zip([record["id"] for record in records], self._places([r["id"] for r in records]), strict=True))
        # where the first write came half way, an id points to nothing
        known = [(id, place) for id, place in places.items() if place is not None]
        items = self._call([self._layout.get_record(place) for _, place in known])
        there = {id: place for (id, place), item in zip(known, items, strict=True) if item is not None}
        again = [record for record in records if record["id"] in there and record["id"] not in self._in_doubt]
        self._call([self._layout.put_record(there[record["id"]], record) for record in again])
        first = [record for record in records if record["id"] not in there or record["id"] in self._in_doubt]
        while first:
            chunk = self._room()
            count = min(len(first), self._most - chunk.records)
            self._write_first(chunk, first[:count], there)
            first = first[count:]

    def _write_first(self, chunk: Chunk, records: Sequence[Record], there: dict[str, Place]) -> None:
        ids = [record["id"] for record in records]
        self._doubt(ids)
        for _ in range(_TRIES):
            begun = time.monotonic()
            places = [Place(chunk.label, position_of(self._tick(), self._writer)) for _ in records]
            chunk = Chunk(chunk.label, chunk.first, self._stamp, chunk.records + len(records))
            ops = [self._layout.put("chunks", chunk.label, chunk.value)]
            for record, place in zip(records, places, strict=True):
                ops += [self._layout.put_record(place, record), self._layout.put_place(record["id"], place)]
            ops += [self._layout.put_record(there[id], None) for id in ids if id in there]
            self._call(ops)
            self._chunk = chunk
            if not self.settle_s or time.monotonic() - begun <= self.settle_s / 2:
                for id in ids:
                    self._in_doubt.pop(id, None)
                return
            # readers may have passed these positions before the records were there
            there = dict(zip(ids, places, strict=True))
        raise JournalError(f"{self!r}: writing takes longer than settle_s / 2 ({self.settle_s / 2:g} s)")

    def _doubt(self, ids: Sequence[str]) -> None:
        self._in_doubt.update(dict.fromkeys(ids))
        while len(self._in_doubt) > _MOST_IN_DOUBT:
            del self._in_doubt[next(iter(self._in_doubt))]

    def _tick(self) -> int:
        self._stamp = max(_now(), self._stamp + 1)
        return self._stamp

    def _room(self) -> Chunk:
        """The chunk to write into; where a new one begins, the oldest make room for it."""
        if self._chunk is None or self._chunk.records >= self._most:
            self._trim()
            self._chunk = Chunk.begin(self._tick(), self._writer)
        return self._chunk

    def _trim(self) -> None:
        found = self._call([self._layout.chunks()])[0]
        chunks = sorted((Chunk.of(item.key, item.value) for item in found), key=lambda chunk: chunk.last)
        count = sum(chunk.records for chunk in chunks)
        for chunk in chunks:
            if count + self._most <= self.limit:
                return
            self._remove(chunk)
            count -= chunk.records

    def _remove(self, chunk: Chunk) -> None:
        # ids first: what is left half way is no record, and is removed by the next
        records = self._in_chunk(chunk.label)
        for part in _parts([self._layout.put_place(record["id"], None) for _, record in records]):
            self._call(part)
        items = self._call([self._layout.records(chunk.label)])[0]
        for part in _parts([self._layout.put_record(Place(chunk.label, item.key), None) for item in items]):
            self._call(part)
        self._call([self._layout.put("chunks", chunk.label, None)])


def _now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def _check_store(store: object) -> None:
    if not isinstance(store, BaseStore):
        raise ArgumentError("store", "a LangGraph store", type(store).__name__)


def _parts(ops: Sequence[Op]) -> Iterator[Sequence[Op]]:
    for start in range(0, len(ops), CHUNK):
        yield ops[start : start + CHUNK]
