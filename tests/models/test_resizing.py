"""Rules of image processors, against the processors themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from transformers.models.glm4v import image_processing_pil_glm4v as glm
from transformers.models.paddleocr_vl import image_processing_pil_paddleocr_vl as paddleocr
from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as qwen

from langgraph_speceyes.agent import create_visual_agent, visual_tools
from langgraph_speceyes.errors import ArgumentError, ImageError
from langgraph_speceyes.images import ResizeRule
from langgraph_speceyes.images.resize import FAMILIES
from tests.models.asking import block, picture, words
from tests.models.conftest import Families

_SIDE = st.one_of(st.integers(1, 64), st.integers(1, 4000))


@given(_SIDE, _SIDE, st.sampled_from([14, 28, 32]), st.integers(1, 6), st.integers(0, 300), st.integers(0, 27))
def test_rules_are_those_of_transformers(width: int, height: int, factor: int, least: int, more: int, odd: int) -> None:
    low = least * factor**2 + odd
    high = low + more * factor**2 + odd
    theirs: dict[Any, Any] = {
        "qwen": lambda: qwen.smart_resize(height, width, factor, low, high),
        "glm": lambda: glm.smart_resize(2, height, width, 2, factor, low, high),
        "paddleocr": lambda: paddleocr.smart_resize(height, width, factor, low, high),
    }
    for kind, resize in theirs.items():
        rule = ResizeRule(factor, low, high, kind)
        try:
            expected = resize()[::-1]
        except ValueError:
            with pytest.raises(ImageError):
                rule.size(width, height)
            continue
        assert rule.size(width, height) == expected


@pytest.mark.parametrize("title", ["Qwen2.5-VL", "Qwen3-VL", "GLM-4V", "PaddleOCR-VL"])
def test_a_rule_counts_the_tokens_of_the_processor(families: Families, title: str) -> None:
    chat = families.chat(title)
    rule, images = chat.resize_rule, chat._engine.processor.image_processor
    assert rule is not None
    for width, height in ((64, 48), (220, 130), (12, 150), (150, 12), (30, 30), (333, 77), (1000, 700)):
        grid = images(images=[picture(width, height)], return_tensors="pt")["image_grid_thw"][0]
        assert rule.tokens(width, height) == int(grid.prod()) // 4


@pytest.mark.parametrize("title", ["Qwen2.5-VL", "Qwen3-VL", "GLM-4V", "PaddleOCR-VL"])
@pytest.mark.parametrize("size", [(2, 199), (2000, 10), (39, 6819), (9758, 51), (8644, 44), (333, 77)])
def test_the_model_sees_a_thin_image_at_the_size_that_its_processor_gives_it(
    families: Families, title: str, size: tuple[int, int]
) -> None:
    """Resized by the rule, a thin image may be one that the processor resizes once more, or refuses."""
    chat, image = families.chat(title), picture(*size)
    _, found = chat.render([HumanMessage([block(image), words("What?")])])
    images = chat._engine.processor.image_processor
    seen, whole = (images(images=[one], return_tensors="pt") for one in (found[0], image))
    assert seen["image_grid_thw"].tolist() == whole["image_grid_thw"].tolist()
    assert (seen["pixel_values"] == whole["pixel_values"]).all()


def test_a_processor_is_known_by_its_class_not_by_its_look(families: Families) -> None:
    processor = families.chat("Qwen2.5-VL")._engine.processor

    class OtherImageProcessor(type(processor.image_processor)):  # type: ignore[misc]
        pass

    from langgraph_speceyes.models.resizing import bicubic_rule_of, rule_of

    class Other:
        image_processor = OtherImageProcessor()

    assert rule_of(processor) is not None
    assert rule_of(Other()) is bicubic_rule_of(Other()) is None


def test_coordinates_need_a_rule_and_say_whose_is_missing(families: Families) -> None:
    with pytest.raises(ArgumentError, match="found Gemma3ImageProcessor, whose rule is not known"):
        create_visual_agent(families.chat("Gemma 3"), tools=("crop",), coordinates="resized")
    assert create_visual_agent(families.chat("GLM-4V"), tools=("crop",), coordinates="resized").loop.resize is not None


def test_families_have_names(families: Families) -> None:
    chat = families.chat("Gemma 3")
    agent = create_visual_agent(chat, tools=("crop",), coordinates="resized", resize="Qwen2.5-VL")
    assert agent.loop.resize == FAMILIES["qwen2.5-vl"] == ResizeRule(28, 3136, 12845056)
    assert visual_tools(tools=("crop",), coordinates="resized", resize="qwen3_vl")
    for resize in ("llava", 28):
        with pytest.raises(ArgumentError, match="resize: "):
            create_visual_agent(chat, tools=("crop",), coordinates="resized", resize=resize)  # type: ignore[arg-type]


@given(st.sampled_from(sorted(FAMILIES)), _SIDE, _SIDE)
def test_named_rules_can_be_followed(name: str, width: int, height: int) -> None:
    assume(max(width, height) <= 50 * min(width, height))
    rule = ResizeRule.of_family(name)
    assert all(side % rule.factor == 0 for side in rule.size(width, height))
    assert rule.tokens(width, height) >= 1
