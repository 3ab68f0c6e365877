"""What is compared: an answer without its wrappers, as words in one case."""

from __future__ import annotations

import re
import unicodedata

MOST_CHARACTERS = 10_000
"""Of a longer answer the end alone is read."""
_MOST_MARKS = 30
"""Marks on one letter that are put in order; to order more takes the square of their number (Unicode's annex 15)."""
_JOINER = "\u034f"

# a number with its sign, unit and decimals is one word: "2" is not in "2.5", nor "5" in "15" or "-5"
_WORD = re.compile(r"(?:(?<!\w)[-+])?[$€£¥]?\d+(?:[.,:/]\d+)*[%°]?(?!\w)|\w+(?:'\w+)*")
_ARTICLES = frozenset({"a", "an", "the"})
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_PLAIN = str.maketrans(dict.fromkeys("\u2018\u2019", "'") | dict.fromkeys("\u201c\u201d", '"'))
_PLAIN |= str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))


def unwrapped(prediction: str | None) -> str:
    r"""An answer without its wrappers: what `<answer>` or `\boxed{}` hold, if they are there, and no `<think>` part.

    Of several different ones all are kept, a line each, so that a contradiction stays one. Typographic quotes and
    dashes are made plain, runs of white space one space or line break.
    """
    text = plain(said(prediction)[-MOST_CHARACTERS:])
    if answers := _ANSWER.findall(text):
        text = "\n".join(dict.fromkeys(answer.strip() for answer in answers))
    if boxes := _boxes(text):
        text = "\n".join(dict.fromkeys(_COMMAND.sub(r"\1", box).strip() for box in boxes))
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


def said(prediction: str | None) -> str:
    """What stands behind the thought of an answer."""
    return (prediction or "").rpartition("</think>")[2]


def plain(text: str) -> str:
    """A text with plain quotes, dashes and letters."""
    return unicodedata.normalize("NFKC", stream_safe(text)).translate(_PLAIN)


def stream_safe(text: str) -> str:
    """A text in which no letter has more than :data:`_MOST_MARKS` marks: the others stand on a joiner between them."""
    if text.isascii():
        return text
    parts, marks = list[str](), 0
    for letter in text:
        marks = marks + 1 if unicodedata.combining(letter) else 0
        if marks > _MOST_MARKS:
            parts.append(_JOINER)
            marks = 1
        parts.append(letter)
    return "".join(parts)


def _boxes(text: str) -> list[str]:
    r"""The contents of every outer `\boxed{}`, braces inside balanced; of one cut off, what there is."""
    found: list[str] = []
    end = 0
    for start in re.finditer(r"\\boxed\s*\{", text):
        if start.start() < end:
            continue
        depth, end = 1, start.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        found.append(text[start.end() : end if depth else end - 1])
    return found


def words_of(text: str) -> list[tuple[str, int, int]]:
    """Words in one case with where they begin and end; articles only if there is nothing else."""
    words = [(m[0].casefold(), m.start(), m.end()) for m in _WORD.finditer(text)]
    return [w for w in words if w[0] not in _ARTICLES] or words


_REPEATED = re.compile(r"(\b\w.{0,59}?)(?:\W+\1\b){2,}\W*")


def without_repeats(text: str) -> tuple[str, bool]:
    """A text up to the end of what it says three times or more in a row, once; and whether it does that.

    Small models end so where they are asked about what they never saw.

    Args:
        text: At most its first 4,000 characters are searched.
    """
    found = _REPEATED.search(text[:4000])
    return (text[: found.end(1)], True) if found else (text, False)


def normalised(text: str) -> str:
    """A text without case, punctuation, articles and extra white space; symbols stay if there is nothing else."""
    return " ".join(word for word, _, _ in words_of(plain(text))) or text.strip().casefold()
