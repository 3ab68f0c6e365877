"""The journal in a file: other processes, and everything that can be wrong with a file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from langgraph_speceyes.errors import JournalError
from langgraph_speceyes.traffic import SQLiteJournal
from tests.traffic.records import deeper, made

NOBODY = 65534


def forking(test: Callable[..., None]) -> Callable[..., None]:
    """For tests that fork: threads of other tests may be there, which is what Python 3.12 warns of."""
    test = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")(test)
    return pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")(test)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traffic.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SQLiteJournal]:
    with closing(SQLiteJournal(path, timeout_s=0.05)) as opened:
        yield opened


def ids(journal: SQLiteJournal) -> list[str]:
    return [record["id"] for _, record in journal.read(limit=10**6)]


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


def test_text_is_in_no_column_of_a_journal_without_texts(path: Path, journal: SQLiteJournal) -> None:
    record = made(
        "a", question="SECRET", speculation="SECRET", answer="SECRET", images=["SECRET.png"], error="a SECRET"
    )
    with closing(SQLiteJournal(path, texts=True)) as other:
        other.write(record)
    assert b"SECRET" in b"".join(each.read_bytes() for each in path.parent.iterdir())
    journal.write(record)
    assert query(path, "SELECT question, speculation, answer, images FROM records") == [(None, None, None, None)]
    assert query(path, "SELECT count(*) FROM records WHERE record LIKE '%SECRET%'") == [(0,)]


def test_positions_are_never_used_again(path: Path, journal: SQLiteJournal) -> None:
    journal.write_many([made("a"), made("b")])
    ((_, _), (last, _)) = journal.read()
    query(path, "DELETE FROM records")
    journal.write(made("c"))
    assert [record["id"] for _, record in journal.read(last)] == ["c"]


def test_a_limit_that_was_lowered_is_reached_step_by_step(path: Path, journal: SQLiteJournal) -> None:
    journal.write_many([made(str(number)) for number in range(2500)])
    with closing(SQLiteJournal(path, limit=10)) as smaller:
        smaller.write(made("a"))
        assert len(ids(smaller)) == 1500
        smaller.write_many([made("b"), made("c")])
        smaller.write(made("d"))
        assert ids(smaller)[-4:] == ["a", "b", "c", "d"]
        assert len(ids(smaller)) == 10


@pytest.mark.parametrize("schema", [0, 3])
def test_another_schema_is_named(path: Path, journal: SQLiteJournal, schema: int) -> None:
    journal.write(made("a"))
    query(path, f"PRAGMA user_version = {schema}")
    with (
        closing(SQLiteJournal(path)) as other,
        pytest.raises(JournalError, match=f"schema {schema}; this version reads schema 1 and 2"),
    ):
        other.read()


def test_a_file_of_the_first_version_is_read_and_becomes_one_of_this(path: Path, journal: SQLiteJournal) -> None:
    journal.write(made("a"))
    journal.save("state", {"x": 1})
    journal.close()
    query(path, "PRAGMA user_version = 1")
    with closing(SQLiteJournal(path)) as other:
        ((_, old),) = other.read()
        assert "depths" not in old
        assert other.load("state") == {"x": 1}
        other.write(made("b", depth=1, depths=[deeper(1)]))
        (_, (_, new)) = other.read()
        assert new["depths"] == [deeper(1)]
    assert query(path, "PRAGMA user_version") == [(2,)]


def test_a_database_of_another_program_is_left_alone(path: Path, journal: SQLiteJournal) -> None:
    query(path, "CREATE TABLE songs (name)")
    before = path.read_bytes()
    for use in (lambda: journal.write(made("a")), journal.read):
        with pytest.raises(JournalError, match="another program"):
            use()
    assert path.read_bytes() == before


def test_a_locked_file_is_an_error_until_it_is_free(path: Path, journal: SQLiteJournal) -> None:
    journal.write(made("a"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalError, match="locked"):
            journal.write(made("b"))
        assert ids(journal) == ["a"]  # readers need no lock
        other.execute("ROLLBACK")
        journal.write(made("b"))
    assert ids(journal) == ["a", "b"]


def test_a_full_disk_is_an_error_until_there_is_room(path: Path) -> None:
    code = f"""
import resource
from langgraph_speceyes.errors import JournalError
from langgraph_speceyes.traffic import SQLiteJournal
from tests.traffic.records import deeper, made

journal = SQLiteJournal({str(path)!r}, texts=True)
acknowledged = []
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
for number in range(10_000):
    try:
        journal.write(made(str(number), question="word " * 200))
    except JournalError:
        break
    acknowledged.append(str(number))
assert 10 < len(acknowledged) < 10_000, len(acknowledged)
assert [record["id"] for _, record in journal.read()] == acknowledged
try:
    journal.write_many([made(f"more {{number}}", question="word " * 1800) for number in range(50)])
except JournalError:
    pass
else:
    raise AssertionError("there was room")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.write(made("after"))
assert [record["id"] for _, record in journal.read(limit=10**6)] == [*acknowledged, "after"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_file_with_no_room_by_its_own_bound(path: Path, journal: SQLiteJournal) -> None:
    journal.write(made("a"))
    assert journal._connection is not None
    journal._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(JournalError, match="full"):
        journal.write_many([made(str(number)) for number in range(50)])
    journal.write(made("b"))  # opened anew, without the bound
    assert ids(journal) == ["a", "b"]


def test_a_folder_that_cannot_be_written_is_an_error_until_it_can(path: Path) -> None:
    folder = path.parent / "folder"
    with closing(SQLiteJournal(folder / "traffic.db")) as journal:
        with pytest.raises(JournalError, match="unable to open"):
            journal.write(made("a"))
        folder.mkdir()
        journal.write(made("a"))
        assert ids(journal) == ["a"]


@forking
@pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() != 0, reason="needs to become another user")
def test_a_read_only_folder_is_an_error_until_it_can_be_written(path: Path) -> None:
    folder = Path("/tmp") / f"speceyes-{os.getpid()}-{path.parent.name}"
    folder.mkdir(mode=0o755)
    read, write = os.pipe()
    again, go_on = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(go_on)  # so that the child ends with its parent
            os.setuid(NOBODY)
            journal = SQLiteJournal(folder / "traffic.db")
            try:
                journal.write(made("a"))
            except JournalError:
                os.write(write, b"refused")
            else:
                os.write(write, b"written")
            os.read(again, 1)
            journal.write(made("a"))
            status = 0 if ids(journal) == ["a"] else 2
        finally:
            os._exit(status)
    try:
        assert os.read(read, 10) == b"refused"
        os.chown(folder, NOBODY, NOBODY)
        os.write(go_on, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        for each in (read, write, again, go_on):
            os.close(each)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def test_a_damaged_file_is_an_error_until_it_is_gone(path: Path, journal: SQLiteJournal) -> None:
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    for use in (lambda: journal.write(made("a")), journal.read):
        with pytest.raises(JournalError, match="not a database"):
            use()
    path.unlink()
    journal.write(made("a"))
    assert ids(journal) == ["a"]


def test_pages_that_are_damaged_under_an_open_journal(path: Path) -> None:
    with closing(SQLiteJournal(path, texts=True)) as journal:
        journal.write_many([made(str(number), question="x" * 2000) for number in range(200)])
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 4)
        file.write(b"\xff" * (size - 4096 * 4))
    with closing(SQLiteJournal(path)) as journal, pytest.raises(JournalError, match="malformed"):
        journal.read()


def test_a_file_that_was_moved_away_is_begun_anew(path: Path, journal: SQLiteJournal) -> None:
    journal.write(made("a"))
    moved = path.with_name("old.db")
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").rename(f"{moved}{end}")
    with closing(SQLiteJournal(path)) as other:
        other.write(made("b"))
        journal.write(made("c"))
        assert ids(other) == ids(journal) == ["b", "c"]
    with closing(SQLiteJournal(moved)) as old:
        assert ids(old) == ["a"]


@forking
def test_a_forked_process_has_a_connection_of_its_own(path: Path) -> None:
    journal = SQLiteJournal(path, timeout_s=30)
    journal.write(made("before"))
    with journal._guard.held():  # as if another thread were at work for as long as it takes
        children = []
        for name in ("one", "two"):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    assert journal._connection is None
                    for number in range(50):
                        journal.write(made(f"{name}-{number}"))
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    journal.write(made("after"))
    expected = ["before", *(f"{name}-{number}" for name in ("one", "two") for number in range(50)), "after"]
    assert sorted(ids(journal)) == sorted(expected)
    journal.close()
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


@forking
def test_several_processes_make_the_file_at_once(path: Path) -> None:
    for round_ in range(10):
        file = path.with_name(f"{round_}.db")
        ready, start = os.pipe()
        children = []
        for name in range(4):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    os.close(start)
                    os.read(ready, 1)  # all of them go on when the parent closes its end
                    with closing(SQLiteJournal(file, timeout_s=60)) as journal:
                        journal.write(made(str(name)))
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        os.close(ready)
        os.close(start)
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0, 0]
        with closing(SQLiteJournal(file)) as journal:
            assert sorted(ids(journal)) == ["0", "1", "2", "3"]
