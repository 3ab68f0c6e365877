"""What the models are taught is, token for token and pixel for pixel, what they are asked at run time."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from PIL import Image

from langgraph_speceyes.agent.question import observation_message
from langgraph_speceyes.prompts import front_end_prompt, system_message
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.questions import DEEP
from langgraph_speceyes.testbed.training.architecture import new_speculator
from langgraph_speceyes.testbed.training.deep import (
    colours_example,
    deep_perception_example,
    deep_trajectory_example,
    whole_view_example,
)
from langgraph_speceyes.testbed.training.depths import (
    MOST_TOKENS,
    crop,
    crop_labels,
    depth_example,
    depth_stages,
    quarter,
)
from langgraph_speceyes.testbed.training.tape import (
    IGNORE,
    IMAGE_TEXT,
    TOKENS,
    Encoder,
    Example,
    Tape,
    collate,
    patches,
    positions,
    view,
)
from langgraph_speceyes.testbed.training.teacher import (
    agent_look_example,
    crowd_view,
    perception_example,
    quarter_view,
    speculator_example,
    speculator_look_example,
    trajectory_example,
)
from langgraph_speceyes.testbed.training.tokenizer import build_tokenizer
from langgraph_speceyes.testbed.world import COLOURS, CROWD, GRID, SHAPES, make_scene


def crowded_example(encode: Encoder, rng: random.Random) -> Example:
    return depth_example(encode, rng, crowd=True)


MAKERS = [
    *(speculator_look_example, agent_look_example, speculator_example, perception_example, trajectory_example),
    *(deep_perception_example, deep_trajectory_example, colours_example, whole_view_example),
    crowded_example,
]


@pytest.fixture(scope="module")
def encode() -> Encoder:
    return Encoder(build_tokenizer())


def test_the_shipped_tokenizer_is_the_one_that_is_built(pair: Pair, encode: Encoder) -> None:
    for model in (pair.speculator, pair.large):
        assert model._engine.tokenizer.get_vocab() == encode.tokenizer.get_vocab()


def test_views_are_what_the_processors_make_of_an_image(pair: Pair) -> None:
    image = make_scene("pixels").render(96)
    half = image.width // 2
    crowded = make_scene("pixels", **DEEP)
    left, top = crowded.crowd.column * 384, crowded.crowd.row * 384
    crowd = crowded.render(384).crop((left, top, left + 384, top + 384))
    for model, seen, whole in (
        (pair.speculator, view(image, side=prompts.SPECULATOR_VIEW), image),
        (pair.large, view(image), image),
        (pair.large, quarter_view(image, 3), image.crop((half, half, 2 * half, 2 * half))),
        (pair.large, crowd_view(crowded), crowd),
    ):
        made = model._engine.processor.image_processor(images=[whole], return_tensors="pt")
        pixels, grid = patches([seen])
        assert torch.equal(made["image_grid_thw"], grid)
        # a region is cut out before it is resized, or while: a pixel in a thousand may round to the next level
        away = (made["pixel_values"] - pixels).abs()
        assert float(away.max()) < 2.1 / 255
        assert float((away > 1e-5).float().mean()) < 1e-3


def test_taught_prompts_are_the_prompts_of_the_graph(pair: Pair, encode: Encoder) -> None:
    """A judge branch, a speculator branch and the first turn of a trajectory, against the rendered messages."""
    rng = random.Random(3)
    image = Image.new("RGB", (192, 192))
    for make, instruction in ((speculator_example, prompts.SPECULATE), (trajectory_example, prompts.AGENT)):
        example = make(encode, rng)
        taught = example.main.ids[: example.fork]
        branch = example.branches[0] if make is speculator_example else None
        rest = branch.ids if branch else example.main.ids[example.fork :]
        text = encode.tokenizer.decode(rest, skip_special_tokens=False)
        question = text.split("\n")[0]
        message = HumanMessage([{"type": "image", "url": "x.png"}, {"type": "text", "text": question}])
        found = front_end_prompt(message, system_message(prompts.SYSTEM), instruction)
        rendered = _render(pair, found, image)
        opening = text[: text.index("<|im_start|>assistant\n") + len("<|im_start|>assistant\n")]
        assert encode(rendered) == [*taught, *encode(opening)]


@pytest.mark.parametrize(
    ("make", "tools"), [(trajectory_example, {"zoom", "crop", "ocr"}), (deep_trajectory_example, {"zoom"})]
)
def test_a_taught_trajectory_is_the_conversation_the_agent_has(pair: Pair, encode: Encoder, make, tools) -> None:  # type: ignore[no-untyped-def]
    """The agent's own protocol must rebuild every turn of a trajectory with the same tokens."""
    rng, image = random.Random(5), Image.new("RGB", (192, 192))
    seen_tools = set()
    for _ in range(12):
        example = make(encode, rng)
        text = encode.tokenizer.decode(example.main.ids, skip_special_tokens=False).replace(IMAGE_TEXT, "[image]")
        turns_taught = re.findall(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", text, re.DOTALL)
        seen_tools |= set(re.findall(r'"name":"(\w+)"', text))
        messages = []
        for role, content in turns_taught:
            if role == "system":
                messages.append(SystemMessage(content))
            elif role == "assistant":
                messages.append(AIMessage(content))
            else:
                before, mark, after = content.partition("[image]")
                blocks = [{"type": "text", "text": before}] if before else []
                blocks += [{"type": "image", "url": "x.png"}] if mark else []
                blocks += [{"type": "text", "text": after}] if after else []
                messages.append(observation_message(blocks) if "<tool_response>" in before else HumanMessage(blocks))
        rendered = _render(pair, messages, image)
        assert rendered.startswith(encode.tokenizer.decode(example.main.ids, skip_special_tokens=False))
        assert encode(rendered)[: len(example.main.ids)] == example.main.ids
    assert seen_tools == tools


def test_every_turn_that_is_taught_is_taught_to_its_end(encode: Encoder) -> None:
    """Else the model goes on behind its tool call with whatever it likes."""
    rng = random.Random(11)
    opening, end = encode("<|im_start|>assistant\n"), encode("<|im_end|>")[0]
    taught = untaught = 0
    for _ in range(30):
        example = trajectory_example(encode, rng)
        for tape in (example.main, *example.branches):
            ids, labels = tape.ids, tape.labels
            starts = [i + len(opening) for i in range(len(ids)) if ids[i : i + len(opening)] == opening]
            for start in starts:
                stop = ids.index(end, start) + 1 if end in ids[start:] else len(ids)
                known = [label != IGNORE for label in labels[start:stop]]
                assert known == sorted(known)
                taught, untaught = taught + known[-1], untaught + (not known[-1])
    assert taught
    assert untaught


def _render(pair: Pair, messages: list, image: Image.Image) -> str:  # type: ignore[type-arg]
    import unittest.mock

    with (
        unittest.mock.patch("langgraph_speceyes.models.template.load_image", return_value=image),
        unittest.mock.patch("langgraph_speceyes.models.template.load_resized", return_value=image),
    ):
        text, _ = pair.large.render(messages)
    return text.replace("<|vision_start|><|image_pad|><|vision_end|>", IMAGE_TEXT)


@pytest.mark.parametrize("make", MAKERS)
def test_positions_are_the_models_own(pair: Pair, encode: Encoder, make) -> None:  # type: ignore[no-untyped-def]
    example = make(encode, random.Random(1))
    ids = torch.tensor([example.main.ids])
    _, grid = patches(example.views)
    types = (ids == encode.image_id).int()
    for model in (pair.speculator, pair.large):
        found, _ = model._engine.model.model.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=grid)
        assert (found[:, 0].numpy() == positions(example.main.ids, encode.image_id)).all()


@pytest.mark.parametrize("name", ["speculator", "large"])
def test_a_branch_is_taught_exactly_as_if_it_were_asked_alone(pair: Pair, encode: Encoder, name: str) -> None:
    model = getattr(pair, name)._engine.model
    rng = random.Random(2)
    make = speculator_example if name == "speculator" else trajectory_example
    examples = [make(encode, rng), make(encode, rng)]
    packed = collate(examples, encode.image_id)
    with torch.no_grad():
        together = model.model(**packed.inputs).last_hidden_state
        for row, example in enumerate(examples):
            at = len(example.main.ids)
            for branch in example.branches:
                front = type(example.main)(
                    encode, example.main.ids[: example.fork], example.main.labels[: example.fork], []
                )
                front.ids, front.labels = front.ids + branch.ids, front.labels + branch.labels
                front.tags = [""] * len(front.ids)
                alone = collate([Example(front, example.views[:1], example.fork, [])], encode.image_id)
                hidden = model.model(**alone.inputs).last_hidden_state[0, example.fork :]
                torch.testing.assert_close(together[row, at : at + len(branch.ids)], hidden, atol=2e-4, rtol=1e-3)
                at += len(branch.ids)


@pytest.mark.parametrize("make", MAKERS)
def test_a_label_is_the_token_that_follows(encode: Encoder, make) -> None:  # type: ignore[no-untyped-def]
    batch = collate([make(encode, random.Random(7)), make(encode, random.Random(8))], encode.image_id)
    ids, labels = batch.inputs["input_ids"], batch.labels
    where = labels[:, :-1] != IGNORE
    assert torch.equal(labels[:, :-1][where], ids[:, 1:][where])
    assert len(batch.tags) == int((labels != IGNORE).sum())
    assert "" not in batch.tags


def paths(branches: list[Tape], before: tuple[Tape, ...] = ()) -> Iterator[tuple[Tape, ...]]:
    """Every branch with what precedes it, in the order of the batch."""
    for branch in branches:
        yield (*before, branch)
        yield from paths(branch.branches, (*before, branch))


def test_a_branch_behind_a_branch_is_taught_exactly_as_if_it_were_asked_alone(pair: Pair, encode: Encoder) -> None:
    """The questions of every depth: after the overview, after the quarters, after the crop."""
    model = pair.speculator._engine.model
    rng = random.Random(4)
    examples = [depth_example(encode, rng, crowd=True), depth_example(encode, rng, crowd=False)]
    packed = collate(examples, encode.image_id)
    shown = set()
    with torch.no_grad():
        together = model.model(**packed.inputs).last_hidden_state
        for row, example in enumerate(examples):
            at, view_at = len(example.main.ids), 1
            for path in paths(example.branches):
                ids = [token for tape in (example.main, *path) for token in tape.ids]
                alone = Tape(encode, ids, [IGNORE] * len(ids), [""] * len(ids))
                of_tape = path[-1].ids.count(encode.image_id) // TOKENS**2
                begin = view_at if of_tape else view_at - path[0].ids.count(encode.image_id) // TOKENS**2
                seen = path[0].ids.count(encode.image_id) // TOKENS**2
                views = [example.views[0], *example.views[begin : begin + seen]]
                batch = collate([Example(alone, views, len(ids), [])], encode.image_id)
                hidden = model.model(**batch.inputs).last_hidden_state[0, -len(path[-1].ids) :]
                torch.testing.assert_close(together[row, at : at + len(path[-1].ids)], hidden, atol=2e-4, rtol=1e-3)
                at, view_at = at + len(path[-1].ids), view_at + of_tape
                shown.add(seen)
            assert view_at == len(example.views)
    assert shown == {0, 1, 4}


def test_taught_prompts_of_every_depth_are_those_of_the_graph(pair: Pair, encode: Encoder) -> None:
    rng, image = random.Random(6), Image.new("RGB", (192, 192))
    depths = set()
    for crowd in (True, False):
        example = depth_example(encode, rng, crowd=crowd)
        for path in paths(example.branches):
            text = encode.tokenizer.decode([t for tape in path for t in tape.ids], skip_special_tokens=False)
            if "assistant" not in text:
                continue
            seen, text = text.count(IMAGE_TEXT), text.replace(IMAGE_TEXT, "")
            read = re.match("<tool_response>(.*?)</tool_response>\n", text, re.DOTALL)
            begin = read.end() if read else 0
            observations = [{"type": "image", "url": "x.png"}] * seen
            observations += [{"type": "text", "text": read[1]}] if read else []
            user = text[begin : text.index("<|im_end|>")]
            question, _, instruction = user.rpartition("\n")
            assert instruction == (prompts.AGENT if prompts.AGENT in text else prompts.SPECULATE)
            message = HumanMessage([{"type": "image", "url": "x.png"}, {"type": "text", "text": question}])
            found = front_end_prompt(message, system_message(prompts.SYSTEM), instruction, observations)
            opening = text[: text.index("<|im_start|>assistant\n") + len("<|im_start|>assistant\n")]
            ids = [t for tape in path for t in tape.ids]
            taught = [*example.main.ids, *ids]
            rendered = encode(_render(pair, found, image))
            assert taught[: len(rendered)] == rendered
            assert opening.endswith("assistant\n")
            depths.add((seen, bool(read), instruction))
    assert depths >= {(0, False, prompts.SPECULATE), (0, False, prompts.AGENT), (0, True, prompts.SPECULATE)}
    assert depths >= {(4, False, prompts.SPECULATE), (1, False, prompts.SPECULATE)}


def test_a_scene_of_all_depths_is_no_longer_than_it_may_be_and_has_labels_for_every_view(encode: Encoder) -> None:
    rng = random.Random(9)
    for crowd in (True, False) * 6:
        example = depth_example(encode, rng, crowd=crowd)
        assert len(example.main) + sum(map(len, example.branches)) <= MOST_TOKENS
        assert len(example.seen) == len(example.views) == (6 if crowd else 5)
        assert all(branch.branches for branch in example.branches if IMAGE_TEXT in _text(encode, branch))


def test_what_was_read_is_what_the_label_says_and_a_call_goes_to_its_cell(encode: Encoder) -> None:
    rng = random.Random(10)
    read = calls = 0
    for crowd in (True, False) * 10:
        for path in paths(depth_example(encode, rng, crowd=crowd).branches):
            text = _text(encode, path[-1])
            if found := re.match(r"<tool_response>(.*?)</tool_response>", text, re.DOTALL):
                (said,) = re.findall(r"The label says (\w+)\.", text)
                assert said in found[1].split("\n") or found[1] == "No text found."
                read += 1
            if found := re.search(r'"name":"(\w+)","arguments":\{"bbox_2d":\[([\d,]+)\]', text):
                box = tuple(map(int, found[2].split(",")))
                assert box in {prompts.cell_box(cell) for cell in range(GRID * GRID)}
                assert (found[1] == "ocr") == ("label" in text)
                calls += 1
    assert read > 10
    assert calls > 10


def test_a_crop_shows_what_its_labels_say(pair: Pair) -> None:
    """Also through the product: the region of the board, cut out and resized, is what was taught."""
    rng = random.Random(12)
    scene = make_scene("crowd", **DEEP)
    cell = scene.crowd.cell
    seen, (shape, colour, cells) = crop(scene, cell, rng), crop_labels(scene, cell)
    assert seen.shape == (prompts.SPECULATOR_VIEW, prompts.SPECULATOR_VIEW, 3)
    assert set(cells) == {cell}
    assert Counter(shape)[0] == len(shape) - CROWD
    token = prompts.SPECULATOR_VIEW // GRID
    for speck in scene.icons("speck"):
        row, column = int((speck.y - speck.row) * GRID), int((speck.x - speck.column) * GRID)
        assert shape[row * GRID + column] == SHAPES.index(speck.kind) + 1
        assert colour[row * GRID + column] == list(COLOURS).index(speck.colour) + 1
        part = seen[row * token : (row + 1) * token, column * token : (column + 1) * token].astype(int)
        assert np.abs(part - COLOURS[speck.colour]).max(-1).min() < 60
    board = scene.render(144)
    place = scene.crowd.column * 144, scene.crowd.row * 144
    made = pair.speculator._engine.processor.image_processor(
        images=[board.crop((*place, place[0] + 144, place[1] + 144))], return_tensors="pt"
    )
    pixels, _ = patches([view(scene.render(144, only=cell), side=prompts.SPECULATOR_VIEW)])
    assert float((made["pixel_values"] - pixels).abs().max()) < 2.1 / 255
    half = board.width // 2
    made = pair.speculator._engine.processor.image_processor(
        images=[board.crop((half, 0, 2 * half, half))], return_tensors="pt"
    )
    pixels, _ = patches([quarter(board, 1)])
    assert float((made["pixel_values"] - pixels).abs().max()) < 2.1 / 255


def test_a_step_of_both_depth_stages_moves_what_it_teaches(encode: Encoder) -> None:
    torch.manual_seed(0)
    model = new_speculator(encode.tokenizer, width=64)
    for stage in depth_stages(model, encode, (1, 1)):
        before = model.lm_head.weight.clone(), model.model.visual.merger.linear_fc2.weight.clone()
        optimiser = torch.optim.SGD(stage.parameters, lr=0.01)
        loss, metrics = stage.loss(random.Random(0), 0)
        loss.backward()
        optimiser.step()
        assert {"tower": "crop shape", "look twice": "colour 2 speck"}[stage.name] in metrics
        assert not torch.equal(before[0], model.lm_head.weight)
        assert not torch.equal(before[1], model.model.visual.merger.linear_fc2.weight)
        optimiser.zero_grad()


def _text(encode: Encoder, tape: Tape) -> str:
    return str(encode.tokenizer.decode(tape.ids, skip_special_tokens=False))
