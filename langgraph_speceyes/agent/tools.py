"""The agent's own tools: crop, zoom and OCR. They are pure: the same call on the same image gives the same result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from langgraph_speceyes.agent.boxes import read_arguments
from langgraph_speceyes.agent.view import Box, View
from langgraph_speceyes.errors import ToolInputError
from langgraph_speceyes.images import CoordinateSpace, ImageRef, crop_reference, load_image

NO_TEXT = "No text found."
MAX_ENLARGED_PIXELS = 4096 * 4096
"""Pixels beyond which nothing is enlarged: no model looks at more, and encoding them takes seconds."""

_BOX = "[x1, y1, x2, y2]: left, top, right and bottom edge of the region"
_COORDINATES = {
    CoordinateSpace.ABSOLUTE: "Boxes are in pixels of the original image.",
    CoordinateSpace.RESIZED: "Boxes are in pixels of the image as you see it.",
    CoordinateSpace.RELATIVE_1000: "Boxes are in thousandths of the image's width and height, 0 to 1000.",
}


@dataclass(frozen=True)
class Observation:
    """What a tool shows the model.

    Attributes:
        text: Text, or ``None``.
        images: References of images; never inline data.
        box: The region looked at, maybe larger than asked for, in pixels of the image as the user gave it, or ``None``.
    """

    text: str | None = None
    images: tuple[ImageRef, ...] = ()
    box: Box | None = None


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    label: str | None = Field(default=None, description="What is expected there, in a few words.")
    image: int = Field(default=0, description="Which image of the question, counted from 0.")

    @model_validator(mode="before")
    @classmethod
    def _read(cls, arguments: Any) -> Any:
        return read_arguments(arguments) if isinstance(arguments, Mapping) else arguments


class CropArguments(_Arguments):
    """Arguments of ``crop``."""

    bbox_2d: list[float] = Field(min_length=4, max_length=4, description=_BOX)


class ZoomArguments(_Arguments):
    """Arguments of ``zoom``."""

    bbox_2d: list[float] = Field(min_length=4, max_length=4, description=_BOX)
    factor: float = Field(default=2.0, gt=1, le=8, description="How much to enlarge the region, up to 8.")


class OcrArguments(_Arguments):
    """Arguments of ``ocr``."""

    bbox_2d: list[float] | None = Field(
        default=None, min_length=4, max_length=4, description=_BOX + "; the whole image if left out"
    )


@dataclass(frozen=True)
class ToolSpec:
    """A tool as a pure function of its arguments and the question's images.

    Attributes:
        name: What the model calls it, and the name of its node.
        description: What the model reads about it.
        arguments: Model of its arguments.
        look: Takes valid arguments and the view; raises ``ToolInputError`` for what the model may correct.
    """

    name: str
    description: str
    arguments: type[BaseModel]
    look: Callable[[Any, View], Observation]

    def schema(self, coordinates: CoordinateSpace = CoordinateSpace.ABSOLUTE) -> dict[str, Any]:
        """Return the tool in OpenAI's format, as ``bind_tools`` takes it.

        Args:
            coordinates: What the numbers of a box count; the description says so.
        """
        schema = convert_to_openai_tool(self.arguments)
        schema["function"]["name"] = self.name
        schema["function"]["description"] = f"{self.description} {_COORDINATES[coordinates]}"
        return schema

    def run(self, arguments: Mapping[str, Any], view: View) -> Observation:
        """Run the tool on what a model passed.

        Args:
            arguments: As the model wrote them; ``None`` counts as left out.
            view: The question's images.

        Raises:
            ToolInputError: The arguments cannot be used; the message is meant for the model.
            ImageError: An image of the question cannot be loaded.
        """
        given = {key: value for key, value in arguments.items() if value is not None}
        try:
            valid = self.arguments.model_validate(given)
        except ValidationError as error:
            raise ToolInputError(_explain(error)) from None
        return self.look(valid, view)


def crop(arguments: CropArguments, view: View) -> Observation:
    """Show a region at its own pixels."""
    ref, box = view.locate(arguments.bbox_2d, arguments.image)
    region, shown = view.show(ref, box)
    return Observation(images=(region,), box=shown)


def zoom(arguments: ZoomArguments, view: View) -> Observation:
    """Show a region enlarged, by less than asked for where the result would be needlessly large."""
    ref, box = view.locate(arguments.bbox_2d, arguments.image)
    area = (box[2] - box[0]) * (box[3] - box[1])
    limit = min(MAX_ENLARGED_PIXELS, view.policy.max_pixels)
    factor = max(1.0, min(arguments.factor, math.floor(100 * math.sqrt(limit / area)) / 100))
    region, shown = view.show(ref, box, factor)
    return Observation(images=(region,), box=shown)


def ocr(arguments: OcrArguments, view: View) -> Observation:
    """Read the text of a region, or of a whole image."""
    if arguments.bbox_2d is None:
        ref, box = view.image(arguments.image), None
        image = load_image(ref, view.policy)
    else:
        ref, box = view.locate(arguments.bbox_2d, arguments.image)
        image = load_image(crop_reference(ref, box), view.policy)
    return Observation(text="\n".join(view.reader.read(image)) or NO_TEXT, box=box)


CROP = ToolSpec("crop", "Show a region of the image at full resolution.", CropArguments, crop)
ZOOM = ToolSpec("zoom", "Show a region of the image enlarged, to see small things.", ZoomArguments, zoom)
OCR = ToolSpec("ocr", "Read the printed text in a region of the image, or in the whole image.", OcrArguments, ocr)

TOOLS = {spec.name: spec for spec in (CROP, ZOOM, OCR)}
"""The agent's own tools by name."""


def _explain(error: ValidationError) -> str:
    """Say in one line what is wrong with the arguments."""
    parts = []
    for item in error.errors(include_url=False, include_context=False, include_input=False)[:4]:
        place = ".".join(str(part) for part in item["loc"])
        parts.append(f"{place}: {item['msg'][0].lower()}{item['msg'][1:]}")
    return "; ".join(parts)
