"""Images as hosted models take them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage
from PIL import Image

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import (
    ImagePolicy,
    ImageStore,
    encoded,
    inline_images,
    inline_reference,
    load_image,
)
from tests.images.pictures import encode, picture


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_whole_images_are_passed_on_as_they_are(form: str, tmp_path: Path) -> None:
    path = tmp_path / "wrongly-named.bin"
    path.write_bytes(encode(picture(), form))
    assert encoded(str(path)) == (path.read_bytes(), f"image/{form.lower()}")


def test_other_images_become_png(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    path.write_bytes(encode(picture(), "BMP"))
    for source, expected in ((str(path), picture()), (f"{path}#xywh=1,2,9,9", picture().crop((1, 2, 10, 11)))):
        data, mime = encoded(source)
        assert mime == "image/png"
        assert Image.open(io.BytesIO(data)).tobytes() == expected.tobytes()
    with pytest.raises(ImageError, match="truncated"):
        encoded(inline_reference(encode(picture())[:-400]))


def test_inline_images(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(picture()))
    store = ImageStore(tmp_path / "store")
    whole = {"type": "image", "base64": base64.b64encode(encode(picture())).decode(), "mime_type": "image/png"}
    data_url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{whole['base64']}"}}
    remote = {"type": "image", "url": "https://host/a.png"}
    untouched: list[BaseMessage] = [
        HumanMessage("text"),
        HumanMessage([{"type": "text", "text": "?"}, "text", dict(whole), data_url], id="1"),
        HumanMessage([remote]),
    ]
    local = HumanMessage(
        [
            {"type": "text", "text": "?"},
            {"type": "image", "path": str(path), "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": path.as_uri()}},
            {"type": "image", "url": store.put(encode(picture())), "extras": {"k": 1}},
            {"type": "image", "url": f"{path}#xywh=0,0,4,5"},
        ],
        id="2",
        name="n",
    )
    before = local.model_dump()
    result = inline_images([*untouched, local], ImagePolicy(allow_remote=True), store)
    assert all(new is old for new, old in zip(result, untouched, strict=False))
    assert local.model_dump() == before
    assert (result[3].id, result[3].name) == ("2", "n")
    blocks: list[Any] = list(result[3].content)
    text, first, second, third, region = blocks
    assert text == {"type": "text", "text": "?"}
    assert first == {**whole, "cache_control": {"type": "ephemeral"}}
    assert second == third == whole
    assert load_image(region).size == (4, 5)
    assert region["mime_type"] == "image/png"
    with pytest.raises(ImageError, match="allow_remote"):
        inline_images(untouched, store=store)
