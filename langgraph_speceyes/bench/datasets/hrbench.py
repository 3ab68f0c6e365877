"""HR-Bench 4K and 8K: https://huggingface.co/datasets/DreamMr/HR-Bench."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from langgraph_speceyes.answers.options import LETTERS
from langgraph_speceyes.bench.datasets.item import BadRow, Item
from langgraph_speceyes.bench.datasets.rows import AnyPath, Images, Row, existing, gold_letter, items, parquet_rows
from langgraph_speceyes.bench.datasets.tsv import Tsv
from langgraph_speceyes.errors import ArgumentError

_COLUMNS = ("index", "question", "A", "B", "C", "D", "answer", "category")


def hrbench(path: AnyPath, *, skip_bad: bool = False) -> Iterator[Item | BadRow]:
    """Read HR-Bench, one row in memory at a time.

    Every question is there four times, with its options rotated; `cycle_category` is the number of the rotation. No
    column says which rows belong together, so the group is a hash of question, set of options and image.

    Args:
        path: `hr_bench_4k.tsv` or `hr_bench_8k.tsv` (`index`, `question`, `A` to `D`, `answer`, `category`, `image` as
            base64 or the index of the row that has it), the file VLMEvalKit makes of it (`image_path` instead of
            `image`, relative to the file), or the same columns as parquet.
        skip_bad: Yield a :class:`BadRow` where a row is bad, instead of raising.

    Yields:
        The items in the file's order; splits are `single` and `cross`.

    Raises:
        ArgumentError: The path is no such file, lacks a column or rows, or a row is bad (missing value, repeated
            index, unreadable image, no option of the given letter).
        MissingExtraError: A parquet file needs pyarrow.
    """
    file = existing(path)
    if file.is_dir():
        raise ArgumentError("path", "an HR-Bench file, such as hr_bench_4k.tsv", f"a folder, {file}")
    if file.suffix == ".parquet":
        yield from items(parquet_rows(file, (*_COLUMNS, "image")), _item, skip_bad=skip_bad)
        return
    with _table(file) as table:
        yield from items(table.rows(), _item, skip_bad=skip_bad)


def _table(file: Path) -> Tsv:
    table = Tsv(file, _COLUMNS)
    if not {"image", "image_path"} & set(table.columns):
        with table:
            raise ArgumentError("path", f"a column 'image' in {file}", f"columns {', '.join(table.columns)[:300]}")
    return table


def _item(row: Row, images: Images) -> Item:
    row.split = row.text("category")
    row.id = row.text("index")
    question = row.text("question")
    given = [str(row.values.get(letter) or "").strip() for letter in LETTERS]
    options = tuple(option for option in given if option)
    if given[: len(options)] != list(options):
        missing = LETTERS[given.index("")]
        raise ArgumentError(missing, "a text for every option up to the last one", "empty text")
    letter = gold_letter(row.text("answer"), options, "answer")
    elsewhere = "image_path" in row.values and not row.values.get("image")
    image = row.path(row.file.parent, "image_path") if elsewhere else row.inline()
    same = json.dumps([question, sorted(options), images.check(image)])
    group = hashlib.sha256(same.encode()).hexdigest()[:16]
    return Item(row.id, row.split, question, options, options[ord(letter) - ord("A")], image, group, letter)
