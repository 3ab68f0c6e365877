"""Which blocks are images, and which of them this package can read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langgraph_speceyes.images import is_image_block, parse_block, readable_images
from tests.images.blocks import B64, NO_IMAGES, UNLOADABLE, UNREADABLE

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["type", "image", "url", "path", "base64", "data", "source", "image_url", "mime_type", "value"])
TYPES = st.sampled_from(["image", "image_url", "input_image", "media", "file", "non_standard", "base64", "url"])
BLOCKS: Any = st.one_of(
    st.sampled_from([*UNREADABLE.values(), *UNLOADABLE.values(), *NO_IMAGES]),
    st.dictionaries(KEYS, TYPES | JSON, max_size=4),
    st.dictionaries(KEYS, st.dictionaries(KEYS, TYPES | JSON, max_size=3), max_size=3),
    st.text(max_size=20),
)


@pytest.mark.parametrize("block", (UNREADABLE | UNLOADABLE).values(), ids=(UNREADABLE | UNLOADABLE).keys())
def test_every_form_is_an_image(block: dict[str, Any]) -> None:
    assert is_image_block(block)


@pytest.mark.parametrize("block", NO_IMAGES, ids=repr)
def test_other_blocks_are_not(block: Any) -> None:
    assert not is_image_block(block)


def test_what_cannot_be_read_is_skipped() -> None:
    good = {"type": "image", "base64": B64, "mime_type": "image/png"}
    other = {"type": "image", "path": "a.png"}
    messages = [
        HumanMessage([*UNREADABLE.values(), good]),
        HumanMessage("text"),
        "no message",
        AIMessage([{"type": "text", "text": "?"}]),
        ToolMessage([other, *UNREADABLE.values()], tool_call_id="1"),
    ]
    assert [ref.payload for ref in readable_images(messages)[:1]] == [B64]
    assert [ref.source for ref in readable_images(messages)[1:]] == ["a.png"]


@settings(deadline=None)
@given(st.lists(BLOCKS | JSON, max_size=5))
def test_no_block_is_too_odd(blocks: list[Any]) -> None:
    message = HumanMessage("")
    message.content = blocks
    refs = readable_images([message])
    assert len(refs) <= sum(is_image_block(block) for block in blocks)
    for ref in refs:
        assert parse_block({"type": "image", "url": ref.uri}) is not None
