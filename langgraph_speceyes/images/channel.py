"""A messages channel whose checkpoints hold no image data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from langchain_core.messages import BaseMessage
from langgraph.channels.binop import BinaryOperatorAggregate
from langgraph.graph.message import add_messages

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.intern import (
    CHANNEL_MARK,
    Interned,
    intern_messages,
    intern_payload,
    restore_messages,
    restore_payload,
)
from langgraph_speceyes.images.store import ImageStore, ImageStoreProtocol, default_store, keeping_store

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_Key = tuple[int, str | int]


class MessagesChannel(BinaryOperatorAggregate[Any]):
    """The ``add_messages`` reducer, with inline images kept in the image store instead of in checkpoints.

    Use it in a state schema as ``messages: Annotated[list[AnyMessage], MessagesChannel]``. Nodes, outputs and
    streams see the caller's own blocks, also after a thread is resumed. The store is the default one, looked up
    when a checkpoint is written or read; without a checkpointer it is never touched. If messages are to be left alone
    (``set_default_store(None)``), new checkpoints hold the images themselves, as they do if the store cannot be
    written. A resumed thread whose image the store lacks raises ``ImageError``.

    What LangGraph writes beside the channels is out of reach here: the run's input (once in the input checkpoint,
    once as a pending write) and whatever a node returns (as a pending write).
    """

    __slots__ = ("_interned",)

    def __init__(self, typ: Any = list, operator: Callable[[Any, Any], Any] = add_messages) -> None:
        super().__init__(typ, operator)
        # Keyed by identity: the same text object runs through every superstep, and hashing it again would cost
        # far more than the superstep. The entry holds the object, so its identity stays its own.
        self._interned: dict[_Key, Interned] = {}

    def copy(self) -> Self:
        """Copy without touching the store."""
        twin = super().copy()
        twin._interned = self._interned
        return twin

    def update(self, values: Sequence[Any]) -> bool:
        """Apply updates as ``add_messages`` does; see the base class for ``Overwrite``."""
        changed = super().update(values)
        # An Overwrite is stored as given, perhaps as dictionaries.
        if isinstance(self.value, list) and not all(isinstance(item, BaseMessage) for item in self.value):
            self.value = add_messages([], self.value)
        return changed

    def checkpoint(self) -> Any:
        """Return the messages with inline images swapped for ``sha256:`` references."""
        if not isinstance(self.value, list):
            return self.value
        store = keeping_store()
        if store is None:
            return self.value
        used: dict[_Key, Interned] = {}

        def find(payload: str | bytes) -> Interned | None:
            key = (id(payload), _identity(store))
            interned = self._interned.get(key)
            if interned is None:
                try:
                    interned = _off_loop(lambda: intern_payload(payload, store))
                except ImageError as error:
                    # a checkpoint that is too large is better than a run that ends here
                    _logger.warning("an image stays in a checkpoint: %s", error)
            if interned is not None:
                used[key] = interned
            return interned

        messages = intern_messages(self.value, find, CHANNEL_MARK)
        self._interned = used
        return messages

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """Return a channel with the images of a checkpoint restored.

        Raises:
            ImageError: The store lacks an image.
        """
        channel = super().from_checkpoint(checkpoint)

        def make(url: str, recipe: dict[str, str]) -> str | bytes:
            store = default_store()
            payload = _off_loop(lambda: restore_payload(url, recipe, store))
            channel._interned[id(payload), _identity(store)] = Interned(payload, url, recipe)
            return payload

        if isinstance(channel.value, list):
            channel.value = restore_messages(channel.value, make, CHANNEL_MARK)
        return channel


def _identity(store: ImageStoreProtocol) -> str | int:
    """What tells stores apart; the folder's object is a new one at every look."""
    return str(store.directory) if isinstance(store, ImageStore) else id(store)


def _off_loop(work: Callable[[], _T]) -> _T:
    """Run file access in a thread if this one runs an event loop.

    LangGraph calls channels on the loop, and its development server refuses blocking calls there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    # Once an image, so a pool is not worth what becomes of one in a forked server.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="speceyes-store") as worker:
        return worker.submit(work).result()
