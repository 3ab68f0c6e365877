"""Journals as commands name them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from os import PathLike, fspath
from pathlib import Path
from sys import maxsize

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.traffic.journal import Journal
from langgraph_speceyes.traffic.postgres import PostgresJournal, is_postgres
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.sqlite import SQLiteJournal

__all__ = ["is_journal", "journal_at", "public_name", "read_journal", "records_of"]

_SQLITE = b"SQLite format 3\0"
"""How every SQLite database begins that anything was ever written to."""


def is_journal(name: str | PathLike[str], argument: str) -> bool:
    """Whether a name is that of a journal: a SQLite file, or the URL of a PostgreSQL database; a run is a folder.

    Args:
        name: What a command was given for a journal or a run.
        argument: Name of the argument that errors blame.

    Raises:
        ArgumentError: It is neither.
    """
    if is_postgres(name):
        return True
    path = Path(name)
    if path.is_dir():
        return False
    _check_sqlite(path, argument, "the folder of a run, or a journal by its SQLite file or postgresql:// URL")
    return True


def journal_at(name: str | PathLike[str]) -> Journal:
    """The journal that a command names.

    Args:
        name: The path of a file, the URL of a PostgreSQL database, or the dotted name of a function of the user's that
            returns a journal.

    Raises:
        ArgumentError: It is none of them.
        MissingExtraError: It is a URL, and the libraries for PostgreSQL are not installed.
    """
    name = fspath(name)
    # what another process keeps is not to be cut down, neither its texts nor its records
    if is_postgres(name):
        return PostgresJournal(name, texts=True, limit=maxsize, make=False)
    path = Path(name)
    expected = "a journal's SQLite file, a postgresql:// URL, or the dotted name of a function that returns a journal"
    if path.exists() or "." not in name or "/" in name:
        _check_sqlite(path, "journal", expected)
        return SQLiteJournal(path, texts=True, limit=maxsize)
    from langgraph_speceyes.bench.chosen import made

    try:
        found = made(name, "journal")
    except ArgumentError as error:
        raise ArgumentError("journal", expected, f"no such file, and as a function {error.found}") from None
    if not isinstance(found, Journal):
        raise ArgumentError("journal", expected, f"{name!r}, which returns {type(found).__name__}")
    return found


def _check_sqlite(path: Path, argument: str, expected: str) -> None:
    # SQLite would make its database of an empty file, and says of others only that they are none
    if not path.is_file():
        raise ArgumentError(argument, expected, f"a folder, {path}" if path.is_dir() else f"nothing at {path}")
    try:
        with path.open("rb") as file:
            start = file.read(len(_SQLITE))
    except OSError as error:
        raise ArgumentError(argument, expected, f"{path}: {error.strerror}") from None
    if start != _SQLITE:
        raise ArgumentError(argument, expected, f"{path}, {'another kind of' if start else 'an empty'} file")


def public_name(name: str | PathLike[str]) -> str:
    """A name as pages and messages may show it: of a URL, database and host without the password."""
    return PostgresJournal(fspath(name)).where if is_postgres(name) else str(Path(name))


def records_of(journal: Journal) -> Iterator[Record]:
    """Every record of a journal, in order."""
    after = None
    while page := journal.read(after):
        yield from (record for _, record in page)
        after = page[-1][0]


def read_journal(name: str | PathLike[str]) -> tuple[Record, ...]:
    """All records of a journal that a command names.

    Raises:
        JournalError: It cannot be read.
    """
    with closing(journal_at(name)) as journal:
        return tuple(records_of(journal))
