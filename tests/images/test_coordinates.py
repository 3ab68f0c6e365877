"""Boxes between coordinate spaces."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from langgraph_speceyes.errors import ArgumentError, ImageError, ToolInputError
from langgraph_speceyes.images import CoordinateSpace, from_pixels, resized_size, to_pixels

SIZES = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))
NUMBERS = st.one_of(st.integers(-30_000, 30_000), st.floats(-30_000, 30_000, allow_nan=False))
SPACES = st.sampled_from(list(CoordinateSpace))


@st.composite
def pixel_boxes(draw: st.DrawFn, size: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
    return left, top, draw(st.integers(left + 1, size[0])), draw(st.integers(top + 1, size[1]))


@given(st.data(), SIZES, SIZES, SPACES)
def test_a_pixel_box_survives_the_round_trip(
    data: st.DataObject, original: tuple[int, int], resized: tuple[int, int], space: CoordinateSpace
) -> None:
    box = data.draw(pixel_boxes(original))
    there = from_pixels(box, space=space, original=original, resized=resized)
    back = to_pixels(list(there), space=space, original=original, resized=resized)
    assert back == box


@given(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), SIZES, SIZES, SPACES)
def test_the_result_is_always_inside_and_never_empty(
    box: tuple[float, float, float, float],
    original: tuple[int, int],
    resized: tuple[int, int],
    space: CoordinateSpace,
) -> None:
    width, height = {"absolute": original, "resized": resized, "relative_1000": (1000, 1000)}[space]
    touches = box[0] < box[2] and box[1] < box[3] and box[0] < width and box[1] < height and min(box[2:]) > 0
    if not touches:
        with pytest.raises(ToolInputError):
            to_pixels(box, space=space, original=original, resized=resized)
        return
    left, top, right, bottom = to_pixels(box, space=space, original=original, resized=resized)
    assert 0 <= left < right <= original[0]
    assert 0 <= top < bottom <= original[1]


@given(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), SPACES)
def test_an_inverted_box_is_always_refused(box: tuple[float, float, float, float], space: CoordinateSpace) -> None:
    assume(box[2] <= box[0] or box[3] <= box[1])
    with pytest.raises(ToolInputError, match="x1 < x2 and y1 < y2"):
        to_pixels(box, space=space, original=(640, 480), resized=(320, 240))


@pytest.mark.parametrize(
    ("space", "box", "expected"),
    [
        ("absolute", [10, 20, 30, 40], (10, 20, 30, 40)),
        ("absolute", [10.2, 20.9, 30.1, 40.0], (10, 20, 31, 40)),
        ("absolute", [-5, -5, 9999, 9999], (0, 0, 2000, 1000)),
        ("resized", [50, 50, 100, 100], (100, 100, 200, 200)),
        ("relative_1000", (0, 0, 1000, 1000), (0, 0, 2000, 1000)),
        ("relative_1000", [333, 333, 334, 334], (666, 333, 668, 334)),
        ("absolute", [2000 - 1e-8, 0, 2000, 1], (1999, 0, 2000, 1)),
        ("absolute", [1999.5, 0, 1999.6, 0.1], (1999, 0, 2000, 1)),
    ],
)
def test_known_boxes(space: str, box: list[float], expected: tuple[int, int, int, int]) -> None:
    assert to_pixels(box, space=space, original=(2000, 1000), resized=(1000, 500)) == expected


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ("1,2,3,4", "list of four numbers"),
        (None, "list of four numbers"),
        ({"x1": 1}, "list of four numbers"),
        ([1, 2, 3], "got 3"),
        ([1, 2, 3, 4, 5], "got 5"),
        ([1, "2", 3, 4], "y1 of the box must be a number, got str"),
        ([True, 2, 3, 4], "x1 of the box must be a number, got bool"),
        ([1, 2, None, 4], "x2 of the box must be a number"),
        ([1, 2, math.inf, 4], "x2 of the box must be a finite"),
        ([1, 2, 3, math.nan], "y2 of the box must be a finite"),
        ([1, 2, 3, 10**400], "y2 of the box must be a finite"),
        ([3, 3, 3, 4], "x1 < x2"),
        ([4, 2, 3, 4], "x1 < x2"),
        ([200, 2, 300, 4], r"\[200, 2, 300, 4\] lies outside the image.*0 to 100 for x and 0 to 50"),
        ([1, -9, 3, -4], "outside"),
        ([100, 2, 300, 4], "outside"),
    ],
)
def test_unusable_boxes_say_what_to_change(box: object, text: str) -> None:
    with pytest.raises(ToolInputError, match=text):
        to_pixels(box, space="absolute", original=(100, 50))


def test_arguments_that_are_not_the_models_fault() -> None:
    with pytest.raises(ArgumentError, match="space"):
        to_pixels([0, 0, 1, 1], space="percent", original=(100, 50))
    with pytest.raises(ArgumentError, match="resized"):
        to_pixels([0, 0, 1, 1], space="resized", original=(100, 50))
    with pytest.raises(ArgumentError, match="original"):
        to_pixels([0, 0, 1, 1], space="absolute", original=(0, 50))


def _reference_smart_resize(height: int, width: int, factor: int, low: int, high: int) -> tuple[int, int]:
    # The rule as the Qwen2-VL image processor states it.
    h_bar, w_bar = round(height / factor) * factor, round(width / factor) * factor
    if h_bar * w_bar > high:
        beta = math.sqrt((height * width) / high)
        h_bar = max(factor, math.floor(height / beta / factor) * factor)
        w_bar = max(factor, math.floor(width / beta / factor) * factor)
    elif h_bar * w_bar < low:
        beta = math.sqrt(low / (height * width))
        h_bar = math.ceil(height * beta / factor) * factor
        w_bar = math.ceil(width * beta / factor) * factor
    return h_bar, w_bar


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from([28, 32]))
def test_resized_size_follows_qwens_rule(width: int, height: int, factor: int) -> None:
    assume(max(width, height) <= 200 * min(width, height))
    low, high = 4 * factor**2, 1280 * factor**2
    got = resized_size(width, height, factor=factor, min_pixels=low, max_pixels=high)
    assert got == _reference_smart_resize(height, width, factor, low, high)[::-1]
    assert got[0] % factor == got[1] % factor == 0
    assert got[0] * got[1] >= low


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080), (1316, 728)), ((100, 100), (112, 112)), ((28, 28), (56, 56)), ((5600, 28), (5600, 28))],
)
def test_known_resized_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized_size(*size, factor=28, min_pixels=3136, max_pixels=1_003_520) == expected


def test_resized_size_refuses_slivers_and_bad_limits() -> None:
    with pytest.raises(ImageError, match="200"):
        resized_size(2001, 10, factor=28, min_pixels=3136, max_pixels=1_003_520)
    with pytest.raises(ArgumentError, match="width"):
        resized_size(0, 10, factor=28, min_pixels=1, max_pixels=1000)
    with pytest.raises(ArgumentError, match="max_pixels"):
        resized_size(10, 10, factor=28, min_pixels=100, max_pixels=10)
