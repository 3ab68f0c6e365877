"""Loading images: the only place of the package that opens one."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.block import parse_block
from langgraph_speceyes.images.cache import ImageCache, Latest
from langgraph_speceyes.images.decode import SMALLER, WHOLE, decode, is_turned, limits_of, read_size
from langgraph_speceyes.images.mime import PASSED_THROUGH, sniff_mime
from langgraph_speceyes.images.off_loop import off_loop
from langgraph_speceyes.images.pixels import check_pixels, check_size
from langgraph_speceyes.images.policy import DEFAULT_POLICY, ImagePolicy, effective
from langgraph_speceyes.images.reference import ImageRef, describe, parse_reference
from langgraph_speceyes.images.region import Region
from langgraph_speceyes.images.resize import ResizeRule
from langgraph_speceyes.images.source import check_source, read_source
from langgraph_speceyes.images.store import ImageStoreProtocol

_CACHE = ImageCache()
# photos written anew because of their orientation, which takes as long as decoding them, and happens at every call
_UPRIGHT: Latest[bytes] = Latest(8)
_QUALITY = 95
# how much larger than wanted an image stays that is averaged down before it is resized
_GAP = 3.0
# a JPEG is decoded smaller from this many pixels a side on: below it, decoding it twice, for a look at all of it and
# for crops, costs more than it saves
LARGE = 2048
# how much larger than wanted it stays, at least
_ROOM = 2.0


def configure_cache(max_bytes: int) -> int:
    """Set how many bytes of decoded images the process keeps (default 512 MiB, 4 bytes a pixel; 0 keeps none).

    Returns:
        How many it kept until now.

    Raises:
        ArgumentError: The budget is negative or no whole number.
    """
    before = _CACHE.max_bytes
    _CACHE.resize(max_bytes)
    return before


def clear_cache() -> None:
    """Drop every decoded image the process keeps, for instance because a remote image changed."""
    _CACHE.clear()
    _UPRIGHT.clear()


def load_image(
    image: ImageRef | Mapping[str, Any] | str,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
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
    ref, policy = as_reference(image, argument), effective(policy)
    check_source(ref, policy, store, argument)
    return _load(ref, policy, store, argument, None)


async def aload_image(
    image: ImageRef | Mapping[str, Any] | str,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
    *,
    argument: str = "messages",
) -> Image.Image:
    """Load an image in a thread; see :func:`load_image`."""
    return await off_loop(load_image, image, policy, store, argument=argument)


def load_resized(
    image: ImageRef | Mapping[str, Any] | str,
    rule: ResizeRule,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
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
        sixth or less are halved or better by averaging first, and a large JPEG is decoded at a quarter of its size
        where the model sees at most half of that: much faster, and no value differs by more than a few of 255. A region
        that the model sees no larger than it is is not enlarged.

    Raises:
        ImageError: As :func:`load_image`.
    """
    ref, policy = as_reference(image, argument), effective(policy)
    check_source(ref, policy, store, argument)

    def resized() -> Image.Image:
        return _seen(ref, rule, policy, store, argument)

    # limits are part of the key: what a lax policy has loaded is not there for a strict one
    fragment = ref.region.fragment if ref.region else ""
    return _CACHE.get(f"{ref.source_key}{fragment} {rule} {policy}", resized)


def check_image(
    image: ImageRef | Mapping[str, Any] | str,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
    *,
    argument: str = "messages",
) -> tuple[int, int]:
    """Check that an image is sound and within the limits, by decoding it: a large JPEG at a quarter of its size.

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
    ref, policy = as_reference(image, argument), effective(policy)
    check_source(ref, policy, store, argument)
    if ref.region is not None:
        return load_image(ref, policy, store, argument=argument).size
    return _size_of(load_whole(ref, lambda size: True, policy, store, argument, None))


def check_region(
    image: ImageRef | Mapping[str, Any] | str,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
    *,
    argument: str = "messages",
) -> tuple[int, int]:
    """Check that an image is sound and a region inside it, both within the limits, without cutting the region out.

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
    ref, policy = as_reference(image, argument), effective(policy)
    size = check_image(ref.whole, policy, store, argument=argument)
    return size if ref.region is None else region_inside(ref.region, size, policy, argument, ref).size


def encoded(
    image: ImageRef | Mapping[str, Any] | str,
    policy: ImagePolicy = DEFAULT_POLICY,
    store: ImageStoreProtocol | None = None,
    *,
    argument: str = "messages",
    check: bool = True,
) -> tuple[bytes, str]:
    """Return an image in a format hosted models take.

    Args:
        image: A reference, its text form, or an image block.
        policy: Limits.
        store: Where ``sha256:`` images are; ``None`` for the default store.
        argument: Name of the argument that errors blame.
        check: Whether an image whose bytes are returned is decoded all the same, to see that it is sound.

    Returns:
        (bytes, media type): the original bytes of a whole PNG, JPEG, WebP or GIF, else the loaded pixels as PNG. An
        image that an orientation tag turns is written anew without the tag, a JPEG as JPEG: many servers ignore it,
        and would count other pixels than tools cut. The image is within the limits, and sound if that was checked.

    Raises:
        ImageError: As :func:`load_image`.
    """
    ref, policy = as_reference(image, argument), effective(policy)
    if ref.region is None:
        data = read_source(ref, policy, store, argument)
        mime = sniff_mime(data)
        turned = is_turned(data)
        if mime in PASSED_THROUGH and not turned:
            if check:
                load_whole(ref, lambda size: True, policy, store, argument, data)
            else:
                read_size(data, policy, argument, _name(ref))
            return data, mime
        loaded = _load(ref, policy, store, argument, data)
        if turned and mime == "image/jpeg":
            return _UPRIGHT.get(ref.source_key, lambda: encode_image(loaded, "JPEG", quality=_QUALITY)), mime
    else:
        loaded = load_image(ref, policy, store, argument=argument)
    return encode_image(loaded, "PNG"), "image/png"


def encode_image(image: Image.Image, form: str, **settings: Any) -> bytes:
    """An image encoded in a format, with the settings that Pillow takes for it."""
    buffer = io.BytesIO()
    image.save(buffer, form, **settings)
    return buffer.getvalue()


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
    ref: ImageRef, policy: ImagePolicy, store: ImageStoreProtocol | None, argument: str, data: bytes | None
) -> Image.Image:
    original, region = _find(ref, policy, store, argument, data)
    if region is None:
        return original
    return _CACHE.get(ref.source_key + policy.decoding + region.fragment, lambda: _cut(original, region))


def _seen(
    ref: ImageRef, rule: ResizeRule, policy: ImagePolicy, store: ImageStoreProtocol | None, argument: str
) -> Image.Image:
    """An image or a region at the size at which a model sees it.

    How it is decoded follows from its size and the rule alone, never from what is cached: else one question could be
    answered in two ways.
    """

    def wanted(whole: tuple[int, int]) -> tuple[Region, tuple[int, int]]:
        """The part that is seen, and the size at which it is."""
        try:
            part = (
                Region(0, 0, *whole) if ref.region is None else region_inside(ref.region, whole, policy, argument, ref)
            )
            return part, rule.size(*part.size)
        except ImageError as error:
            raise ImageError(argument, error.expected, f"{error.found} in {_name(ref)}") from None

    def smaller(whole: tuple[int, int]) -> bool:
        part, size = wanted(whole)
        return min(part.width / size[0], part.height / size[1]) >= SMALLER * _ROOM

    loaded = load_whole(ref, smaller, policy, store, argument, None)
    part, size = wanted(_size_of(loaded))
    if part.size != (part.width, part.height) and (size[0] > part.width or size[1] > part.height):
        return _cut(loaded, part).resize(size, Image.Resampling.BICUBIC, reducing_gap=_GAP)
    # what the model sees no larger than it is, is not enlarged only to be shrunk again
    by = SMALLER if WHOLE in loaded.info else 1
    left, top = part.x // by, part.y // by
    right, bottom = -(-(part.x + part.width) // by), -(-(part.y + part.height) // by)
    if (left, top, right, bottom) != (0, 0, *loaded.size):
        loaded = _cut(loaded, Region(left, top, right - left, bottom - top))
    x, y = part.x / by - left, part.y / by - top
    box = (x, y, x + part.width / by, y + part.height / by)
    return loaded.resize(size, Image.Resampling.BICUBIC, box, reducing_gap=_GAP)


def load_whole(
    ref: ImageRef,
    smaller: Callable[[tuple[int, int]], bool],
    policy: ImagePolicy,
    store: ImageStoreProtocol | None,
    argument: str,
    data: bytes | None,
) -> Image.Image:
    """A whole image; of its (width, height) follows whether it may be decoded smaller if it is a large JPEG."""
    name, key = _name(ref), ref.source_key + policy.decoding
    small = f"{key} 1/{SMALLER}"
    for image in (_CACHE.find(key), _CACHE.find(small)):
        if image is not None:
            size = _size_of(image)
            # again on a hit: it may have been loaded under another policy
            check_size(size, limits_of(policy), argument, name)
            if (image.size != size) == (min(size) >= LARGE and smaller(size)):
                return image
    encoded_bytes = read_source(ref.whole, policy, store, argument) if data is None else data
    size = read_size(encoded_bytes, policy, argument, name)
    if sniff_mime(encoded_bytes) == "image/jpeg" and min(size) >= LARGE and smaller(size):
        return _CACHE.get(small, lambda: decode(encoded_bytes, policy, argument, name, smaller=True))
    return _CACHE.get(key, lambda: decode(encoded_bytes, policy, argument, name))


def _size_of(image: Image.Image) -> tuple[int, int]:
    """(width, height) of the whole image that this is, maybe smaller."""
    width, height = image.info.get(WHOLE, image.size)
    return width, height


def _find(
    ref: ImageRef, policy: ImagePolicy, store: ImageStoreProtocol | None, argument: str, data: bytes | None
) -> tuple[Image.Image, Region | None]:
    """The whole image, and what of the region lies inside it."""
    original = load_whole(ref, lambda size: False, policy, store, argument, data)
    inside = None if ref.region is None else region_inside(ref.region, original.size, policy, argument, ref)
    return original, inside


def region_inside(region: Region, whole: tuple[int, int], policy: ImagePolicy, argument: str, ref: ImageRef) -> Region:
    """What of a region lies inside an image of (width, height)."""
    width, height = min(region.width, whole[0] - region.x), min(region.height, whole[1] - region.y)
    if width < 1 or height < 1:
        found = f"region {region.fragment} of {whole[0]} x {whole[1]} pixels"
        raise ImageError(argument, "a region inside the image", found)
    inside = Region(region.x, region.y, width, height, region.scale)
    check_pixels(inside.size, policy.max_pixels, argument, f"the enlarged region of {_name(ref)}")
    return inside


def _name(ref: ImageRef) -> str:
    return "inline data" if ref.kind == "inline" else describe(ref.source)


def _cut(original: Image.Image, region: Region | None) -> Image.Image:
    if region is None:
        return original
    box = (region.x, region.y, region.x + region.width, region.y + region.height)
    # Equals crop(), which would apply Pillow's own pixel limit.
    part = original.resize((region.width, region.height), Image.Resampling.NEAREST, box)
    return part if region.size == part.size else part.resize(region.size, Image.Resampling.BICUBIC)
