"""Encoded bytes to RGB pixels."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import threading
import warnings
from typing import IO, TYPE_CHECKING

from PIL import (  # the plugins register their formats when imported
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageOps,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import JpegImageFile

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.mime import sniff_mime
from langgraph_speceyes.images.policy import ImagePolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.ImageFile import ImageFile

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""Formats that are opened. Others of Pillow's run external programs, or decode before their size is known."""

SMALLER = 4
"""How many times smaller a JPEG is decoded, if it is. An eighth takes hardly less time, and crops need more."""
WHOLE = "whole size"
"""Key of a smaller image's `info` for (width, height) of the whole one."""

_FILTERS_LOCK = threading.Lock()
_TURNED = frozenset({5, 6, 7, 8})
"""Orientations that swap the sides."""
_TAGGED = range(2, 9)
"""Orientations that change anything."""
_PNG_TAG_MARKS = (b"eXIf", b"exif", b"adobe.xmp")
"""One of these is in every PNG that has an orientation."""
_WHITE = (255, 255, 255, 255)


def decode(data: bytes, policy: ImagePolicy, argument: str, name: str, smaller: bool = False) -> Image.Image:
    """Decode an image completely.

    Args:
        data: Encoded bytes. Of an animation the first frame counts.
        policy: Limits, checked against the header before any pixel is decoded.
        argument: Name of the argument that errors blame.
        name: What the error calls the image.
        smaller: Whether it may be decoded at a quarter of its width and height, where it is a JPEG: as averages over
            blocks of its pixels; truncated and damaged data is found all the same.

    Returns:
        An RGB image: EXIF orientation applied, transparency composited on white, 16-bit grey scaled to 8. Where it is
        smaller, its `info` has the whole one's size under :data:`WHOLE`.

    Raises:
        ImageError: The bytes are no image of :data:`FORMATS`, are truncated or damaged, or over a limit.
    """
    image = _open(data, policy, argument, name)
    check_size(image.size, policy, argument, name)
    size = _oriented_size(image)
    smaller = smaller and type(image) is JpegImageFile and _shrunk(image)
    try:
        image.load()
    except Exception as error:  # decoders of damaged data raise nearly anything
        raise ImageError(
            argument, "a complete image", f"truncated or damaged {image.format} {name} ({error})"
        ) from error
    with contextlib.suppress(Exception):  # damaged EXIF data says nothing about orientation
        ImageOps.exif_transpose(image, in_place=True)
    try:
        rgb = _to_rgb(image)
    except Exception as error:
        raise ImageError(argument, "an image of a known mode", f"mode {image.mode} in {name} ({error})") from error
    # A leftover orientation would be applied a second time by whoever saves and reopens the image.
    rgb.info.clear()
    if smaller:
        rgb.info[WHOLE] = size
    return rgb


def read_size(data: bytes, policy: ImagePolicy, argument: str, name: str) -> tuple[int, int]:
    """Read (width, height) from the header, EXIF orientation applied.

    Raises:
        ImageError: As :func:`decode`, as far as the header tells.
    """
    image = _open(data, policy, argument, name)
    check_size(image.size, policy, argument, name)
    return _oriented_size(image)


def is_turned(data: bytes) -> bool:
    """Whether a tag says that the image is to be shown turned or mirrored; false for what is no image.

    Cheap: no pixel is decoded unless a PNG may hold such a tag.
    """
    # Pillow looks for a PNG's tag behind its pixels too, so it has to decode them
    if sniff_mime(data[:16]) == "image/png" and not any(mark in data for mark in _PNG_TAG_MARKS):
        return False
    try:
        # the limits are checked where the image is decoded
        return _orientation(_open(data, ImagePolicy(max_pixels=sys.maxsize), "image", "data")) in _TAGGED
    except ImageError:
        return False


def _oriented_size(image: ImageFile) -> tuple[int, int]:
    return (image.height, image.width) if _orientation(image) in _TURNED else image.size


def _orientation(image: ImageFile) -> int:
    with contextlib.suppress(Exception):  # as damaged as it may be
        return int(image.getexif().get(Base.Orientation, 1))
    return 1


def _shrunk(image: JpegImageFile) -> bool:
    """Have a JPEG decoded smaller, if it can be."""
    uneven = image.width % SMALLER or image.height % SMALLER
    # turned, a row of blocks that is only partly there might be the first one
    if min(image.size) < SMALLER or (uneven and _orientation(image) != 1):
        return False
    return image.draft(None, (image.width // SMALLER, image.height // SMALLER)) is not None


def check_pixels(size: tuple[float, float], policy: ImagePolicy, argument: str, name: str) -> None:
    """Check (width, height) against the policy's pixel limit.

    Raises:
        ImageError: There are too many pixels.
    """
    if size[0] * size[1] > policy.max_pixels:
        raise ImageError(argument, f"at most {policy.max_pixels} pixels (max_pixels)", f"{_by(size)} in {name}")


def check_size(size: tuple[int, int], policy: ImagePolicy, argument: str, name: str) -> None:
    """Check a whole image's (width, height) against the policy.

    Raises:
        ImageError: There are too many pixels, or too few on a side.
    """
    check_pixels(size, policy, argument, name)
    if min(size) < policy.min_side:
        raise ImageError(argument, f"sides of at least {policy.min_side} pixels", f"{_by(size)} in {name}")


def _by(size: tuple[float, float]) -> str:
    return f"{size[0]:.0f} x {size[1]:.0f} pixels"


def _open(data: bytes, policy: ImagePolicy, argument: str, name: str) -> ImageFile:
    """Read the header, as ``Image.open`` does.

    That would also apply Pillow's own pixel limit, by a warning and process-wide, where the policy's limit counts.
    """
    for label in FORMATS:
        factory, accept = Image.OPEN[label]
        accepted = accept(data[:16]) if accept else False
        # A string is the plugin's reason why this build of Pillow lacks the format.
        if not accepted or isinstance(accepted, str):
            continue
        try:
            return _read_header(factory, data)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            expected = f"at most {policy.max_pixels} pixels (max_pixels)"
            raise ImageError(argument, expected, f"more in {name} ({error})") from error
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
        except Exception as error:
            raise ImageError(argument, "an image", f"damaged {label} header in {name} ({error})") from error
    raise ImageError(argument, f"an image ({', '.join(FORMATS)})", f"no such image in {name}, {len(data)} bytes")


def _read_header(factory: Callable[[IO[bytes], str | bytes], ImageFile], data: bytes) -> ImageFile:
    try:
        return factory(io.BytesIO(data), "")
    except UserWarning:
        # Warnings are errors in this process; this one is about metadata, such as damaged EXIF data.
        with _FILTERS_LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return factory(io.BytesIO(data), "")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_to_8_bits(image)
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        rgba = image.convert("RGBA") if image.mode != "La" else image.convert("LA").convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba).convert("RGB")
    if isinstance(image, JpegImageFile) and image.mode == "RGB":
        # its own pixels, without a copy of them; the encoded bytes are let go
        image.fp = None
        return image
    return image.convert("RGB")


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """Map 16-bit grey by its full range; 32-bit and float by the range their values announce."""
    import numpy as np

    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        # Round to nearest: v * 255 / 65535 = v / 257.
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            grey = np.where(values == clear, np.uint8(255), grey)
        return Image.fromarray(grey).convert("RGB")
    real = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(real.min()), float(real.max())
    if low >= 0 and image.mode == "F" and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    elif low >= 0 and high <= 65535 and image.mode == "I":
        low, high = 0.0, 65535.0
    grey = np.rint((real - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
