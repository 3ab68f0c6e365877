"""A journal of each kind, made anew for each call."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore

from langgraph_speceyes.traffic import Journal, SQLiteJournal, StoreJournal

Make = Callable[..., Journal]


def sqlite_store(path: Path) -> SqliteStore:
    """LangGraph's store in a file, as several processes can use it."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    store = SqliteStore(connection)
    store.setup()
    return store


@pytest.fixture(params=["file", "memory", "store"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes an empty journal, which is its only writer."""
    with ExitStack() as open_until_the_end:
        count = 0

        def made(**settings: Any) -> Journal:
            nonlocal count
            count += 1
            if request.param == "file":
                journal: Journal = SQLiteJournal(tmp_path / f"{count}.db", **settings)
            elif request.param == "memory":
                journal = StoreJournal(InMemoryStore(), settle_s=0, **settings)
            else:
                store = sqlite_store(tmp_path / f"store-{count}.db")
                open_until_the_end.callback(store.conn.close)
                journal = StoreJournal(store, settle_s=0, **settings)
            open_until_the_end.callback(journal.close)
            return journal

        yield made
