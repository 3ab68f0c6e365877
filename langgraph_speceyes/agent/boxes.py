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
_NAMED = re.compile(r"['\"]?([a-z]+_?[12]?)['\"]?\s*[=:]\s*([+-]?(?:\d+\.?\d*|\.\d+)\s*%?)", re.ASCII | re.IGNORECASE)
_PERCENT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*", re.ASCII)
_CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("x_1", "y_1", "x_2", "y_2"),
    ("left", "top", "right", "bottom"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
)
_SIZES = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
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
        if len(value) > _MOST_TEXT:
            return value
        return (
            _named({m[1]: m[2] for m in _NAMED.finditer(value)}) or _percents_in(value) or _numbers_in(value) or value
        )
    if isinstance(value, Mapping):
        return _named(value) or value
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) == 1 and isinstance(value[0], (str, list, tuple)):
        return read_box(value[0])
    if len(value) == 2 and all(isinstance(point, (list, tuple)) and len(point) == 2 for point in value):
        return [*value[0], *value[1]]
    if len(value) == 4 and all(isinstance(one, str) and _PERCENT.fullmatch(one) for one in value):
        return _fractions(value) or value
    return value


def _named(sides: Mapping[Any, Any]) -> list[float] | None:
    """A box whose sides have names, which tell corners from sizes and which corner is which."""
    if not 4 <= len(sides) <= 8:
        return None
    given = {str(name).strip().lower(): value for name, value in sides.items()}
    for names in (*_CORNERS, *_SIZES):
        if not all(name in given for name in names):
            continue
        values = [given[name] for name in names]
        if all(isinstance(one, str) and _PERCENT.fullmatch(one) for one in values):
            read = _fractions(values)
        else:
            read = [number for one in values if (number := _number(one)) is not None]
        if read is None or len(read) != 4:
            return None
        left, top, right, bottom = read
        if names in _SIZES:
            return [left, top, left + right, top + bottom] if right > 0 and bottom > 0 else None
        return [min(left, right), min(top, bottom), max(left, right), max(top, bottom)]
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if len(value) <= 40 and _NUMBER.fullmatch(value.strip()) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _percents_in(text: str) -> list[float] | None:
    parts = text.strip().strip("()[]{}").replace(";", ",").split(",")
    return _fractions(parts) if len(parts) == 4 and all(_PERCENT.fullmatch(part) for part in parts) else None


def _fractions(percents: Sequence[str]) -> list[float] | None:
    """Percentages as fractions of the image; None where one is above a hundred."""
    values = [float(match[1]) / 100 for one in percents if (match := _PERCENT.fullmatch(one))]
    # whole numbers alone would be taken for pixels
    return [min(value, 1 - 1e-9) for value in values] if max(values) <= 1 else None


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
