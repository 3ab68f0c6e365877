"""Where the questions of the table's columns are: the benchmarks that lie in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from langgraph_speceyes.bench.benchmark import EMBEDDED, Benchmark
from langgraph_speceyes.bench.datasets.choose import sniffed
from langgraph_speceyes.bench.datasets.vstar import SPLITS, is_vstar
from langgraph_speceyes.bench.reproduce.published import COLUMNS
from langgraph_speceyes.errors import ArgumentError

# folders below the one that is named
_DEPTH = 3
_TABLES = (".tsv", ".parquet")


@dataclass(frozen=True)
class Source:
    """A benchmark whose splits are columns of the table.

    Attributes:
        name: Of its folders in a run.
        bench: The reader's name.
        data: Where its files are; None for the embedded world.
        columns: The column of each split; a split that is not named is a column of its own.
    """

    name: str
    bench: str
    data: Path | None = None
    columns: dict[str, str] = field(default_factory=dict)

    def benchmark(self, part: str, limit: int | None) -> Benchmark:
        """Its questions of one half."""
        return Benchmark(self.bench, self.data, limit=limit, part=part)

    def column(self, split: str) -> str:
        """The column that a split's questions count in."""
        return self.columns.get(split, self.columns.get("", split))


def embedded_source() -> Source:
    """The embedded world, a column a family."""
    return Source(EMBEDDED, EMBEDDED)


def sources_in(folder: Path) -> list[Source]:
    """The table's benchmarks that lie in a folder, or up to three folders below, in the table's order.

    Raises:
        ArgumentError: There is no such folder, none of them is in it, or one is there twice.
        MissingExtraError: A parquet file needs pyarrow.
    """
    if not folder.is_dir():
        raise ArgumentError("data", "the folder of the benchmarks", f"none at {folder}")
    found: dict[str, Source] = {}
    for bench, place in _places(folder, _DEPTH):
        source = _source(bench, place)
        if source.name in found:
            both = f"{found[source.name].data} and {place}"
            raise ArgumentError("data", f"the files of {source.name} once", both)
        found[source.name] = source
    if not found:
        raise ArgumentError("data", "V*, HR-Bench or POPE below the folder", f"none in {folder}")
    order = list(COLUMNS)
    return sorted(found.values(), key=lambda one: min(map(order.index, one.columns.values())))


def _source(bench: str, place: Path) -> Source:
    if bench == "vstar":
        return Source("vstar", bench, place, dict(zip(SPLITS, COLUMNS[:2], strict=True)))
    if bench == "pope":
        splits = dict(zip(("adversarial", "popular", "random"), COLUMNS[4:], strict=True))
        return Source("pope", bench, place, splits)
    size = next((size for size in ("4k", "8k") if size in place.name.lower()), None)
    if size is None:
        raise ArgumentError("data", "4k or 8k in the name of HR-Bench's file", place)
    # both of its splits are one column
    return Source(f"hrbench{size}", bench, place, {"": f"HR-Bench {size.upper()}"})


def _places(folder: Path, depth: int) -> Iterator[tuple[str, Path]]:
    """Reader and place of each benchmark in a folder."""
    if is_vstar(folder):
        yield "vstar", folder
        return
    if any(folder.glob("*pope*.json*")) or (folder / "Full").is_dir():
        yield "pope", folder
        return
    pope = False
    for place in sorted(folder.iterdir()):
        if place.name.startswith("."):
            continue
        if place.is_dir():
            if depth:
                yield from _places(place, depth - 1)
        elif place.suffix.lower() in _TABLES:
            bench = sniffed(place)
            # its splits are files beside each other
            if bench != "pope":
                yield bench, place
            elif not pope:
                pope = True
                yield bench, folder
