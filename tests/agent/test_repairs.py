from __future__ import annotations

import ast
import gc
import textwrap
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.agent.repairs import (
    LEAST_SIDE,
    inside_box,
    repaired,
    with_boxes_inside,
    with_indent,
    with_opencv,
    with_paths,
)

PATH, FOLDER = "/mnt/data/image.png", "/mnt/data/temp_processed_images"
SIZE = (400, 300)


def boxed(code: str) -> str:
    return with_boxes_inside(code, [PATH], lambda: SIZE)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("    x = 1\n    y = 2", "x = 1\ny = 2"),
        ("  x = 1\ny = 2", "x = 1\ny = 2"),
        ("x = 1\n    y = 2\n    z = 3", "x = 1\ny = 2\nz = 3"),
        ("\tif x:\n\t\ty = 2", "if x:\n        y = 2"),
        ("\n\nx = 1\n", "x = 1"),
        ("def f(:\n  x", "def f(:\n  x"),
    ],
)
def test_indent(code: str, expected: str) -> None:
    assert with_indent(code) == expected


@given(st.integers(0, 12), st.sampled_from(["x = 1\nfor i in y:\n    z = i", 'a = """\n  text\n"""', "x"]))
def test_code_that_is_indented_as_a_whole_is_the_code(width: int, code: str) -> None:
    found = with_indent(textwrap.indent(code, " " * width))
    assert ast.dump(ast.parse(found)).count("Assign") == code.count("=")
    assert with_indent(code) == code


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a = cv.imread(p)\nb = cv4.resize(a, (2, 2))", "a = cv2.imread(p)\nb = cv2.resize(a, (2, 2))"),
        ("import cv2 as cv\na = cv.imread(p)", "import cv2 as cv\na = cv.imread(p)"),
        ("cv = load()\ncv.show()", "cv = load()\ncv.show()"),
        ("def f(cv):\n    return cv.x", "def f(cv):\n    return cv.x"),
        ('x = "cv.imread"  # cv.imread', 'x = "cv.imread"  # cv.imread'),
        ("self.cv.run()", "self.cv.run()"),
        ('é = "é"; a = cv.b; c = cv.d', 'é = "é"; a = cv2.b; c = cv2.d'),
    ],
)
def test_opencv(code: str, expected: str) -> None:
    assert with_opencv(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('Image.open("street.jpg")', f"Image.open({PATH!r})"),
        ('cv2.imread("/home/me/a.png", 1)', f"cv2.imread({PATH!r}, 1)"),
        ('image_path = "x.png"\nImage.open(image_path)', f"image_path = {PATH!r}\nImage.open(image_path)"),
        (f'Image.open("{PATH}")', f'Image.open("{PATH}")'),
        (f'Image.open("{FOLDER}/crop.png")', f'Image.open("{FOLDER}/crop.png")'),
        ('open("notes.txt")', 'open("notes.txt")'),
        ('out_path = "x.png"', 'out_path = "x.png"'),
        ("Image.open(name)", "Image.open(name)"),
        ('Image.open("/tmp/crop.png")', 'Image.open("/tmp/crop.png")'),
        ('a.save("c.png")\nImage.open("c.png")', 'a.save("c.png")\nImage.open("c.png")'),
        ('out = "c.png"\na.save(out)\ncv2.imread("c.png")', 'out = "c.png"\na.save(out)\ncv2.imread("c.png")'),
        ('a = Image.open("x.png")\nb = Image.open("x.png")', f"a = Image.open({PATH!r})\nb = Image.open({PATH!r})"),
    ],
)
def test_paths(code: str, expected: str) -> None:
    assert with_paths(code, [PATH], FOLDER) == expected


def test_a_path_that_an_earlier_block_wrote_is_its_own() -> None:
    code = "Image.open('crop.png').size"
    assert with_paths(code, [PATH], FOLDER, ["a = 1", "image.save('crop.png')", "1 +"]) == code
    assert with_paths(code, [PATH], FOLDER, ["image.save('other.png')"]) == f"Image.open({PATH!r}).size"


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ("(10, 20, 500, 200)", "(10, 20, 400, 200)"),
        ("(-5, -5, 100, 100)", "(0, 0, 100, 100)"),
        ("(100, 100, 110, 110)", "(73, 73, 137, 137)"),
        ("(395, 295, 399, 299)", "(336, 236, 400, 300)"),
        ("[300, 200, 100, 100]", "[100, 100, 300, 200]"),
        ("(0, 0, 100.5, 100)", "(0, 0, 100.5, 100)"),
        ("(a, 0, 10, 10)", "(a, 0, 10, 10)"),
        ("(1, 2, 3)", "(1, 2, 3)"),
    ],
)
def test_boxes(box: str, expected: str) -> None:
    opened = "image = Image.open(image_path)\n"
    assert boxed(f"{opened}image.crop({box})") == f"{opened}image.crop({expected})"
    assert boxed(f"{opened}box = {box}\nimage.crop(box)") == f"{opened}box = {expected}\nimage.crop(box)"
    assert boxed(f"Image.open('{PATH}').crop(box={box})") == f"Image.open('{PATH}').crop(box={expected})"


@pytest.mark.parametrize(
    "code",
    [
        # of another image, or of one that is not known
        "image = Image.open(image_path)\nimage = image.resize((9, 9))\nimage.crop((0, 0, 3, 3))",
        "other.crop((0, 0, 3, 3))",
        "image = Image.open(image_path)\nimage.rotate(90).crop((0, 0, 3, 3))",
        "image = Image.open(image_path)\nbox = (0, 0, 3, 3)\nbox = (1, 1, 3, 3)\nimage.crop(box)",
        "image_path = f()\nImage.open(image_path).crop((0, 0, 3, 3))",
    ],
)
def test_boxes_of_other_images_stay(code: str) -> None:
    assert boxed(code) == code


@given(st.tuples(*[st.integers(-1000, 3000)] * 4), st.tuples(st.integers(1, 2000), st.integers(1, 2000)))
def test_a_box_inside_is_in_the_image_and_large_enough(box: Any, size: tuple[int, int]) -> None:
    left, top, right, bottom = inside_box(box, size)
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    assert right - left >= min(LEAST_SIDE, size[0])
    assert bottom - top >= min(LEAST_SIDE, size[1])
    assert inside_box((left, top, right, bottom), size) == (left, top, right, bottom)


def test_the_size_is_asked_for_only_where_there_is_a_box() -> None:
    def size() -> tuple[int, int]:
        raise AssertionError

    assert repaired("print(1)", [PATH], FOLDER, size) == "print(1)"


@given(st.text(alphabet=" \t\n\r\f()[]'\"\\=:.,#cv4Image.opené0123456789", max_size=200) | st.text(max_size=200))
def test_whatever_the_code_it_is_repaired_once_and_for_all(code: str) -> None:
    once = repaired(code, [PATH], FOLDER, lambda: SIZE)
    assert repaired(once, [PATH], FOLDER, lambda: SIZE) == once


def test_repairs_take_time_that_is_linear_in_the_code() -> None:
    def seconds(lines: int) -> float:
        code = "image = Image.open('x.png')\n" + "a = cv.f(image.crop((0, 0, 3, 3)))\n" * lines
        took = []
        for _ in range(3):
            began = time.thread_time()
            assert "cv2" in repaired(code, [PATH], FOLDER, lambda: SIZE)
            took.append(time.thread_time() - began)
        return min(took)

    seconds(10)
    # what other tests have left in memory is not to be searched for rubbish here
    gc.disable()
    try:
        # 8 times the work may take 8 times as long, and the square of it 64 times
        assert seconds(400) < 30 * seconds(50) + 0.05
    finally:
        gc.enable()
