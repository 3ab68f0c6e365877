"""How a run is written: the tool calls of the agent, or the code of its sibling."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from langgraph_speceyes.testbed import code_words, prompts
from langgraph_speceyes.testbed.training.tape import IMAGE_TEXT, Tape, view

END = "<|im_end|>\n"
Box = tuple[int, int, int, int]


class Dialect(Protocol):
    """What the words around a run's thoughts and answer are."""

    @property
    def system(self) -> str:
        """The system prompt."""

    @property
    def instruction(self) -> str:
        """What ends the question."""

    def look(self, tape: Tape, tool: str, box: Box, tag: str, *, first: bool) -> None:
        """Append a look that the model takes; its box counts pixels of the agent's view of the board."""

    def result(self, tape: Tape, text: str | None) -> None:
        """Append what the look showed: text, or an image."""

    def shown(self, picture: Image.Image, box: Box | None = None) -> np.ndarray:
        """A region of a picture, in its own pixels, as the model sees it after a look."""


@dataclass(frozen=True)
class ToolCalls:
    """Tool calls, their results as turns of the user."""

    system: str = prompts.SYSTEM
    instruction: str = prompts.AGENT

    def look(self, tape: Tape, tool: str, box: Box, tag: str, *, first: bool) -> None:
        """Append a tool call and the end of the turn."""
        head, middle, rest = prompts.call(tool, box).partition(prompts.CALL_MIDDLE)
        numbers, tail, end = rest.partition(prompts.CALL_TAIL)
        tape.said(head + middle, "tool").said(numbers, tag)
        tape.said(tail + end + END[:-1]).given(END[-1:])

    def result(self, tape: Tape, text: str | None) -> None:
        """Append the user's turn with the result, and the opening of the next turn."""
        shown = IMAGE_TEXT if text is None else text
        tape.given(f"<|im_start|>user\n<tool_response>{shown}</tool_response>{END}<|im_start|>assistant\n")

    def shown(self, picture: Image.Image, box: Box | None = None) -> np.ndarray:
        """The region, resized."""
        return view(picture, box)


@dataclass(frozen=True)
class Code:
    """Code, its output in the same turn."""

    system: str = code_words.SYSTEM
    instruction: str = code_words.INSTRUCTION

    def look(self, tape: Tape, tool: str, box: Box, tag: str, *, first: bool) -> None:
        """Append a block of code."""
        head, numbers, tail = code_words.code(tool, box, first=first)
        tape.said(head, "code").said(numbers, tag).said(tail, "code ocr" if tool == "ocr" else "code")

    def result(self, tape: Tape, text: str | None) -> None:
        """Append the output; where it begins, what the model itself would say is the end of its turn."""
        at = len(tape.ids)
        tape.given(f"<sandbox_output>{IMAGE_TEXT if text is None else text}</sandbox_output>")
        (stop,) = tape.encode(END[:-1])
        tape.labels[at], tape.tags[at] = stop, "stop"

    def shown(self, picture: Image.Image, box: Box | None = None) -> np.ndarray:
        """The region as the code saves it, resized from there."""
        side = code_words.SHOWN
        file = io.BytesIO()
        picture.resize((side, side), Image.Resampling.BICUBIC, box=box).save(file, "JPEG")
        return view(Image.open(file))


TOOL_CALLS, CODE = ToolCalls(), Code()
