"""Inline image data as browsers, mail programs and servers spell it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

from langgraph_speceyes.images.region import FRAGMENT_START

_SCHEME = "data:"
_WHITESPACE = (" ", "\n", "\r", "\t", "\f", "\v")
MOST_ESCAPED = 1024 * 1024
"""Most characters of percent-encoded data. It takes up to a hundred times as much memory until it is decoded, and no
program writes images that way; of base64 the few characters that mean something in a URL are written so."""
_ESCAPES = (("%2B", "+"), ("%2F", "/"), ("%3D", "="), ("%0A", ""), ("%0D", ""), ("%20", ""))
_STANDARD = str.maketrans("-_", "+/")


def is_data_url(text: str) -> bool:
    """Whether text is a ``data:`` URL, whitespace before it allowed."""
    # text may be megabytes long, so that it is stripped only if there is something to strip
    return (text.lstrip() if text[:1].isspace() else text)[: len(_SCHEME)].lower() == _SCHEME


@dataclass(frozen=True, slots=True)
class DataUrl:
    """A ``data:`` URL in its parts, each as it was written: put together again they are the URL.

    Attributes:
        head: Everything up to and including the comma.
        body: The data.
        fragment: ``#xywh=...`` and what follows, or empty.
    """

    head: str
    body: str
    fragment: str

    @property
    def is_base64(self) -> bool:
        """Whether the data is base64 text, not percent-encoded bytes."""
        return any(parameter.strip().lower() == "base64" for parameter in self._parameters[1:])

    @property
    def mime_type(self) -> str:
        """The media type in lower case, empty if there is none."""
        return self._parameters[0].strip().lower()

    @property
    def payload(self) -> str | bytes:
        """Base64 text in its standard form, else bytes.

        Raises:
            ValueError: It is percent-encoded, and longer than :data:`MOST_ESCAPED` or no more than percent signs.
        """
        body = self.body
        if self.is_base64 and "%" in body:
            for escape, meant in _ESCAPES:
                body = body.replace(escape, meant).replace(escape.lower(), meant)
        if ("%" in body or not self.is_base64) and len(body) > MOST_ESCAPED:
            raise ValueError(f"percent-encoded data of more than {MOST_ESCAPED} characters")
        if 3 * body.count("%") > len(body):  # each is a part by itself until it is known to mean nothing
            raise ValueError("percent signs without their digits")
        if not self.is_base64:
            return unquote_to_bytes(body.strip())
        return standard_base64(unquote(body) if "%" in body else body)

    @property
    def _parameters(self) -> list[str]:
        return self.head.strip()[len(_SCHEME) : -1].split(";")


def split_data_url(text: str) -> DataUrl | None:
    """Split a ``data:`` URL.

    Returns:
        Its parts, or ``None`` if it has no comma.
    """
    head, comma, rest = text.partition(",")
    if not comma:
        return None
    # base64 has no '#': the search for one is all that a long payload costs
    body, start, region = rest.rpartition(FRAGMENT_START)
    return DataUrl(head + comma, body, start + region) if start else DataUrl(head + comma, rest, "")


def standard_base64(text: str) -> str:
    """Return base64 text in its standard form: no whitespace, ``+`` and ``/``, padded.

    Args:
        text: Base64 in the standard or the URL-safe alphabet, in lines or not, padded or not. Text that is no base64
            comes back as some text that is none.
    """
    if any(space in text for space in _WHITESPACE):
        # a list of the parts would take a hundred times the memory where every other character is a blank
        text = text.encode("ascii", "replace").translate(None, b" \n\r\t\f\v").decode("ascii")
    if "-" in text or "_" in text:
        text = text.translate(_STANDARD)
    if len(text) % 4:
        text = text.rstrip("=")
        text += "=" * (-len(text) % 4)
    return text


def decode_base64(text: str) -> bytes:
    """Decode base64 in any form that :func:`standard_base64` takes.

    Raises:
        ValueError: It is no base64.
    """
    return base64.b64decode(standard_base64(text), validate=True)
