from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from PIL import Image

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.errors import ArgumentError, ImageError
from langgraph_speceyes.images import ImagePolicy
from langgraph_speceyes.prompts import image_question
from langgraph_speceyes.scoring import SCORES, score_answer
from langgraph_speceyes.scoring.separability import separability
from langgraph_speceyes.testbed.pair import PROMPTS, SPECULATOR, Pair
from langgraph_speceyes.testbed.world import make_scene
from tests.waiting import PATIENCE_S, auntil

Asked = Any
Ask = Callable[[str, int], list[Asked]]


def prompts_for(ask: Ask, count: int) -> list[list[BaseMessage]]:
    """Prompts of different lengths, so that a batch needs padding."""
    made: list[list[BaseMessage]] = []
    for k, (_, message) in enumerate([*ask("attributes", count), *ask("reading", count)]):
        image, text = message.content
        text = {**text, "text": "Look. " * (k % 4) + text["text"] + "\n" + PROMPTS.speculate}
        made.append([SystemMessage(PROMPTS.speculate_system or ""), HumanMessage([image, text])])
    return made


def tokens(message: AIMessage) -> list[dict[str, Any]]:
    return list(message.response_metadata["logprobs"]["content"])


@pytest.mark.parametrize("name", ["speculator", "large"])
def test_a_batched_answer_equals_the_answer_alone(
    pair: Pair, ask: Ask, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: LocalChatModel = getattr(pair, name)
    prompts = prompts_for(ask, 4)
    alone = [model.invoke(p, logprobs=True, top_logprobs=64, max_tokens=12) for p in prompts]
    model.clear_caches()
    monkeypatch.setattr(model._batcher, "max_wait_s", PATIENCE_S)
    batches, calls = model.stats.batches, model.stats.calls

    def together(key: int) -> AIMessage:
        return model.invoke(prompts[key], logprobs=True, top_logprobs=64, max_tokens=12, batch_key=key)

    for key in range(len(prompts)):
        model.expect(key)
    try:
        with ThreadPoolExecutor(len(prompts)) as pool:
            batched = list(pool.map(together, range(len(prompts))))
    finally:
        for key in range(len(prompts)):
            model.dismiss(key)
    assert (model.stats.batches - batches, model.stats.calls - calls) == (1, len(prompts))
    for one, many in zip(alone, batched, strict=True):
        assert one.content == many.content
        assert [t["token"] for t in tokens(one)] == [t["token"] for t in tokens(many)]
        for count in ("input_tokens", "output_tokens"):
            assert one.usage_metadata[count] == many.usage_metadata[count]  # type: ignore[index, literal-required]
        first, second = score_answer(tokens(one)), score_answer(tokens(many))
        for score in SCORES:
            assert math.isclose(first.scores[score], second.scores[score], abs_tol=1e-4)


async def test_calls_from_tasks_share_forward_passes(pair: Pair, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalChatModel.from_pretrained(str(SPECULATOR), max_batch=4, max_wait_s=PATIENCE_S)
    prompts = prompts_for(ask, 4)
    begun, serve = list[int](), model._batcher._run

    def noted(requests: Any, feed: Any) -> None:
        begun.append(len(requests))
        serve(requests, feed)

    monkeypatch.setattr(model._batcher, "_run", noted)
    for key in range(8):
        model.expect(key)
    answers = await asyncio.gather(*(model.ainvoke(p, batch_key=k) for k, p in enumerate(prompts)))
    assert (begun[0], model.stats.calls, model.stats.largest) == (4, 8, 4)
    # the others join as those end, together or one by one
    assert model.stats.batches <= 1 + 4
    assert [a.content for a in answers] == [pair.speculator.invoke(p).content for p in prompts]


class Held:
    """The large model, which never ends an answer by itself and takes no step that it was not let take."""

    def __init__(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent = self.steps = 0
        self._let, self._step = threading.Semaphore(0), model._engine.decoder._step
        monkeypatch.setattr(model._engine, "end_ids", frozenset())
        monkeypatch.setattr(model._engine.decoder, "_step", self)

    def __call__(self, rows: Any) -> Any:
        self.sent += 1
        assert self._let.acquire(timeout=PATIENCE_S)
        self.steps += 1
        return self._step(rows)

    def let(self, steps: int) -> None:
        self._let.release(steps)

    async def take(self, steps: int) -> None:
        """Let it take steps until it stands before the next one."""
        before = self.steps
        self.let(steps)
        await auntil(lambda: self.sent == before + steps + 1)


async def test_a_judgment_joins_a_longer_answer_and_leaves(
    pair: Pair, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pair.large
    one, other, *_ = prompts_for(ask, 2)
    held = Held(model, monkeypatch)
    held.let(39)
    alone = [await model.ainvoke(one, max_tokens=40), await model.ainvoke(other, max_tokens=1)]
    held.sent = held.steps = 0
    long = asyncio.create_task(model.ainvoke(one, max_tokens=40))
    await held.take(3)
    joining = asyncio.create_task(model.ainvoke(other, max_tokens=1))
    await auntil(lambda: model._batcher._waiting)
    held.let(1)
    short = await joining
    assert (held.steps, long.done()) == (4, False)
    held.let(35)
    assert [(await long).text, short.text] == [message.text for message in alone]
    assert held.steps == 39


async def test_an_answer_ends_once_nobody_waits_for_it(pair: Pair, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = pair.large
    one, other, *_ = prompts_for(ask, 2)
    held = Held(model, monkeypatch)
    # whoever comes next has to wait until the answer has ended
    monkeypatch.setattr(model._batcher, "max_batch", 1)
    task = asyncio.create_task(model.ainvoke(one, max_tokens=400))
    await held.take(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.let(400)
    await model.ainvoke(other, max_tokens=1)
    # the step that was about to be taken is the last
    assert held.steps == 4


def test_logprobs_are_those_of_the_models_own_logits(pair: Pair, ask: Ask) -> None:
    """Against a plain forward pass over prompt and answer, without cache, batch or hooks."""
    model = pair.speculator
    (prompt, *_) = prompts_for(ask, 1)
    answer = model.invoke(prompt, logprobs=True, top_logprobs=64)
    engine = model._engine
    text, images = model.render(prompt)
    inputs = engine.processor(text=[text], images=[list(images)], return_tensors="pt")
    said = torch.tensor([engine.tokenizer(answer.text, add_special_tokens=False).input_ids])
    ids = torch.cat([inputs["input_ids"], said], dim=1)
    with torch.no_grad():
        logits = engine.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == engine.processor.image_token_id).int(),
            pixel_values=inputs["pixel_values"],
            image_grid_thw=inputs["image_grid_thw"],
        ).logits[0, inputs["input_ids"].shape[1] - 1 : -1]
    assert len(tokens(answer)) == said.shape[1]
    expected = logits.log_softmax(-1)
    for step, found in enumerate(tokens(answer)):
        assert found["logprob"] == pytest.approx(float(expected[step].max()), abs=1e-4)
        listed = [t["logprob"] for t in found["top_logprobs"]]
        assert listed == sorted(listed, reverse=True)
        torch.testing.assert_close(torch.tensor(listed), expected[step].topk(64).values, atol=1e-4, rtol=1e-4)
        assert separability(logits[step].topk(64).values.double().numpy()) == pytest.approx(
            separability(torch.tensor(listed).numpy()), abs=1e-2
        )


def test_end_of_sequence_is_counted_but_not_part_of_the_answer(pair: Pair, ask: Ask) -> None:
    answer = pair.speculator.invoke(prompts_for(ask, 1)[0], logprobs=True, top_logprobs=2)
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == len(tokens(answer)) + 1
    assert "".join(t["token"] for t in tokens(answer)) == answer.content
    assert all(bytes(t["bytes"]).decode() == t["token"] for t in tokens(answer))


def test_an_answer_that_is_cut_says_so(pair: Pair, ask: Ask) -> None:
    answer = pair.speculator.invoke(prompts_for(ask, 1)[0], logprobs=True, top_logprobs=2, max_tokens=2)
    assert answer.response_metadata["finish_reason"] == "length"
    assert len(tokens(answer)) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_streams_add_up_to_the_answer(pair: Pair, ask: Ask, asynchronous: bool) -> None:
    model, (prompt, *_) = pair.speculator, prompts_for(ask, 1)
    options: dict[str, Any] = {"logprobs": True, "top_logprobs": 5}
    # both find the prompt in the cache, whichever test ran before
    model.invoke(prompt, **options)
    whole = model.invoke(prompt, **options)
    if asynchronous:
        chunks = [c async for c in model.astream(prompt, **options)]
    else:
        chunks = list(model.stream(prompt, **options))
    assert len([c for c in chunks if c.content]) > 2
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    assert isinstance(total, AIMessageChunk)
    assert total.content == whole.content
    assert total.usage_metadata == whole.usage_metadata
    assert total.response_metadata["logprobs"] == whole.response_metadata["logprobs"]


def test_a_stream_whose_loop_was_closed_is_given_up_and_disturbs_nobody(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = pair.speculator
    monkeypatch.setattr(model._engine, "end_ids", frozenset())
    asked = model._request([HumanMessage("Who?")], None, {"max_tokens": 4})
    alone = model._batcher.submit(asked).result(PATIENCE_S).text
    step, calls = model._engine.decoder._step, model.stats.calls
    submitted, together, closed = threading.Event(), threading.Event(), threading.Event()

    def slow(rows: Any) -> Any:
        assert submitted.wait(PATIENCE_S)
        if len(rows) > 1:
            together.set()
            assert closed.wait(PATIENCE_S)
        return step(rows)

    monkeypatch.setattr(model._engine.decoder, "_step", slow)
    loop, stream = asyncio.new_event_loop(), model._astream([HumanMessage("What?")], max_tokens=400)
    loop.run_until_complete(anext(stream))
    other = model._batcher.submit(asked)
    submitted.set()
    assert together.wait(PATIENCE_S)
    loop.close()
    closed.set()
    assert other.result(PATIENCE_S).text == alone
    # neither of them was begun again
    assert model.stats.calls == calls + 2


def test_stop_strings_end_the_answer_before_them(pair: Pair, ask: Ask) -> None:
    model, (prompt, *_) = pair.speculator, prompts_for(ask, 1)
    whole = model.invoke(prompt)
    stopped = model.invoke(prompt, stop=[" is"], logprobs=True, top_logprobs=2)
    assert stopped.content == whole.text.partition(" is")[0]
    assert "".join(t["token"] for t in tokens(stopped)) == stopped.content
    assert stopped.response_metadata["finish_reason"] == "stop"
    assert "".join(c.text for c in model.stream(prompt, stop=[" is"])) == stopped.content


@pytest.mark.parametrize(
    "other",
    [
        *({"logprobs": True}, {"stop": ["no"]}, {"seed": 1}, {"template_options": {"enable_thinking": False}}),
        *({"tools_in_prompt": False}, {"tools_without_template": "error"}),
    ],
)
def test_a_cache_of_langchain_tells_models_of_other_settings_apart(pair: Pair, other: dict[str, Any]) -> None:
    cache = InMemoryCache()
    one, two = (LocalChatModel.sharing(pair.speculator, cache=cache, max_tokens=2, **own) for own in ({}, other))
    calls = pair.speculator.stats.calls
    for model in (one, one, two):
        model.invoke("What?")
    assert pair.speculator.stats.calls == calls + 2


def test_an_option_that_changes_nothing_is_said_once(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    for options in ({"frequency_penalty": 1.0}, {"frequency_penalty": 0.5, "temperature": 0.0, "stream": False}):
        pair.speculator.invoke("What?", max_tokens=1, **options)
    assert [one.getMessage() for one in caplog.records] == [
        "a LocalChatModel has no option frequency_penalty, it is ignored; see max_tokens, temperature, seed, stop"
    ]


@pytest.mark.parametrize("options", [{"stop": ["a", ""]}, {"stop": "no"}, {"max_tokens": 0}, {"max_tokens": -1}])
def test_what_would_end_an_answer_at_once_is_refused(pair: Pair, options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(options))):
        pair.speculator.invoke("What?", **options)


def test_memory_for_logprobs_is_per_candidate_not_per_vocabulary(pair: Pair, ask: Ask) -> None:
    answer = pair.speculator.invoke(prompts_for(ask, 1)[0], logprobs=True, top_logprobs=3)
    assert {len(t["top_logprobs"]) for t in tokens(answer)} == {3}
    assert "logprobs" not in pair.speculator.invoke(prompts_for(ask, 1)[0]).response_metadata


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"logprobs": True, "top_logprobs": 10_000}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        ({"top_logprobs": 5}, "top_logprobs"),
    ],
)
def test_impossible_logprobs_are_refused(pair: Pair, ask: Ask, options: dict[str, Any], argument: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        pair.speculator.invoke(prompts_for(ask, 1)[0], **options)
    assert caught.value.argument == argument


def test_a_k_above_the_vocabulary_is_refused_before_anything_runs(pair: Pair) -> None:
    from langgraph_speceyes import Gate

    with pytest.raises(ArgumentError, match="vocabulary"):
        pair.speceyes(gate=Gate(k=pair.speculator.vocab_size + 1))


def test_images_stay_within_the_models_policy(tmp_path: Path, pair: Pair) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    model = pair.speculator.model_copy(update={"policy": ImagePolicy(roots=(tmp_path / "elsewhere",))})
    with pytest.raises(ImageError):
        model.invoke([HumanMessage([{"type": "image", "url": str(tmp_path / "a.png")}])])


def test_tools_are_shown_to_the_model_and_their_results_with_images_too(pair: Pair, tmp_path: Path) -> None:
    @tool
    def crop(bbox_2d: list[float]) -> str:
        """Cut a region out."""
        return ""

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    picture = {"type": "image", "url": str(tmp_path / "a.png")}
    call = {"name": "crop", "args": {"bbox_2d": [0, 0, 9, 9]}, "id": "1", "type": "tool_call"}
    bound: Any = pair.large.bind_tools([crop])
    text, images = pair.large.render(
        [
            HumanMessage([picture, {"type": "text", "text": "What?"}]),
            AIMessage("", tool_calls=[call]),
            ToolMessage([picture], tool_call_id="1", name="crop"),
        ],
        bound.kwargs["tools"],
    )
    assert '"Cut a region out."' in text
    assert '<tool_call>{"name":"crop","arguments":{"bbox_2d": [0, 0, 9, 9]}}</tool_call>' in text
    assert text.count("<|image_pad|>") == len(images) == 2
    assert text.index("<tool_response>") < text.rindex("<|image_pad|>") < text.index("</tool_response>")
    with pytest.raises(ArgumentError, match="tool_choice"):
        pair.large.bind_tools([crop], tool_choice="crop")


def test_templates_without_images_in_tool_results_get_them_in_a_user_turn(pair: Pair, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    picture = {"type": "image", "url": str(tmp_path / "a.png")}
    model = LocalChatModel.from_pretrained(str(SPECULATOR))
    template = model._engine.processor.chat_template
    model._engine.processor.chat_template = (
        "{%- for m in messages -%}[{{ m.role }}]{%- for b in m.content -%}"
        "{%- if b.type == 'text' -%}{{- b.text -}}{%- elif m.role != 'tool' -%}<|image_pad|>{%- endif -%}"
        "{%- endfor -%}{%- endfor -%}"
    )
    try:
        text, images = model.render(
            [HumanMessage([picture]), AIMessage("hm"), ToolMessage([picture], tool_call_id="1", name="crop")]
        )
    finally:
        model._engine.processor.chat_template = template
    assert text == "[user]<|image_pad|>[assistant]hm[tool]See the image below.[user]<|image_pad|>"
    assert len(images) == 2


@pytest.mark.parametrize("name", ["speculator", "large"])
def test_checkpoints_are_ordinary_folders(pair: Pair, name: str) -> None:
    from transformers import AutoConfig, AutoTokenizer

    folder = Path(getattr(pair, name)._engine.model.config._name_or_path)
    family = {"speculator": "qwen3_vl", "large": "qwen2_5_vl"}[name]
    assert AutoConfig.from_pretrained(folder).model_type == family
    assert AutoTokenizer.from_pretrained(folder).decode([1]) == pair.large._engine.tokenizer.decode([1])
    assert sum(f.stat().st_size for f in folder.glob("*.safetensors")) <= 16_000_000


@pytest.mark.parametrize(("name", "cell", "within"), [("speculator", 60, 0), ("large", 110, 0), ("large", 684, 4)])
def test_images_resized_beforehand_give_the_same_pixel_values(
    pair: Pair, name: str, cell: int, within: int, tmp_path: Path
) -> None:
    model = getattr(pair, name)
    whole = make_scene("beforehand").render(cell)
    whole.save(tmp_path / "a.png")
    _, (image,) = model.render([image_question(tmp_path / "a.png", "What?")])
    assert image.size != whole.size
    made, plain = (
        model._engine.processor.image_processor(images=[i], return_tensors="pt")["pixel_values"] for i in (image, whole)
    )
    # sides that shrink to a sixth or less are averaged down first: off by a few of 255 levels
    assert (made - plain).abs().max() <= within / 127.5 + 1e-6
    assert (made - plain).abs().mean() <= (0.5 / 127.5 if within else 0)
