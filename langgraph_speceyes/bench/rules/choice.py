"""Multiple choice: the options in another order, and the one that an answer gives."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from langgraph_speceyes.answers.options import LETTERS, read_option
from langgraph_speceyes.answers.words import unwrapped
from langgraph_speceyes.bench.datasets.item import Item
from langgraph_speceyes.bench.rules.scored import Scored
from langgraph_speceyes.errors import ArgumentError


def shuffled(item: Item, seed: int) -> Item:
    """The same question with its options in another order; V*'s folders always have the right one first.

    Args:
        item: The question; one without options comes back as it is.
        seed: Every seed gives an order for each item id, the same in every process and on every machine.

    Returns:
        The item to ask and to score: its `text` has the options lettered anew, its `letter` is that of the right one.
    """
    if not item.options:
        return item
    order = sorted(range(len(item.options)), key=lambda k: hashlib.sha256(f"{seed}\0{item.id}\0{k}".encode()).digest())
    letter = LETTERS[order.index(LETTERS.index(item.letter))]
    return replace(item, options=tuple(item.options[k] for k in order), letter=letter)


def multiple_choice(prediction: str | None, options: Sequence[str], letter: str) -> Scored:
    """A letter or an option's text (order and forms of lmms-eval's vstar_bench and VLMEvalKit's can_infer).

    Stricter than both: a letter somewhere in a sentence is not an answer, two letters are none, and so is a letter
    beside the text of another option.

    Args:
        prediction: The answer.
        options: The options in the order they were asked, 2 to 26.
        letter: Of the right one.

    Raises:
        ArgumentError: No option has that letter.
    """
    if len(letter) != 1 or letter not in LETTERS[: len(options)]:
        raise ArgumentError("letter", f"a letter of {len(options)} options", repr(letter))
    text = unwrapped(prediction)
    if not text:
        return Scored(False, None, "multiple_choice", "no answer")
    read = read_option(text, options)
    return Scored(read == letter, read, "multiple_choice", "" if read else "no one option")
