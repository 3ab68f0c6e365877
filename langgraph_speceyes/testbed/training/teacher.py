"""What the models learn from: answers, judgments and tool trajectories written with knowledge of the scene.

Nothing of this is used at run time.
"""

from __future__ import annotations

import random

import numpy as np
from PIL import Image

from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.questions import LABEL_QUESTIONS, Question, ask
from langgraph_speceyes.testbed.training.tape import IGNORE, IMAGE_TEXT, Encoder, Example, Tape, asked, front, view
from langgraph_speceyes.testbed.world import COLOURS, GRID, QUARTERS, SHAPES, WORDS, Scene, Thing, make_scene

CELLS = (64, 80, 96, 128)
END = "<|im_end|>\n"
NOTHING, UNREADABLE, LABEL = 0, len(SHAPES) + 1, len(SHAPES) + 2


def fresh_scene(rng: random.Random, **counts: tuple[int, int]) -> tuple[Scene, Image.Image]:
    """A training scene and its picture at one of several resolutions."""
    scene = make_scene(f"train/{rng.getrandbits(60)}", **counts)  # type: ignore[arg-type]
    return scene, scene.render(rng.choice(CELLS))


def quarter_view(image: Image.Image, quarter: int) -> np.ndarray:
    """A quarter of the board as the model sees it after a tool call."""
    half = image.width // 2
    x, y = quarter % 2 * half, quarter // 2 * half
    return view(image, (x, y, x + half, y + half))


def dense_labels(scene: Scene, quarter: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape and colour of what each visual token shows, and in an overview the quarter it lies in, ``[36]`` each."""
    shape = np.zeros((GRID, GRID), dtype=np.int64)
    colour = np.zeros((GRID, GRID), dtype=np.int64)
    for thing in sorted(scene.things, key=lambda t: t.size != "large"):
        row, column = divmod(thing.cell, GRID)
        if quarter is None:
            kind = UNREADABLE if thing.size == "small" else SHAPES.index(thing.kind) + 1
            places = [(row, column)]
        else:
            if thing.quarter != quarter:
                continue
            kind = SHAPES.index(thing.kind) + 1 if thing.kind in SHAPES else LABEL
            top, left = row % 3 * 2, column % 3 * 2
            if thing.size == "large" or thing.kind == "label":
                places = [(top + i, left + j) for i in (0, 1) for j in (0, 1)]
            else:
                places = [(int(thing.y % 3 * 2), int(thing.x % 3 * 2))]
        for r, c in places:
            shape[r, c] = LABEL if thing.kind == "label" else kind
            colour[r, c] = list(COLOURS).index(thing.colour) + 1
    half = np.arange(GRID) // (GRID // 2)
    place = half[:, None] * 2 + half if quarter is None else np.full((GRID, GRID), IGNORE)
    return shape.reshape(-1), colour.reshape(-1), place.reshape(-1)


def _answer(tape: Tape, thing: Thing, rng: random.Random, tag: str) -> Tape:
    question = ask(Scene("", (thing,), (0, 0, 0), 0), thing, rng)
    asked(tape, question.text, prompts.SPECULATE)
    return _say(tape, question, tag, END[:-1])


def _say(tape: Tape, question: Question, tag: str, end: str, opening: str = "") -> Tape:
    """An answer, its deciding word under a tag of its own, which keeps the space before it: so the tokenizer cuts."""
    before, _, after = question.answer.partition(question.key)
    space = " " if before.endswith(" ") else ""
    tape.said(opening + before.removesuffix(space)).said(space + question.key, tag)
    return tape.said(after + end)


def look_example(
    encode: Encoder, rng: random.Random, *, quarters: bool = False, side: int = prompts.SPECULATOR_VIEW
) -> Example:
    """A question about each object that can be told: what is certain is learnt before what must be guessed."""
    scene, image = fresh_scene(rng, large=(2, 3), small=(0, 1))
    quarter = rng.choice(scene.things).quarter if quarters and rng.random() < 0.5 else None
    main = front(encode)
    seen = [t for t in scene.things if _visible(scene, t, quarter)]
    if not seen:
        quarter, seen = None, [t for t in scene.things if _visible(scene, t, None)]
    branches = [_answer(Tape(encode), t, rng, "large" if quarter is None else "quarter") for t in seen]
    seeing = view(image, side=side) if quarter is None else quarter_view(image, quarter)
    return Example(main, [seeing], len(main.ids), branches)


def agent_look_example(encode: Encoder, rng: random.Random) -> Example:
    """The same for a model that also sees quarters of the board."""
    return look_example(encode, rng, quarters=True, side=prompts.VIEW)


def speculator_example(encode: Encoder, rng: random.Random) -> Example:
    """The overview and one question about each object, answered as well as can be."""
    scene, image = fresh_scene(rng)
    main = front(encode)
    branches = [_answer(Tape(encode), t, rng, f"{'label' if t.kind == 'label' else t.size}") for t in scene.things]
    return Example(main, [view(image, side=prompts.SPECULATOR_VIEW)], len(main.ids), branches)


def _visible(scene: Scene, thing: Thing, quarter: int | None) -> bool:
    if thing.kind == "label":
        return False
    return thing.size == "large" if quarter is None else thing.quarter == quarter


def perception_example(encode: Encoder, rng: random.Random) -> Example:
    """The agent's view of a board or of a quarter: whether tools are needed, what is seen, and where."""
    scene, image = fresh_scene(rng)
    quarter = rng.choice(scene.things).quarter if rng.random() < 0.5 else None
    main = front(encode)
    seen = [t for t in scene.things if _visible(scene, t, quarter)]
    unseen = [t for t in scene.things if not _visible(scene, t, quarter)]
    rng.shuffle(unseen)
    branches = [read_branch(encode, rng) for _ in range(2)]
    rng.shuffle(seen)
    seen = seen[:2]
    for thing in seen + unseen[: max(1, len(seen))]:
        branches.append(judge_branch(encode, thing, thing not in seen, rng))
        if thing in seen:
            branches.append(_answer(Tape(encode), thing, rng, "colour"))
        if quarter is None and (thing in seen or thing.kind == "label") and rng.random() < 0.5:
            branches.append(_where(Tape(encode), thing))
    return Example(main, [view(image) if quarter is None else quarter_view(image, quarter)], len(main.ids), branches)


def read_branch(encode: Encoder, rng: random.Random) -> Tape:
    """The end of a reading run: what the OCR tool found is what the label says."""
    word = rng.choice(WORDS)
    tape = asked(Tape(encode), rng.choice(LABEL_QUESTIONS), prompts.AGENT)
    tape.given(prompts.call(prompts.READ, "ocr", rng.randrange(QUARTERS)) + END)
    tape.given(f"<|im_start|>user\n<tool_response>{word}</tool_response>{END}<|im_start|>assistant\n")
    tape.said(f"<think>{prompts.FOUND}", "think found").said('</think><answer>The label says "')
    return tape.said(word, "copy").said(f'".</answer>{END[:-1]}')


def judge_branch(encode: Encoder, thing: Thing, needed: bool, rng: random.Random) -> Tape:
    """The judge's one token about one object."""
    question = ask(Scene("", (thing,), (0, 0, 0), 0), thing, rng)
    tape = asked(Tape(encode), question.text, prompts.JUDGE)
    return tape.said("yes" if needed else "no", "judge yes" if needed else "judge no")


def _where(tape: Tape, thing: Thing) -> Tape:
    asked(tape, f"Where is the {thing.kind}?", prompts.SPECULATE)
    return tape.said(",".join(map(str, prompts.quarter_box(thing.quarter))), "where").said(END[:-1])


def trajectory_example(encode: Encoder, rng: random.Random) -> Example:
    """A whole run of the agent, with the judge's token about the same question as a branch."""
    scene, image = fresh_scene(rng)
    while True:
        draw = rng.random()
        wanted = "label" if draw < 0.25 else "small" if draw < 0.65 else "large"
        pool = [
            t
            for t in scene.things
            if (t.kind == "label") == (wanted == "label") and (t.size == wanted or wanted == "label")
        ]
        if pool:
            break
    target = rng.choice(pool)
    question = ask(scene, target, rng)
    main = front(encode)
    fork = len(main.ids)
    views = [view(image)]
    judge = judge_branch(encode, target, target.size == "small", rng)
    asked(main, question.text, prompts.AGENT)

    def look(thought: str, tool: str, quarter: int, tag: str, *, taught: bool = True) -> None:
        """One tool turn and what came of it; a turn that is not taught is one the model should not copy."""
        text = prompts.call(thought, tool, quarter)
        if taught:
            head, box, tail = _split_call(text)
            opening = f"<think>{thought}"
            main.said(opening, f"think {tag}").said(head.removeprefix(opening)).said(box, f"box {tag}")
            main.said(tail + END[:-1]).given(END[-1:])
        else:
            main.given(text + END)
        if tool == "ocr":
            main.given(f"<|im_start|>user\n<tool_response>{target.text}</tool_response>{END}<|im_start|>assistant\n")
            return
        views.append(quarter_view(image, quarter))
        main.given(f"<|im_start|>user\n<tool_response>{IMAGE_TEXT}</tool_response>{END}<|im_start|>assistant\n")

    goal = target.quarter
    if wanted == "small":
        for quarter in range(goal + 1):
            look(prompts.SEARCH if quarter == 0 else prompts.ABSENT, "zoom", quarter, "scan")
    else:
        tool, thought = ("crop", prompts.FIND_LABEL) if wanted == "label" else ("zoom", prompts.CHECK)
        if rng.random() < 0.5:
            # aimed wrong: what was not looked at yet, in order, until it is there
            wrong = rng.choice([q for q in range(QUARTERS) if q != goal])
            look(thought, tool, wrong, "wrong", taught=False)
            for quarter in (q for q in range(goal + 1) if q != wrong):
                look(prompts.ABSENT, tool, quarter, "rescan")
        else:
            look(thought, tool, goal, "aim")
        if wanted == "label":
            look(prompts.READ, "ocr", goal, "read")
    main.said(f"<think>{prompts.FOUND}", "think found")
    _say(main, question, f"answer {wanted}", f"</answer>{END[:-1]}", opening="</think><answer>")
    return Example(main, views, fork, [judge, read_branch(encode, rng)])


def _split_call(text: str) -> tuple[str, str, str]:
    """A tool call cut around its box."""
    head, middle, rest = text.partition(prompts.CALL_MIDDLE)
    box, tail, end = rest.partition(prompts.CALL_TAIL)
    return head + middle, box, tail + end
