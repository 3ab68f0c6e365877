from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import ImagePolicy, ResizeRule, check_image, clear_cache, load_image, load_resized
from langgraph_speceyes.images import load as load_module
from langgraph_speceyes.images.decode import decode
from langgraph_speceyes.testbed.world import make_scene

RULE = ResizeRule(factor=28, min_pixels=56 * 56, max_pixels=200 * 200)


@pytest.fixture
def path(tmp_path: Path) -> str:
    clear_cache()
    made = tmp_path / "scene.png"
    make_scene("resized").render(150).save(made)
    return str(made)


@pytest.mark.parametrize("fragment", ["", "#xywh=10,20,300,200", "#xywh=10,20,60,40&scale=2"])
def test_an_image_comes_at_the_models_size_with_the_pixels_a_processor_would_make(path: str, fragment: str) -> None:
    whole = load_image(path + fragment)
    found = load_resized(path + fragment, RULE)
    assert found.size == RULE.size(*whole.size)
    assert found.tobytes() == whole.resize(found.size, Image.Resampling.BICUBIC).tobytes()


def test_a_region_is_not_enlarged_only_to_be_shrunk(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    region, scale = "#xywh=10,20,500,400", "&scale=8"
    plain, zoomed = (load_resized(path + region + s, RULE) for s in ("", scale))
    assert zoomed.size == RULE.size(4000, 3200)
    there_and_back = load_image(path + region + scale).resize(zoomed.size, Image.Resampling.BICUBIC)
    apart = np.abs(np.asarray(zoomed, dtype=int) - np.asarray(there_and_back, dtype=int))
    assert apart.mean() < 1
    assert plain.size == zoomed.size


def test_it_is_made_once_and_kept_small(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_resized(path, RULE)
    monkeypatch.setattr("langgraph_speceyes.images.load.decode", lambda *_: pytest.fail("decoded again"))
    assert load_resized(path, RULE) is first
    other = ResizeRule(factor=28, min_pixels=56 * 56, max_pixels=100 * 100)
    assert load_resized(path, other).size != first.size


def test_what_a_lax_policy_has_loaded_is_not_there_for_a_strict_one(path: str) -> None:
    load_resized(path, RULE)
    with pytest.raises(ImageError):
        load_resized(path, RULE, ImagePolicy(max_pixels=1000))


def _photo(path: Path, size: tuple[int, int], orientation: int = 1, **options: object) -> str:
    """A JPEG of smooth shapes and fine grain."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    waves = [127 + 90 * np.sin(x / a) * np.cos(y / b) for a, b in ((211, 97), (83, 301), (151, 149))]
    grain = np.random.default_rng(0).integers(-20, 20, (size[1], size[0], 1))
    pixels = np.clip(np.stack(waves, axis=-1) + grain, 0, 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, "JPEG", quality=92, exif=exif, **options)
    return str(path)


def _decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []

    def counting(*arguments: Any, **options: Any) -> Image.Image:
        made = decode(*arguments, **options)
        seen.append(made.width)
        return made

    monkeypatch.setattr(load_module, "decode", counting)
    return seen


@pytest.mark.parametrize(
    ("size", "orientation", "by"),
    [
        ((2400, 2400), 1, 4),
        ((2416, 2056), 6, 4),
        ((2413, 2051), 1, 4),
        ((2413, 2051), 3, 1),  # partial blocks, turned
        ((2047, 2400), 1, 1),  # not large
    ],
)
def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], orientation: int, by: int
) -> None:
    clear_cache()
    path = _photo(tmp_path / "photo.jpg", size, orientation)
    rule = ResizeRule(factor=28, min_pixels=56 * 56, max_pixels=120 * 120)
    seen = _decodes(monkeypatch)
    load_resized(path, rule)
    decoded = size[::-1] if orientation == 6 else size
    assert seen == [-(-decoded[0] // by)]
    assert check_image(path) == decoded
    assert len(seen) == 1
    for part in ("", "#xywh=101,203,1850,1801"):  # the same to a few values of 255 as from all pixels
        seen_small = np.asarray(load_resized(path + part, rule), dtype=int)
        fair = load_image(path + part).resize(seen_small.shape[1::-1], Image.Resampling.BICUBIC)
        apart = np.abs(seen_small - np.asarray(fair, dtype=int))
        assert apart.max() <= 6
        assert apart.mean() < 1


def test_how_an_overview_is_decoded_does_not_depend_on_what_is_cached(tmp_path: Path) -> None:
    path = _photo(tmp_path / "photo.jpg", (2400, 2400), progressive=True)
    seen = []
    for before in (lambda: None, lambda: load_image(path), lambda: load_resized(path + "#xywh=0,0,200,200", RULE)):
        clear_cache()
        before()
        seen.append(load_resized(path, RULE).tobytes())
    assert len(set(seen)) == 1


def test_a_model_that_sees_more_gets_more_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clear_cache()
    path = _photo(tmp_path / "photo.jpg", (2400, 2400))
    seen = _decodes(monkeypatch)
    for side in (100, 280, 320):
        load_resized(path, ResizeRule(factor=28, min_pixels=56 * 56, max_pixels=side * side))
    assert seen == [600, 2400]


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_damage_is_found_in_a_large_jpeg_too(tmp_path: Path, share: float) -> None:
    whole = Path(_photo(tmp_path / "photo.jpg", (2400, 2400))).read_bytes()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole[: int(share * len(whole))])
    for look in (check_image, lambda path: load_resized(path, RULE)):
        with pytest.raises(ImageError, match="truncated or damaged"):
            look(str(cut))


def test_limits_hold_for_what_was_decoded_smaller(tmp_path: Path) -> None:
    clear_cache()
    path = _photo(tmp_path / "photo.jpg", (2400, 2400))
    assert check_image(path) == (2400, 2400)
    for strict in (ImagePolicy(max_pixels=5_000_000), ImagePolicy(min_side=2401)):
        with pytest.raises(ImageError):
            check_image(path, strict)
    assert load_image(path).size == (2400, 2400)


def test_a_large_png_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clear_cache()
    path = tmp_path / "large.png"
    Image.new("RGB", (2100, 2100), "red").save(path, compress_level=1)
    seen = _decodes(monkeypatch)
    assert check_image(str(path)) == (2100, 2100)
    load_resized(str(path), RULE)
    load_image(str(path))
    assert seen == [2100]
