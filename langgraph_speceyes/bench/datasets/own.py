"""Questions of one's own: JSON lines or CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from langgraph_speceyes.answers.options import LETTERS
from langgraph_speceyes.bench.datasets.item import BadRow, Item
from langgraph_speceyes.bench.datasets.rows import (
    AnyPath,
    Images,
    Row,
    csv_rows,
    existing,
    gold_letter,
    items,
    json_lines,
)
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images.reference import describe

SPLIT = "own"
"""Of rows that name none."""
COLUMNS = ("image", "question", "answer")


def own(path: AnyPath, *, skip_bad: bool = False) -> Iterator[Item | BadRow]:
    """Read questions of one's own.

    Args:
        path: A file with one JSON object a line, or a `.csv` with a header. Columns: `image` (a path relative to the
            file), `question`, `answer`; optional `options` (a list; in CSV a JSON list, or texts between `|`), `id`
            (else the row's line) and `split`. Where there are options, the answer is the text of one, or its letter.
        skip_bad: Yield a :class:`BadRow` where a row is bad, instead of raising.

    Yields:
        The items in the file's order.

    Raises:
        ArgumentError: The path is no such file, lacks a column or rows, or a row is bad (missing value, repeated id,
            unreadable image, an answer that is no option).
    """
    file = existing(path)
    if file.is_dir():
        raise ArgumentError("path", "a file of JSON lines or CSV", f"a folder, {file}")
    rows = csv_rows(file, COLUMNS) if file.suffix.lower() == ".csv" else json_lines(file)
    yield from items(rows, _item, skip_bad=skip_bad)


def _item(row: Row, images: Images) -> Item:
    row.split = row.text("split") if row.values.get("split") not in (None, "") else SPLIT
    row.id = row.text("id") if row.values.get("id") not in (None, "") else row.place
    question, answer, options = row.text("question"), row.text("answer"), _options(row.values.get("options"))
    letter = ""
    if options:
        # a text that is also a letter is taken as the text
        given = LETTERS[options.index(answer)] if answer in options[: len(LETTERS)] else answer
        letter = gold_letter(given, options, "answer")
        answer = options[ord(letter) - ord("A")]
    image = row.path(row.file.parent)
    images.check(image)
    return Item(row.id, row.split, question, options, answer, image, letter=letter)


def _options(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and value.strip():
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except ValueError:
                raise ArgumentError("options", "a JSON list", repr(describe(value))) from None
        else:
            value = value.split("|")
    if value in (None, "", []):
        return ()
    if not isinstance(value, list):
        raise ArgumentError("options", "a list", repr(describe(str(value))))
    texts = tuple(str(v).strip() for v in value if isinstance(v, str | int | float) and not isinstance(v, bool))
    if len(texts) != len(value) or "" in texts:
        raise ArgumentError("options", "a text for every option", repr(describe(str(value))))
    return texts
