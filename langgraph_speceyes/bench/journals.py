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


def is_journal(name: str | PathLike[str]) -> bool:
    """Whether a name is that of a journal: a file, or the URL of a PostgreSQL database; a run is a folder."""
    return is_postgres(name) or Path(name).is_file()


def journal_at(name: str | PathLike[str]) -> Journal:
    """The journal that a command names.

    Args:
        name: The path of a file, the URL of a PostgreSQL database, or the dotted name of a function of the user's that
            returns a journal.

    Raises:
        ArgumentError: There is none of them.
        MissingExtraError: It is a URL, and the libraries for PostgreSQL are not installed.
    """
    name = fspath(name)
    # what another process keeps is not to be cut down, neither its texts nor its records
    if is_postgres(name):
        return PostgresJournal(name, texts=True, limit=maxsize, make=False)
    path = Path(name)
    if path.is_file():
        return SQLiteJournal(path, texts=True, limit=maxsize)
    from langgraph_speceyes.bench.chosen import made

    try:
        found = made(name, "journal") if "." in name and "/" not in name else None
    except ArgumentError as error:
        expected = "a file, a postgresql:// URL, or the dotted name of a function"
        raise ArgumentError("journal", expected, error.found) from None
    if not isinstance(found, Journal):
        expected = "a journal's file, a postgresql:// URL, or a function that returns a journal"
        raise ArgumentError("journal", expected, repr(name))
    return found


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
