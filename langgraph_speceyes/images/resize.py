"""How a model family's processor resizes an image before the model sees it."""

from __future__ import annotations

from dataclasses import dataclass

from langgraph_speceyes.images.coordinates import resized_size


@dataclass(frozen=True)
class ResizeRule:
    """The rule of Qwen-style processors.

    Attributes:
        factor: Patch side times merge size, in pixels.
        min_pixels: Fewest pixels of the resized image.
        max_pixels: Most pixels of the resized image.
    """

    factor: int
    min_pixels: int
    max_pixels: int

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in pixels that the model sees of an image this large."""
        return resized_size(width, height, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels)
