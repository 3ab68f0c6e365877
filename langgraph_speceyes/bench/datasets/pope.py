"""POPE: https://huggingface.co/datasets/lmms-lab/POPE, and the files of https://github.com/RUCAIBox/POPE."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from langgraph_speceyes.bench.datasets.item import BadRow, Item
from langgraph_speceyes.bench.datasets.rows import (
    AnyPath,
    Images,
    Row,
    existing,
    items,
    json_lines,
    parquet_rows,
    yes_or_no,
)
from langgraph_speceyes.errors import ArgumentError

_COLUMNS = ("question_id", "question", "answer", "image", "category")
IMAGES = "val2014"
_SPLIT = re.compile(r"random|popular|adversarial")


def pope(path: AnyPath, *, images: AnyPath | None = None, skip_bad: bool = False) -> Iterator[Item | BadRow]:
    """Read POPE. Ids are `split/question_id`, since every split counts from 1.

    Args:
        path: A parquet file (`question_id`, `question`, `answer`, `image`, `category`) or one of the original files
            with a JSON object a line (`question_id`, `image`, `text`, `label`), whose name holds the split; or a
            folder of either, of which `Full/` is taken if it has one: the Hugging Face repository holds every question
            a second time under `data/`.
        images: The folder of COCO images that the original files name, by default `val2014` beside them or up to two
            folders above; parquet files hold theirs.
        skip_bad: Yield a :class:`BadRow` where a row is bad, instead of raising.

    Yields:
        The items in the files' order; the answer is `yes` or `no`, splits are `adversarial`, `popular` and `random`.

    Raises:
        ArgumentError: The path is no such file, lacks a column or rows, `images` is missing, or a row is bad (missing
            value, repeated id, unreadable image, another answer than yes or no).
        MissingExtraError: A parquet file needs pyarrow.
    """
    place = existing(path)
    files = [place]
    if place.is_dir():
        full = place / "Full"
        files = sorted((full if full.is_dir() else place).rglob("*.parquet")) or sorted(place.glob("*pope*.json*"))
    if not files:
        raise ArgumentError("path", "parquet files or POPE's JSON files", f"none in {place}")
    folder = None
    if any(file.suffix != ".parquet" for file in files):
        folder = _beside(files[0]) if images is None else Path(images)
        if folder is None or not folder.is_dir():
            found = f"no {IMAGES} beside it or above" if folder is None else f"no folder at {folder}"
            raise ArgumentError("images", f"the folder of the COCO images that {files[0]} names", found)
    yield from items(_rows(files), partial(_item, folder), skip_bad=skip_bad)


def _beside(file: Path) -> Path | None:
    """The folder of images by the name that COCO gives it, near a file of questions."""
    above = file.absolute().parents[:3]
    return next((found for place in above if (found := place / IMAGES).is_dir()), None)


def _rows(files: list[Path]) -> Iterator[Row]:
    for file in files:
        yield from parquet_rows(file, _COLUMNS) if file.suffix == ".parquet" else json_lines(file)


def _item(folder: Path | None, row: Row, images: Images) -> Item:
    if row.file.suffix == ".parquet":
        row.split = row.text("category")
        question, answer = row.text("question"), yes_or_no(row.text("answer"), "answer")
    else:
        named = _SPLIT.findall(row.file.stem)
        row.split = named[-1] if named else row.file.stem
        question, answer = row.text("text"), yes_or_no(row.text("label"), "label")
    row.id = f"{row.split}/{row.text('question_id')}"
    image = row.inline() if folder is None or row.file.suffix == ".parquet" else row.path(folder)
    images.check(image)
    return Item(row.id, row.split, question, (), answer, image)
