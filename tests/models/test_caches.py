"""What is cached changes no answer, only the work."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from PIL import Image

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.models.prefix import ByteBudget, Prefix, PrefixCache, image_spans, shared_length
from langgraph_speceyes.models.scope import cache_scope
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.pair import Pair, load_pair

Ask = Callable[[str, int], list[Any]]


@pytest.fixture(scope="module")
def cached() -> Iterator[Pair]:
    found = load_pair()
    yield found
    found.speculator.close()
    found.large.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def plain() -> Iterator[Pair]:
    found = load_pair(cache_bytes=0)
    yield found
    found.speculator.close()
    found.large.close()  # type: ignore[attr-defined]


def decoder(model: Any) -> Any:
    return model._engine.decoder


def conversation(message: HumanMessage, turns: int, words: str = "") -> list[BaseMessage]:
    """A question, then looks at parts of its image, each a turn of its own."""
    image, text = message.content
    assert isinstance(image, dict)
    assert isinstance(text, dict)
    asked = HumanMessage([image, {**text, "text": f"{text['text']}{words}\n{prompts.AGENT}"}])
    made: list[BaseMessage] = [SystemMessage(prompts.SYSTEM), asked]
    for turn in range(turns):
        shown = {"type": "image", "url": f"{image['url']}#xywh={40 * turn},20,{100 + 30 * turn},120"}
        made += [AIMessage(f"<think>Look {turn}.</think>"), HumanMessage([shown])]
    return made


def logprobs(message: AIMessage) -> list[Any]:
    content = message.response_metadata["logprobs"]["content"]
    return [[(c["token"], c["logprob"]) for c in entry["top_logprobs"]] for entry in content]


def same(one: AIMessage, two: AIMessage) -> None:
    assert one.text == two.text
    for left, right in zip(logprobs(one), logprobs(two), strict=True):
        assert [p for _, p in left] == pytest.approx([p for _, p in right], abs=1e-4)


@pytest.mark.parametrize("name", ["speculator", "large"])
def test_turn_after_turn_gives_what_it_gives_from_nothing(cached: Pair, plain: Pair, ask: Ask, name: str) -> None:
    with_cache, without = getattr(cached, name), getattr(plain, name)
    assert decoder(with_cache) is not None
    assert decoder(without) is None
    for _, message in ask("relations", 2):
        for turns in range(4):
            asked = conversation(message, turns)
            options: dict[str, Any] = {"logprobs": True, "top_logprobs": 20, "max_tokens": 12}
            one = with_cache.invoke(asked, **options)
            same(one, without.invoke(asked, **options))
            read = one.usage_metadata["input_token_details"]["cache_read"]
            # the system prompt is any question's
            assert (read > 40) == (turns > 0)
            assert read < one.usage_metadata["input_tokens"]


def test_a_run_of_three_steps_prefills_little(cached: Pair, plain: Pair, ask: Ask) -> None:
    large = decoder(cached.large)
    agents = [pair.agent().compile() for pair in (cached, plain)]
    shares = []
    for _, message in ask("reading", 6):
        before = large.prefilled, large.reused
        one, two = (agent.invoke({"messages": [message]}) for agent in agents)
        assert one["messages"][-1].text == two["messages"][-1].text
        prefilled, reused = large.prefilled - before[0], large.reused - before[1]
        if one["tool_steps"] >= 2:
            shares.append(prefilled / (prefilled + reused))
    assert shares
    assert sum(shares) / len(shares) < 0.5


def test_judge_and_agent_share_a_prefill_and_an_image_is_encoded_once(cached: Pair, ask: Ask) -> None:
    from dataclasses import replace

    large, small = decoder(cached.large), decoder(cached.speculator)
    closed = replace(cached.gate, threshold=1 - 1e-12)
    graph = cached.speceyes(gate=closed).compile()
    ((_, message),) = ask("existence", 9)[8:]
    before = large.encoded, large.reused, small.encoded
    result = graph.invoke({"messages": [message]})
    steps = [s for s in result["decision"]["tool_calls"] if s["image"]]
    # the judge's and the agent's first look are one, and a region is an image of its own
    assert large.encoded - before[0] == 1 + len({s["image"] for s in steps})
    assert small.encoded - before[2] == 1
    judged = result["decision"]["tokens"]["judge"]["input"]
    assert large.reused - before[1] > 0.8 * judged


def test_equal_words_about_other_images_share_nothing_of_them(cached: Pair, plain: Pair, ask: Ask) -> None:
    (_, one), (_, two) = ask("attributes", 2)
    text = {"type": "text", "text": "What color is the star?\n" + prompts.SPECULATE}
    options: dict[str, Any] = {"logprobs": True, "top_logprobs": 20, "max_tokens": 8}
    for message in (one, two, one):
        asked = [SystemMessage(prompts.SYSTEM), HumanMessage([message.content[0], text])]
        same(cached.speculator.invoke(asked, **options), plain.speculator.invoke(asked, **options))


def test_a_crowd_of_conversations_fares_as_each_alone(
    cached: Pair, plain: Pair, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"logprobs": True, "top_logprobs": 8}
    asked = [
        conversation(message, turns, " Please." * (turns % 2))
        for _, message in ask("relations", 4)
        for turns in range(4)
    ]
    random.Random(7).shuffle(asked)
    # some are judgments: done with their first token, beside longer answers
    lengths = [(10, 1, 6)[k % 3] for k in range(len(asked))]
    alone = [plain.large.invoke(one, max_tokens=n, **options) for one, n in zip(asked, lengths, strict=True)]
    failed: list[object] = []
    serve_one = cached.large._batcher._serve_one  # type: ignore[attr-defined]
    monkeypatch.setattr(
        cached.large._batcher,  # type: ignore[attr-defined]
        "_serve_one",
        lambda batch, alone=False: failed.append(batch) if alone else serve_one(batch),
    )
    for _ in range(2):
        # the second time nearly all of it is cached, with prefixes of all lengths in one batch
        with ThreadPoolExecutor(8) as pool:
            crowd = list(pool.map(lambda one, n: cached.large.invoke(one, max_tokens=n, **options), asked, lengths))
        assert not failed
        for left, right in zip(crowd, alone, strict=True):
            same(left, right)


def test_another_kind_of_attention_gives_the_same(cached: Pair, ask: Ask) -> None:
    eager = load_pair(attn_implementation="eager").large
    options: dict[str, Any] = {"logprobs": True, "top_logprobs": 8}
    asked = [conversation(message, turns) for turns, (_, message) in enumerate(ask("relations", 3))]
    lengths = [6, 14, 10]

    def crowd(model: Any) -> list[Any]:
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda one, n: model.invoke(one, max_tokens=n, **options), asked, lengths))

    for left, right in zip(crowd(cached.large), crowd(eager), strict=True):
        same(left, right)
    eager.close()  # type: ignore[attr-defined]


def test_streams_stops_and_seeds_work_from_the_cache(cached: Pair, ask: Ask) -> None:
    ((_, message),) = ask("attributes", 1)
    asked = conversation(message, 0)
    text = cached.large.invoke(asked, max_tokens=12).text
    assert "".join(chunk.text for chunk in cached.large.stream(asked, max_tokens=12)) == text
    word = text.split()[1]
    assert cached.large.invoke(asked, max_tokens=12, stop=[word]).text == text[: text.index(word)]
    warm = [cached.large.invoke(asked, max_tokens=12, temperature=3.0, seed=seed).text for seed in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2]


def test_scopes_share_nothing(cached: Pair, ask: Ask) -> None:
    large = decoder(cached.large)
    ((_, message),) = ask("dense", 1)
    asked = conversation(message, 0)

    def read(scope: str) -> tuple[int, int]:
        before = large.encoded
        with cache_scope(scope):
            said = cached.large.invoke(asked, max_tokens=4)
        return said.usage_metadata["input_token_details"]["cache_read"], large.encoded - before  # type: ignore[index]

    assert read("one") == (0, 1)
    first = read("one")
    assert first[0] > 0
    assert first[1] == 0
    assert read("two") == (0, 1)
    assert read("one") == first


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ArgumentError, match="cache_bytes"):
        load_pair(cache_bytes=-1)


def test_a_small_budget_holds(ask: Ask, plain: Pair) -> None:
    limit = 2_000_000
    tight = load_pair(cache_bytes=limit)
    try:
        for _, message in ask("attributes", 6):
            asked = conversation(message, 1)
            assert tight.large.invoke(asked, max_tokens=6).text == plain.large.invoke(asked, max_tokens=6).text
            held = decoder(tight.large)
            assert 0 < held.prefixes.held <= limit
            assert held.features.held <= limit
    finally:
        tight.speculator.close()
        tight.large.close()  # type: ignore[attr-defined]


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=40))
def test_a_budget_is_never_exceeded_and_forgets_the_oldest(limit: int, puts: list[tuple[int, int]]) -> None:
    budget: ByteBudget[int] = ByteBudget(limit)
    model: dict[int, int] = {}
    for key, size in puts:
        budget.put(key, size, size)
        model.pop(key, None)
        if size <= limit:
            model[key] = size
        while sum(model.values()) > limit:
            model.pop(next(iter(model)))
        assert [(k, budget.peek(k)) for k in budget.newest()] == list(model.items())[::-1]
        assert budget.held == sum(model.values()) <= limit


def prefix(ids: list[int]) -> Prefix:
    layer = torch.zeros(1, len(ids), 2)
    return Prefix(np.asarray(ids, dtype=np.int64), ((layer, layer),))


_IDS = st.lists(st.integers(-2, 2), min_size=1, max_size=8)


@given(st.lists(_IDS, max_size=12), _IDS)
def test_the_longest_shared_prefix_is_found(kept: list[list[int]], asked: list[int]) -> None:
    cache = PrefixCache(1 << 20)
    for ids in kept:
        cache.put(prefix(ids))
    found, shared = cache.longest(np.asarray(asked, dtype=np.int64))
    best = max((len([0 for _ in _common(ids, asked)]) for ids in kept), default=0)
    assert shared == best
    assert (found is None) == (best == 0)
    if found is not None:
        assert found.ids[:shared].tolist() == asked[:shared]
    # what goes on from another replaces it
    held = [p.ids.tolist() for key in cache._prefixes.newest() if (p := cache._prefixes.peek(key)) is not None]
    assert not any(a != b and b[: len(a)] == a for a in held for b in held)


def _common(one: list[int], two: list[int]) -> list[int]:
    return [a for i, (a, b) in enumerate(zip(one, two, strict=False)) if one[: i + 1] == two[: i + 1]]


@given(st.lists(st.sampled_from([7, 1, 2]), max_size=20))
def test_image_spans_are_the_runs_of_placeholders(ids: list[int]) -> None:
    spans = image_spans(ids, 7)
    inside = {i for begin, end in spans for i in range(begin, end)}
    assert inside == {i for i, token in enumerate(ids) if token == 7}
    assert all(ids[begin - 1 : begin] != [7] and ids[end : end + 1] != [7] for begin, end in spans)
    assert shared_length(np.asarray(ids), np.asarray(ids)) == len(ids)


def test_images_that_differ_in_size_only_are_told_apart() -> None:
    from langgraph_speceyes.models.decoder import _digest

    assert _digest(Image.new("RGB", (4, 9))) != _digest(Image.new("RGB", (9, 4)))
    assert _digest(Image.new("RGB", (4, 9))) == _digest(Image.new("RGB", (4, 9)))
