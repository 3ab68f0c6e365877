"""Image blocks of LangChain messages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.reference import ImageRef, inline_reference, parse_reference

_IMAGE_TYPES = frozenset({"image", "image_url", "input_image", "image_file"})
"""Types of image blocks: LangChain's and Anthropic's, OpenAI's for chats, responses and threads."""
_MIME_KEYS = ("mime_type", "mimeType", "media_type")
_EXPECTED = "an image block with url, path, base64, data or source"


def find_payload(block: Mapping[str, Any]) -> tuple[tuple[str, ...], str] | None:
    """Find which field of an image block holds the image.

    Args:
        block: A content block of any type.

    Returns:
        ``(keys, form)``: the keys that lead to the field, and ``"url"``, ``"path"`` or ``"data"`` (base64 text or
        bytes); ``None`` if the block is no image block or has no such field.
    """
    kind = block.get("type")
    if kind == "image_url":
        inner = block.get("image_url")
        return (("image_url", "url") if isinstance(inner, Mapping) else ("image_url",)), "url"
    if kind != "image":
        return None
    source = block.get("source")
    if isinstance(source, Mapping):
        if source.get("type") == "base64":
            return ("source", "data"), "data"
        return (("source", "url"), "url") if source.get("type") == "url" else None
    for field, form in (("base64", "data"), ("data", "data"), ("url", "url"), ("path", "path")):
        if block.get(field) is not None:
            return (field,), form
    return None


def field_of(block: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """Return the value that keys lead to, ``None`` if there is none."""
    value: Any = block
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def parse_block(block: object, argument: str = "messages") -> ImageRef | None:
    """Parse one content block.

    Args:
        block: A block of a message's content list: ``{"type": "image", ...}`` with ``url``, ``path``, ``base64``,
            ``data`` (bytes or base64) or an Anthropic ``source``, or ``{"type": "image_url", ...}``.
        argument: Name of the argument that errors blame.

    Returns:
        The reference, or ``None`` if it is not an image block.

    Raises:
        ImageError: It is an image block, but malformed.
    """
    if not isinstance(block, Mapping) or block.get("type") not in ("image", "image_url"):
        return None
    found = find_payload(block)
    if found is None:
        names = sorted(str(key)[:40] for key in block)
        raise ImageError(argument, _EXPECTED, f"keys {', '.join(names)}")
    keys, form = found
    value = field_of(block, keys)
    if form == "data":
        holder = block["source"] if keys[0] == "source" else block
        return inline_reference(value, holder.get("mime_type") or holder.get("media_type"), argument)
    if form == "path":
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, str) and value and not os.path.isabs(value):
            # A relative path is never a URL here, whatever it looks like.
            value = os.path.join(os.curdir, value) if ":" in value else value
    if not isinstance(value, str):
        raise ImageError(argument, f"text in {'.'.join(keys)}", type(value).__name__)
    return parse_reference(value, argument)


def find_images(messages: Iterable[BaseMessage], argument: str = "messages") -> list[ImageRef]:
    """Return the images of all messages, in order.

    Raises:
        ImageError: An image block is malformed.
    """
    refs = []
    for message in messages:
        if isinstance(message.content, list):
            refs += [ref for block in message.content if (ref := parse_block(block, argument)) is not None]
    return refs


def is_image_block(block: object) -> bool:
    """Whether a content block is an image in any provider's form, also one that only an agent's own model can read.

    Args:
        block: Anything: besides LangChain's blocks, ``input_image`` of OpenAI, ``media``, ``file`` and inline data of
            an image type as Gemini has them, ``{"image": {...}}`` of Bedrock.
    """
    if not isinstance(block, Mapping):
        return False
    kind = block.get("type")
    if not isinstance(kind, str):
        # Bedrock's and Gemini's blocks are named by their only key
        inner = (block.get(key) for key in ("inline_data", "inlineData", "file_data", "fileData"))
        return isinstance(block.get("image"), Mapping) or any(_has_image_type(value) for value in inner)
    if kind == "non_standard":
        return is_image_block(block.get("value"))
    return kind in _IMAGE_TYPES or (kind in ("media", "file", "input_file") and _has_image_type(block))


def _has_image_type(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    types = (value.get(key) for key in _MIME_KEYS)
    return any(isinstance(mime, str) and mime.strip().lower().startswith("image/") for mime in types)


def readable_images(messages: Iterable[object]) -> list[ImageRef]:
    """Return the images of all messages that this package has a reference for, in order; never raises.

    Args:
        messages: Messages; whatever else is among them is skipped, as are image blocks that only an agent's own model
            can read, such as file ids, and malformed ones.

    Returns:
        The references. Whether the images can be loaded is not looked at.
    """
    refs = []
    for message in messages:
        content = getattr(message, "content", None)
        for block in content if isinstance(content, list) else ():
            try:
                ref = parse_block(block)
            except Exception:  # a block of a kind unknown here may hold anything
                continue
            if ref is not None:
                refs.append(ref)
    return refs


def map_blocks(message: BaseMessage, change: Callable[[Any], Any]) -> BaseMessage:
    """Return a message with its content's blocks changed.

    Args:
        message: A message, which is not changed; an agent's state or a foreign checkpoint may hold other things, which
            are returned as they are.
        change: Returns what is to stand in a block's place; a block is anything that stands in a list.

    Returns:
        The same object where every block is the same one.
    """
    blocks = getattr(message, "content", None)
    if not isinstance(blocks, list):
        return message
    content = [change(block) for block in blocks]
    if all(new is old for new, old in zip(content, blocks, strict=True)):
        return message
    return message.model_copy(update={"content": content})


def block_of(ref: ImageRef) -> dict[str, Any]:
    """Return the standard content block of a reference.

    Returns:
        ``{"type": "image", "base64": ..., "mime_type": ...}`` for a whole inline image, else
        ``{"type": "image", "url": ...}``. ``parse_block`` of it gives an equal reference.
    """
    if ref.kind == "inline" and ref.region is None:
        return {"type": "image", "base64": ref.payload, "mime_type": ref.mime_type}
    return {"type": "image", "url": ref.uri}


def question_text(message: BaseMessage) -> str:
    """Return the text of a message: its content, or its text blocks joined by line breaks, stripped."""
    if isinstance(message.content, str):
        return message.content.strip()
    parts = []
    for block in message.content:
        if isinstance(block, str):
            parts.append(block)
        elif block.get("type") == "text" and isinstance(block.get("text"), str):
            parts.append(block["text"])
    return "\n".join(part.strip() for part in parts if part.strip())
