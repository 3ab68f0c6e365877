"""Scenes as files: images on disk for the models, and whole splits in the layout of the V* benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage

from langgraph_speceyes.files import is_whole_jpeg, write_whole
from langgraph_speceyes.images import encode_image
from langgraph_speceyes.prompts import image_question
from langgraph_speceyes.testbed.questions import Question, Split
from langgraph_speceyes.testbed.world import Thing

FOLDERS: dict[Split, str] = {"attributes": "direct_attributes", "relations": "relative_position"}
"""What V* calls the folders of its two splits; the others keep their names."""


def written(question: Question, folder: Path) -> HumanMessage:
    """Write a question's image unless it is there, and put the question about it.

    JPEG, as the benchmarks' images are: a PNG of 4,800 px takes three times as long to decode.

    Args:
        question: The question.
        folder: An existing folder.

    Returns:
        The message with image and question.
    """
    path = folder / f"{question.id.replace('/', '-')}.jpg"
    if not is_whole_jpeg(path):
        _save(question, path)
    return image_question(path, question.text)


def write_vstar(asked: Sequence[Question], folder: Path) -> Iterator[Path]:
    """Write questions in V*'s layout: `<split>/<name>.jpg` with `<split>/<name>.json` beside it.

    The JSON holds what V*'s files hold (`target_object`, `bbox` as left, top, width and height in pixels, `question`,
    `options` with the right one first), and beyond it `answer` and `size`. An object asked about that is not there has
    no box.

    Args:
        asked: Questions.
        folder: Where the splits' folders go; made if missing.

    Yields:
        Each image file, as it is written.
    """
    for question in asked:
        place = folder / FOLDERS.get(question.split, question.split)
        place.mkdir(parents=True, exist_ok=True)
        stem = question.id.replace("/", "-")
        image = place / f"{stem}.jpg"
        _save(question, image)
        facts: dict[str, Any] = {
            "target_object": list(question.kinds),
            "bbox": [_pixels(t, question.cell) for t in question.targets],
            "question": question.stem,
            "options": [question.key, *question.wrong],
            "answer": question.answer,
            "size": question.size,
        }
        write_whole(place / f"{stem}.json", json.dumps(facts, indent=1) + "\n")
        yield image


def _save(question: Question, path: Path) -> None:
    write_whole(path, encode_image(question.render(), "JPEG", quality=95, subsampling=0))


def _pixels(thing: Thing, cell: int) -> list[int]:
    left, top, right, bottom = (round(v * cell) for v in thing.box)
    return [left, top, right - left, bottom - top]
