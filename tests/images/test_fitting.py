"""Images at the size at which a hosted model needs them."""

from __future__ import annotations

import base64
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from PIL import Image

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import (
    ImagePolicy,
    check_header,
    clear_cache,
    clear_fitted,
    fitted,
    fitted_size,
    fitting,
    inline_images,
    load_image,
    source,
)
from langgraph_speceyes.images.fitting import LEAST_SIDE
from tests.images.pictures import encode, picture

MOST = 40_000


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    clear_fitted()


def opened(made: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(made.payload)))


def saved(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.sampled_from(["PNG", "JPEG", "BMP"]),
    st.integers(28 * 28, 300_000),
    st.booleans(),
    st.sampled_from([1, 6, 8]),
)
def test_what_is_sent_has_the_size_that_the_header_promises(
    tmp_path_factory: pytest.TempPathFactory,
    size: tuple[int, int],
    form: str,
    most: int,
    noisy: bool,
    turned: int,
) -> None:
    image = picture(*size) if noisy else Image.new("RGB", size, "teal")
    exif = Image.Exif()
    exif[0x0112] = turned
    options = {"exif": exif} if form != "BMP" else {}
    path = saved(tmp_path_factory.mktemp("fit") / "image", encode(image, form, **options))
    seen = size if form == "BMP" or turned == 1 else size[::-1]
    assert check_header(path) == seen
    made = fitted(path, most)
    assert made is not None
    width, height = fitted_size(path, most)
    assert opened(made).size == (width, height)
    assert made.mime_type in ("image/png", "image/jpeg")
    assert opened(made).getexif().get(0x0112, 1) == 1
    if seen[0] * seen[1] <= most:
        assert (width, height) == seen
    elif min(seen) > LEAST_SIDE:
        assert min(width, height) == LEAST_SIDE or width * height <= most
        # the shape is kept, to a pixel
        assert abs(width * seen[1] - height * seen[0]) <= max(seen)


def test_a_large_photo_is_sent_as_its_quarter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    photo = Image.fromarray(small).resize((2400, 2200), Image.Resampling.BICUBIC)
    path = saved(tmp_path / "a.jpg", encode(photo, "JPEG", quality=95))
    decoded, original = [], fitting.load_whole

    def noted(ref: Any, smaller: Any, *rest: Any) -> Any:
        decoded.append(smaller)
        return original(ref, smaller, *rest)

    monkeypatch.setattr(fitting, "load_whole", noted)
    made = fitted(path, 600 * 600)
    assert made is not None
    assert (opened(made).size, made.mime_type) == ((600, 550), "image/jpeg")
    assert [smaller((2400, 2200)) for smaller in decoded] == [True]
    expected = np.asarray(photo.resize((600, 550), Image.Resampling.BOX), dtype=float)
    assert np.abs(np.asarray(opened(made), dtype=float) - expected).mean() < 4


def test_small_files_are_sent_as_they_are_without_being_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "load_whole", lambda *_: pytest.fail("it was decoded"))
    for form in ("PNG", "JPEG", "WEBP", "GIF"):
        data = encode(picture(), form)
        made = fitted(saved(tmp_path / "image", data), MOST)
        assert made is not None
        assert base64.b64decode(made.payload) == data
        # inline data stays the block that it is
        message = HumanMessage([{"type": "image", "base64": made.payload, "mime_type": made.mime_type}])
        assert inline_images([message], most_pixels=MOST)[0] is message


def test_drawings_stay_sharp_and_photos_small(tmp_path: Path) -> None:
    drawing = Image.new("RGB", (600, 400), "white")
    drawing.paste("black", (100, 100, 300, 300))
    pictures = [drawing, picture(600, 400)]
    made = [fitted(saved(tmp_path / f"{i}", encode(image, "BMP")), MOST) for i, image in enumerate(pictures)]
    assert [one and one.mime_type for one in made] == ["image/png", "image/jpeg"]
    # few pixels, but more bytes than a photo of them needs
    heavy = fitted(saved(tmp_path / "c", encode(picture(200, 200), "PNG")), MOST)
    assert heavy is not None
    assert heavy.mime_type == "image/jpeg"


def test_limits_are_those_of_the_original_and_checked_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.png", encode(picture(300, 300)))
    fitted(path, MOST)
    monkeypatch.setattr(fitting, "load_whole", lambda *_: pytest.fail("it was decoded"))
    for refused, match in (
        (ImagePolicy(max_pixels=80_000), "max_pixels"),
        (ImagePolicy(max_bytes=1000), "max_bytes"),
        (ImagePolicy(formats=("JPEG",)), "JPEG"),
        (ImagePolicy(roots=()), "roots"),
        (ImagePolicy(min_side=301), "sides"),
    ):
        for ask in (check_header, lambda image, policy: fitted(image, MOST, policy)):
            with pytest.raises(ImageError, match=match):
                ask(path, refused)


def test_a_region_is_checked_and_sent_at_its_own_size(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", encode(picture(300, 300)))
    assert check_header(f"{path}#xywh=200,200,200,50") == (100, 50)
    assert fitted_size(f"{path}#xywh=0,0,300,300", 22_500) == (150, 150)
    made = fitted(f"{path}#xywh=10,20,30,40", MOST)
    assert made is not None
    assert opened(made).size == (30, 40)
    with pytest.raises(ImageError, match="inside"):
        check_header(f"{path}#xywh=400,0,10,10")


def test_a_remote_image_is_fetched_once_for_all_its_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    data = encode(picture(400, 300))
    monkeypatch.setattr(source, "fetch", lambda url, *_: fetched.append(url) or data)
    clear_cache()
    url, policy = "https://example.com/scene.png", ImagePolicy(allow_remote=True)
    for left in (0, 200):
        made = fitted(f"{url}#xywh={left},0,200,300", 10_000, policy)
        assert opened(made).size == fitted_size(f"{url}#xywh={left},0,200,300", 10_000, policy)
    # as a whole it is sent as it is
    assert fitted_size(url, 10_000, policy) == (400, 300)
    assert fetched == [url]


def test_cut_images_pass_the_header_and_fail_where_they_are_decoded(tmp_path: Path) -> None:
    data = encode(picture(400, 300), "JPEG")
    path = saved(tmp_path / "a.jpg", data[: len(data) // 2])
    assert check_header(path) == (400, 300)
    with pytest.raises(ImageError, match="complete"):
        fitted(path, MOST)
    # a failure is not remembered
    saved(tmp_path / "a.jpg", data)
    assert fitted(path, MOST) is not None


@pytest.mark.parametrize("inline", [False, True])
def test_large_headers_are_read_all_the_same(tmp_path: Path, inline: bool) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    data = encode(picture(), "JPEG", exif=exif, comment=b"y" * 60_000)
    url = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    assert data.index(b"\xff\xc0") > fitting._HEAD
    assert check_header(url if inline else saved(tmp_path / "a.jpg", data)) == (40, 30)


def turned(form: str) -> bytes:
    """A large image of 300 x 200 pixels whose orientation, a quarter turn, stands behind its pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(picture(300, 200), form, exif=exif, lossless=True)
    if form == "PNG":
        # where ExifTool and others write it
        begin = data.index(b"eXIf") - 4
        end = begin + 12 + int.from_bytes(data[begin : begin + 4])
        last = data.index(b"IEND") - 4
        data = data[:begin] + data[end:last] + data[begin:end] + data[last:]
    assert len(data) > fitting._HEAD
    return data


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("form", ["WEBP", "PNG"])
def test_orientation_behind_the_pixels_counts(tmp_path: Path, form: str, inline: bool) -> None:
    data = turned(form)
    url = f"data:image/{form.lower()};base64,{base64.b64encode(data).decode()}"
    image = url if inline else saved(tmp_path / "a", data)
    assert check_header(image) == load_image(image).size == (200, 300)
    assert check_header(f"{image}#xywh=0,250,50,50") == (50, 50)


def test_many_at_once_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, made, together = saved(tmp_path / "a.png", encode(picture(400, 300))), [], threading.Barrier(8)
    original = fitting._encoded
    monkeypatch.setattr(fitting, "_encoded", lambda *a: made.append(a) or original(*a))

    def ask(_: int) -> Any:
        together.wait()
        return fitted(path, MOST)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len(made) == 1
    assert all(one is found[0] for one in found)
    clear_cache()
    assert fitted(path, MOST) is found[0]
    assert len(made) == 1
