"""A journal by its database's URL: opened when it is needed, by several processes at once, after the server's cuts."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.store.postgres import PostgresStore
from langgraph.store.postgres.aio import AsyncPostgresStore

from langgraph_speceyes.bench.journals import journal_at, public_name, records_of
from langgraph_speceyes.errors import ArgumentError, ClosedError, JournalError, MissingExtraError
from langgraph_speceyes.traffic import PostgresJournal, StoreJournal, open_journal
from tests.traffic.records import made

ROOT = Path(__file__).parents[2]


def at(url: str, **settings: Any) -> PostgresJournal:
    return PostgresJournal(url, **{"settle_s": 0, **settings})


def ids(journal: Any) -> list[str]:
    return [record["id"] for record in records_of(journal)]


def test_by_its_url_a_journal_is_opened_at_its_first_use_and_closed_with_it(database: str) -> None:
    journal = open_journal(database, texts=True, limit=7)
    assert isinstance(journal, PostgresJournal)
    assert (journal.texts, journal.limit, journal.bound) == (True, 7, True)
    journal.close()
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('store')").fetchone() == (None,)
    with pytest.raises(ClosedError):
        journal.write(made("a"))
    journal = at(database)
    journal.write(made("a"))
    journal.save("gate", {"open": 0.5})
    assert sessions(database) > 0
    journal.close()
    assert sessions(database) == 0
    again = at(database)
    assert (ids(again), again.load("gate")) == (["a"], {"open": 0.5})
    again.close()


def test_a_journal_that_is_closed_while_it_opens_keeps_no_connection(database: str) -> None:
    journal = at(database)

    class ClosedMeanwhile:
        """The lock of whoever opens the connections, had only after another thread has closed the journal."""

        lock = journal._opening

        def __enter__(self) -> None:
            journal._opening = self.lock
            closer = threading.Thread(target=journal.close)
            closer.start()
            closer.join()
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    journal._opening = ClosedMeanwhile()  # type: ignore[assignment]
    with pytest.raises(ClosedError):
        journal.load("gate")
    assert sessions(database) == 0


def sessions(url: str) -> int:
    """How many connections there are besides this one."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
        assert found is not None
        return int(found[0])


def test_threads_that_all_come_first_make_the_tables_once(database: str) -> None:
    journals = [at(database, timeout_s=60) for _ in range(4)]
    failures: list[Exception] = []

    def first(number: int) -> None:
        try:
            journals[number].write(made(str(number)))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=first, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(ids(journals[0])) == ["0", "1", "2", "3"]
    for journal in journals:
        journal.close()


def test_connections_that_the_server_cuts_are_replaced(database: str) -> None:
    journal = at(database)
    journal.write(made("a"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    failed = 0
    while True:
        try:
            journal.write(made("b"))
            break
        except JournalError:
            failed += 1
            assert failed < 50
    assert ids(journal) == ["a", "b"]
    journal.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(database: str) -> None:
    journal = at(database)
    journal.write(made("parent"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            journal.write(made("child"))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    journal.write(made("after"))
    assert ids(journal) == ["parent", "child", "after"]
    journal.close()


def test_the_commands_make_nothing_where_there_is_no_journal(database: str) -> None:
    for missing in ("no store of LangGraph", "no journal"):
        journal = journal_at(database)
        with pytest.raises(JournalError, match=missing):
            journal.read()
        journal.close()
        with PostgresStore.from_conn_string(database) as store:
            if missing.startswith("no store"):
                with psycopg.connect(database) as connection:
                    assert connection.execute("SELECT to_regclass('store')").fetchone() == (None,)
                store.setup()
            else:
                assert store.search(("speceyes",)) == []


async def test_an_async_store_is_asked_on_its_loop(database: str) -> None:
    import asyncio

    async with AsyncPostgresStore.from_conn_string(database, pool_config={"min_size": 1, "max_size": 2}) as store:
        await store.setup()
        journal = StoreJournal(store, settle_s=0)
        await asyncio.to_thread(journal.write_many, [made(str(number)) for number in range(20)])
        found = await asyncio.to_thread(journal.read)
        assert [record["id"] for _, record in found] == [str(number) for number in range(20)]


def test_no_message_holds_the_password(server: str) -> None:
    url = "postgresql://me:hidden@127.0.0.1:1/traffic"
    journal = PostgresJournal(url, timeout_s=1)
    with pytest.raises(JournalError) as error:
        journal.read()
    assert "127.0.0.1" in str(error.value)
    assert "hidden" not in f"{error.value} {journal!r} {public_name(url)}"
    assert public_name(url) == "traffic at 127.0.0.1"
    for wrong in ("postgresql://me:hidden@host:port:port/x?nothing=1", "postgresql://%zz:hidden@h/x"):
        with pytest.raises(ArgumentError) as refused:
            PostgresJournal(wrong)
        assert "hidden" not in str(refused.value)


def test_without_the_libraries_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"langgraph-speceyes\[postgres\]"):
        open_journal("postgresql://localhost/traffic")
