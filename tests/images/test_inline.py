"""Images as hosted models take them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage
from PIL import Image

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import (
    ImagePolicy,
    ImageStore,
    ResizeRule,
    encoded,
    find_images,
    images_as_urls,
    inline_images,
    inline_local_images,
    inline_reference,
    load_image,
    load_resized,
)
from tests.images.blocks import B64, NO_IMAGES, UNLOADABLE, UNREADABLE
from tests.images.pictures import encode, picture, stored
from tests.images.test_block import BLOCKS, JSON


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


def turned(form: str, **settings: Any) -> bytes:
    """A picture that is to be shown turned by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(picture(), form, exif=exif, **settings)


FORMS = ["JPEG", "PNG", "WEBP", "TIFF"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["path", "inline", "interned"])
def test_servers_that_ignore_orientation_see_what_tools_cut(form: str, kind: str, tmp_path: Path) -> None:
    data = turned(form, **({"quality": 100, "subsampling": 0} if form == "JPEG" else {}))
    path, store = tmp_path / "photo", ImageStore(tmp_path / "store")
    path.write_bytes(data)
    block = {
        "path": {"type": "image", "path": str(path)},
        "inline": {"type": "image", "base64": base64.b64encode(data).decode(), "cache_control": {"a": 1}},
        "interned": {"type": "image", "url": store.put(data)},
    }[kind]
    [sent] = [cast("dict[str, Any]", m.content[0]) for m in inline_images([HumanMessage([block])], store=store)]
    seen = Image.open(io.BytesIO(base64.b64decode(sent["base64"])))
    own = load_image(block, store=store)
    assert own.size == seen.size == (30, 40)
    assert seen.getexif().get(0x0112, 1) == 1
    # brightness only: a JPEG keeps a quarter of the colours
    difference = np.asarray(seen.convert("L")).astype(int) - np.asarray(own.convert("L")).astype(int)
    assert np.abs(difference).mean() < (4 if form == "JPEG" else 0.01)
    assert sent["mime_type"] == ("image/jpeg" if form == "JPEG" else "image/png")
    assert ("cache_control" in sent) == (kind == "inline")


@pytest.mark.parametrize("form", FORMS)
def test_images_that_nothing_turns_are_left_alone(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    for data in (encode(picture(), form), encode(picture(), form, exif=exif)):
        message = HumanMessage([{"type": "image", "base64": base64.b64encode(data).decode()}])
        for _ in range(2):
            assert inline_images([message])[0] is message


def test_an_orientation_may_stand_in_other_places() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    late = turned("PNG")
    start = late.index(b"eXIf") - 4
    chunk = late[start : start + 12 + int.from_bytes(late[start : start + 4])]
    late = late[:start] + late[start + len(chunk) : -12] + chunk + late[-12:]
    for data in (encode(picture(), "JPEG", xmp=xmp), late):
        message = HumanMessage([{"type": "image", "base64": base64.b64encode(data).decode()}])
        [sent] = inline_images([message])
        assert load_image(message.content[0]).size == (30, 40)  # type: ignore[arg-type]
        raw = base64.b64decode(sent.content[0]["base64"])  # type: ignore[index]
        assert Image.open(io.BytesIO(raw)).size == (30, 40)


def test_odd_spellings_are_sent_in_the_standard_one() -> None:
    text = base64.b64encode(encode(picture())).decode()
    for url in (f"data:image/png; base64,{text}", f"data:;base64,{text.rstrip('=')}", f" data:image/png;base64,{text}"):
        [sent] = inline_images([HumanMessage([{"type": "image_url", "image_url": {"url": url}}])])
        assert sent.content == [{"type": "image", "base64": text, "mime_type": "image/png"}]
    [sent] = inline_images([HumanMessage([{"type": "image", "data": encode(picture())}])])
    assert sent.content == [{"type": "image", "base64": text, "mime_type": "image/png"}]


def test_what_is_said_beside_the_url_is_sent_with_the_image(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(turned("JPEG"))
    inline = f"data:image/jpeg;base64,{base64.b64encode(turned('JPEG')).decode()}"
    for url in (inline, str(path), f"{path}#xywh=0,0,30,30"):
        message = HumanMessage([{"type": "image_url", "image_url": {"url": url, "detail": "low"}, "id": "1"}])
        for sent in (
            inline_images([message]),
            inline_images([message], most_pixels=900),
            inline_local_images([message]),
        ):
            [block] = cast("list[dict[str, Any]]", sent[0].content)
            assert (block["type"], block["image_url"]["detail"], block["id"]) == ("image_url", "low", "1")
            assert block["image_url"]["url"] != url
            assert load_image(block).width in (30, 28)


def test_an_agent_gets_local_images_inline_and_all_else_as_it_came(tmp_path: Path) -> None:
    path, store = tmp_path / "a.png", ImageStore(tmp_path / "store")
    path.write_bytes(encode(picture()))
    local: list[Any] = [
        {"type": "image", "path": str(path), "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": path.as_uri()}},
        {"type": "image", "url": store.put(encode(picture()))},
        {"type": "image", "url": f"{path}#xywh=0,0,4,5"},
        {"type": "image", "url": f"data:image/png;base64,{B64}#xywh=0,0,4,5"},
    ]
    foreign: list[Any] = [
        *UNREADABLE.values(),
        *UNLOADABLE.values(),
        *NO_IMAGES,
        {"type": "image", "url": f" data:image/png; base64,{B64}"},
    ]
    message = HumanMessage([*local, *foreign], id="1")
    before = message.model_copy(deep=True)
    [sent] = inline_local_images([message], store=store)
    assert message == before
    assert sent.id == "1"
    blocks: list[Any] = list(sent.content)
    assert all(new is old for new, old in zip(blocks[len(local) :], message.content[len(local) :], strict=True))
    assert blocks[0] == {
        "type": "image",
        "base64": B64,
        "mime_type": "image/png",
        "cache_control": {"type": "ephemeral"},
    }
    assert [load_image(block).size for block in blocks[: len(local)]] == [(40, 30)] * 3 + [(4, 5)] * 2
    assert inline_local_images([sent], store=store)[0] is sent
    untouched = HumanMessage(foreign)
    assert inline_local_images([untouched, "no message"], store=store)[0] is untouched  # type: ignore[list-item]


def test_a_strict_policy_hands_paths_on(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(picture()))
    message = HumanMessage([{"type": "image", "path": str(path)}])
    for policy in (ImagePolicy(roots=()), ImagePolicy(max_bytes=10), ImagePolicy(max_pixels=10)):
        assert inline_local_images([message], policy)[0] is message


LOCAL = [
    {"type": "image", "url": f"data:image/png;base64,{B64}#xywh=0,0,4,5"},
    {"type": "image", "base64": f"data:;base64,{B64}#xywh=1,2,3,4&scale=3"},
]


@settings(deadline=None)
@given(st.lists(BLOCKS | JSON | st.sampled_from(LOCAL), max_size=5))
def test_handing_on_never_fails(blocks: list[Any]) -> None:
    message = HumanMessage("")
    message.content = blocks
    [sent] = inline_local_images([message])
    for new, old in zip(sent.content, blocks, strict=True):
        assert (new is not old) == any(old is local for local in LOCAL)
    assert inline_local_images([sent])[0] is sent


MIMES = st.sampled_from(["image/png", "image/jpeg; q=1", "image/svg+xml", "png", "a/b,c", 3, None])
PAYLOADS = st.one_of(
    st.sampled_from(
        [B64, B64.rstrip("="), f"{B64[:8]}\n{B64[8:]}", f"data:image/png;base64,{B64}", "-_=", "%20", "#x", ""]
    ),
    st.text(max_size=12),
    st.binary(max_size=12),
)
IMAGES: Any = st.one_of(
    BLOCKS,
    st.fixed_dictionaries({"type": st.just("image"), "base64": PAYLOADS, "mime_type": MIMES}),
    st.fixed_dictionaries({"type": st.just("image"), "url": st.text(max_size=12) | st.just("a.png#xywh=1,2,3,4")}),
)


@given(block=IMAGES)
def test_images_as_urls_refer_to_the_same(block: Any) -> None:
    message = HumanMessage("")
    message.content = [block]
    (shown,) = images_as_urls([message])
    try:
        expected = find_images([message])
    except ImageError as error:
        with pytest.raises(ImageError, match=error.argument):
            find_images([shown])
    else:
        assert find_images([shown]) == expected
    assert message.content == [block]


def test_images_as_urls() -> None:
    text, url = {"type": "text", "text": "?"}, {"type": "image", "url": "a.png", "id": "lc_1"}
    data = {"type": "image", "base64": B64, "mime_type": "image/png"}
    more = {"type": "image", "url": "a.png", "detail": "low"}
    (shown,) = images_as_urls([HumanMessage([text, url, data, more])])
    assert shown.content == [
        text,
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
        more,
    ]
    plain = HumanMessage([text])
    assert images_as_urls([plain])[0] is plain


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_the_same_for_models_servers_agents_and_tools(form: str, orientation: int) -> None:
    """A box about an object lands on it, whoever counts its pixels: also a server that ignores the tag."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    scene = Image.new("RGB", (320, 200), "white")
    scene.paste("red", (240, 20, 300, 60))
    data = encode(stored(scene, orientation), form, exif=exif)
    block = {"type": "image", "base64": base64.b64encode(data).decode()}
    message = HumanMessage([block, {"type": "text", "text": "?"}])
    box = (242, 22, 298, 58)
    shown = {
        "local model": load_image(block),
        "local model, resized": load_resized(block, ResizeRule(20, 400, 64_000)),
        "tool": load_image(f"data:image/x;base64,{block['base64']}#xywh=242,22,56,36"),
    }
    for name, sent in (("server", inline_images([message])), ("agent", inline_local_images([message]))):
        # as a server reads it that knows nothing of tags
        shown[name] = Image.open(io.BytesIO(base64.b64decode(sent[0].content[0]["base64"])))  # type: ignore[index]
        assert (sent[0] is message) == (orientation == 1)
    for name, image in shown.items():
        part = image if name == "tool" else image.convert("RGB").crop(box)
        red, green, blue = (channel.getextrema() for channel in part.split())
        assert image.size == ((56, 36) if name == "tool" else (320, 200)), name
        assert red[0] > 200, name
        assert max(green[1], blue[1]) < 60, name
