"""Which questions a run asks: a benchmark, its splits, how many, in which order their options stand."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from langgraph_speceyes.bench.datasets import NAMES, BadRow, Item, embedded, open_benchmark
from langgraph_speceyes.bench.rules import shuffled
from langgraph_speceyes.errors import ArgumentError

Row = Item | BadRow
EMBEDDED = "embedded"
_QUESTIONS = 40


@dataclass(frozen=True)
class Benchmark:
    """Questions to run.

    Attributes:
        name: `embedded`, another reader's name, or a path whose content tells which it is.
        data: Where a named benchmark's files are.
        images: The folder of images that POPE's original files name.
        splits: Only these; all without it.
        limit: Most questions of each split; all without it, of the embedded world 40.
        shuffle: Seed of the options' order; None leaves them as they are. The rotations of a question, which are
            orders already, and the embedded world's questions, whose options come shuffled, are left as they are.
        part: `test` or `calibration`: the embedded world's part, of other benchmarks one half of the images; None for
            all questions (of the embedded world: its test part).
        seed: Of the embedded world: another number draws other scenes.
        skip_bad: Go on at a row that cannot be used; it counts as wrong.
    """

    name: str
    data: Path | None = None
    splits: tuple[str, ...] | None = None
    limit: int | None = None
    shuffle: int | None = 0
    part: str | None = None
    seed: int = 0
    skip_bad: bool = False
    images: Path | None = None

    def __post_init__(self) -> None:
        """Check what does not need the files."""
        if self.limit is not None and self.limit < 1:
            raise ArgumentError("limit", "at least 1", self.limit)
        if self.part not in (None, "test", "calibration"):
            raise ArgumentError("part", "test or calibration", repr(self.part))
        if self.name != EMBEDDED and self.seed:
            raise ArgumentError("seed", "the embedded benchmark beside it", self.name)
        if self.name == EMBEDDED and self.data is not None:
            raise ArgumentError("data", "nothing: the embedded world is drawn", self.data)

    def manifest(self) -> dict[str, Any]:
        """What tells two benchmarks apart."""
        found: dict[str, Any] = {"name": self.name, "splits": self.splits and list(self.splits), "limit": self.limit}
        if self.name == EMBEDDED:
            return found | {"part": self.part or "test", "seed": self.seed}
        return found | {
            "part": self.part,
            "data": self.data and str(self.data),
            "shuffle": self.shuffle,
            "skip_bad": self.skip_bad,
            **({"images": str(self.images)} if self.images else {}),
        }

    def rows(self, folder: Path, leave_out: Collection[str] = ()) -> Iterator[Row]:
        """Read the questions, from the beginning.

        Args:
            folder: Where the embedded world's images are drawn.
            leave_out: Ids that are not needed; only the embedded world's are left out.

        Raises:
            ArgumentError: A file or a row cannot be used; it names file and row.
        """
        if self.name == EMBEDDED:
            options: dict[str, Any] = {"splits": self.splits} if self.splits else {}
            options |= {"part": self.part or "test", "seed": self.seed, "count": self.limit or _QUESTIONS}
            yield from open_benchmark(EMBEDDED, folder, leave_out=leave_out, **options)
            return
        try:
            yield from self._from_files()
        except ArgumentError as error:
            if error.argument not in ("path", "name_or_path"):
                raise
            # the readers' names for what is given here
            argument = "data" if self.name in NAMES else "bench"
            raise ArgumentError(argument, error.expected, error.found) from error

    def _from_files(self) -> Iterator[Row]:
        places = [self.name] if self.data is None else [self.name, str(self.data)]
        taken: Counter[str] = Counter()
        images = {"images": self.images} if self.images else {}
        place = Path(places[-1]).absolute()
        root = place.parent if place.is_file() else place
        for row in open_benchmark(*places, skip_bad=self.skip_bad, **images):
            if self.splits is not None and row.split not in self.splits:
                continue
            if self.part is not None and part_of(row, root) != self.part:
                continue
            taken[row.split] += 1
            if self.limit is not None and taken[row.split] > self.limit:
                continue
            if isinstance(row, Item) and self.shuffle is not None and not row.group:
                row = shuffled(row, self.shuffle)
            yield row

    def warm_up(self, folder: Path) -> Item | None:
        """A question to load everything with: of the embedded world one that the agent reads with OCR."""
        if self.name == EMBEDDED:
            return next(embedded(folder, splits=["reading"], part="calibration", count=1))
        return next((row for row in self.rows(folder) if isinstance(row, Item)), None)

    def count(self) -> int:
        """How many questions there are; every row is read and checked before any model runs, once.

        Raises:
            ArgumentError: A row cannot be used, a split is unknown, or there is no question at all.
        """
        return self._read[0]

    @property
    def digest(self) -> str | None:
        """What tells the questions from others in the same place; None for the embedded world's, which never change.

        Raises:
            ArgumentError: As :meth:`count` does.
        """
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[int, str | None]:
        if self.name == EMBEDDED:
            from langgraph_speceyes.testbed.questions import SPLITS

            unknown = [split for split in self.splits or () if split not in SPLITS]
            if unknown:
                raise ArgumentError("split", f"one of {', '.join(SPLITS)}", unknown[0])
            return len(self.splits or SPLITS) * (self.limit or _QUESTIONS), None
        found: Counter[str] = Counter()
        digest = hashlib.sha256()
        for row in self.rows(Path()):
            found[row.split] += 1
            said = (row.id, row.text, row.answer) if isinstance(row, Item) else (row.id, row.row)
            digest.update(f"{said!r}\n".encode(errors="backslashreplace"))
        missing = [split for split in self.splits or () if not found[split]]
        if missing or not found:
            where = f"{self.name} {self.data or ''}".strip()
            raise ArgumentError("split" if missing else "bench", "questions", f"none of {missing or 'any'} in {where}")
        return found.total(), digest.hexdigest()[:16]


def part_of(row: Row, root: Path | None = None) -> str:
    """Which half a question belongs to, `test` or `calibration`: by its image, so that no image is in both.

    The same on every machine: a file counts by its place in the questions' folder, elsewhere by its name, inline data
    by its digest. A row that cannot be used belongs to the test half, where it counts as wrong.

    Args:
        row: The question.
        root: The folder of the questions.
    """
    if not isinstance(row, Item):
        return "test"
    image = row.image
    name = image.source_key if image.kind == "inline" else PurePath(image.source).name
    if root is not None and image.kind == "file":
        path = Path(image.local_path()).absolute()
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else name
    return "calibration" if hashlib.sha256(name.encode()).digest()[0] % 2 else "test"
