"""Where the embedded speculator looks again: what its pair knows of its world, and what it calls for itself."""

from __future__ import annotations

import re

from langchain_core.language_models import BaseChatModel

from langgraph_speceyes.agent import DeepEyesProtocol, TextReader
from langgraph_speceyes.images import (
    CoordinateSpace,
    ImageRef,
    ResizeRule,
    check_image,
    crop_reference,
    off_loop,
    parse_reference,
)
from langgraph_speceyes.looks import Look, Observation, Observations, OwnCalls, Sight, Tiles, ocr, own_calls, tiles
from langgraph_speceyes.prompts import front_end_prompt, image_question, system_message
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.world import COLUMNS, GRID, ROWS

PROTOCOL = DeepEyesProtocol(system=prompts.SYSTEM, instruction=prompts.AGENT, reminder="", final="", aliases={})
"""How both models of the pair call tools."""
AGENT_RESIZE = ResizeRule(factor=prompts.VIEW // GRID, min_pixels=prompts.VIEW**2, max_pixels=prompts.VIEW**2)
"""What the agent's processor makes of an image; the boxes of both models count its pixels."""

_LABEL = "label"
_SEEN = re.compile(rf"\bat ([{COLUMNS}])([{ROWS}])\b")


class QuartersOrText:
    """The four quarters of the board, or the label's text where the question is about the label.

    Args:
        speculator: Says in which cell the label is: reading the whole board would take longer than the agent.
        reader: Reads text; by default RapidOCR.

    Raises:
        MissingExtraError: There is no reader, and RapidOCR is not installed.
    """

    name = "quarters_or_text"

    def __init__(self, speculator: BaseChatModel, reader: TextReader | None = None) -> None:
        self.speculator = speculator
        self.quarters, self.text = tiles(2, 2), ocr(self._label, reader=reader)

    def __call__(self, sight: Sight) -> Observations:
        """Look."""
        return self._chosen(sight)(sight)

    async def acall(self, sight: Sight) -> Observations:
        """Look, off the event loop."""
        return await off_loop(self, sight)

    def _chosen(self, sight: Sight) -> Look:
        return self.text if _LABEL in sight.question else self.quarters

    def _label(self, image: str, _: str) -> ImageRef | None:
        """The cell in which the speculator sees the label."""
        question = image_question(image, f"Where is the {_LABEL}?")
        said = self.speculator.invoke(
            front_end_prompt(question, system_message(prompts.SYSTEM), prompts.SPECULATE), {"tags": ["nostream"]}
        )
        found = _SEEN.search(str(said.text))
        if found is None:
            return None
        ref = parse_reference(image, "image")
        width, height = check_image(ref)
        column, row = COLUMNS.index(found[1]), ROWS.index(found[2])
        left, right = (edge * width // GRID for edge in (column, column + 1))
        top, bottom = (edge * height // GRID for edge in (row, row + 1))
        return crop_reference(ref, (left, top, right, bottom))


class QuartersAndCall:
    """What the speculator calls for itself, beside the four quarters where that is a crop.

    A crop of one cell says nothing of the others. Since a depth's prompt must not depend on which depths came before
    it, the quarters are shown here again; behind depth 1 they are in the prefix cache.

    Args:
        own: The speculator's own look.
        quarters: What shows the quarters.
    """

    name = "quarters_and_call"

    def __init__(self, own: OwnCalls, quarters: Tiles) -> None:
        self.own, self.quarters = own, quarters
        self.settings = own.settings

    def __call__(self, sight: Sight) -> list[Observation]:
        """Look."""
        return self._beside_quarters(self.own(sight), sight)

    async def acall(self, sight: Sight) -> list[Observation]:
        """Look, asking the speculator without blocking the event loop."""
        called = await self.own.acall(sight)
        return await off_loop(self._beside_quarters, called, sight)

    def _beside_quarters(self, called: list[Observation], sight: Sight) -> list[Observation]:
        if all(isinstance(one, str) for one in called):
            return called
        return [*self.quarters(sight), *called]


def embedded_looks(speculator: BaseChatModel, reader: TextReader | None = None) -> tuple[Look, Look]:
    """The looks of the embedded speculator: quarters or text, then a call of its own beside the quarters.

    It calls for a crop of the crowd's cell or for the text of the label's, in pixels of the view that the agent has.

    Args:
        speculator: The embedded speculator, or a client of one.
        reader: Reads text; by default RapidOCR.

    Raises:
        MissingExtraError: There is no reader, and RapidOCR is not installed.
    """
    own = own_calls(
        speculator,
        tools=("crop", "ocr"),
        protocol=PROTOCOL,
        coordinates=CoordinateSpace.RESIZED,
        resize=AGENT_RESIZE,
        reader=reader,
    )
    first = QuartersOrText(speculator, reader)
    return first, QuartersAndCall(own, first.quarters)
