"""What loading an image gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import (
    ImageRef,
    Region,
    inline_reference,
    load_image,
    parse_reference,
)
from tests.images.pictures import encode, picture


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_formats_without_loss(form: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(encode(picture(), form))
    loaded = load_image(str(path))
    assert loaded.mode == "RGB"
    assert loaded.tobytes() == picture().tobytes()
    assert load_image({"type": "image", "url": path.as_uri()}) is loaded


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF", "AVIF", "JPEG2000"])
def test_formats_with_loss(form: str) -> None:
    loaded = load_image(inline_reference(encode(Image.new("RGB", (40, 30), (200, 40, 40)), form)))
    assert loaded.size == (40, 30)
    assert np.abs(np.asarray(loaded).astype(int) - (200, 40, 40)).max() <= 8


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied_once(form: str) -> None:
    image = Image.new("RGB", (64, 32), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 16, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated 90 degrees clockwise: the left edge becomes the top
    loaded = load_image(inline_reference(encode(image, form, exif=exif)))
    assert loaded.size == (32, 64)
    assert loaded.info == {}
    assert np.asarray(loaded)[:12].mean() > 240
    assert np.asarray(loaded)[20:].mean() < 15
    assert load_image(inline_reference(encode(loaded))).size == (32, 64)


def test_damaged_exif_does_not_matter() -> None:
    data = encode(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert load_image(inline_reference(data)).size == (40, 30)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (2, 2), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 128)), (255, 127, 127)),
        (Image.new("LA", (2, 2), (0, 0)), (255, 255, 255)),
        (Image.new("L", (2, 2), 7), (7, 7, 7)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("I;16", (2, 2), 65535), (255, 255, 255)),
        (Image.new("I;16", (2, 2), 257 * 100), (100, 100, 100)),
        (Image.new("I;16", (2, 2), 200), (1, 1, 1)),
    ],
)
def test_modes_of_png(image: Image.Image, expected: tuple[int, int, int]) -> None:
    assert load_image(inline_reference(encode(image))).getpixel((1, 1)) == expected


def test_palettes_and_transparent_colours() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    opaque = load_image(inline_reference(encode(palette)))
    assert [opaque.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (40, 50, 60)]
    for options in ({"transparency": 1}, {"transparency": b"\xff\x00"}):
        clear = load_image(inline_reference(encode(palette, **options)))
        assert [clear.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (255, 255, 255)]
    keyed = encode(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert load_image(inline_reference(keyed)).getpixel((0, 0)) == (255, 255, 255)
    grey = encode(Image.new("I;16", (1, 1), 9), transparency=9)
    assert load_image(inline_reference(grey)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("image", "form", "expected"),
    [
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
        (Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG", (0, 0, 0)),
        (Image.new("F", (8, 8), 0.5), "TIFF", (128, 128, 128)),
        (Image.new("F", (8, 8), 200.0), "TIFF", (200, 200, 200)),
        (Image.new("I", (8, 8), 200), "TIFF", (200, 200, 200)),
        (Image.new("I", (8, 8), 25700), "TIFF", (100, 100, 100)),
    ],
)
def test_other_modes(image: Image.Image, form: str, expected: tuple[int, int, int]) -> None:
    pixel = load_image(inline_reference(encode(image, form))).getpixel((4, 4))
    assert isinstance(pixel, tuple)
    assert np.abs(np.subtract(pixel, expected)).max() <= 2


def test_float_and_signed_values_beyond_8_bits_are_stretched() -> None:
    values = np.array([[-1000.0, 0.0, np.nan, 1000.0]], dtype=np.float32)
    loaded = load_image(inline_reference(encode(Image.fromarray(values), "TIFF")))
    assert [loaded.getpixel((x, 0))[0] for x in range(4)] == [0, 128, 128, 255]  # type: ignore[index]


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(inline_reference(data)).getpixel((0, 0)) == (255, 0, 0)


@given(st.data())
def test_regions_are_the_original_pixels(data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, 39)), data.draw(st.integers(0, 29))
    width, height = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    whole = inline_reference(encode(picture()))
    loaded = load_image(ImageRef(whole.source, Region(x, y, width, height)))
    expected = picture().crop((x, y, min(x + width, 40), min(y + height, 30)))
    assert loaded.size == expected.size
    assert loaded.tobytes() == expected.tobytes()


def test_a_scaled_region_is_the_enlarged_crop() -> None:
    ref = ImageRef(inline_reference(encode(picture())).source, Region(3, 4, 10, 8, 2.5))
    expected = picture().crop((3, 4, 13, 12)).resize((25, 20), Image.Resampling.BICUBIC)
    assert load_image(ref).tobytes() == expected.tobytes()
    assert load_image(ref) is load_image(ref)


@pytest.mark.parametrize(("region", "text"), [((40, 0, 5, 5), "region inside"), ((0, 30, 5, 5), "40 x 30 pixels")])
def test_a_region_outside_the_image(region: tuple[int, int, int, int], text: str) -> None:
    with pytest.raises(ImageError, match=text):
        load_image(ImageRef(inline_reference(encode(picture())).source, Region(*region)))


def test_an_enlarged_region_has_the_pixel_limit() -> None:
    ref = ImageRef(inline_reference(encode(picture())).source, Region(0, 0, 40, 30, 1000.0))
    with pytest.raises(ImageError, match="40000 x 30000 pixels in the enlarged region"):
        load_image(ref)


def test_a_reference_may_be_given_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a#b.png"
    path.write_bytes(encode(picture()))
    assert load_image(str(path)) is load_image(parse_reference(str(path)))
