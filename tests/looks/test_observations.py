"""What looks give: regions that are references, within the limits, and text."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from langgraph_speceyes.errors import ArgumentError, ImageError, LookError
from langgraph_speceyes.images import ImagePolicy, ImageRef, Region, inline_reference, load_image, parse_reference
from langgraph_speceyes.looks import (
    MOST_CHARACTERS,
    MOST_OBSERVATIONS,
    FunctionLook,
    Sight,
    observed,
    ocr,
    resolve_looks,
    tiles,
)


@pytest.fixture(params=["sync", "async"])
def take(request: pytest.FixtureRequest) -> Callable[[Any, Sight], Any]:
    """Takes a look, in either form."""
    return (lambda look, sight: look(sight)) if request.param == "sync" else lambda look, s: asyncio.run(look.acall(s))


def picture(path: Path, width: int, height: int) -> ImageRef:
    values = np.arange(width * height * 3, dtype=np.uint32).reshape(height, width, 3) * 2654435761 >> 7
    Image.fromarray((values % 256).astype(np.uint8)).save(path)
    return parse_reference(str(path))


@given(st.integers(56, 130), st.integers(56, 130), st.integers(1, 2), st.integers(1, 2))
def test_tiles_cover_an_image_once(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, rows: int, columns: int
) -> None:
    if rows * columns < 2:
        rows = 2
    image = picture(tmp_path_factory.mktemp("tiles") / "one.png", width, height)
    blocks = observed(tiles(rows, columns)(Sight((image,), "?")))
    assert len(blocks) == rows * columns
    parts = [np.asarray(load_image(block)) for block in blocks]
    whole = np.concatenate(
        [np.concatenate(parts[row * columns : (row + 1) * columns], axis=1) for row in range(rows)], axis=0
    )
    assert np.array_equal(whole, np.asarray(load_image(image)))


def test_tiles_of_every_image_in_their_order(tmp_path: Path, take: Any) -> None:
    images = picture(tmp_path / "a.png", 80, 60), picture(tmp_path / "b.png", 60, 80)
    urls = [block["url"] for block in observed(take(tiles(1, 2), Sight(images, "?")))]
    assert urls == [
        f"{tmp_path}/{name}#xywh={region}"
        for name, region in [
            *(("a.png", "0,0,40,60"), ("a.png", "40,0,40,60")),
            *(("b.png", "0,0,30,80"), ("b.png", "30,0,30,80")),
        ]
    ]


def test_tiles_of_a_region_are_regions_of_the_original(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png", 200, 200)
    part = ImageRef(image.source, Region(100, 40, 80, 60))
    first, second = observed(tiles(1, 2)(Sight((part,), "?")))
    assert (first["url"], second["url"]) == (f"{image.uri}#xywh=100,40,40,60", f"{image.uri}#xywh=140,40,40,60")


def test_tiny_tiles_are_shown_large_enough(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png", 30, 20)
    sizes = [load_image(block).size for block in observed(tiles(2, 2)(Sight((image,), "?")))]
    assert all(min(size) >= 28 for size in sizes)
    assert len(observed(tiles(4, 4)(Sight((picture(tmp_path / "b.png", 2, 3),), "?")))) == 2 * 3


@pytest.mark.parametrize(
    ("rows", "columns", "argument"), [(0, 2, "rows"), (2, -1, "columns"), (1.0, 2, "rows"), (True, 2, "rows")]
)
def test_a_grid_has_whole_numbers(rows: Any, columns: Any, argument: str) -> None:
    with pytest.raises(ArgumentError, match=rf"^{argument}:"):
        tiles(rows, columns)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (9, 9)])
def test_a_grid_has_neither_one_tile_nor_hundreds(rows: int, columns: int) -> None:
    with pytest.raises(ArgumentError, match="2 to 64 tiles"):
        tiles(rows, columns)


class Reads:
    """Reads the size of what it is shown."""

    def read(self, image: Image.Image) -> list[str]:
        return [] if image.width == 7 else [f"{image.width} wide", f"{image.height} high"]


def test_ocr_reads_the_whole_image(tmp_path: Path, take: Any) -> None:
    sight = Sight((picture(tmp_path / "a.png", 50, 40),), "?")
    assert observed(take(ocr(reader=Reads()), sight)) == [{"type": "text", "text": "50 wide\n40 high"}]


def test_ocr_reads_where_it_is_told_to(tmp_path: Path, take: Any) -> None:
    asked: list[tuple[str, str]] = []

    def where(image: str, question: str) -> list[str | ImageRef]:
        asked.append((image, question))
        return [f"{image}#xywh=1,2,30,20", parse_reference(f"{image}#xywh=0,0,7,7")]

    image = picture(tmp_path / "a.png", 50, 40)
    look = ocr(where, reader=Reads())
    # a part without text gives nothing
    assert observed(take(look, Sight((image,), "Which word?"))) == [{"type": "text", "text": "30 wide\n20 high"}]
    assert asked == [(image.uri, "Which word?")]


@pytest.mark.parametrize("found", [None, []])
def test_ocr_reads_nothing_where_there_is_nothing_to_read(tmp_path: Path, found: Any) -> None:
    sight = Sight((picture(tmp_path / "a.png", 50, 40),), "?")
    assert observed(ocr(lambda image, question: found, reader=Reads())(sight)) == []


def test_ocr_is_told_where_by_references_only(tmp_path: Path) -> None:
    sight = Sight((picture(tmp_path / "a.png", 50, 40),), "?")
    where: Any = lambda image, question: (1, 2, 3, 4)  # noqa: E731
    with pytest.raises(LookError, match="where"):
        ocr(where, reader=Reads())(sight)
    with pytest.raises(ArgumentError, match="where"):
        ocr("here", reader=Reads())  # type: ignore[arg-type]


def test_ocr_keeps_to_the_policy(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png", 50, 40)
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ImageError):
        ocr(reader=Reads())(Sight((image,), "?", ImagePolicy(roots=(inside,))))


def test_a_function_is_called_for_each_image(tmp_path: Path, take: Any) -> None:
    def plain(image: str, question: str) -> str:
        return f"{question} {Path(image).name}"

    async def asynchronous(image: str, question: str) -> list[str]:
        await asyncio.sleep(0)
        return [f"{question} {Path(image).name}"]

    images = picture(tmp_path / "a.png", 8, 8), picture(tmp_path / "b.png", 8, 8)
    for function in (plain, asynchronous):
        (look,) = resolve_looks([function])
        assert look.name == function.__name__
        assert take(look, Sight(images, "Which?")) == ["Which? a.png", "Which? b.png"]


async def test_an_async_function_runs_in_the_sync_form_beside_a_running_loop(tmp_path: Path) -> None:
    async def where(image: str, question: str) -> str:
        await asyncio.sleep(0)
        return "seen"

    assert FunctionLook(where)(Sight((picture(tmp_path / "a.png", 8, 8),), "?")) == ["seen"]


def test_inline_images_are_given_to_functions_as_short_references(tmp_path: Path) -> None:
    given: list[str] = []
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30)).save(buffer, "PNG")
    data = parse_reference("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())

    def region(image: str, question: str) -> dict[str, str]:
        given.append(image)
        return {"type": "image", "url": f"{image}#xywh=0,0,10,10"}

    blocks = observed(FunctionLook(region)(Sight((data,), "?")))
    assert given[0].startswith("sha256:")
    assert len(given[0]) < 100
    assert blocks == [{"type": "image", "url": f"{given[0]}#xywh=0,0,10,10"}]


def test_observations_are_brought_to_content_blocks(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png", 50, 40)
    whole = {"type": "image", "url": image.uri}
    assert observed([image, " words \n", "", {"type": "text", "text": "more"}, whole, "  "]) == [
        *(whole, {"type": "text", "text": "words"}, {"type": "text", "text": "more"}, whole)
    ]
    assert observed("one") == [{"type": "text", "text": "one"}]
    assert observed(image) == [whole]
    assert observed(None) == observed(()) == []


@pytest.mark.parametrize("inline", [False, True])
def test_a_function_may_give_back_references_as_it_got_them(tmp_path: Path, inline: bool) -> None:
    image = picture(tmp_path / "a.png", 50, 40)
    if inline:
        image = inline_reference((tmp_path / "a.png").read_bytes())
    other = "b.png#xywh=0,0,9,9"

    def found(uri: str, question: str) -> list[str]:
        return [f" {uri}#xywh=1,2,30,20", uri, f"{uri}#xywh=0,0,9,9 is a door", f"{uri}0", other]

    given = FunctionLook(found)(Sight((image,), "?"))
    *shown, door, longer, elsewhere = observed(given, images=(image,))
    uri = image.key if inline else image.uri
    assert shown == [{"type": "image", "url": f"{uri}#xywh=1,2,30,20"}, {"type": "image", "url": uri}]
    assert [one["text"] for one in (door, longer, elsewhere)] == [f"{uri}#xywh=0,0,9,9 is a door", f"{uri}0", other]
    for outside in ("#xywh=1.5,0,10,10", "#xywh=60,0,10,10"):
        with pytest.raises(ImageError):
            observed(uri + outside, images=(image,))


def test_inline_data_becomes_a_reference(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 50, 40)
    data = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    (block,) = observed({"type": "image", "base64": data, "mime_type": "image/png"})
    assert block["url"].startswith("sha256:")
    assert data not in str(block)
    assert load_image(block).size == (50, 40)


@pytest.mark.parametrize(
    "found", [7, [b"bytes"], [["nested"]], {"type": "audio"}, [{"type": "text", "text": 3}], [(1, 2, 3, 4)], [{}]]
)
def test_what_is_no_observation_is_an_error_of_the_look(found: Any) -> None:
    with pytest.raises(LookError, match="observations"):
        observed(found)


def test_a_look_is_bounded() -> None:
    assert len(observed(["word"] * MOST_OBSERVATIONS)) == MOST_OBSERVATIONS
    with pytest.raises(LookError, match="at most 64"):
        observed(["word"] * (MOST_OBSERVATIONS + 1))
    assert observed("x" * MOST_CHARACTERS)
    with pytest.raises(LookError, match="characters"):
        observed(["x" * (MOST_CHARACTERS // 2), "x" * (MOST_CHARACTERS // 2 + 1)])


@pytest.mark.parametrize(
    ("region", "policy"),
    [
        # the policy's limits hold for what a look shows
        ("#xywh=0,0,10,10&scale=20", {"max_pixels": 10_000}),
        ("", {"max_bytes": 100}),
        ("", {"min_side": 60}),
        ("", {"roots": ()}),
        # and a region must lie in its image
        ("#xywh=50,0,10,10", {}),
    ],
)
def test_images_of_a_look_count_under_every_limit(tmp_path: Path, region: str, policy: dict[str, Any]) -> None:
    image = picture(tmp_path / "a.png", 50, 40)
    reference = parse_reference(image.uri + region)
    with pytest.raises(ImageError):
        observed([reference], ImagePolicy(**policy))
    if policy:
        assert observed([reference])


def test_a_remote_image_of_a_look_is_not_fetched() -> None:
    with pytest.raises(ImageError, match="remote"):
        observed({"type": "image", "url": "https://example.com/a.png"})


@pytest.mark.parametrize("given", ["tiles", 7, {"a": 1}, [7], [None], ["tiles"], [dict]])
def test_looks_are_callable(given: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^looks:"):
        resolve_looks(given)


@pytest.mark.parametrize("name", ["", None, 7])
def test_a_look_has_a_name(name: Any) -> None:
    class Nameless:
        def __init__(self) -> None:
            self.name = name

        def __call__(self, sight: Sight) -> None:
            raise AssertionError

        async def acall(self, sight: Sight) -> None:
            raise AssertionError

    with pytest.raises(ArgumentError, match="looks"):
        resolve_looks([Nameless()])
