"""Questions about a scene, with the answer a model should give."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from langgraph_speceyes.testbed.world import SHAPES, Scene, Size, Thing, make_scene

Split = Literal["attributes", "reading"]
SPLITS: tuple[Split, ...] = ("attributes", "reading")
Part = Literal["train", "calibration", "test"]

COLOUR_QUESTIONS = (
    "What is the color of the {kind}?",
    "What color is the {kind}?",
    "Which color does the {kind} have?",
)
LABEL_QUESTIONS = ("What does the label say?", "Which word is on the label?")


@dataclass(frozen=True)
class Question:
    """One question about one scene.

    Attributes:
        id: Stable name: part, split and number.
        split: Question family.
        text: The question as a user asks it.
        answer: The full sentence a model should say.
        key: The word of the answer that decides whether it is right.
        size: ``"small"`` when the overview does not show what is asked for.
        scene: The board.
        target: The object asked about.
    """

    id: str
    split: Split
    text: str
    answer: str
    key: str
    size: Size
    scene: Scene
    target: Thing

    def is_right(self, said: str) -> bool:
        """Whether an answer names the right word and, for colours and labels alike, no other sentence."""
        return said.strip().rstrip(".").lower() == self.answer.rstrip(".").lower()


def ask(scene: Scene, target: Thing, rng: random.Random, id: str = "") -> Question:
    """The question about one object of a scene, in one of its wordings."""
    if target.kind == "label":
        text, key, split = rng.choice(LABEL_QUESTIONS), target.text, "reading"
        answer = f'The label says "{key}".'
    else:
        text, key, split = rng.choice(COLOUR_QUESTIONS).format(kind=target.kind), target.colour, "attributes"
        answer = f"The {target.kind} is {key}."
    return Question(id, split, text, answer, key, target.size, scene, target)  # type: ignore[arg-type]


def questions(split: Split, part: Part, count: int) -> list[Question]:
    """The first questions of a split: one a scene, half of `attributes` about small objects.

    The scenes of `train`, `calibration` and `test` differ by seed. Training draws its own stream of scenes
    (`train` seeds), so nothing it sees is asked here.

    Args:
        split: One of ``SPLITS``.
        part: Which scenes to draw.
        count: Number of questions.

    Returns:
        The same list for the same arguments, in every process; a longer list begins with the shorter one.
    """
    found = []
    for k in range(count):
        id = f"{part}/{split}/{k}"
        rng = random.Random(f"question {id}")
        scene = make_scene(id, label_share=1.0 if split == "reading" else 0.3)
        if split == "reading":
            target = scene.find("label")
        else:
            size: Size = "small" if k % 2 else "large"
            target = rng.choice([t for t in scene.things if t.kind in SHAPES and t.size == size])
        assert target is not None, "every reading scene has a label"
        found.append(ask(scene, target, rng, id))
    return found
