"""What of a text is the answer, and which tokens make it up."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.errors import AnswerError
from langgraph_speceyes.scoring import score_answer, spoken
from langgraph_speceyes.scoring.spoken import Spoken


def entry(token: str, gap: float = 20.0, data: bytes | None = None) -> dict[str, Any]:
    top = [(token, -0.1), *((f"other{i}", -0.1 - gap - i / 8) for i in range(7))]
    written = {} if data is None else {"bytes": list(data)}
    return {"token": token, "logprob": -0.1, "top_logprobs": [{"token": t, "logprob": p} for t, p in top], **written}


def entries(*tokens: str) -> list[dict[str, Any]]:
    return [entry(token, 5.0 + i) for i, token in enumerate(tokens)]


def words(said: Spoken) -> list[str]:
    return [one["token"] for one in said.content]


def said(*tokens: str, text: str | None = None, **options: Any) -> tuple[str, list[str]]:
    found = spoken("".join(tokens) if text is None else text, entries(*tokens), **options)
    return found.text, words(found)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<think>", "</think>"),
        ("<THINK>", "</THINK>"),
        ("<thinking>", "</thinking>"),
        ("◁think▷", "◁/think▷"),
        ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("", "</think>"),
        ("", "◁/think▷"),
    ],
)
def test_thoughts_are_not_the_answer(opening: str, closing: str) -> None:
    assert said(opening, "It", " is", " blue", closing, "\n\n", "blue", " sky") == ("blue sky", ["blue", " sky"])
    # a server that shows no special tokens
    text = "It is blue\n\nblue sky"
    assert said(opening, "It", " is", " blue", closing, "\n\n", "blue", " sky", text=text)[0] == "blue sky"
    # a server that keeps thoughts to itself
    tokens = (opening, "blue", " sky", " it is", closing, "blue", " sky", "<|im_end|>")
    assert said(*tokens, text="blue sky") == ("blue sky", ["blue", " sky"])
    assert said(*tokens[:-1], text="blue sky")[1] == ["blue", " sky"]
    if opening:
        for shown in ("".join((opening, "It is", " blue")), "It is blue"):
            with pytest.raises(AnswerError, match="inside a thought"):
                said(opening, "It is", " blue", text=shown)


@pytest.mark.parametrize(
    ("tokens", "text", "kept"),
    [
        (["<answer>", "blue", "</answer>"], "blue", ["blue"]),
        (["So: ", "<ans", "wer>", " blue", "</", "answer>", " Done"], "blue", [" blue"]),
        (["<answer>", "red", "</answer>", "<answer>", "blue", "</answer>"], "blue", ["blue"]),
        (["<answer>", "blue"], "blue", ["blue"]),
        (["blue", "</answer>", "<|im_end|>"], "blue", ["blue"]),
        (["<think>", "hm", "</think>", "<answer>", "a", " b", "</answer>"], "a b", ["a", " b"]),
        (["<|begin_of_box|>", "blue", "<|end_of_box|>"], "blue", ["blue"]),
        (["```", "\n", "blue", "\n", "```"], "blue", ["blue"]),
        (["```", "json", "\n", "{", "}", "\n", "```", "\n"], "{}", ["{", "}"]),
        (["```", "blue", "```"], "blue", ["blue"]),
        (["```a```", " and ", "```b```"], "```a``` and ```b```", ["```a```", " and ", "```b```"]),
        (["`", "blue", "`"], "`blue`", ["`", "blue", "`"]),
        (["blue", "\n", "</s>"], "blue", ["blue"]),
        (["[STOP]"], "[STOP]", ["[STOP]"]),
        (["<b>", "x", "</b>"], "<b>x</b>", ["<b>", "x", "</b>"]),
        (["a", "\n", "", "b"], "a\nb", ["a", "\n", "", "b"]),
        (["<think>", "hm", "</think>"], "", []),
        (["\n", " "], "", []),
        ([], "", []),
    ],
)
def test_tags_fences_and_white_space(tokens: list[str], text: str, kept: list[str]) -> None:
    assert said(*tokens) == (text, kept)


ENDS = ["", "</s>", "<|im_end|>", "[EOS]", "<|user|>", "<\uff5cend▁of▁sentence\uff5c>", "<turn|>", "\n"]


@pytest.mark.parametrize("end", [*ENDS, "<whatever>"])
def test_what_a_server_lists_before_and_behind_the_text_is_not_scored(end: str) -> None:
    assert said(end, "blue", " sky", end, end, text="blue sky") == ("blue sky", ["blue", " sky"])
    # tokens without text: the shape must do
    assert said("token_id:1", "token_id:2", end or "</s>", text="blue sky")[1][:2] == ["token_id:1", "token_id:2"]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["▁blue", "▁sky", "</s>"], "blue sky"),
        (["Ġblue", "Ċ", "Ġsky", "<|im_end|>"], "blue\n sky"),
        (["▁", "<0xE7>", "<0xBA>", "<0xA2>"], "红"),
    ],
)
def test_tokens_as_their_tokenizer_knows_them(tokens: list[str], text: str) -> None:
    found = spoken("<think>x</think>" + text, [entry("<think>"), entry("x"), entry("</think>"), *entries(*tokens)])
    assert found.text == text
    assert [w for w in words(found) if w != "▁"] == [t for t in tokens if t not in ("</s>", "<|im_end|>", "▁")]


def test_fragments_of_a_letter_are_found_by_their_bytes() -> None:
    data = "🚗".encode()
    content = [entry("</think>"), entry("\\xf0\\x9f", data=data[:2]), entry("\\x9a\\x97", data=data[2:]), entry("</s>")]
    assert spoken("</think>\n🚗", content).content == content[1:3]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        # vLLM shows fragments as nothing and the letter in its last token, SGLang each byte of them as a letter
        (["", "", "红", "灯"], "红灯"),
        (["a", "", "🚗"], "a🚗"),
        (["√2", "é", "\xf0\x9f", "\x9a\x97"], "√2é🚗"),
        # others show each fragment as what cannot be shown
        (["\ufffd", "\ufffd", "\ufffd", " car"], "红 car"),
        (["car", " \ufffd", "\ufffd", "é"], "car 🚗é"),
    ],
)
def test_fragments_of_a_letter_are_scored_however_they_are_shown(tokens: list[str], text: str) -> None:
    assert said(*tokens, "<|im_end|>", text=text) == (text, tokens)
    assert said("<think>", *tokens, "</think>", "\n\n", "", "", "红", text="红")[1] == ["", "", "红"]


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["The", " bus", " is"], "The bus is red"),
        ([" bus", " is", " red"], "The bus is red"),
        (["The", " bus", " red"], "The bus is red"),
        ([" red"], "The bus is red"),
        (["It", " looks", " like", " a", " bus"], "red"),
        (["[It]"], "red"),
        (["\ufffd", "\ufffd", " red"], "🚗 is red"),
        (["\ufffd", "\ufffd", "红"], "红红红红"),
        (["\ufffd", "\ufffd"], "red"),
    ],
)
def test_an_answer_of_which_tokens_are_missing_has_no_score(tokens: list[str], text: str) -> None:
    for end in ((), ("<|im_end|>",)):
        with pytest.raises(AnswerError, match="not all there"):
            said(*tokens, *end, text=text)


def test_a_stop_sequence_that_was_taken_out() -> None:
    assert said("blue", " sky", ".\n", "Next", text="blue sky.")[1] == ["blue", " sky", ".\n"]
    assert said("blue", " sky\nStop", text="blue sky")[1] == ["blue", " sky\nStop"]


def test_a_text_that_cannot_be_told_from_a_thought() -> None:
    with pytest.raises(AnswerError, match="cannot be told"):
        spoken("<think>x</think>blue", entries("token_id:1", "token_id:2"))
    for apart in (False, True):
        with pytest.raises(AnswerError, match="cannot be told"):
            said("x", "y", "</s>", text="blue", apart=apart)
    assert said("blue", " it is", "blue", "</s>", text="blue", apart=True)[1] == ["blue"]
    # from its beginning on, what a text is made up of may be the thought's
    assert said("blue", " it is", "blue\n\nQ:", text="blue") == ("blue", ["blue"])
    with pytest.raises(AnswerError, match="cannot be told"):
        said("blue", " it is", "blue\n\nQ:", text="blue", apart=True)


_CUT = ["length", "max_tokens", "MAX_TOKENS", "FinishReason.MAX_TOKENS", "context_length_exceeded", "lengthlength"]
_NO_END = [
    "content_filter",
    "IMAGE_SAFETY",
    "OTHER",
    "error",
    "cancelled",
    "repetition",
    "insufficient_system_resource",
    "tool_calls",
]


@pytest.mark.parametrize("reason", [*_CUT, *_NO_END, "stop because of an error", "stoplength"])
def test_an_answer_that_was_cut(reason: str) -> None:
    with pytest.raises(AnswerError, match="cut at the token limit" if reason in _CUT else "come to its end"):
        said("blue", finish=reason)


@pytest.mark.parametrize(
    "reason",
    [
        *(
            "stop",
            "STOP",
            "stopstop",
            "STOPSTOP",
            "FinishReason.STOP",
            "FINISH_REASON_STOP",
            "stop_sequence",
            "eos",
            "word",
        ),
        *("eos_token", "end_turn", "COMPLETE", "completed", "FINISH", "endoftext", "end_of_text", "done", "word"),
    ],
)
def test_an_end_in_any_servers_words(reason: str) -> None:
    assert said("blue", finish=reason, limit=1)[0] == "blue"


def test_an_answer_as_long_as_it_may_be() -> None:
    with pytest.raises(AnswerError, match="2 tokens"):
        said("blue", " sky", limit=2)
    assert said("blue", "<|im_end|>", limit=2)[0] == "blue"
    assert said("blue", " sky", limit=3)[0] == "blue sky"


@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 100_000,
        "</think>" * 100_000,
        "<think></think>" * 50_000 + "x",
        "<answer>" * 100_000,
        "```" * 100_000,
        "<|im_end|>" * 100_000,
        " " * 500_000,
        "<" * 500_000,
        "[" * 300_000 + "x",
    ],
)
def test_hostile_texts_take_no_time(text: str) -> None:
    content = [entry(text[i : i + 7]) for i in range(0, min(len(text), 70_000), 7)]
    for tokens in (content, [entry(text)]):
        # a reader that is quadratic runs into the time limit of the suite
        with suppress(AnswerError):
            spoken(text, tokens)


_PLAIN = st.text("abc xyz.é红🚗", min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
_OPEN = st.sampled_from(
    [("<think>", "</think>"), ("◁think▷", "◁/think▷"), ("[THINK]", "[/THINK]"), ("", "</think>"), ("", "")]
)


def split(text: str, places: Sequence[int]) -> list[bytes]:
    data = text.encode()
    cuts = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(cuts) if b > a]


@given(
    _PLAIN,
    st.lists(st.integers(0, 99), max_size=6),
    _OPEN,
    _PLAIN,
    st.sampled_from(["", "<answer>", "```"]),
    st.lists(st.sampled_from(ENDS)),
)
def test_thoughts_tags_and_ends_change_no_score(
    answer: str, places: list[int], thought: tuple[str, str], aloud: str, tag: str, ends: list[str]
) -> None:
    answer = answer.strip()
    tokens = [entry(f"{i}", 3.0 + i, data) for i, data in enumerate(split(answer, places))]
    opening, closing = thought
    before = [opening, aloud, closing] if closing else []
    around = {"": ("", ""), "<answer>": ("<answer>", "</answer>"), "```": ("```\n", "\n```")}[tag]
    text = "".join([*before, around[0], answer, around[1]])
    outside = [*before, *([around[0]] if tag else [])], [*([around[1]] if tag else []), *ends]
    content = [*(entry(t, 0.5) for t in outside[0]), *tokens, *(entry(t, 0.5) for t in outside[1])]
    expected = score_answer(tokens, "min", 8, drop=())
    # no server takes a fence out
    for shown in (text, *([] if tag == "```" else [answer])):
        found = spoken(shown, content, finish="stop")
        assert found.text == answer
        assert score_answer(found.content, "min", 8, drop=()) == expected
