"""Small pictures of the questions, for the page and as one contact sheet."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from langgraph_speceyes.bench.report.cases import Mistake
from langgraph_speceyes.files import write_whole
from langgraph_speceyes.images import encode_image

_TILE = 256
_TEXT = 78
_ACROSS = 6
_QUALITY = 80


def inlined(file: str | None) -> str | None:
    """A small picture as a `data:` URI, JPEG; None if it cannot be read."""
    picture = _small(file)
    if picture is None:
        return None
    data = encode_image(picture, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def contact_sheet(mistakes: Sequence[Mistake], file: Path) -> None:
    """Write the pictures of wrong answers as one JPEG, six in a row, each over its number, score and answers."""
    across = min(_ACROSS, len(mistakes))
    down = -(-len(mistakes) // across)
    sheet = Image.new("RGB", (across * (_TILE + 8) + 8, down * (_TILE + _TEXT + 8) + 8), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for k, one in enumerate(mistakes):
        x, y = 8 + k % across * (_TILE + 8), 8 + k // across * (_TILE + _TEXT + 8)
        pen.rectangle((x, y, x + _TILE, y + _TILE), fill="#e8e8e8")
        picture = _small(one.picture)
        if picture is None:
            pen.text((x + 8, y + 8), "no picture was kept", fill="#505050", font=font)
        else:
            sheet.paste(picture, (x + (_TILE - picture.width) // 2, y + (_TILE - picture.height) // 2))
        score = "" if one.score is None else f"  {one.score_name} {one.score:.4f}"
        lines = [
            f"{k + 1}{score}",
            one.question,
            f"right: {one.expected}",
            f"said: {one.answer or one.error or 'nothing'}",
        ]
        for row, line in enumerate(lines):
            pen.text((x, y + _TILE + 4 + 18 * row), _fitting(pen, line, font), fill="black", font=font)
    write_whole(file, encode_image(sheet, "JPEG", quality=_QUALITY, optimize=True))


def _small(file: str | None) -> Image.Image | None:
    """Pictures of a run are its own small files; one that was broken off is left out."""
    if file is None:
        return None
    try:
        with Image.open(file) as picture:
            picture.thumbnail((_TILE, _TILE))
            return picture.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _fitting(pen: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """As much of a text as fits under a picture, on one line."""
    text = " ".join(text.split())[:120]
    if pen.textlength(text, font=font) <= _TILE:
        return text
    while text and pen.textlength(f"{text}...", font=font) > _TILE:
        text = text[:-1]
    return f"{text}..."
