"""A benchmark by its name, or by what its files look like."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from os import fspath
from pathlib import Path
from typing import Any

from langgraph_speceyes.bench.datasets.embedded import embedded
from langgraph_speceyes.bench.datasets.hrbench import hrbench
from langgraph_speceyes.bench.datasets.item import BadRow, Item
from langgraph_speceyes.bench.datasets.own import COLUMNS, own
from langgraph_speceyes.bench.datasets.pope import pope
from langgraph_speceyes.bench.datasets.rows import AnyPath, Row, existing, json_lines, located, parquet_columns
from langgraph_speceyes.bench.datasets.vstar import is_vstar, vstar
from langgraph_speceyes.errors import ArgumentError

Reader = Callable[..., Iterator[Item | BadRow]]
_READERS: dict[str, Reader] = {"vstar": vstar, "hrbench": hrbench, "pope": pope, "own": own, "embedded": embedded}
NAMES: tuple[str, ...] = tuple(_READERS)
"""What can be opened by name."""


def open_benchmark(name_or_path: AnyPath, path: AnyPath | None = None, /, **options: Any) -> Iterator[Item | BadRow]:
    """Open a benchmark.

    Args:
        name_or_path: One of :data:`NAMES`, or a path whose content tells which one it is (`./own` for a path of such a
            name; the embedded world has no files, so it needs its name).
        path: Where the named benchmark's files are, by default in the working directory under its name, as `vstar`,
            `vstar_bench` or `HR-Bench`; for `embedded` where its images go.
        **options: Further arguments of the reader, such as `skip_bad`.

    Returns:
        The items, read as they are asked for; see :func:`vstar`, :func:`hrbench`, :func:`pope`, :func:`own` and
        :func:`embedded`.

    Raises:
        ArgumentError: The path is missing, no known benchmark, or the reader has no such option. What the reader
            raises, it raises when the items are asked for.
        MissingExtraError: A parquet file needs pyarrow.
    """
    name = fspath(name_or_path)
    if name in _READERS:
        path = path if path is not None or name == "embedded" else _here(name)
        if path is None:
            raise ArgumentError("path", f"where the files of {name} are", f"nothing, and no {name} in {Path.cwd()}")
    elif path is not None:
        raise ArgumentError("name_or_path", f"one of {', '.join(NAMES)} before a path", repr(name))
    else:
        path, name = name_or_path, sniffed(existing(name_or_path))
    reader = _READERS[name]
    known = [p.name for p in inspect.signature(reader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ArgumentError(option, f"an option of {name}: {', '.join(known)}", "another one")
    return reader(path, **options)


def _here(name: str) -> Path | None:
    """What lies in the working directory under a benchmark's name."""
    found = [path for path in sorted(Path.cwd().iterdir()) if _letters(path.name) in (name, f"{name}bench")]
    return found[0] if found else None


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def sniffed(path: Path) -> str:
    """The name of the benchmark that lies at a path."""
    if path.is_dir():
        if is_vstar(path):
            return "vstar"
        tables = sorted(path.rglob("*.parquet"))
        if not tables:
            if any(path.glob("*pope*.json*")):
                return "pope"
            raise ArgumentError("name_or_path", "a benchmark", f"none that is known in the folder {path}")
        path = tables[0]
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return "own"
    if suffix == ".tsv":
        return "hrbench"
    if suffix == ".parquet":
        return _by_columns(path, set(parquet_columns(path)))
    if suffix in (".jsonl", ".json", ".ndjson"):
        return _by_columns(path, set(_first_read(path).values))
    raise ArgumentError("name_or_path", "a .tsv, .csv, .jsonl, .json or .parquet file, or a folder", path)


def _first_read(path: Path) -> Row:
    """The first row that can be read; the others are the reader's to judge."""
    first = None
    for row in json_lines(path):
        if row.error is None:
            return row
        first = first or located(row.error, row)
    assert first, "a file without rows is an error"
    raise first


def _by_columns(path: Path, columns: set[str]) -> str:
    if {"text", "label"} <= columns:
        return "vstar" if "category" in columns else "pope"
    if {"index", "A", "B"} <= columns:
        return "hrbench"
    if {"question_id", "question", "answer", "category"} <= columns:
        return "pope"
    if set(COLUMNS) <= columns:
        if path.suffix.lower() == ".parquet":
            raise ArgumentError("name_or_path", "questions of your own as .jsonl or .csv", f"a parquet file, {path}")
        return "own"
    found = f"{', '.join(sorted(columns))[:300] or 'none'} in {path}"
    raise ArgumentError("name_or_path", f"the columns {', '.join(COLUMNS)}, or a benchmark's columns", found)
