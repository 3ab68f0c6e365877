"""What a journal keeps of a record, whatever the record holds: each store asks here before it writes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, cast

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images.data_url import is_data_url
from langgraph_speceyes.tracing import mask_images
from langgraph_speceyes.traffic.record import OF_LOOKS, DepthRecord, Record

TEXTS = ("question", "speculation", "answer")
"""The fields that hold what people and models wrote."""

MOST_TEXT = 100_000
"""Characters kept of a text."""
MOST_NAME = 500
"""Characters kept of a name, a reason, an error."""
MOST_REFERENCE = 4096
"""Characters of the longest reference; what is longer is data."""
MOST_IMAGES = 100
"""References kept of a record."""

_FIELDS = tuple(field for field in Record.__annotations__ if field not in OF_LOOKS)
_OF_A_DEPTH = tuple(DepthRecord.__annotations__)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_TYPE = re.compile(r"\w+(?:\.\w+)*(?=:|$)")


def kept(record: Mapping[str, Any], *, texts: bool) -> Record:
    """What is kept of a record: a copy that shares nothing with it.

    Keys that no record has are left out. Without texts, question and answers are None, references are left out, and
    an error is its type alone, since messages quote. Images are left out in any case, wherever they stand. Numbers
    that are not finite become None.

    Args:
        record: A whole record.
        texts: Whether text is kept.

    Raises:
        ArgumentError: A field is missing, or holds what is neither number nor text, list or dictionary of them.
    """
    if not isinstance(record, Mapping):
        raise ArgumentError("record", "a record", type(record).__name__)
    if missing := [field for field in _FIELDS if field not in record]:
        raise ArgumentError("record", "all fields of a record", f"none called {', '.join(missing)}")
    check_name("id", record["id"])
    found = {field: _plain(record[field], MOST_NAME) for field in _FIELDS if field not in (*TEXTS, "error", "images")}
    if not isinstance(found["at"], float | int):
        raise ArgumentError("at", "seconds since the epoch", repr(record["at"])[:MOST_NAME])
    for field in TEXTS:
        found[field] = _plain(record[field], MOST_TEXT) if texts else None
    found["error"] = _error(record["error"], texts)
    found["images"] = _references(record["images"]) if texts else []
    ordered = {field: found[field] for field in _FIELDS}
    if "depths" in record:
        ordered["depth"] = _plain(record.get("depth"), MOST_NAME)
        ordered["depths"] = [_depth(one, texts) for one in record["depths"]]
    return cast(Record, ordered)


def _depth(depth: Any, texts: bool) -> dict[str, Any]:
    if not isinstance(depth, Mapping) or (missing := [field for field in _OF_A_DEPTH if field not in depth]):
        lacks = f"none called {', '.join(missing)}" if isinstance(depth, Mapping) else type(depth).__name__
        raise ArgumentError("depths", "records of depths with all fields", lacks)
    numbers = [field for field in _OF_A_DEPTH if field not in ("speculation", "error")]
    found = {field: _plain(depth[field], MOST_NAME) for field in numbers}
    found["speculation"] = _plain(depth["speculation"], MOST_TEXT) if texts else None
    found["error"] = _error(depth["error"], texts)
    return {field: found[field] for field in _OF_A_DEPTH}


def check_name(argument: str, name: object) -> None:
    """Refuse what cannot name a record or a value.

    Raises:
        ArgumentError: It is no text, empty, too long or holds characters that stores cannot keep.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME or _UNSTORABLE.search(name):
        raise ArgumentError(argument, f"a text of 1 to {MOST_NAME} characters", repr(name)[:MOST_NAME])


def _plain(value: Any, most: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, most)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_text(str(key), MOST_NAME): _plain(each, most) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, most) for each in value]
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a number of NumPy or torch
        return _plain(value.item(), most)
    raise ArgumentError("record", "numbers and texts, and lists and dictionaries of them", type(value).__name__)


def _text(text: str, most: int) -> str:
    # cut with room for an image in front of what is kept, so that megabytes are not searched
    text = mask_images(text[: most + MOST_TEXT])[:most]
    return _UNSTORABLE.sub("\ufffd", text) if _UNSTORABLE.search(text) else text


def _error(error: Any, texts: bool) -> str | None:
    if error is None:
        return None
    text = _text(str(error), MOST_NAME)
    if texts:
        return text
    begun = _TYPE.match(text)
    return begun.group() if begun else "error"


def _references(images: Any) -> list[str]:
    if not isinstance(images, list | tuple):
        return []
    fit = [each for each in images if isinstance(each, str) and len(each) <= MOST_REFERENCE and not is_data_url(each)]
    return [text for each in fit[:MOST_IMAGES] if (text := _text(each, MOST_REFERENCE)) == each]
