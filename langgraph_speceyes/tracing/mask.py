"""Replacing images in anything a trace may hold by their digests, and credentials by asterisks."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import re
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from langgraph.types import Send
from pydantic import BaseModel

from langgraph_speceyes.foreign import HIDDEN, are_pixels, counted, is_secret, masked_text
from langgraph_speceyes.images.block import find_payload
from langgraph_speceyes.images.mime import sniff_mime
from langgraph_speceyes.tracing.digest import DIGEST, digest_payload

Value = TypeVar("Value")

_logger = logging.getLogger(__name__)
_MIME_KEYS = ("mime_type", "media_type", "mimeType")
_DATA_KEYS = ("base64", "data", "bytes")
_SHORTEST = 64
"""Shortest base64 text that is taken for an image by its first characters, where no block says that it is one."""
_SHORTEST_URL = 22
"""Characters below which text holds no image in any form."""
_PLAIN, _CONTAINERS = frozenset({type(None), bool, int, float}), frozenset({dict, list, tuple})
_SHORT = 500
"""Characters of a text up to which it is remembered what is shown of it: a thread's messages pass every node again."""

# How base64 of PNG, JPEG, GIF, WebP, TIFF and AVIF or HEIC begins.
_BEGINNINGS = ("iVBORw0KGg", "/9j/", "R0lGOD", "UklGR", "SUkqA", "TU0AK")
_BOXED = r"AAAA[A-Za-z0-9+/]{2}Z0eXB"
# How Python prints bytes of the same, which LangChain does with those in a model's messages.
_PRINTED = (r"\x89PNG", r"\xff\xd8\xff", "GIF8", "RIFF", r"II*\x00", r"MM\x00*")
_PRINTED_BEGINNING = rf"(?={'|'.join(map(re.escape, _PRINTED))}|\\x00\\x00\\x00.{{1,4}}ftyp)"
_MARKS = ("data:", "DATA:", *_BEGINNINGS, "Z0eXB", *_PRINTED, "ftyp")
_OTHER_URL = re.compile(r"data:(?!image/)[\w.+-]{1,60}/[^\s,\"'<>\\]{1,200},[^\s\"'<>()\\]+", re.I)
"""A document or a recording."""
_NO_PAYLOAD = " \t\r\n\"'<>()\\{}"
_BASE64 = r"[A-Za-z0-9+/_-]"
_MORE = rf"(?:(?:\\[rn]|[\r\n]){{1,4}}[ \t]*{_BASE64}{{40,}})*={{0,2}}"  # base64 in lines, as mail has it
_EMBEDDED = re.compile(
    rf"(?P<url>[Dd][Aa][Tt][Aa]:[\w.+-]{{1,60}}/[^\s,\"'<>\\]{{1,200}},[^\s\"'<>()\\]+{_MORE})"
    # the beginning of a run of base64, or what follows an escaped line break
    rf"|(?:(?<!{_BASE64})|(?<=\\[nrt]))(?P<base64>"
    rf"(?={'|'.join(map(re.escape, _BEGINNINGS))}|{_BOXED})"
    rf"{_BASE64}{{{_SHORTEST - 2},}}{_MORE})"
    rf"|b'{_PRINTED_BEGINNING}(?P<single>(?>[^'\\]+|\\.)*+)'"
    rf'|b"{_PRINTED_BEGINNING}(?P<double>(?>[^"\\]+|\\.)*+)"'
)


def mask_images(value: Value) -> Value:
    """Replace every image by its digest, media type and size: ``sha256:<16 hex> (image/jpeg, 5242880 bytes)``.

    What counts as an image: the data of image blocks in every layout the package reads, ``data:image`` URLs wherever
    they stand, the data beside an image media type, bytes that are no text, arrays and lists of 64 numbers and more,
    and what :func:`~langgraph_speceyes.foreign.masked_text` finds in a text: base64 from its middle on, hexadecimal
    digits, printed bytes. Of what has no beginning that tells its kind only the length is shown. Credentials become
    ``***``. References (paths, URLs, ``sha256:``) and everything else stay as they are.

    Args:
        value: Anything a run may be given or return: messages as objects or as dictionaries, states, lists,
            dataclasses, pydantic models, text. It is not changed.

    Returns:
        The same object where nothing had to be replaced, else a copy of the containers that lead to an image. It never
        raises: what cannot be looked through is replaced by a note.
    """
    try:
        masked: Value = _walk(value, set())
    except Exception:
        _logger.exception("a value could not be searched for images; it is left out of the trace")
        note: Any = {"not_shown": f"a {type(value).__name__} that could not be searched for images"}
        return note  # type: ignore[no-any-return]
    return masked


def _walk(value: Any, above: set[int]) -> Any:
    kind = type(value)
    # most of what there is: looked at first, and without a call more
    if kind in _PLAIN or (kind is str and len(value) < _SHORTEST_URL) or (kind in _CONTAINERS and not value):
        return value
    walk_in = _walker(kind)  # type: ignore[arg-type]  # types are hashable
    if walk_in is None:
        return value
    if walk_in is _walk_text or walk_in is _walk_bytes:
        return walk_in(value, above)
    if id(value) in above:
        return value
    above.add(id(value))
    try:
        return walk_in(value, above)
    finally:
        above.discard(id(value))


@lru_cache(maxsize=4096)
def _walker(kind: type) -> Callable[[Any, set[int]], Any] | None:
    """How to look through values of a type; None for what holds no image."""
    if issubclass(kind, str):
        return _walk_text
    if issubclass(kind, (bytes, bytearray, memoryview)):
        return _walk_bytes
    if issubclass(kind, Mapping):
        return _walk_mapping
    if issubclass(kind, (list, tuple, set, frozenset, deque)):
        return _walk_items
    if issubclass(kind, BaseModel):
        return _walk_model
    if issubclass(kind, Send):
        return _walk_send
    if issubclass(kind, BaseException):
        return _walk_error
    if hasattr(kind, "__array__"):
        return _walk_array
    return _walk_dataclass if dataclasses.is_dataclass(kind) else None


def _walk_text(value: str, above: set[int]) -> Any:
    if len(value) < _SHORTEST_URL:
        return value
    shown = _remembered(value) if type(value) is str and len(value) <= _SHORT else _mask_text(value)
    return value if shown == value else shown


@lru_cache(maxsize=4096)
def _remembered(text: str) -> str:
    return _mask_text(text)


def _walk_bytes(value: bytes | bytearray | memoryview, above: set[int]) -> Any:
    return _mask_bytes(bytes(value), value)


def _walk_mapping(value: Mapping[Any, Any], above: set[int]) -> Any:
    return _walk_block(value, *_declared(value), above)


def _declared(value: Mapping[Any, Any]) -> tuple[tuple[str, ...], str]:
    """Which field of a dictionary says by its place that it holds an image: keys that lead to it, and its form."""
    if (found := find_payload(value)) is not None:
        return found
    if _image_mime(value) is not None:
        for key in _DATA_KEYS:
            if isinstance(value.get(key), (str, bytes, bytearray, memoryview)):
                return (key,), "data"
    return (), ""


def _walk_block(value: Mapping[Any, Any], keys: tuple[str, ...], form: str, above: set[int]) -> Any:
    changed: dict[Any, Any] = {}
    long = [key for key in value if type(key) is str and len(key) >= _SHORTEST]
    renamed = {key: new for key in long if (new := _mask_text(key)) != key}
    other = _is_other_file(value)
    for key, item in value.items():
        if type(item) in _PLAIN or (other and key in _DATA_KEYS and isinstance(item, str)):
            continue
        if is_secret(key, item):
            if item != HIDDEN:
                changed[key] = HIDDEN
            continue
        if not keys or key != keys[0]:
            new = _walk(item, above)
        elif len(keys) > 1 and isinstance(item, Mapping):
            new = _walk_block(item, keys[1:], form, above)
        elif isinstance(item, (str, bytes, bytearray, memoryview)):
            new = _mask_payload(item, form, value)
        else:  # LangChain's serializer turns bytes into a dictionary
            new = _walk(item, above)
        if new is not item:
            changed[key] = new
    if renamed:
        return {renamed.get(key, key): changed.get(key, item) for key, item in value.items()}
    return {**value, **changed} if changed else value


def _walk_array(value: Any, above: set[int]) -> Any:
    shape = tuple(getattr(value, "shape", ()))
    if math.prod(shape) < _SHORTEST:
        return value
    return f"({type(value).__name__} of shape {shape} and type {getattr(value, 'dtype', 'unknown')})"


def _walk_error(value: BaseException, above: set[int]) -> Any:
    said = repr(value)
    return value if (masked := _mask_text(said)) == said else masked


def _walk_items(value: Any, above: set[int]) -> Any:
    items = list(value)
    if len(items) and are_pixels(items):
        return [f"({len(items)} numbers or lists of them)"]
    new = [_walk(item, above) for item in items]
    if all(a is b for a, b in zip(new, items, strict=True)):
        return value
    return type(value)(*new) if hasattr(value, "_fields") else type(value)(new)


def _walk_model(value: BaseModel, above: set[int]) -> Any:
    fields = {**value.__dict__, **extra} if (extra := value.model_extra) else value.__dict__
    changed = {key: new for key, item in fields.items() if (new := _walk(item, above)) is not item}
    return value.model_copy(update=changed) if changed else value


def _walk_send(value: Send, above: set[int]) -> Any:
    new = _walk(value.arg, above)
    return value if new is value.arg else Send(value.node, new)


def _walk_dataclass(value: Any, above: set[int]) -> Any:
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if hasattr(value, f.name)}
    changed = {key: new for key, item in fields.items() if (new := _walk(item, above)) is not item}
    if not changed:
        return value
    twin = copy.copy(value)
    for key, new in changed.items():
        object.__setattr__(twin, key, new)
    return twin


def _image_mime(block: Mapping[Any, Any]) -> str | None:
    for key in _MIME_KEYS:
        if isinstance(mime := block.get(key), str) and mime[:6].lower() == "image/":
            return mime
    return None


def _is_other_file(block: Mapping[Any, Any]) -> bool:
    """Whether a dictionary says of its data that it is no image: a document, a recording."""
    return _image_mime(block) is None and any(isinstance(block.get(key), str) for key in _MIME_KEYS)


def _mask_payload(payload: str | bytes | bytearray | memoryview, form: str, holder: Mapping[Any, Any]) -> Any:
    """Mask what an image block holds: everything but a reference."""
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return digest_payload(bytes(payload), _image_mime(holder)) if len(payload) else payload
    if not payload:
        return payload
    if payload[:5].lower() != "data:" and (form != "data" or DIGEST.match(payload)):
        return payload
    return digest_payload(payload, _image_mime(holder))


def _mask_bytes(data: bytes, value: Any) -> Any:
    if sniff_mime(data[:16]).startswith("image/") and len(data) >= 16:
        return digest_payload(data)
    return digest_payload(data) if len(data) >= _SHORTEST and not _is_text(data) else value


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except ValueError:
        return False
    return masked_text(text, secrets=False) == text


def _mask_text(text: str) -> str:
    if _OTHER_URL.fullmatch(text) and not text.partition(",")[2].startswith(_BEGINNINGS):
        return text
    if text[:11].lower() == "data:image/" or (text.startswith(_BEGINNINGS) and len(text) >= _SHORTEST):
        if not any(mark in text for mark in _NO_PAYLOAD) and not (found := digest_payload(text)).startswith("undec"):
            return found
    elif not _suspicious(text):
        return masked_text(text)
    return masked_text(_EMBEDDED.sub(_replaced, text), _described)


def _described(data: str) -> str:
    return digest_payload(data) if data[:5].lower() == "data:" else counted(data)


def _suspicious(text: str) -> bool:
    # plain searches are many times faster than the expression
    return any(mark in text for mark in _MARKS) or (len(text) < 4096 and "data:" in text.lower())


def _replaced(match: re.Match[str]) -> str:
    found = match[0]
    if (printed := match["single"] or match["double"]) is not None:
        return digest_payload(
            printed.encode("latin-1", "replace").decode("unicode_escape").encode("latin-1", "replace")
        )
    if match["base64"] is None and found[5:11].lower() != "image/":
        payload = found.partition(",")[2]
        return digest_payload(found) if payload.startswith(_BEGINNINGS) else found
    return digest_payload(found)
