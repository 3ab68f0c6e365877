"""One server for the tests of a module; tests of HAProxy where it is installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.server import DevServer, dev_server


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [] if shutil.which("haproxy") else [item for item in items if item.get_closest_marker("haproxy")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="module")
def easy(ask: Callable[[str, int], list[Any]]) -> Any:
    """A question that is bypassed, with its message."""
    return ask("existence", 1)[0]


@pytest.fixture(scope="module")
def hard(ask: Callable[[str, int], list[Any]]) -> Any:
    """A question that needs tools, with its message."""
    return ask("reading", 1)[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, easy: Any) -> Iterator[DevServer]:
    """`langgraph dev` with room for eight runs at once; it may read the questions' images by path."""
    scenes = Path(easy[1].content[0]["url"]).parent
    with dev_server(tmp_path_factory.mktemp("server"), "--n-jobs-per-worker", "8", scenes=scenes) as running:
        yield running
