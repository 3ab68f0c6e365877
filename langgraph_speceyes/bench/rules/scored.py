"""What a rule says of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rule = Literal["multiple_choice", "yes_no", "free_form", "llm_judge"]


@dataclass(frozen=True)
class Scored:
    """What a rule says of an answer.

    Attributes:
        right: Whether it is right.
        read: The letter, yes or no, or normalised text that was read from it; None where nothing clear was.
        rule: The rule.
        reason: Why nothing was read, such as the error of the run; empty otherwise.
    """

    right: bool
    read: str | None
    rule: Rule
    reason: str = ""
