"""Asking a person about the answers that differ, the surest first, until no label would change the threshold."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import numpy as np

from langgraph_speceyes.bench.compositions import Certified, Composition, Terms, certify
from langgraph_speceyes.bench.depth_answers import depth_key, label_of_agent
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
        id: Its id; with the depth behind it where the answer is one after a look.
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
        numbers = (0, *range(1, 1 + len(evidence.deeper)))
        self._at = {depth_key(id, depth): (depth, k) for depth in numbers for k, id in enumerate(evidence.ids)}
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
            place, at = divmod(found.needed[0], len(self.evidence.ids))
            depth = self.composition.depths[place]
            shown = self._shown(depth, at)
            labelled = sum(part.labelled for part in found.parts.values())
            left = sum(part.differing - part.labelled for part in found.parts.values())
            return Pending(depth_key(self.evidence.ids[at], depth), shown, labelled, left, found.accepted)

    def _shown(self, depth: int, at: int) -> Shown:
        shown = self.evidence.shown[at]
        said = self.evidence.deeper[depth - 1].said[at] if depth else "" if shown is None else shown.speculation
        if shown is None or said is None:
            found = "a record without the answer that is to be labelled next"
            raise ArgumentError("source", "a journal that keeps texts (texts=True)", found)
        return replace(shown, speculation=said)

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
            self._keep(id, KEYS[key][1])
            self._given.append(id)

    def undo(self) -> bool:
        """Take the last label of this session back; whether there was one."""
        with self._lock:
            if not self._given:
                return False
            self._keep(self._given[-1], None)
            self._given.pop()
            return True

    def _keep(self, id: str, label: Label | None) -> None:
        (depth, at), old = self._at[id], self.evidence
        keep_label(old, old.ids[at], label, depth=depth)
        small, large = label or (None, None)
        deeper = list(old.deeper)
        changed = [old.speculator_right, *(one.right for one in deeper)]
        over = [np.array(old.passed_over), *(np.array(one.passed_over) for one in deeper)]
        changed[depth] = (*changed[depth][:at], small, *changed[depth][at + 1 :])
        over[depth][at] = label == (None, None)
        agent = list(old.agent_right)
        agent[at] = label_of_agent([column[at] for column in changed], large, agent[at])
        for place, one in enumerate(deeper, 1):
            deeper[place - 1] = replace(one, right=changed[place], passed_over=over[place])
        self.evidence = replace(
            old,
            speculator_right=changed[0],
            agent_right=tuple(agent),
            passed_over=over[0],
            deeper=tuple(deeper),
        )
        self._found = None
