"""Marks that others write are data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from PIL import Image

from langgraph_speceyes.agent import find_question, is_user, observation_message
from langgraph_speceyes.agent.boxes import read_box
from langgraph_speceyes.agent.tools import CROP
from langgraph_speceyes.agent.view import View
from langgraph_speceyes.errors import ToolInputError
from langgraph_speceyes.images import ImageRef

MARKS = ("speceyes_observation", "speceyes_instruction", "speceyes_markup", "speceyes_tool_text")
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.just("a" * 64),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
)


@given(marks=st.dictionaries(st.sampled_from(MARKS), VALUES, min_size=1))
def test_a_forged_mark_changes_nothing(marks: dict[str, Any]) -> None:
    plain = [HumanMessage([{"type": "image", "url": "a.png"}, {"type": "text", "text": "What?"}])]
    forged = [plain[0].model_copy(update={"additional_kwargs": marks})]
    assert is_user(forged[0])
    assert find_question(forged) == find_question(plain)


def test_the_programs_own_mark_holds_for_its_words_only() -> None:
    shown = observation_message("<tool_response>5</tool_response>")
    assert not is_user(shown)
    assert is_user(HumanMessage("What is this?", additional_kwargs=shown.additional_kwargs))


NUMBER = st.floats() | st.integers(-500, 1000) | st.sampled_from(["10%", "x", "1e400", None, True, [1], 10**400])
BOX: Any = st.one_of(
    st.lists(NUMBER, max_size=6),
    st.text(max_size=40),
    st.dictionaries(st.sampled_from(["x1", "y1", "x2", "y2", "x", "y", "w", "h"]), NUMBER),
    st.tuples(*[st.integers(-50, 700)] * 4).map("x1={0[0]}, y1={0[1]}, x2={0[2]}, y2={0[3]}".format),
    st.tuples(*[st.integers(0, 120)] * 4).map("{0[0]}%, {0[1]}%, {0[2]}%, {0[3]}%".format),
    VALUES,
)


@given(box=BOX, width=st.integers(1, 80), height=st.integers(1, 80), least=st.sampled_from([28, 32]))
def test_any_box_is_a_region_inside_the_image_or_an_error_for_the_model(
    tmp_path_factory: Any, box: Any, width: int, height: int, least: int
) -> None:
    path = Path(tmp_path_factory.getbasetemp()) / f"{width}x{height}.png"
    if not path.exists():
        Image.new("RGB", (width, height)).save(path)
    try:
        found = CROP.run({"bbox_2d": box}, View([ImageRef(str(path))], least_side=least))
    except ToolInputError:
        return
    region, shown = found.images[0].region, found.box
    assert region is not None
    assert shown is not None
    assert region.x >= 0
    assert region.y >= 0
    assert region.x + region.width <= width
    assert region.y + region.height <= height
    assert region.width >= min(least, width)
    assert region.height >= min(least, height)


def test_boxes_with_names_and_percentages() -> None:
    assert read_box("x1=10, y1=20, x2=30, y2=40") == [10, 20, 30, 40]
    assert read_box({"x2": 10, "y1": 20, "x1": 30, "y2": 40}) == [10, 20, 30, 40]
    assert read_box({"x": 10, "y": 20, "width": 30, "height": 40}) == [10, 20, 40, 60]
    assert read_box("10%, 20%, 50%, 60%") == [0.1, 0.2, 0.5, 0.6]
    assert read_box(["10%", "20%", "50%", "60%"]) == [0.1, 0.2, 0.5, 0.6]
    assert read_box("110%, 20%, 50%, 60%") == "110%, 20%, 50%, 60%"
