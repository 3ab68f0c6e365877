"""Questions about a scene, with the answer a model should give."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from PIL import Image

from langgraph_speceyes.prompts import lettered
from langgraph_speceyes.testbed.world import (
    COLOURS,
    COMPANIONS,
    POPULARITY,
    SHAPES,
    WORDS,
    Scene,
    Size,
    Thing,
    make_scene,
)

Split = Literal["attributes", "relations", "existence", "dense", "reading", "deep"]
SPLITS: tuple[Split, ...] = get_args(Split)
Part = Literal["train", "calibration", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
Family = Literal["attributes", "relations", "existence", "reading"]
Absent = Literal["random", "popular", "adversarial"]
ABSENT: tuple[Absent, ...] = get_args(Absent)

COLOUR_QUESTIONS = (
    "What is the color of the {kind}?",
    "What color is the {kind}?",
    "Which color does the {kind} have?",
)
SIDE_QUESTIONS = (
    "Is the {first} to the left or to the right of the {second}?",
    "Is the {first} left or right of the {second}?",
)
HEIGHT_QUESTIONS = ("Is the {first} above or below the {second}?",)
EXISTENCE_QUESTIONS = ("Is there a {kind} in the image?", "Is there a {kind}?", "Does the image show a {kind}?")
LABEL_QUESTIONS = ("What does the label say?", "Which word is on the label?")
SIDES, HEIGHTS = ("left", "right"), ("above", "below")
LETTERS = "ABCD"

_DENSE: tuple[Family, ...] = ("attributes", "relations")
Style = dict[str, Any]
_MIXED: Style = {"large": (2, 3), "small": (4, 5)}
_CLEAR: Style = {"large": (3, 4), "small": (0, 0)}
_SPARSE: Style = {"large": (2, 2), "small": (3, 4)}
_CROWDED: Style = {"large": (2, 2), "small": (6, 6)}
STYLES = (_MIXED, _CLEAR, _SPARSE, _CROWDED)
"""Numbers of large and small icons on the boards of the splits without a crowd."""
DEEP: Style = {"large": (0, 0), "small": (2, 2), "crowd": True}
"""The boards of `deep`: two shapes outside the crowd, the other six in it."""
CELL = 192
"""Pixels along a cell of an image in every split but `dense` and `deep`."""
DENSE_CELLS = (684, 800)
"""The same in `dense`: images of 4,104 and 4,800 px."""
DEEP_CELLS = (1344, 1400)
"""The same in `deep`: images of 8,064 and 8,400 px."""
SMALL_EVERY: dict[Split, tuple[int, int]] = {
    "attributes": (1, 2),
    "relations": (1, 4),
    "existence": (1, 5),
    "dense": (2, 3),
    "reading": (1, 1),
    "deep": (1, 2),
}
"""How many of how many questions are about something small; the others of `deep` are about specks, else large icons."""


@dataclass(frozen=True)
class Question:
    """One question about one scene.

    Attributes:
        id: Stable name: part, split and number.
        split: The split it belongs to.
        family: What kind of question it is; that of its split but in `dense`, which mixes two, and in `deep`, where it
            is attributes.
        text: The question as a user asks it, with its options, if any, a line each.
        answer: What a model should say.
        key: The word that decides whether an answer is right.
        size: ``"small"`` when the overview does not show what is needed, ``"speck"`` when a quarter does not either.
        scene: The board.
        kinds: What the question names, in its order: one or two shapes, or ``"label"``.
        wrong: What could be said instead of the key: the other options.
        letter: Of the right option; empty for an open-ended question.
        absent: How the object that is not there was chosen; empty when it is there.
        cell: Pixels along a cell of its image.
    """

    id: str
    split: Split
    family: Family
    text: str
    answer: str
    key: str
    size: Size
    scene: Scene
    kinds: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    letter: str = ""
    absent: str = ""
    cell: int = CELL

    @property
    def targets(self) -> list[Thing]:
        """The objects it names that are there."""
        return [t for t in map(self.scene.find, self.kinds) if t is not None]

    @property
    def stem(self) -> str:
        """The question without its options."""
        return self.text.partition("\n")[0]

    def render(self) -> Image.Image:
        """Its image, at its own resolution."""
        return self.scene.render(self.cell)

    def is_right(self, said: str) -> bool:
        """Whether an answer gives the right word or, where there are options, the right letter.

        Case, quotes and the last full stop are ignored. A wrong letter beside the right sentence is wrong, and so is
        the right letter beside a wrong one, or an answer that says more than the sentence asked for.
        """
        sentence, letter = _parted(said)
        expected, _ = _parted(self.answer)
        if letter and letter != self.letter.lower():
            return False
        if letter and not sentence:
            return True
        if ":" in expected:
            # what comes before, such as where it sees the two objects, does not matter: what it concludes does
            return sentence.rpartition(":")[2].strip() == self.key
        return sentence == expected


def _parted(said: str) -> tuple[str, str]:
    """The sentence of an answer and the letter after it, in lower case."""
    found = re.fullmatch(r"(.*?)\s*(?:\(([a-z])\))?[\s.]*", said.strip().lower(), re.DOTALL)
    assert found is not None, "every text has this form"
    return found[1].replace('"', "").rstrip(" ."), found[2] or ""


def attribute(scene: Scene, target: Thing, rng: random.Random) -> Question:
    """What colour an object has; among the options are colours that other objects have."""
    text = rng.choice(COLOUR_QUESTIONS).format(kind=target.kind)
    others = list({t.colour for t in scene.icons("speck" if target.size == "speck" else "small")} - {target.colour})
    rest = [c for c in COLOURS if c not in others and c != target.colour]
    wrong = (_shuffled(others, rng) + _shuffled(rest, rng))[:3]
    answer = f"The {target.kind} is {target.colour}."
    return _question(scene, "attributes", text, answer, target.colour, target.size, (target.kind,), wrong, rng)


def relation(scene: Scene, first: Thing, second: Thing, rng: random.Random) -> Question | None:
    """On which side of an object another one lies; None if they share row and column."""
    axes = [a for a in ("column", "row") if getattr(first, a) != getattr(second, a)]
    if not axes:
        return None
    axis = rng.choice(axes)
    wordings, words = (SIDE_QUESTIONS, SIDES) if axis == "column" else (HEIGHT_QUESTIONS, HEIGHTS)
    text = rng.choice(wordings).format(first=first.kind, second=second.kind)
    less = getattr(first, axis) < getattr(second, axis)
    key, wrong = words if less else words[::-1]
    answer = f"The {first.kind} at {first.place}, the {second.kind} at {second.place}: {key}."
    size: Size = "small" if "small" in (first.size, second.size) else "large"
    return _question(scene, "relations", text, answer, key, size, (first.kind, second.kind), [wrong], rng)


def existence(scene: Scene, kind: str, rng: random.Random, absent: str = "") -> Question:
    """Whether there is an object of a kind."""
    target = scene.find(kind)
    text = rng.choice(EXISTENCE_QUESTIONS).format(kind=kind)
    key, wrong = ("yes", "no") if target else ("no", "yes")
    answer = f"The {kind} at {target.place}: yes." if target else f"The {kind} not in view: no."
    # what is not among the large objects may be among the small ones, if there are any
    size: Size = target.size if target else "small" if scene.icons("small") else "large"
    return _question(scene, "existence", text, answer, key, size, (kind,), [wrong], rng, absent=absent)


def reading(scene: Scene, label: Thing, rng: random.Random) -> Question:
    """What the label says."""
    wrong = rng.sample([w for w in WORDS if w != label.text], 3)
    answer = f"The label says {label.text}."
    return _question(scene, "reading", rng.choice(LABEL_QUESTIONS), answer, label.text, "small", ("label",), wrong, rng)


def _question(
    scene: Scene,
    family: Family,
    text: str,
    answer: str,
    key: str,
    size: Size,
    kinds: tuple[str, ...],
    wrong: list[str],
    rng: random.Random,
    absent: str = "",
) -> Question:
    """The question, every other time with lettered options in random order."""
    letter = ""
    if rng.random() < 0.5:
        options = _shuffled([key, *wrong], rng)
        letter = LETTERS[options.index(key)]
        text = lettered(text, options)
    return Question("", family, family, text, answer, key, size, scene, kinds, tuple(wrong), letter, absent)


def _shuffled(items: Sequence[str], rng: random.Random) -> list[str]:
    return rng.sample(sorted(items), len(items))


def pick(scene: Scene, family: Family, size: Size, rng: random.Random, absent: Absent = "random") -> Question | None:
    """A question of a family about a scene.

    Args:
        scene: The board.
        family: Question family.
        size: ``"small"`` for what the overview does not show, ``"speck"`` for the crowd's.
        rng: Where chance comes from.
        absent: How an object that is not there is chosen, as POPE does it: any, the most popular one that is not
            there, or one whose companion is there.

    Returns:
        The question, or None if the board has nothing to ask that way.
    """
    if family == "reading":
        label = scene.find("label")
        return reading(scene, label, rng) if label and size == "small" else None
    icons = scene.icons(size)
    if family == "attributes":
        return attribute(scene, rng.choice(icons), rng) if icons else None
    if family == "relations":
        if len(icons) < 2:
            return None
        first, second = rng.sample(icons, 2)
        return relation(scene, first, second, rng)
    if bool(scene.icons("small")) == (size == "small") and rng.random() < 0.5:
        kind = _absent(scene, absent, rng)
        return existence(scene, kind, rng, absent) if kind else None
    return existence(scene, rng.choice(icons).kind, rng) if icons else None


def _absent(scene: Scene, way: Absent, rng: random.Random) -> str | None:
    there = {t.kind for t in scene.icons()}
    missing = [s for s in SHAPES if s not in there]
    if way == "adversarial":
        missing = [s for s in missing if COMPANIONS[s] in there]
    elif way == "popular":
        most = max((POPULARITY[s] for s in missing), default=0.0)
        missing = [s for s in missing if POPULARITY[s] == most]
    return rng.choice(missing) if missing else None


def questions(split: Split, part: Part, count: int, seed: int = 0) -> list[Question]:
    """The first questions of a split, one a scene.

    The scenes of `train`, `calibration` and `test` differ by seed. Training draws its own stream of scenes
    (`train` seeds), so nothing it sees is asked here.

    Args:
        split: One of ``SPLITS``.
        part: Which scenes to draw.
        count: Number of questions.
        seed: Another number gives another part of the same kind.

    Returns:
        The same list for the same arguments, in every process; a longer list begins with the shorter one.
    """
    small, of = SMALL_EVERY[split]
    other: Size = "speck" if split == "deep" else "large"
    return [
        _draw(split, f"{part}{f'+{seed}' if seed else ''}/{split}/{k}", "small" if k % of >= of - small else other, k)
        for k in range(count)
    ]


def _draw(split: Split, id: str, size: Size, number: int) -> Question:
    if split == "dense":
        family: Family = _DENSE[number // 3 % 2]
    else:
        family = "attributes" if split == "deep" else split
    style = {"existence": _SPARSE if size == "small" else _CLEAR, "dense": _CROWDED, "deep": DEEP}.get(split, _MIXED)
    attempt = 0
    while True:
        # a board that has nothing to ask that way is drawn again
        name = f"{id}/{attempt}" if attempt else id
        rng = random.Random(f"question {name}")
        scene = make_scene(name, label_share=1.0 if split == "reading" else 0.3, **style)
        found = pick(scene, family, size, rng, ABSENT[number % 3])
        if found is not None:
            break
        attempt += 1
    if split == "deep":
        # among options a guess would be right too often
        found = replace(found, text=found.stem, letter="")
    cell = rng.choice({"dense": DENSE_CELLS, "deep": DEEP_CELLS}[split]) if split in ("dense", "deep") else CELL
    return replace(found, id=id, split=split, cell=cell)
