"""The words the embedded pair was trained on: prompts, thoughts and tool calls."""

from __future__ import annotations

from langgraph_speceyes.testbed.world import QUARTERS

VIEW = 192
"""Pixels along a square image once the agent's processor has resized it: 6 x 6 visual tokens of 32 px."""
SPECULATOR_VIEW = 96
"""The same for the speculator, which sees the board at half that resolution: 6 x 6 visual tokens of 16 px."""

SYSTEM = "Answer the question about the image. Tools: zoom, crop, ocr."
JUDGE = "Are tools needed? Answer yes or no."
SPECULATE = "Answer in one sentence."
AGENT = "Think, then call a tool or answer."

SEARCH = "Too small, search."
CHECK = "Visible, check it."
FIND_LABEL = "Find the label."
READ = "Read it."
ABSENT = "Not here."
FOUND = "Found it."
THOUGHTS = (SEARCH, CHECK, FIND_LABEL, READ, ABSENT, FOUND)

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


def call(thought: str, tool: str, quarter: int) -> str:
    """An agent's turn that looks at a quarter with a tool."""
    box = ",".join(map(str, quarter_box(quarter)))
    return f"<think>{thought}</think><tool_call>{CALL_HEAD}{tool}{CALL_MIDDLE}{box}{CALL_TAIL}</tool_call>"


def final(answer: str) -> str:
    """An agent's last turn."""
    return f"<think>{FOUND}</think><answer>{answer}</answer>"
