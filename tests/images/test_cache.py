"""The cache of decoded images."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from langgraph_speceyes.errors import ArgumentError, ImageError
from langgraph_speceyes.images import (
    ImageCache,
    ImagePolicy,
    ImageRef,
    ImageStore,
    Region,
    aload_image,
    configure_cache,
    encoded,
    inline_reference,
    load_image,
)
from langgraph_speceyes.images import load as load_module
from langgraph_speceyes.images.decode import decode
from tests.images.pictures import encode, picture
from tests.waiting import PATIENCE_S, until


def counted(monkeypatch: pytest.MonkeyPatch, before: Callable[[], object] = lambda: None) -> list[str]:
    decoded: list[str] = []

    def count(data: bytes, policy: ImagePolicy, argument: str, name: str, smaller: bool = False) -> Image.Image:
        decoded.append(name)
        before()
        return decode(data, policy, argument, name, smaller)

    monkeypatch.setattr(load_module, "decode", count)
    return decoded


def test_one_decode_for_all_forms_and_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = counted(monkeypatch)
    ref = inline_reference(encode(picture()))
    store = ImageStore(tmp_path)
    reference = store.put(encode(picture()))
    load_image(ref)
    load_image(ImageRef(ref.source, Region(1, 1, 2, 2)))
    load_image({"type": "image", "data": encode(picture())})
    load_image(reference, store=store)
    encoded(reference, store=store)
    assert len(decoded) == 1


def test_a_changed_file_is_decoded_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(picture()))
    assert load_image(str(path)).size == (40, 30)
    path.write_bytes(encode(picture(41, 30)))
    assert load_image(str(path)).size == (41, 30)


def test_concurrent_loads_decode_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ImageCache()
    monkeypatch.setattr(load_module, "_CACHE", cache)

    both = threading.Barrier(2, timeout=PATIENCE_S)

    def all_have_asked() -> None:
        until(lambda: sum(len(waiting) for _, waiting in cache._loading.values()) == 8)
        both.wait()

    decoded = counted(monkeypatch, before=all_have_asked)
    refs = [inline_reference(encode(picture(40, height))) for height in (30, 31)] * 4

    async def load_all() -> list[Image.Image]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(8))
        return list(await asyncio.gather(*(aload_image(ref) for ref in refs)))

    images = asyncio.run(load_all())
    assert len(decoded) == 2
    assert len({id(image) for image in images}) == 2


def test_a_failed_load_is_tried_again_by_those_who_waited() -> None:
    cache = ImageCache()
    started = threading.Event()
    results: list[object] = []

    def failing() -> Image.Image:
        started.set()
        until(lambda: len(cache._loading["key"][1]) == 2)
        raise ImageError("a", "b", "c")

    def first() -> None:
        try:
            cache.get("key", failing)
        except ImageError as error:
            results.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert started.wait(PATIENCE_S)
    image = cache.get("key", picture)
    thread.join()
    assert cache.get("key", failing) is image
    assert isinstance(results[0], ImageError)


def test_the_cache_keeps_what_was_used_last_within_its_budget() -> None:
    cache = ImageCache(3 * 4 * 100)
    made: list[str] = []

    def get(key: str, side: int = 10) -> None:
        def make() -> Image.Image:
            made.append(key)
            return Image.new("RGB", (side, side))

        cache.get(key, make)

    for key in "abcadbac":
        get(key)
    # d pushes b out, b pushes c out, c pushes d out.
    assert "".join(made) == "abcdbc"
    assert cache.used_bytes == 1200
    get("large", side=20)
    get("large", side=20)
    assert made[-2:] == ["large", "large"]
    assert cache.used_bytes == 1200
    cache.resize(400)
    assert cache.used_bytes == 400
    cache.clear()
    assert cache.used_bytes == 0
    with pytest.raises(ArgumentError, match="max_bytes"):
        cache.resize(-1)


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from([400, 400, 400, 1100])), max_size=80))
@example([*((k, 400) for k in range(12)), (0, 1100), (1, 1100), (2, 1100)])
def test_large_images_go_before_small_ones_within_the_budget(asked: list[tuple[int, int]]) -> None:
    budget = 12 * 1024 * 1024
    cache = ImageCache(budget)
    blank = {side: Image.new("L", (side, side)) for side in (400, 1100)}
    kept: list[tuple[int, int]] = []  # the most recently used last

    def used(side: int = 0) -> int:
        return sum(4 * s * s for _, s in kept if side in (0, s))

    for key, side in asked:
        cache.get(f"{key} {side}", lambda side=side: blank[side])  # type: ignore[misc]
        kept = [*(k for k in kept if k != (key, side)), (key, side)]
        while used() > budget:
            first = 400 if 2 * used(400) > budget or not used(1100) else 1100
            kept.remove(next(k for k in kept if k[1] == first))
        assert cache.used_bytes == used()
        for number, size in ((n, s) for n in range(13) for s in blank):
            held = cache._small if size == 400 else cache._large
            assert (f"{number} {size}" in held) == ((number, size) in kept)


def test_a_budget_of_zero_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_cache(0)
    decoded = counted(monkeypatch)
    ref = inline_reference(encode(picture()))
    assert load_image(ref).tobytes() == load_image(ref).tobytes()
    assert len(decoded) == 2
