"""Loading images: the only place of the package that opens one."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from PIL import Image

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.block import parse_block
from langgraph_speceyes.images.cache import ImageCache
from langgraph_speceyes.images.decode import WHOLE, check_pixels, check_size, decode, read_size
from langgraph_speceyes.images.mime import PASSED_THROUGH, sniff_mime
from langgraph_speceyes.images.policy import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.images.reference import ImageRef, describe, parse_reference
from langgraph_speceyes.images.region import Region
from langgraph_speceyes.images.resize import ResizeRule
from langgraph_speceyes.images.source import check_source, read_source
from langgraph_speceyes.images.store import ImageStore

_CACHE = ImageCache()
# how much larger than wanted an image stays that is averaged down before it is resized
_GAP = 3.0
# a JPEG is decoded smaller from this many pixels a side on: below it, decoding it twice, for a look at all of it and
# for crops, costs more than it saves
_LARGE = 2048
_SMALLER = (8, 4)
# how much larger than wanted it stays, at least
_ROOM = 2.0


def configure_cache(max_bytes: int) -> None:
    """Set how many bytes of decoded images the process keeps (default 512 MiB, 4 bytes a pixel; 0 keeps none).

    Raises:
        ArgumentError: The budget is negative or no whole number.
    """
    _CACHE.resize(max_bytes)


def clear_cache() -> None:
    """Drop every decoded image the process keeps, for instance because a remote image changed."""
    _CACHE.clear()


def load_image(
    image: ImageRef | Mapping[str, Any] | str,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStore | None = None,
    *,
    argument: str = "messages",
) -> Image.Image:
    """Load an image, or the region a reference names.

    Decoded images are kept in a process-wide cache and shared between callers: never change the returned image,
    copy it first.

    Args:
        image: A reference, its text form, or an image block.
        policy: Limits.
        store: Where ``sha256:`` images are; ``None`` for the default store.
        argument: Name of the argument that errors blame.

    Returns:
        A fully decoded RGB image, EXIF orientation applied, transparency on white. For a region its pixels,
        resized (bicubic) by its scale; what of the region lies outside the image is cut off.

    Raises:
        ImageError: The image does not exist, cannot be decoded, is over a limit or is not allowed.
    """
    ref = as_reference(image, argument)
    check_source(ref, policy, store, argument)
    return _load(ref, policy, store, argument, None)


async def aload_image(
    image: ImageRef | Mapping[str, Any] | str,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStore | None = None,
    *,
    argument: str = "messages",
) -> Image.Image:
    """Load an image in a thread; see :func:`load_image`."""
    return await asyncio.to_thread(load_image, image, policy, store, argument=argument)


def load_resized(
    image: ImageRef | Mapping[str, Any] | str,
    rule: ResizeRule,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStore | None = None,
    *,
    argument: str = "messages",
) -> Image.Image:
    """Load an image at the size at which a model sees it.

    It is kept in the cache at that size, so that every further turn about a large image costs neither its decoding nor
    its resizing.

    Args:
        image: A reference, its text form, or an image block.
        rule: The model's rule.
        policy: Limits.
        store: Where ``sha256:`` images are; ``None`` for the default store.
        argument: Name of the argument that errors blame.

    Returns:
        What :func:`load_image` returns, resized (bicubic) by the rule; shared, never change it. Sides that shrink to a
        sixth or less are halved or better by averaging first, and a large JPEG is decoded at a quarter or an eighth of
        its size where the model sees at most half of that: much faster, and no value differs by more than a few of
        255. A region that the model sees no larger than it is is not enlarged.

    Raises:
        ImageError: As :func:`load_image`.
    """
    ref = as_reference(image, argument)
    check_source(ref, policy, store, argument)

    def resized() -> Image.Image:
        if ref.region is None:
            return _overview(ref, rule, policy, store, argument)
        original, region = _find(ref, policy, store, argument, None)
        size = rule.size(*(region.size if region else original.size))
        if region and size[0] <= region.width and size[1] <= region.height:
            # it would be enlarged only to be shrunk again
            region = replace(region, scale=1.0)
        loaded = _cut(original, region)
        return loaded.resize(size, Image.Resampling.BICUBIC, reducing_gap=_GAP)

    # limits are part of the key: what a lax policy has loaded is not there for a strict one
    fragment = ref.region.fragment if ref.region else ""
    return _CACHE.get(f"{ref.source_key}{fragment} {rule} {policy}", resized)


def check_image(
    image: ImageRef | Mapping[str, Any] | str,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStore | None = None,
    *,
    argument: str = "messages",
) -> tuple[int, int]:
    """Check that an image is sound and within the limits, by decoding it: a large JPEG at an eighth of its size.

    Args:
        image: A reference, its text form, or an image block.
        policy: Limits.
        store: Where ``sha256:`` images are; ``None`` for the default store.
        argument: Name of the argument that errors blame.

    Returns:
        (width, height) of what :func:`load_image` would return.

    Raises:
        ImageError: As :func:`load_image`.
    """
    ref = as_reference(image, argument)
    check_source(ref, policy, store, argument)
    if ref.region is not None:
        return load_image(ref, policy, store, argument=argument).size
    return _size_of(_whole(ref, lambda size: _SMALLER[0], policy, store, argument, None))


def encoded(
    image: ImageRef | Mapping[str, Any] | str,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStore | None = None,
    *,
    argument: str = "messages",
) -> tuple[bytes, str]:
    """Return an image in a format hosted models take.

    Args:
        image: A reference, its text form, or an image block.
        policy: Limits.
        store: Where ``sha256:`` images are; ``None`` for the default store.
        argument: Name of the argument that errors blame.

    Returns:
        (bytes, media type): the original bytes (with their EXIF orientation) of a whole PNG, JPEG, WebP or GIF,
        else the loaded pixels as PNG. The image has been decoded, so it is sound and within the limits.

    Raises:
        ImageError: As :func:`load_image`.
    """
    ref = as_reference(image, argument)
    if ref.region is None:
        data = read_source(ref, policy, store, argument)
        mime = sniff_mime(data)
        if mime in PASSED_THROUGH:
            _whole(ref, lambda size: _SMALLER[0], policy, store, argument, data)
            return data, mime
        loaded = _load(ref, policy, store, argument, data)
    else:
        loaded = load_image(ref, policy, store, argument=argument)
    buffer = io.BytesIO()
    loaded.save(buffer, "PNG")
    return buffer.getvalue(), "image/png"


def as_reference(image: ImageRef | Mapping[str, Any] | str, argument: str = "messages") -> ImageRef:
    """Return the reference of a reference, its text form, or an image block.

    Raises:
        ImageError: It is none of these, or malformed.
    """
    if isinstance(image, ImageRef):
        return image
    if isinstance(image, str):
        return parse_reference(image, argument)
    ref = parse_block(image, argument)
    if ref is None:
        raise ImageError(argument, "an image block or reference", type(image).__name__)
    return ref


def _load(
    ref: ImageRef, policy: ImagePolicy, store: ImageStore | None, argument: str, data: bytes | None
) -> Image.Image:
    original, region = _find(ref, policy, store, argument, data)
    if region is None:
        return original
    return _CACHE.get(ref.source_key + region.fragment, lambda: _cut(original, region))


def _overview(
    ref: ImageRef, rule: ResizeRule, policy: ImagePolicy, store: ImageStore | None, argument: str
) -> Image.Image:
    """A whole image at the size at which a model sees it.

    How it is decoded follows from its size and the rule alone, never from what is cached: else one question could be
    answered in two ways.
    """

    def times(whole: tuple[int, int]) -> int:
        wanted = rule.size(*whole)
        room = min(side / (_ROOM * small) for side, small in zip(whole, wanted, strict=True))
        return next((times for times in _SMALLER if times <= room), 1)

    loaded = _whole(ref, times, policy, store, argument, None)
    whole = _size_of(loaded)
    box = None
    if loaded.size != whole:
        # without what of the last blocks lies beyond the image
        scale = times(whole)
        box = (0, 0, whole[0] / scale, whole[1] / scale)
    return loaded.resize(rule.size(*whole), Image.Resampling.BICUBIC, box, reducing_gap=_GAP)


def _whole(
    ref: ImageRef,
    times: Callable[[tuple[int, int]], int],
    policy: ImagePolicy,
    store: ImageStore | None,
    argument: str,
    data: bytes | None,
) -> Image.Image:
    """A whole image; of its (width, height) follows how many times smaller it may be if it is a large JPEG."""
    name = "inline data" if ref.kind == "inline" else describe(ref.source)
    key = ref.source_key

    def smaller(size: tuple[int, int]) -> tuple[int, str]:
        found = times(size) if min(size) >= _LARGE else 1
        return found, key if found == 1 else f"{key} 1/{found}"

    kept = [image for k in (key, *(f"{key} 1/{n}" for n in _SMALLER)) if (image := _CACHE.find(k)) is not None]
    if kept:
        size = _size_of(kept[0])
        # again on a hit: it may have been loaded under another policy
        check_size(size, policy, argument, name)
        if (found := _CACHE.find(smaller(size)[1])) is not None:
            return found
    if data is None:
        data = read_source(ref.whole, policy, store, argument)
    encoded_bytes = data
    size = read_size(data, policy, argument, name)
    by, place = smaller(size) if sniff_mime(data) == "image/jpeg" else (1, key)
    return _CACHE.get(place, lambda: decode(encoded_bytes, policy, argument, name, by))


def _size_of(image: Image.Image) -> tuple[int, int]:
    """(width, height) of the whole image that this is, maybe smaller."""
    width, height = image.info.get(WHOLE, image.size)
    return width, height


def _find(
    ref: ImageRef, policy: ImagePolicy, store: ImageStore | None, argument: str, data: bytes | None
) -> tuple[Image.Image, Region | None]:
    """The whole image, and what of the region lies inside it."""
    name = "inline data" if ref.kind == "inline" else describe(ref.source)
    original = _whole(ref, lambda size: 1, policy, store, argument, data)
    region = ref.region
    if region is None:
        return original, None
    width, height = min(region.width, original.width - region.x), min(region.height, original.height - region.y)
    if width < 1 or height < 1:
        found = f"region {region.fragment} of {original.width} x {original.height} pixels"
        raise ImageError(argument, "a region inside the image", found)
    inside = Region(region.x, region.y, width, height, region.scale)
    check_pixels(inside.size, policy, argument, f"the enlarged region of {name}")
    return original, inside


def _cut(original: Image.Image, region: Region | None) -> Image.Image:
    if region is None:
        return original
    box = (region.x, region.y, region.x + region.width, region.y + region.height)
    # Equals crop(), which would apply Pillow's own pixel limit.
    part = original.resize((region.width, region.height), Image.Resampling.NEAREST, box)
    return part if region.size == part.size else part.resize(region.size, Image.Resampling.BICUBIC)
