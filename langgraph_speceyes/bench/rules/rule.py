"""Which rule an item has, and scoring by it."""

from __future__ import annotations

from langgraph_speceyes.bench.datasets.item import Item
from langgraph_speceyes.bench.rules.choice import multiple_choice
from langgraph_speceyes.bench.rules.scored import Rule, Scored
from langgraph_speceyes.bench.rules.text import free_form, yes_no


def rule_of(item: Item) -> Rule:
    """An item's rule: `multiple_choice` if it has options, `yes_no` if yes or no is right, else `free_form`."""
    if item.options:
        return "multiple_choice"
    return "yes_no" if item.answer.lower() in ("yes", "no") else "free_form"


def score(item: Item, prediction: str | None, *, error: str | None = None) -> Scored:
    """Score an answer by the item's rule.

    Args:
        item: The question, with its options as they were asked.
        prediction: The answer; None or empty counts as wrong.
        error: Why there is no answer; it counts as wrong.
    """
    rule = rule_of(item)
    if error:
        return Scored(False, None, rule, error)
    if rule == "multiple_choice":
        return multiple_choice(prediction, item.options, item.letter)
    return yes_no(prediction, item.answer) if rule == "yes_no" else free_form(prediction, item.answer)
