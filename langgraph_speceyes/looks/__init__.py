"""Looks: what turns an image and a question into observations, without the large model."""

from __future__ import annotations

from langgraph_speceyes.looks.function import FunctionLook, LookFunction
from langgraph_speceyes.looks.look import (
    MOST_CHARACTERS,
    MOST_OBSERVATIONS,
    Block,
    Look,
    Observation,
    Observations,
    Sight,
    look_id,
    observed,
    resolve_looks,
)
from langgraph_speceyes.looks.ocr import OcrLook, ocr
from langgraph_speceyes.looks.own_calls import OwnCalls, own_calls
from langgraph_speceyes.looks.tiles import Tiles, tiles

__all__ = [
    "MOST_CHARACTERS",
    "MOST_OBSERVATIONS",
    "Block",
    "FunctionLook",
    "Look",
    "LookFunction",
    "Observation",
    "Observations",
    "OcrLook",
    "OwnCalls",
    "Sight",
    "Tiles",
    "look_id",
    "observed",
    "ocr",
    "own_calls",
    "resolve_looks",
    "tiles",
]
