"""Whether two answers to one question say the same, by one strict rule.

Answers wrongly called equal break a promise that rests on it; equal ones that are not recognised cost acceptance only.
So whatever is not plainly the same, or plainly different, is left undecided.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from langgraph_speceyes.answers.options import LETTERS, parted, read_option
from langgraph_speceyes.answers.values import read_date, read_number, same_number
from langgraph_speceyes.answers.words import MOST_CHARACTERS, plain, said, unwrapped, words_of
from langgraph_speceyes.answers.yes_no import said_yes_no

Kind = Literal["text", "options", "yes_no", "number", "date"]
By = Literal["rule", "model", "function", "undecided"]


@dataclass(frozen=True)
class Agreement:
    """What is known about two answers to one question.

    Attributes:
        agree: Whether they say the same; None where that is undecided, which callers count as differing.
        by: Who decided: the rule, a model, a function of the user's; ``"undecided"`` where nobody could.
        kind: What the rule compared; None where it did not decide.
        read: What it read from each of the two; None where nothing clear was.
        probability: A model's probability that they say the same; None where none was asked.
        error: Why a model or a function could not tell; None otherwise.
    """

    agree: bool | None
    by: By
    kind: Kind | None = None
    read: tuple[str | None, str | None] = (None, None)
    probability: float | None = None
    error: str | None = None


UNDECIDED = Agreement(None, "undecided")


def agree(question: str, first: str | None, second: str | None) -> Agreement:
    """Compare two answers; symmetric, and a function of the three texts alone.

    In this order:

    1. The same text, whatever its length. But for questions with options, wrappers (bold, quotes, a last full stop), an
       article in front and, in texts without figures, case are ignored. Equal answers are right or wrong together.
    2. Options, where the question shows them as "(A) ... (B) ...", or is a yes/no question that names two words ("is
       it left or right of"): the one that each answer gives, by letter or at its end.
    3. Yes and no, where the question is a yes/no question: the word alone, leading, or behind a colon.
    4. Quantities that are all of the answer, with the same unit; dates that can be read in one way only.

    What a question asks to read from the image is a text and nothing else: "2" is not "two" there. Hedges, denials and
    contradictions, long answers and questions, and everything else that is not the same text are undecided, and so is
    an empty answer.
    The rule says that two answers differ only where both are plain and of one kind.

    Args:
        question: As it was asked, options included.
        first: One answer, such as the speculation.
        second: The other one, such as the agent's.
    """
    one, two = unwrapped(first), unwrapped(second)
    if not one or not two:
        return UNDECIDED
    if (first or "").strip() == (second or "").strip():
        return Agreement(True, "rule", "text", (one, one))
    if max(map(len, (question, said(first), said(second)))) > MOST_CHARACTERS:
        return UNDECIDED
    if not (_exact(first) and _exact(second)):
        return UNDECIDED
    if one == two:
        return Agreement(True, "rule", "text", (one, one))
    stem, options = parted(plain(question))
    if options:
        return _same("options", _option(one, options), _option(two, options))
    key, other = _key(one), _key(two)
    if key == other:
        return Agreement(True, "rule", "text", (key, key))
    if len(key) == len(other) == 1 and (key + other).isalpha():
        return _same("options", key, other)
    asked = _INSTRUCTION.sub("?", stem)
    if _POLAR.match(asked) and not _OPEN.search(asked):
        named = _ALTERNATIVES.findall(asked)
        if len(named) == 1:
            return _same("options", _named(one, named[0]), _named(two, named[0]))
        return UNDECIDED if re.search(r"\bor\b", asked) else _same("yes_no", _yes_no(one), _yes_no(two))
    if _READING.search(stem):
        return UNDECIDED
    if (a := read_number(one)) and (b := read_number(two)):
        same = same_number(a, b)
        return UNDECIDED if same is None else Agreement(same, "rule", "number", (str(a), str(b)))
    if (day := read_date(one)) and (another := read_date(two)):
        return _same("date", day.isoformat(), another.isoformat())
    return UNDECIDED


def _same(kind: Kind, first: str | None, second: str | None) -> Agreement:
    if first is None or second is None:
        return Agreement(None, "undecided", read=(first, second))
    return Agreement(first == second, "rule", kind, (first, second))


# --- texts ---

_PAIRS = (("**", "**"), ("*", "*"), ("`", "`"), ('"', '"'), ("'", "'"), ("(", ")"), ("[", "]"), ("{", "}"))
_BRACKETS = "([{"
_TOKEN = re.compile(r"\w+(?:'\w+)*|\n|[^\w\s]\s?")
_ARTICLE = re.compile(r"(?:an?|the)\s+(?!few\b|little\b|lot\b)(?=[^\W\d_]{2})", re.IGNORECASE)


def _exact(text: str | None) -> bool:
    """Whether making a text plain keeps its figures, which turns 10² into 102."""
    return all(c.isdecimal() for c in text or "" if c.isnumeric() and not c.isalpha())


def _key(text: str) -> str:
    """What two texts must share to be the same: their words in one case, and every symbol inside."""
    bare, before = text, ""
    while bare != before:
        before = bare
        if re.search(r"[^.\W]\.\Z|[^\W\d_]!\Z", bare):
            bare = bare[:-1]
        for left, right in _PAIRS:
            inner = bare[len(left) : -len(right)]
            if bare.startswith(left) and bare.endswith(right) and inner.strip() and left not in inner:
                # figures in brackets may be less than nothing, or a footnote
                bare = bare if left in _BRACKETS and (not inner.isalpha() or right in inner) else inner.strip()
    bare = _ARTICLE.sub("", bare, count=1) if _ARTICLE.match(bare) else bare
    # a capital beside figures may be another unit; "ß" stays what it is
    bare = bare if any(c.isdigit() for c in bare) else bare.lower()
    return " ".join(found[0] for found in _TOKEN.finditer(bare))


# --- what an answer concludes ---

MOST_WORDS = 25
"""Longer answers are not searched for what they conclude."""

_HEDGED = re.compile(
    r"\b(?:maybe|perhaps|possibl[ey]|probabl[ey]|(?:un)?likely|presumably|apparently|supposedly|might|could|can(?:not)?"
    r"|may|seems?|seemingly|seen\s+as|appears?|looks|guess(?:ing)?|think|believe|assum(?:e|ing)|suppose|suspect|unsure"
    r"|uncertain|unclear|sure|certain|know|unknown|either|or|if|unless|though|although|however|whether|about|around"
    r"|approximately|roughly|almost|nearly|part(?:ly|ially)|mostly|sometimes|depends|both|half|wait|actually|sorry"
    r"|correction|doubt|question|wonder)\b|n't\b|\?|~|\.\.\."
)
_DENIED = re.compile(
    r"\b(?:not|no|never|neither|nor|none|nothing|without|but|except|rather|instead|unlike|other|than|anything|false"
    r"|wrong|incorrect|opposite|hardly|barely|far\s+from|fake|apart\s+from|besides)\b|n't\b"
)
_ENDS_DENIED = re.compile(rf"(?:{_DENIED.pattern})\W*\Z")
_TAKEN_BACK = re.compile(r"\b(?:but|except|only|other\s+than|apart\s+from|besides|instead)\b")
_LETTER_FIRST = re.compile(r"\A\W*[A-Za-z][).:]\s+")
_LETTER_LAST = re.compile(r"(?:(?<=\w)|\A)\W*\([A-Za-z]\)\W*\Z")


def _conclusion(text: str) -> tuple[str, str]:
    """What stands before the last colon, and what behind it; nothing before where there is none."""
    before, colon, behind = text.rpartition(": ")
    return (before, behind) if colon else ("", text)


def _clear(text: str) -> bool:
    """Whether an answer is short, one line, and hedges nothing."""
    return "\n" not in text and len(words_of(text)) <= MOST_WORDS and not _HEDGED.search(text.lower())


def _option(text: str, options: tuple[str, ...]) -> str | None:
    """The letter of the option an answer gives: by letter, or with the option's text at its end."""
    letter = read_option(text, options) if _clear(text) else None
    if letter is None:
        return None
    bare = _LETTER_LAST.sub("", _LETTER_FIRST.sub("", text, count=1))
    said = [word for word, _, _ in words_of(plain(options[LETTERS.index(letter)]))]
    words = [word for word, _, _ in words_of(bare)]
    if len(said) == 1 and said[0] in ("yes", "no") and said[0] in words:
        return letter if _yes_no(bare) == said[0] else None
    if words[-len(said) :] == said:
        start = words_of(bare)[-len(said)][1]
        before, behind = _conclusion(bare[:start] + "\0")
        denied = _ENDS_DENIED.search(before.lower()) or _DENIED.search(behind.lower())
        return None if denied else letter
    # a letter beside words that are not its option's
    inside = any(words[k : k + len(said)] == said for k in range(len(words)))
    return None if inside or _DENIED.search(bare.lower()) else letter


def _named(text: str, named: tuple[str, str]) -> str | None:
    """Which of two words that a question names an answer concludes with."""
    if not _clear(text):
        return None
    before, behind = _conclusion(text)
    names = {name.lower() for name in named}
    said = _key(behind)
    # "yes" beside it answers another reading of the question
    denied = _DENIED.search(before.lower()) or {word for word, _, _ in words_of(before)} & (names | {"yes"})
    return said if said in names and not denied else None


# --- yes and no ---

_INSTRUCTION = re.compile(r"\?\s+(?:please\s+)?(?:just\s+)?(?:answer|reply|respond)\b[^?]*\Z", re.IGNORECASE)
_AUXILIARY = r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|am)"
_POLAR = re.compile(rf"\W*{_AUXILIARY}(?:n't)?\b", re.IGNORECASE)
# where more is asked than yes or no
_OPEN = re.compile(
    r"\b(?:what|which|who|whom|whose|where|when|why|how|describe|explain|name|list|count|if)\b"
    rf"|\band\s+{_AUXILIARY}\b|\?[^\w?]*+\w|;",
    re.IGNORECASE | re.DOTALL,
)
_ALTERNATIVES = re.compile(r"\b([^\W\d_]+) or (?:(?:to|on|in) )?(?:the )?([^\W\d_]+)\b", re.IGNORECASE)
_LEADING_WORD = re.compile(r"\W*(yes|no)(?:\W*\Z|[,.;!:]\s|\s-\s)", re.IGNORECASE)
# what is written in the image, letter by letter
_READING = re.compile(
    r"\b(?:says?|said|reads?|reading|written|writing|wr[io]te|text|words?|letters?|label(?:s|led)?|signs?|plates?"
    r"|titles?|spell\w*|inscri\w+|print\w*|caption\w*|codes?|serial|headline\w*|brand\w*|logos?|jersey|numbers?(?!\s+of\b)"
    r"|displayed|displays?|shown\s+on)\b",
    re.IGNORECASE,
)


def _yes_no(text: str) -> str | None:
    """Yes or no where it is all of an answer, leads it, or is its conclusion."""
    said = said_yes_no(text) if _clear(text) else set()
    if len(said) != 1:
        return None
    (word,) = said
    before, behind = _conclusion(text)
    if before:
        return word if _key(behind) == word and not _ENDS_DENIED.search(before.lower()) else None
    # "Yes, not one" takes it back; "no" may be explained with denials
    back = _DENIED if word == "yes" else _TAKEN_BACK
    return word if _LEADING_WORD.match(text) and not back.search(text.lower()) else None
