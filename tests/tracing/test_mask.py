from __future__ import annotations

import base64
import hashlib
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.types import Command, Send
from pydantic import BaseModel

from langgraph_speceyes.images.block import find_payload
from langgraph_speceyes.tracing import digest as digest_module
from langgraph_speceyes.tracing import mask as mask_module
from langgraph_speceyes.tracing import mask_images

SIGNATURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\0\0\0\0WEBP",
    "image/tiff": b"II*\x00",
    "image/avif": b"\0\0\0\x20ftypavif",
}
PATHS = ["street.jpg", "file:///a/b.png", "https://example.com/a.png#xywh=1,2,3,4", f"sha256:{'0' * 64}#xywh=1,2,3,4"]


def layouts(data: bytes, mime: str) -> dict[str, Any]:
    text = base64.b64encode(data).decode()
    url = f"data:{mime};base64,{text}"
    return {
        "standard base64": {"type": "image", "base64": text, "mime_type": mime},
        "standard without type": {"type": "image", "base64": text},
        "lines": {"type": "image", "base64": base64.encodebytes(data).decode(), "mime_type": mime},
        "data": {"type": "image", "data": text, "mime_type": mime, "source_type": "base64"},
        "data bytes": {"type": "image", "data": data, "mime_type": mime},
        "data URL in base64": {"type": "image", "base64": url},
        "url": {"type": "image", "url": url},
        "url with region": {"type": "image", "url": url + "#xywh=1,2,3,4&scale=2"},
        "openai": {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
        "openai text": {"type": "image_url", "image_url": url},
        "responses": {"type": "input_image", "image_url": url},
        "anthropic": {"type": "image", "source": {"type": "base64", "media_type": mime, "data": text}},
        "anthropic url": {"type": "image", "source": {"type": "url", "url": url}},
        "mcp": {"type": "image", "data": text, "mimeType": mime},
        "google": {"type": "media", "mime_type": mime, "data": text},
        "google inline": {"inline_data": {"mime_type": mime, "data": text}},
        "bedrock": {"image": {"format": mime[6:], "source": {"bytes": data}}},
        "bytearray": {"frame": bytearray(data)},
        "ollama": {"images": [text]},
        "capitals": {"picture": f"Data:Image/PNG;Base64,{text}"},
        "in JSON": '{"image": "' + text + '"}',
        "printed bytes": f"{{'image': {data!r}}}",
        "in a URL in Markdown": f"see ![this]({url}) there",
        "printed": repr([{"base64": text}]),
        "url-safe": {"type": "image", "base64": base64.urlsafe_b64encode(data).decode()},
    }


LAYOUTS = list(layouts(b"", "image/png"))


@dataclass(frozen=True)
class Record:
    image: Any
    text: str


class Model(BaseModel):
    image: Any
    text: str


Pair = namedtuple("Pair", "image text")

# ways in which a run's inputs and outputs hold a block and a text
HOLDERS = [
    lambda block, text: {"messages": [HumanMessage([block, {"type": "text", "text": text}])]},
    lambda block, text: {"messages": [dumpd(HumanMessage([block, {"type": "text", "text": text}]))]},
    lambda block, text: [HumanMessage([block, {"type": "text", "text": text}]).model_dump()],
    lambda block, text: ToolMessage([block, text], tool_call_id="1", artifact={"at": block}),
    lambda block, text: AIMessage(text, additional_kwargs={"shown": [block]}, response_metadata={"x": block}),
    lambda block, text: LLMResult(generations=[[ChatGeneration(message=AIMessage([block, text]))]]),
    lambda block, text: Command(update={"messages": [SystemMessage([block, text])]}, goto=[Send("n", {"a": block})]),
    lambda block, text: {"deep": ([{"er": (block, text)}],)},
    lambda block, text: Record(block, text),
    lambda block, text: Model(image=block, text=text),
    lambda block, text: Pair(block, text),
]


def hidden(found: str, data: bytes) -> bool:
    for text in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        # 39 of 40 characters of a line and more: what may be left is no picture
        if any(text[i : i + 64] in found for i in range(0, len(text) - 64, 7)):
            return False
    return repr(data[30:60])[2:-1] not in found


@given(
    mime=st.sampled_from(sorted(SIGNATURES)),
    rest=st.binary(min_size=120, max_size=400),
    layout=st.sampled_from(LAYOUTS),
    holder=st.integers(0, len(HOLDERS) - 1),
    text=st.text(st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters="\\'\""), max_size=200),
)
def test_any_message_in_any_layout_keeps_its_text_and_no_image(
    mime: str, rest: bytes, layout: str, holder: int, text: str
) -> None:
    data = SIGNATURES[mime] + rest
    block = layouts(data, mime)[layout]
    if isinstance(block, str) and holder < 3:
        block = {"type": "text", "text": block}
    value: Any = HOLDERS[holder](block, text)
    before = repr(value)
    masked = mask_images(value)
    assert hidden(repr(masked), data)
    assert text in repr(masked)
    assert type(masked) is type(value)
    assert f"sha256:{hashlib.sha256(data).hexdigest()[:16]}" in repr(masked)
    assert repr(value) == before
    assert mask_images(masked) is masked


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mime", sorted(SIGNATURES))
def test_digest_media_type_and_size(layout: str, mime: str) -> None:
    data = SIGNATURES[mime] + bytes(range(200)) * 2
    found = repr(mask_images(layouts(data, mime)[layout]))
    declared = mime if layout != "capitals" else "image/png"
    sha = hashlib.sha256(data).hexdigest()[:16]
    assert f"sha256:{sha} ({declared}, {len(data)} bytes)" in found
    assert hidden(found, data)
    assert ("#xywh=1,2,3,4&scale=2" in found) == (layout == "url with region")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.integers()
    | st.text(max_size=80)
    | st.sampled_from(PATHS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_everything_else_is_the_same_object(value: Any) -> None:
    assert mask_images(value) is value


@pytest.mark.parametrize("url", PATHS)
@pytest.mark.parametrize("kind", ["url", "image_url", "path"])
def test_references_stay(url: str, kind: str) -> None:
    block: dict[str, Any] = {"type": "image", kind: url}
    if kind == "image_url":
        block = {"type": "image_url", "image_url": {"url": url}}
    message = HumanMessage([block, {"type": "text", "text": "Which?"}])
    assert mask_images(message) is message


def test_the_layouts_the_package_reads_are_among_those_tested() -> None:
    read = {find_payload(block) for block in layouts(b"x", "image/png").values() if isinstance(block, dict)}
    assert read >= {
        (("base64",), "data"),
        (("data",), "data"),
        (("url",), "url"),
        (("image_url", "url"), "url"),
        (("image_url",), "url"),
        (("source", "data"), "data"),
        (("source", "url"), "url"),
    }


def test_other_data_stays() -> None:
    pdf = base64.b64encode(b"%PDF-1.7" + bytes(200)).decode()
    value = {
        "file": {"type": "file", "base64": pdf, "mime_type": "application/pdf"},
        "url": f"data:application/pdf;base64,{pdf}",
        "bytes": b"plain bytes of some length",
        "text": "a word such as data: or /9j/ is not a picture, nor is UklGR",
    }
    assert mask_images(value) is value


def test_damaged_data_is_masked_too() -> None:
    found = mask_images({"type": "image", "base64": "%%% no base64 %%%"})
    assert found["base64"].startswith("undecodable:")
    assert mask_images({"type": "image", "url": "data:"})["url"].startswith("undecodable:")
    assert mask_images({"type": "image", "url": "data:image/png;base64"})["url"].startswith("undecodable:")


def test_a_view_of_bytes() -> None:
    data = SIGNATURES["image/png"] + bytes(100)
    assert mask_images({"frame": memoryview(data)}) == mask_images({"frame": data})


def test_a_cycle_ends() -> None:
    loop: dict[str, Any] = {"text": "a"}
    loop["self"] = loop
    assert mask_images(loop) is loop


def test_what_cannot_be_searched_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("no")

    found: Any = mask_images({"a": Broken(image="secret")})
    assert "secret" not in repr(found)
    assert "could not be searched" in repr(found)
    assert caplog.records


def test_a_large_image_is_decoded_once_and_never_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = digest_module._digest_text

    def noted(text: str, mime_type: str | None) -> str:
        decoded.append(len(text))
        return decode(text, mime_type)

    monkeypatch.setattr(digest_module, "_KNOWN", {})
    monkeypatch.setattr(digest_module, "_digest_text", noted)
    # the expression, which takes many times longer than anything else
    monkeypatch.setattr(mask_module, "_EMBEDDED", None)
    data = SIGNATURES["image/jpeg"] + bytes(5 << 20)
    for _ in range(3):
        # an equal text each time, not the same one
        blocks = layouts(data, "image/jpeg")
        for layout in ("standard base64", "url", "openai", "mcp", "ollama"):
            assert len(repr(mask_images(blocks[layout]))) < 400
    # with the media type, and once without
    assert decoded == [len(base64.b64encode(data))] * 2


def test_data_urls_within_each_other_are_no_images(caplog: pytest.LogCaptureFixture) -> None:
    nested = "data:image/png;base64," * 2_000
    assert mask_images(nested) == digest_module.digest_payload(nested)
    assert mask_images(nested).startswith("undecodable:")
    assert not caplog.records
