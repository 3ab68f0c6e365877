"""Looks as the command names them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel

from langgraph_speceyes.bench.methods import named
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.looks import Look, ocr, own_calls, resolve_looks, tiles

PAIR = "pair"
_TILES = re.compile(r"tiles:(\d+)x(\d+)")


def named_looks(names: Sequence[str], small: BaseChatModel, pair: Sequence[Look] | None = None) -> tuple[Look, ...]:
    """The looks that a command's `--look` names, in their order.

    Args:
        names: `tiles:2x2` (rows, columns), `ocr`, `own_calls` (of the small model), `pair` (all of the embedded pair's
            own), or the dotted name of a look or function of yours (`package.function`).
        small: The small model.
        pair: The looks that it was trained on, where it is the embedded pair's.

    Raises:
        ArgumentError: A name is unknown, or the models have no looks of their own.
        MissingExtraError: `ocr` without RapidOCR.
    """
    found: list[object] = []
    for name in names:
        if grid := _TILES.fullmatch(name):
            found.append(tiles(int(grid[1]), int(grid[2])))
        elif name == PAIR:
            if not pair:
                raise ArgumentError("look", "looks by name: these models have none of their own", repr(name))
            found += pair
        elif name == "ocr":
            found.append(ocr())
        elif name == "own_calls":
            found.append(own_calls(small))
        elif "." in name:
            found.append(named(name, "look"))
        else:
            known = f"tiles:ROWSxCOLUMNS, ocr, own_calls, {PAIR}, or the dotted name of a function"
            raise ArgumentError("look", known, repr(name))
    return resolve_looks(found)
