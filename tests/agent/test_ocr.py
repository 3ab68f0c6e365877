from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from langgraph_speceyes.agent import Reader, create_visual_agent
from langgraph_speceyes.agent import ocr as ocr_module
from langgraph_speceyes.agent.ocr import _distinct, _in_reading_order, _is_printed, _Line, _spans
from langgraph_speceyes.errors import ArgumentError, MissingExtraError


def rendered(size: tuple[int, int], *texts: tuple[str, int, tuple[int, int]], ground: str = "white") -> Image.Image:
    image = Image.new("RGB", size, ground)
    pen = ImageDraw.Draw(image)
    for text, pixels, at in texts:
        pen.text(at, text, fill=(15, 15, 15), font=ImageFont.load_default(pixels))
    return image


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.mark.parametrize("word", ["BRAVO", "Gate B7", "KETTLE", "EXIT 12"])
def test_small_print(reader: Reader, word: str) -> None:
    assert reader.read(rendered((90, 24), (word, 9, (8, 6)))) == [word]


def test_lines_in_reading_order(reader: Reader) -> None:
    image = rendered(
        (360, 120), ("Second line", 20, (10, 70)), ("right", 20, (240, 9)), ("Hello", 20, (10, 14)), ground="#dddddd"
    )
    assert reader.read(image) == ["Hello", "right", "Second line"]


@pytest.mark.parametrize("pixels", [14, 34])
def test_one_label_on_a_large_plain_ground(reader: Reader, pixels: int) -> None:
    assert reader.read(rendered((1152, 1152), ("KIOSK 42", pixels, (691, 806)))) == ["KIOSK 42"]


def test_no_text(reader: Reader) -> None:
    assert reader.read(Image.new("RGB", (200, 100), "gray")) == []
    assert reader.read(Image.new("L", (1, 1))) == []


def test_thin_strips(reader: Reader) -> None:
    assert reader.read(Image.new("RGB", (3000, 2), "white")) == []
    assert reader.read(Image.new("RGB", (2, 3000), "white")) == []
    line = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG"
    assert reader.read(rendered((700, 18), (line, 13, (3, 1)))) == [line]


def test_icons_are_no_text(reader: Reader) -> None:
    image = rendered((576, 576), ("HOTEL", 34, (300, 400)), ground="#a0a8a0")
    pen = ImageDraw.Draw(image)
    pen.rectangle((60, 60, 160, 160), fill="#dc2828")
    pen.regular_polygon((400, 120, 60), 3, fill="#2850dc")
    pen.ellipse((60, 300, 140, 380), outline="#f5f5f5", width=14)
    pen.polygon(
        [(x + 100, y + 480) for x, y in ((0, -50), (15, -15), (50, -15), (22, 8), (32, 45), (0, 22))]
        + [(x + 100, y + 480) for x, y in ((-32, 45), (-22, 8), (-50, -15), (-15, -15))],
        fill="#ebd228",
    )
    assert reader.read(image) == ["HOTEL"]


@pytest.mark.parametrize("character", ["7", "A", "X"])
def test_one_printed_character(reader: Reader, character: str) -> None:
    assert reader.read(rendered((160, 100), (character, 24, (40, 20)))) == [character]


def test_what_counts_as_printed() -> None:
    assert [_is_printed(text, 0.9) for text in ("★", "■ ▲", "+", "O", "x", "")] == [False] * 6
    assert [_is_printed(text, 0.9) for text in ("OK", "A+", "-3", "$5", "★ ECHO")] == [True] * 5
    assert _is_printed("7", 0.99)


def test_other_modes_and_the_image_itself(reader: Reader) -> None:
    image = rendered((160, 40), ("MOTOR", 16, (20, 10))).convert("L")
    before = image.tobytes()
    assert reader.read(image) == ["MOTOR"]
    assert image.tobytes() == before


def test_many_threads_share_one_engine(reader: Reader) -> None:
    words = ["ALPHA", "DELTA", "ZEBRA", "NIGHT"]
    images = [rendered((160, 40), (word, 16, (20, 10))) for word in words]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(Reader(reader.threads).read, images * 2)) == [[word] for word in words * 2]
    assert ocr_module._engine(reader.threads) is ocr_module._engine(reader.threads)


def test_the_engine_gets_blue_first(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    class Engine:
        def find(self, bgr: Any) -> list[Any]:
            given.append(bgr[0, 0].tolist())
            return []

    monkeypatch.setitem(ocr_module._ENGINES, 9, Engine())
    assert Reader(threads=9).read(Image.new("RGB", (20, 20), (1, 2, 3))) == []
    assert given == [[3, 2, 1]]


def test_parts_cover_an_image_and_overlap() -> None:
    for side in (737, 900, 1152, 4000):
        spans = _spans(side)
        assert spans[0][0] == 0
        assert spans[-1][1] == side
        assert all(before[1] - after[0] >= 100 for before, after in pairwise(spans))
        assert len(spans) <= 3


def test_a_line_seen_twice_counts_once() -> None:
    whole, cut, other = _Line("KIOSK", 0, 0, 50, 10), _Line("KIO", 0, 1, 30, 10), _Line("B", 0, 30, 10, 40)
    assert _in_reading_order(_distinct([other, cut, whole])) == [whole, other]


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_bad_threads(threads: object) -> None:
    with pytest.raises(ArgumentError, match="threads"):
        Reader(threads)  # type: ignore[arg-type]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, scripted: object) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingExtraError, match=r"langgraph-speceyes\[ocr\]"):
        Reader(threads=7).read(Image.new("RGB", (9, 9)))
    monkeypatch.setattr(ocr_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="OCR"):
        create_visual_agent(scripted("red"))  # type: ignore[operator]
    create_visual_agent(scripted("red"), tools=("crop",))  # type: ignore[operator]


def test_importing_the_agent_loads_no_engine() -> None:
    heavy = "('rapidocr', 'onnxruntime', 'cv2', 'torch', 'transformers')"
    code = f"import sys, langgraph_speceyes.agent; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
