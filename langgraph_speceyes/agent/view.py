"""What a tool sees of a run: the question's images and how the model counts their pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from langgraph_speceyes.agent.boxes import are_fractions, grown
from langgraph_speceyes.agent.ocr import Reader, TextReader
from langgraph_speceyes.errors import ToolInputError
from langgraph_speceyes.images import (
    DEFAULT_POLICY,
    CoordinateSpace,
    ImagePolicy,
    ImageRef,
    ResizeRule,
    check_image,
    crop_reference,
    fitted_size,
    intern_reference,
    to_pixels,
)

MAX_ASPECT = 100
"""Largest ratio of a region's sides. Image processors fail on longer strips."""

LEAST_SIDE = 28
"""Fewest pixels on a side of what a model is shown: servers of Qwen's models refuse or crash below."""


def least_side_of(rule: ResizeRule | None) -> int:
    """The fewest pixels on a side for a family's models: the factor of its rule, and 28 at least."""
    return LEAST_SIDE if rule is None else max(LEAST_SIDE, rule.factor)


Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class View:
    """The question's images, and how a tool may look at them.

    Attributes:
        images: The images of the user's question, in order.
        coordinates: What the numbers of the model's boxes count.
        resize: How the model's processor resizes an image; needed for ``resized`` coordinates.
        policy: Limits of loading.
        reader: Reads text.
        least_side: Fewest pixels on a side of what the model is shown: the patches that its processor merges into a
            token.
        most_pixels: Most pixels of an image as the model was sent it; None where it was sent the original.
    """

    images: Sequence[ImageRef]
    coordinates: CoordinateSpace = CoordinateSpace.ABSOLUTE
    resize: ResizeRule | None = None
    policy: ImagePolicy = DEFAULT_POLICY
    reader: TextReader = field(default_factory=Reader)
    least_side: int = LEAST_SIDE
    most_pixels: int | None = None

    def image(self, index: int) -> ImageRef:
        """Return an image of the question.

        Raises:
            ToolInputError: There is no such image.
        """
        if not 0 <= index < len(self.images):
            last = len(self.images) - 1
            allowed = "image must be 0, there is only one" if last == 0 else f"image must be 0 to {last}"
            raise ToolInputError(f"there is no image {index}; {allowed}")
        return self.images[index]

    def locate(self, box: Sequence[float], index: int) -> tuple[ImageRef, Box]:
        """Find a box of the model in an image of the question.

        Args:
            box: (left, top, right, bottom) in the model's coordinates, or in fractions of the image.
            index: Which image.

        Returns:
            The whole image, and the box in its own pixels, clamped to it.

        Raises:
            ToolInputError: The image or the box does not exist, or the box is a thin strip.
            ImageError: The image cannot be loaded.
        """
        ref = self.image(index)
        size = check_image(ref, self.policy)
        if are_fractions(box):
            box = [value * side for value, side in zip(box, (*size, *size), strict=True)]
            pixels = to_pixels(box, space=CoordinateSpace.ABSOLUTE, original=size)
        else:
            space, resized = self.coordinates, None
            # what a box counts are pixels of what the model was sent
            sent = size if self.most_pixels is None else fitted_size(ref, self.most_pixels, self.policy)
            if space is CoordinateSpace.ABSOLUTE and sent != size:
                space, resized = CoordinateSpace.RESIZED, sent
            elif self.resize is not None:
                resized = self.resize.size(*sent)
            pixels = to_pixels(list(box), space=space, original=size, resized=resized)
        width, height = pixels[2] - pixels[0], pixels[3] - pixels[1]
        if max(width, height) > MAX_ASPECT * min(width, height):
            shape = f"{width} x {height} pixels"
            raise ToolInputError(f"the box is a strip of {shape}; its sides may differ by a factor of {MAX_ASPECT}")
        return ref, pixels

    def show(self, ref: ImageRef, box: Box, factor: float = 1.0) -> tuple[ImageRef, Box]:
        """Refer to a box of an image so that a model can look at it.

        A box that would be shown smaller than `least_side` is grown about its centre; where the image itself is
        too small, it is enlarged.

        Args:
            ref: The whole image.
            box: (left, top, right, bottom) in the image's own pixels.
            factor: How much to enlarge it.

        Returns:
            The region, and the box that it shows. Inline data is moved to the image store.
        """
        width, height = check_image(ref, self.policy)
        # a box counts pixels of what the reference loads as, a region shows those of the original
        scale = ref.region.scale if ref.region else 1.0
        least = math.ceil(self.least_side * scale / factor)
        left, right = grown(box[0], box[2], least, width)
        top, bottom = grown(box[1], box[3], least, height)
        shown = (left, top, right, bottom)
        source = intern_reference(ref)
        part = crop_reference(source, shown, factor)
        short = min(part.region.width, part.region.height) if part.region else self.least_side
        if short * factor < self.least_side:
            part = crop_reference(source, shown, self.least_side / short)
        return part, shown
