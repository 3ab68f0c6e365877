from __future__ import annotations

from collections.abc import Iterator

import pytest

from langgraph_speceyes.images import clear_cache, configure_cache
from langgraph_speceyes.images.cache import DEFAULT_CACHE_BYTES


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    clear_cache()
    yield
    configure_cache(DEFAULT_CACHE_BYTES)
    clear_cache()
