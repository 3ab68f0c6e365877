"""Images at the size at which a hosted model needs them: sent smaller, and encoded once."""

from __future__ import annotations

import base64
import contextlib
import math
from dataclasses import dataclass
from typing import Any

from PIL import Image

from langgraph_speceyes.images.cache import Latest
from langgraph_speceyes.images.data_url import decode_base64
from langgraph_speceyes.images.decode import SMALLER, is_turned, read_size
from langgraph_speceyes.images.load import (
    LARGE,
    as_reference,
    check_region,
    encode_image,
    load_image,
    load_whole,
    region_inside,
)
from langgraph_speceyes.images.mime import PASSED_THROUGH, sniff_mime
from langgraph_speceyes.images.policy import DEFAULT_POLICY, ImagePolicy, effective
from langgraph_speceyes.images.reference import ImageRef, describe
from langgraph_speceyes.images.source import check_source, read_source
from langgraph_speceyes.images.store import ImageStoreProtocol
from langgraph_speceyes.images.structure import plain

LEAST_SIDE = 28
"""Fewest pixels of a side that was shrunk: servers of Qwen's models refuse images that are thinner."""
_LEAST_BYTES, _PIXELS_A_BYTE = 64 * 1024, 4
"""What is sent as it is has at most a byte for so many of the pixels allowed, or so many bytes."""
_ENOUGH = 0.45
"""Share of the pixels allowed from which on a quarter of a large JPEG is taken as it is decoded."""
_QUALITY = 80
_FLAT = 0.7
"""Share of pixels equal to their right neighbours from which on an image is a drawing or a screen, not a photo."""
_GAP = 3.0
_HEAD = 96 * 1024
"""How many bytes of an image are read to find its size, unless they do not tell."""
_TOLD_AT_THE_END = frozenset({"image/png", "image/webp"})
"""Media types whose orientation may stand behind the pixels; the decoder of WebP opens nothing that is cut, either."""

_KEPT: Latest[Fitted | None] = Latest(64)


@dataclass(frozen=True, slots=True)
class Fitted:
    """An image as it is sent.

    Attributes:
        payload: Its bytes in base64.
        mime_type: Their media type.
    """

    payload: str
    mime_type: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """How an image will be sent; it follows from its header and its number of bytes alone.

    Attributes:
        size: (width, height) of what is sent.
        as_it_is: Whether the bytes are sent as they are.
        smaller: Whether it is decoded at a quarter of its size.
    """

    size: tuple[int, int]
    as_it_is: bool = False
    smaller: bool = False


def fitted(
    image: ImageRef | str,
    most_pixels: int,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
    *,
    argument: str = "messages",
) -> Fitted | None:
    """An image with at most so many pixels, for a model that is to see an overview.

    A whole PNG, JPEG, WebP or GIF that is small enough is not decoded. Anything else is shrunk, if it has more pixels,
    and written as PNG where neighbouring pixels are mostly equal (drawings, screens), as JPEG otherwise. What was made
    is kept for a while, and made once where several ask at the same time.

    Args:
        image: The reference, not of a remote image.
        most_pixels: Most pixels. A side stays at :data:`LEAST_SIDE` pixels, if it has as many.
        policy: Limits of the original, checked before anything is decoded.
        store: Where ``sha256:`` images are; ``None`` for the default store.
        argument: Name of the argument that errors blame.

    Returns:
        The image as it is sent; None for inline data that is small enough as it is.

    Raises:
        ImageError: As :func:`load_image`; damaged data that is sent as it is, is not found.
    """
    ref, policy = as_reference(image, argument), effective(policy)
    check_source(ref, policy, store, argument)
    # limits are part of the key: what a lax policy has loaded is not there for a strict one
    # Python's hash of a text takes a tenth of the time of a digest of what it encodes
    key = ("inline", hash(ref.source), len(ref.source), ref.region) if ref.kind == "inline" else (ref.key,)
    return _KEPT.get((*key, most_pixels, str(policy)), lambda: _made(ref, most_pixels, policy, store, argument))


def fitted_size(
    image: ImageRef | str,
    most_pixels: int,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
    *,
    argument: str = "messages",
) -> tuple[int, int]:
    """(width, height) of what a model is sent of an image: a whole remote one as it is, others by :func:`fitted`.

    Read from the header; a remote one is fetched once, and kept decoded.

    Raises:
        ImageError: As :func:`check_header`.
    """
    ref, policy = as_reference(image, argument), effective(policy)
    if ref.kind == "remote":
        size = check_region(ref, policy, store, argument=argument)
        return size if ref.region is None else _shrunk(size, most_pixels)
    data = read_source(ref.whole, policy, store, argument)
    return _plan(ref, data, most_pixels, policy, argument).size


def check_header(
    image: ImageRef | str,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
    *,
    argument: str = "messages",
) -> tuple[int, int]:
    """Check what the header of an image tells: its format, its size, whether a region lies inside. Nothing is decoded.

    Returns:
        (width, height) of what :func:`load_image` would return.

    Raises:
        ImageError: The image does not exist, is none, is over a limit or is not allowed.
    """
    ref, policy = as_reference(image, argument), effective(policy)
    check_source(ref, policy, store, argument)
    head = _head(ref, policy, argument)
    if head is None or _needs_the_rest(head) or plain(head) is None:
        head = read_source(ref.whole, policy, store, argument)
    return _size(ref, head, policy, argument)


def clear_fitted() -> None:
    """Drop what is kept."""
    _KEPT.clear()


def _head(ref: ImageRef, policy: ImagePolicy, argument: str) -> bytes | None:
    """The first bytes of an image, which mostly tell its size; None where they are not to be had without the rest."""
    if ref.kind == "inline":
        with contextlib.suppress(ValueError):
            begin = ref.source.index(",") + 1
            return decode_base64(ref.source[begin : begin + _HEAD // 3 * 4])
    if ref.kind == "file":
        return read_source(ref.whole, policy, None, argument, most=_HEAD)
    return None


def _needs_the_rest(head: bytes) -> bool:
    """Whether what is behind the first bytes of an image may say how it is to be shown."""
    return len(head) >= _HEAD and sniff_mime(head) in _TOLD_AT_THE_END


def _size(ref: ImageRef, data: bytes, policy: ImagePolicy, argument: str) -> tuple[int, int]:
    name = "inline data" if ref.kind == "inline" else describe(ref.source)
    size = read_size(data, policy, argument, name)
    return size if ref.region is None else region_inside(ref.region, size, policy, argument, ref).size


def _plan(ref: ImageRef, data: bytes, most: int, policy: ImagePolicy, argument: str) -> _Plan:
    size, mime = _size(ref, data, policy, argument), sniff_mime(data)
    pixels = size[0] * size[1]
    if pixels <= most:
        few = len(data) <= max(_LEAST_BYTES, most // _PIXELS_A_BYTE)
        return _Plan(size, as_it_is=ref.region is None and few and mime in PASSED_THROUGH and not is_turned(data))
    shrunk = _shrunk(size, most)
    if ref.region is None and mime == "image/jpeg" and min(size) >= LARGE:
        quarter = -(-size[0] // SMALLER), -(-size[1] // SMALLER)
        if _ENOUGH * most <= quarter[0] * quarter[1] <= most:
            return _Plan(quarter, smaller=True)
        return _Plan(shrunk, smaller=shrunk[0] <= quarter[0] and shrunk[1] <= quarter[1])
    return _Plan(shrunk)


def _shrunk(size: tuple[int, int], most: int) -> tuple[int, int]:
    pixels = size[0] * size[1]
    if pixels <= most:
        return size
    by = min(1.0, max(math.sqrt(most / pixels), LEAST_SIDE / min(size)))
    # a product that is a whole number but for its last bit is that number
    return max(1, int(size[0] * by + 1e-6)), max(1, int(size[1] * by + 1e-6))


def _made(
    ref: ImageRef, most: int, policy: ImagePolicy, store: ImageStoreProtocol | None, argument: str
) -> Fitted | None:
    if ref.region is not None:
        # the whole is kept decoded: a remote one is not fetched again for each of its regions
        image = load_image(ref, policy, store, argument=argument)
        size = _shrunk(image.size, most)
    else:
        data = read_source(ref, policy, store, argument)
        plan, mime = _plan(ref, data, most, policy, argument), sniff_mime(data)
        if plan.as_it_is:
            return None if ref.kind == "inline" else _fitted(data, mime)
        image, size = load_whole(ref, lambda size: plan.smaller, policy, store, argument, data), plan.size
    if image.size != size:
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=_GAP)
    written_anew, kind = _encoded(image, most)
    return _fitted(written_anew, kind)


def _encoded(image: Image.Image, most: int) -> tuple[bytes, str]:
    # the colours of small things are what questions are about: none is averaged away (4:4:4)
    settings: dict[str, Any] = {"quality": _QUALITY, "subsampling": 0}
    if _is_flat(image):
        png = encode_image(image, "PNG")
        if len(png) <= max(_LEAST_BYTES, most // _PIXELS_A_BYTE):
            return png, "image/png"
        jpeg = encode_image(image, "JPEG", **settings)
        return (png, "image/png") if len(png) <= len(jpeg) else (jpeg, "image/jpeg")
    return encode_image(image, "JPEG", **settings), "image/jpeg"


def _is_flat(image: Image.Image) -> bool:
    import numpy as np

    if image.width < 2:
        return True
    rows = np.asarray(image)[:: max(1, image.height // 128)]
    return bool((rows[:, 1:] == rows[:, :-1]).all(axis=-1).mean() >= _FLAT)


def _fitted(data: bytes, mime: str) -> Fitted:
    return Fitted(base64.b64encode(data).decode("ascii"), mime)
