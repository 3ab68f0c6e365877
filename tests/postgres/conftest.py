"""One PostgreSQL server for all tests of the folder; where it is not installed they are deselected.

`make postgres` asks for them (SPECEYES_POSTGRES=1): then there is an error in place of that. It also runs those tests
of journals that go through thousands of the store's calls, which the suite leaves to it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.postgres import PostgresStore

from langgraph_speceyes.traffic import Journal, StoreJournal
from tests.postgres.server import binaries, fresh, postgres

LONG = ("test_the_oldest_make_room", "test_threads_write", "test_a_record_is_read", "test_whoever_reads_on")
WANTED = bool(os.environ.get("SPECEYES_POSTGRES"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.postgres)
    left_out = set() if WANTED else {item for item in mine if binaries() is None or item.name.startswith(LONG)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a database that all tests share."""
    with postgres() as url:
        yield url


@pytest.fixture
def database(server: str) -> str:
    """The URL of a database that nobody has used."""
    return fresh(server, f"fresh-{next(_numbers)}")


@pytest.fixture(scope="session")
def store(server: str) -> Iterator[PostgresStore]:
    """LangGraph's store, as `open_journal` opens it."""
    with PostgresStore.from_conn_string(server, pool_config={"min_size": 1, "max_size": 4}) as opened:
        opened.setup()
        yield opened


@pytest.fixture
def make(store: PostgresStore) -> Iterator[Callable[..., Journal]]:
    """Makes an empty journal, which is its only writer: in place of that of the tests with other stores."""
    with ExitStack() as until_the_end:

        def made(**settings: Any) -> Journal:
            namespace = ("speceyes", "journal", str(next(_numbers)))
            journal = StoreJournal(store, namespace=namespace, settle_s=0, **settings)
            until_the_end.callback(journal.close)
            return journal

        yield made


_numbers = count()
