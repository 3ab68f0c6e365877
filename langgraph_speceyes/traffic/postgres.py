"""The journal in a PostgreSQL database, by its URL: the store that LangGraph keeps there, opened when it is needed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from langgraph_speceyes.errors import ArgumentError, JournalError, MissingExtraError, describe_error
from langgraph_speceyes.traffic.journal import LIMIT
from langgraph_speceyes.traffic.store import NAMESPACE, StoreJournal

if TYPE_CHECKING:
    from langgraph.store.base import BaseStore

URLS = ("postgresql://", "postgres://")
"""How the URL of a database begins."""

_CONNECTIONS = 4
_SETUP_LOCK = 0x53_70_45_79
"""Key of the advisory lock: two processes cannot make the store's tables at once."""
_AGAIN_S = 0.05

# Pools of processes that were forked: closing them would end the parent's sessions.
_abandoned: list[Any] = []


def is_postgres(name: object) -> bool:
    """Whether a name is the URL of a PostgreSQL database."""
    return isinstance(name, str) and name.startswith(URLS)


class PostgresJournal(StoreJournal):
    """A journal in LangGraph's `PostgresStore`, opened by URL, for the processes of any machine that reaches it.

    It is the :class:`StoreJournal` over that store, with connections of its own: none before the first use, anew in a
    forked process, and replaced where the server has cut them. A write that has returned is committed.

    Args:
        url: As libpq takes it: ``postgresql://user:password@host:5432/database?sslmode=require``.
        namespace: Where the journal is in the store.
        texts: Whether question, answers and references of images are kept.
        limit: Most records; see :class:`StoreJournal`.
        settle_s: How long a record waits before it is read, in seconds.
        timeout_s: Longest wait for another thread and for a connection, in seconds.
        make: Whether tables and journal are made where there are none.

    Raises:
        ArgumentError: libpq cannot read the URL, or another argument is out of range.
        MissingExtraError: `langgraph-checkpoint-postgres` or psycopg is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: tuple[str, ...] = NAMESPACE,
        texts: bool = False,
        limit: int = LIMIT,
        settle_s: float = 2.0,
        timeout_s: float = 5.0,
        make: bool = True,
    ) -> None:
        self._url, self._make, self._pool = url, make, None
        self._opening = threading.Lock()
        self.where = _described(url)
        super().__init__(namespace=namespace, texts=texts, limit=limit, settle_s=settle_s, timeout_s=timeout_s)
        self._is_given = True

    def __repr__(self) -> str:
        """Name the database, without the password, and the namespace."""
        namespace = "/".join(self._layout.namespace)
        return f"PostgresJournal({self.where}, {namespace}, texts={self.texts}, limit={self.limit})"

    @property
    def bound(self) -> bool:
        """Whether it can be used: it opens its store itself."""
        return True

    def close(self) -> None:
        """Close the connections; what comes afterwards raises :class:`~langgraph_speceyes.errors.ClosedError`."""
        super().close()
        with self._opening:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _begin_anew(self) -> None:
        super()._begin_anew()
        if self._pool is not None:
            _abandoned.append(self._pool)
        self._pool, self._store = None, None
        self._opening = threading.Lock()

    def _opened(self) -> BaseStore | None:
        if self._store is None and not self._closed:
            with self._opening:
                # asked again: who closes the journal meanwhile has closed the pool that was there
                if self._store is None and not self._closed:
                    try:
                        self._store = self._connected()
                    except JournalError:
                        raise
                    except Exception as error:  # the driver's; its messages name no password
                        raise JournalError(f"{self!r}: {describe_error(error)}") from error
        return self._store

    def _connected(self) -> BaseStore:
        postgres, psycopg, pools, rows = _libraries()
        timeout = max(1, round(self.timeout_s))
        settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": rows.dict_row}
        # by itself first: a pool says of a server that refuses it no more than that time is up
        with psycopg.connect(self._url, connect_timeout=timeout, **settings) as connection:
            self._set_up(postgres, connection)
        pool = pools.ConnectionPool(
            self._url,
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=timeout,
            kwargs={**settings, "connect_timeout": timeout},
            open=True,
            name="speceyes-journal",
        )
        self._pool = pool
        store: BaseStore = postgres(pool)
        return store

    def _set_up(self, postgres: Any, connection: Any) -> None:
        """Have the store's tables and the journal be there."""
        newest = len(postgres.MIGRATIONS) - 1
        if _version(connection) < newest:
            if not self._make:
                raise JournalError(f"{self!r}: no store of LangGraph is in this database")
            self._migrate(postgres, connection, newest)
        if not self._make and postgres(connection).get((*self._layout.namespace, "meta"), "schema") is None:
            raise JournalError(f"{self!r}: no journal is in this database")

    def _migrate(self, postgres: Any, connection: Any, newest: int) -> None:
        # tried again and again, as whoever waits in the database holds up the making of an index
        until = time.monotonic() + max(self.timeout_s, 1)
        lock = "SELECT pg_try_advisory_lock(%s) AS held"
        while not connection.execute(lock, (_SETUP_LOCK,)).fetchone()["held"]:
            if time.monotonic() >= until:
                raise JournalError(f"{self!r}: another process has been making the tables for too long")
            time.sleep(_AGAIN_S)
        try:
            if _version(connection) < newest:
                postgres(connection).setup()
        finally:
            connection.execute("SELECT pg_advisory_unlock(%s)", (_SETUP_LOCK,))


def _version(connection: Any) -> int:
    """Which layout of LangGraph's store the database has; -1 without one."""
    if connection.execute("SELECT to_regclass('store_migrations') AS made").fetchone()["made"] is None:
        return -1
    found = connection.execute("SELECT max(v) AS version FROM store_migrations").fetchone()["version"]
    return -1 if found is None else int(found)


def _described(url: str) -> str:
    """A database as messages name it."""
    _, psycopg, _, _ = _libraries()
    expected = "a URL of PostgreSQL, postgresql://user:password@host:port/database"
    if not is_postgres(url):
        raise ArgumentError("url", expected, type(url).__name__)
    try:
        parts = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error as error:
        # its message may quote the URL, and with it a password
        raise ArgumentError("url", expected, "one that libpq cannot read") from error
    return f"{parts.get('dbname', '')} at {parts.get('host', 'the local server')}"


def _libraries() -> tuple[Any, Any, Any, Any]:
    """LangGraph's store and its driver.

    Raises:
        MissingExtraError: They are not installed.
    """
    try:
        import psycopg
        import psycopg.conninfo
        import psycopg.rows
        import psycopg_pool
        from langgraph.store.postgres import PostgresStore
    except ImportError as missing:
        raise MissingExtraError("a journal in PostgreSQL", "postgres") from missing
    return PostgresStore, psycopg, psycopg_pool, psycopg.rows
