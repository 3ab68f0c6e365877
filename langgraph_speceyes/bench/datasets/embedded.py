"""The embedded world's questions as a benchmark."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from langgraph_speceyes.answers.options import parted
from langgraph_speceyes.bench.datasets.item import Item
from langgraph_speceyes.bench.datasets.rows import AnyPath, image_file
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import find_images
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.questions import SPLITS, Part, Question, Split, questions


def embedded(
    path: AnyPath,
    *,
    splits: Sequence[Split] = SPLITS,
    part: Part = "test",
    count: int = 40,
    seed: int = 0,
    leave_out: Collection[str] = (),
    skip_bad: bool = False,
) -> Iterator[Item]:
    """The first questions of every split of the embedded world.

    The expected answer to an open-ended question is its key word where the sentence ends in it (`... : left.`), else
    the sentence.

    Args:
        path: A folder for the images, made if missing; an image that is there is not drawn again.
        splits: Which splits.
        part: Which scenes.
        count: Questions a split.
        seed: Another number gives another part of the same kind.
        leave_out: Ids of questions that are not needed; drawing a scene takes time.
        skip_bad: Taken so that all readers are called alike; no row is bad.

    Yields:
        The items, split by split.

    Raises:
        ArgumentError: A split is unknown, the count is not positive, or the path is a file.
    """
    unknown = [split for split in splits if split not in SPLITS]
    if unknown or not splits:
        raise ArgumentError("splits", f"some of {', '.join(SPLITS)}", repr(unknown[0]) if unknown else "none")
    if count < 1:
        raise ArgumentError("count", "at least one question", count)
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ArgumentError("path", "a folder", f"a file, {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        for question in questions(split, part, count, seed):
            if question.id not in leave_out:
                yield _item(question, folder)


def _item(question: Question, folder: Path) -> Item:
    (image,) = find_images([written(question, folder)])
    stem, options = parted(question.text)
    answer = question.key if options or question.family in ("relations", "existence") else question.answer
    file = image_file(Path(image.source))
    return Item(question.id, question.split, stem, options, answer, file, letter=question.letter)
