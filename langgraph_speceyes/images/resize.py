"""How a model family's processor resizes an image before the model sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from langgraph_speceyes.errors import ArgumentError, ImageError
from langgraph_speceyes.images.coordinates import MAX_ASPECT, resized_size

Kind = Literal["qwen", "glm", "paddleocr"]


@dataclass(frozen=True)
class ResizeRule:
    """The rule of processors that keep an image's shape: multiples of a factor, between two counts of pixels.

    Attributes:
        factor: Patch side times merge size, in pixels.
        min_pixels: Fewest pixels of the resized image.
        max_pixels: Most pixels of the resized image.
        kind: Whose rule it is. GLM's counts the pixels of two frames, and like PaddleOCR's first enlarges an image
            that is thinner than the factor.
    """

    factor: int
    min_pixels: int
    max_pixels: int
    kind: Kind = "qwen"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in pixels that the model sees of an image this large."""
        if self.kind == "glm":
            if min(width, height) < self.factor and min(width, height) > 0:
                scale = max(self.factor / height, self.factor / width)
                width, height = int(width * scale), int(height * scale)
        elif self.kind == "paddleocr":
            if 0 < height < self.factor:
                width, height = round(width * self.factor / height), self.factor
            if 0 < width < self.factor:
                width, height = self.factor, round(height * self.factor / width)
        return resized_size(
            width,
            height,
            factor=self.factor,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
            frames=2 if self.kind == "glm" else 1,
        )

    def thinned(self, width: int, height: int) -> bool:
        """Whether an image that it has made this large is so thin that it would be made smaller still, or refused.

        Limits too close for a multiple between them change any image once more: models are used to that (the embedded
        pair has such limits).
        """
        if min(width, height) > self.factor and max(width, height) <= MAX_ASPECT * min(width, height):
            return False
        try:
            return self.size(width, height) != (width, height)
        except ImageError:
            return True

    def tokens(self, width: int, height: int) -> int:
        """Tokens that an image this large takes in a prompt."""
        seen = self.size(width, height)
        return seen[0] * seen[1] // self.factor**2

    @classmethod
    def of_family(cls, name: str) -> ResizeRule:
        """The rule that checkpoints of a family are published with.

        A server that was given other limits (vLLM's `--mm-processor-kwargs`) follows others;
        :func:`~langgraph_speceyes.models.probing.probe` compares a rule with the tokens that it counts.

        Args:
            name: The family, such as `"qwen2.5-vl"`.

        Raises:
            ArgumentError: No such family.
        """
        rule = FAMILIES.get(name.lower().replace("_", "-"))
        if rule is None:
            raise ArgumentError("resize", f"a ResizeRule or one of {', '.join(FAMILIES)}", repr(name))
        return rule


def as_rule(resize: ResizeRule | str | None) -> ResizeRule | None:
    """A rule, or the one of a family by its name.

    Raises:
        ArgumentError: It is neither.
    """
    if isinstance(resize, str):
        return ResizeRule.of_family(resize)
    if resize is not None and not isinstance(resize, ResizeRule):
        raise ArgumentError("resize", "a ResizeRule or the name of a family", type(resize).__name__)
    return resize


FAMILIES = {
    "qwen2-vl": ResizeRule(28, 56 * 56, 28 * 28 * 16384),
    "qwen2.5-vl": ResizeRule(28, 56 * 56, 28 * 28 * 16384),
    "qwen3-vl": ResizeRule(32, 256 * 256, 4096 * 4096),
    "qwen3.5": ResizeRule(32, 256 * 256, 4096 * 4096),
    "glm-4.1v": ResizeRule(28, 112 * 112, 28 * 28 * 12288, "glm"),
    "glm-4.5v": ResizeRule(28, 112 * 112, 28 * 28 * 12288, "glm"),
}
"""Of the published `preprocessor_config.json` of each family."""
