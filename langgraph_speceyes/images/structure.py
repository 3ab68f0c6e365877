"""What of an encoded image is its pixels: everything else is left out before a decoder sees it.

JPEG and PNG may hold any number of segments beside the image. Decoders read them all, some by copying each of them many
times over. Here they are passed over; only the orientation is read.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from langgraph_speceyes.images.mime import sniff_mime

_MOST_SEGMENTS = 4096
_MOST_CHUNKS = 65_536
_MOST_PASSES = 250_000_000
"""Pixels times scans of a progressive JPEG, about a third of a second."""
_MOST_TEXT = 1024 * 1024

_SMALL = 256 * 1024
_MOST_GIF = 4 * 1024 * 1024
_MOST_WEBP, _MOST_WEBP_PIXELS = 8 * 1024 * 1024, 16_000_000

_ORIENTATION = 0x0112
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_EXIF_HEAD = re.compile(rb"(Exif\x00\x00){1,2}")
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_PNM = re.compile(rb"P4\s|P[56]\s+\d{1,9}\s+\d{1,9}\s+255\s")
_KEPT_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


@dataclass(frozen=True, slots=True)
class Plain:
    """An image that can be decoded in this process: how long it takes follows from its size.

    Attributes:
        data: The encoded image without what is no part of it.
        orientation: Its EXIF orientation, 1 to 8; None where only the decoder can tell.
        scans: How many scans a JPEG may have.
    """

    data: bytes
    orientation: int | None = None
    scans: int = 1


def plain(data: bytes) -> Plain | None:
    """Look at an encoded image without decoding it.

    Returns:
        What to decode; None if nothing tells beforehand what that costs.
    """
    try:
        match sniff_mime(data[:16]):
            case "image/jpeg":
                return _jpeg(data)
            case "image/png":
                return _png(data)
            case "image/webp":
                return _webp(data)
            case "image/gif":
                return Plain(data) if len(data) <= _MOST_GIF else None
            case "image/bmp":
                # run lengths are read one by one
                runs = len(data) < 34 or struct.unpack_from("<I", data, 30)[0] in (1, 2)
                return Plain(data) if len(data) <= _SMALL or not runs else None
            case "image/tiff" | "image/avif" | "image/jp2":
                return None
    except (struct.error, IndexError, zlib.error, ValueError):
        return None
    # what is left are PPM, whose values are read one by one unless they are bytes, and what is no image
    named = data[:1] == b"P" and data[1:2].isalnum()
    return None if named and len(data) > _SMALL and not _PNM.match(data) else _without_signature(data)


def orientation(data: bytes) -> int | None:
    """The EXIF orientation of a JPEG, PNG, WebP or TIFF, 1 to 8; None where only a decoder can tell."""
    if sniff_mime(data[:16]) == "image/tiff":
        return exif_orientation(data)
    found = plain(data)
    return None if found is None else found.orientation


def may_be_turned(data: bytes) -> bool:
    """Whether an image is of a format that has an orientation."""
    return sniff_mime(data[:16]) in ("image/jpeg", "image/png", "image/webp", "image/avif")


def _without_signature(data: bytes) -> Plain | None:
    # the signatures of other formats are more than one; only their decoders know them all
    return None if data[:4] in (b"II\0*", b"MM*\0", b"II+\0", b"MM\0+", b"\xffO\xffQ") else Plain(data)


def _jpeg(data: bytes) -> Plain | None:
    parts, start, at, turned, pixels = list[bytes](), 0, 2, 1, 0
    by_xmp, components, progressive = 1, 0, False
    for _ in range(_MOST_SEGMENTS):
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9:
            return None
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if end < at + 4 or end > len(data):
            return None
        if marker == 0xDA:
            # where the first scan has all components and all of their bits, there is no other one
            single = data[at + 4] == components and not progressive
            scans = 1 if single else data.count(b"\xff\xda", at)
            if pixels * scans > max(_MOST_PASSES, 4 * pixels):
                return None
            parts.append(data[start:])
            lean = data if start == 0 else b"".join(parts)
            return Plain(lean, turned if turned != 1 else by_xmp, scans) if pixels else None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker > 0xC2 or pixels:
                return None
            height, width = struct.unpack_from(">HH", data, at + 5)
            pixels, components, progressive = height * width, data[at + 9], marker == 0xC2
        if marker == 0xE1 and data.startswith(b"Exif\0\0", at + 4):
            turned = exif_orientation(data[at + 4 : end]) if turned == 1 else turned
        elif marker == 0xE1 and data.startswith(_XMP_HEAD, at + 4):
            by_xmp = xmp_orientation(data[at + 4 : end])
        colours = (marker == 0xE0 and data.startswith(b"JFIF", at + 4)) or marker == 0xEE
        if (0xE0 <= marker <= 0xEF or marker == 0xFE) and not colours:
            parts.append(data[start:at])
            start = end
        at = end
    return None


def _png(data: bytes) -> Plain | None:
    parts, start, at, turned, by_xmp = list[bytes](), 0, 8, 1, 1
    for number in range(_MOST_CHUNKS):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if (number == 0) != (kind == b"IHDR") or not kind.isalpha():
            return None
        if kind in (b"IEND", b"IDAT") and end >= len(data):
            # the decoder says where it is cut
            parts.append(data[start:])
            return Plain(b"".join(parts), turned if turned != 1 else by_xmp)
        if end > len(data):
            return None
        body = memoryview(data)[at + 8 : end - 4]
        if kind == b"IEND":
            parts.append(data[start:end])
            return Plain(b"".join(parts), turned if turned != 1 else by_xmp)
        if kind == b"eXIf":
            turned = exif_orientation(bytes(body[:_MOST_TEXT]))
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and turned == 1:
            profile, xmp = _png_text(kind, bytes(body[:_MOST_TEXT]))
            turned = exif_orientation(profile) if profile else turned
            by_xmp = xmp_orientation(xmp) if xmp else by_xmp
        if kind not in _KEPT_CHUNKS or (kind == b"IDAT" and not size):
            parts.append(data[start:at])
            start = end
        at = end
    return None


def _png_text(kind: bytes, body: bytes) -> tuple[bytes, bytes]:
    """EXIF data and XMP text that a text chunk of a PNG holds; empty where it holds none."""
    key, _, rest = body.partition(b"\0")
    if key not in (b"Raw profile type exif", b"XML:com.adobe.xmp"):
        return b"", b""
    packed = kind == b"zTXt"
    if kind == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
    elif packed:
        rest = rest[1:]
    text = zlib.decompressobj().decompress(rest, _MOST_TEXT) if packed else rest
    if key == b"XML:com.adobe.xmp":
        return b"", text
    # a line break, its name, its size, and then hexadecimal digits in lines
    return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:])), b""


def _webp(data: bytes) -> Plain | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    else:
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    if len(data) > _MOST_WEBP or width * height > _MOST_WEBP_PIXELS:
        return None
    turned, by_xmp, at = 1, 1, 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            turned = exif_orientation(data[at + 8 : at + 8 + min(size, _MOST_TEXT)])
        elif kind == b"XMP ":
            by_xmp = xmp_orientation(data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return Plain(data, turned if turned != 1 else by_xmp)


def exif_orientation(exif: bytes) -> int:
    """The orientation that EXIF data says, 1 where it says none or is damaged."""
    head = _EXIF_HEAD.match(exif)
    at = head.end() if head else 0
    order = {b"II": "<", b"MM": ">"}.get(exif[at : at + 2])
    if order is None:
        return 1
    found = 1
    try:
        first = at + struct.unpack_from(f"{order}I", exif, at + 4)[0]
        for number in range(struct.unpack_from(f"{order}H", exif, first)[0]):
            entry = first + 2 + 12 * number
            tag, kind, count = struct.unpack_from(f"{order}HHI", exif, entry)
            if tag == _ORIENTATION and kind in (3, 4) and count == 1:
                found = struct.unpack_from(f"{order}{'HI'[kind - 3]}", exif, entry + 8)[0]
    except struct.error:
        pass  # it ends here
    return found if 1 <= found <= 8 else 1


def xmp_orientation(xmp: bytes) -> int:
    """The orientation that XMP data says, 1 where it says none."""
    found = _XMP.search(xmp)
    return int(found[1]) if found and 1 <= int(found[1]) <= 8 else 1
