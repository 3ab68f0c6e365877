"""What the models are taught is, token for token and pixel for pixel, what they are asked at run time."""

from __future__ import annotations

import random
import re

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from PIL import Image

from langgraph_speceyes.models.template import turns
from langgraph_speceyes.prompts import front_end_prompt, system_message
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.questions import DEEP
from langgraph_speceyes.testbed.training.deep import (
    colours_example,
    deep_perception_example,
    deep_trajectory_example,
    whole_view_example,
)
from langgraph_speceyes.testbed.training.tape import (
    IGNORE,
    IMAGE_TEXT,
    Encoder,
    Example,
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
from langgraph_speceyes.testbed.world import make_scene

MAKERS = [
    speculator_look_example,
    agent_look_example,
    speculator_example,
    perception_example,
    trajectory_example,
    deep_perception_example,
    deep_trajectory_example,
    colours_example,
    whole_view_example,
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
                messages.append(HumanMessage(blocks))
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

    with unittest.mock.patch("langgraph_speceyes.models.template.load_image", return_value=image):
        found, _ = turns(messages, pair.large.policy)
    text = pair.large._template(found, None)
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
