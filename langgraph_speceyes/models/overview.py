"""How large an image a hosted model of the front end is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.models.endpoint import model_name

Pixels = int | Literal["auto"] | None
FrontPixels = Pixels | Mapping[str, Pixels]
"""A number of pixels, ``"auto"`` or None; or one of these for ``judge`` and ``speculator`` each."""

OVERVIEW = 1536 * 32 * 32
"""Most pixels of an image, where nothing else is known: 1,254 x 1,254. GPT models see no more (1,536 patches of 32 x 32
pixels, or 768 x 2,048); models that see images as large as they come (Qwen-VL) take 2,000 tokens for it."""
FAMILIES = ((re.compile(r"claude", re.IGNORECASE), 1_150_000),)
"""Families whose servers shrink images to fewer pixels themselves."""
LEAST = 28 * 28
ROLES = ("judge", "speculator")


def check_pixels(given: object) -> None:
    """Refuse what is no setting of `front_pixels`.

    Raises:
        ArgumentError: It is none.
    """
    expected = f'a whole number of at least {LEAST}, "auto" or None, or a mapping of judge and speculator to such'
    values = list(given.values()) if isinstance(given, Mapping) else [given]
    if isinstance(given, Mapping) and (unknown := [key for key in given if key not in ROLES]):
        raise ArgumentError("front_pixels", expected, f"{unknown[0]!r:.100}")
    for value in values:
        if value is None or value == "auto" or (type(value) is int and value >= LEAST):
            continue
        raise ArgumentError("front_pixels", expected, f"{value!r:.100}")


def pixels_for(given: FrontPixels, role: str, models: Sequence[Any]) -> int | None:
    """Most pixels of an image that a model of the front end is sent.

    Args:
        given: The setting.
        role: ``"judge"`` or ``"speculator"``.
        models: The models that may answer; with ``"auto"`` the one that sees the most counts.

    Returns:
        The number; None for images as they are.
    """
    one = given.get(role, "auto") if isinstance(given, Mapping) else given
    return one if one is None or isinstance(one, int) else max(map(_family, models), default=OVERVIEW)


def pixels_sent(most: int | None, models: Sequence[Any]) -> int | None:
    """How large images are that models are sent, as a gate keeps it.

    Args:
        most: What :func:`pixels_for` returned.
        models: The models that may answer.

    Returns:
        The number, 0 for images as they are; None for models that read images themselves.
    """
    if all(getattr(model, "accepts_image_references", False) for model in models):
        return None
    return most or 0


def _family(model: object) -> int:
    name = model_name(model) or ""
    return next((pixels for family, pixels in FAMILIES if family.search(name)), OVERVIEW)
