"""Reading printed text, with RapidOCR on the CPU."""

from __future__ import annotations

import importlib.util
import threading
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from langgraph_speceyes.errors import ArgumentError, MissingExtraError

DETECTION_SIDE = 736
"""Longer side, in pixels, beyond which the detector scales an image down."""
MIN_SCORE = 0.7
"""Confidence below which a line is dropped: icons read as letters score 0.5 to 0.65, printed text above 0.9."""
MIN_LONE_SCORE = 0.95
"""The same for a line of one character: rings and crosses read as O and x score up to 0.94, printed letters above."""
TILE = 576
"""Side, in pixels, of the parts a large image is searched in when it seems to hold no text."""
MAX_TILES = 3
"""Most parts along each side, whatever the image's size."""
TILE_OVERLAP = 128
LINE_WIDTH = 96
"""Pixels to which the recogniser pads a line, scaled to a height of 48. The engine's own 320 takes twice as long for a
word and reads no better (379 of 400 strings of 1 to 20 characters in 34 fonts; 378 with this), and takes five times as
many icons for text."""
MAX_ASPECT = 40
"""Sides ratio beyond which the shorter side is padded; the engine fails at about 60."""
ROW_TOLERANCE = 10
"""Pixels by which the tops of lines in one row may differ."""


class TextReader(Protocol):
    """What the OCR tool reads with."""

    def read(self, image: Image.Image) -> list[str]:
        """Return the lines of text in an image, in reading order."""


class _Line(NamedTuple):
    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)

    def covered_by(self, other: _Line) -> bool:
        """Whether more than half of this line's area lies in another line."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width > 0 and height > 0 and width * height > 0.5 * self.area


class Reader:
    """Reads printed text. The engine is loaded at the first read, once per process and number of threads.

    Safe to share between threads; reads of one engine run one after the other.

    Args:
        threads: Threads that one read uses. More than one is faster only where cores are idle: they wait for each
            other without sleeping.

    Raises:
        ArgumentError: ``threads`` is not a whole number above 0.
    """

    def __init__(self, threads: int = 1) -> None:
        if type(threads) is not int or threads < 1:
            raise ArgumentError("threads", "a whole number of at least 1", repr(threads))
        self.threads = threads

    def __repr__(self) -> str:
        """Name the setting."""
        return f"Reader(threads={self.threads})"

    @staticmethod
    def check_installed() -> None:
        """Check, without importing them, that the OCR packages are there.

        Raises:
            MissingExtraError: One is missing.
        """
        if any(importlib.util.find_spec(name) is None for name in ("rapidocr", "onnxruntime")):
            raise MissingExtraError("OCR", "ocr")

    def read(self, image: Image.Image) -> list[str]:
        """Read an image.

        Args:
            image: Any size and mode; it is not changed.

        Returns:
            The lines of text in reading order, empty if there is none.

        Raises:
            MissingExtraError: RapidOCR or onnxruntime is not installed.
        """
        engine = _engine(self.threads)
        pixels = np.asarray(image.convert("RGB"))[:, :, ::-1]
        lines = engine.find(pixels)
        if not lines and max(image.size) > DETECTION_SIDE:
            # One small label on a large, even ground escapes the detector; in a part of the image it does not.
            lines = _distinct([line for part in _tiles(pixels) for line in engine.find(*part)])
        return [line.text for line in _in_reading_order(lines)]


class _Engine:
    """A RapidOCR instance and its lock: its per-call switches are sticky and its state is shared."""

    def __init__(self, threads: int) -> None:
        try:
            import onnxruntime  # noqa: F401  # rapidocr does not declare it and fails late without it
            from rapidocr import RapidOCR
        except ImportError as error:
            raise MissingExtraError("OCR", "ocr") from error
        self._lock = threading.Lock()
        self._run: Any = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.text_score": MIN_SCORE,
                "Det.limit_type": "max",
                "Det.limit_side_len": DETECTION_SIDE,
                "Rec.rec_img_shape": [3, 48, LINE_WIDTH],
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def find(self, bgr: NDArray[np.uint8], x: int = 0, y: int = 0) -> list[_Line]:
        """Return the lines of a picture whose top left corner is at (x, y)."""
        padded = _padded(bgr)
        with self._lock:
            result = self._run(padded, use_det=True, use_cls=False, use_rec=True)
        if result.txts is None or result.boxes is None:
            return []
        lines = []
        for text, score, box in zip(result.txts, result.scores, result.boxes, strict=True):
            if _is_printed(text.strip(), score):
                (left, top), (right, bottom) = np.min(box, axis=0), np.max(box, axis=0)
                lines.append(_Line(text.strip(), x + left, y + top, x + right, y + bottom))
        return lines


_ENGINES: dict[int, _Engine] = {}
_ENGINES_LOCK = threading.Lock()


def _engine(threads: int) -> _Engine:
    with _ENGINES_LOCK:
        if threads not in _ENGINES:
            _ENGINES[threads] = _Engine(threads)
        return _ENGINES[threads]


def _is_printed(text: str, score: float) -> bool:
    """Whether a line is text rather than an icon: the recogniser knows stars and squares, and sees rings as letters."""
    if all(unicodedata.category(character) in ("So", "Sm", "Zs") for character in text):
        return False
    return len(text) > 1 or score >= MIN_LONE_SCORE


def _padded(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Widen a thin strip with its own edge, which the engine could not scale otherwise."""
    height, width = bgr.shape[:2]
    least = max(1, max(height, width) // MAX_ASPECT)
    rows, columns = max(0, least - height), max(0, least - width)
    if rows or columns:
        bgr = np.pad(bgr, ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0)), "edge")
    return np.ascontiguousarray(bgr)


def _tiles(bgr: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.uint8], int, int]]:
    height, width = bgr.shape[:2]
    for top, bottom in _spans(height):
        for left, right in _spans(width):
            yield bgr[top:bottom, left:right], left, top


def _spans(side: int) -> list[tuple[int, int]]:
    """Cut one side into overlapping parts of equal length."""
    count = min(MAX_TILES, -(-max(1, side - TILE_OVERLAP) // (TILE - TILE_OVERLAP)))
    length = -(-(side + (count - 1) * TILE_OVERLAP) // count)
    starts = [min(index * (length - TILE_OVERLAP), side - length) for index in range(count)]
    return [(start, start + length) for start in starts]


def _distinct(lines: list[_Line]) -> list[_Line]:
    """Drop what another part of the image shows whole: a line cut by a part's edge lies inside the whole one."""
    kept: list[_Line] = []
    for line in sorted(lines, key=lambda line: line.area, reverse=True):
        if not any(line.covered_by(other) for other in kept):
            kept.append(line)
    return kept


def _in_reading_order(lines: list[_Line]) -> list[_Line]:
    """Order by row, then from left to right."""
    ordered: list[_Line] = []
    row: list[_Line] = []
    for line in sorted(lines, key=lambda line: line.top):
        if row and line.top - row[-1].top >= ROW_TOLERANCE:
            ordered += sorted(row, key=lambda line: line.left)
            row = []
        row.append(line)
    return ordered + sorted(row, key=lambda line: line.left)
