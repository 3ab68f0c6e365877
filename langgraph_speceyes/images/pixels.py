"""Encoded bytes to RGB pixels, in bands where that saves memory. Needs Pillow and nothing else of the package's makers.

It runs in this process and in the ones that :mod:`~langgraph_speceyes.images.workers` starts.
"""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

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
from PIL.PngImagePlugin import PngImageFile

from langgraph_speceyes.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from PIL.ImageFile import ImageFile

SMALLER = 4
"""How many times smaller a JPEG is decoded, if it is. An eighth takes hardly less time, and crops need more."""

_FILTERS_LOCK = threading.Lock()
_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = frozenset({5, 6, 7, 8})
"""Orientations that swap the sides."""
_WHITE = (255, 255, 255, 255)
_BAND_PIXELS = 4 * 1024 * 1024
_OUT = 4
"""Bytes that Pillow keeps for a pixel in RGB."""
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_BESIDE = {"WEBP": 12, "AVIF": 12, "JPEG2000": 16, "TIFF": 4, "GIF": 1, "BMP": 2, "PPM": 4}
"""Bytes a pixel that decoders of these formats need beside the image they make."""
_COEFFICIENT = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What of a policy counts for decoding; see :class:`~langgraph_speceyes.images.policy.ImagePolicy`."""

    max_pixels: int
    max_decoded_bytes: int
    min_side: int
    formats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """An image to decode, and what errors say of it.

    Attributes:
        data: Encoded bytes. Of an animation the first frame counts.
        limits: Limits, checked against the header before any pixel is decoded.
        argument: Name of the argument that errors blame.
        name: What errors call the image.
        orientation: Its EXIF orientation, where that is known; None to ask the decoder.
        smaller: Whether it may be decoded at a quarter of its width and height, where it is a JPEG.
        scans: How many scans a JPEG may have; None if that is not known.
    """

    data: bytes
    limits: Limits
    argument: str
    name: str
    orientation: int | None = None
    smaller: bool = False
    scans: int | None = None


@dataclass(slots=True)
class Opened:
    """An image whose header has been read.

    Attributes:
        image: The image, whose pixels are not decoded yet.
        turned: Its EXIF orientation, 1 to 8.
        size: (width, height) as it is to be shown.
        shrunk: Whether it will be decoded smaller.
        cost: Bytes that decoding it takes at its height.
        decoded: (width, height) of what was decoded, once that is: less than `size` where it was decoded smaller.
    """

    image: ImageFile
    turned: int
    size: tuple[int, int]
    shrunk: bool
    cost: int
    decoded: tuple[int, int] = (0, 0)


def open_image(job: Job, *, decode: bool = True) -> Opened:
    """Read the header of an image, and check it.

    Args:
        job: The image.
        decode: Whether it will be decoded, so that what this takes is checked too.

    Raises:
        ImageError: The bytes are no image of the formats allowed, or over a limit.
    """
    image = _read(job)
    check_size(image.size, job.limits, job.argument, job.name)
    turned = _orientation(image) if job.orientation is None else job.orientation
    # a TIFF says its size as it is to be shown
    swapped = turned in _TURNED and image.format != "TIFF"
    size = (image.height, image.width) if swapped else image.size
    shrunk = job.smaller and type(image) is JpegImageFile and _shrink(image, turned)
    cost = _cost(image, turned, job)
    if decode and cost > job.limits.max_decoded_bytes:
        expected = f"an image that decodes in at most {job.limits.max_decoded_bytes} bytes (max_decoded_bytes)"
        found = f"{_by(size)} of mode {image.mode} in {job.name}, {cost} bytes as {image.format}"
        raise ImageError(job.argument, expected, found)
    return Opened(image, turned, size, shrunk, cost)


def decode_bands(opened: Opened, job: Job) -> Iterator[Image.Image]:
    """Decode an image, and give it as bands of its rows in RGB, from the top.

    EXIF orientation is applied, transparency composited on white, 16-bit grey scaled to 8.

    Raises:
        ImageError: It is truncated or damaged, or of a mode that cannot be shown.
    """
    image: Image.Image = opened.image
    try:
        image.load()
    except Exception as error:  # decoders of damaged data raise nearly anything
        found = f"truncated or damaged {opened.image.format} {job.name} ({error})"
        raise ImageError(job.argument, "a complete image", found) from error
    try:
        if job.orientation is None:
            with contextlib.suppress(Exception):  # damaged EXIF data says nothing about orientation
                ImageOps.exif_transpose(image, in_place=True)
        elif (method := _TRANSPOSED.get(opened.turned)) is not None:
            image = image.transpose(method)
        if isinstance(image, JpegImageFile | PngImageFile):
            # the encoded bytes are let go
            image.fp = None
        opened.decoded = image.size
        kept = isinstance(image, JpegImageFile | PngImageFile) or type(image) is Image.Image
        if kept and image.mode == "RGB" and not _transparent(image):
            # its own pixels, without a copy of them
            yield image
        else:
            yield from _rgb_bands(image)
    except Exception as error:
        expected = "an image of a known mode"
        raise ImageError(job.argument, expected, f"mode {image.mode} in {job.name} ({error})") from error


def check_pixels(size: tuple[float, float], max_pixels: int, argument: str, name: str) -> None:
    """Check (width, height) against a limit of pixels.

    Raises:
        ImageError: There are too many pixels.
    """
    if size[0] * size[1] > max_pixels:
        raise ImageError(argument, f"at most {max_pixels} pixels (max_pixels)", f"{_by(size)} in {name}")


def check_size(size: tuple[int, int], limits: Limits, argument: str, name: str) -> None:
    """Check a whole image's (width, height) against the limits.

    Raises:
        ImageError: There are too many pixels, or too few on a side.
    """
    check_pixels(size, limits.max_pixels, argument, name)
    if min(size) < limits.min_side:
        raise ImageError(argument, f"sides of at least {limits.min_side} pixels", f"{_by(size)} in {name}")


def _by(size: tuple[float, float]) -> str:
    return f"{size[0]:.0f} x {size[1]:.0f} pixels"


def _read(job: Job) -> ImageFile:
    """Read the header, as ``Image.open`` does.

    That would also apply Pillow's own pixel limit, by a warning and process-wide, where the policy's limit counts.
    """
    data, argument, name = job.data, job.argument, job.name
    for label in job.limits.formats:
        factory, accept = Image.OPEN[label]
        accepted = accept(data[:16]) if accept else False
        # A string is the plugin's reason why this build of Pillow lacks the format.
        if not accepted or isinstance(accepted, str):
            continue
        try:
            return _read_header(factory, data)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            expected = f"at most {job.limits.max_pixels} pixels (max_pixels)"
            raise ImageError(argument, expected, f"more in {name} ({error})") from error
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
        except Exception as error:
            raise ImageError(argument, "an image", f"damaged {label} header in {name} ({error})") from error
    expected = f"an image ({', '.join(job.limits.formats)})"
    raise ImageError(argument, expected, f"no such image in {name}, {len(data)} bytes")


def _read_header(factory: Callable[[IO[bytes], str | bytes], ImageFile], data: bytes) -> ImageFile:
    try:
        return factory(io.BytesIO(data), "")
    except UserWarning:
        # Warnings are errors in this process; this one is about metadata, such as damaged EXIF data.
        with _FILTERS_LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return factory(io.BytesIO(data), "")


def _orientation(image: ImageFile) -> int:
    with contextlib.suppress(Exception):  # as damaged as it may be
        return int(image.getexif().get(Base.Orientation, 1))
    return 1


def _shrink(image: JpegImageFile, turned: int) -> bool:
    """Have a JPEG decoded smaller, if it can be."""
    uneven = image.width % SMALLER or image.height % SMALLER
    # turned, a row of blocks that is only partly there might be the first one
    if min(image.size) < SMALLER or (uneven and turned != 1):
        return False
    return image.draft(None, (image.width // SMALLER, image.height // SMALLER)) is not None


def _cost(image: ImageFile, turned: int, job: Job) -> int:
    """Bytes that decoding takes: what the decoder needs, what it makes, and the RGB pixels made of that."""
    pixels = image.width * image.height
    made = _BYTES.get(image.mode, 4)
    # what is decoded elsewhere is RGB there and here; JPEG and PNG in RGB are handed on as they are
    kept = image.format in ("JPEG", "MPO", "PNG") and image.mode == "RGB" and "transparency" not in image.info
    copies = made * (2 if turned in _TRANSPOSED else 1) + (0 if kept else _OUT)
    cost = pixels * (copies + _BESIDE.get(str(image.format), 0))
    if isinstance(image, JpegImageFile) and (job.data.count(b"\xff\xda") if job.scans is None else job.scans) > 1:
        # all coefficients are kept, of the whole image also where it is decoded smaller
        whole = pixels * (SMALLER * SMALLER if image.decoderconfig else 1)
        most = max((h for _, h, _, _ in image.layer), default=1) * max((v for _, _, v, _ in image.layer), default=1)
        cost += whole * _COEFFICIENT * sum(h * v for _, h, v, _ in image.layer) // max(1, most)
    return cost


def _transparent(image: Image.Image) -> bool:
    return bool(image.has_transparency_data) or image.mode in ("La", "RGBa")


def _rgb_bands(image: Image.Image) -> Iterator[Image.Image]:
    convert = _converter(image)
    rows = max(1, _BAND_PIXELS // image.width)
    if rows >= image.height:
        yield convert(image)
        return
    for top in range(0, image.height, rows):
        yield convert(image.crop((0, top, image.width, min(image.height, top + rows))))


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What makes RGB of parts of an image."""
    if image.mode.startswith("I;16"):
        return _from_16_bits
    if image.mode in ("I", "F"):
        low, high = _range(image)
        return lambda band: _scaled(band, low, high)
    if _transparent(image):
        return _on_white
    return lambda band: band.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA") if image.mode != "La" else image.convert("LA").convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba).convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    import numpy as np

    values = np.asarray(image)
    # Round to nearest: v * 255 / 65535 = v / 257.
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey = np.where(values == clear, np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


def _range(image: Image.Image) -> tuple[float, float]:
    """What is black and what is white in 32-bit and float values: the range that they announce."""
    import numpy as np

    low, high = np.inf, -np.inf
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(image.height, top + rows))) if rows < image.height else image
        real = _finite(part)
        low, high = min(low, float(real.min())), max(high, float(real.max()))
    if low >= 0 and image.mode == "F" and high <= 1:
        return 0.0, 1.0
    if low >= 0 and high <= 255:
        return 0.0, 255.0
    if low >= 0 and high <= 65535 and image.mode == "I":
        return 0.0, 65535.0
    return low, high


def _finite(image: Image.Image) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _scaled(image: Image.Image, low: float, high: float) -> Image.Image:
    import numpy as np

    grey = np.rint((_finite(image) - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
