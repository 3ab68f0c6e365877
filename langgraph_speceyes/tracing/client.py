"""LangSmith clients that send digests in place of images."""

from __future__ import annotations

from typing import Any

from langsmith import Client

from langgraph_speceyes.foreign import MOST_OF_OURS, foreign_text
from langgraph_speceyes.tracing.mask import mask_images

_LEFT = frozenset(
    {"attachments", "dotted_order", "id", "parent_run_id", "reference_example_id", "session_id", "trace_id"}
)
"""What is sent as it is: files that somebody attached to a run on purpose, and the tracer's own names of runs."""


class _MaskingClient(Client):
    """A client of its own whose runs hold no images."""

    def create_run(self, name: str, inputs: dict[str, Any], run_type: Any, **rest: Any) -> None:
        """Create a run; see the base class."""
        super().create_run(name, mask_images(inputs), run_type, **_masked(rest))

    def update_run(self, run_id: Any, **rest: Any) -> None:
        """Update a run; see the base class."""
        super().update_run(run_id, **_masked(rest))


class _MaskingView(Client):
    """Somebody else's client, of which only those runs are masked that go through this view.

    Runs get their client from their parent, LangChain's as well as those of ``@traceable`` functions: whoever starts
    runs beneath a run that has this view inherits the mask. It is a `Client` for those who check, but has neither
    queue nor threads: everything but runs is the other's.
    """

    def __init__(self, client: Client) -> None:
        self._viewed = client

    def create_run(self, name: str, inputs: dict[str, Any], run_type: Any, **rest: Any) -> None:
        """Create a run; see the base class."""
        self._viewed.create_run(name, mask_images(inputs), run_type, **_masked(rest))

    def update_run(self, run_id: Any, **rest: Any) -> None:
        """Update a run; see the base class."""
        self._viewed.update_run(run_id, **_masked(rest))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_viewed"], name)

    def flush(self, timeout: float | None = None) -> None:
        """Send what is waiting; see the base class."""
        self._viewed.flush(timeout)


def masked_client(**options: Any) -> Client:
    """A LangSmith client that sends no images, for the runs you start yourself.

    Runs that the package starts are masked with any client. Your own root run holds the messages you pass, which
    matters when images are inline; once at start-up, ``langsmith.configure(client=masked_client())`` masks every run of
    the process.

    Args:
        options: Those of :class:`langsmith.Client`; `hide_inputs`, `hide_outputs` and `anonymizer` see what is masked.
    """
    return _MaskingClient(**options)


def masking_view(client: Client) -> Client:
    """A view of a client that masks what goes through it; a client that masks already is returned as it is."""
    if isinstance(client, (_MaskingClient, _MaskingView)):
        return client
    return _MaskingView(client)


def _masked(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value if key in _LEFT else _field(key, value) for key, value in fields.items()}


def _field(key: str, value: Any) -> Any:
    return foreign_text(value, MOST_OF_OURS) if key == "error" and isinstance(value, str) else mask_images(value)
