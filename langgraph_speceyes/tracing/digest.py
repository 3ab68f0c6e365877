"""What stands in a trace where an image was: its digest, media type and size."""

from __future__ import annotations

import binascii
import hashlib
import re

from langgraph_speceyes.images.data_url import DataUrl, is_data_url
from langgraph_speceyes.images.mime import UNKNOWN_MIME, sniff_mime
from langgraph_speceyes.images.region import FRAGMENT_START

DIGEST = re.compile(r"(?:sha256|undecodable):[0-9a-f]{16} \([^()]*\)")
"""What this module writes."""

_CHUNK = 1 << 18
"""Base64 characters decoded at once, a multiple of 4: a payload is hashed without a decoded copy of it."""
_KNOWN: dict[tuple[bool, int, int, str | None], str] = {}
_MOST_KNOWN = 1024


def digest_payload(payload: str | bytes, mime_type: str | None = None) -> str:
    """Describe an image without its data.

    Args:
        payload: Encoded bytes, base64 text (standard or URL-safe, line breaks allowed), or a ``data:`` URL, whose
            region (``#xywh=...``) stays.
        mime_type: Media type; found from the signature if not given.

    Returns:
        ``sha256:<16 hex> (image/jpeg, 5242880 bytes)``: the digest of the encoded bytes, which is what ``sha256:``
        references begin with; or ``undecodable:<16 hex> (... characters)`` for text that is not base64.
    """
    # Python keeps a text's hash: the same object costs nothing the second time, an equal one no decoding. The payload
    # itself is not kept, so that no image outlives its run here.
    key = (isinstance(payload, str), hash(payload), len(payload), mime_type)
    found = _KNOWN.get(key)
    if found is None:
        if isinstance(payload, bytes):
            found = _digest_bytes(payload, mime_type)
        elif payload[:5].lower() == "data:":
            found = _digest_url(payload)
        else:
            found = _digest_text(payload, mime_type)
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = found
    return found


def _digest_url(url: str) -> str:
    comma = url.find(",")
    if comma < 0:
        return _undecodable(url)
    mime = url[5:comma].partition(";")[0]
    payload, region = url[comma + 1 :], ""
    if "#" in payload:
        payload, start, region = payload.partition(FRAGMENT_START)
        region = start + region[:100]
    mime_type = mime.strip().lower() or None
    try:
        data = DataUrl(url[: comma + 1], payload, "").payload
    except ValueError:  # nor is it read anywhere else
        return _undecodable(url)
    if isinstance(data, str) and is_data_url(data):  # as little, and there may be another one in that
        return _undecodable(url)
    return digest_payload(data, mime_type) + region


def _digest_bytes(data: bytes, mime_type: str | None) -> str:
    return _described(hashlib.sha256(data).hexdigest(), mime_type or sniff_mime(data[:16]), len(data))


def _digest_text(text: str, mime_type: str | None) -> str:
    raw = text.encode("utf-8", "replace")
    if b"-" in raw or b"_" in raw:
        raw = raw.translate(bytes.maketrans(b"-_", b"+/"))
    if any(space in raw for space in (b"\n", b"\r", b" ", b"\t")):
        raw = b"".join(raw.split())
    raw = raw.rstrip(b"=")
    sha, size, begins, view = hashlib.sha256(), 0, b"", memoryview(raw + b"=" * (-len(raw) % 4))
    try:
        for start in range(0, len(view), _CHUNK):
            data = binascii.a2b_base64(view[start : start + _CHUNK])
            sha.update(data)
            size += len(data)
            begins = begins or data[:16]
    except binascii.Error:
        return _undecodable(text)
    # the lenient decoder is twice as fast as the strict one, but leaves out what is no base64
    if size != len(raw) * 3 // 4 or not size:
        return _undecodable(text)
    return _described(sha.hexdigest(), mime_type or sniff_mime(begins), size)


def _undecodable(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"undecodable:{digest[:16]} ({len(text)} characters)"


def _described(digest: str, mime_type: str, size: int) -> str:
    # parentheses or commas of a made-up media type would make the result unrecognizable
    mime = mime_type if re.fullmatch(r"[\w.+-]{1,60}/[\w.+-]{1,60}", mime_type) else UNKNOWN_MIME
    return f"sha256:{digest[:16]} ({mime}, {size} bytes)"
