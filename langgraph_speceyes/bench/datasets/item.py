"""One question of a benchmark, or a row that holds none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from langgraph_speceyes.images import ImageRef
from langgraph_speceyes.prompts import lettered


@dataclass(frozen=True)
class Item:
    """One question about one image.

    Attributes:
        id: Unique in its benchmark.
        split: What results are reported by, such as `direct_attributes`, `adversarial` or `single`.
        question: The question without its options.
        options: The options in the published order; empty for an open-ended question.
        answer: The right option's text, else the expected answer (`yes` or `no` for POPE).
        image: A file, or the encoded image itself as inline data, which lives as long as the item.
        group: Shared by the rotations of one HR-Bench question; empty elsewhere.
        letter: Of the right option; empty for an open-ended question.
    """

    id: str
    split: str
    question: str
    options: tuple[str, ...]
    answer: str
    image: ImageRef
    group: str = ""
    letter: str = ""

    @property
    def text(self) -> str:
        """The question as it is asked: with its options, if any, lettered on a line each."""
        return lettered(self.question, self.options)


@dataclass(frozen=True)
class BadRow:
    """A row that holds no usable question. It belongs in the denominator, as wrong.

    Attributes:
        file: Where it is.
        row: `line 7` (counted from 1), `row group 0, row 7` (both from 0), or empty when it is the whole file.
        reason: What was expected and what was found.
        id: Its id, if it could be read.
        split: Its split, if it could be read.
    """

    file: Path
    row: str
    reason: str
    id: str | None = None
    split: str = ""
