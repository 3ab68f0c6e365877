"""The words yes and no in an answer."""

from __future__ import annotations

from langgraph_speceyes.answers.words import words_of


def said_yes_no(text: str) -> set[str]:
    """Which of the words yes and no an answer has, whatever their case; both contradict each other."""
    return {word for word, _, _ in words_of(text)} & {"yes", "no"}
