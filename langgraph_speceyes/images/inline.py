"""Messages as hosted models take them: local images as base64."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from langgraph_speceyes.errors import ImageError, describe_error
from langgraph_speceyes.images.block import field_of, find_payload, map_blocks, parse_block
from langgraph_speceyes.images.conversation import Conversation
from langgraph_speceyes.images.data_url import is_data_url
from langgraph_speceyes.images.decode import is_turned
from langgraph_speceyes.images.fitting import fitted
from langgraph_speceyes.images.load import encoded
from langgraph_speceyes.images.policy import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.images.reference import ImageRef, describe
from langgraph_speceyes.images.store import ImageStoreProtocol

_logger = logging.getLogger(__name__)

_KNOWN_TURNED: dict[tuple[int, int], bool] = {}
_MOST_KNOWN = 1024

# What says where an image is; other keys (cache_control, id, ...) are kept.
_SOURCE_KEYS = frozenset(
    {"type", "url", "path", "base64", "data", "mime_type", "source", "source_type", "image_url", "extras"}
)
_MIME = re.compile(r"[\w.+-]+/[\w.+-]+")


def inline_images(
    messages: Sequence[BaseMessage],
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
    *,
    argument: str = "messages",
    among: Sequence[object] = (),
    most_pixels: int | None = None,
    check: bool = True,
) -> list[BaseMessage]:
    """Return messages whose local images are inline, for models that cannot read this machine's files.

    Args:
        messages: Any messages; they are not changed.
        policy: Limits.
        store: Where ``sha256:`` images are; ``None`` for the default store.
        argument: Name of the argument that errors blame.
        among: The conversation that they are from, where it is longer.
        most_pixels: Most pixels of an image that is not remote; larger ones are shrunk (:func:`fitted`). None for
            images as they are.
        check: Whether images that are sent as they are, are decoded to see that they are sound.

    Returns:
        A list in which every image that is a local path, a ``file:`` URL, an interned image or a region has become
        ``{"type": "image", "base64": ..., "mime_type": ...}``, or an ``image_url`` with a ``data:`` URL where it was
        one that says more, such as its ``detail``. Messages without such an image are the same objects. Whole inline
        images stay as they are, unless an orientation tag turns them or their base64 is not in its standard form: many
        servers ignore the one and refuse the other. Whole remote images stay as they are.

    Raises:
        ImageError: As :func:`load_image`; also for a remote image that the policy does not allow.
    """
    shown = Conversation(among or messages, policy)
    for message in messages:
        shown.check_count(message, argument)

    def inlined(block: Any) -> Any:
        return _inlined(block, shown, store, argument, most_pixels, check)

    return [map_blocks(message, inlined) for message in messages]


def inline_local_images(
    messages: Sequence[BaseMessage],
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
    *,
    among: Sequence[object] = (),
) -> list[BaseMessage]:
    """Return messages whose local images are inline, for an agent of others; never raises.

    Args:
        messages: Any messages; they are not changed.
        policy: Limits.
        store: Where ``sha256:`` images are; ``None`` for the default store.
        among: The conversation that they are from, where it is longer.

    Returns:
        A list in which the images that only this package or this machine can read have become base64: local paths,
        ``file:`` URLs, interned images, and regions of anything; and inline images that an orientation tag turns have
        been turned, since tools cut what a viewer shows and many servers ignore the tag. All else is the same object:
        text, whole images, remote or inline, whatever their spelling, file ids and other forms that the agent's model
        may know, and images that are missing, damaged or refused by the policy.
    """
    shown = Conversation(among or messages, policy)
    return [map_blocks(message, lambda block: _inlined_if_local(block, shown, store)) for message in messages]


def inline_stored_images(
    messages: Sequence[BaseMessage],
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
) -> list[BaseMessage]:
    """Return messages whose interned images, and regions of such, are inline; all else is the same object.

    Args:
        messages: Any messages; they are not changed.
        policy: Limits.
        store: Where the images are; ``None`` for the default store.

    Raises:
        ImageError: The store lacks an image, or a region of it cannot be cut out.
    """
    return [map_blocks(message, lambda block: _inlined_if_stored(block, policy, store)) for message in messages]


def images_as_urls(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return messages whose images stand as in OpenAI's chat completions, for models of this package's own layouts.

    LangChain's chat models bring LangChain's image blocks into this form for tracers, whether or not there are any, and
    look every type of block up in annotations for it: 0.15 ms an image and call. Tracers see the same.

    Args:
        messages: Any messages; they are not changed.

    Returns:
        A list in which ``{"type": "image"}`` with a ``url``, or with ``base64`` and ``mime_type``, has become
        ``{"type": "image_url"}``; blocks that say more about their image are the same objects.
    """
    return [map_blocks(message, _as_url) for message in messages]


def _as_url(block: Any) -> Any:
    if not isinstance(block, dict) or block.get("type") != "image":
        return block
    keys = block.keys() - {"type", "id"}
    if keys == {"url"}:
        return {"type": "image_url", "image_url": {"url": block["url"]}}
    if keys == {"base64", "mime_type"}:
        payload, mime = block["base64"], block["mime_type"]
        # what an URL could not say stays as it is
        if isinstance(payload, str) and isinstance(mime, str) and _MIME.fullmatch(mime) and not is_data_url(payload):
            return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{payload}"}}
    return block


def _inlined(
    block: Any,
    shown: Conversation,
    store: ImageStoreProtocol | None,
    argument: str,
    most_pixels: int | None,
    check: bool,
) -> Any:
    ref, policy = parse_block(block, argument), shown.policy
    if ref is None:
        return block
    if ref.kind == "remote" and not policy.allow_remote:
        raise ImageError(argument, "no remote image (allow_remote is off)", describe(ref.source))
    if ref.region is None and ref.kind == "remote":
        return block
    if most_pixels is not None:
        made = fitted(shown.own(ref), most_pixels, policy, store, argument=argument)
        if made is not None:
            return _renewed(block, made.payload, made.mime_type)
    if ref.region is None and ref.kind == "inline":
        if _is_turned(block, ref, argument):
            return _encoded_block(block, ref, policy, store, argument)
        return block if _is_plain(block, ref) else _renewed(block, ref.payload, ref.mime_type)
    return _encoded_block(block, shown.own(ref), policy, store, argument, check)


def _inlined_if_local(block: Any, shown: Conversation, store: ImageStoreProtocol | None) -> Any:
    try:
        ref = parse_block(block)
        if ref is None or (ref.region is None and ref.kind == "remote"):
            return block
        if ref.region is None and ref.kind == "inline" and not _is_turned(block, ref, "messages"):
            return block
        return _encoded_block(block, shown.own(ref), shown.policy, store, "messages")
    except Exception as error:  # whatever is wrong with it is for the agent to say
        _logger.debug("an image is handed on as it came: %s", describe_error(error))
        return block


def _inlined_if_stored(block: Any, policy: ImagePolicy, store: ImageStoreProtocol | None) -> Any:
    try:
        ref = parse_block(block)
    except ImageError:
        return block  # no reference of this package
    return block if ref is None or ref.kind != "store" else _encoded_block(block, ref, policy, store, "messages")


def _is_turned(block: Mapping[Any, Any], ref: ImageRef, argument: str) -> bool:
    """Whether an orientation tag turns an inline image; its base64 is decoded only the first time it is seen."""
    payload = _payload(block)
    # Python keeps a text's hash, so that the same object costs nothing the second time
    key = (hash(payload), len(payload))
    known = _KNOWN_TURNED.get(key)
    if known is None:
        known = is_turned(ref.inline_bytes(argument))
        if len(_KNOWN_TURNED) >= _MOST_KNOWN:
            _KNOWN_TURNED.clear()
        _KNOWN_TURNED[key] = known
    return known


def _is_plain(block: Mapping[Any, Any], ref: ImageRef) -> bool:
    """Whether a block holds its image's base64 in the standard form."""
    return _payload(block) in (ref.source, ref.payload)


def _payload(block: Mapping[Any, Any]) -> str | bytes:
    found = find_payload(block)
    payload = field_of(block, found[0]) if found else ""
    return payload if isinstance(payload, str) else bytes(payload)


def _encoded_block(
    block: Mapping[Any, Any],
    ref: ImageRef,
    policy: ImagePolicy,
    store: ImageStoreProtocol | None,
    argument: str,
    check: bool = True,
) -> dict[Any, Any]:
    data, mime = encoded(ref, policy, store, argument=argument, check=check)
    return _renewed(block, base64.b64encode(data).decode("ascii"), mime)


def _renewed(block: Mapping[Any, Any], payload: str, mime: str | None) -> dict[Any, Any]:
    kept = {key: value for key, value in block.items() if key not in _SOURCE_KEYS}
    holder = block.get("image_url")
    if isinstance(holder, Mapping) and holder.keys() - {"url"} and mime is not None:
        # LangChain's form of an image has no place for what OpenAI's says beside the URL, such as `detail`
        return {**kept, "type": "image_url", "image_url": {**holder, "url": f"data:{mime};base64,{payload}"}}
    return {**kept, "type": "image", "base64": payload, "mime_type": mime}
