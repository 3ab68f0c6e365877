"""A sample of the campaign in `tests/hostile`, and the processes that decode what might never end."""

from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy, inline_reference, load_image
from langgraph_speceyes.images import decode as decoding
from langgraph_speceyes.images.decode import decode, is_turned, read_size
from langgraph_speceyes.images.structure import exif_orientation, plain
from langgraph_speceyes.images.workers import WORKERS, Workers
from tests.hostile.campaign import WAYS
from tests.hostile.files import BOMBS, UNUSUAL, encoded, scene, with_segments
from tests.images.pictures import encode, picture

SAMPLE = ["png header 2g", "png 65535 x 1", "jpeg exif copies", "jpeg 5000 tables", "gif frame 65535", "bmp header 2g"]
SAMPLE += ["bmp runs", "ppm digits", "ppm header", "pfm infinite", "tiff sizes lie", "tiff loop", "tiff no strips"]
SAMPLE += ["png exif text bomb", "svg", "empty", "one byte", "P", "RIFF", "jpeg exif 99", "tiff cmyk"]


@pytest.fixture(autouse=True, scope="module")
def workers() -> Iterator[None]:
    yield
    WORKERS.close()


@pytest.mark.parametrize("name", SAMPLE)
def test_a_hostile_image_is_read_or_refused_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes({**BOMBS, **UNUSUAL}[name]())
    for way in WAYS.values():
        try:
            found, blamed = way(path), "messages"
        except ImageError as error:
            found, blamed = error, error.argument
        assert (found is not None, blamed) == (True, "messages")


def test_an_ordinary_image_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WORKERS, "run", lambda *_, **__: pytest.fail("started"))
    large = Image.new("RGB", (4000, 3000), (9, 8, 7))
    for image in (picture(), large, large.convert("L")):
        for form, settings in (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("GIF", {})):
            data = encode(image, form, **settings)
            assert decode(data, DEFAULT_POLICY, "messages", "it").size == image.size
            assert not is_turned(data)


def test_a_decoder_that_takes_too_long_is_ended_and_the_next_image_read() -> None:
    slow = b"P3 400 400 254\n" + b"127 " * (400 * 400 * 3)
    strict = ImagePolicy(decode_timeout_s=0.02)
    with pytest.raises(ImageError, match=r"within 0.02 s \(decode_timeout_s\).*decoder ended by signal"):
        decode(slow, strict, "messages", "it")
    assert decode(encode(picture(), "TIFF"), DEFAULT_POLICY, "messages", "it").size == (40, 30)


def test_a_decoder_has_no_more_memory_than_the_policy_allows() -> None:
    """Also where the header says nothing of what a decoder will take."""
    tags = 28_000
    at = 8 + 2 + 12 * tags + 4
    table = b"".join(struct.pack("<HHII", 0x0100 + i, 7, 300_000, at) for i in range(tags))
    data = b"II*\0" + struct.pack("<IH", 8, tags) + table + b"\0" * 300_004
    assert plain(data) is None
    with pytest.raises(ImageError):
        read_size(data, ImagePolicy(max_decoded_bytes=1024 * 1024), "messages", "it")
    with pytest.raises(ImageError, match="max_decoded_bytes"):
        decode(encode(Image.new("RGB", (600, 600))), ImagePolicy(max_decoded_bytes=1_000_000), "messages", "it")


def test_a_decoder_that_dies_takes_nothing_else_along() -> None:
    workers = Workers()
    data = encode(picture(), "TIFF")
    job = decoding.Job(data, decoding.limits_of(DEFAULT_POLICY), "messages", "it")
    first = workers.run(job, 5, decode=True).image
    [worker] = workers._idle
    os.kill(worker.pid, 11)
    worker._process.wait()
    second = workers.run(job, 5, decode=True).image
    assert first is not None
    assert second is not None
    assert first.tobytes() == second.tobytes() == picture().tobytes()
    assert workers._idle[0].pid != worker.pid
    workers.close()
    assert workers._idle == []


def test_many_threads_share_few_processes() -> None:
    workers, found = Workers(), list[bytes]()
    job = decoding.Job(encode(picture(), "TIFF"), decoding.limits_of(DEFAULT_POLICY), "messages", "it")

    def run() -> None:
        image = workers.run(job, 5, decode=True).image
        found.append(b"" if image is None else image.tobytes())

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [picture().tobytes()] * 8
    assert 1 <= len(workers._idle) <= 2
    workers.close()


def test_a_forked_process_leaves_the_others_alone() -> None:
    job = decoding.Job(encode(picture(), "TIFF"), decoding.limits_of(DEFAULT_POLICY), "messages", "it")
    WORKERS.run(job, 5, decode=True)
    pids = [worker.pid for worker in WORKERS._idle]
    child = os.fork()
    if child == 0:
        os._exit(1 if WORKERS._idle or WORKERS.run(job, 5, decode=False).size != (40, 30) else 0)
    assert os.waitpid(child, 0)[1] == 0
    WORKERS.run(job, 5, decode=True)
    assert [worker.pid for worker in WORKERS._idle] == pids


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]), st.integers(0, 9), st.sampled_from("<>"))
def test_the_orientation_is_the_one_that_pillow_reads(form: str, orientation: int, order: str) -> None:
    tags = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 1) + tags + b"\0" * 4
    assert exif_orientation(b"Exif\0\0" + exif) == (orientation if 1 <= orientation <= 8 else 1)
    data = encode(picture(), form, exif=b"Exif\0\0" + exif)
    with Image.open(io.BytesIO(data)) as image:
        shown = ImageOps.exif_transpose(image)
    assert decode(data, DEFAULT_POLICY, "messages", "it").size == shown.size
    assert read_size(data, DEFAULT_POLICY, "messages", "it") == shown.size


@given(st.binary(max_size=300))
def test_looking_at_anything_never_raises(data: bytes) -> None:
    for head in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X", b"II*\0", b"P6 "):
        plain(head + data)
        exif_orientation(head + data)


def test_metadata_changes_no_pixel() -> None:
    whole = encoded(scene(), "JPEG")
    more = with_segments(whole, (0xE1, b"Exif\0\0junk"), (0xFE, b"a comment"), (0xE2, b"ICC_PROFILE\0\1\1x"))
    known = plain(more)
    assert known is not None
    assert len(known.data) == len(whole)
    assert load_image(inline_reference(more)).tobytes() == load_image(inline_reference(whole)).tobytes()


def test_bands_are_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is converted in bands is what is converted at once."""
    noisy = picture(61, 53)
    clear = noisy.convert("P")
    clear.info["transparency"] = 3
    modes = [noisy.convert(mode) for mode in ("L", "1", "CMYK", "YCbCr", "LAB", "I", "F")] + [clear]
    alpha = noisy.convert("RGBA")
    alpha.putalpha(noisy.convert("L"))
    for image, form in [*((one, "TIFF") for one in modes[:-1]), (clear, "PNG"), (alpha, "PNG"), (alpha, "WEBP")]:
        data = encode(image, form, **({"lossless": True} if form == "WEBP" else {}))
        job = decoding.Job(data, decoding.limits_of(DEFAULT_POLICY), "messages", "it")
        found = []
        for pixels in (10**9, 61 * 7):
            monkeypatch.setattr("langgraph_speceyes.images.pixels._BAND_PIXELS", pixels)
            bands = list(decoding.decode_bands(decoding.open_image(job), job))
            assert (len(bands) == 1) == (pixels > 61 * 53)
            found.append(b"".join(band.tobytes("raw", "RGB") for band in bands))
        assert found[0] == found[1]


@pytest.mark.parametrize("orientation", [1, 6])
def test_bands_of_a_smaller_image_are_the_smaller_image(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = picture(640, 480).convert("L").resize((2400, 2080))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(grey, "JPEG", exif=exif)
    at_once = decode(data, DEFAULT_POLICY, "messages", "it", smaller=True)
    monkeypatch.setattr("langgraph_speceyes.images.pixels._BAND_PIXELS", 600 * 7)
    in_bands = decode(data, DEFAULT_POLICY, "messages", "it", smaller=True)
    assert at_once.size == in_bands.size == ((600, 520) if orientation == 1 else (520, 600))
    assert at_once.tobytes() == in_bands.tobytes()
    assert at_once.info == in_bands.info
