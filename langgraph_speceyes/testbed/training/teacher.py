"""What the models learn from: answers, judgments and tool trajectories written with knowledge of the scene.

Nothing of this is used at run time.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.questions import (
    ABSENT,
    HEIGHTS,
    SIDES,
    STYLES,
    Family,
    Question,
    attribute,
    pick,
    reading,
    relation,
)
from langgraph_speceyes.testbed.training.dialect import END, TOOL_CALLS, Box, Dialect
from langgraph_speceyes.testbed.training.tape import IGNORE, Encoder, Example, Tape, asked, front, view
from langgraph_speceyes.testbed.world import COLOURS, GRID, QUARTERS, SHAPES, WORDS, Scene, Size, Thing, make_scene

CELLS = (64, 96, 128)
# beside the shapes; 0 is nothing
UNREADABLE, LABEL, IN_CROWD = (len(SHAPES) + k for k in (1, 2, 3))
_KINDS = {"small": UNREADABLE, "speck": IN_CROWD}
# reading, which one rule answers, half as often as the others
_FAMILIES: tuple[Family, ...] = (*("attributes", "relations", "existence") * 2, "reading")


def fresh_scene(rng: random.Random, style: int | None = None, label_share: float = 0.4) -> tuple[Scene, Image.Image]:
    """A training scene of any of the splits' styles and its picture at one of several resolutions."""
    counts = STYLES[rng.choice((0, 0, 1, 1, 2, 3)) if style is None else style]
    scene = make_scene(f"train/{rng.getrandbits(60)}", label_share=label_share, **counts)
    return scene, scene.render(rng.choice(CELLS))


def quarter_pixels(image: Image.Image, quarter: int) -> Box:
    """A quarter of the board in its own pixels."""
    half = image.width // 2
    x, y = quarter % 2 * half, quarter // 2 * half
    return x, y, x + half, y + half


def quarter_view(image: Image.Image, quarter: int) -> np.ndarray:
    """A quarter of the board as the model sees it after a tool call."""
    return view(image, quarter_pixels(image, quarter))


def crowd_picture(scene: Scene) -> Image.Image:
    """The crowd's cell alone."""
    assert scene.crowd is not None, "a board with a crowd"
    return scene.render(2 * prompts.VIEW, only=scene.crowd.cell)


def crowd_view(scene: Scene) -> np.ndarray:
    """The crowd's cell as the model sees it after a tool call."""
    return view(crowd_picture(scene))


def dense_labels(scene: Scene, quarter: int | None) -> tuple[np.ndarray, ...]:
    """What each visual token shows: shape, colour, and the cell of the board it lies in, ``[36]`` each."""
    shape = np.zeros((GRID, GRID), dtype=np.int64)
    colour = np.zeros((GRID, GRID), dtype=np.int64)
    for thing in sorted(scene.things, key=lambda t: t.size != "large"):
        if quarter is None:
            kind = _KINDS.get(thing.size) or SHAPES.index(thing.kind) + 1
            places = [(thing.row, thing.column)]
        else:
            if thing.quarter != quarter:
                continue
            kind = IN_CROWD if thing.size == "speck" else LABEL if thing.text else SHAPES.index(thing.kind) + 1
            top, left = thing.row % 3 * 2, thing.column % 3 * 2
            if thing.size == "large" or thing.kind == "label":
                places = [(top + i, left + j) for i in (0, 1) for j in (0, 1)]
            else:
                places = [(int(thing.y % 3 * 2), int(thing.x % 3 * 2))]
        for r, c in places:
            shape[r, c] = LABEL if thing.kind == "label" else kind
            # a token that shows several specks has no colour of its own
            colour[r, c] = IGNORE if thing.size == "speck" else list(COLOURS).index(thing.colour) + 1
    steps = np.arange(GRID)
    across, down = (steps, steps) if quarter is None else (quarter % 2 * 3 + steps // 2, quarter // 2 * 3 + steps // 2)
    return shape.reshape(-1), colour.reshape(-1), (down[:, None] * GRID + across).reshape(-1)


_TAGS = (
    (r" [a-f][1-6].?", "place"),
    (rf" ({'|'.join((*SIDES, *HEIGHTS))}).*", "side"),
    (rf" ({'|'.join(COLOURS)})\.?", "colour"),
    (r" (yes|no)\.?", "exists"),
    (rf" ({'|'.join(WORDS)}).?", "word"),
    (r" not", "not"),
)


def say(tape: Tape, text: str, tag: str) -> Tape:
    """Append what the model must say; words that decide something are tagged by what they say and `tag`."""
    for piece in re.findall(r" ?[^ ]+", text):
        kind = next((name for pattern, name in _TAGS if re.fullmatch(pattern, piece)), None)
        tape.said(piece, f"{kind} {tag}" if kind else "text")
    return tape


def answer_branch(encode: Encoder, question: Question, tag: str = "") -> Tape:
    """A question answered in one sentence."""
    tape = asked(Tape(encode), question.text, prompts.SPECULATE)
    return say(tape, question.answer, tag or question.size).said(END[:-1])


def where_branch(encode: Encoder, kinds: Sequence[str], seen: Sequence[Thing], tag: str) -> Tape:
    """Where objects are, in the words of the agent's thoughts."""
    tape = asked(Tape(encode), f"Where is {' and '.join(f'the {k}' for k in kinds)}?", prompts.SPECULATE)
    return say(tape, prompts.sighting(_places(kinds, seen)), tag).said(f".{END[:-1]}")


def _places(kinds: Sequence[str], seen: Sequence[Thing]) -> list[tuple[str, str | None]]:
    known = {t.kind: t.place for t in seen}
    return [(k, known.get(k)) for k in kinds]


def _think(tape: Tape, seen: Sequence[tuple[str, str | None]], then: str, crowd: str | None = None) -> Tape:
    what = prompts.thought(seen, then, crowd)
    decided = f" {then}.</think>"
    return say(tape, what.removesuffix(decided), "thought").said(decided, "then crowd" if crowd else f"then {then}")


def _finish(tape: Tape, final: str, tag: str) -> Tape:
    """The last turn's answer, or what is left of it, to the end."""
    return say(tape, final.removesuffix("</answer>"), tag).said(f"</answer>{END[:-1]}")


def judge_branch(encode: Encoder, question: Question) -> Tape:
    """The judge's one token about a question."""
    tape = asked(Tape(encode), question.text, prompts.JUDGE)
    word = "no" if question.size == "large" else "yes"
    return tape.said(word, f"judge {word}")


def read_branch(encode: Encoder, rng: random.Random, dialect: Dialect = TOOL_CALLS) -> Tape:
    """The end of a reading run: what the OCR tool found is what the label says."""
    label = Thing("label", "white", rng.randrange(GRID * GRID), 0, 0, 0.44, "small", rng.choice(WORDS))
    question = reading(Scene("", (label,), 0), label, rng)
    tape = asked(Tape(encode), question.text, dialect.instruction)
    seen: list[tuple[str, str | None]] = [("label", label.place)]
    tape.given(prompts.thought(seen, prompts.READ))
    dialect.look(tape, "ocr", prompts.cell_box(label.cell), "", first=True)
    dialect.result(tape, label.text)
    # only what follows is learnt here
    tape.labels[:], tape.tags[:] = [IGNORE] * len(tape.ids), [""] * len(tape.ids)
    _think(tape, seen, prompts.SEEN)
    return _finish(tape, prompts.final(question.answer), "copy")


def side_branch(encode: Encoder, rng: random.Random, dialect: Dialect = TOOL_CALLS) -> Tape:
    """The end of a run about two objects: from where they are to the side."""
    first, second = (
        Thing(kind, "red", cell, 0, 0, 0.06, "small")
        for kind, cell in zip(rng.sample(SHAPES, 2), rng.sample(range(GRID * GRID), 2), strict=True)
    )
    question = relation(Scene("", (first, second), 0), first, second, rng)
    assert question is not None, "two cells differ in row or column"
    tape = asked(Tape(encode), question.text, dialect.instruction)
    places, _, side = prompts.final(question.answer).partition(":")
    tape.given(prompts.thought(_places(question.kinds, [first, second]), prompts.SEEN) + f"{places}:")
    return _finish(tape, side, "drill")


def ask_any(scene: Scene, rng: random.Random, size: Size, family: Family | None = None) -> Question | None:
    """A question of any family about a scene, or None if its board has none of that size."""
    for one in [family] if family else rng.sample(_FAMILIES, len(_FAMILIES)):
        found = pick(scene, one, size, rng, rng.choice(ABSENT))
        if found is not None:
            return found
    return None


def in_view(scene: Scene, quarter: int | None) -> list[Thing]:
    """The icons that can be told: in the overview the large ones, in a quarter those that lie in it but specks."""
    told = scene.icons("large") if quarter is None else [t for t in scene.icons() if t.quarter == quarter]
    return [t for t in told if t.size != "speck"]


def look_example(encode: Encoder, rng: random.Random, *, quarters: bool, side: int) -> Example:
    """Where all objects are and what colour they have, one after another.

    What is certain is learnt before what must be guessed, and many small questions about one image teach more for the
    same work than a few whole ones.
    """
    style = rng.choice((0, 1))
    while True:
        scene, image = fresh_scene(rng, style)
        quarter = rng.randrange(QUARTERS) if quarters and rng.random() < 0.6 else None
        seen = in_view(scene, quarter)
        if seen:
            break
    tag = "large" if quarter is None else "quarter"
    main = front(encode)
    tape = asked(Tape(encode), "What does the image show?", prompts.SPECULATE)
    facts = [(t.kind, fact) for t in seen for fact in (("at", t.place), ("is", t.colour))]
    for k, (kind, (link, fact)) in enumerate(rng.sample(facts, len(facts))):
        say(tape.given(f"{', the' if k else 'The'} {kind} {link}"), f" {fact}", tag)
    seeing = view(image, side=side) if quarter is None else quarter_view(image, quarter)
    return Example(main, [seeing], len(main.ids), [tape.said(f".{END[:-1]}")])


def speculator_look_example(encode: Encoder, rng: random.Random) -> Example:
    """The same for the speculator, which sees overviews only."""
    return look_example(encode, rng, quarters=False, side=prompts.SPECULATOR_VIEW)


def agent_look_example(encode: Encoder, rng: random.Random) -> Example:
    """The same for the agent, which also sees quarters of the board."""
    return look_example(encode, rng, quarters=True, side=prompts.VIEW)


def speculator_example(encode: Encoder, rng: random.Random, *, sizes: Sequence[Size] = ("large", "small")) -> Example:
    """The overview and questions of all families about it, answered as well as can be."""
    scene, image = fresh_scene(rng)
    main = front(encode)
    branches = []
    for size in sizes:
        found = [ask_any(scene, rng, size, family) for family in ("attributes", "relations")]
        if size == "small" or not scene.icons("small"):
            found += [ask_any(scene, rng, size, "existence") for _ in range(2)]
        elif rng.random() < 0.4:
            # always there: too many of these, and the model says yes to everything
            found.append(ask_any(scene, rng, size, "existence"))
        if size == "small" and rng.random() < 0.5:
            found.append(ask_any(scene, rng, size, "reading"))
        branches += [answer_branch(encode, q) for q in found if q is not None]
    large = scene.icons("large")
    branches.append(where_branch(encode, [rng.choice(large).kind], large, "large"))
    return Example(main, [view(image, side=prompts.SPECULATOR_VIEW)], len(main.ids), branches)


def certain_example(encode: Encoder, rng: random.Random) -> Example:
    """Only what the overview shows."""
    return speculator_example(encode, rng, sizes=("large", "large"))


def perception_example(encode: Encoder, rng: random.Random, dialect: Dialect = TOOL_CALLS) -> Example:
    """The agent's view of a board or of a quarter: whether tools are needed, what is seen, and where."""
    scene, image = fresh_scene(rng)
    quarter = rng.randrange(QUARTERS) if rng.random() < 0.4 else None
    main = front(encode, dialect.system)
    icons = scene.icons()
    seen = in_view(scene, quarter)
    branches = [read_branch(encode, rng, dialect), side_branch(encode, rng, dialect)]
    tag = "large" if quarter is None else "quarter"
    hidden = [s for s in SHAPES if s not in {t.kind for t in seen}]
    kinds = [t.kind for t in rng.sample(seen, min(2, len(seen)))] + rng.sample(hidden, 1)
    branches += [where_branch(encode, [kind], seen, tag) for kind in kinds]
    if seen:
        branches.append(answer_branch(encode, attribute(scene, rng.choice(seen), rng), tag))
    if len(icons) > 1:
        pair = [t.kind for t in rng.sample(icons, 2)]
        branches.append(where_branch(encode, pair, seen, f"{tag} pair"))
    if quarter is None:
        sizes: list[Size] = ["large", "small", rng.choice(("large", "small"))]
        for size in sizes:
            question = ask_any(scene, rng, size)
            if question is not None:
                branches.append(judge_branch(encode, question))
        certain = ask_any(scene, rng, "large", rng.choice(("relations", "existence")))
        if certain is not None:
            branches.append(answer_branch(encode, certain, tag))
    return Example(main, [view(image) if quarter is None else quarter_view(image, quarter)], len(main.ids), branches)


def trajectory_example(encode: Encoder, rng: random.Random, dialect: Dialect = TOOL_CALLS) -> Example:
    """A run of the agent about a question of any family, on a board without a crowd."""
    while True:
        family = rng.choice(_FAMILIES)
        size: Size = "small" if family == "reading" or rng.random() < 0.65 else "large"
        scene, image = fresh_scene(rng, label_share=1.0 if family == "reading" else 0.3)
        question = ask_any(scene, rng, size, family)
        if question is not None:
            return run_example(encode, rng, question, image, dialect)


def run_example(
    encode: Encoder, rng: random.Random, question: Question, image: Image.Image, dialect: Dialect = TOOL_CALLS
) -> Example:
    """A whole run of the agent, with the judge's token about the same question as a branch.

    What the overview shows is looked at from near, each object's quarter once; what it does not show is searched for,
    a quarter at a time, and in the crowd once its quarter is in view.
    """
    scene = question.scene
    main = front(encode, dialect.system)
    fork = len(main.ids)
    views = [view(image)]
    judge = judge_branch(encode, question)
    asked(main, question.text, dialect.instruction)
    seen = [t for t in question.targets if t.size == "large" or t.kind == "label"]
    looks = 0

    def look(then: str, where: str, tool: str, box: Box, shown: np.ndarray | str, crowd: str | None = None) -> None:
        """One look and its result."""
        nonlocal looks
        _think(main, _places(question.kinds, seen), f"{then} {where}".rstrip(), crowd)
        dialect.look(main, tool, box, "box crowd" if crowd else f"box {then}", first=not looks)
        looks += 1
        if isinstance(shown, str):
            dialect.result(main, shown)
        else:
            views.append(shown)
            dialect.result(main, None)

    def look_at(quarter: int, then: str, tool: str) -> None:
        """A look at a quarter, and what is seen there."""
        shown = dialect.shown(image, quarter_pixels(image, quarter))
        look(then, prompts.QUARTER_NAMES[quarter], tool, prompts.quarter_box(quarter), shown)
        seen.extend(t for t in question.targets if t in in_view(scene, quarter) and t not in seen)

    last = prompts.SEEN
    if len(seen) == len(question.kinds):
        for quarter in dict.fromkeys(thing.quarter for thing in seen):
            look_at(quarter, prompts.CHECK, "crop")
        if question.family == "reading":
            look(prompts.READ, "", "ocr", prompts.cell_box(seen[0].cell), seen[0].text)
    else:
        for quarter in range(QUARTERS):
            look_at(quarter, prompts.SEARCH, "zoom")
            crowd = scene.crowd
            if len(seen) < len(question.kinds) and crowd and crowd.quarter == quarter:
                box, shown = prompts.cell_box(crowd.cell), dialect.shown(crowd_picture(scene))
                look(prompts.SEARCH, crowd.place, "zoom", box, shown, crowd.place)
                seen.extend(t for t in question.targets if t.cell == crowd.cell)
            if len(seen) == len(question.kinds):
                break
        else:
            last = prompts.NOWHERE
    _think(main, _places(question.kinds, seen), last)
    _finish(main, prompts.final(question.answer), f"answer {question.size}")
    return Example(main, views, fork, [judge, read_branch(encode, rng, dialect), side_branch(encode, rng, dialect)])
