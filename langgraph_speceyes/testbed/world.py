"""The embedded world: boards of icons and printed labels, from clearly visible to too small for the overview.

A board has 6 x 6 cells, named as on a chess board: column a to f from the left, row 1 to 6 from the top. Large icons
sit in the middle of their cell; tiny ones at a quarter of it, a pixel or two wide in the speculator's overview: that
something is there shows, what it is does not. A crowd is a cell of six specks, half as wide again, which look in a
quarter of the board as the tiny ones do in the overview, and can be told in a crop of their cell. All shapes cover the
same area at the same size and the ground is grained, so that brightness does not give a tiny shape away. A label is a
white card whose word can be read only at the board's own resolution. The ground is lit from two sides, redder to the
right and bluer downwards: its colour tells where on the board a region was cut out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GRID = 6
"""Cells along each side of a board."""
QUARTERS = 4
"""Quarters of a board, in reading order: the regions a teacher looks at."""
COLUMNS, ROWS = "abcdef", "123456"

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (40, 80, 220),
    "yellow": (235, 210, 40),
    "purple": (150, 50, 190),
    "orange": (240, 130, 30),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
}
POPULARITY = {
    "circle": 2.0,
    "square": 2.0,
    "triangle": 1.5,
    "star": 1.5,
    "cross": 1.0,
    "ring": 1.0,
    "moon": 1.0,
    "heart": 1.0,
}
"""How often a shape is put on a board, relative to the others."""
SHAPES = tuple(POPULARITY)
COMPANIONS = {
    "circle": "ring",
    "square": "cross",
    "triangle": "star",
    "moon": "heart",
    "ring": "circle",
    "cross": "square",
    "star": "triangle",
    "heart": "moon",
}
"""The shape that likes to be on the same board: twice as likely once its companion is there."""
WORDS = (
    *("ALPHA", "BRAVO", "DELTA", "ECHO", "GAMMA", "HOTEL", "INDIA", "KILO"),
    *("LIMA", "METRO", "NORTH", "OSCAR", "PAPA", "QUEBEC", "ROMEO", "SIERRA"),
    *("TANGO", "ULTRA", "VICTOR", "ZEBRA", "APPLE", "BREAD", "CANDY", "DANGER"),
    *("EXIT", "FRAGILE", "GLASS", "HEAVY", "ISLAND", "JUICE", "KETTLE", "LEMON"),
    *("MOTOR", "NIGHT", "OCEAN", "PAPER", "RIVER", "SUGAR", "TIGER", "WATER"),
)

Size = Literal["large", "small", "speck"]
CROWD = 6
"""Specks in a crowd, each of a shape and a colour of its own."""
_TILT, _GRAIN, _GRAINS = 45, 7, 96


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        kind: A shape of ``SHAPES``, or ``"label"``.
        colour: A key of ``COLOURS``; labels are white.
        cell: Index of its cell, in reading order.
        x, y: Centre, in cells from the board's top left corner.
        radius: Of the circle with the same area, in cells; half of a label's width.
        size: ``"small"``: the overview shows that something is there, not what it is. ``"speck"``: so does a quarter.
        text: What a label says, else empty.
    """

    kind: str
    colour: str
    cell: int
    x: float
    y: float
    radius: float
    size: Size
    text: str = ""

    @property
    def column(self) -> int:
        """Column of its cell, 0 to 5 from the left."""
        return self.cell % GRID

    @property
    def row(self) -> int:
        """Row of its cell, 0 to 5 from the top."""
        return self.cell // GRID

    @property
    def quarter(self) -> int:
        """Index in reading order of the quarter of the board that holds it."""
        return self.row // (GRID // 2) * 2 + self.column // (GRID // 2)

    @property
    def place(self) -> str:
        """Name of its cell, such as ``c4``."""
        return COLUMNS[self.column] + ROWS[self.row]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """What encloses it, in cells: left, top, right, bottom."""
        if self.kind == "label":
            across, down = self.radius, self.radius * _CARD
            return self.x - across, self.y - down, self.x + across, self.y + down
        corners = outline(self.kind, self.radius)
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        return self.x + min(xs), self.y + min(ys), self.x + max(xs), self.y + max(ys)


@dataclass(frozen=True)
class Scene:
    """A board: its seed, its objects and the shade of its ground."""

    seed: str
    things: tuple[Thing, ...]
    shade: int

    def find(self, kind: str) -> Thing | None:
        """The object of that kind, or None; no kind occurs twice on a board."""
        return next((t for t in self.things if t.kind == kind), None)

    def icons(self, size: Size | None = None) -> list[Thing]:
        """The objects that are no labels, all or those of a size."""
        return [t for t in self.things if t.kind != "label" and size in (None, t.size)]

    @property
    def crowd(self) -> Thing | None:
        """One of the specks of the crowd, whose cell is the crowd's; None if there is no crowd."""
        return next((t for t in self.things if t.size == "speck"), None)

    def render(self, cell: int = 192, only: int | None = None) -> Image.Image:
        """Draw the board, or one cell of it.

        Args:
            cell: Pixels along a cell; the board is ``6 * cell`` pixels wide and high.
            only: Index of the cell to draw, in reading order, as if cut out of the board.

        Returns:
            An RGB image.
        """
        row, column = divmod(only or 0, GRID)
        size = GRID if only is None else 1
        image = _ground(self.seed, self.shade, (column, row, column + size, row + size), size * cell)
        pen = ImageDraw.Draw(image)
        for thing in self.things:
            if only not in (None, thing.cell):
                continue
            x, y, r = (thing.x - column) * cell, (thing.y - row) * cell, thing.radius * cell
            if thing.kind == "label":
                _draw_label(pen, thing.text, x, y, r)
                continue
            shape = [(x + dx, y + dy) for dx, dy in outline(thing.kind, r)]
            pen.polygon(shape, fill=COLOURS[thing.colour])
        return image


def make_scene(
    seed: str | int,
    *,
    large: tuple[int, int] = (2, 3),
    small: tuple[int, int] = (4, 5),
    label_share: float = 0.3,
    crowd: bool = False,
) -> Scene:
    """Draw a scene from its seed.

    Args:
        seed: Anything with a stable text; the same seed gives the same scene in every process.
        large: Lowest and highest number of large icons.
        small: Lowest and highest number of small icons.
        label_share: Share of scenes that hold a label.
        crowd: Whether a cell holds a crowd, which takes six of the eight shapes.

    Returns:
        A scene whose icons all have different shapes.
    """
    rng = random.Random(f"scene {seed}")
    n_large = rng.randint(*large)
    n_small = min(rng.randint(*small), len(SHAPES) - n_large)
    with_label = rng.random() < label_share
    shapes = _some_shapes(rng, n_large + n_small)
    cells = rng.sample(range(GRID * GRID), n_large + n_small + with_label)
    things: list[Thing] = []
    for k, (shape, cell) in enumerate(zip(shapes, cells, strict=False)):
        row, column = divmod(cell, GRID)
        colour = rng.choice(list(COLOURS))
        if k < n_large:
            x, y = column + 0.5 + rng.uniform(-0.06, 0.06), row + 0.5 + rng.uniform(-0.06, 0.06)
            things.append(Thing(shape, colour, cell, x, y, rng.uniform(0.25, 0.31), "large"))
        else:
            # a quarter of a cell off its centre: the middle of a visual token once the quarter is enlarged twice
            x = column + rng.choice((0.25, 0.75)) + rng.uniform(-0.03, 0.03)
            y = row + rng.choice((0.25, 0.75)) + rng.uniform(-0.03, 0.03)
            things.append(Thing(shape, colour, cell, x, y, rng.uniform(0.06, 0.075), "small"))
    if with_label:
        row, column = divmod(cells[-1], GRID)
        x, y = column + 0.5 + rng.uniform(-0.04, 0.04), row + 0.5 + rng.uniform(-0.06, 0.06)
        things.append(Thing("label", "white", cells[-1], x, y, 0.44, "small", rng.choice(WORDS)))
    if crowd:
        things += _crowd(rng, [s for s in SHAPES if s not in shapes], {t.cell for t in things})
    return Scene(str(seed), tuple(things), rng.randint(120, 175))


def _crowd(rng: random.Random, shapes: list[str], taken: set[int]) -> list[Thing]:
    """Specks of different shapes and colours in a free cell: no two are neighbours among its 6 x 6 parts."""
    cell = rng.choice([c for c in range(GRID * GRID) if c not in taken])
    row, column = divmod(cell, GRID)
    while True:
        # a part is what a visual token shows of a crop of the cell
        parts = [divmod(part, GRID) for part in rng.sample(range(GRID * GRID), CROWD)]
        if all(max(abs(a - c), abs(b - d)) > 1 for k, (a, b) in enumerate(parts) for c, d in parts[:k]):
            break
    things = []
    for shape, colour, (down, across) in zip(
        rng.sample(shapes, CROWD), rng.sample(list(COLOURS), CROWD), parts, strict=True
    ):
        x = column + (across + 0.5 + rng.uniform(-0.08, 0.08)) / GRID
        y = row + (down + 0.5 + rng.uniform(-0.08, 0.08)) / GRID
        things.append(Thing(shape, colour, cell, x, y, rng.uniform(0.03, 0.0375), "speck"))
    return things


def _some_shapes(rng: random.Random, count: int) -> list[str]:
    """Different shapes, by popularity and by the company already there, in random order."""
    found: list[str] = []
    while len(found) < count:
        rest = [s for s in SHAPES if s not in found]
        weights = [POPULARITY[s] * (2.0 if COMPANIONS[s] in found else 1.0) for s in rest]
        found += rng.choices(rest, weights)
    rng.shuffle(found)
    return found


def _ground(seed: str, shade: int, cells: tuple[int, int, int, int], side: int) -> Image.Image:
    """The grained ground of some cells (left, top, right, bottom): redder to the right, bluer downwards."""
    grain = np.frombuffer(random.Random(f"grain {seed}").randbytes(_GRAINS * _GRAINS), np.uint8)
    level = shade + (grain.reshape(_GRAINS, _GRAINS) / 255.0 - 0.5) * 2 * _GRAIN
    ramp = ((np.arange(_GRAINS) + 0.5) / _GRAINS - 0.5) * 2 * _TILT
    pixels = np.stack([level + ramp[None, :], level, level + ramp[:, None]], axis=-1)
    whole = Image.fromarray(pixels.round().astype(np.uint8))
    left, top, right, bottom = (c * (_GRAINS // GRID) for c in cells)
    return whole.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, right, bottom))


@lru_cache(maxsize=len(SHAPES))
def _unit(shape: str) -> tuple[tuple[float, float], ...]:
    """Corners of a shape with the area of the unit circle, around its centre."""
    corners = _corners(shape)
    area = 0.5 * abs(sum(x * v - u * y for (x, y), (u, v) in zip(corners, corners[1:] + corners[:1], strict=True)))
    scale = math.sqrt(math.pi / area)
    return tuple((x * scale, y * scale) for x, y in corners)


def _corners(shape: str) -> list[tuple[float, float]]:
    def arc(radius: float, begin: float, end: float, x: float = 0.0, steps: int = 24) -> list[tuple[float, float]]:
        turns = [math.radians(begin + (end - begin) * k / steps) for k in range(steps + 1)]
        return [(x + radius * math.cos(a), radius * math.sin(a)) for a in turns]

    if shape == "circle":
        return arc(1, 0, 345, steps=23)
    if shape == "square":
        return [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    if shape == "triangle":
        return [(0, -1.1), (1.15, 0.9), (-1.15, 0.9)]
    if shape == "star":
        turns = [(-math.pi / 2 + k * math.pi / 5, 1.0 if k % 2 == 0 else 0.42) for k in range(10)]
        return [(q * math.cos(a), q * math.sin(a)) for a, q in turns]
    if shape == "cross":
        w = 0.3
        half = [(-w, -1.0), (w, -1.0), (w, -w), (1.0, -w), (1.0, w), (w, w)]
        return half + [(-x, -y) for x, y in half]
    if shape == "ring":
        # the hole is joined to the outside by a cut of no width
        return arc(1, 0, 360) + arc(0.62, 360, 0)
    if shape == "moon":
        # two arcs that meet: the outer one around the left, the inner one back through the middle
        return [(x + 0.25, y) for x, y in arc(1, 60, 300) + arc(0.9216, 250, 110, 0.835)]
    if shape == "heart":
        curve = [math.tau * k / 36 for k in range(36)]
        xy = [
            (16 * math.sin(a) ** 3, -13 * math.cos(a) + 5 * math.cos(2 * a) + 2 * math.cos(3 * a) + math.cos(4 * a))
            for a in curve
        ]
        return [(x / 16, (y - 1.0) / 16) for x, y in xy]
    raise ValueError(f"shape: expected one of {', '.join(SHAPES)}, found {shape!r}")


def outline(shape: str, radius: float) -> Sequence[tuple[float, float]]:
    """Corners of a shape around its centre, scaled to the area of a circle of that radius."""
    return [(x * radius, y * radius) for x, y in _unit(shape)]


_CARD = 0.42
"""Height of a label's card relative to its width."""


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _draw_label(pen: ImageDraw.ImageDraw, text: str, x: float, y: float, r: float) -> None:
    pen.rectangle([x - r, y - r * _CARD, x + r, y + r * _CARD], fill=(250, 250, 250), outline=(60, 60, 60))
    pen.text((x, y), text, fill=(15, 15, 15), font=_font(max(6, round(r * 0.40))), anchor="mm")
