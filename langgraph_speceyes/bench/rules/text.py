"""Answers that are a text, or yes or no."""

from __future__ import annotations

import re

from langgraph_speceyes.answers.words import normalised, unwrapped
from langgraph_speceyes.answers.yes_no import said_yes_no
from langgraph_speceyes.bench.rules.scored import Scored


def free_form(prediction: str | None, answer: str) -> Scored:
    """Equality without case, punctuation, articles and white space (as SQuAD's and VQA's scorers normalise).

    What stands behind the last colon counts as the answer too ("Answer: red", the embedded world's "...: left.").
    """
    text = unwrapped(prediction)
    if not text:
        return Scored(False, None, "free_form", "no answer")
    expected = normalised(answer)
    if expected in (normalised(text), normalised(re.split(r":\s", text)[-1])):
        return Scored(True, expected, "free_form")
    return Scored(False, normalised(text), "free_form")


def yes_no(prediction: str | None, answer: str) -> Scored:
    """The word yes or no, whatever its case and what stands around it; both, or neither, is unclear and wrong.

    As VLMEvalKit's YOrN_Extraction; lmms-eval's pope takes the bare word only, and POPE's own script reads everything
    without a negation as yes.
    """
    text = unwrapped(prediction)
    found = said_yes_no(text)
    if len(found) != 1:
        reason = "both yes and no" if found else "neither yes nor no" if text else "no answer"
        return Scored(False, None, "yes_no", reason)
    (read,) = found
    return Scored(read == answer.strip().lower(), read, "yes_no")
