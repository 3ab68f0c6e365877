"""The media type of encoded image bytes, from their signature."""

from __future__ import annotations

import base64
import binascii

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x00\x0cjP  ", "image/jp2"),
)

UNKNOWN_MIME = "application/octet-stream"

PASSED_THROUGH = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
"""Media types hosted models accept as they are."""


def sniff_mime(data: bytes) -> str:
    """Return the media type that the first bytes of an encoded image announce.

    Args:
        data: Encoded bytes; the first 16 suffice.

    Returns:
        A media type such as ``image/png``, or ``application/octet-stream`` if the signature is not known.
    """
    for signature, mime in _SIGNATURES:
        if data.startswith(signature):
            return mime
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "image/avif"
    return UNKNOWN_MIME


def sniff_base64_mime(payload: str) -> str:
    """Return the media type of base64 text, decoding only its beginning."""
    try:
        return sniff_mime(base64.b64decode(payload[:64]))
    except (binascii.Error, ValueError):
        return UNKNOWN_MIME
