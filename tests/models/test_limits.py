"""Prompts that no context holds are refused before anything is made of them."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from PIL import Image

from langgraph_speceyes.errors import ArgumentError, PromptTooLongError
from langgraph_speceyes.models import limits
from langgraph_speceyes.models.limits import check_text, context_length
from langgraph_speceyes.models.request import Request
from langgraph_speceyes.testbed.pair import Pair


class Words:
    """A tokenizer with a token a word, and one a space run; it counts the characters it was shown."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        self.seen += len(text)
        return {"input_ids": [0] * len(text.split())}


@given(st.lists(st.text("ab", min_size=1, max_size=9), max_size=300), st.integers(1, 400), st.integers(1, 40))
def test_only_what_has_more_tokens_is_refused(words: list[str], most: int, repeats: int) -> None:
    text = " ".join(words * repeats)
    count = len(words) * repeats
    sure = len(text) > most and count >= most + 8 * (1 + len(text) // 8_000)
    if sure:
        with pytest.raises(PromptTooLongError) as caught:
            check_text(Words(), text, most)
        assert caught.value.most == most - 1
    elif count < most:
        check_text(Words(), text, most)
    # what is not sure is left to whoever tokenizes it


def test_a_megabyte_is_not_tokenized() -> None:
    tokenizer = Words()
    with pytest.raises(PromptTooLongError, match="1000000 characters"):
        check_text(tokenizer, "a " * 500_000, 4096)
    assert tokenizer.seen < 40_000
    check_text(tokenizer, "a " * 500_000, None)


@pytest.mark.parametrize("kind", [PromptTooLongError, limits.PromptTooLongError])
def test_the_error_names_the_argument_and_survives_pickling(kind: type[PromptTooLongError]) -> None:
    error = kind(10, "11", "memory")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.argument, copy.most, copy.room) == (str(error), "messages", 10, "memory")
    assert type(copy) is kind
    assert isinstance(copy, ArgumentError)


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({}, None),
        ({"max_position_embeddings": 4096}, 4096),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default"}}, 4096),
        (
            {
                "max_position_embeddings": 32_768,
                "rope_parameters": {"factor": 4.0, "original_max_position_embeddings": 32_768},
            },
            131_072,
        ),
    ],
)
def test_the_context_is_the_checkpoints(settings: dict[str, Any], most: int | None) -> None:
    text = SimpleNamespace(**settings)
    assert context_length(SimpleNamespace(get_text_config=lambda decoder: text)) == most


@pytest.fixture
def untouched(pair: Pair) -> Any:
    """The large model, which runs nothing, not even its vision tower."""
    model: Any = pair.large

    def refuse(*_: Any) -> None:
        raise AssertionError("the model was run")

    inner = model._engine.model.model
    hooks = [part.register_forward_pre_hook(refuse) for part in (inner.language_model, inner.visual)]
    yield model
    for hook in hooks:
        hook.remove()


def test_long_questions_and_many_images_are_refused_before_the_model_runs(untouched: Any) -> None:
    with pytest.raises(PromptTooLongError, match="4095"):
        untouched.invoke([HumanMessage("Is it red? " * 90_000)])
    # a few more tokens than there are, none of them counted beforehand
    with pytest.raises(PromptTooLongError):
        untouched.invoke([HumanMessage(" red" * 4200)])
    engine = untouched._engine
    picture = Image.new("RGB", (400, 400), "red")
    each = engine.decoder._image_tokens(picture)
    count = 4096 // each + 1
    text = "<|vision_start|><|image_pad|><|vision_end|>" * count
    with pytest.raises(PromptTooLongError):
        engine.generate([Request(text=text, images=(picture,) * count)])


def test_an_answer_ends_with_the_context(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = pair.large._engine  # type: ignore[attr-defined]
    monkeypatch.setattr(engine, "end_ids", frozenset())
    text = "What? " * 10
    count = engine.generate([Request(text=text, max_tokens=1)])[0].prompt_tokens
    for part in (engine, engine.decoder):
        monkeypatch.setattr(part, "context", count + 3)
    found = engine.generate([Request(text=text, max_tokens=50)])[0]
    assert (len(found.steps), found.finish_reason) == (3, "length")
