from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import ImagePolicy, ResizeRule, clear_cache, load_image, load_resized
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
