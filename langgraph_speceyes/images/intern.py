"""Swapping inline image data of messages for ``sha256:`` references, and back."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from langgraph_speceyes.images.block import field_of, find_payload, map_blocks
from langgraph_speceyes.images.data_url import decode_base64, is_data_url, split_data_url
from langgraph_speceyes.images.reference import ImageRef
from langgraph_speceyes.images.region import FRAGMENT_START
from langgraph_speceyes.images.store import ImageStoreProtocol, default_store, keeping_store

CALLER_MARK = "speceyes_interned"
"""Key of a block's ``extras`` under which :func:`intern_images` keeps what the original block looked like."""
CHANNEL_MARK = "speceyes_checkpointed"
"""The same of ``MessagesChannel``; another key, so that images that a caller interned stay so for the nodes."""
_AS_IT_CAME = "as_it_came"
"""Key within a mark that holds a block which came with one: whoever wrote that, it was not written here."""


@dataclass(frozen=True, slots=True)
class Interned:
    """What became of one inline payload.

    Attributes:
        payload: The text or bytes that were in the block.
        url: ``sha256:`` reference, with a region if the payload had one.
        recipe: How the payload is made again from the stored bytes.
    """

    payload: str | bytes
    url: str
    recipe: dict[str, str]


Find = Callable[[str | bytes], Interned | None]
Make = Callable[[str, dict[str, str]], str | bytes]


def intern_images(messages: Sequence[BaseMessage], store: ImageStoreProtocol | None = None) -> list[BaseMessage]:
    """Move inline images of messages into a store, for instance before a graph is called with them.

    Args:
        messages: Any messages; they are not changed. Malformed image blocks are left as they are.
        store: Where the images go; ``None`` for the default store, if there is one.

    Returns:
        A list in which every inline image block has become ``{"type": "image", "url": "sha256:...", "extras":
        {...}}``. All other fields of a message are kept; a message without inline images is the same object.

    Raises:
        ImageError: The store cannot be written.
    """
    target = keeping_store() if store is None else store
    if target is None:
        return list(messages)
    return intern_messages(messages, lambda payload: intern_payload(payload, target), CALLER_MARK)


def restore_images(messages: Sequence[BaseMessage], store: ImageStoreProtocol | None = None) -> list[BaseMessage]:
    """Undo :func:`intern_images`.

    Args:
        messages: Any messages; they are not changed.
        store: Where the images are; ``None`` for the default store.

    Returns:
        A list in which every block made by :func:`intern_images` equals its original again. Other ``sha256:``
        blocks stay; a message without anything to restore is the same object.

    Raises:
        ImageError: The store lacks an image.
    """
    source = default_store() if store is None else store
    return restore_messages(messages, lambda url, recipe: restore_payload(url, recipe, source), CALLER_MARK)


def restore_thread(messages: Sequence[BaseMessage], store: ImageStoreProtocol | None = None) -> list[BaseMessage]:
    """Turn a thread's messages back into the caller's own, for an agent that goes on without the bypass.

    Args:
        messages: Messages as a checkpoint holds them, or as a state does; they are not changed.
        store: Where the images are; ``None`` for the default store.

    Returns:
        A list in which every block made by ``MessagesChannel`` or :func:`intern_images` equals its original again.
        References that tools made stay, such as crops of interned images: they have no original;
        :func:`~langgraph_speceyes.images.inline_local_images` gives their pixels. A message without anything to
        restore is the same object.

    Raises:
        ImageError: The store lacks an image.
    """
    source = default_store() if store is None else store

    def make(url: str, recipe: dict[str, str]) -> str | bytes:
        return restore_payload(url, recipe, source)

    # a checkpoint holds what the caller interned within what the channel made of it
    return restore_messages(restore_messages(messages, make, CHANNEL_MARK), make, CALLER_MARK)


def intern_reference(ref: ImageRef, store: ImageStoreProtocol | None = None) -> ImageRef:
    """Move the inline data of a reference into a store, so that its text form is short enough for a state.

    Args:
        ref: Any reference; only inline ones change.
        store: Where the image goes; ``None`` for the default store.

    Returns:
        A ``sha256:`` reference with the same region and the same :attr:`ImageRef.key`; the reference itself if
        there is no store.

    Raises:
        ImageError: The data is not base64, or the store cannot be written.
    """
    target = keeping_store() if store is None else store
    if ref.kind != "inline" or target is None:
        return ref
    return ImageRef(target.put(ref.inline_bytes()), ref.region)


def intern_messages(messages: Sequence[BaseMessage], find: Find, mark: str) -> list[BaseMessage]:
    """Swap payloads for what ``find`` says, remembering the original blocks under ``mark``.

    A block that has the channel's mark already is kept within a mark of its own, so that :func:`restore_messages` gives
    back what came, whatever it was, and acts on nothing that was not written here.
    """
    return [map_blocks(message, lambda block: _intern_block(block, find, mark)) for message in messages]


def restore_messages(messages: Sequence[BaseMessage], make: Make, mark: str) -> list[BaseMessage]:
    """Put payloads from ``make`` back into the blocks that carry ``mark``."""
    return [map_blocks(message, lambda block: _restore_block(block, make, mark)) for message in messages]


def intern_payload(payload: str | bytes, store: ImageStoreProtocol) -> Interned | None:
    """Store one payload.

    Args:
        payload: Bytes, base64 text, or a ``data:`` URL.
        store: Where it goes.

    Returns:
        How to refer to it and how to make it again, or ``None`` if it does not decode.
    """
    if isinstance(payload, bytes):
        return Interned(payload, store.put(payload), {"form": "bytes"}) if payload else None
    head, suffix = "", ""
    try:
        if is_data_url(payload):
            url = split_data_url(payload)
            if url is None:
                return None
            head, suffix, inner = url.head, url.fragment, url.payload
            data = inner if isinstance(inner, bytes) else decode_base64(inner)
        else:
            data = decode_base64(payload)
    except ValueError:
        return None
    if not data:
        return None
    reference = store.put(data) + suffix.rstrip()
    recipe = {"form": "base64", "head": head, "suffix": suffix}
    if _spelled(data, recipe) == payload:
        return Interned(payload, reference, recipe)
    # Another spelling than the usual one: the text cannot be made from the bytes, so it is stored as well.
    text = store.put(payload.encode("utf-8", "surrogatepass"))
    return Interned(payload, reference, {"form": "text", "text": text})


def restore_payload(url: str, recipe: Mapping[str, str], store: ImageStoreProtocol) -> str | bytes:
    """Make a payload again.

    Raises:
        ImageError: The store lacks it.
    """
    if recipe["form"] == "text":
        return store.get(recipe["text"]).decode("utf-8", "surrogatepass")
    data = store.get(url.partition(FRAGMENT_START)[0])
    if recipe["form"] == "bytes":
        return data
    return _spelled(data, recipe)


def _spelled(data: bytes, recipe: Mapping[str, str]) -> str:
    return recipe["head"] + base64.b64encode(data).decode("ascii") + recipe["suffix"]


def _intern_block(block: Any, find: Find, mark: str) -> Any:
    if not isinstance(block, dict):
        return block
    extras = block.get("extras")
    if mark == CHANNEL_MARK and isinstance(extras, Mapping) and mark in extras:
        return {"type": "image", "extras": {mark: {_AS_IT_CAME: block}}}
    found = find_payload(block)
    if found is None:
        return block
    keys, form = found
    payload = field_of(block, keys)
    if not (isinstance(payload, bytes) or (isinstance(payload, str) and payload)):
        return block
    if isinstance(payload, str) and form != "data" and (form == "path" or not is_data_url(payload)):
        return block
    interned = find(payload)
    if interned is None:
        return block
    original = _with_field(block, keys, None)
    extras = {mark: {"block": original, "keys": list(keys), "recipe": interned.recipe}}
    return {"type": "image", "url": interned.url, "extras": extras}


def _restore_block(block: Any, make: Make, mark: str) -> Any:
    if not isinstance(block, dict):
        return block
    extras = block.get("extras")
    kept = extras.get(mark) if isinstance(extras, Mapping) else None
    if not isinstance(kept, Mapping):
        return block
    if isinstance(came := kept.get(_AS_IT_CAME), dict):
        return came
    original, keys, recipe = kept.get("block"), kept.get("keys"), kept.get("recipe")
    if not (isinstance(original, Mapping) and isinstance(block.get("url"), str) and _is_recipe(recipe)):
        return block  # no mark of this package
    try:
        # before the store is asked: the keys may lead nowhere
        _with_field(original, tuple(keys or ()), None)
    except (KeyError, IndexError, TypeError):
        return block
    return _with_field(original, tuple(keys or ()), make(block["url"], dict(recipe or {})))


def _is_recipe(recipe: object) -> bool:
    """Whether :func:`restore_payload` can follow it."""
    if not isinstance(recipe, Mapping):
        return False
    needed = {"bytes": (), "text": ("text",), "base64": ("head", "suffix")}.get(str(recipe.get("form")))
    return needed is not None and all(isinstance(recipe.get(key), str) for key in needed)


def _with_field(block: Mapping[Any, Any], keys: tuple[str, ...], value: Any) -> dict[Any, Any]:
    """Copy a block with one field changed, leaving the original and its nested mappings alone."""
    inner = value if len(keys) == 1 else _with_field(block[keys[0]], keys[1:], value)
    return {**block, keys[0]: inner}
