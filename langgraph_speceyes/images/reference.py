"""Where an image is: a path, a URL, inline data or an interned image, optionally a region of it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from langgraph_speceyes.errors import ArgumentError, ImageError
from langgraph_speceyes.images.data_url import decode_base64, is_data_url, split_data_url, standard_base64
from langgraph_speceyes.images.mime import sniff_base64_mime
from langgraph_speceyes.images.region import Region, split_fragment

Kind = Literal["inline", "store", "file", "remote"]

# Two characters at least, so that a Windows drive letter is not taken for a scheme.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, repr=False)
class ImageRef:
    """A reference to an image or to a region of one. Build it with :func:`parse_reference` or `parse_block`.

    Attributes:
        source: A local path, a ``file:`` or http(s) URL, ``sha256:<64 hex>`` (an interned image), or for inline
            data ``data:<mime>;base64,<payload>``.
        region: The part meant, or ``None`` for the whole image.
    """

    source: str
    region: Region | None = None

    @property
    def kind(self) -> Kind:
        """Where the encoded bytes come from."""
        head = self.source[:8]
        if head.startswith("data:"):
            return "inline"
        if head.startswith("sha256:"):
            return "store"
        return "remote" if head.startswith(("http://", "https://")) else "file"

    @property
    def uri(self) -> str:
        """The source with the region as a media fragment. For inline data this holds the whole payload."""
        return self.source if self.region is None else self.source + self.region.fragment

    @property
    def whole(self) -> ImageRef:
        """The reference without its region."""
        return self if self.region is None else ImageRef(self.source)

    @property
    def mime_type(self) -> str | None:
        """The media type inline data was given with; ``None`` for everything else."""
        return self.source[5:].partition(";")[0] if self.kind == "inline" else None

    @property
    def payload(self) -> str:
        """The base64 text of inline data."""
        return self.source.partition(",")[2]

    @property
    def inline_size(self) -> int:
        """How many bytes inline data decodes to, found without decoding it."""
        text = self.payload
        breaks = sum(map(text.count, "\n\r\t "))
        return (len(text) - breaks) * 3 // 4 - text[-4:].count("=")

    def inline_bytes(self, argument: str = "messages") -> bytes:
        """Decode inline data.

        Returns:
            The encoded image.

        Raises:
            ImageError: The payload is not base64.
        """
        try:
            return decode_base64(self.payload)
        except ValueError as error:
            found = f"{len(self.payload)} characters that do not decode ({error})"
            raise ImageError(argument, "base64 image data", found) from None

    def local_path(self, argument: str = "messages") -> str:
        """Return the path of a file reference, percent-decoded for ``file:`` URLs.

        Raises:
            ImageError: A ``file:`` URL names another host or no path.
        """
        if self.source[:5].lower() != "file:":
            return self.source
        try:
            parts = urlsplit(self.source)
        except ValueError as error:
            raise ImageError(argument, "a file: URL", str(error)) from None
        if parts.netloc not in ("", "localhost"):
            raise ImageError(argument, "a file: URL of this host", f"host {parts.netloc!r}")
        # '?' and '#' are characters of a file name here, not the query of a file.
        tail = (
            parts.path + (f"?{parts.query}" if parts.query else "") + (f"#{parts.fragment}" if parts.fragment else "")
        )
        path = url2pathname(tail)
        if not path or "\0" in path:
            raise ImageError(argument, "a file: URL with a path", repr(describe(self.source)))
        return path

    @cached_property
    def _digest(self) -> str:
        try:
            return "sha256:" + hashlib.sha256(self.inline_bytes()).hexdigest()
        except ImageError:
            return "undecodable:" + hashlib.sha256(self.payload.encode("utf-8", "replace")).hexdigest()

    @property
    def source_key(self) -> str:
        """A stable key of the whole image, usable for caches.

        ``sha256:`` of the encoded bytes for inline and interned images, so that both forms share a key; path,
        modification time and size for files; the URL for remote images.
        """
        if self.kind == "inline":
            return self._digest
        if self.kind != "file":
            return self.source
        try:
            path = os.path.realpath(self.local_path())
            status = os.stat(path)
        except (OSError, ValueError):
            return f"file:{self.source}"
        return f"file:{path}:{status.st_mtime_ns}:{status.st_size}"

    @property
    def key(self) -> str:
        """The stable key of what is referred to: :attr:`source_key` and the region."""
        return self.source_key + ("" if self.region is None else self.region.fragment)

    def __repr__(self) -> str:
        """Show digest and size for inline data, never the data."""
        if self.kind != "inline":
            return f"ImageRef({describe(self.uri)!r})"
        region = "" if self.region is None else self.region.fragment
        return f"ImageRef(<{self.mime_type}, {self.inline_size} bytes, {self._digest[:19]}>{region})"


def _check_text(value: object, argument: str, expected: str) -> None:
    """Refuse what callers without type checks may pass."""
    if not isinstance(value, str) or not value:
        raise ImageError(argument, expected, "empty text" if value == "" else type(value).__name__)


def describe(text: str) -> str:
    """Shorten text for an error message: long text may be image data, of which nothing is shown."""
    if len(text) > 300 or is_data_url(text):
        return f"text of {len(text)} characters"
    return text


def parse_reference(uri: str, argument: str = "messages") -> ImageRef:
    """Parse the text form of a reference.

    Args:
        uri: http(s)://, file:, data:, ``sha256:<64 hex>`` or a plain path, each optionally followed by
            ``#xywh=x,y,w,h`` (pixels of the EXIF-oriented original) and then optionally ``&scale=s``.
        argument: Name of the argument that errors blame.

    Raises:
        ImageError: The text is empty, has an unknown scheme or a malformed region, or is a malformed URL.
    """
    _check_text(uri, argument, "a URL, path or data of an image")
    if is_data_url(uri):
        return _parse_data(uri, argument)
    source, region = split_fragment(uri, argument)
    if not source or "\0" in source:
        raise ImageError(argument, "a URL or path without NUL characters", repr(describe(uri)))
    match = _SCHEME.match(source)
    scheme = match[1].lower() if match else "path"
    if scheme == "sha256":
        source = source.lower()
        if not _SHA256.fullmatch(source):
            raise ImageError(argument, "sha256: and 64 hexadecimal digits", repr(describe(uri)))
    elif scheme in ("http", "https"):
        source = f"{scheme}{source[len(scheme) :]}"
        try:
            host = urlsplit(source).hostname
        except ValueError:
            host = None
        if not host:
            raise ImageError(argument, "an http(s) URL with a host", repr(describe(uri)))
    elif scheme not in ("file", "path"):
        expected = "a local path or a URL of scheme http, https, file, data or sha256 ('./' before a path with ':')"
        raise ImageError(argument, expected, f"scheme {scheme[:20]!r}")
    ref = ImageRef(source, region)
    if scheme == "file":
        ref.local_path(argument)
    return ref


def inline_reference(payload: str | bytes, mime_type: str | None = None, argument: str = "messages") -> ImageRef:
    """Make a reference of inline data.

    Args:
        payload: Encoded bytes, or their base64 text (a ``data:`` URL is taken too).
        mime_type: Media type; found from the signature if not given.
        argument: Name of the argument that errors blame.

    Raises:
        ImageError: The payload is empty, or neither text nor bytes.
    """
    if isinstance(payload, (bytes, bytearray, memoryview)):
        payload = base64.b64encode(payload).decode("ascii")
    _check_text(payload, argument, "image data")
    if is_data_url(payload):
        return parse_reference(payload, argument)
    payload = standard_base64(payload)
    _check_text(payload, argument, "image data")
    mime = mime_type if isinstance(mime_type, str) and "/" in mime_type else sniff_base64_mime(payload)
    # ';' and ',' delimit the media type in the source text.
    mime = mime.partition(";")[0].partition(",")[0].strip().lower()
    return ImageRef(f"data:{mime};base64,{payload}")


def _parse_data(uri: str, argument: str) -> ImageRef:
    url = split_data_url(uri)
    if url is None:
        raise ImageError(argument, "a data: URL with ',' before the data", f"text of {len(uri)} characters")
    region = split_fragment(url.fragment.rstrip(), argument)[1]
    try:
        payload = url.payload
    except UnicodeEncodeError:  # a lone surrogate
        raise ImageError(argument, "image data", "text that has no encoding") from None
    except ValueError as error:
        raise ImageError(argument, "base64 image data", str(error)) from None
    if isinstance(payload, str) and is_data_url(payload):
        raise ImageError(argument, "base64 image data", "a data: URL inside a data: URL")
    ref = inline_reference(payload, url.mime_type, argument)
    return ref if region is None else ImageRef(ref.source, region)


def crop_reference(ref: ImageRef, box: Sequence[int], scale: float | None = None) -> ImageRef:
    """Refer to a part of what a reference loads as.

    Args:
        ref: The image cropped. If it is itself a region, ``box`` is mapped back to pixels of the original,
            its scale taken into account, and clipped to that region.
        box: (left, top, right, bottom) in whole pixels of the image that ``ref`` loads as; right and bottom are
            exclusive. Negative left and top are clipped to 0.
        scale: Enlargement of the new region in relation to the original's pixels; ``None`` for none.

    Raises:
        ArgumentError: The box is not four whole numbers, is empty or lies outside the region of ``ref``.
        ImageError: The scale is not in (0, 1000].
    """
    if len(box) != 4 or any(isinstance(value, bool) or not isinstance(value, int) for value in box):
        raise ArgumentError("box", "four whole numbers", f"{tuple(box)!r:.80}")
    left, top, right, bottom = max(0, box[0]), max(0, box[1]), box[2], box[3]
    outer = ref.region
    if outer is not None:
        # Whole-number arithmetic: floor left and top, ceil right and bottom.
        width, height = outer.size
        left, right = left * outer.width // width, -(-right * outer.width // width)
        top, bottom = top * outer.height // height, -(-bottom * outer.height // height)
        right, bottom = min(right, outer.width), min(bottom, outer.height)
    if right <= left or bottom <= top:
        raise ArgumentError("box", "left < right and top < bottom, inside the image", tuple(box))
    x, y = (left, top) if outer is None else (outer.x + left, outer.y + top)
    return ImageRef(ref.source, Region(x, y, right - left, bottom - top, 1.0 if scale is None else float(scale)))
