"""Text of others before it is kept or shown."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.errors import ArgumentError, EndpointError, SpecEyesError, describe_error
from langgraph_speceyes.foreign import (
    MOST_BYTES,
    MOST_OF_OTHERS,
    MOST_OF_OURS,
    cleaned,
    foreign_text,
    foreign_value,
    masked_text,
)
from tests.hostile.readers import ENDS, PIECES, READERS, repeated, seconds
from tests.spellings import SPELLINGS, base64_of

DATA = random.Random(3).randbytes(5_000)
TEXT = base64_of(DATA)
WORDS = (
    "/home/user/projects/very-long-project-name/data/images/street_scenes/2024/photo_0001_of_street.jpg",
    "sha256:" + "ab" * 32,
    '{"input_tokens": 50, "output_tokens": 1000, "token": 12}',
    "Données réelles: äöü " * 30,
    "你好世界" * 60,
    '{\n "a": "b",\n "c": "d\\n"\n}' * 20,
    "=" * 80,
    "api_key: expected a key, OPENAI_API_KEY in the environment, or a base_url beside it, found None",
    "k: expected at least 2 candidates a token, found 1",
)
SECRETS = (
    "Authorization: Bearer HUSHHUSH12",
    '{"authorization":"Basic HUSHHUSH12=="}',
    '(b"authorization", b"Bearer HUSHHUSH12")',
    "Incorrect API key provided: sk-HUSHHUSH12abc.",
    "https://h/x?api_key=HUSHHUSH12&y=2",
    '{"token": "HUSHHUSH12"}',
    '{\\"api_key\\": \\"HUSHHUSH12\\"}',
    "https://user:HUSHHUSH12@host/x",
    "https://b.example/k.jpg?X-Amz-Credential=HUSHHUSH12%2F2024&X-Amz-Date=2024&X-Amz-Signature=HUSHHUSH12",
    "https://a.example/c/b.jpg?sv=2022&sig=HUSHHUSH12%3D",
    "Cookie: session=HUSHHUSH12; b=c",
    "-----BEGIN RSA PRIVATE KEY-----\nHUSHHUSH12\nabc\n-----END RSA PRIVATE KEY-----",
    "x-api-key: HUSHHUSH12",
    "eyJHUSHHUSH12.HUSHHUSH12.HUSH",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_image_data_is_shown(spelling: str) -> None:
    data = SPELLINGS[spelling](DATA)
    for shown in (foreign_text, masked_text, lambda text: describe_error(ValueError(text))):
        found = shown(f"the server said 400 {{{data}}} see the docs")
        assert not any(data[i : i + 64] in found for i in range(0, len(data) - 64, 5))
        assert "the server said 400" in found
        assert "see the docs" in found
        assert len(found) < 1_000


@pytest.mark.parametrize("text", WORDS)
def test_words_stay(text: str) -> None:
    assert masked_text(text) is text


@pytest.mark.parametrize("secret", SECRETS)
def test_credentials_are_not_shown(secret: str) -> None:
    assert "HUSH" not in foreign_text(f"it failed with {secret}, sorry")
    assert "HUSH" not in str(EndpointError(f"a model at {secret}", secret))
    assert foreign_text(foreign_text(secret)) == foreign_text(secret)


def test_what_is_kept_is_short() -> None:
    for text in ("word " * 200_000, "日本 " * 200_000, "\ud800 " * 9_000, TEXT * 700):
        assert len(foreign_text(text).encode()) <= MOST_BYTES
        assert len(str(SpecEyesError(text)).encode()) <= MOST_OF_OURS
        assert len(str(ArgumentError("argument", "words", text)).encode()) <= MOST_OF_OURS


def test_a_chain_is_cleaned_in_place() -> None:
    cause, context = ValueError(TEXT, {"authorization": "Basic HUSHHUSH12"}), KeyError(DATA)
    cause.add_note(repr(DATA))
    error = RuntimeError("went wrong: " + TEXT)
    error.__cause__, error.__context__ = cause, context
    assert cleaned(error) is error
    assert error.__cause__ is cause
    shown = " ".join(repr(one.args) + repr(vars(one)) for one in (error, cause, context))
    assert TEXT[100:164] not in shown
    assert repr(DATA)[100:150] not in shown
    assert "HUSH" not in shown
    assert "went wrong" in str(error)


def test_an_error_of_others_keeps_the_ends_of_a_long_text() -> None:
    page = f"begin Authorization: Bearer HUSHHUSH12 {'word ' * 1_000_000} Cookie: HUSHHUSH12\nend"
    error = cleaned(ValueError(page, {"body": [page]}))
    once = repr(error)
    assert len(once.encode()) < 2 * MOST_OF_OTHERS + 1_000
    assert "HUSH" not in once
    assert str(error.args[0]).startswith("begin Authorization")
    assert str(error.args[0]).endswith("end")
    assert repr(cleaned(error)) == once


def test_a_header_is_hidden_once() -> None:
    """What stands behind it is not taken for more of it when a text is looked at again."""
    shown = masked_text(f"Authorization: Bearer HUSHHUSH12 {'word ' * 2_000}")
    assert "word word" in shown
    assert masked_text(shown) == shown


def test_plain_values() -> None:
    value = {"a": [1, "b", {"c": None}], "box": [1, 2, 3, 4]}
    assert foreign_value(value) is value
    assert TEXT[64:128] not in repr(foreign_value({TEXT: [DATA, list(DATA), {"password": "HUSH"}]}))


LASTING = (
    *("<" + " " * 20_000, "(" * 20_000 + "red", "Is it " + "?" * 20_000, "red" + "\n" * 20_000, "option " * 3_000),
    *("A" + ", " * 10_000, "x" + "\u0300\u0316" * 10_000, "not" + "." * 20_000, "1.1" * 13_000 + "x"),
)
"""Texts that a reader once took the square of their length for."""


@pytest.mark.parametrize("reader", READERS)
def test_readers_take_linear_time(reader: str) -> None:
    for text in LASTING:
        assert is_linear(READERS[reader], lambda size, text=text: text[: size // 2] + text[-size // 2 :])  # type: ignore[misc]
    for piece in PIECES:
        assert is_linear(READERS[reader], lambda size, piece=piece: repeated(piece, size))  # type: ignore[misc]


@given(
    st.sampled_from(sorted(READERS)),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join),
    st.sampled_from(ENDS),
    st.sampled_from(ENDS),
)
def test_readers_take_linear_time_whatever_is_repeated(reader: str, unit: str, begin: str, end: str) -> None:
    assert is_linear(READERS[reader], lambda size: begin + repeated(unit, size) + end)


MOST_TIMES = 40
"""A text ten times as long takes ten times as long to read, and a hundred times where a reader is quadratic."""


def is_linear(read: Callable[[str], object], text: Callable[[int], str]) -> bool:
    """Whether a reader takes no longer for a text than its length says, in seconds of the processor."""
    for _ in range(3):
        slow = seconds(read, text(20_000))
        if slow < MOST_TIMES * 2e-3 or slow < MOST_TIMES * (seconds(read, text(2_000)) + 2e-3):
            return True
    return False
