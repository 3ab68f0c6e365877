"""The journal as one SQLite file, for the processes of one machine."""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from langgraph_speceyes.errors import ArgumentError, ClosedError, JournalError
from langgraph_speceyes.traffic.guard import Guard
from langgraph_speceyes.traffic.journal import LIMIT, check_number
from langgraph_speceyes.traffic.kept import TEXTS, check_name, kept
from langgraph_speceyes.traffic.record import READABLE, SCHEMA, Record

APPLICATION = 0x53_70_45_79
"""SQLite's `application_id` of a journal: ``SpEy``."""

_TABLES = """
CREATE TABLE records (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL,
    question TEXT, speculation TEXT, answer TEXT, images TEXT
);
CREATE TABLE named (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counts (records INTEGER NOT NULL);
INSERT INTO counts VALUES (0);
CREATE TRIGGER came AFTER INSERT ON records BEGIN UPDATE counts SET records = records + 1; END;
CREATE TRIGGER went AFTER DELETE ON records BEGIN UPDATE counts SET records = records - 1; END
"""
_WRITE = """
INSERT INTO records (id, record, question, speculation, answer, images) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET record = excluded.record, question = excluded.question,
    speculation = excluded.speculation, answer = excluded.answer, images = excluded.images
"""
_COLUMNS = "record, question, speculation, answer, images"
_TRIM = "DELETE FROM records WHERE position IN (SELECT position FROM records ORDER BY position LIMIT ?)"
_MOST_TRIMMED = 1000
"""Records that a write removes besides as many as it brings, where the limit was lowered."""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_OPEN_AGAIN_S = 0.01


class SQLiteJournal:
    """A journal in one SQLite file (WAL), for several threads and processes of one machine.

    A write that has returned survives the process, killed or not. After a power failure the last moments may be
    missing (`synchronous` is NORMAL), and positions given out in them come again. Nothing is opened before the first
    use; after trouble the next use opens the file anew. Not for network drives, where WAL does not work.

    The file holds `records` (`position`, `id`, `record` as JSON without texts, the texts in columns of their own but
    for those of answers after a look) and `named`; SQLite's `user_version` is the layout's. A file of an earlier
    version is read, and from then on one of this version.

    Args:
        path: The file; it is made in a folder that exists.
        texts: Whether question, answers and references of images are kept. Otherwise their columns are empty.
        limit: Most records in the file; the oldest make room.
        timeout_s: Longest wait for another process or thread, in seconds.

    Raises:
        ArgumentError: A number is too small, or the path names no file.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, texts: bool = False, limit: int = LIMIT, timeout_s: float = 5.0
    ) -> None:
        if not isinstance(path, str | os.PathLike) or str(path) in ("", ":memory:"):
            raise ArgumentError("path", "the path of a file", repr(path))
        check_number("limit", limit, 1)
        check_number("timeout_s", timeout_s, 0, whole=False)
        self.path = Path(path).absolute()
        self.texts, self.limit, self.timeout_s = texts, limit, timeout_s
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._closed = False
        self._guard = Guard(timeout_s, self._abandon)

    def __repr__(self) -> str:
        """Name the file."""
        return f"SQLiteJournal({str(self.path)!r}, texts={self.texts}, limit={self.limit})"

    def write(self, record: Record) -> None:
        """Keep a record; one with a known id takes the place of the earlier one, in its old position.

        A record that was removed and is written again is a new one.
        """
        self.write_many([record])

    def write_many(self, records: Sequence[Record]) -> None:
        """Keep several records in one transaction: all of them or, if it raises, none."""
        rows = [_row(kept(record, texts=self.texts)) for record in records]
        if not rows:
            return
        with self._open() as connection, _transaction(connection):
            connection.executemany(_WRITE, rows)
            (count,) = connection.execute("SELECT records FROM counts").fetchone()
            if count > self.limit:
                connection.execute(_TRIM, (min(count - self.limit, len(rows) + _MOST_TRIMMED),))

    def get(self, id: str) -> Record | None:
        """The record of an id, as it was last written."""
        check_name("id", id)
        with self._open() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM records WHERE id = ?", (id,)).fetchone()
            return None if row is None else _record(row)

    def read(self, after: str | None = None, *, limit: int = 1000) -> list[tuple[str, Record]]:
        """Records in order; see :class:`~langgraph_speceyes.traffic.journal.Journal`.

        The order is that in which first writes were committed: nothing ever appears before a position that was read.
        """
        check_number("limit", limit, 1)
        if after is not None and not (isinstance(after, str) and after.isdecimal() and len(after) < 19):
            raise ArgumentError("after", "a position that this journal returned", repr(after))
        query = f"SELECT position, {_COLUMNS} FROM records WHERE position > ? ORDER BY position LIMIT ?"
        with self._open() as connection:
            rows = connection.execute(query, (int(after or 0), min(limit, 2**62))).fetchall()
            return [(str(row[0]), _record(row[1:])) for row in rows]

    def save(self, name: str, value: dict[str, Any]) -> None:
        """Keep a small value under a name."""
        check_name("name", name)
        text = as_json("value", value)
        with self._open() as connection, _transaction(connection):
            connection.execute("INSERT OR REPLACE INTO named VALUES (?, ?)", (name, text))

    def load(self, name: str) -> dict[str, Any] | None:
        """The value last saved under a name."""
        check_name("name", name)
        with self._open() as connection:
            row = connection.execute("SELECT value FROM named WHERE name = ?", (name,)).fetchone()
            return None if row is None else cast(dict[str, Any], json.loads(row[0]))

    def close(self) -> None:
        """Close the file; what comes afterwards raises :class:`~langgraph_speceyes.errors.ClosedError`."""
        with self._guard.held():
            self._closed = True
            self._let_go()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._guard.held():
            if self._closed:
                raise ClosedError(f"{self!r} is closed")
            try:
                yield self._connected()
            except (sqlite3.Error, OSError, json.JSONDecodeError) as error:
                self._let_go()
                raise JournalError(f"{self.path}: {error}") from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._file != _identity(self.path):
            # Closing would remove the new file's WAL, which has the same name.
            self._abandon()
        if self._connection is None:
            self._connection = self._connect()
            self._file = _identity(self.path)
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        # SQLite waits for locks itself, but not in all steps of opening
        limit = time.monotonic() + self.timeout_s
        while True:
            connection = sqlite3.connect(
                self.path, timeout=self.timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
                return connection
            except BaseException as error:
                connection.close()
                code = getattr(error, "sqlite_errorcode", None)
                if code is None or code & 0xFF not in _BUSY or time.monotonic() >= limit:
                    raise
            time.sleep(_OPEN_AGAIN_S)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        with _transaction(connection, "DEFERRED"):  # one moment for all that is looked at
            made = self._is_made(connection)
        # only now: another program's file is left as it is
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if made and self._version(connection) == SCHEMA:
            return
        with _transaction(connection):
            if made:
                connection.execute(f"PRAGMA user_version = {SCHEMA}")
            elif not self._is_made(connection):  # another process may have been faster
                for statement in _TABLES.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {SCHEMA}")

    def _is_made(self, connection: sqlite3.Connection) -> bool:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        version = self._version(connection)
        if application == APPLICATION:
            if version not in READABLE:
                reads = " and ".join(map(str, READABLE))
                raise JournalError(f"{self.path}: a journal of schema {version}; this version reads schema {reads}")
            return True
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables or application or version:
            raise JournalError(f"{self.path}: a database of another program, no journal")
        return False

    @staticmethod
    def _version(connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _let_go(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _abandon(self) -> None:
        """Forget the connection without ever closing it: closing touches files and locks that are another's now."""
        if self._connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        self._connection = None


def as_json(argument: str, value: object) -> str:
    """A value as JSON.

    Raises:
        ArgumentError: It cannot be written as JSON, or is no dictionary.
    """
    if not isinstance(value, dict):
        raise ArgumentError(argument, "a dictionary", type(value).__name__)
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(argument, "what can be written as JSON", str(error)) from error


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _row(record: Record) -> tuple[str | None, ...]:
    numbers = {key: value for key, value in record.items() if key not in (*TEXTS, "images")}
    images = json.dumps(record["images"]) if record["images"] else None
    return record["id"], json.dumps(numbers), record["question"], record["speculation"], record["answer"], images


def _record(row: Sequence[str | None]) -> Record:
    numbers, *texts, images = row
    found = json.loads(numbers or "")
    found.update(zip(TEXTS, texts, strict=True), images=json.loads(images) if images else [])
    return cast(Record, found)
