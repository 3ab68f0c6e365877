"""References, regions and message blocks."""

from __future__ import annotations

import base64
import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langgraph_speceyes.errors import ArgumentError, ImageError
from langgraph_speceyes.images import (
    ImageRef,
    Region,
    block_of,
    crop_reference,
    find_images,
    inline_reference,
    parse_block,
    parse_reference,
    question_text,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
B64 = base64.b64encode(PNG).decode()
DATA = f"data:image/png;base64,{B64}"
SHA = "sha256:" + hashlib.sha256(PNG).hexdigest()

REGIONS = st.builds(
    Region,
    st.integers(0, 50_000),
    st.integers(0, 50_000),
    st.integers(1, 50_000),
    st.integers(1, 50_000),
    st.one_of(st.just(1.0), st.floats(1e-6, 1000.0)),
)
SOURCES = st.one_of(
    st.builds(
        "/{}".format, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
    ).filter(lambda path: "#xywh=" not in path),
    st.sampled_from(
        ["https://host/a.png", "http://host/a?b=c#d", "file:///tmp/a%20b.png", SHA, "rel/a#1.png", "C:\\a"]
    ),
)
REFS = st.one_of(
    st.builds(ImageRef, SOURCES, st.none() | REGIONS),
    st.builds(inline_reference, st.binary(min_size=1, max_size=60), st.sampled_from([None, "image/png", "image/webp"])),
    st.builds(lambda data, region: ImageRef(inline_reference(data).source, region), st.binary(min_size=1), REGIONS),
)


@given(REFS)
def test_blocks_and_text_round_trip(ref: ImageRef) -> None:
    assert parse_block(block_of(ref)) == ref
    assert parse_reference(ref.uri) == ref
    assert pickle.loads(pickle.dumps(ref)) == ref


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": DATA},
        {"type": "image", "base64": B64, "mime_type": "image/png"},
        {"type": "image", "base64": B64},
        {"type": "image", "base64": DATA},
        {"type": "image", "data": PNG},
        {"type": "image", "data": B64},
        {"type": "image", "source_type": "base64", "data": B64, "mime_type": "image/png"},
        {"type": "image", "source_type": "url", "url": DATA},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
        {"type": "image", "source": {"type": "url", "url": DATA}},
        {"type": "image_url", "image_url": DATA},
        {"type": "image_url", "image_url": {"url": DATA, "detail": "low"}},
        {"type": "image", "url": f"data:image/png;name=a.png;base64,{B64.replace('+', '%2B').replace('=', '%3D')}"},
        {"type": "image", "url": "data:image/png," + "".join(f"%{byte:02x}" for byte in PNG)},
    ],
)
def test_every_inline_form_is_the_same_reference(block: dict[str, Any]) -> None:
    ref = parse_block(block)
    assert ref == ImageRef(DATA)
    assert ref.inline_bytes() == PNG
    assert ref.mime_type == "image/png"
    assert ref.key == SHA == ImageRef(SHA).key


@pytest.mark.parametrize(
    ("block", "source", "kind"),
    [
        ({"type": "image", "path": "a.png"}, "a.png", "file"),
        ({"type": "image", "path": Path("/d/a.png")}, "/d/a.png", "file"),
        ({"type": "image", "path": "http://x/y.png"}, "./http://x/y.png", "file"),
        ({"type": "image", "path": "data:a.png"}, "./data:a.png", "file"),
        ({"type": "image", "url": "/d/a.png"}, "/d/a.png", "file"),
        ({"type": "image", "url": "/d/a#1#xyz=2.png"}, "/d/a#1#xyz=2.png", "file"),
        ({"type": "image", "url": "file:///d/a.png"}, "file:///d/a.png", "file"),
        ({"type": "image", "url": "HTTPS://host/a.png"}, "https://host/a.png", "remote"),
        ({"type": "image_url", "image_url": "http://host/a.png"}, "http://host/a.png", "remote"),
        ({"type": "image_url", "image_url": {"url": SHA.upper().replace("SHA", "sha")}}, SHA, "store"),
        ({"type": "image", "source": {"type": "url", "url": "https://h/a"}}, "https://h/a", "remote"),
    ],
)
def test_references_elsewhere(block: dict[str, Any], source: str, kind: str) -> None:
    ref = parse_block(block)
    assert ref == ImageRef(source)
    assert ref.kind == kind


@pytest.mark.parametrize(
    "block", ["text", None, 3, {"type": "text", "text": "image"}, {"url": "a.png"}, {"type": "file", "url": "a.png"}]
)
def test_other_blocks_are_no_images(block: object) -> None:
    assert parse_block(block) is None


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "image"}, "found keys type"),
        ({"type": "image", "file_id": "f"}, "found keys file_id, type"),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "found keys source, type"),
        ({"type": "image_url"}, "text in image_url, found NoneType"),
        ({"type": "image_url", "image_url": {}}, "text in image_url.url, found NoneType"),
        ({"type": "image", "url": 7}, "found int"),
        ({"type": "image", "url": ""}, "found empty text"),
        ({"type": "image", "path": ""}, "found empty text"),
        ({"type": "image", "base64": ""}, "empty text"),
        ({"type": "image", "data": b""}, "empty text"),
        ({"type": "image", "data": [1]}, "found list"),
        ({"type": "image", "url": "data:image/png;base64"}, "','"),
        ({"type": "image", "url": "data:image/png;base64,"}, "empty text"),
        ({"type": "image", "url": "sha256:12"}, "64 hexadecimal"),
        ({"type": "image", "url": "s3://bucket/a.png"}, "scheme 's3'"),
        ({"type": "image", "url": "ftp://host/a.png"}, "scheme 'ftp'"),
        ({"type": "image", "url": "javascript:alert(1)"}, "scheme 'javascript'"),
        ({"type": "image", "url": "http:///a.png"}, "host"),
        ({"type": "image", "url": "http://[::1/a.png"}, "host"),
        ({"type": "image", "url": "file://elsewhere/a.png"}, "host 'elsewhere'"),
        ({"type": "image", "url": "file:///a%00b"}, "file: URL"),
        ({"type": "image", "url": "a\0b.png"}, "NUL"),
        ({"type": "image", "url": "#xywh=1,2,3,4"}, "path"),
        ({"type": "image", "url": "a.png#xywh=1,2,3"}, "xywh=x,y,width,height"),
        ({"type": "image", "url": "a.png#xywh=percent:1,2,3,4"}, "xywh=x,y,width,height"),
        ({"type": "image", "url": "a.png#xywh=-1,2,3,4"}, "xywh=x,y,width,height"),
        ({"type": "image", "url": "a.png#xywh=1,2,3,4&scale=-2"}, "xywh=x,y,width,height"),
        ({"type": "image", "url": "a.png#xywh=1,2,3,4&scale=inf"}, "xywh=x,y,width,height"),
        ({"type": "image", "url": "a.png#xywh=1,2,0,4"}, "width=0"),
        ({"type": "image", "url": "a.png#xywh=1,2,3,4&scale=0"}, "scale above 0"),
        ({"type": "image", "url": "a.png#xywh=1,2,3,4&scale=1001"}, "at most 1000"),
    ],
)
def test_malformed_image_blocks(block: dict[str, Any], text: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_block(block)
    assert text in str(caught.value)


def test_errors_blame_the_argument_they_are_told() -> None:
    with pytest.raises(ImageError) as caught:
        parse_block({"type": "image"}, argument="screenshot")
    assert caught.value.argument == "screenshot"
    assert str(caught.value).startswith("screenshot: expected")


def test_image_data_is_never_shown() -> None:
    secret = base64.b64encode(b"secret" * 400).decode()
    ref = inline_reference(secret, "image/png")
    digest = hashlib.sha256(b"secret" * 400).hexdigest()
    assert repr(ref) == f"ImageRef(<image/png, 2400 bytes, sha256:{digest[:12]}>)"
    assert "c2Vj" not in repr(crop_reference(ref, (1, 2, 3, 4)))
    assert "#xywh=1,2,2,2" in repr(crop_reference(ref, (1, 2, 3, 4)))
    assert "c2Vj" not in repr(inline_reference("!" + secret))
    for block in ({"type": "image", "url": "xy:" + secret}, {"type": "image", "url": b"c2Vj"}):
        with pytest.raises(ImageError) as caught:
            parse_block(block)
        assert "c2Vj" not in str(caught.value)


def test_file_keys_change_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a b.png"
    path.write_bytes(b"one")
    ref = parse_reference(str(path))
    before = ref.key
    assert parse_reference(path.as_uri()).key == before
    assert crop_reference(ref, (0, 0, 1, 1)).key == before + "#xywh=0,0,1,1"
    path.write_bytes(b"longer")
    assert ref.key != before
    path.unlink()
    assert ref.key == f"file:{path}"


@given(REGIONS, st.data())
def test_a_crop_of_a_crop_is_a_crop_of_the_original(outer: Region, data: st.DataObject) -> None:
    width, height = outer.size
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    inner = crop_reference(ImageRef("a.png", outer), (left, top, right, bottom), scale=2).region
    assert inner is not None
    assert inner.scale == 2
    # Inside the outer region, covering what was asked for, and less than a pixel more on each side.
    assert outer.x <= inner.x < inner.x + inner.width <= outer.x + outer.width
    assert outer.y <= inner.y < inner.y + inner.height <= outer.y + outer.height
    for start, length, low, high, begin, factor in (
        (inner.x, inner.width, left, right, outer.x, outer.width / width),
        (inner.y, inner.height, top, bottom, outer.y, outer.height / height),
    ):
        assert -1 < start - (begin + low * factor) <= 1e-6
        assert -1e-6 <= start + length - (begin + high * factor) < 1


def test_known_crops() -> None:
    whole = parse_reference("a.png")
    zoomed = crop_reference(whole, (100, 200, 300, 300), scale=4)
    assert zoomed.uri == "a.png#xywh=100,200,200,100&scale=4.0"
    assert zoomed.region is not None
    assert zoomed.region.size == (800, 400)
    assert crop_reference(zoomed, (400, 0, 800, 200)).uri == "a.png#xywh=200,200,100,50"
    assert crop_reference(zoomed, (-9, 0, 99999, 99999)).uri == "a.png#xywh=100,200,200,100"
    assert crop_reference(whole, (-5, -5, 10, 10)).uri == "a.png#xywh=0,0,10,10"
    assert parse_reference("a.png#xywh=pixel:1,2,3,4").region == Region(1, 2, 3, 4)


@pytest.mark.parametrize(
    "box", [(3, 0, 3, 9), (5, 0, 3, 9), (-9, 0, -1, 5), (1, 2, 3), (1.5, 2, 3, 4), (True, 0, 3, 4)]
)
def test_unusable_crops(box: Any) -> None:
    with pytest.raises(ArgumentError, match="box"):
        crop_reference(parse_reference("a.png"), box)


def test_a_crop_outside_the_outer_region_is_refused() -> None:
    with pytest.raises(ArgumentError, match="inside the image"):
        crop_reference(parse_reference("a.png#xywh=0,0,10,10"), (10, 0, 20, 5))


def test_images_of_all_messages_in_order() -> None:
    messages: list[BaseMessage] = [
        HumanMessage("no image"),
        HumanMessage(
            [{"type": "image", "url": "a.png"}, {"type": "text", "text": "?"}, "text", {"type": "image", "base64": B64}]
        ),
        AIMessage("ok"),
        ToolMessage([{"type": "image_url", "image_url": {"url": "b.png#xywh=1,2,3,4"}}], tool_call_id="1"),
    ]
    assert [ref.uri for ref in find_images(messages)] == ["a.png", DATA, "b.png#xywh=1,2,3,4"]
    with pytest.raises(ImageError):
        find_images([HumanMessage([{"type": "image"}])])


def test_question_text() -> None:
    assert question_text(HumanMessage(" What? ")) == "What?"
    blocks: list[str | dict[Any, Any]] = [
        {"type": "text", "text": "What"},
        {"type": "image", "url": "a"},
        " is it? ",
        {"type": "text"},
    ]
    assert question_text(HumanMessage(blocks)) == "What\nis it?"
    assert question_text(HumanMessage([{"type": "image", "url": "a"}])) == ""
