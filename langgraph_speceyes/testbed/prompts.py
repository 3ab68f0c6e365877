"""The words the embedded pair was trained on: prompts, thoughts and tool calls."""

from __future__ import annotations

from collections.abc import Sequence

from langgraph_speceyes.testbed.world import GRID, QUARTERS

VIEW = 192
"""Pixels along a square image once the agent's processor has resized it: 6 x 6 visual tokens of 32 px."""
SPECULATOR_VIEW = 72
"""The same for the speculator: 6 x 6 visual tokens of 12 px."""

SYSTEM = "Answer the question about the image. Tools: zoom, crop, ocr."
JUDGE = "Are tools needed? Answer yes or no."
SPECULATE = "Answer in one sentence."
AGENT = "Think, then call a tool or answer."

CHECK, SEARCH, READ, SEEN, NOWHERE = "check it", "search", "read it", "seen", "nowhere"
"""What a thought ends with: what to do next, before a look at a quarter with its name."""
QUARTER_NAMES = ("above left", "above right", "below left", "below right")
"""Quarters of the board in words, in reading order."""

CALL_HEAD = '{"name":"'
CALL_MIDDLE = '","arguments":{"bbox_2d":['
CALL_TAIL = "]}}"


def quarter_box(quarter: int) -> tuple[int, int, int, int]:
    """A quarter of the overview as (left, top, right, bottom) in pixels of the resized image."""
    if not 0 <= quarter < QUARTERS:
        raise ValueError(f"quarter: expected 0 to {QUARTERS - 1}, found {quarter}")
    half = VIEW // 2
    x, y = quarter % 2 * half, quarter // 2 * half
    return x, y, x + half, y + half


def cell_box(cell: int) -> tuple[int, int, int, int]:
    """A cell of the overview, in the same pixels."""
    if not 0 <= cell < GRID * GRID:
        raise ValueError(f"cell: expected 0 to {GRID * GRID - 1}, found {cell}")
    side = VIEW // GRID
    x, y = cell % GRID * side, cell // GRID * side
    return x, y, x + side, y + side


CROWD = "crowd"
"""What the cell full of specks is called."""


def sighting(seen: Sequence[tuple[str, str | None]]) -> str:
    """Where each named object was seen so far: its cell, or that it is not in view."""
    parts = [f"the {kind} at {place}" if place else f"the {kind} not in view" for kind, place in seen]
    return f"T{', '.join(parts)[1:]}"


def thought(seen: Sequence[tuple[str, str | None]], then: str, crowd: str | None = None) -> str:
    """An agent's thought: what it looks for, where that was seen so far, the crowd if it matters, and what to do.

    Args:
        seen: What is asked about, each with its cell or None.
        then: What to do; before a look into the crowd ``search`` and its cell.
        crowd: Cell of the crowd, where what is not in view may be.
    """
    asked = " and ".join(f"the {kind}" for kind, _ in seen)
    beside = [(CROWD, crowd)] if crowd else []
    return f"<think>The question is about {asked}. {sighting([*seen, *beside])}, {then}.</think>"


def call(tool: str, box: tuple[int, int, int, int]) -> str:
    """A look at a region with a tool."""
    return f"<tool_call>{CALL_HEAD}{tool}{CALL_MIDDLE}{','.join(map(str, box))}{CALL_TAIL}</tool_call>"


def final(answer: str) -> str:
    """The end of an agent's last turn."""
    return f"<answer>{answer}</answer>"
