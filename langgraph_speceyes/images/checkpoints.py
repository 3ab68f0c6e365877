"""Threads on disk that go on without the bypass: references to interned images become the images again."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import ormsgpack
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.serde.jsonplus import EXT_PYDANTIC_V2, JsonPlusSerializer

from langgraph_speceyes.errors import ArgumentError, CheckpointError, ImageError, describe_error
from langgraph_speceyes.foreign import cleaned
from langgraph_speceyes.images.inline import inline_stored_images
from langgraph_speceyes.images.intern import restore_thread
from langgraph_speceyes.images.policy import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.images.store import ImageStoreProtocol

_OPTIONS = ormsgpack.OPT_NON_STR_KEYS


@dataclass(frozen=True)
class RestoredThread:
    """What became of one thread.

    Attributes:
        thread_id: The thread.
        checkpoints: Checkpoints that hold references to interned images.
        images: References in them.
        error: Why the thread was left as it is, or None.
    """

    thread_id: str
    checkpoints: int = 0
    images: int = 0
    error: str | None = None


def restore_checkpoints(
    saver: BaseCheckpointSaver[Any],
    threads: Sequence[str] | None = None,
    *,
    store: ImageStoreProtocol | None = None,
    history: bool = False,
    dry_run: bool = False,
    policy: ImagePolicy = DEFAULT_POLICY,
) -> list[RestoredThread]:
    """Turn references to interned images into data again, in the checkpoints of threads.

    Checkpoints keep their ids, so that a thread that waits for a person goes on where it waits. Values that are no
    messages are kept byte for byte, and need no code to be read. Run it while nothing else writes to the threads.

    Args:
        saver: The checkpointer, with LangGraph's own serializer and sync methods.
        threads: Ids of the threads; None for all.
        store: Where the images are; ``None`` for the default store.
        history: Change all of a thread's checkpoints, not only the newest of the graph and of each graph in it. Each
            then holds its own copy of every image.
        dry_run: Look whether all images are there, and write nothing.
        policy: Limits for regions of interned images, which are cut out.

    Returns:
        What became of each thread. One whose images are not all there is left as it is, and says so.

    Raises:
        ArgumentError: The checkpointer has another serializer, such as an encrypting one; or `threads` is one text.
        CheckpointError: A thread does not exist, or its checkpoints cannot be read or written.
    """
    if type(saver.serde) is not JsonPlusSerializer:
        raise ArgumentError("saver", "a checkpointer with LangGraph's JsonPlusSerializer", type(saver.serde).__name__)
    if isinstance(threads, str):
        raise ArgumentError("threads", "a list of ids of threads, or None for all", repr(threads))
    raw = copy.copy(saver)
    raw.serde = _Verbatim()
    images = _Images(store, policy)
    known = _tried(lambda: _thread_ids(raw.list(None))) if threads is None else list(dict.fromkeys(threads))
    return [_restored(raw, thread, images, history=history, dry_run=dry_run) for thread in known]


def _restored(
    saver: BaseCheckpointSaver[Any], thread: str, images: _Images, *, history: bool, dry_run: bool
) -> RestoredThread:
    found = _tried(lambda: list(saver.list({"configurable": {"thread_id": thread}})))
    if not found:
        raise CheckpointError(f"there is no thread {thread!r}")
    changes: list[tuple[CheckpointTuple, dict[str, Any]]] = []
    before, seen = images.count, set[str]()
    for one in found:
        namespace = one.config["configurable"].get("checkpoint_ns", "")
        # the newest come first
        if namespace in seen and not history:
            continue
        seen.add(namespace)
        try:
            changed = images.restored(one.checkpoint["channel_values"])
        except ImageError as error:
            return RestoredThread(thread, error=str(error))
        if changed:
            changes.append((one, changed))
    if not dry_run:
        for one, changed in changes:
            _tried(lambda one=one, changed=changed: _put(saver, one, changed))
    return RestoredThread(thread, len(changes), images.count - before)


def _put(saver: BaseCheckpointSaver[Any], one: CheckpointTuple, changed: dict[str, Any]) -> None:
    """Write a checkpoint again, under its own id, with some values changed."""
    checkpoint, settings = one.checkpoint, one.config["configurable"]
    # savers that keep values apart, by version, would keep the old one
    versions = {key: saver.get_next_version(checkpoint["channel_versions"].get(key), None) for key in changed}
    place = {"thread_id": settings["thread_id"], "checkpoint_ns": settings.get("checkpoint_ns", "")}
    if one.parent_config is not None:
        place["checkpoint_id"] = one.parent_config["configurable"]["checkpoint_id"]
    new: Any = {
        **checkpoint,
        "channel_values": {**checkpoint["channel_values"], **changed},
        "channel_versions": {**checkpoint["channel_versions"], **versions},
    }
    saver.put({"configurable": place}, new, one.metadata, versions)


def _thread_ids(checkpoints: Iterable[CheckpointTuple]) -> list[str]:
    return list(dict.fromkeys(one.config["configurable"]["thread_id"] for one in checkpoints))


def _tried(work: Any) -> Any:
    """Do something with a database, whose errors are of many kinds."""
    try:
        return work()
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"the checkpoints cannot be used: {describe_error(error)}") from cleaned(error)


class _Images:
    """Puts images back into messages as a checkpoint holds them, and counts them."""

    def __init__(self, store: ImageStoreProtocol | None, policy: ImagePolicy) -> None:
        self.store, self.policy, self.count = store, policy, 0

    def restored(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values that change."""
        found = {key: [self._message(one) for one in value] for key, value in values.items() if isinstance(value, list)}
        return {key: value for key, value in found.items() if any(map(operator.is_not, value, values[key]))}

    def _message(self, value: Any) -> Any:
        """A message with its images, or the value itself."""
        if not isinstance(value, _Opaque) or value.code != EXT_PYDANTIC_V2:
            return value
        parts = _unpacked(value.data)
        if not (isinstance(parts, list) and len(parts) == 4 and str(parts[0]).startswith("langchain_core.messages")):
            return value
        content = parts[2].get("content")
        if not isinstance(content, list):
            return value
        message = HumanMessage(content)
        restored = inline_stored_images(restore_thread([message], self.store), self.policy, self.store)[0]
        if restored is message:
            return value
        self.count += sum(new is not old for new, old in zip(restored.content, message.content, strict=True))
        return _Opaque(value.code, _packed([*parts[:2], {**parts[2], "content": restored.content}, parts[3]]))


class _Opaque:
    """A value of a type of its own, as the bytes it is written in."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        self.code, self.data = code, data


class _Foreign:
    """A value that was not written as msgpack."""

    __slots__ = ("data", "kind")

    def __init__(self, kind: str, data: bytes) -> None:
        self.kind, self.data = kind, data


class _Verbatim:
    """Reads what LangGraph's serializer wrote without making objects of it, and writes it as it was."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """What a value is written as."""
        if isinstance(obj, _Foreign):
            return obj.kind, obj.data
        return "msgpack", _packed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value, with all but msgpack's own types left as they are."""
        kind, content = data
        return _unpacked(content) if kind == "msgpack" else _Foreign(kind, content)


def _unpacked(data: bytes) -> Any:
    return ormsgpack.unpackb(data, ext_hook=_Opaque, option=_OPTIONS)


def _packed(value: Any) -> bytes:
    return ormsgpack.packb(value, default=_as_written, option=_OPTIONS)


def _as_written(value: Any) -> ormsgpack.Ext:
    if isinstance(value, _Opaque):
        return ormsgpack.Ext(value.code, value.data)
    raise TypeError(type(value).__name__)
