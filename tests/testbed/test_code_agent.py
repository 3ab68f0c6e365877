"""The embedded agent that writes code: what it was taught, what it is shown, and its runs in the real sandbox."""

from __future__ import annotations

import base64
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from PIL import Image
from tokenizers import Tokenizer

from langgraph_speceyes.agent.question import with_instruction
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.prompts import system_message
from langgraph_speceyes.testbed import code_words
from langgraph_speceyes.testbed.code_agent import (
    DIFFERENCE,
    PROTOCOL,
    CodePair,
    add_tokens,
    load_code_pair,
    write_code_agent,
    write_difference,
)
from langgraph_speceyes.testbed.pair import AGENT
from langgraph_speceyes.testbed.questions import SPLITS, questions
from langgraph_speceyes.testbed.training.deep import deep_trajectory_example
from langgraph_speceyes.testbed.training.dialect import CODE
from langgraph_speceyes.testbed.training.tape import IMAGE_TEXT, Encoder
from langgraph_speceyes.testbed.training.teacher import trajectory_example
from langgraph_speceyes.testbed.world import make_scene

OUTPUT = "<sandbox_output>"
CONTINUED = {"extra_body": {"continue_final_message": True}}


@pytest.fixture(scope="module")
def pair() -> Iterator[CodePair]:
    found = load_code_pair()
    yield found
    found.large.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def encode() -> Encoder:
    return Encoder(add_tokens(Tokenizer.from_file(str(AGENT / "tokenizer.json"))))


def turn_of(text: str) -> AIMessage:
    """An assistant's turn with images where its text says so."""
    blocks: list[Any] = []
    for part in text.split("[image]"):
        blocks += [{"type": "text", "text": part}, {"type": "image", "url": "x.png"}]
    return AIMessage(blocks[:-1])


def asked(text: str, image: str) -> list[BaseMessage]:
    question = HumanMessage([{"type": "image", "url": image}, {"type": "text", "text": text}])
    return [*system_message(code_words.SYSTEM), with_instruction(question, code_words.INSTRUCTION)]


def test_its_tokens_tear_no_words(encode: Encoder) -> None:
    before = Tokenizer.from_file(str(AGENT / "tokenizer.json"))
    for split in SPLITS:
        for question in questions(split, "train", 40):
            for text in (question.text, question.answer):
                assert encode(text) == before.encode(text).ids


@pytest.mark.parametrize("make", [trajectory_example, deep_trajectory_example])
def test_what_is_taught_is_what_the_agent_is_shown(
    pair: CodePair, encode: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    """At each output the open turn, rendered to be gone on with, is the beginning of what was taught."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (192, 192)).save("x.png")
    large: Any = pair.large
    rng, outputs = random.Random(5), 0
    for _ in range(6):
        example = make(encode, rng, CODE)
        text = encode.tokenizer.decode(example.main.ids, skip_special_tokens=False)
        _, _, rest = text.partition(IMAGE_TEXT)
        question, _, turn = rest.partition(f"\n{code_words.INSTRUCTION}<|im_end|>\n<|im_start|>assistant\n")
        said = turn.removesuffix("<|im_end|>").replace(IMAGE_TEXT, "[image]")
        segments = said.split("</sandbox_output>")
        for count in range(1, len(segments)):
            opened = turn_of("</sandbox_output>".join(segments[:count]) + "</sandbox_output>")
            assert PROTOCOL.is_open(opened)
            prompt, images = large.render([*asked(question, "x.png"), opened], continued=True)
            tokens = encode(prompt.replace("<|vision_start|><|image_pad|><|vision_end|>", IMAGE_TEXT))
            assert example.main.ids[: len(tokens)] == tokens
            assert len(images) == 1 + opened.text.count(OUTPUT) - sum("ocr" in s for s in segments[:count])
            outputs += 1
        for segment in segments[:-1]:
            read = PROTOCOL.read(AIMessage(segment.partition(OUTPUT)[0]), ["code"])
            compile(read.calls[0]["arguments"]["code"], "block", "exec")
        assert PROTOCOL.read(AIMessage(segments[-1]), ["code"]).answered
    assert outputs > 5


def test_what_is_taught_after_code_is_to_stop(encode: Encoder) -> None:
    (stop,), (output,) = encode("<|im_end|>"), encode(OUTPUT)
    example = trajectory_example(encode, random.Random(1), CODE)
    at = example.main.ids.index(output)
    assert example.main.labels[at] == stop


def test_a_look_is_taught_as_its_code_shows_it() -> None:
    image = make_scene("a look").render(150)
    shown = CODE.shown(image, (0, 0, 450, 450)).astype(int)
    exact = np.asarray(image.resize((192, 192), Image.Resampling.BICUBIC, box=(0, 0, 450, 450))).astype(int)
    assert shown.shape == (192, 192, 3)
    assert 0 < np.abs(shown - exact).mean() < 3


def test_the_difference_makes_a_whole_checkpoint(tmp_path: Path) -> None:
    assert DIFFERENCE.stat().st_size <= 1_900_000
    write_code_agent(tmp_path / "whole")
    write_difference(tmp_path / "whole", tmp_path / "again.safetensors")
    write_code_agent(tmp_path / "twice", tmp_path / "again.safetensors")
    names = {file.name for file in (tmp_path / "whole").iterdir()}
    assert names == {file.name for file in AGENT.iterdir()} - {"README.md"}
    from safetensors.torch import load_file

    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "twice"))
    assert one.keys() == two.keys()
    # half precision of weights below 4
    assert all(float((one[name] - two[name]).abs().max()) < 2e-3 for name in one)


def test_going_on_with_a_turn_is_the_same_with_and_without_caches(
    pair: CodePair, ask: Callable[[str, int], list[Any]]
) -> None:
    large: Any = pair.large
    plain = type(large).from_loaded(large._engine.model, large._engine.processor, cache_bytes=0, max_tokens=160)
    ((_, message),) = ask("existence", 1)
    image, text = message.content
    prompt = asked(text["text"], image["url"])
    turn = large.invoke(prompt, stop=["</code>"])
    first = PROTOCOL.read(turn, ["code"]).message
    region = f"{image['url']}#xywh=0,0,576,576"
    outcome: Any = {"id": "", "tool": "code", "text": "", "images": [region], "error": None}
    opened = [*prompt, PROTOCOL.show(first, [outcome])]
    found = large.invoke(opened, **CONTINUED)
    again, fresh = large.invoke(opened, **CONTINUED), plain.invoke(opened, **CONTINUED)
    plain.close()
    assert found.text == again.text == fresh.text
    assert found.text.startswith("<think>")
    assert found.usage_metadata["input_token_details"]["cache_read"] > turn.usage_metadata["input_tokens"]
    assert fresh.usage_metadata["input_token_details"]["cache_read"] == 0
    assert found.usage_metadata["input_tokens"] == fresh.usage_metadata["input_tokens"]


def test_only_an_open_turn_is_gone_on_with(pair: CodePair) -> None:
    question = HumanMessage("Where is the star?")
    for last, match in ((question, "a turn of the model"), (AIMessage([]), "ends with text")):
        with pytest.raises(ArgumentError, match=match):
            pair.large.invoke([question, last], **CONTINUED)


def test_runs_in_the_sandbox(pair: CodePair, ask: Callable[[str, int], list[Any]]) -> None:
    agent = pair.agent().compile()
    small = next(one for one in ask("attributes", 6) if one[0].size == "small" and one[0].targets[0].quarter)
    for question, message in (ask("reading", 1)[0], small):
        result = agent.invoke({"messages": [message]})
        assert question.is_right(result["messages"][-1].text)
        assert [step["error"] for step in result["steps"]] == [None] * result["tool_steps"]
        assert all("Image.open" in step["arguments"]["code"] for step in result["steps"][:1])
    assert result["tool_steps"] >= 2, "the second block has the first one's variables"


RESUMED = """
import sys
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph_speceyes.testbed.code_agent import load_code_pair

with SqliteSaver.from_conn_string(sys.argv[1]) as saver:
    agent = load_code_pair().agent().compile(checkpointer=saver)
    print(agent.invoke(None, {"configurable": {"thread_id": "1"}})["messages"][-1].text)
"""


def test_a_run_goes_on_in_another_process(pair: CodePair, ask: Callable[[str, int], list[Any]], tmp_path: Path) -> None:
    question, message = next(
        one for one in ask("attributes", 6) if one[0].size == "small" and one[0].targets[0].quarter
    )
    image, text = message.content
    # 5 MB, whatever the checkpoint keeps of it
    noisy = np.asarray(Image.open(image["url"]).convert("RGB").resize((1536, 1536))).copy()
    noisy ^= np.random.default_rng(0).integers(0, 16, noisy.shape, dtype=np.uint8)
    file = tmp_path / "image.png"
    Image.fromarray(noisy).save(file, compress_level=1)
    data = base64.b64encode(file.read_bytes()).decode()
    message = HumanMessage([{"type": "image", "base64": data, "mime_type": "image/png"}, text])
    assert file.stat().st_size > 4_500_000
    thread: Any = {"configurable": {"thread_id": "1"}}
    whole = pair.agent().compile().invoke({"messages": [message]})
    assert whole["tool_steps"] >= 2
    database = tmp_path / "runs.sqlite"
    with SqliteSaver.from_conn_string(str(database)) as saver:
        agent = pair.agent().compile(checkpointer=saver, interrupt_before=["code"])
        agent.invoke({"messages": [message]}, thread)
        agent.invoke(None, thread)
        assert agent.get_state(thread).next == ("code",)
        assert len(agent.get_state(thread).values["steps"]) == 1
        newest = saver.get_tuple(thread)
        assert newest is not None
        _, stored = saver.serde.dumps_typed(newest.checkpoint)
        assert len(stored) < 100_000
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RESUMED, str(database)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == whole["messages"][-1].text
    assert question.is_right(done.stdout.strip())
