"""Messages as hosted models take them: local images as base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.block import parse_block
from langgraph_speceyes.images.load import encoded
from langgraph_speceyes.images.policy import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.images.reference import describe
from langgraph_speceyes.images.store import ImageStore

# What says where an image is; other keys (cache_control, id, ...) are kept.
_SOURCE_KEYS = frozenset(
    {"type", "url", "path", "base64", "data", "mime_type", "source", "source_type", "image_url", "extras"}
)


def inline_images(
    messages: Sequence[BaseMessage],
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStore | None = None,
    *,
    argument: str = "messages",
) -> list[BaseMessage]:
    """Return messages whose local images are inline, for models that cannot read this machine's files.

    Args:
        messages: Any messages; they are not changed.
        policy: Limits.
        store: Where ``sha256:`` images are; ``None`` for the default store.
        argument: Name of the argument that errors blame.

    Returns:
        A list in which every image that is a local path, a ``file:`` URL, an interned image or a region has become
        ``{"type": "image", "base64": ..., "mime_type": ...}``. Messages without such an image are the same
        objects. Whole inline images stay as they are, as do whole remote images.

    Raises:
        ImageError: As :func:`load_image`; also for a remote image that the policy does not allow.
    """
    return [_inline_message(message, policy, store, argument) for message in messages]


def _inline_message(message: BaseMessage, policy: ImagePolicy, store: ImageStore | None, argument: str) -> BaseMessage:
    if not isinstance(message.content, list):
        return message
    content = [_inline_block(block, policy, store, argument) for block in message.content]
    if all(new is old for new, old in zip(content, message.content, strict=True)):
        return message
    return message.model_copy(update={"content": content})


def _inline_block(
    block: str | dict[Any, Any], policy: ImagePolicy, store: ImageStore | None, argument: str
) -> str | dict[Any, Any]:
    ref = parse_block(block, argument)
    if ref is None or isinstance(block, str):
        return block
    if ref.kind == "remote" and not policy.allow_remote:
        raise ImageError(argument, "no remote image (allow_remote is off)", describe(ref.source))
    if ref.region is None and ref.kind in ("inline", "remote"):
        return block
    data, mime = encoded(ref, policy, store, argument=argument)
    kept = {key: value for key, value in block.items() if key not in _SOURCE_KEYS}
    return {**kept, "type": "image", "base64": base64.b64encode(data).decode("ascii"), "mime_type": mime}
