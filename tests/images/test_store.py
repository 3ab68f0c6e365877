"""The image store, and messages interned into it."""

from __future__ import annotations

import base64
import hashlib
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import (
    ImageRef,
    ImageStore,
    default_store,
    find_images,
    inline_reference,
    intern_images,
    intern_reference,
    restore_images,
)

DATA = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
B64 = base64.b64encode(DATA).decode()
SHA = "sha256:" + hashlib.sha256(DATA).hexdigest()
LINES = "\n".join(B64[i : i + 76] for i in range(0, len(B64), 76))

INLINE_BLOCKS: list[dict[str, Any]] = [
    {"type": "image", "base64": B64, "mime_type": "image/png", "id": "x", "extras": {"mine": 1}},
    {"type": "image", "data": DATA},
    {"type": "image", "data": B64, "source_type": "base64", "mime_type": "image/png"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}, "cache_control": {"a": 1}},
    {"type": "image", "url": f"data:image/png;base64,{B64}"},
    {"type": "image_url", "image_url": f"data:image/png;charset=x;base64,{B64}"},
    {"type": "image_url", "image_url": {"url": f"DATA:image/png;base64,{B64}", "detail": "low"}},
    {"type": "image", "base64": LINES, "mime_type": "image/png"},
    {"type": "image_url", "image_url": {"url": "data:image/png," + "".join(f"%{byte:02x}" for byte in DATA)}},
]


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "deep" / "images")


def test_put_and_get(store: ImageStore) -> None:
    assert not store.directory.exists()
    assert store.put(DATA) == SHA
    assert store.get(SHA) == DATA
    assert store.size(SHA) == len(DATA)
    path = store.path(SHA)
    assert path == store.directory / SHA[7:9] / SHA[7:]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700


def test_putting_again_does_not_write(store: ImageStore) -> None:
    store.put(DATA)
    before = store.path(SHA).stat()
    assert store.put(DATA) == SHA
    after = store.path(SHA).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    store.path(SHA).write_bytes(b"cut short")
    store.put(DATA)
    assert store.get(SHA) == DATA


def test_a_failed_write_leaves_nothing(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ImageError, match="No space left") as caught:
        store.put(DATA)
    assert str(store.directory) in str(caught.value)
    assert [path for path in store.directory.rglob("*") if path.is_file()] == []


def test_threads_may_put_the_same_image(store: ImageStore) -> None:
    data = DATA * 1000
    threads = [threading.Thread(target=store.put, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = [path for path in store.directory.rglob("*") if path.is_file()]
    assert len(files) == 1
    assert files[0].read_bytes() == data


def test_what_is_not_there(store: ImageStore) -> None:
    for read in (store.get, store.size):
        with pytest.raises(ImageError, match="No such file") as caught:
            read(SHA)
        assert str(store.directory) in str(caught.value)
        assert SHA in str(caught.value)
    for reference in ("sha256:../../etc/passwd", SHA[:-1], SHA + "\n", SHA + "/..", ""):
        with pytest.raises(ImageError, match="64 hexadecimal"):
            store.path(reference)


def test_damage_is_noticed(store: ImageStore) -> None:
    store.put(DATA)
    store.path(SHA).write_bytes(bytes(len(DATA)))
    with pytest.raises(ImageError, match="damaged"):
        store.get(SHA)


def test_the_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(tmp_path / "a"))
    assert default_store().directory == ImageStore(None).directory == tmp_path / "a"
    monkeypatch.delenv("SPECEYES_IMAGE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert default_store().directory == tmp_path / "b" / "langgraph-speceyes" / "images"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert default_store().directory == tmp_path / "c" / ".cache" / "langgraph-speceyes" / "images"


@pytest.mark.parametrize("block", INLINE_BLOCKS)
def test_every_inline_block_comes_back_equal(block: dict[str, Any], store: ImageStore) -> None:
    message = HumanMessage([{"type": "text", "text": "?"}, block], id="7", name="n", additional_kwargs={"k": 1})
    original = message.model_copy(deep=True)
    [interned] = intern_images([message], store)
    assert message == original
    assert (interned.id, interned.name, interned.additional_kwargs) == ("7", "n", {"k": 1})
    assert interned.content[0] == {"type": "text", "text": "?"}
    assert interned.content[1]["type"] == "image"  # type: ignore[index]
    assert interned.content[1]["url"] == SHA  # type: ignore[index]
    assert len(str(interned.content)) < 700
    assert find_images([interned]) == [ImageRef(SHA)]
    assert restore_images([interned], store) == [original]
    assert intern_images([interned], store)[0] is interned


@given(st.binary(min_size=1, max_size=200), st.sampled_from(["base64", "data", "url"]))
def test_any_bytes_round_trip(tmp_path_factory: pytest.TempPathFactory, data: bytes, form: str) -> None:
    store = ImageStore(tmp_path_factory.getbasetemp() / "any")
    text = base64.b64encode(data).decode()
    message = HumanMessage([{"type": "image", form: f"data:image/png;base64,{text}" if form == "url" else text}])
    [interned] = intern_images([message], store)
    assert interned.content[0]["url"] == "sha256:" + hashlib.sha256(data).hexdigest()  # type: ignore[index]
    assert restore_images([interned], store) == [message]


def test_regions_of_inline_images(store: ImageStore) -> None:
    block = {"type": "image", "url": f"data:image/png;base64,{B64}#xywh=1,2,3,4&scale=2"}
    [interned] = intern_images([HumanMessage([block])], store)
    assert find_images([interned])[0].uri == f"{SHA}#xywh=1,2,3,4&scale=2.0"
    assert restore_images([interned], store) == [HumanMessage([block])]


def test_nothing_inline_means_the_same_objects(store: ImageStore) -> None:
    messages: list[BaseMessage] = [
        HumanMessage("text"),
        AIMessage([{"type": "text", "text": "t"}, "t"]),
        ToolMessage([{"type": "image", "path": "a.png"}, {"type": "image", "url": SHA}], tool_call_id="1"),
        HumanMessage([{"type": "image_url", "image_url": {"url": "https://host/a.png"}}]),
        HumanMessage([{"type": "image"}, {"type": "image", "base64": "!"}, {"type": "image", "data": ""}]),
        HumanMessage([{"type": "image", "data": 7}, {"type": "image_url"}, {"type": "image", "extras": {}}]),
    ]
    for change in (intern_images, restore_images):
        assert all(new is old for new, old in zip(change(messages, store), messages, strict=True))
    assert not store.directory.exists()


def test_restoring_from_a_store_that_lacks_the_image(store: ImageStore, tmp_path: Path) -> None:
    interned = intern_images([HumanMessage([INLINE_BLOCKS[0]])], store)
    with pytest.raises(ImageError, match=str(tmp_path / "other")):
        restore_images(interned, ImageStore(tmp_path / "other"))


def test_interned_references(store: ImageStore) -> None:
    ref = inline_reference(DATA)
    assert intern_reference(ref, store) == ImageRef(SHA)
    assert intern_reference(ref, store).key == ref.key
    assert store.get(SHA) == DATA
    other = ImageRef("a.png")
    assert intern_reference(other, store) is other
    with pytest.raises(ImageError, match="base64"):
        intern_reference(inline_reference("!!!"), store)
