from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from langgraph_speceyes.agent import CROP, OCR, ZOOM, CoordinateSpace, ResizeRule, View, tool_schemas, tools
from langgraph_speceyes.errors import ImageError, ToolInputError
from langgraph_speceyes.images import ImagePolicy, inline_reference, load_image, parse_reference


def view(*paths: str, **settings: Any) -> View:
    return View([parse_reference(path) for path in paths], **settings)


def test_crop_shows_the_pixels_of_the_original(path: str, picture: Image.Image) -> None:
    seen = CROP.run({"bbox_2d": [10, 20, 110, 70.5], "label": "it"}, view(path))
    assert seen.box == (10, 20, 110, 71)
    assert seen.text is None
    assert [ref.uri for ref in seen.images] == [f"{path}#xywh=10,20,100,51"]
    assert load_image(seen.images[0]).tobytes() == picture.crop((10, 20, 110, 71)).tobytes()


def test_zoom_enlarges_twice_unless_told(path: str) -> None:
    seen = ZOOM.run({"bbox_2d": [10, 20, 110, 70]}, view(path))
    assert seen.images[0].uri == f"{path}#xywh=10,20,100,50&scale=2.0"
    assert load_image(seen.images[0]).size == (200, 100)
    seen = ZOOM.run({"bbox_2d": [10, 20, 110, 70], "factor": 8, "label": None, "image": None}, view(path))
    assert load_image(seen.images[0]).size == (800, 400)


def test_zoom_enlarges_no_further_than_may_be_loaded(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = view(path, policy=ImagePolicy(max_pixels=400 * 300 + 1))
    seen = ZOOM.run({"bbox_2d": [0, 0, 200, 300], "factor": 8}, small)
    assert load_image(seen.images[0], small.policy).size == (282, 423)
    monkeypatch.setattr(tools, "MAX_ENLARGED_PIXELS", 1000)
    assert ZOOM.run({"bbox_2d": [0, 0, 400, 300]}, small).images[0].uri == f"{path}#xywh=0,0,400,300"


@pytest.mark.parametrize(
    ("space", "resize", "box"),
    [
        (CoordinateSpace.ABSOLUTE, None, [100, 150, 200, 300]),
        (CoordinateSpace.RELATIVE_1000, None, [250, 500, 500, 1000]),
        (CoordinateSpace.RESIZED, ResizeRule(32, 192 * 160, 192 * 160), [48, 80, 96, 160]),
    ],
)
def test_boxes_count_what_the_space_says(path: str, space: CoordinateSpace, resize: ResizeRule, box: list[int]) -> None:
    if resize is not None:
        assert resize.size(400, 300) == (192, 128)
        box = [48, 64, 96, 128]
    seen = CROP.run({"bbox_2d": box}, view(path, coordinates=space, resize=resize))
    assert seen.box == (100, 150, 200, 300)
    assert seen.images[0].uri == f"{path}#xywh=100,150,100,150"


def test_boxes_are_clamped(path: str) -> None:
    assert CROP.run({"bbox_2d": [-50, -1, 4000, 30]}, view(path)).box == (0, 0, 400, 30)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"bbox_2d": "left half"}, "valid list"),
        ({"bbox_2d": [1, 2, "x", 4]}, r"bbox_2d\.2: .*valid number"),
        ({"bbox_2d": [1, 2, 3]}, "at least 4 items"),
        ({"bbox_2d": [1, 2, 3, 4, 5]}, "at most 4 items"),
        ({"bbox_2d": [50, 0, 10, 10]}, "x1 < x2"),
        ({"bbox_2d": [10, 10, 10, 50]}, "x1 < x2"),
        ({"bbox_2d": [500, 0, 600, 50]}, "outside the image"),
        ({"bbox_2d": [0, 0, float("nan"), 5]}, "finite"),
        ({"bbox_2d": [0, 0, 400, 3]}, "strip of 400 x 3"),
        ({"bbox_2d": [0, 0, 5, 5], "image": 1}, "there is no image 1; image must be 0"),
        ({"bbox_2d": [0, 0, 5, 5], "image": -1}, "there is no image -1"),
        ({"bbox_2d": [0, 0, 5, 5], "image": "first"}, "image: .*valid integer"),
    ],
)
@pytest.mark.parametrize("tool", [CROP, ZOOM, OCR])
def test_bad_arguments_are_told_to_the_model(path: str, tool: Any, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ToolInputError, match=says):
        tool.run(arguments, view(path))


@pytest.mark.parametrize("arguments", [{}, {"bbox_2d": None}, {"label": "car"}])
@pytest.mark.parametrize("tool", [CROP, ZOOM])
def test_a_missing_box_is_told_to_the_model(path: str, tool: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolInputError, match="bbox_2d: field required"):
        tool.run(arguments, view(path))


@pytest.mark.parametrize("factor", [1, 0, -2, 8.5, float("nan"), float("inf"), "double"])
def test_bad_factors_are_told_to_the_model(path: str, factor: Any) -> None:
    with pytest.raises(ToolInputError, match="factor"):
        ZOOM.run({"bbox_2d": [0, 0, 5, 5], "factor": factor}, view(path))


def test_ocr_reads_a_region_or_the_whole(path: str, echo: Any) -> None:
    seen = OCR.run({"bbox_2d": [0, 0, 100, 50]}, view(path, reader=echo))
    assert (seen.text, seen.box, seen.images) == ("100x50\nsecond line", (0, 0, 100, 50), ())
    seen = OCR.run({}, view(path, reader=echo))
    assert (seen.text, seen.box) == ("400x300\nsecond line", None)


def test_ocr_says_so_when_there_is_no_text(path: str) -> None:
    class Blind:
        def read(self, image: Image.Image) -> list[str]:
            return []

    assert OCR.run({}, view(path, reader=Blind())).text == "No text found."


def test_the_index_counts_the_images_of_the_question(path: str, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.new("RGB", (50, 40)).save(other)
    both = view(path, str(other))
    assert CROP.run({"bbox_2d": [0, 0, 90, 90], "image": 1}, both).box == (0, 0, 50, 40)
    with pytest.raises(ToolInputError, match="0 to 1"):
        CROP.run({"bbox_2d": [0, 0, 90, 90], "image": 2}, both)


def test_regions_of_inline_images_hold_no_data(picture: Image.Image, store: Path) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    ref = inline_reference(base64.b64encode(buffer.getvalue()).decode())
    seen = CROP.run({"bbox_2d": [10, 20, 50, 60]}, View([ref]))
    uri = seen.images[0].uri
    assert uri.startswith("sha256:")
    assert uri.endswith("#xywh=10,20,40,40")
    assert load_image(seen.images[0]).tobytes() == picture.crop((10, 20, 50, 60)).tobytes()
    assert any(store.rglob("*"))


def test_regions_of_regions_count_from_the_original(path: str) -> None:
    seen = CROP.run({"bbox_2d": [10, 10, 90, 70]}, view(f"{path}#xywh=100,100,50,50&scale=2"))
    assert seen.images[0].uri == f"{path}#xywh=105,105,40,30"
    seen = CROP.run({"bbox_2d": [40, 40, 50, 50]}, view(f"{path}#xywh=100,100,50,50&scale=2"))
    assert seen.images[0].uri == f"{path}#xywh=108,108,29,29"
    assert seen.box == (17, 17, 73, 73)


def test_an_unreadable_image_is_not_the_models_fault(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        CROP.run({"bbox_2d": [0, 0, 5, 5]}, view(str(tmp_path / "none.png")))


def test_schemas_say_what_boxes_count() -> None:
    crop, zoom, ocr = tool_schemas(("crop", "zoom", "ocr"), "relative_1000")
    assert [tool["function"]["name"] for tool in (crop, zoom, ocr)] == ["crop", "zoom", "ocr"]
    assert "thousandths" in crop["function"]["description"]
    assert crop["function"]["parameters"]["required"] == ["bbox_2d"]
    assert zoom["function"]["parameters"]["properties"]["factor"]["maximum"] == 8
    assert "required" not in ocr["function"]["parameters"]
    assert "pixels of the original" in tool_schemas(("crop",))[0]["function"]["description"]
