"""The journal in a LangGraph store: its order, stores on an event loop, stores that come later."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.base import BaseStore, GetOp, Op, PutOp, SearchOp
from langgraph.store.base.batch import AsyncBatchedBaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite.aio import AsyncSqliteStore

from langgraph_speceyes.errors import ArgumentError, JournalError
from langgraph_speceyes.traffic import StoreJournal
from langgraph_speceyes.traffic import store as module
from tests.traffic.conftest import sqlite_store
from tests.traffic.records import deeper, made

SECOND = 10**6


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_780_000_000 * SECOND

    def pass_(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "_now", lambda: clock.now)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now / SECOND)
    return clock


class Watched(InMemoryStore):
    """Counts what it is asked for, and does something around the writes of records."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self.before: list[Any] = []
        self.after: list[Any] = []

    def batch(self, ops: Iterable[Op]) -> list[Any]:
        ops = list(ops)
        self.ops += ops
        writes = any(isinstance(op, PutOp) and "records" in op.namespace for op in ops)
        if writes and self.before:
            self.before.pop(0)()
        results = super().batch(ops)
        if writes and self.after:
            self.after.pop(0)()
        return results


def ids(journal: StoreJournal, after: str | None = None) -> list[str]:
    return [record["id"] for _, record in journal.read(after, limit=10**6)]


def fail() -> None:
    raise OSError("the line is cut")


def test_a_record_is_read_when_it_has_settled(clock: Clock) -> None:
    store = InMemoryStore()
    journal, other = StoreJournal(store, settle_s=2), StoreJournal(store, settle_s=2)
    journal.write(made("a"))
    assert ids(other) == []
    assert other.get("a") == made("a")  # by its id it is there at once
    clock.pass_(1.5)
    other.write(made("b"))
    clock.pass_(1)
    assert ids(other) == ids(journal) == ["a"]
    clock.pass_(1.5)
    assert ids(other) == ids(journal) == ["a", "b"]


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["one", "two", "three"]), st.integers(0, 900), st.booleans()), min_size=1, max_size=40
    ),
    skew=st.integers(-990, 990),
    page=st.integers(1, 5),
)
def test_writers_with_clocks_of_their_own_lose_no_record(
    steps: list[tuple[str, int, bool]], skew: int, page: int
) -> None:
    """Clocks that differ by less than half the wait, and writes that take less than that to be there."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_now", lambda: clock.now)
        patch.setattr(module.time, "monotonic", lambda: clock.now / SECOND)
        store = Watched()
        writers = {name: StoreJournal(store, settle_s=2, limit=100) for name in ("one", "two", "three")}
        reader = StoreJournal(store, settle_s=2)
        after, seen = None, []

        def go_on() -> None:
            nonlocal after
            found = reader.read(after, limit=page)
            seen.extend(record["id"] for _, record in found)
            after = found[-1][0] if found else after

        for number, (name, milliseconds, slow) in enumerate(steps):
            ahead = skew * 1000 if name == "two" else 0
            if slow:  # the clock was read, and time passes before the record is there; others read in between
                store.before.append(
                    lambda ms=milliseconds, ahead=ahead: (
                        clock.pass_(ms / 1000 - ahead / SECOND),
                        go_on(),
                        clock.pass_(ahead / SECOND),
                    )
                )
            clock.now += ahead
            writers[name].write(made(str(number)))
            clock.now -= ahead
            clock.pass_(milliseconds / 1000)
            go_on()
        clock.pass_(10)
        while after is None or reader.read(after):
            go_on()
    assert sorted(seen) == sorted(str(number) for number in range(len(steps)))


def test_a_first_write_that_took_too_long_is_done_again_further_on(clock: Clock) -> None:
    store = Watched()
    journal, reader = StoreJournal(store, settle_s=2), StoreJournal(store, settle_s=2)
    seen: list[str] = []

    def meanwhile() -> None:
        StoreJournal(store, settle_s=2).write(made("fast"))
        clock.pass_(5)
        seen.extend(ids(reader))

    store.before.append(meanwhile)
    journal.write(made("slow"))
    ((position, record),) = reader.read()
    assert (seen, record["id"]) == (["fast"], "fast")
    clock.pass_(5)
    assert ids(reader, position) == ["slow"]
    assert ids(reader) == ["fast", "slow"]


def test_a_store_that_is_always_too_slow_is_an_error(clock: Clock) -> None:
    store = Watched()
    store.after = [lambda: clock.pass_(1.1)] * 3
    with pytest.raises(JournalError, match=r"longer than settle_s / 2"):
        StoreJournal(store, settle_s=2).write(made("a"))


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_first_write_that_failed_is_read_where_it_succeeded(clock: Clock, cut: str) -> None:
    store = Watched()
    journal = StoreJournal(store, settle_s=2)
    getattr(store, cut).append(fail)
    with pytest.raises(JournalError, match="OSError: the line is cut"):
        journal.write(made("a"))
    clock.pass_(5)
    journal.write(made("b"))
    clock.pass_(5)
    ((position, _),) = journal.read(limit=10)[-1:]
    journal.write(made("a"))
    clock.pass_(5)
    assert ids(journal, position) == ["a"]
    assert ids(journal) == ["b", "a"]


def test_what_no_id_points_to_is_no_record() -> None:
    store = InMemoryStore()
    journal = StoreJournal(store, settle_s=0)
    journal.write(made("a"))
    store.delete(("speceyes", "journal", "ids"), "a")
    assert (ids(journal), journal.get("a")) == ([], None)
    journal.write(made("a", score=0.5))
    assert ids(journal) == ["a"]


def test_reading_on_looks_at_no_more_than_it_needs() -> None:
    store = Watched()
    journal = StoreJournal(store, settle_s=0, limit=2000)
    for number in range(20):
        journal.write_many([made(f"{number}-{part}") for part in range(100)])
    position = journal.read(limit=1800)[-1][0]
    store.ops.clear()
    assert len(journal.read(position, limit=10)) == 10
    searches = [op for op in store.ops if isinstance(op, SearchOp)]
    gets = [op for op in store.ops if isinstance(op, GetOp)]
    assert len(searches) <= 3  # the chunks, the one that holds the position, the next
    assert len(gets) <= 200


def test_nothing_is_left_of_what_made_room() -> None:
    store = InMemoryStore()
    journal = StoreJournal(store, settle_s=0, limit=40)
    for number in range(200):
        journal.write(made(str(number)))
        journal.write(made(str(max(0, number - 3)), settled=True))
    assert len(ids(journal)) == 40
    for room, most in (("records", 40), ("ids", 40), ("chunks", 21)):
        assert len(store.search(("speceyes", "journal", room), limit=10**6)) <= most


def test_another_schema_is_named() -> None:
    store = InMemoryStore()
    StoreJournal(store).write(made("a"))
    store.put(("speceyes", "journal", "meta"), "schema", {"schema": 3})
    journal = StoreJournal(store)
    for use in (lambda: journal.write(made("b")), journal.read, lambda: journal.load("x")):
        with pytest.raises(JournalError, match="schema 3; this version reads schema 1 and 2"):
            use()


def test_a_store_of_the_first_version_is_read_and_becomes_one_of_this() -> None:
    store = InMemoryStore()
    StoreJournal(store, settle_s=0).write(made("a"))
    store.put(("speceyes", "journal", "meta"), "schema", {"schema": 1})
    journal = StoreJournal(store, settle_s=0)
    assert "depths" not in journal.read()[0][1]
    journal.write(made("b", depth=1, depths=[deeper(1)]))
    assert journal.read()[1][1]["depths"] == [deeper(1)]
    found = store.get(("speceyes", "journal", "meta"), "schema")
    assert found
    assert found.value == {"schema": 2}


def test_a_store_can_come_later() -> None:
    journal = StoreJournal(settle_s=0)
    with pytest.raises(JournalError, match="no store yet"):
        journal.write(made("a"))
    journal.bind(None)
    first, second = InMemoryStore(), InMemoryStore()
    for store in (first, second):
        journal.bind(store)
        journal.write(made("a"))
        assert ids(journal) == ["a"]
    given_ = StoreJournal(first, settle_s=0)
    given_.bind(second)
    given_.write(made("b"))
    assert sorted(ids(given_)) == ["a", "b"]
    with pytest.raises(ArgumentError):
        journal.bind("traffic.db")  # type: ignore[arg-type]


def test_namespaces_keep_journals_apart() -> None:
    store = InMemoryStore()
    one, two = (StoreJournal(store, settle_s=0, namespace=("journals", name)) for name in ("one", "two"))
    one.write(made("a"))
    two.write(made("b"))
    assert (ids(one), ids(two)) == (["a"], ["b"])
    for namespace in ((), ("a.b",), ("",), ("langgraph",), "journals", (1,)):
        with pytest.raises(ArgumentError):
            StoreJournal(store, namespace=namespace)  # type: ignore[arg-type]


class Batched(AsyncBatchedBaseStore):
    """A store as a LangGraph Server has it: on its event loop, around another one."""

    def __init__(self, store: BaseStore) -> None:
        super().__init__()
        self.inner = store

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        return await self.inner.abatch(ops)


@pytest.mark.parametrize("kind", ["batched", "sqlite"])
async def test_a_store_on_the_event_loop_is_used_from_threads(tmp_path: Path, kind: str) -> None:
    async with AsyncSqliteStore.from_conn_string(str(tmp_path / "store.db")) as in_file:
        await in_file.setup()
        store: BaseStore = in_file if kind == "sqlite" else Batched(InMemoryStore())
        journal = StoreJournal(store, settle_s=0, timeout_s=60)
        with pytest.raises(JournalError, match="called on its event loop"):
            journal.write(made("a"))
        records = [made(str(number)) for number in range(40)]
        await asyncio.gather(*(asyncio.to_thread(journal.write_many, records[start::4]) for start in range(4)))
        assert sorted(await asyncio.to_thread(ids, journal)) == sorted(record["id"] for record in records)


def test_an_event_loop_that_has_ended_is_an_error() -> None:
    async def build() -> Batched:
        return Batched(InMemoryStore())

    loop = asyncio.new_event_loop()
    try:
        journal = StoreJournal(loop.run_until_complete(build()))
        with pytest.raises(JournalError, match="not running"):
            journal.write(made("a"))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    with pytest.raises(JournalError):
        journal.write(made("a"))


async def test_an_async_store_that_does_not_answer_is_an_error() -> None:
    class Stuck(Batched):
        async def abatch(self, ops: Iterable[Op]) -> list[Any]:
            return await asyncio.get_running_loop().create_future()

    journal = StoreJournal(Stuck(InMemoryStore()), timeout_s=0.05)
    with pytest.raises(JournalError, match="no answer within"):
        await asyncio.to_thread(journal.write, made("a"))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_process_writes_as_a_writer_of_its_own(tmp_path: Path) -> None:
    journal = StoreJournal(settle_s=0)
    journal.bind(sqlite_store(tmp_path / "store.db"))
    journal.write(made("before"))
    before = journal._writer
    child = os.fork()
    if child == 0:
        status = 1
        try:
            journal.bind(sqlite_store(tmp_path / "store.db"))
            for number in range(5):
                journal.write(made(f"child-{number}"))
            status = 0 if journal._writer != before else 2
        finally:
            os._exit(status)
    for number in range(5):
        journal.write(made(f"parent-{number}"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    expected = ["before", *(f"{who}-{number}" for who in ("child", "parent") for number in range(5))]
    assert sorted(ids(journal)) == sorted(expected)
    journal._store.conn.close()  # type: ignore[union-attr]


def test_threads_of_others_may_add_namespaces_meanwhile() -> None:
    class Disturbed(InMemoryStore):
        """As if another thread had added a namespace while this one looks through them."""

        times = 0

        def batch(self, ops: Iterable[Op]) -> list[Any]:
            ops = list(ops)
            if self.times and any(isinstance(op, SearchOp) for op in ops):
                self.times -= 1
                for _ in self._data:
                    self._data["somebody", str(self.times)] = {}
            return super().batch(ops)

    store = Disturbed()
    journal = StoreJournal(store, settle_s=0)
    store.times = 3
    journal.write(made("a"))
    assert store.times == 0
    store.times = 3
    assert ids(journal) == ["a"]
    store.times = 100
    with pytest.raises(JournalError, match="changed size"):
        journal.read()
