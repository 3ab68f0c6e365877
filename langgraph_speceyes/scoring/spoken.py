"""What of a model's text is its answer, and which tokens make it up.

Models think aloud, wrap answers in tags and fences, and end with tokens that no reader sees. None of it is part of the
answer, and none of it may be part of the answer's score.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from langgraph_speceyes.errors import AnswerError
from langgraph_speceyes.scoring.answer import Content, is_end_token

__all__ = ["MARKS", "THOUGHTS", "Spoken", "spoken"]

THOUGHTS = {
    **{f"<{word}>": f"</{word}>" for word in ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")},
    "◁think▷": "◁/think▷",
    "[think]": "[/think]",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel>thought": "<channel|>",
    # harmony: every channel but the final one
    "<|channel|>analysis": "<|channel|>final<|message|>",
    "<|channel|>commentary": "<|channel|>final<|message|>",
}
"""Where thoughts begin and end, lower case, in the words of the families in use."""
_CLOSING = frozenset(THOUGHTS.values())
_LONGEST_FIRST = sorted({*THOUGHTS, *_CLOSING}, key=len, reverse=True)
# the first character apart: where a text repeats it, not every mark is tried
_PATTERN = "|".join(
    f"{re.escape(head)}(?:{'|'.join(re.escape(mark[1:]) for mark in _LONGEST_FIRST if mark[0] == head)})"
    for head in sorted({mark[0] for mark in _LONGEST_FIRST})
)
MARKS, _RAW_MARKS = re.compile(_PATTERN, re.IGNORECASE), re.compile(_PATTERN.encode(), re.IGNORECASE)

# Around the answer itself; the last pair counts.
_WRAPS = (
    ("<answer>", "</answer>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|start_response|>", "<|end_response|>"),
    ("<|begin_of_box|>", "<|end_of_box|>"),
)
_FENCE, _LANGUAGE = "```", re.compile(r"[\w+#.-]*")

# A special token has some such shape; one that the text does not hold was taken out of it.
_SPECIAL = re.compile(r"\s*(?:<.*>|\[.*\]|◁.*▷)\s*", re.DOTALL)
_LONGEST_END = 48
_LONGEST_REASON = 200

_SPACE = b" \t\n\r\x0b\x0c"
# SentencePiece's space, byte-level BPE's space and newline
_PIECES = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# vLLM's `return_tokens_as_token_ids`
_NUMBERED = re.compile(r"token_id:\d+")
_UNKNOWN, _FRAGMENTS, _ASCII = "\ufffd", 3, 0x7F
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

_CUT = {
    *("length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_new_tokens", "max_length"),
    *("model_length", "token_limit", "model_context_window_exceeded", "context_length_exceeded", "limit"),
    *("max_len", "max_context", "max_output", "error_limit"),
}
_ENDED = {
    *("stop", "stopped", "stop_sequence", "stop_token", "stop_word", "word", "eos", "eos_token", "endoftext"),
    *("end", "end_turn", "end_of_turn", "end_of_text", "end_of_sequence"),
    *("complete", "completed", "done", "finish", "finished", "normal", "success"),
}
"""A reason that is none of them is no end: servers have dozens for answers that they filtered, gave up or broke off."""
# an enumeration's name may stand in front of it, and streams that say it more than once are joined
_REASON = re.compile(r"(?:.*\.)?(?:(?:finish_)?reason_)?(?P<word>.+?)(?P=word)*", re.DOTALL)

_INSIDE = "the answer ends inside a thought"

_Spans = list[tuple[int, int] | None]
_Spellings = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """An answer and the tokens that make it up.

    Attributes:
        text: The answer, without thoughts, tags, fences and the white space around it.
        content: The entries of its tokens, as the server returned them.
    """

    text: str
    content: list[Mapping[str, Any]]


def spoken(
    text: str, content: Content, *, finish: str | None = None, limit: int | None = None, apart: bool = False
) -> Spoken:
    """Find the answer in what a model wrote, and its tokens among those that were generated.

    The answer is what follows the last thought; of that, what stands between answer tags or in a fence around the
    whole. Its tokens are found by their text (`bytes` where a server gives them), from the end backwards: what a server
    lists before and behind them, a thought that it took out of the text included, does not matter. Where tokens have no
    text (`token_id:123`), or none for fragments of a letter, all but the end tokens are taken to be the answer, if the
    text is nothing but the answer. What a server leaves out is no answer's score: the tokens must make up all of it.

    Args:
        text: What the model wrote.
        content: ``response_metadata["logprobs"]["content"]`` of its message.
        finish: Why it stopped, in the server's words, if it says so.
        limit: Most tokens it was allowed. As many without a reason and without an end token were cut.
        apart: Whether the server says that there was a thought, which it keeps apart from the text.

    Returns:
        The answer. Nothing but white space is an empty one.

    Raises:
        AnswerError: It was cut or ends inside a thought; or the answer's tokens cannot be told from those of a thought,
            or are not all there.
    """
    entries = list(content or ())
    _check_whole(entries, finish, limit)
    begin, end = _answer(text)
    if begin == end:
        return Spoken("", [])
    part = _Part(text, begin, end)
    written = [_written(entry) for entry in entries]
    thought = _thought(written)
    spellings = [_spellings(entry) for entry in entries]
    for align in (_backwards,) if apart else (_backwards, _forwards):
        spans = align(entries, spellings, part)
        if spans is not None and (said := _answer_part(part, entries, spellings, spans, thought)):
            return said
    rest = without_end(entries)
    if apart or thought or text[begin:end] != text.strip() or not _add_up(rest, text[begin:end]):
        raise AnswerError("the answer's tokens are not all there, or cannot be told from those around it")
    return Spoken(text[begin:end], rest)


def without_end(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Entries without the end tokens, and the white space, behind them."""
    length = len(entries)
    while length and (is_end_token(token := _token(entries[length - 1])) or token.isspace()):
        length -= 1
    return list(entries[:length])


def _check_whole(entries: Sequence[Mapping[str, Any]], finish: str | None, limit: int | None) -> None:
    """Refuse an answer that did not come to its end."""
    if finish is not None:
        found = _REASON.fullmatch(finish[:_LONGEST_REASON].lower())
        reason = found["word"] if found else ""
        if reason in _CUT:
            raise AnswerError(f"the answer was cut at the token limit (the model stopped for {finish!r})")
        if reason not in _ENDED:
            raise AnswerError(f"the answer did not come to its end (the model stopped for {finish!r})")
    elif limit is not None and len(entries) >= limit and len(without_end(entries)) == len(entries):
        raise AnswerError(f"the answer was cut at the token limit ({len(entries)} tokens and no end token)")


def _answer(text: str) -> tuple[int, int]:
    """Where the answer is in a text.

    Raises:
        AnswerError: The text ends inside a thought.
    """
    begin, inside = 0, ""
    for mark in MARKS.finditer(text):
        word = mark[0].lower()
        if not inside and word in THOUGHTS:
            inside = word
        elif word in _CLOSING and (not inside or THOUGHTS[inside] == word):
            # alone it closes a thought that the prompt's template opened
            begin, inside = mark.end(), ""
    if inside:
        raise AnswerError(_INSIDE)
    # `str.lower` may move what stands behind a letter
    end, lower = len(text), text.translate(_ASCII_LOWER)
    for opening, closing in _WRAPS:
        if (at := lower.rfind(closing, begin, end)) >= 0:
            end = at
            start = lower.rfind(opening, begin, end)
        else:
            # a stop sequence may have taken the closing one away
            start = lower.rfind(opening, begin, end)
        begin = start + len(opening) if start >= 0 else begin
    begin, end = _trimmed(text, begin, end)
    return _unfenced(text, begin, end)


def _trimmed(text: str, begin: int, end: int) -> tuple[int, int]:
    """Leave out white space around a part of a text, and special tokens behind it."""
    while begin < end:
        if text[end - 1].isspace():
            end -= 1
            continue
        at = max(text.rfind(mark, max(begin, end - _LONGEST_END), end) for mark in "<[")
        if at < 0 or not is_end_token(text[at:end]):
            break
        end = at
    while begin < end and text[begin].isspace():
        begin += 1
    return begin, end


def _unfenced(text: str, begin: int, end: int) -> tuple[int, int]:
    """Leave out a code fence around the whole of a part of a text."""
    start, stop = begin + len(_FENCE), end - len(_FENCE)
    if start > stop or not (text.startswith(_FENCE, begin) and text.endswith(_FENCE, start, end)):
        return begin, end
    if text.find(_FENCE, start, stop) >= 0:
        return begin, end
    line = text.find("\n", start, stop)
    if line >= 0 and _LANGUAGE.fullmatch(text[start:line].strip()):
        start = line
    return _trimmed(text, start, stop)


class _Part:
    """An answer in its text, and both as bytes without white space, which servers strip as they like.

    Attributes:
        text: The text.
        begin: Where the answer begins.
        end: Where it ends.
        squeezed: The text's bytes without white space.
        first: Where the answer begins in them.
        last: Where it ends.
    """

    def __init__(self, text: str, begin: int, end: int) -> None:
        self.text, self.begin, self.end = text, begin, end
        before, answer, behind = (_squeezed(_bytes(part)) for part in (text[:begin], text[begin:end], text[end:]))
        self.squeezed = before + answer + behind
        self.first, self.last = len(before), len(before) + len(answer)

    def since(self, at: int) -> str:
        """The answer from a place among the bytes on."""
        place = self.first
        for i in range(self.begin, self.end):
            letter = self.text[i]
            if place >= at and not letter.isspace():
                return self.text[i : self.end].strip()
            place += len(_squeezed(_bytes(letter)))
        return ""


def _backwards(entries: Sequence[Mapping[str, Any]], tokens: Sequence[_Spellings], part: _Part) -> _Spans | None:
    """Find each token's place in a text from its end on, back to where the answer begins."""
    spans: _Spans = [None] * len(tokens)
    rest, at = part.squeezed, len(part.squeezed)
    for i in range(len(tokens) - 1, -1, -1):
        if at <= part.first:
            break
        for token in filter(None, tokens[i]):
            if rest.endswith(token, 0, at):
                spans[i] = (at - len(token), at)
                at -= len(token)
                break
            if len(token) > at and token.endswith(rest[:at]):
                spans[i], at = (0, at), 0
                break
        else:
            if not (_is_blank(tokens[i]) or _SPECIAL.fullmatch(_token(entries[i]))):
                return None
    return spans if at <= part.first else None


def _forwards(entries: Sequence[Mapping[str, Any]], tokens: Sequence[_Spellings], part: _Part) -> _Spans | None:
    """Find each token's place in a text from its beginning on, up to where the answer ends."""
    spans: _Spans = [None] * len(tokens)
    rest, at = part.squeezed, 0
    for i, spellings in enumerate(tokens):
        if at >= part.last:
            break
        for token in filter(None, spellings):
            if rest.startswith(token, at):
                spans[i] = (at, at + len(token))
                at += len(token)
                break
            if len(token) > len(rest) - at and token.startswith(rest[at:]):
                # a stop sequence that begins inside of a token was taken out of the text
                spans[i], at = (at, len(rest)), len(rest)
                break
        else:
            if not (_is_blank(spellings) or _SPECIAL.fullmatch(_token(entries[i]))):
                return None
    return spans if at >= part.last else None


def _thought(tokens: Sequence[bytes]) -> int:
    """How many tokens at the beginning are thought, by the marks that are among them.

    A server may keep marks out of the text, and what stands between them in it.

    Raises:
        AnswerError: All of them are, to the end.
    """
    begin, inside = 0, b""
    for mark in _RAW_MARKS.finditer(b"".join(tokens)):
        word = mark[0].lower()
        if not inside and word.decode() in THOUGHTS:
            inside = word
        elif word.decode() in _CLOSING and (not inside or THOUGHTS[inside.decode()] == word.decode()):
            begin, inside = mark.end(), b""
    if inside:
        raise AnswerError(_INSIDE)
    return bisect_right(list(accumulate(map(len, tokens))), begin) if begin else 0


def _answer_part(
    part: _Part, entries: Sequence[Mapping[str, Any]], tokens: Sequence[_Spellings], spans: _Spans, thought: int
) -> Spoken | None:
    """The answer of which each token's place is known; None where all of it is in a thought."""
    of_answer = [
        i for i, span in enumerate(spans) if i >= thought and span and span[1] > part.first and span[0] < part.last
    ]
    if not of_answer:
        return None
    first, last = of_answer[0], of_answer[-1]
    begin = spans[first]
    assert begin is not None, "it is of the answer"
    if part.squeezed[part.first] > _ASCII:
        # vLLM shows a letter of several tokens in the last of them, and nothing in the others
        for _ in range(_FRAGMENTS):
            first -= first > thought and tokens[first - 1] == (b"",) and not _token(entries[first - 1])
    # white space has no place and is part of the answer all the same
    kept = [entries[i] for i in range(first, last + 1) if spans[i] is not None or _is_blank(tokens[i])]
    return Spoken(part.since(begin[0]), kept)


def _token(entry: object) -> str:
    return str(entry.get("token", "")) if isinstance(entry, Mapping) else ""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _written(entry: object) -> bytes:
    """What a token wrote."""
    found = entry.get("bytes") if isinstance(entry, Mapping) else None
    if isinstance(found, list) and found:
        with suppress(TypeError, ValueError):
            return bytes(found)
    return _bytes(_token(entry))


def _spellings(entry: object) -> _Spellings:
    """What a token may have written, without white space; more than one where it has fragments of a letter.

    A server shows those as their tokenizer knows them, or each byte as a letter (SGLang).
    """
    token = _token(entry)
    piece = _BYTE.fullmatch(token)
    found = [_written(entry), bytes.fromhex(piece[1]) if piece else _bytes(token.translate(_PIECES))]
    with suppress(UnicodeEncodeError):
        found.append(token.encode("latin-1"))
    return tuple(dict.fromkeys(map(_squeezed, found)))


def _is_blank(spellings: _Spellings) -> bool:
    return b"" in spellings


def _add_up(entries: Sequence[Mapping[str, Any]], answer: str) -> bool:
    """Whether tokens without places in an answer are all of it.

    Tokens that are numbers are taken to be; of others only fragments of letters may be unknown, each of which the
    server shows as a replacement character.
    """
    tokens = [
        token for entry in entries if _NUMBERED.fullmatch(token := _token(entry)) or not _SPECIAL.fullmatch(token)
    ]
    if all(map(_NUMBERED.fullmatch, tokens)):
        return bool(tokens) or not entries
    rest, at = "".join(answer.split()), 0
    shown = re.split(f"({_UNKNOWN}+)", "".join("".join(tokens).split()))
    for i in range(0, len(shown), 2):
        most = len(shown[i - 1]) if i else 0
        place = rest.find(shown[i], at + bool(most), at + most + len(shown[i]))
        if i == len(shown) - 1:
            place = len(rest) - len(shown[i]) if rest.endswith(shown[i]) else -1
        gap = rest[at:place]
        if not at + bool(most) <= place <= at + most or any(letter.isascii() for letter in gap):
            return False
        at = place + len(shown[i])
    return True


def _squeezed(data: bytes) -> bytes:
    return data.translate(None, _SPACE)
