"""Boxes as models spell them, and tiny ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from langgraph_speceyes.agent import CROP, OCR, ZOOM, CoordinateSpace, ResizeRule, View
from langgraph_speceyes.agent.boxes import are_fractions, grown, read_arguments, read_box
from langgraph_speceyes.errors import ToolInputError
from langgraph_speceyes.images import fitted_size, load_image, parse_reference

NUMBERS = st.one_of(st.integers(-5000, 5000), st.floats(-5000, 5000, allow_nan=False).map(lambda x: round(x, 3)))
BOXES = st.lists(NUMBERS, min_size=4, max_size=4)
SPELLINGS: dict[str, Callable[[list[Any]], Any]] = {
    "list": lambda box: box,
    "tuple": tuple,
    "JSON": json.dumps,
    "commas": lambda box: ",".join(map(str, box)),
    "spaces": lambda box: " ".join(map(str, box)),
    "list in a list": lambda box: [box],
    "text in a list": lambda box: [json.dumps(box)],
    "JSON of a list in a list": lambda box: json.dumps([box]),
    "two points": lambda box: [box[:2], box[2:]],
    "two points as text": lambda box: f"({box[0]},{box[1]}),({box[2]},{box[3]})",
    "numbers as text": lambda box: json.dumps([str(value) for value in box]),
}


@settings(deadline=None)
@given(BOXES, st.sampled_from(list(SPELLINGS.values())), st.sampled_from(["bbox_2d", "bbox", "box"]))
def test_every_spelling_is_the_same_box(box: list[Any], spell: Callable[[list[Any]], Any], name: str) -> None:
    assert list(read_arguments({name: spell(box), "label": None})["bbox_2d"]) == box


@settings(deadline=None)
@given(st.recursive(st.text() | st.none() | st.integers(), lambda inner: st.lists(inner, max_size=4), max_leaves=8))
def test_what_is_no_box_is_left_for_the_error(value: Any) -> None:
    read = read_box(value)
    assert read == value or len(read) == 4 or read_box(read) == read


@pytest.mark.parametrize("name", ["bbox_2d", "bbox"])
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("tool", [CROP, ZOOM, OCR])
def test_tools_understand_them(path: str, echo: Any, tool: Any, spell: Callable[[list[Any]], Any], name: str) -> None:
    view = View([parse_reference(path)], reader=echo)
    assert tool.run({name: spell([100, 50, 200, 150])}, view).box == (100, 50, 200, 150)


@pytest.mark.parametrize("text", ["", "left half", "1, 2, 3", "1, 2, 3, 4, 5", "[1, 2, 3, x]", "9" * 500, "[[]]"])
def test_other_text_is_told_to_the_model(path: str, text: str) -> None:
    with pytest.raises(ToolInputError, match="bbox_2d: "):
        CROP.run({"bbox_2d": text}, View([parse_reference(path)]))


@pytest.mark.parametrize(
    ("space", "resize"),
    [
        (CoordinateSpace.ABSOLUTE, None),
        (CoordinateSpace.RELATIVE_1000, None),
        (CoordinateSpace.RESIZED, ResizeRule(32, 192 * 160, 192 * 160)),
    ],
)
def test_fractions_are_of_the_image(path: str, space: CoordinateSpace, resize: ResizeRule | None) -> None:
    view = View([parse_reference(path)], coordinates=space, resize=resize)
    assert CROP.run({"bbox_2d": [0.25, 0.5, 1, 1]}, view).box == (100, 150, 400, 300)
    with pytest.raises(ToolInputError, match="x1 < x2"):
        CROP.run({"bbox_2d": [0.5, 0.5, 0.25, 1]}, view)


@pytest.mark.parametrize(
    ("box", "fractions"),
    [
        ([0.1, 0.1, 0.3, 0.3], True),
        ([0, 0, 1, 0.5], True),
        ([0, 0, 1, 1], False),
        ([0.5, 0.5, 1.5, 1.5], False),
        ([0, 0, 0.5, 200], False),
        ([-0.1, 0, 0.5, 0.5], False),
        ([0.0, 0.0, float("nan"), 0.5], False),
    ],
)
def test_which_boxes_are_fractions(box: Sequence[float], fractions: bool) -> None:
    assert are_fractions(box) is fractions


@settings(deadline=None)
@given(st.integers(1, 500), st.data(), st.integers(1, 80))
def test_growing_stays_inside_and_covers_the_box(size: int, data: st.DataObject, least: int) -> None:
    low = data.draw(st.integers(0, size - 1))
    high = data.draw(st.integers(low + 1, size))
    begin, end = grown(low, high, least, size)
    assert 0 <= begin <= low < high <= end <= size
    assert end - begin == min(size, max(least, high - low))
    if begin > 0 and end < size:
        assert abs((begin + end) - (low + high)) <= 1


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.data(), st.sampled_from([1.5, 2.0, 8.0, None]))
def test_whatever_is_shown_is_large_enough_and_on_record(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, data: st.DataObject, factor: float | None
) -> None:
    file = tmp_path_factory.getbasetemp() / f"{width}x{height}.png"
    if not file.exists():
        Image.new("RGB", (width, height)).save(file)
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = [left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))]
    sides = (box[2] - box[0], box[3] - box[1])
    assume(max(sides) <= 100 * min(sides))  # strips are refused
    view = View([parse_reference(str(file))])
    seen = (CROP if factor is None else ZOOM).run({"bbox_2d": box} | ({"factor": factor} if factor else {}), view)
    region = seen.images[0].region
    assert region is not None
    assert seen.box == (region.x, region.y, region.x + region.width, region.y + region.height)
    assert seen.box[0] <= box[0] < box[2] <= seen.box[2]
    assert seen.box[1] <= box[1] < box[3] <= seen.box[3]
    assert min(load_image(seen.images[0]).size) >= 28
    if factor is None and min(width, height) >= 28:
        assert region.scale == 1


@pytest.mark.parametrize(
    ("tool", "box", "shown", "size"),
    [
        (CROP, [200, 100, 203, 103], (188, 88, 216, 116), (28, 28)),
        (CROP, [399, 299, 400, 300], (372, 272, 400, 300), (28, 28)),
        (CROP, [200, 100, 220, 112], (196, 92, 224, 120), (28, 28)),
        (ZOOM, [200, 100, 204, 104], (195, 95, 209, 109), (28, 28)),
        (ZOOM, [200, 100, 220, 120], (200, 100, 220, 120), (40, 40)),
    ],
)
def test_tiny_boxes_are_grown_about_their_centre(
    path: str, tool: Any, box: list[int], shown: tuple[int, ...], size: tuple[int, int]
) -> None:
    seen = tool.run({"bbox_2d": box}, View([parse_reference(path)]))
    assert seen.box == shown
    assert load_image(seen.images[0]).size == size


def test_a_tiny_image_is_enlarged(tmp_path: Path) -> None:
    Image.new("RGB", (20, 7)).save(tmp_path / "icon.png")
    seen = CROP.run({"bbox_2d": [1, 1, 5, 5]}, View([parse_reference(str(tmp_path / "icon.png"))]))
    assert seen.box == (0, 0, 20, 7)
    assert load_image(seen.images[0]).size == (80, 28)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(100, 900), st.integers(100, 900)),
    st.integers(3_000, 200_000),
    st.tuples(*[st.floats(0.0, 1.0)] * 4),
    st.sampled_from(list(CoordinateSpace)),
)
def test_boxes_on_a_smaller_picture_are_the_same_places_of_the_original(
    tmp_path_factory: pytest.TempPathFactory,
    size: tuple[int, int],
    most: int,
    at: tuple[float, ...],
    space: CoordinateSpace,
) -> None:
    file = tmp_path_factory.mktemp("small") / "a.png"
    Image.new("RGB", size).save(file)
    ref, rule = parse_reference(str(file)), ResizeRule(28, 56 * 56, 28 * 28 * 200)
    sent = fitted_size(ref, most)
    # what the model's numbers count: pixels of what it was sent, of what its server made of that, or thousandths
    frame = {CoordinateSpace.ABSOLUTE: sent, CoordinateSpace.RESIZED: rule.size(*sent)}.get(space, (1000, 1000))
    (x1, x2), (y1, y2) = sorted(at[:2]), sorted(at[2:])
    box = [x1 * frame[0], y1 * frame[1], x2 * frame[0] + 1, y2 * frame[1] + 1]
    assume(not are_fractions(box) and box[0] < frame[0] - 1 and box[1] < frame[1] - 1)
    assume(20 * min(box[2] - box[0], box[3] - box[1]) > max(box[2] - box[0], box[3] - box[1]))
    view = View([ref], coordinates=space, resize=rule if space is CoordinateSpace.RESIZED else None, most_pixels=most)
    _, found = view.locate(box, 0)
    for value, number, counted, pixels in zip(found, box, (*frame, *frame), (*size, *size), strict=True):
        assert abs(value - min(number, counted) * pixels / counted) <= 1
