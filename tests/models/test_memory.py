"""What local models hold at once is bounded, and running out of memory costs time, no answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.errors import ArgumentError, DeviceMemoryError, PromptTooLongError
from langgraph_speceyes.models import memory
from langgraph_speceyes.models.batcher import Feed
from langgraph_speceyes.models.memory import LEAST_PASS, PASS, free_host_bytes, is_out_of_memory, slot_bytes
from langgraph_speceyes.models.prefill import PADDING, SLACK, Prompt, grouped
from langgraph_speceyes.models.request import Completion, Request
from langgraph_speceyes.testbed.pair import AGENT, SPECULATOR

SHORT = ["What?", "Is it red?", "Which one is it?", "Where?", "How many are there?", "Who?", "A circle or a square?"]


@pytest.fixture
def large() -> Iterator[Any]:
    model = LocalChatModel.from_pretrained(str(AGENT))
    yield model
    model.close()


def text_of(engine: Any, tokens: int) -> str:
    """A prompt with exactly so many tokens."""
    text = " red" * tokens
    ids = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
    text = engine.tokenizer.decode(ids[:tokens])
    assert len(engine.tokenizer(text, add_special_tokens=False)["input_ids"]) == tokens
    return str(text)


def requests(texts: Sequence[str], **options: Any) -> list[Request]:
    return [Request(text=text, top=4, **({"max_tokens": 6} | options)) for text in texts]


def same(one: Completion, two: Completion) -> None:
    assert (one.text, one.finish_reason, one.prompt_tokens) == (two.text, two.finish_reason, two.prompt_tokens)
    for left, right in zip(one.steps, two.steps, strict=True):
        np.testing.assert_allclose(left.logprobs, right.logprobs, atol=1e-4)


def prompt(tokens: int, cached: int, most: int = 1) -> Prompt:
    ids = np.zeros(tokens, dtype=np.int64)
    return Prompt([0] * tokens, ids, torch.zeros(3, tokens), 0, [], [], most=most, cached=min(cached, tokens - 1))


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 3000)), max_size=20), st.sampled_from([64, 512, PASS]))
def test_prompts_in_a_group_waste_little(sizes: list[tuple[int, int]], slots: int) -> None:
    prompts = {number: prompt(tokens, cached) for number, (tokens, cached) in enumerate(sizes)}
    groups = grouped(prompts, slots)
    assert sorted(number for group in groups for number in group) == list(prompts)
    for group in groups:
        fresh, lengths = [p.fresh for p in group.values()], [len(p.tokens) for p in group.values()]
        rows, longest = len(group), max(fresh)
        assert rows == 1 or rows * longest <= slots
        assert rows * longest - sum(fresh) <= PADDING
        assert rows * (max(p.cached for p in group.values()) + longest) - sum(lengths) <= SLACK
    longest_of = [max(p.fresh for p in group.values()) for group in groups]
    assert longest_of == sorted(longest_of)


def test_a_long_prompt_costs_its_short_neighbours_nothing(large: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = large._engine
    texts = [text_of(engine, 1977), *SHORT]
    monkeypatch.setattr(engine, "end_ids", frozenset())
    alone = [engine.generate(requests([text]))[0] for text in texts]
    large.clear_caches()
    monkeypatch.setattr(engine.memory, "pass_slots", 512)
    passes: list[tuple[str, int]] = []
    decoder, forward, step = engine.decoder, engine.decoder._forward, engine.decoder._step

    def counted(ids: torch.Tensor, *args: Any) -> torch.Tensor:
        passes.append(("prefill", ids.numel()))
        return forward(ids, *args)

    def stepped(rows: Any) -> torch.Tensor:
        passes.append(("step", len(rows)))
        return step(rows)

    monkeypatch.setattr(decoder, "_forward", counted)
    monkeypatch.setattr(decoder, "_step", stepped)
    for one, two in zip(alone, engine.generate(requests(texts)), strict=True):
        same(one, two)
    slots = [size for kind, size in passes if kind == "prefill"]
    assert sum(slots) <= 2500
    assert max(slots) <= 512
    # the short ones come first, and between two of their tokens there is one pass at most
    assert passes[0] == ("prefill", slots[0])
    assert slots[0] < 200
    steps = [place for place, (kind, _) in enumerate(passes) if kind == "step"]
    assert [b - a for a, b in pairwise(steps[:4])] == [2, 2, 2]
    assert [size for kind, size in passes if kind == "step"][:4] == [7] * 4


class Joined:
    """A feed of one more request, given after so many tokens of the first ones."""

    def __init__(self, late: Request, after: int) -> None:
        self.found: dict[int, Completion] = {}
        self.failed: dict[int, Exception] = {}
        self._late, self._after = [late], after

    def more(self) -> Sequence[Request]:
        self._after -= 1
        return [self._late.pop()] if self._after < 0 and self._late else ()

    def done(self, number: int, result: Completion) -> None:
        self.found[number] = result

    def fail(self, number: int, error: Exception) -> None:
        self.failed[number] = error


def test_a_short_prompt_overtakes_a_long_one_that_is_half_read(large: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = large._engine
    monkeypatch.setattr(engine.memory, "pass_slots", 128)
    order: list[str] = []
    long, short = requests([text_of(engine, 1200), "What?"], max_tokens=2)
    long, short = (
        Request(**{**vars(r), "on_step": lambda *_, n=n: order.append(n)}) for r, n in ((long, "l"), (short, "s"))
    )
    feed: Feed[Request, Completion] = Joined(short, after=2)
    engine.serve([long], feed)
    assert order[:2] == ["s", "s"]


@pytest.mark.parametrize("folder", [AGENT, SPECULATOR])
def test_a_prompt_read_in_pieces_gives_what_it_gives_as_a_whole(folder: Path, ask: Any) -> None:
    model = LocalChatModel.from_pretrained(str(folder), max_tokens=6, logprobs=True, top_logprobs=8)
    asked: list[list[BaseMessage]] = [[message] for _, message in ask("relations", 2)]
    engine: Any = model._engine
    made = [model._request(one, None, {}) for one in asked]
    whole = engine.generate(made)
    # pieces end within images, too
    for slots in (LEAST_PASS, 37):
        model.clear_caches()
        engine.memory.pass_slots = slots
        for _ in range(2):
            for one, two in zip(whole, engine.generate(made), strict=True):
                same(one, two)
    model.close()


def test_calls_wait_until_there_is_room(large: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    large.close()
    tight = LocalChatModel.from_pretrained(str(AGENT), kv_tokens=60)
    engine: Any = tight._engine
    counts, step = list[int](), engine.decoder._step

    def counted(rows: Any) -> torch.Tensor:
        counts.append(len(rows))
        # room for all of the answers was there from the start; one alone is never kept waiting
        assert (
            len(rows) == 1
            or len(rows) * max(length + left for length, left in zip(rows.lengths, rows.left, strict=True)) <= 60
        )
        return step(rows)

    monkeypatch.setattr(engine, "end_ids", frozenset())
    monkeypatch.setattr(engine.decoder, "_step", counted)
    texts = [text_of(engine, size) for size in (12, 9, 14, 10, 11)]
    found = engine.generate(requests(texts))
    assert [len(one.steps) for one in found] == [6] * 5
    assert max(counts) == 3
    with pytest.raises(PromptTooLongError, match="60"):
        engine.generate(requests([text_of(engine, 61)]))
    # one that fits alone is answered
    assert engine.generate(requests([text_of(engine, 58)]))[0].prompt_tokens == 58
    tight.close()


def out_of_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_after_running_out_of_memory_the_budget_is_smaller_and_all_are_answered(
    large: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = large._engine
    alone = [engine.generate(requests([text]))[0] for text in SHORT]
    large.clear_caches()
    forward, sizes, limit = engine.decoder._forward, list[int](), [2]

    def tight(ids: torch.Tensor, *args: Any) -> torch.Tensor:
        sizes.append(len(ids))
        if len(ids) > limit[0]:
            raise out_of_memory()
        logits: torch.Tensor = forward(ids, *args)
        return logits

    clock = [time.monotonic()]
    monkeypatch.setattr("langgraph_speceyes.models.memory.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(engine.decoder, "_forward", tight)
    for one, two in zip(alone, engine.generate(requests(SHORT)), strict=True):
        same(one, two)
    assert max(sizes) == 7

    def most_at_once() -> int:
        sizes.clear()
        large.clear_caches()
        for one, two in zip(alone, engine.generate(requests(SHORT)), strict=True):
            same(one, two)
        return max(sizes)

    assert most_at_once() <= 2
    # the memory may have been another program's: a minute later more is tried, and found to be too much again
    clock[0] += 61
    assert most_at_once() > 2
    assert most_at_once() <= 2
    limit[0] = 7
    for _ in range(40):
        clock[0] += 61
        engine.memory.slots()
    assert most_at_once() == 7
    assert engine.memory.pass_slots == PASS


def test_answers_go_on_where_they_were_when_memory_ran_out(large: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = large._engine
    monkeypatch.setattr(engine, "end_ids", frozenset())
    texts = SHORT[:3]
    alone = [engine.generate(requests([text], max_tokens=9))[0] for text in texts]
    large.clear_caches()
    step, steps = engine.decoder._step, list[int]()

    def sometimes(rows: Any) -> torch.Tensor:
        steps.append(len(rows))
        logits: torch.Tensor = step(rows)
        # after the pass has changed what the rows hold
        if len(steps) in (2, 5):
            raise out_of_memory()
        return logits

    monkeypatch.setattr(engine.decoder, "_step", sometimes)
    for one, two in zip(alone, engine.generate(requests(texts, max_tokens=9)), strict=True):
        same(one, two)
    assert len(steps) > 8


def test_only_a_prompt_that_no_room_is_enough_for_fails(large: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = large._engine
    forward = engine.decoder._forward

    def tight(ids: torch.Tensor, mask: torch.Tensor, *args: Any) -> torch.Tensor:
        if mask.shape[1] > 100:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        logits: torch.Tensor = forward(ids, mask, *args)
        return logits

    monkeypatch.setattr(engine.decoder, "_forward", tight)
    short, long = requests(["What?", text_of(engine, 300)])
    feed = Joined(short, after=0)
    engine.serve([long], feed)
    assert list(feed.found) == [1]
    assert isinstance(feed.failed[0], DeviceMemoryError)
    # the others are none the worse for it
    assert engine.memory.pass_slots == PASS
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_plain_batches_are_halved_until_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalChatModel.from_pretrained(str(AGENT), cache_bytes=0)
    engine: Any = model._engine
    assert engine.decoder is None
    plain, sizes = engine._plain, list[int]()
    alone = [plain(requests([text]))[0] for text in SHORT[:5]]

    def tight(several: Sequence[Request]) -> list[Completion]:
        sizes.append(len(several))
        if len(several) > 2:
            raise out_of_memory()
        made: list[Completion] = plain(several)
        return made

    monkeypatch.setattr(engine, "_plain", tight)
    for one, two in zip(alone, engine.generate(requests(SHORT[:5])), strict=True):
        same(one, two)
    assert sizes == [5, 2, 2, 1]
    model.close()


def test_a_stream_says_nothing_twice_when_its_batch_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalChatModel.from_pretrained(str(AGENT), cache_bytes=0, max_wait_s=60.0)
    engine: Any = model._engine
    plain, sizes = engine._plain, list[int]()

    def tight(several: Sequence[Request]) -> list[Completion]:
        sizes.append(len(several))
        made: list[Completion] = plain(several)
        if len(several) > 1:
            raise out_of_memory()
        return made

    def said(text: str) -> str:
        return "".join(chunk.text for chunk in model.stream(text, max_tokens=6, batch_key=text))

    monkeypatch.setattr(engine, "_plain", tight)
    alone = [model.invoke(text, max_tokens=6).text for text in SHORT[:2]]
    for text in SHORT[:2]:
        model.expect(text)
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(said, SHORT[:2])) == alone
    assert sizes == [1, 1, 2, 1, 1]
    model.close()


def test_sampled_answers_depend_on_no_neighbour(large: Any) -> None:
    plain: Any = LocalChatModel.from_loaded(large._engine.model, large._engine.processor, cache_bytes=0)
    options = {"temperature": 3.0, "seed": 5, "max_tokens": 8}
    alone = [large._engine.generate(requests([text], **options))[0].text for text in SHORT]
    others = torch.random.get_rng_state()
    for engine in (large._engine, plain._engine):
        assert [one.text for one in engine.generate(requests(SHORT, **options))] == alone
    assert len(set(alone)) > 1
    assert torch.equal(torch.random.get_rng_state(), others)


def test_a_slot_of_a_7b_model() -> None:
    from transformers import Qwen2_5_VLConfig

    text = {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}
    assert slot_bytes(Qwen2_5_VLConfig(text_config=text), torch.bfloat16) == 57_344


def test_a_slot_of_a_model_whose_layers_differ() -> None:
    from transformers import Gemma4Config

    text = {"num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}
    # five layers slide, the sixth sees all
    config = Gemma4Config(text_config=text | {"global_head_dim": 512})
    assert slot_bytes(config, torch.float16) == 2 * 2 * 4 * (5 * 256 + 512)


def test_free_memory_is_the_machines_within_the_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info, group = tmp_path / "meminfo", tmp_path / "cgroup"
    monkeypatch.setattr(memory, "_MEMINFO", info)
    monkeypatch.setattr(memory, "_CGROUP", group)
    assert free_host_bytes() is None
    info.write_text("MemTotal:       32 kB\nMemAvailable:       10 kB\n")
    assert free_host_bytes() == 10_240
    group.mkdir()
    for name, held in {
        "memory.max": "9000",
        "memory.current": "5000",
        "memory.stat": "anon 4000\ninactive_file 500\n",
    }.items():
        (group / name).write_text(held)
    assert free_host_bytes() == 4500
    (group / "memory.max").write_text("max\n")
    assert free_host_bytes() == 10_240


def test_the_budget_is_free_memory_by_default(large: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = large._engine.memory
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000 * budget.slot_bytes)
    monkeypatch.setattr(memory, "_FRESH_S", 0.0)
    assert budget.slots() == 500
    with pytest.raises(ArgumentError, match="kv_tokens"):
        LocalChatModel.from_loaded(large._engine.model, large._engine.processor, kv_tokens=0)


def test_closing_ends_a_pass_that_is_under_way(large: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = large._engine
    inside, layer = threading.Event(), engine.model.model.language_model.layers[1]
    # a pass that goes on for ever: before its second layer comes one without an end, which keeps nothing
    monkeypatch.setitem(engine.model._modules, "endless", torch.nn.ModuleList([torch.nn.Identity()]))

    def endless(module: Any, args: Any, kwargs: Any) -> None:
        inside.set()
        while True:
            engine.model.endless[0](None)

    other = engine.generate(requests(["What?"]))[0].text
    hook = layer.register_forward_pre_hook(endless, with_kwargs=True)
    future = large._batcher.submit(requests(["Who?"])[0])
    assert inside.wait(60)
    thread = large._batcher._thread
    large.close()
    assert not thread.is_alive()
    assert "closed" in str(future.exception(0))
    hook.remove()
    # the same weights go on for others
    assert engine.generate(requests(["What?"]))[0].text == other


def test_closing_ends_an_answer_that_goes_on_token_by_token(large: Any) -> None:
    engine, began = large._engine, threading.Event()
    engine.end_ids = frozenset()
    future = large._batcher.submit(*requests(["Who?"], max_tokens=600, on_step=lambda *_: began.set()))
    assert began.wait(60)
    large.close()
    assert "closed" in str(future.exception(0))
