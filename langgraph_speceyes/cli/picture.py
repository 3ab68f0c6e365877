"""A picture in the terminal: two pixels a character, in the colours of the terminal."""

from __future__ import annotations

from PIL import Image
from rich.console import Console
from rich.text import Text

UPPER_HALF = "\u2580"


def can_show(console: Console) -> bool:
    """Whether a picture can be seen there: a terminal with all colours or 256 of them."""
    return console.is_terminal and console.color_system in ("truecolor", "256")


def picture(image: Image.Image, columns: int = 32) -> Text:
    """An image as coloured half blocks.

    Args:
        image: The image, of any size.
        columns: Characters of its width, at most; a character is about twice as high as wide, and shows two pixels.
    """
    small = image.convert("RGB")
    small.thumbnail((columns, columns))
    width, height = small.size
    shown = Text()
    for y in range(0, height, 2):
        for x in range(width):
            style = _rgb(small.getpixel((x, y)))
            if y + 1 < height:
                style += f" on {_rgb(small.getpixel((x, y + 1)))}"
            shown.append(UPPER_HALF, style=style)
        if y + 2 < height:
            shown.append("\n")
    return shown


def _rgb(pixel: object) -> str:
    assert isinstance(pixel, tuple), "the image is RGB"
    return f"rgb({','.join(map(str, pixel))})"
