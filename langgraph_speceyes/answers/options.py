"""Lettered options: those a question shows, and the one that an answer gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from langgraph_speceyes.answers.words import normalised, plain, words_of

LETTERS = ascii_uppercase
"""Of the options, in order."""

_LETTERED = re.compile(r"(?<!\S)\(([A-Z])\)")


def parted(text: str) -> tuple[str, tuple[str, ...]]:
    """The question and the options of a text that holds both.

    Args:
        text: A question followed by `(A) ...`, `(B) ...` in order. What stands on further lines below the last option,
            such as V*'s "Answer with the option's letter", belongs to neither.

    Returns:
        The question and its options; no options if the text has less than two.
    """
    marks: list[re.Match[str]] = []
    for found in _LETTERED.finditer(text):
        if len(marks) < len(LETTERS) and found[1] == LETTERS[len(marks)]:
            marks.append(found)
    if len(marks) < 2:
        return text.strip(), ()
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    options = [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    return text[: marks[0].start()].strip(), tuple(option.partition("\n")[0].strip() for option in options)


_BLANKS = re.compile(r"\s{2,}")
_ALONE = re.compile(r"[\W_]*([A-Za-z])[\W_]*")
_WITH_TEXT = re.compile(r"[\W_]*([A-Za-z])[\s)\]}.:,;*-]+(\S.*)", re.DOTALL)
# a letter as a word of its own: not of a contraction, of initials or of a hyphenated word
_LONE = r"(?<![\w'])(?<!\w\.)(?<!\w-)([A-Z])(?![\w'])(?!\.[A-Z]\b)(?!-\w)"
_ENDS = r"(?=\s*(?:\Z|[\n.,:;!?)\]}*\"]|-\s))"
_ADVERB = r"(?:\s+(?:most\s+likely|likely|probably|clearly|definitely|therefore|thus))?"
_LED = (
    r"(?i:\b(?:answer|option|choice|letter\s+is|choose|select|pick|so|therefore|thus|hence|it\s+is|it's)"
    rf"{_ADVERB}(?:\s+(?:is|was|would\s+be|must\s+be|should\s+be|will\s+be))?{_ADVERB}"
    r"(?:\s+(?:the|option|choice|letter)){0,4})[\s:=\"*(\[]+"
)
_MENTIONED = re.compile(_LONE)
_GIVEN = [
    re.compile(r"(?<!\w)(?<!(?i:not) )[(\[{]([A-Za-z])[)\]}]"),
    re.compile(r"(?:\A|[\n.!?:;,*)\"]|-\s)\s*" + _LONE + _ENDS),
    re.compile(_LED + _LONE),
    re.compile(r"(?i:\b(?:answer|option|choice)(?:\s+is)?)[\s:=\"*]+([a-z])(?![\w'])" + _ENDS),
    re.compile(_LONE + r"\s+(?i:(?:is|was|seems|appears|would\s+be)\s+(?:the\s+)?(?:correct|right|best|answer))\b"),
    re.compile(r"\A\W*([a-z])[).:]\s"),
]
# "A" where a sentence or a quotation begins, before a word that goes with an article; "I" before any word
_ARTICLE = re.compile(
    r"(?:\A|[\n.!?:;,(\[\])\"'*]|-\s)\s*(A)(?= (?![A-Z]\b)(?!(?i:is|was|and|or|nor|but|because|since|as|for|not|seems|"
    r"appears|would|should|could|must|might|may|can|matches|fits)\b)\w)"
)
_PRONOUN = re.compile(r"(?<!\w)I(?=['\s]+\w)")
_NEGATED = re.compile(
    r"(?:\b(?:not|no|never|neither|nor|without)|n't)\s+(?:(?:an?|the|to|on|in|at|really|exactly|quite)\s+)*\Z",
    re.IGNORECASE,
)


def read_option(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option an answer gives, by letter or by text.

    In this order: the letter alone; a letter followed by its own option's text; an option's text alone. Else the whole
    answer is searched for letters given as an answer ("(B)", "B.", "Answer: B", "B is correct") and for option texts,
    as whole words, the longest ones first. Two letters contradict each other, and a letter contradicts texts that do
    not include its own. "A" before a word at the beginning of a sentence is an article.

    Returns:
        The letter, None if there is no one.
    """
    letters = LETTERS[: len(options)]
    # patterns that may begin at each of many blanks would look at all of them from each
    text = _BLANKS.sub(lambda match: "\n" if "\n" in match[0] else " ", text)
    alone, beside = _ALONE.fullmatch(text), _WITH_TEXT.fullmatch(text)
    if alone and alone[1].upper() in letters:
        return alone[1].upper()
    same = {one: normalised(option) for one, option in zip(letters, options, strict=True)}
    if beside and normalised(beside[2]) == same.get(beside[1].upper()):
        return beside[1].upper()
    texts, spans = _texts(text, options)
    given, mentioned = _letters(text, letters, spans)
    whole = [one for one in letters if same[one] == normalised(text)]
    if whole and not given:
        return whole[0] if len(whole) == 1 else None
    if len(given) == 1 and mentioned <= given and (not texts or given <= texts):
        return given.pop()
    return texts.pop() if len(texts) == 1 and not given else None


def _texts(text: str, options: Sequence[str]) -> tuple[set[str], list[tuple[int, int]]]:
    """The letters of the options whose texts are in an answer, and where in it texts are."""
    words = words_of(text)
    said = [word for word, _, _ in words]
    wanted = {letter: [word for word, _, _ in words_of(plain(o))] for letter, o in zip(LETTERS, options, strict=False)}
    # what cannot be told from a letter is read as a letter
    wanted = {letter: w for letter, w in wanted.items() if len("".join(w)) > 1 or "".join(w).isdigit()}
    begins = {
        letter: {k for k in range(len(said) - len(w) + 1) if said[k] == w[0] and said[k : k + len(w)] == w}
        for letter, w in wanted.items()
    }
    letters, spans = set(), []
    for letter, w in wanted.items():
        # where a longer option has this one inside
        inside = [
            (other, d)
            for other, longer in wanted.items()
            for d in range(len(longer) - len(w) + 1)
            if len(longer) > len(w) and longer[d : d + len(w)] == w
        ]
        for k in begins[letter]:
            start, end = words[k][1], words[k + len(w) - 1][2]
            spans.append((start, end))
            covered = any(k - d in begins[other] for other, d in inside)
            if not covered and not _NEGATED.search(text, max(0, start - 80), start):
                letters.add(letter)
    return letters, spans


def _letters(text: str, letters: str, spans: Sequence[tuple[int, int]]) -> tuple[set[str], set[str]]:
    """The letters an answer gives, and those it mentions in any way, outside the options' texts."""
    marks = list(text)
    for found in (*_ARTICLE.finditer(text), *_PRONOUN.finditer(text)):
        marks[found.end() - 1] = " "
    for start, end in spans:
        marks[start:end] = ";" * (end - start)
    text = "".join(marks)
    given = {m[1].upper() for pattern in _GIVEN for m in pattern.finditer(text)} & set(letters)
    return given, ({m[1] for m in _MENTIONED.finditer(text)} & set(letters)) | given
