"""Pictures for the tests: noise, which shows every wrong pixel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def picture(width: int = 40, height: int = 30) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def stored(scene: Image.Image, orientation: int) -> Image.Image:
    """A scene as a camera stores it that was held some way."""
    undone = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how Pillow numbers what undoes it
    return scene.transpose(Image.Transpose(undone[orientation])) if orientation in undone else scene
