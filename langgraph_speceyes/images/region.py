"""A rectangle of an image, as a W3C media fragment."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from langgraph_speceyes.errors import ImageError

FRAGMENT_START = "#xywh="
MAX_SIDE = 10_000_000
MAX_SCALE = 1000.0

_FRAGMENT = re.compile(
    r"#xywh=(?:pixel:)?(\d{1,8}),(\d{1,8}),(\d{1,8}),(\d{1,8})(?:&scale=(\d*\.?\d+(?:[eE][+-]?\d{1,3})?))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in pixels of the EXIF-oriented original, and how much it is enlarged when loaded.

    Attributes:
        x: Left edge, from 0.
        y: Top edge, from 0.
        width: Pixels, at least 1.
        height: Pixels, at least 1.
        scale: Factor applied to both sides (bicubic) when loaded, above 0 and at most 1000.

    Raises:
        ImageError: A value is out of its range.
    """

    x: int
    y: int
    width: int
    height: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges, so that sizes derived from a region are always finite."""
        corners = 0 <= self.x <= MAX_SIDE and 0 <= self.y <= MAX_SIDE
        if not (corners and 1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            found = f"x={self.x}, y={self.y}, width={self.width}, height={self.height}"
            raise ImageError("region", f"x, y >= 0 and width, height >= 1, all up to {MAX_SIDE}", found)
        if not (math.isfinite(self.scale) and 0 < self.scale <= MAX_SCALE):
            raise ImageError("region", f"a scale above 0 and at most {MAX_SCALE:g}", self.scale)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the region once loaded, that is with its scale applied."""
        return max(1, round(self.width * self.scale)), max(1, round(self.height * self.scale))

    @property
    def fragment(self) -> str:
        """The media fragment, ``#xywh=x,y,w,h`` with ``&scale=s`` where the scale is not 1."""
        scale = "" if self.scale == 1.0 else f"&scale={float(self.scale)!r}"
        return f"{FRAGMENT_START}{self.x},{self.y},{self.width},{self.height}{scale}"


def split_fragment(uri: str, argument: str) -> tuple[str, Region | None]:
    """Split a region off the end of a reference.

    Only ``#xywh=`` starts a region; any other ``#`` belongs to the path or URL.

    Args:
        uri: A reference, with or without a region.
        argument: Name of the argument that errors blame.

    Returns:
        The reference without the region, and the region or ``None``.

    Raises:
        ImageError: There is a ``#xywh=`` that is not followed by four whole numbers and an optional scale.
    """
    base, start, _ = uri.rpartition(FRAGMENT_START)
    if not start:
        return uri, None
    fragment = uri[len(base) :]
    match = _FRAGMENT.fullmatch(fragment)
    if match is None:
        raise ImageError(argument, "a region '#xywh=x,y,width,height' in whole pixels", repr(fragment[:80]))
    x, y, width, height = (int(match[i]) for i in range(1, 5))
    return base, Region(x, y, width, height, float(match[5]) if match[5] else 1.0)
