"""Boxes as models and tool-call parsers spell them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

BOX = "bbox_2d"
"""The argument that holds a box."""
_OTHER_NAMES = ("bbox", "box")
_MOST_TEXT = 400
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_BETWEEN = re.compile(r"[\s,;()\[\]{}<>'\"]*", re.ASCII)


def read_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments with the box under its name and as a list of four, where it can be read as one.

    Args:
        arguments: As the model wrote them.
    """
    read = dict(arguments)
    if read.get(BOX) is None:
        for name in _OTHER_NAMES:
            if read.get(name) is not None:
                read[BOX] = read.pop(name)
                break
    if read.get(BOX) is not None:
        read[BOX] = read_box(read[BOX])
    return read


def read_box(value: Any) -> Any:
    """Read a box: a list of four, also as text, in a list, or as two points.

    Args:
        value: As a model wrote it.

    Returns:
        A list of four, or the value itself if it is none: what is wrong with it is for the caller to say.
    """
    if isinstance(value, str):
        return _numbers_in(value) or value
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) == 1 and isinstance(value[0], (str, list, tuple)):
        return read_box(value[0])
    if len(value) == 2 and all(isinstance(point, (list, tuple)) and len(point) == 2 for point in value):
        return [*value[0], *value[1]]
    return value


def _numbers_in(text: str) -> list[float] | None:
    """The four numbers of a text that holds nothing else but brackets and separators."""
    if len(text) > _MOST_TEXT or not _BETWEEN.fullmatch(_NUMBER.sub(" ", text)):
        return None
    numbers = [float(number) for number in _NUMBER.findall(text)]
    return numbers if len(numbers) == 4 else None


def are_fractions(box: Sequence[float]) -> bool:
    """Whether a box counts in fractions of the image, whatever it was asked to count in.

    All its numbers are from 0 to 1, and one at least is not whole: of pixels or thousandths that would be a box smaller
    than anything one could look at.
    """
    return all(0 <= value <= 1 for value in box) and any(value != int(value) for value in box)


def grown(low: int, high: int, least: int, size: int) -> tuple[int, int]:
    """Grow one side of a box about its centre.

    Args:
        low: Where it begins.
        high: Where it ends, exclusive.
        least: How long it is at least to be.
        size: How long the image is on that side; the result lies inside it.

    Returns:
        Where it begins and ends then: unchanged if it is long enough, all of the image if that is too short.
    """
    length = min(max(high - low, least), size)
    begin = min(max(low - (length - (high - low)) // 2, 0), size - length)
    return begin, begin + length
