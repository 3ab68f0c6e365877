"""The embedded world: boards of icons and printed labels, from clearly visible to too small for the overview.

A board has 6 x 6 cells. Large icons sit in the middle of their cell; small ones at a quarter of it, a few pixels wide
once the board is scaled to the 192 px overview: their colour shows, their shape does not. A printed label is a white
card whose word can be read only at the board's own resolution.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

GRID = 6
"""Cells along each side of a board."""
QUARTERS = 4
"""Quarters of a board, in reading order: the regions a teacher looks at."""

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
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
WORDS = (
    *("ALPHA", "BRAVO", "DELTA", "ECHO", "GAMMA", "HOTEL", "INDIA", "KILO"),
    *("LIMA", "METRO", "NORTH", "OSCAR", "PAPA", "QUEBEC", "ROMEO", "SIERRA"),
    *("TANGO", "ULTRA", "VICTOR", "ZEBRA", "APPLE", "BREAD", "CANDY", "DANGER"),
    *("EXIT", "FRAGILE", "GLASS", "HEAVY", "ISLAND", "JUICE", "KETTLE", "LEMON"),
    *("MOTOR", "NIGHT", "OCEAN", "PAPER", "RIVER", "SUGAR", "TIGER", "WATER"),
)

Size = Literal["large", "small"]


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        kind: A shape of ``SHAPES``, or ``"label"``.
        colour: A key of ``COLOURS``; labels are white.
        cell: Index of its cell, in reading order.
        x, y: Centre, in cells from the board's top left corner.
        radius: Half of its extent, in cells.
        size: ``"small"``: the overview shows that something is there, not what it is.
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
    def quarter(self) -> int:
        """Index in reading order of the quarter of the board that holds it."""
        row, column = divmod(self.cell, GRID)
        return row // (GRID // 2) * 2 + column // (GRID // 2)


@dataclass(frozen=True)
class Scene:
    """A board: its seed, its objects and the shade of its ground."""

    seed: str
    things: tuple[Thing, ...]
    ground: tuple[int, int, int]
    tilt: int

    def find(self, kind: str) -> Thing | None:
        """The object of that kind, or None; no kind occurs twice on a board."""
        return next((t for t in self.things if t.kind == kind), None)

    def render(self, cell: int = 192) -> Image.Image:
        """Draw the board.

        Args:
            cell: Pixels along a cell; the image is ``6 * cell`` pixels wide and high.

        Returns:
            An RGB image.
        """
        image = _ground(self.ground, self.tilt, GRID * cell)
        pen = ImageDraw.Draw(image)
        for thing in self.things:
            x, y, r = thing.x * cell, thing.y * cell, thing.radius * cell
            if thing.kind == "label":
                _draw_label(pen, thing.text, x, y, r)
            else:
                _draw_icon(pen, thing.kind, COLOURS[thing.colour], x, y, r)
        return image


def make_scene(
    seed: str | int, *, large: tuple[int, int] = (1, 2), small: tuple[int, int] = (3, 4), label_share: float = 0.5
) -> Scene:
    """Draw a scene from its seed.

    Args:
        seed: Anything with a stable text; the same seed gives the same scene in every process.
        large: Lowest and highest number of large icons.
        small: Lowest and highest number of small icons.
        label_share: Share of scenes that hold a label.

    Returns:
        A scene whose icons all have different shapes.
    """
    rng = random.Random(f"scene {seed}")
    n_large = rng.randint(*large)
    n_small = min(rng.randint(*small), len(SHAPES) - n_large)
    with_label = rng.random() < label_share
    shapes = rng.sample(SHAPES, n_large + n_small)
    cells = rng.sample(range(GRID * GRID), n_large + n_small + with_label)
    things: list[Thing] = []
    for k, (shape, cell) in enumerate(zip(shapes, cells, strict=False)):
        row, column = divmod(cell, GRID)
        colour = rng.choice(list(COLOURS))
        if k < n_large:
            x, y = column + 0.5 + rng.uniform(-0.06, 0.06), row + 0.5 + rng.uniform(-0.06, 0.06)
            things.append(Thing(shape, colour, cell, x, y, rng.uniform(0.29, 0.41), "large"))
        else:
            # a quarter of a cell off its centre: the middle of a visual token once the quarter is enlarged twice
            x = column + rng.choice((0.25, 0.75)) + rng.uniform(-0.03, 0.03)
            y = row + rng.choice((0.25, 0.75)) + rng.uniform(-0.03, 0.03)
            things.append(Thing(shape, colour, cell, x, y, rng.uniform(0.045, 0.09), "small"))
    if with_label:
        row, column = divmod(cells[-1], GRID)
        x, y = column + 0.5 + rng.uniform(-0.04, 0.04), row + 0.5 + rng.uniform(-0.06, 0.06)
        things.append(Thing("label", "white", cells[-1], x, y, 0.44, "small", rng.choice(WORDS)))
    grey = rng.randint(120, 180)
    ground = (grey, grey + rng.randint(-10, 10), grey + rng.randint(-10, 10))
    return Scene(str(seed), tuple(things), ground, rng.randint(18, 30))


@lru_cache(maxsize=8)
def _ramp(side: int) -> Image.Image:
    return Image.linear_gradient("L").resize((side, side))


def _ground(colour: tuple[int, int, int], tilt: int, side: int) -> Image.Image:
    """A ground lit from one side: redder to the right, bluer downwards, by up to `tilt` levels either way."""
    down = _ramp(side)
    right = down.transpose(Image.Transpose.ROTATE_90)
    shift = tilt / 127.5
    red = right.point([max(0, min(255, int(colour[0] + (v - 127.5) * shift))) for v in range(256)])
    blue = down.point([max(0, min(255, int(colour[2] + (v - 127.5) * shift))) for v in range(256)])
    return Image.merge("RGB", (red, Image.new("L", (side, side), colour[1]), blue))


def _draw_icon(
    pen: ImageDraw.ImageDraw, shape: str, colour: tuple[int, int, int], x: float, y: float, r: float
) -> None:
    if shape == "circle":
        pen.ellipse([x - r, y - r, x + r, y + r], fill=colour)
    elif shape == "square":
        pen.rectangle([x - r, y - r, x + r, y + r], fill=colour)
    elif shape == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    elif shape == "cross":
        w = r * 0.35
        pen.rectangle([x - w, y - r, x + w, y + r], fill=colour)
        pen.rectangle([x - r, y - w, x + r, y + w], fill=colour)
    elif shape == "ring":
        pen.ellipse([x - r, y - r, x + r, y + r], outline=colour, width=max(2, round(r * 0.35)))
    else:
        turns = [(-math.pi / 2 + k * math.pi / 5, r if k % 2 == 0 else r * 0.42) for k in range(10)]
        pen.polygon([(x + q * math.cos(a), y + q * math.sin(a)) for a, q in turns], fill=colour)


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _draw_label(pen: ImageDraw.ImageDraw, text: str, x: float, y: float, r: float) -> None:
    pen.rectangle([x - r, y - r * 0.42, x + r, y + r * 0.42], fill=(250, 250, 250), outline=(60, 60, 60))
    pen.text((x, y), text, fill=(15, 15, 15), font=_font(max(6, round(r * 0.40))), anchor="mm")
