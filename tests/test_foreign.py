"""Text of others before it is kept or shown."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from langgraph_speceyes.agent.protocols.tags import find_answer, find_tagged, strip_thoughts
from langgraph_speceyes.errors import ArgumentError, EndpointError, SpecEyesError, describe_error
from langgraph_speceyes.foreign import MOST_BYTES, MOST_OF_OURS, cleaned, foreign_text, foreign_value, masked_text
from langgraph_speceyes.models.tool_calls import FORMATS, read_calls
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


def test_plain_values() -> None:
    value = {"a": [1, "b", {"c": None}], "box": [1, 2, 3, 4]}
    assert foreign_value(value) is value
    assert TEXT[64:128] not in repr(foreign_value({TEXT: [DATA, list(DATA), {"password": "HUSH"}]}))


READERS: dict[str, Callable[[str], object]] = {
    "foreign_text": foreign_text,
    "masked_text": masked_text,
    "find_answer": find_answer,
    "find_tagged": find_tagged,
    "strip_thoughts": strip_thoughts,
    **{f"read_calls {form.name}": (lambda text, form=form: read_calls(text, form)) for form in FORMATS},
}
PIECES = (
    *("<think>", "<think></think>", "<think><answer></think>", "<tool_call>", "<tool_call", "<tool_call>{</tool_call>"),
    *(
        "<answer>",
        "</think>",
        "{",
        '{"a":',
        "[[[[",
        "```",
        '"',
        "\\",
        "data:",
        "data:image/png;base64,",
        "[TOOL_CALLS]x{",
    ),
    *("<tool_call>{}", "<function=", "<arg_key>", " ", "\\x89", "%41", "1, ", "ab ", "aB3", "://", "token=", "eyJ"),
)


@pytest.mark.parametrize("reader", READERS)
def test_readers_take_linear_time(reader: str) -> None:
    read = READERS[reader]
    worst: list[tuple[float, str]] = []
    for piece in PIECES:
        short, long = ((piece * (size // len(piece) + 1))[:size] for size in (20_000, 200_000))
        # a reader that is quadratic takes a hundred times as long; both in seconds of the processor
        quick, slow = (min(_seconds(read, text) for _ in range(2)) for text in (short, long))
        worst.append((slow / (quick + 2e-3), piece))
    assert max(worst)[0] < 40


def _seconds(read: Callable[[str], object], text: str) -> float:
    start = time.thread_time()
    read(text)
    return time.thread_time() - start
