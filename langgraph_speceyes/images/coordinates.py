"""Boxes in the coordinate systems that visual models use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from numbers import Real

from langgraph_speceyes.errors import ArgumentError, ImageError, ToolInputError

MAX_ASPECT = 200
# Absorbs the rounding of a scaled coordinate that should be whole.
_EPSILON = 1e-6


class CoordinateSpace(StrEnum):
    """What the numbers of a box count.

    Attributes:
        ABSOLUTE: Pixels of the EXIF-oriented original.
        RESIZED: Pixels of the resized image the model saw.
        RELATIVE_1000: Thousandths of each side, 0 to 1000.
    """

    ABSOLUTE = "absolute"
    RESIZED = "resized"
    RELATIVE_1000 = "relative_1000"


def to_pixels(
    box: object,
    *,
    space: CoordinateSpace | str,
    original: tuple[int, int],
    resized: tuple[int, int] | None = None,
) -> tuple[int, int, int, int]:
    """Turn a model's box into pixels of the original image.

    Args:
        box: List or tuple of four finite numbers (left, top, right, bottom), right and bottom exclusive.
        space: What the numbers count.
        original: (width, height) in pixels of the EXIF-oriented original.
        resized: (width, height) in pixels of what the model saw; needed for ``resized`` only.

    Returns:
        (left, top, right, bottom) in whole pixels inside the image, at least 1 pixel wide and high: left and top
        rounded down, right and bottom rounded up, right and bottom exclusive.

    Raises:
        ToolInputError: The box is not four finite numbers, is inverted or empty, or lies outside the image. The
            message is meant for the model.
        ArgumentError: ``space`` is unknown, or a size is not two whole numbers above 0.
    """
    frame = _frame(space, original, resized)
    left, top, right, bottom = _numbers(box)
    limits = f"0 to {frame[0]:g} for x and 0 to {frame[1]:g} for y"
    if right <= left or bottom <= top:
        raise ToolInputError(f"the box must have x1 < x2 and y1 < y2, got {_shown((left, top, right, bottom))}")
    x = _side(left, right, frame[0], original[0])
    y = _side(top, bottom, frame[1], original[1])
    if x is None or y is None:
        found = _shown((left, top, right, bottom))
        raise ToolInputError(f"the box {found} lies outside the image, whose coordinates run from {limits}")
    return x[0], y[0], x[1], y[1]


def from_pixels(
    box: tuple[int, int, int, int],
    *,
    space: CoordinateSpace | str,
    original: tuple[int, int],
    resized: tuple[int, int] | None = None,
) -> tuple[float, float, float, float]:
    """Turn a box in pixels of the original into a model's coordinates; the inverse of :func:`to_pixels`.

    Args:
        box: (left, top, right, bottom) in pixels of the original.
        space: What the result counts.
        original: (width, height) in pixels of the EXIF-oriented original.
        resized: (width, height) in pixels of what the model sees; needed for ``resized`` only.

    Returns:
        (left, top, right, bottom), not rounded.

    Raises:
        ToolInputError: The box is not four finite numbers.
        ArgumentError: ``space`` is unknown, or a size is not two whole numbers above 0.
    """
    frame = _frame(space, original, resized)
    left, top, right, bottom = _numbers(box)
    width, height = original
    return left * frame[0] / width, top * frame[1] / height, right * frame[0] / width, bottom * frame[1] / height


def resized_size(
    width: int, height: int, *, factor: int, min_pixels: int, max_pixels: int, frames: int = 1
) -> tuple[int, int]:
    """Return the size Qwen's image processors resize an image to.

    Both sides become multiples of ``factor`` as near as possible to the original's, then as much smaller or larger
    as the pixel limits demand, at about the same aspect ratio.

    Args:
        width: Pixels of the original.
        height: Pixels of the original.
        factor: Patch side times merge size, in pixels (28 for Qwen2.5-VL, 32 for Qwen3-VL).
        min_pixels: Fewest pixels of the result.
        max_pixels: Most pixels of the result, save that no side becomes shorter than ``factor``.
        frames: How often each pixel counts for these limits: GLM's processors count those of two frames.

    Returns:
        (width, height) in pixels.

    Raises:
        ImageError: One side is more than 200 times the other.
        ArgumentError: An argument is not a whole number above 0, or ``min_pixels`` is above ``max_pixels``.
    """
    _check_size("width, height", (width, height))
    _check_size("factor, min_pixels", (factor, min_pixels))
    if max_pixels < min_pixels:
        raise ArgumentError("max_pixels", f"at least min_pixels, {min_pixels}", max_pixels)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError("image", f"sides within a ratio of {MAX_ASPECT}", f"{width} x {height} pixels")
    new_width, new_height = round(width / factor) * factor, round(height / factor) * factor
    if frames * new_width * new_height > max_pixels:
        shrink = math.sqrt(frames * width * height / max_pixels)
        new_width = math.floor(width / shrink / factor) * factor
        new_height = math.floor(height / shrink / factor) * factor
    elif frames * new_width * new_height < min_pixels:
        grow = math.sqrt(min_pixels / (frames * width * height))
        new_width = math.ceil(width * grow / factor) * factor
        new_height = math.ceil(height * grow / factor) * factor
    return max(factor, new_width), max(factor, new_height)


def _frame(
    space: CoordinateSpace | str, original: tuple[int, int], resized: tuple[int, int] | None
) -> tuple[float, float]:
    """Return the coordinates of the image's right and bottom edge in a space."""
    _check_size("original", original)
    try:
        known = CoordinateSpace(space)
    except ValueError:
        raise ArgumentError("space", f"one of {', '.join(CoordinateSpace)}", repr(space)) from None
    if known is CoordinateSpace.ABSOLUTE:
        return original
    if known is CoordinateSpace.RELATIVE_1000:
        return 1000.0, 1000.0
    if resized is None:
        raise ArgumentError("resized", "the size the model saw, for space 'resized'", None)
    _check_size("resized", resized)
    return resized


def _check_size(argument: str, size: Sequence[int]) -> None:
    if len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise ArgumentError(argument, "two whole numbers above 0", f"{size!r:.80}")


def _numbers(box: object) -> tuple[float, float, float, float]:
    if not isinstance(box, (list, tuple)):
        raise ToolInputError(f"the box must be a list of four numbers [x1, y1, x2, y2], got {type(box).__name__}")
    if len(box) != 4:
        raise ToolInputError(f"the box must be four numbers [x1, y1, x2, y2], got {len(box)}")
    values = []
    for name, value in zip(("x1", "y1", "x2", "y2"), box, strict=True):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ToolInputError(f"{name} of the box must be a number, got {type(value).__name__} {value!r:.40}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ToolInputError(f"{name} of the box must be a finite number, got {number}")
        values.append(number)
    return values[0], values[1], values[2], values[3]


def _side(low: float, high: float, frame: float, pixels: int) -> tuple[int, int] | None:
    """Clamp and scale one axis; ``None`` if nothing of it is inside."""
    low, high = max(low, 0.0), min(high, frame)
    if high <= low:
        return None
    # Multiplied first, so that whole results are exact.
    start = max(0, math.floor(low * pixels / frame + _EPSILON))
    stop = min(pixels, math.ceil(high * pixels / frame - _EPSILON))
    start = min(start, pixels - 1)
    return start, max(stop, start + 1)


def _shown(box: tuple[float, float, float, float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
