"""Quantities and dates that are all of an answer, where they can be read in one way only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_NUMBER_WORD = {word: Decimal(value) for value, word in enumerate(_WORDS)}
_FIGURES = r"-?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
# figures that are one thing in one country and another elsewhere, or a name and no quantity
_TWO_WAYS = re.compile(r"-?(?:[1-9]\d{0,2}\.\d{3}|0\d.*|0,.*)")
_QUANTITY = re.compile(
    rf"(?P<currency>[$€£¥])?\s?(?P<number>{_FIGURES}|(?i:{'|'.join(sorted(_WORDS, key=len, reverse=True))}))"
    r"(?:(?P<gap>\s?)(?P<unit>[%°$€£¥]|°[CF]|[^\W\d_]+(?:[ /][^\W\d_]+)?))?",
    re.ASCII,
)
_PERCENT = {"percent": "%", "per cent": "%"}
_END = re.compile(r"(?<=[\w%°$€£¥])\.\Z")


@dataclass(frozen=True)
class Number:
    """A quantity.

    Attributes:
        value: Its number.
        unit: What follows or precedes it, as it is written; empty without one.
    """

    value: Decimal
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.value.normalize():f} {self.unit}".strip()


def read_number(text: str) -> Number | None:
    """The quantity that is all of a text: figures or a word up to twenty, and a unit.

    None for what can be read in two ways ("1.000", "1,5"), for leading zeros, which are names ("007"), for fractions,
    times, ranges, and for signs other than a minus.
    """
    found = _QUANTITY.fullmatch(_END.sub("", text.strip()))
    if found is None or _TWO_WAYS.fullmatch(found["number"]):
        return None
    if found["currency"] and found["unit"]:
        return None
    written = found["number"].casefold()
    unit = found["currency"] or found["unit"] or ""
    if written in _NUMBER_WORD:
        # "ten" is a word of its own, "tennis" none with a unit
        if found["unit"] and not found["gap"]:
            return None
        return Number(_NUMBER_WORD[written], _PERCENT.get(unit.casefold(), unit))
    return Number(Decimal(written.replace(",", "")), _PERCENT.get(unit.casefold(), unit))


def same_number(first: Number, second: Number) -> bool | None:
    """Whether two quantities are the same; None for different units, which may be of one size.

    Units are compared as they are written: a capital may mean another one (`mW`, `MW`).
    """
    return first.value == second.value if first.unit == second.unit else None


_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = {name[:length]: n for n, name in enumerate(_MONTHS, 1) for length in (3, len(name))} | {"sept": 9}
_NAME = rf"(?P<month>{'|'.join(sorted(_MONTH, key=len, reverse=True))})\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_DATES = [
    re.compile(rf"{_YEAR}-(?P<month>\d\d)-(?P<day>\d\d)", re.ASCII),
    re.compile(rf"(?:the )?{_DAY}(?: of)? {_NAME},? {_YEAR}", re.ASCII),
    re.compile(rf"{_NAME} {_DAY},? {_YEAR}", re.ASCII),
]
_NUMERIC = re.compile(rf"(?P<a>\d{{1,2}})([/.-])(?P<b>\d{{1,2}})\2{_YEAR}", re.ASCII)


def read_date(text: str) -> date | None:
    """The day that is all of a text, with a year of four figures; None where day and month could be exchanged."""
    bare = text.strip().rstrip(".").casefold()
    for form in _DATES:
        if found := form.fullmatch(bare):
            month = found["month"]
            return _date(int(found["year"]), _MONTH.get(month) or int(month), int(found["day"]))
    if found := _NUMERIC.fullmatch(bare):
        a, b, year = int(found["a"]), int(found["b"]), int(found["year"])
        if a == b or b > 12:
            return _date(year, a, b)
        return _date(year, b, a) if a > 12 else None
    return None


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
