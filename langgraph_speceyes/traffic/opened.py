"""From what a caller names to a journal."""

from __future__ import annotations

import os

from langgraph.store.base import BaseStore

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.traffic.journal import LIMIT, Journal
from langgraph_speceyes.traffic.postgres import PostgresJournal, is_postgres
from langgraph_speceyes.traffic.sqlite import SQLiteJournal
from langgraph_speceyes.traffic.store import StoreJournal


def open_journal(
    value: Journal | BaseStore | str | os.PathLike[str], *, texts: bool = False, limit: int = LIMIT
) -> Journal:
    """The journal that a value stands for.

    Args:
        value: The path of a file, the URL of a PostgreSQL database (``postgresql://...``), a LangGraph store, or a
            journal, which is returned as it is.
        texts: Whether a journal that is made here keeps question and answers as text.
        limit: Most records of a journal that is made here.

    Returns:
        The journal. Nothing was opened yet.

    Raises:
        ArgumentError: It is none of these.
        MissingExtraError: It is a URL, and the libraries for PostgreSQL are not installed.
    """
    if isinstance(value, str) and is_postgres(value):
        return PostgresJournal(value, texts=texts, limit=limit)
    if isinstance(value, BaseStore):
        return StoreJournal(value, texts=texts, limit=limit)
    if isinstance(value, str | os.PathLike):
        return SQLiteJournal(value, texts=texts, limit=limit)
    if isinstance(value, Journal) and not isinstance(value, type):
        return value
    raise ArgumentError(
        "journal", "the path of a file, a postgresql:// URL, a LangGraph store or a Journal", type(value).__name__
    )
