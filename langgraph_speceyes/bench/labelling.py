"""Asking a person about the answers that differ, the surest first, until no label would change the threshold."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import numpy as np

from langgraph_speceyes.bench.compositions import Certified, Composition, Terms, certify
from langgraph_speceyes.bench.evidence import Evidence, Shown, keep_label
from langgraph_speceyes.errors import ArgumentError

Label = tuple[bool | None, bool | None]

KEYS: dict[str, tuple[str, Label]] = {
    "1": ("the speculation is right", (True, False)),
    "2": ("the agent is right", (False, True)),
    "3": ("both are right", (True, True)),
    "4": ("neither is", (False, False)),
    "s": ("cannot tell", (None, None)),
}
"""What a key says: whether speculation and agent are right. Who cannot tell counts it as lost."""


@dataclass(frozen=True)
class Pending:
    """The question whose label comes next.

    Attributes:
        id: Its id.
        shown: What a person sees.
        labelled: How many have a label.
        left: How many more there can be at most.
        accepted: Share of the questions that is accepted with the labels so far.
    """

    id: str
    shown: Shown
    labelled: int
    left: int
    accepted: float


class Labelling:
    """One person's session; may be used from several threads.

    Every label is written down at once. The next question follows from all labels so far: the answers that differ, the
    surest speculation first, as far down as the certified threshold can still go.

    Args:
        evidence: The questions.
        composition: Judge and score, fixed.
        terms: What is to be promised; its labels are those of disagreements.

    Raises:
        ArgumentError: Texts were not kept, or a column is missing.
    """

    def __init__(self, evidence: Evidence, composition: Composition, terms: Terms) -> None:
        self.evidence, self.composition = evidence, composition
        self.terms = replace(terms, labels="disagreements")
        self._given: list[str] = []
        self._lock = threading.RLock()
        self._at = {id: k for k, id in enumerate(evidence.ids)}
        unseen = sum(
            shown is None and agrees is not True and scored
            for shown, agrees, scored in zip(evidence.shown, evidence.agree, evidence.answered, strict=True)
        )
        if unseen:
            raise ArgumentError("source", "a journal that keeps texts (texts=True)", f"{unseen} records without")
        self._found: Certified | None = None

    @property
    def found(self) -> Certified:
        """What is certified with the labels so far."""
        with self._lock:
            if self._found is None:
                self._found = certify(self.evidence, self.composition, self.terms)
            return self._found

    def next(self) -> Pending | None:
        """The question to ask about; None when no label would change anything any more."""
        with self._lock:
            found = self.found
            if not found.needed:
                return None
            at = found.needed[0]
            shown = self.evidence.shown[at]
            assert shown is not None, "checked at the beginning"
            labelled = sum(part.labelled for part in found.parts.values())
            left = sum(part.differing - part.labelled for part in found.parts.values())
            return Pending(self.evidence.ids[at], shown, labelled, left, found.accepted)

    def tell(self, id: str, key: str) -> None:
        """Write a label down.

        Args:
            id: The question.
            key: One of :data:`KEYS`.

        Raises:
            ArgumentError: No such question or key.
            JournalError: The journal cannot be written.
        """
        if key not in KEYS:
            raise ArgumentError("key", "one of " + ", ".join(KEYS), repr(key))
        with self._lock:
            if id not in self._at:
                raise ArgumentError("id", "a question of this session", repr(id))
            keep_label(self.evidence, id, KEYS[key][1])
            self._change(id, KEYS[key][1])
            self._given.append(id)

    def undo(self) -> bool:
        """Take the last label of this session back; whether there was one."""
        with self._lock:
            if not self._given:
                return False
            keep_label(self.evidence, self._given[-1], None)
            self._change(self._given.pop(), None)
            return True

    def _change(self, id: str, label: Label | None) -> None:
        at, old = self._at[id], self.evidence
        small, large = list(old.speculator_right), list(old.agent_right)
        small[at], large[at] = label or (None, None)
        over = np.array(old.passed_over)
        over[at] = label == (None, None)
        self.evidence = replace(old, speculator_right=tuple(small), agent_right=tuple(large), passed_over=over)
        self._found = None
