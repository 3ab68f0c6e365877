"""Recording for runs: never raises, never waits, loses nothing that it need not lose."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.memory import InMemoryStore

from langgraph_speceyes.errors import ArgumentError, JournalError
from langgraph_speceyes.traffic import Record, Recorder, SQLiteJournal, StoreJournal
from langgraph_speceyes.traffic import recorder as module
from tests.traffic.records import made
from tests.waiting import PATIENCE_S, until


class Journal(StoreJournal):
    """A journal in memory that can be in trouble, or at rest in the middle of a write."""

    def __init__(self) -> None:
        super().__init__(InMemoryStore(), settle_s=0)
        self.trouble: Exception | None = None
        self.poison: str | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.at_rest = threading.Event()
        self.tries = 0
        self.batches: list[int] = []

    def write_many(self, records: Sequence[Record]) -> None:
        self.tries += 1
        self.at_rest.set()
        assert self.go_on.wait(PATIENCE_S)
        if self.trouble is not None:
            raise self.trouble
        if any(record["id"] == self.poison for record in records):
            raise TypeError("not this one")
        super().write_many(records)
        self.batches.append(len(records))


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(module, "LONGEST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "HURRIED_WAIT_S", 0.001)


@pytest.fixture
def journal() -> Iterator[Journal]:
    journal = Journal()
    yield journal
    journal.go_on.set()


@pytest.fixture
def recorder(journal: Journal) -> Iterator[Recorder]:
    recorder = Recorder(journal, limit=1000)
    yield recorder
    journal.go_on.set()
    recorder.close(0)


def ids(journal: StoreJournal | SQLiteJournal) -> list[str]:
    return [record["id"] for _, record in journal.read(limit=10**6)]


def test_records_are_written_in_their_order(journal: Journal, recorder: Recorder) -> None:
    for number in range(700):
        recorder.record(made(str(number)))
    recorder.record(made("5", settled=True))
    assert recorder.flush(PATIENCE_S)
    assert ids(journal) == [str(number) for number in range(700)]
    found = journal.get("5")
    assert found is not None
    assert found["settled"]
    assert recorder.counts == {"written": 701, "waiting": 0, "failed": 0, "dropped": 0}


def test_the_caller_waits_for_nothing_and_most_records_wait_for_it(journal: Journal) -> None:
    recorder = Recorder(journal, limit=10)
    journal.go_on.clear()
    recorder.record(made("first"))
    assert journal.at_rest.wait(PATIENCE_S)  # the journal is at work, and stays so
    for number in range(15):
        recorder.record(made(str(number)))
    assert recorder.counts == {"written": 0, "waiting": 10, "failed": 0, "dropped": 6}
    assert not recorder.flush(0.001)
    journal.go_on.set()
    assert recorder.close(PATIENCE_S)
    assert recorder.counts == {"written": 10, "waiting": 0, "failed": 0, "dropped": 6}
    assert ids(journal) == ["first", *(str(number) for number in range(9))]
    assert journal.batches == [1, 9]  # what waited is written at once


def test_what_a_caller_does_with_a_record_afterwards_is_its_own(journal: Journal, recorder: Recorder) -> None:
    journal.go_on.clear()
    record = made("a")
    recorder.record(record)
    record["score"] = record["scores"]["odds"] = 0.0
    record["id"] = "b"
    journal.go_on.set()
    assert recorder.flush(PATIENCE_S)
    assert [found for _, found in journal.read()] == [made("a")]


def test_trouble_is_said_once_and_waited_for(
    journal: Journal, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    journal.trouble = JournalError("the disk is full")
    for number in range(300):
        recorder.record(made(str(number)))
    until(lambda: journal.tries > 5)
    assert recorder.counts == {"written": 0, "waiting": 300, "failed": 0, "dropped": 0}
    assert [(each.levelno, "the disk is full" in each.message) for each in caplog.records] == [(logging.WARNING, True)]
    journal.trouble = None
    assert recorder.flush(PATIENCE_S)
    assert ids(journal) == [str(number) for number in range(300)]
    until(lambda: len(caplog.records) == 2)
    assert "written again; 0 records were dropped" in caplog.records[1].message
    journal.trouble = JournalError("again")
    recorder.record(made("last"))
    until(lambda: len(caplog.records) == 3)


def test_what_no_journal_can_keep_fails_alone(
    journal: Journal, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.record({"id": "a"})  # type: ignore[typeddict-item]
    recorder.record(None)  # type: ignore[arg-type]
    journal.go_on.clear()
    recorder.record(made("first"))
    assert journal.at_rest.wait(PATIENCE_S)
    journal.poison = "3"
    for number in range(6):
        recorder.record(made(str(number)))
    journal.go_on.set()
    assert recorder.flush(PATIENCE_S)
    assert recorder.counts == {"written": 6, "waiting": 0, "failed": 3, "dropped": 0}
    assert ids(journal) == ["first", "0", "1", "2", "4", "5"]
    assert len(caplog.records) == 1


def test_close_gives_up_on_a_journal_in_trouble(journal: Journal, recorder: Recorder) -> None:
    journal.trouble = JournalError("locked")
    for number in range(600):
        recorder.record(made(str(number)))
    until(lambda: journal.tries > 2)
    assert not recorder.close(0.01)
    recorder.record(made("late"))
    until(lambda: recorder.counts["waiting"] == 0)
    assert recorder.counts == {"written": 0, "waiting": 0, "failed": 0, "dropped": 601}


def test_close_waits_for_the_end_of_trouble(journal: Journal, recorder: Recorder) -> None:
    journal.trouble = JournalError("locked")
    recorder.record(made("a"))
    until(lambda: journal.tries > 2)
    closing_ = threading.Thread(target=recorder.close, args=(PATIENCE_S,))
    closing_.start()
    until(lambda: recorder._closed)
    journal.trouble = None
    closing_.join()
    assert ids(journal) == ["a"]


def test_a_thread_without_work_ends_and_another_takes_its_place(
    journal: Journal, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.001)
    for number in range(3):
        recorder.record(made(str(number)))
        assert recorder.flush(PATIENCE_S)
        until(lambda: recorder._thread is None)
    assert ids(journal) == ["0", "1", "2"]


def test_without_a_thread_close_writes_itself(
    journal: Journal, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(module.threading.Thread, "start", refuse)
    recorder.record(made("a"))
    assert recorder.counts["waiting"] == 1
    assert recorder.close()
    assert ids(journal) == ["a"]


def test_many_threads_record_at_once(journal: Journal) -> None:
    recorder = Recorder(journal, limit=50)
    threads = [
        threading.Thread(target=lambda name=name: [recorder.record(made(f"{name}-{n}")) for n in range(100)])  # type: ignore[misc]
        for name in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close(PATIENCE_S)
    counts = recorder.counts
    assert counts["written"] + counts["dropped"] == 400
    assert (counts["waiting"], counts["failed"]) == (0, 0)
    assert len(ids(journal)) == counts["written"] >= 50


def test_a_locked_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    with closing(SQLiteJournal(path, timeout_s=0.01)) as journal:
        journal.write(made("first"))
        recorder = Recorder(journal)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for number in range(20):
                recorder.record(made(str(number)))
            until(lambda: recorder._in_trouble)
            assert recorder.counts["waiting"] == 20
            other.execute("ROLLBACK")
        assert recorder.close(PATIENCE_S)
        assert ids(journal) == ["first", *(str(number) for number in range(20))]


async def test_nothing_blocks_an_event_loop(tmp_path: Path) -> None:
    blockbuster = pytest.importorskip("blockbuster", reason="the extra server is not installed")
    with closing(SQLiteJournal(tmp_path / "traffic.db")) as journal:
        recorder = Recorder(journal)
        with blockbuster.blockbuster_ctx("langgraph_speceyes"):
            for number in range(50):
                recorder.record(made(str(number)))
        assert await asyncio.to_thread(recorder.close, PATIENCE_S)
        assert await asyncio.to_thread(ids, journal) == [str(number) for number in range(50)]


def test_an_unbound_store_is_waited_for() -> None:
    journal = StoreJournal(settle_s=0)
    recorder = Recorder(journal)
    recorder.record(made("a"))
    until(lambda: recorder._in_trouble)
    journal.bind(InMemoryStore())
    assert recorder.close(PATIENCE_S)
    assert ids(journal) == ["a"]


def run(code: str, *arguments: Any) -> str:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]).stdout


def test_what_waits_is_written_at_the_interpreters_end(tmp_path: Path) -> None:
    code = """
import sys
from langgraph_speceyes.traffic import Recorder, SQLiteJournal
from tests.traffic.records import made

recorder = Recorder(SQLiteJournal(sys.argv[1]))
for number in range(1000):
    recorder.record(made(str(number)))
"""
    run(code, tmp_path / "traffic.db")
    with closing(SQLiteJournal(tmp_path / "traffic.db")) as journal:
        assert ids(journal) == [str(number) for number in range(1000)]


def test_a_journal_in_trouble_does_not_keep_an_interpreter(tmp_path: Path) -> None:
    code = """
import sys
from langgraph_speceyes.traffic import Recorder, SQLiteJournal, recorder
from tests.traffic.records import made

recorder.EXIT_S = 0.2
recorder = Recorder(SQLiteJournal(sys.argv[1]))
for number in range(1000):
    recorder.record(made(str(number)))
print("done")
"""
    assert run(code, tmp_path / "no such folder" / "traffic.db") == "done\n"


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_process_records_anew(tmp_path: Path) -> None:
    code = """
import os, sys
from langgraph_speceyes.traffic import Recorder, SQLiteJournal
from tests.traffic.records import made

class Counted(SQLiteJournal):
    written = []
    def write_many(self, records):
        super().write_many(records)
        self.written += [record["id"] for record in records]

journal = Counted(sys.argv[1], timeout_s=30)
recorder = Recorder(journal)
recorder.record(made("before"))
assert recorder.flush(60)
with recorder._changed:  # the thread cannot take it, so that it still waits while the process is forked
    recorder.record(made("waiting"))
    child = os.fork()
    if child == 0:
        journal.written.clear()
        recorder.record(made("child"))
        done = recorder.flush(60) and recorder.counts["written"] == 1 and journal.written == ["child"]
        os._exit(0 if done else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
recorder.record(made("parent"))
assert recorder.flush(60) and recorder.counts["written"] == 3
"""
    run(code, tmp_path / "traffic.db")
    with closing(SQLiteJournal(tmp_path / "traffic.db")) as journal:
        assert sorted(ids(journal)) == ["before", "child", "parent", "waiting"]


def test_a_bound_that_cannot_be_used_is_refused(journal: Journal) -> None:
    with pytest.raises(ArgumentError):
        Recorder(journal, limit=0)
