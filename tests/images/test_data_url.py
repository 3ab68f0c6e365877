"""Every spelling of inline data means the same, whichever way it takes, and comes back as it was written."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import textwrap
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import (
    ImageStore,
    find_images,
    intern_images,
    load_image,
    parse_block,
    parse_reference,
    restore_images,
)
from langgraph_speceyes.images.data_url import is_data_url, split_data_url, standard_base64
from tests.images.pictures import encode, picture

PAYLOADS: dict[str, Callable[[str], str]] = {
    "standard": lambda text: text,
    "url-safe": lambda text: text.replace("+", "-").replace("/", "_"),
    "no padding": lambda text: text.rstrip("="),
    "url-safe without padding": lambda text: text.replace("+", "-").replace("/", "_").rstrip("="),
    "lines": lambda text: "\r\n".join(textwrap.wrap(text, 4)),
    "trailing newline": lambda text: text + "\n",
    "leading space": lambda text: " " + text,
}
HEADS = [
    "data:image/png;base64,",
    "data:image/png; base64,",
    "data:image/png;base64 ,",
    "data:image/png;base64;charset=utf-8,",
    "data:image/png;name=a.png;base64,",
    "DATA:image/PNG;BASE64,",
    " data:image/png;base64,",
    "\n\tdata:image/png;base64,",
]
URL_ONLY: dict[str, Callable[[str], str]] = {
    "percent signs": lambda text: text.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
}


@settings(deadline=None)
@given(
    st.binary(min_size=1, max_size=90),
    st.sampled_from(list((PAYLOADS | URL_ONLY).values())),
    st.sampled_from(HEADS),
    st.sampled_from(["", "#xywh=1,2,3,4", "#xywh=1,2,3,4&scale=2.5\n"]),
    st.sampled_from(["url", "image_url", "nested"]),
)
def test_any_spelling_of_a_url(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    spell: Callable[[str], str],
    head: str,
    fragment: str,
    form: str,
) -> None:
    store = ImageStore(tmp_path_factory.getbasetemp() / "spellings")
    url = head + spell(base64.b64encode(data).decode()) + fragment
    block: dict[str, Any] = {
        "url": {"type": "image", "url": url},
        "image_url": {"type": "image_url", "image_url": url},
        "nested": {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
    }[form]
    message = HumanMessage([block])
    [direct] = find_images([message])
    assert direct.inline_bytes() == data
    assert direct.mime_type == "image/png"
    assert direct.source == "data:image/png;base64," + base64.b64encode(data).decode()
    [interned] = intern_images([message], store)
    [reference] = find_images([interned])
    assert reference.kind == "store"
    assert reference.key == direct.key
    assert reference.region == direct.region
    assert store.get(reference.source) == data
    assert restore_images([interned], store)[0].content == [block]


@settings(deadline=None)
@given(
    st.binary(min_size=1, max_size=90), st.sampled_from(list(PAYLOADS.values())), st.sampled_from(["base64", "data"])
)
def test_any_spelling_of_a_payload(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, spell: Callable[[str], str], field: str
) -> None:
    store = ImageStore(tmp_path_factory.getbasetemp() / "spellings")
    block = {"type": "image", field: spell(base64.b64encode(data).decode()), "mime_type": "image/png"}
    ref = parse_block(block)
    assert ref is not None
    assert ref.inline_bytes() == data
    [interned] = intern_images([HumanMessage([block])], store)
    assert find_images([interned])[0].source == "sha256:" + hashlib.sha256(data).hexdigest()
    assert restore_images([interned], store)[0].content == [block]


@settings(deadline=None)
@given(st.text(max_size=60), st.sampled_from(["", "data:", " data:;base64,", "data:,", "data:;base64,#xywh="]))
def test_any_text_is_read_or_refused_and_comes_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, head: str
) -> None:
    store = ImageStore(tmp_path_factory.getbasetemp() / "spellings")
    message = HumanMessage([{"type": "image", "base64": head + text}])
    with contextlib.suppress(ImageError):
        parse_reference(head + text)
    assert restore_images(intern_images([message], store), store)[0].content == message.content


@settings(deadline=None)
@given(st.text(max_size=80))
def test_the_parts_make_up_the_url(rest: str) -> None:
    url = split_data_url(f"data:{rest}")
    if url is None:
        assert "," not in rest
        return
    assert url.head + url.body + url.fragment == f"data:{rest}"
    assert url.head.endswith(",")


@settings(deadline=None)
@given(st.text(max_size=40))
def test_the_standard_form_is_its_own(text: str) -> None:
    assert standard_base64(standard_base64(text)) == standard_base64(text)


def test_a_picture_is_the_same_in_every_spelling() -> None:
    text = base64.b64encode(encode(picture())).decode()
    for head in HEADS:
        for spell in (PAYLOADS | URL_ONLY).values():
            assert load_image(head + spell(text)).tobytes() == picture().tobytes()


@pytest.mark.parametrize("path", ["data.png", "./data:a.png", " a.png", "", "dat"])
def test_paths_are_no_data(path: str) -> None:
    assert not is_data_url(path)


def test_a_path_field_is_never_data(tmp_path: Path) -> None:
    message = HumanMessage([{"type": "image", "path": "data:,a"}])
    assert intern_images([message], ImageStore(tmp_path / "store"))[0] is message
    assert find_images([message])[0].source == "./data:,a"


def test_odd_data_is_not_shown_by_errors() -> None:
    with pytest.raises(ImageError, match="text of 212 characters") as caught:
        parse_reference(" data:image/png;base64" + "c2Vj" * 47 + "ww")
    assert "c2Vj" not in str(caught.value)
    with pytest.raises(ImageError, match="has no encoding"):
        parse_reference("data:,\ud800")


@pytest.mark.parametrize("head", ["data:image/png,", "data:image/png;base64,"])
def test_long_percent_encoded_data_is_refused_before_it_is_read(head: str) -> None:
    with pytest.raises(ImageError, match="more than 1048576 characters"):
        parse_reference(head + "%41" * 1_000_000)


@pytest.mark.parametrize("head", ["data:image/png,", "data:image/png;base64,"])
def test_percent_signs_alone_are_refused_before_they_are_taken_apart(head: str) -> None:
    with pytest.raises(ImageError, match="percent signs without their digits"):
        parse_reference(head + "%" * 100)
    assert parse_reference(head + "%41" * 100).inline_bytes()


def test_base64_may_have_its_own_characters_escaped_at_any_length() -> None:
    data = b"\xfb\xef\xbe" * 400_000
    text = base64.b64encode(data).decode().replace("+", "%2b").replace("/", "%2F")
    assert len(text) > 4_000_000
    assert parse_reference(f"data:image/png;base64,{text}").inline_bytes() == data


def test_blanks_between_all_characters_cost_no_list_of_them() -> None:
    text = " ".join(base64.b64encode(bytes(range(256)) * 2000).decode())
    tracemalloc.start()
    ref = parse_reference(f"data:image/png;base64,{text}")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ref.inline_bytes() == bytes(range(256)) * 2000
    assert most < 6 * len(text)
