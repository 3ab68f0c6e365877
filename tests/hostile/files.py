"""Hostile images, made when they are asked for: whole, cut and damaged ones of every format, bombs, floods, lies."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from PIL import Image, ImageDraw

Make = Callable[[], bytes]

LARGE = 13_377
"""A square of so many pixels a side is just within the default policy's limit of pixels."""


@cache
def scene() -> Image.Image:
    """A picture that compresses as pictures do."""
    image = Image.new("RGB", (640, 480), "white")
    drawn = ImageDraw.Draw(image)
    drawn.ellipse((100, 100, 300, 300), fill="red")
    drawn.rectangle((400, 50, 500, 150), fill="blue")
    return image


@cache
def noise() -> Image.Image:
    """A picture that does not compress."""
    return Image.frombytes("RGB", (640, 480), random.Random(1).randbytes(640 * 480 * 3))


def encoded(image: Image.Image, form: str, **settings: Any) -> bytes:
    """An image in a format of Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, form, **settings)
    return buffer.getvalue()


def plain(width: int, height: int, mode: str = "RGB", form: str = "PNG", value: Any = 5, **settings: Any) -> bytes:
    """An image of one colour."""
    return encoded(Image.new(mode, (width, height), value), form, **settings)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int = 8, colour: int = 2, *, before: bytes = b"", rows: bool = True) -> bytes:
    """A black PNG, with chunks before its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    packer, packed = zlib.compressobj(1), b""
    if rows:
        row = b"\0" * ((width * bits * channels + 7) // 8 + 1)
        packed = b"".join(packer.compress(row) for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = chunk(b"IDAT", packed + packer.flush())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before + data + chunk(b"IEND", b"")


def exif(entries: int, value: bytes, order: str = "<") -> bytes:
    """EXIF data with so many entries, all of which refer to the same value."""
    at = 8 + 2 + 12 * entries + 4
    table = b"".join(struct.pack(f"{order}HHII", 0x8000 + i % 0x7000, 7, len(value), at) for i in range(entries))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", entries) + table + b"\0" * 4 + value


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with further segments at its beginning."""
    added = b"".join(struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body for kind, body in segments)
    return jpeg[:2] + added + jpeg[2:]


def scans(side: int, times: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    whole = plain(side, side, form="JPEG", progressive=True)
    # what stands between the last two scans' ends: a table, a header, the scan
    last = whole.rfind(b"\xff\xda")
    begin = whole.rfind(b"\xff\xc4", 0, last)
    return whole[:-2] + whole[begin:-2] * times + whole[-2:]


def tiff(**changes: int) -> bytes:
    """A TIFF whose header says something else than it should, by the names of its tags."""
    tags = {"width": 256, "height": 257, "strips": 273, "rows": 278, "counts": 279}
    data = bytearray(encoded(scene(), "TIFF", compression="tiff_lzw"))
    first = struct.unpack_from("<I", data, 4)[0]
    for number in range(struct.unpack_from("<H", data, first)[0]):
        entry = first + 2 + 12 * number
        for name, value in changes.items():
            if struct.unpack_from("<H", data, entry)[0] == tags[name]:
                struct.pack_into("<HII", data, entry + 2, 4, 1, value)
    return bytes(data)


def tiff_tags(entries: int, size: int) -> bytes:
    """A TIFF with so many tags, all of which are the same long value."""
    return exif(entries, b"\0" * size)[6:]


def bmp(width: int, height: int, bits: int = 24, compression: int = 0, body: bytes = b"") -> bytes:
    """A BMP by its header."""
    colours = b"\0" * 1024 if bits == 8 else b""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, len(colours) // 4, 0)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54 + len(colours)) + head + colours + body


def gif(width: int, height: int, frame: tuple[int, int], before: bytes = b"") -> bytes:
    """A GIF whose frame has another size than itself."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return b"GIF89a" + screen + before + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\x00;"


def cut(data: bytes, share: float) -> bytes:
    """The beginning of an image."""
    return data[: int(len(data) * share)]


def damaged(data: bytes, seed: int, *, head: bool = False) -> bytes:
    """An image with bytes changed, in its header or behind it."""
    chosen, changed = random.Random(seed), bytearray(data)
    low, high = (4, min(200, len(data))) if head else (len(data) // 4, len(data))
    for _ in range(12 if head else 60):
        changed[chosen.randrange(low, high)] = chosen.randrange(256)
    return bytes(changed)


def whole(form: str) -> bytes:
    """A picture in a format of Pillow's, in the first mode that it takes."""
    small = scene().resize((64, 48))
    for mode in ("RGB", "P", "L", "1", "RGBA", "F"):
        try:
            return encoded((scene() if form in WRITTEN else small).convert(mode), form)
        except Exception:  # this mode is none of its
            continue
    return b""


WRITTEN = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
SMALL_JPEG = partial(encoded, scene(), "JPEG")
ZEROS = partial(zlib.compress, b"\0" * 50_000_000, 9)

BOMBS: dict[str, Make] = {
    # sizes
    "png 1 bit 50000": partial(png, 50_000, 50_000, 1, 0),
    "png header 65535": partial(png, 65_535, 65_535, rows=False),
    "png header 2g": partial(png, 2**31 - 1, 2**31 - 1, 8, 6, rows=False),
    "png 1 bit": partial(png, LARGE, LARGE, 1, 0),
    "png 1 bit transparent": partial(png, LARGE, LARGE, 1, 0, before=chunk(b"tRNS", b"\0\1")),
    "png rgba": partial(png, LARGE, LARGE, 8, 6),
    "png grey 16": partial(png, LARGE, LARGE, 16, 0),
    "png rgb 11500": partial(png, 11_500, 11_500),
    "png rgba 8000": partial(png, 8000, 8000, 8, 6),
    "png grey alpha 8000": partial(png, 8000, 8000, 8, 4),
    "png 65535 x 1": partial(png, 65_535, 1),
    "png 1 x 65535": partial(png, 1, 65_535),
    "png 100M x 1": partial(png, 100_000_000, 1, 1, 0),
    "jpeg": partial(plain, LARGE, LARGE, form="JPEG"),
    "jpeg 11500": partial(plain, 11_500, 11_500, form="JPEG"),
    "jpeg grey": partial(plain, LARGE, LARGE, "L", "JPEG"),
    "jpeg cmyk 9000": partial(plain, 9000, 9000, "CMYK", "JPEG", (5, 5, 5, 5)),
    "jpeg progressive": partial(plain, 11_500, 11_500, form="JPEG", progressive=True),
    "jpeg turned 11500": lambda: plain(11_500, 11_500, form="JPEG", exif=_turned(6)),
    "jpeg 60000 x 1": partial(plain, 60_000, 1, form="JPEG"),
    "jpeg 1 x 60000": partial(plain, 1, 60_000, form="JPEG"),
    "webp": partial(plain, LARGE, LARGE, form="WEBP", method=0, quality=1),
    "webp lossless 8000": partial(plain, 8000, 8000, form="WEBP", lossless=True, method=0, quality=0),
    "avif": partial(plain, 13_000, 13_000, form="AVIF", speed=10),
    "avif 6000": partial(plain, 6000, 6000, form="AVIF", speed=10),
    "jp2": partial(plain, LARGE, LARGE, form="JPEG2000"),
    "jp2 6000": partial(plain, 6000, 6000, form="JPEG2000"),
    "tiff float": partial(plain, LARGE, LARGE, "F", "TIFF", 0.5, compression="tiff_adobe_deflate"),
    "tiff integer": partial(plain, LARGE, LARGE, "I", "TIFF", compression="tiff_adobe_deflate"),
    "tiff float 7000": partial(plain, 7000, 7000, "F", "TIFF", 0.5, compression="tiff_adobe_deflate"),
    "tiff 1 bit": partial(plain, LARGE, LARGE, "1", "TIFF", 0, compression="group4"),
    "tiff one strip": lambda: tiff(width=9000, height=9000, rows=9000),
    "gif header 65535": partial(gif, 65_535, 65_535, (65_535, 65_535)),
    "gif frame 65535": partial(gif, 10, 10, (65_535, 65_535)),
    "gif frame 13377": partial(gif, 10, 10, (LARGE, LARGE)),
    "bmp header 2g": partial(bmp, 2**31 - 1, 2**31 - 1),
    "bmp negative": partial(bmp, 100, -(2**31 - 1)),
    "bmp runs": partial(bmp, LARGE, LARGE, 8, 1, b"\0\1"),
    "bmp runs full": lambda: bmp(LARGE, LARGE, 8, 1, (b"\xff\x01" * 53 + b"\0\0") * LARGE),
    "bmp runs of one": lambda: bmp(5000, 5000, 8, 1, (b"\x01\x01" * 250 + b"\0\0") * 5000),
    "ppm header": lambda: b"P6 99999999999999 99999999999999 255\n",
    "ppm digits": lambda: b"P6 " + b"9" * 5000 + b" 1 255\n",
    "ppm values of 254": lambda: b"P5 2900 2900 254\n" + b"\x7f" * (2900 * 2900),
    "ppm values of 254, small": lambda: b"P5 500 500 254\n" + b"\x7f" * 250_000,
    "ppm text": lambda: b"P3 1200 1200 255\n" + b"127 " * (1200 * 1200 * 3),
    "ppm text, small": lambda: b"P3 160 160 255\n" + b"127 " * (160 * 160 * 3),
    "ppm comment": lambda: b"P3 100 100 255\n#" + b"x" * 8_000_000,
    "pfm infinite": lambda: b"Pf 64 64 -1.0\n" + struct.pack("<f", float("inf")) * (64 * 64),
    "psd header": lambda: b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 50_000, 50_000, 8, 3) + b"\0" * 14,
    # scans, segments, chunks
    "jpeg 20 scans": partial(scans, 2000, 10),
    "jpeg 100 scans": partial(scans, 8000, 100),
    "jpeg 1000 scans": partial(scans, 8000, 1000),
    "jpeg 20000 scans": partial(scans, 8000, 20_000),
    "jpeg 100000 scans": partial(scans, 64, 100_000),
    "jpeg 1M segments": lambda: SMALL_JPEG()[:2] + b"\xff\xe1\0\4ab" * 1_000_000 + SMALL_JPEG()[2:],
    "jpeg 5000 tables": lambda: with_segments(SMALL_JPEG(), *[(0xDB, b"\0" + b"\xff" * 64)] * 5000),
    "jpeg padding": lambda: SMALL_JPEG()[:2] + b"\xff" * 5_000_000 + SMALL_JPEG()[2:],
    "jpeg junk": lambda: SMALL_JPEG()[:2] + b"\0" * 5_000_000 + SMALL_JPEG()[2:],
    "jpeg exif copies": lambda: with_segments(SMALL_JPEG(), (0xE1, exif(2700, b"\0" * 33_000))),
    "jpeg exif in pieces": lambda: with_segments(
        SMALL_JPEG(), (0xE1, exif(5000, b"\0" * 5000)), *[(0xE1, b"Exif\0\0" + b"\0" * 65_000)] * 200
    ),
    "jpeg profile pieces": lambda: with_segments(SMALL_JPEG(), *[(0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 65_000)] * 300),
    "png 1M chunks of pixels": lambda: png(16, 16, before=chunk(b"IDAT", b"") * 1_000_000),
    "png 200000 texts": lambda: png(16, 16, before=chunk(b"tEXt", b"k\0v") * 200_000),
    "png 60000 texts": lambda: png(16, 16, before=chunk(b"tEXt", b"k\0v") * 60_000),
    "png text bomb": lambda: png(16, 16, before=chunk(b"zTXt", b"k\0\0" + ZEROS())),
    "png exif text bomb": lambda: png(16, 16, before=chunk(b"zTXt", b"Raw profile type exif\0\0" + ZEROS())),
    "png xmp bomb": lambda: png(16, 16, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + ZEROS())),
    "png profile bomb": lambda: png(16, 16, before=chunk(b"iCCP", b"k\0\0" + ZEROS())),
    "png exif copies": lambda: png(16, 16, before=chunk(b"eXIf", exif(28_000, b"\0" * 300_000)[6:])),
    "gif comments": lambda: gif(10, 10, (10, 10), before=(b"!\xfe" + b"\1x" * 1_900_000 + b"\0")),
    "gif more comments": lambda: gif(10, 10, (10, 10), before=(b"!\xfe" + b"\1x" * 8_000_000 + b"\0")),
    "webp chunks": lambda: _webp_flood(400_000),
    "tiff tags": partial(tiff_tags, 28_000, 300_000),
    "tiff no strips": lambda: tiff(strips=2**31 - 1),
    "tiff counts": lambda: tiff(counts=2**31 - 1),
    "tiff sizes lie": lambda: tiff(width=13_000, height=13_000),
    "tiff loop": lambda: _tiff_loop(),
}

UNUSUAL: dict[str, Make] = {
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "html": lambda: b"<html><body>hello</body></html>",
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
    "pdf": lambda: b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF",
    "empty": lambda: b"",
    "one byte": lambda: b"\x89",
    "zip": lambda: b"PK\3\4" + b"\0" * 100,
    "P": lambda: b"P5",
    "RIFF": lambda: b"RIFF\x10\0\0\0WEBPVP8X",
    "icns header": lambda: b"icns" + struct.pack(">I", 8),
    "fli header": lambda: b"\0" * 4 + b"\x11\xaf" + b"\0" * 200,
    "jpeg cmyk": lambda: encoded(scene().convert("CMYK"), "JPEG"),
    "jpeg of two": lambda: encoded(scene(), "MPO", save_all=True, append_images=[noise()]),
    "jpeg exif 99": lambda: encoded(scene(), "JPEG", exif=_turned(99)),
    "jpeg exif damaged": lambda: damaged(encoded(scene(), "JPEG", exif=_turned(6)), 5, head=True),
    "jpeg profile junk": lambda: encoded(scene(), "JPEG", icc_profile=b"junk" * 1000),
    "png grey 16, small": lambda: encoded(Image.new("I;16", (64, 64), 40_000), "PNG"),
    "png palette": lambda: encoded(scene().convert("P"), "PNG", transparency=0),
    "png grey alpha": lambda: encoded(scene().convert("LA"), "PNG"),
    "png 1 bit, small": lambda: encoded(scene().convert("1"), "PNG"),
    "webp animation": lambda: encoded(scene(), "WEBP", save_all=True, append_images=[noise()] * 5),
    "png animation": lambda: encoded(scene(), "PNG", save_all=True, append_images=[noise()] * 5),
    "gif animation": lambda: encoded(scene(), "GIF", save_all=True, append_images=[noise()] * 3),
    "tiff lab": lambda: encoded(scene().convert("LAB"), "TIFF"),
    "tiff jpeg": lambda: encoded(scene().convert("YCbCr"), "TIFF", compression="jpeg"),
    "tiff cmyk": lambda: encoded(scene().convert("CMYK"), "TIFF", compression="tiff_lzw"),
}


def _turned(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def _tiff_loop() -> bytes:
    data = bytearray(encoded(scene(), "TIFF"))
    first = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<I", data, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], first)
    return bytes(data)


def _webp_flood(chunks: int) -> bytes:
    image = encoded(scene(), "WEBP", exif=_turned(6))
    body = image[12:] + b"JUNK\0\0\0\0" * chunks
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def every_file() -> dict[str, Make]:
    """All of them: those above, and for each format of Pillow's a whole image, a cut and a damaged one."""
    Image.init()
    forms = [form for form in Image.ID if form in Image.SAVE]
    made: dict[str, Make] = {}
    for form in forms:
        if form in ("PDF", "EPS") or not whole(form):
            continue
        name = form.lower()
        made[f"{name} whole"] = partial(whole, form)
        made[f"{name} cut"] = lambda form=form: cut(whole(form), 0.6)  # type: ignore[misc]
        made[f"{name} damaged"] = lambda form=form: damaged(whole(form), 3)  # type: ignore[misc]
        if form in WRITTEN:
            made[f"{name} head"] = lambda form=form: whole(form)[:20]  # type: ignore[misc]
            for seed in range(3):
                made[f"{name} header damaged {seed}"] = lambda form=form, seed=seed: damaged(  # type: ignore[misc]
                    whole(form), seed, head=True
                )
    return {**made, **BOMBS, **UNUSUAL}
