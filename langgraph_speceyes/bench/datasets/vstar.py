"""V*: https://huggingface.co/datasets/craigwu/vstar_bench, and lmms-lab/vstar-bench as parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from langgraph_speceyes.answers.options import parted
from langgraph_speceyes.bench.datasets.item import BadRow, Item
from langgraph_speceyes.bench.datasets.rows import (
    AnyPath,
    Images,
    Row,
    existing,
    gold_letter,
    image_file,
    items,
    json_lines,
    json_row,
    nothing_in,
    parquet_rows,
)
from langgraph_speceyes.errors import ArgumentError

SPLITS = ("direct_attributes", "relative_position")
"""The splits that results are published for (115 and 76 questions); their names are folders."""
QUESTIONS = "test_questions.jsonl"
_COLUMNS = ("image", "text", "category", "label", "question_id")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".ppm"}


def is_vstar(folder: Path) -> bool:
    """Whether a folder holds V* as it is published: the folders of its splits, or its questions in one file."""
    return (folder / QUESTIONS).is_file() or any((folder / split).is_dir() for split in SPLITS)


def vstar(path: AnyPath, *, splits: Sequence[str] = SPLITS, skip_bad: bool = False) -> Iterator[Item | BadRow]:
    """Read V*.

    The folders' JSON lists the right option first, so its letter is always A: shuffle the options
    (`rules.shuffled`) before they are lettered. `test_questions.jsonl` and the parquet files hold the same questions
    with lettered options in mixed order.

    Args:
        path: A folder with `direct_attributes/` and `relative_position/` (images, and a JSON of the same stem with
            `question` and `options`); or `test_questions.jsonl` or a parquet file (`image`, `text`, `category`,
            `label`, `question_id`), or a folder with one of these and no such folders.
        splits: Which splits to read, in this order; the folders of these names.
        skip_bad: Yield a :class:`BadRow` where a row is bad, instead of raising.

    Yields:
        The items: by split and name from folders, else in the file's order.

    Raises:
        ArgumentError: The path is no V* benchmark, or a row is bad (missing field, repeated id, unreadable image, no
            option of the given letter).
        MissingExtraError: A parquet file needs pyarrow.
    """
    place = existing(path)
    if place.is_dir() and any((place / split).is_dir() for split in splits):
        yield from items(_folders(place, splits), _from_folder, skip_bad=skip_bad)
        return
    files = [place]
    if place.is_dir():
        questions = place / QUESTIONS
        files = [questions] if questions.is_file() else sorted(place.rglob("*.parquet"))
    if not files:
        raise ArgumentError("path", f"folders {', '.join(splits)}, {QUESTIONS} or parquet files", f"none in {place}")
    yield from items(_rows(files, splits), _from_line, skip_bad=skip_bad)


def _rows(files: list[Path], splits: Sequence[str]) -> Iterator[Row]:
    for file in files:
        rows = parquet_rows(file, _COLUMNS) if file.suffix == ".parquet" else json_lines(file)
        # a row without a category stays, and is found bad
        yield from filter(lambda row: row.values.get("category", splits[0]) in splits, rows)


def _from_line(row: Row, images: Images) -> Item:
    row.split = row.text("category")
    row.id = row.text("question_id")
    question, options = parted(row.text("text"))
    if "" in options:
        raise ArgumentError("text", "a text for every option", "an empty option")
    letter = gold_letter(row.text("label"), options, "label")
    image = row.path(row.file.parent) if isinstance(row.values.get("image"), str) else row.inline()
    images.check(image)
    return Item(row.id, row.split, question, options, options[ord(letter) - ord("A")], image, letter=letter)


def _folders(place: Path, splits: Sequence[str]) -> Iterator[Row]:
    for split in splits:
        folder = place / split
        if not folder.is_dir():
            raise ArgumentError("path", f"a folder {split}", f"none in {place}")
        pictures: dict[str, list[str]] = {}
        stems = set()
        for file in sorted(folder.iterdir()):
            suffix = file.suffix.lower()
            if file.name.startswith(".") or (suffix != ".json" and suffix not in _SUFFIXES):
                continue
            stems.add(file.stem)
            if suffix != ".json":
                pictures.setdefault(file.stem, []).append(file.name)
        if not stems:
            raise nothing_in(folder)
        for stem in sorted(stems):
            yield _described(folder / f"{stem}.json", pictures.get(stem, []), split)


def _described(file: Path, pictures: list[str], split: str) -> Row:
    try:
        row = json_row(file, "", file.read_bytes())
    except OSError as error:
        row = Row(file, "", {}, ArgumentError("path", "the question to an image", f"none ({error.strerror})"))
    if row.error is None and len(pictures) != 1:
        found = ", ".join(pictures) or "none"
        row.error = ArgumentError("image", "one image of the same name", found)
    row.id, row.split = f"{split}/{file.stem}", split
    row.values = {**row.values, "image": pictures[0] if pictures else None}
    return row


def _from_folder(row: Row, images: Images) -> Item:
    options = row.values.get("options")
    if not isinstance(options, list) or not all(isinstance(o, str) and o.strip() for o in options):
        raise ArgumentError("options", "a list of texts", "nothing" if options is None else type(options).__name__)
    texts = tuple(option.strip() for option in options)
    letter = gold_letter("A", texts, "options")
    question, image = row.text("question"), image_file(row.file.parent / row.text("image"))
    images.check(image)
    assert row.id is not None, "set with the row"
    return Item(row.id, row.split, question, texts, texts[0], image, letter=letter)
