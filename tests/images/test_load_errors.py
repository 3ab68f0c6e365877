"""Every way in which loading an image can fail."""

from __future__ import annotations

import base64
import os
import resource
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import (
    ImagePolicy,
    ImageRef,
    ImageStore,
    Region,
    check_image,
    clear_cache,
    inline_reference,
    load_image,
)
from tests.images.pictures import encode, picture


def png_header(width: int, height: int) -> bytes:
    """A PNG of any size with no pixels in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def fails(source: object, text: str, policy: ImagePolicy | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_image(source, policy or ImagePolicy(), argument="picture")  # type: ignore[arg-type]
    assert caught.value.argument == "picture"
    assert text in str(caught.value)
    return caught.value


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    fails(str(tmp_path / "none.png"), "none.png (No such file or directory)")
    fails(str(tmp_path), "which is a directory")
    empty = tmp_path / "empty.png"
    empty.touch()
    fails(str(empty), "0 bytes")
    os.mkfifo(tmp_path / "fifo")
    fails(str(tmp_path / "fifo"), "no regular file")
    (tmp_path / "loop").symlink_to("loop")
    fails(str(tmp_path / "loop"), "loop")
    fails("a" * 5000, "text of 5000 characters")
    fails(ImageRef("a\0b"), "null byte")
    fails({"type": "text", "text": "x"}, "found dict")
    fails({"type": "image"}, "found keys type")
    fails("gopher://host/a.png", "scheme 'gopher'")


def test_damaged_data(tmp_path: Path) -> None:
    fails(inline_reference(b"plain text"), "no such image in inline data, 10 bytes")
    fails(inline_reference(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "no such image")
    fails(inline_reference(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "no such image")
    fails(inline_reference("not base64!"), "base64 image data")
    fails(inline_reference(encode(picture())[:20]), "inline data")
    path = tmp_path / "part.png"
    path.write_bytes(encode(picture(200, 200))[:-4000])
    fails(str(path), "truncated or damaged PNG")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_data_of_every_format(form: str, share: float) -> None:
    data = encode(picture(200, 150), form)
    fails(inline_reference(data[: int(len(data) * share)]), "inline data")


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]))
def test_damage_never_raises_anything_else(damage: bytes, form: str) -> None:
    data = bytearray(encode(picture(), form))
    data[12 : 12 + len(damage)] = damage
    try:
        loaded = load_image(inline_reference(bytes(data)), ImagePolicy(max_pixels=1_000_000))
    except ImageError:
        return
    assert loaded.mode == "RGB"
    assert loaded.width * loaded.height <= 1_000_000


def test_the_byte_limit_comes_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(10 * 2**40)  # sparse: reading it would fail
    fails(str(path), f"at most {64 * 2**20} bytes (max_bytes), found {10 * 2**40} bytes")
    monkeypatch.setattr(base64, "b64decode", lambda *_, **__: pytest.fail("decoded"))
    fails(ImageRef("data:image/png;base64," + "A" * 4000), "at most 10 bytes", ImagePolicy(max_bytes=10))


@given(st.integers(1, 200))
def test_the_byte_limit_is_exact(size: int) -> None:
    ref = inline_reference(b"x" * size)
    fails(ref, "no such image", ImagePolicy(max_bytes=size))
    if size > 1:
        fails(ref, "max_bytes", ImagePolicy(max_bytes=size - 1))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 3600))
def test_the_pixel_limit_is_exact(width: int, height: int, limit: int) -> None:
    ref = inline_reference(encode(Image.new("L", (width, height))))
    policy = ImagePolicy(max_pixels=limit)
    if width * height <= limit:
        assert load_image(ref, policy).size == (width, height)
    else:
        fails(ref, f"{width} x {height} pixels", policy)


def test_a_huge_image_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(50_000, 50_000))
    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", lambda _: pytest.fail("pixels were allocated"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fails(str(path), "at most 178956970 pixels (max_pixels), found 50000 x 50000 pixels")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_the_policys_pixel_limit_counts_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    ref = inline_reference(encode(picture()))
    assert load_image(ref).size == (40, 30)
    assert load_image(ImageRef(ref.source, Region(0, 0, 39, 29, 1.5))).size == (58, 44)


@pytest.mark.parametrize("limit", [60, 100])  # Pillow raises its error and its warning
def test_pillows_bomb_errors_are_translated(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(encode(Image.new("L", (13, 13)), "GIF"))
    data[6:10] = struct.pack("<HH", 1, 1)  # a screen smaller than its frame, which Pillow checks itself
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    fails(inline_reference(bytes(data)), "max_pixels")


def test_short_sides() -> None:
    ref = inline_reference(encode(Image.new("L", (50, 7))))
    assert load_image(ref, ImagePolicy(min_side=7)).size == (50, 7)
    fails(ref, "sides of at least 8 pixels, found 50 x 7", ImagePolicy(min_side=8))
    clear_cache()
    fails(ref, "sides of at least 8 pixels, found 50 x 7", ImagePolicy(min_side=8))


def test_roots(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.png").write_bytes(encode(picture()))
    (inside / "link.png").symlink_to(outside / "a.png")
    (inside / "up").symlink_to(outside)
    (outside / "back.png").symlink_to(inside / "a.png")
    (tmp_path / "inside2").mkdir()
    (tmp_path / "inside2" / "a.png").write_bytes(encode(picture()))
    policy = ImagePolicy(roots=(inside,))
    for allowed in (inside / "a.png", outside / "back.png", inside / ".." / "inside" / "a.png"):
        assert load_image(str(allowed), policy).size == (40, 30)
        assert load_image(allowed.as_uri(), policy).size == (40, 30)
    refused = ("inside/link.png", "inside/up/a.png", "inside/../outside/a.png", "outside/a.png", "inside2/a.png")
    for name in (*refused, "outside/absent.png"):
        load_image(str(tmp_path / name)) if "absent" not in name else None  # kept, and still refused
        fails(str(tmp_path / name), "inside the policy's roots", policy)
        fails(f"file://{tmp_path}/{name}", "inside the policy's roots", policy)
    fails(str(inside / "a.png"), "inside the policy's roots", ImagePolicy(roots=()))


def test_a_strict_policy_is_not_served_from_the_cache() -> None:
    ref = inline_reference(encode(picture()))
    load_image(ref)
    fails(ref, "max_pixels", ImagePolicy(max_pixels=1199))
    fails(ref, "max_bytes", ImagePolicy(max_bytes=100))


def test_interned_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(tmp_path / "default"))
    store = ImageStore(tmp_path / "mine")
    reference = store.put(encode(picture()))
    assert load_image(reference, store=store).tobytes() == picture().tobytes()
    assert load_image(reference + "#xywh=1,2,3,4", store=store).size == (3, 4)
    fails(reference, str(tmp_path / "default"))
    ImageStore().put(encode(picture()))
    assert load_image(reference).size == (40, 30)
    fails(reference, "max_bytes", ImagePolicy(max_bytes=10))


def test_a_refused_path_is_told_apart_from_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of its roots a policy says the same of everything, and looks at nothing where it has none."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "there.png").write_bytes(b"not an image")
    (inside / "loop.png").symlink_to("loop.png")
    (inside / "out").symlink_to(outside)
    named = [outside / "there.png", outside / "gone.png", outside, outside / "there.png" / "below.png"]
    named += [inside / "loop.png", inside / "out" / "there.png", inside / "out" / "gone.png"]
    for policy in (ImagePolicy(roots=(inside,)), ImagePolicy(roots=())):
        for path in named:
            with pytest.raises(ImageError) as caught:
                check_image(str(path), policy)
            assert str(caught.value) == f"messages: expected a path inside the policy's roots, found {path}"
    monkeypatch.setattr(os, "stat", lambda *a, **k: pytest.fail("looked at"))
    monkeypatch.setattr(os, "lstat", lambda *a, **k: pytest.fail("looked at"))
    with pytest.raises(ImageError):
        check_image(str(outside / "there.png"), ImagePolicy(roots=()))


def test_a_path_that_no_system_takes_costs_nothing() -> None:
    with pytest.raises(ImageError, match="at most 4096 characters"):
        check_image("/" + "a/" * 100_000)
