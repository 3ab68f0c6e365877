from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import langsmith
import pytest
from langsmith.utils import get_env_var

from langgraph_speceyes.tracing import masked_client
from tests.tracing.capture import Captured, capture

Traced = Callable[..., Captured]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traced]:
    """Turn tracing on as a user does, with a server of this test's own."""
    with ExitStack() as stack:

        def start(*, mask_root: bool = False, **server: Any) -> Captured:
            captured = stack.enter_context(capture(**server))
            environment = {"TRACING": "true", "ENDPOINT": captured.url, "API_KEY": "key", "PROJECT": "test"}
            for name, value in environment.items():
                monkeypatch.setenv(f"LANGSMITH_{name}", value)
            get_env_var.cache_clear()
            client = masked_client() if mask_root else langsmith.Client()
            langsmith.configure(client=client)
            captured.flush = client.flush  # type: ignore[attr-defined]
            stack.callback(client.close)
            return captured

        yield start
        langsmith.configure(client=None)
    monkeypatch.undo()
    get_env_var.cache_clear()
