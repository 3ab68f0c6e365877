"""What the readers share: rows of files, checks of every row, and what happens to a bad one."""

from __future__ import annotations

import codecs
import csv
import hashlib
import importlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from langgraph_speceyes.answers.options import LETTERS
from langgraph_speceyes.bench.datasets.item import BadRow, Item
from langgraph_speceyes.errors import ArgumentError, MissingExtraError
from langgraph_speceyes.images import DEFAULT_POLICY, ImageRef, inline_reference
from langgraph_speceyes.images.decode import decode
from langgraph_speceyes.images.reference import describe
from langgraph_speceyes.images.source import read_source

AnyPath = str | PathLike[str]
# rows of a parquet file that are held at once: of HR-Bench one may take tens of megabytes
_BATCH = 8


@dataclass
class Row:
    """One row of a file, on its way to become an item.

    Attributes:
        file: Where it is.
        place: Where in it, as :class:`BadRow` has it.
        values: Column to value; empty if the row could not be read.
        error: Why it could not be read.
        id: Set once it is known.
        split: Set once it is known.
    """

    file: Path
    place: str
    values: Mapping[str, Any]
    error: ArgumentError | None = None
    id: str | None = None
    split: str = ""

    def text(self, column: str) -> str:
        """A value as text, stripped.

        Raises:
            ArgumentError: It is missing, empty, or neither text nor a number.
        """
        value = self.values.get(column)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise ArgumentError(column, "text", "nothing" if value is None else type(value).__name__)
        if not value.strip():
            raise ArgumentError(column, "text", "empty text")
        return value.strip()

    def path(self, folder: Path, column: str = "image") -> ImageRef:
        """The image file that a column names, relative to a folder."""
        return image_file(folder / self.text(column))

    def inline(self, column: str = "image") -> ImageRef:
        """The image that a column holds: base64 text, bytes, or a Hugging Face image (`bytes`, `path`).

        Raises:
            ArgumentError: It holds none.
        """
        value = self.values.get(column)
        if isinstance(value, Mapping):
            name = value.get("path")
            if value.get("bytes") is None and isinstance(name, str):
                return image_file(self.file.parent / name)
            value = value.get("bytes")
        if not isinstance(value, str | bytes) or not value:
            raise ArgumentError(column, "an encoded image", "nothing" if not value else type(value).__name__)
        return inline_reference(value.strip() if isinstance(value, str) else value, argument=column)


Parse = Callable[[Row, "Images"], Item]


class Images:
    """Checks that images can be decoded, each distinct one once."""

    def __init__(self) -> None:
        self._sound: set[str] = set()

    def check(self, ref: ImageRef) -> str:
        """Decode an image, past the cache of decoded images, which would keep it.

        Returns:
            SHA-256 of its encoded bytes, hexadecimal.

        Raises:
            ImageError: It cannot be read or decoded, or is over the default limits.
        """
        data = read_source(ref, DEFAULT_POLICY, None, "image")
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._sound:
            decode(data, DEFAULT_POLICY, "image", "inline data" if ref.kind == "inline" else describe(ref.source))
            self._sound.add(digest)
        return digest


def items(rows: Iterable[Row], parse: Parse, *, skip_bad: bool) -> Iterator[Item | BadRow]:
    """Turn rows into items.

    Args:
        rows: Rows of one benchmark.
        parse: Makes the item, and checks its image.
        skip_bad: Yield a :class:`BadRow` where a row is bad, instead of raising.

    Raises:
        ArgumentError: A row is bad; the message names file and row.
    """
    seen: set[str] = set()
    images = Images()
    for row in rows:
        try:
            if row.error is not None:
                raise row.error
            item = parse(row, images)
            if item.id in seen:
                raise ArgumentError("id", "an id of its own in every row", f"{item.id!r} a second time")
            seen.add(item.id)
            found: Item | BadRow = item
            del item
        except ArgumentError as error:
            if not skip_bad:
                raise located(error, row) from error
            found = BadRow(row.file, row.place, str(error), row.id, row.split)
        # the image of a row is held once, by the item, and only until the next row is asked for
        del row
        yield found
        del found


def located(error: ArgumentError, row: Row) -> ArgumentError:
    """The error of a row, with where it is."""
    where = f"{row.file}, {row.place}" if row.place else str(row.file)
    return type(error)(error.argument, error.expected, f"{error.found} in {where}")


def image_file(path: Path) -> ImageRef:
    """A reference to a file, which need not exist."""
    return ImageRef(str(path.absolute()))


def gold_letter(letter: str, options: Collection[str], argument: str) -> str:
    """Check the right option's letter.

    Raises:
        ArgumentError: No option has it, or there are fewer than two options, or more than letters.
    """
    if not 2 <= len(options) <= len(LETTERS):
        raise ArgumentError("options", f"2 to {len(LETTERS)} options", len(options))
    known = list(LETTERS[: len(options)])
    if letter.upper() not in known:
        raise ArgumentError(argument, f"the letter of an option, A to {known[-1]}", repr(describe(letter)))
    return letter.upper()


def yes_or_no(text: str, argument: str) -> str:
    """Check a yes/no answer.

    Raises:
        ArgumentError: It is something else.
    """
    if text.lower() not in ("yes", "no"):
        raise ArgumentError(argument, "yes or no", repr(describe(text)))
    return text.lower()


def existing(path: AnyPath) -> Path:
    """The path of a benchmark.

    Raises:
        ArgumentError: There is nothing.
    """
    found = Path(path)
    if not found.exists():
        raise ArgumentError("path", "a benchmark's file or folder", f"nothing at {found}")
    return found


def require(columns: Iterable[str], found: Collection[str], file: Path) -> None:
    """Check a file's columns.

    Raises:
        ArgumentError: One is missing.
    """
    missing = [c for c in columns if c not in found]
    if missing:
        has = ", ".join(str(c)[:40] for c in list(found)[:20]) or "none"
        raise ArgumentError("path", f"a column {missing[0]!r} in {file}", f"columns {has}")


def nothing_in(file: Path) -> ArgumentError:
    """The error for a file without rows."""
    return ArgumentError("path", "at least one question", f"none in {file}")


def json_lines(file: Path) -> Iterator[Row]:
    """Rows of a file with one JSON object a line; blank lines are passed over.

    Raises:
        ArgumentError: It has no rows.
    """
    empty = True
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            empty = False
            yield json_row(file, f"line {number}", line)
    if empty:
        raise nothing_in(file)


def json_row(file: Path, place: str, text: bytes) -> Row:
    """The row of one JSON object."""
    try:
        values = json.loads(text)
    except ValueError as error:
        return Row(file, place, {}, ArgumentError("path", "a JSON object", f"other text ({error})"))
    if not isinstance(values, dict):
        return Row(file, place, {}, ArgumentError("path", "a JSON object", f"a JSON {type(values).__name__}"))
    return Row(file, place, values)


def csv_rows(file: Path, columns: Iterable[str]) -> Iterator[Row]:
    """Rows of a comma-separated file with a header.

    Args:
        file: The file, UTF-8.
        columns: What it must have.

    Raises:
        ArgumentError: A column is missing, there are no rows, or it is no such file.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.reader(lines)
        try:
            header = next(filter(None, table), [])
            require(columns, header, file)
            begins = table.line_num + 1
            empty = True
            for cells in table:
                # a blank line is none
                if cells:
                    empty = False
                    whole = len(cells) == len(header)
                    error = None if whole else ArgumentError("path", f"{len(header)} cells, as in the header", "others")
                    values = dict(zip(header, cells, strict=True)) if whole else {}
                    yield Row(file, f"line {begins}", values, error)
                begins = table.line_num + 1
        except (csv.Error, UnicodeDecodeError) as problem:
            found = f"{problem} near line {table.line_num} of {file}"
            raise ArgumentError("path", "comma-separated UTF-8 text", found) from problem
    if empty:
        raise nothing_in(file)


def parquet_rows(file: Path, columns: Iterable[str]) -> Iterator[Row]:
    """Rows of a parquet file, a few at a time.

    Args:
        file: The file.
        columns: What it must have; its other columns are not read.

    Raises:
        MissingExtraError: pyarrow is not installed.
        ArgumentError: A column is missing, there are no rows, or it is no parquet file.
    """
    parquet = _parquet()
    wanted = list(columns)
    try:
        with parquet.ParquetFile(file) as table:
            require(wanted, table.schema_arrow.names, file)
            if not table.metadata.num_rows:
                raise nothing_in(file)
            for group in range(table.num_row_groups):
                number = 0
                for batch in table.iter_batches(batch_size=_BATCH, row_groups=[group], columns=wanted):
                    for k in range(batch.num_rows):
                        yield Row(file, f"row group {group}, row {number}", batch.slice(k, 1).to_pylist()[0])
                        number += 1
    except ArgumentError:
        raise
    except (OSError, ValueError) as error:
        # pyarrow's ArrowInvalid is a ValueError
        raise ArgumentError("path", "a parquet file", f"{file} ({error})") from error


def parquet_columns(file: Path) -> list[str]:
    """Names of a parquet file's columns.

    Raises:
        MissingExtraError: pyarrow is not installed.
        ArgumentError: It is no parquet file.
    """
    try:
        return [str(name) for name in _parquet().read_schema(file).names]
    except (OSError, ValueError) as error:
        raise ArgumentError("path", "a parquet file", f"{file} ({error})") from error


def _parquet() -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("reading parquet files", "eval") from error
