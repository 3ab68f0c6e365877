"""How a checkpoint's processor resizes images: by its class, never by its look."""

from __future__ import annotations

from typing import Any

from PIL import Image

from langgraph_speceyes.images.resize import Kind, ResizeRule

KINDS: dict[str, Kind] = {
    "Qwen2VLImageProcessor": "qwen",
    "Glm4vImageProcessor": "glm",
    "Glm46VImageProcessor": "glm",
    "PaddleOCRVLImageProcessor": "paddleocr",
}
"""Rules of transformers' image processors, by the name of the class without its backend."""


def rule_of(processor: Any) -> ResizeRule | None:
    """The rule that a processor's images are resized by; None for one whose class has no known rule."""
    images: Any = getattr(processor, "image_processor", None)
    kind = KINDS.get(processor_name(images))
    if kind is None or not getattr(images, "do_resize", False):
        return None
    factor = images.patch_size * images.merge_size
    return ResizeRule(factor, images.size["shortest_edge"], images.size["longest_edge"], kind)


def bicubic_rule_of(processor: Any) -> ResizeRule | None:
    """The same where it resizes bicubically, so that resizing beforehand changes no pixel."""
    images: Any = getattr(processor, "image_processor", None)
    return rule_of(processor) if getattr(images, "resample", None) == Image.Resampling.BICUBIC else None


def processor_name(images: Any) -> str:
    """The class of an image processor without its backend."""
    return type(images).__name__.removesuffix("Pil").removesuffix("Fast")
