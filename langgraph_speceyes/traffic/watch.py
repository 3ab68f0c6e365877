"""Watches a graph's questions: records each, compares answers, runs the front end in shadow and the agent in audits."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langgraph.runtime import get_runtime

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.behind.again import AgentAgain
from langgraph_speceyes.behind.own_run import own_run
from langgraph_speceyes.decision import decide
from langgraph_speceyes.errors import describe_error
from langgraph_speceyes.front.settings import Standing
from langgraph_speceyes.images import question_text
from langgraph_speceyes.question import Asked, question_at
from langgraph_speceyes.state import Decision
from langgraph_speceyes.traffic.agreement import Agree
from langgraph_speceyes.traffic.background import Background
from langgraph_speceyes.traffic.jobs import Audit, Comparison, Fold, ShadowRun
from langgraph_speceyes.traffic.journal import Journal
from langgraph_speceyes.traffic.opener import Opener
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.recorder import Recorder
from langgraph_speceyes.traffic.records import record_of, undecided
from langgraph_speceyes.traffic.said import Answers
from langgraph_speceyes.traffic.shadow import Shadow

OTHERS_S = 5.0
"""How old the evidence may get before what other processes have written is looked for."""
FLUSH_S = 5.0
NOT_YET = "the gate has not opened yet"
_LONG_S = 1e6
_logger = logging.getLogger(__name__)


class Traffic:
    """What a graph's questions teach. Nothing of it fails a run, or keeps one waiting.

    Args:
        gate: Digest of what the scores depend on.
        journal: Where records go; None keeps none.
        spare: Makes a journal in memory, for shadow runs and audits of a graph without one.
        adapter: Where the question is in the state.
        answers: Puts the two answers side by side.
        agree: Decides whether they say the same.
        shadow: The front end whose answers nobody waits for.
        again: The agent, for audits; None where it cannot be run again.
        opener: The gate that opens itself, if it does.
        looks: What tells the front end's looks from others.
    """

    def __init__(
        self,
        gate: str,
        journal: Journal | None,
        *,
        spare: Callable[[], Journal],
        adapter: StateAdapter,
        answers: Answers,
        agree: Agree,
        shadow: Shadow,
        again: AgentAgain | None,
        opener: Opener | None = None,
        looks: Sequence[str] = (),
    ) -> None:
        self.gate, self.journal, self._spare = gate, journal, spare
        self.adapter, self.answers, self.agree, self.shadow, self.again = adapter, answers, agree, shadow, again
        self.opener, self.looks, self.background = opener, looks, Background()
        self._recorder: Recorder | None = None
        self._folding: int | None = None
        """The process that has a fold waiting: a forked one has none of its parent's jobs."""
        self._folded, self._warned = 0.0, False
        self._shut = NOT_YET
        self._lock = threading.Lock()

    @property
    def recorder(self) -> Recorder:
        """What writes records down, without keeping anybody waiting."""
        # not a cached_property, which locks nothing from Python 3.12 on
        with self._lock:
            if self._recorder is None:
                if self.journal is None:
                    self.journal = self._spare()
                self._recorder = Recorder(self.journal)
            return self._recorder

    def standing(self) -> Standing:
        """What a gate that opens itself allows now."""
        assert self.opener is not None, "asked of gates that open themselves only"
        try:
            self._bind()
            if time.monotonic() - self._folded > OTHERS_S:
                self._fold()
        except Exception as error:
            _log_loss(error)
        terms = self.opener.terms
        return Standing(terms.threshold, terms.rate, self._shut if terms.threshold is None else None)

    def reserve(self, state: Mapping[str, Any]) -> None:
        """Give a question its place in the journal before anything is known of it.

        Evidence in the order of the answers would miss, at any moment, the questions that take long, which are not like
        the others.
        """
        try:
            decision = decide(state, self.shadow.gate, "fallback")  # type: ignore[arg-type]
            unknown: Any = {"reason": None, "screened": False, "settled": False}
            self.recorder.record({**self._record(state, decision), **unknown})
        except Exception as error:
            _log_loss(error)

    def bypassed(self, state: Mapping[str, Any], decision: Decision) -> None:
        """Record a question that the speculation answers; ask the agent as well where it is audited."""
        try:
            if self.journal is None and not decision["audited"]:
                return
            record = self._record(state, decision)
            self.note(record)
            if decision["audited"] and self.again is not None:
                own = own_run(self.again.agent, state, record["id"])
                self.background.do(Audit(self, record, state, self.again.config(state), own))
            elif decision["audited"] and not self._warned:
                self._warned = True
                _logger.warning("audits wait for an agent to ask: give it to SpecEyesMiddleware.audit_with(agent)")
        except Exception as error:
            _log_loss(error)

    def answered(self, state: Mapping[str, Any], decision: Decision, values: Mapping[str, Any], answer: Any) -> None:
        """Record a question that the agent has answered, with what the front end says or would have said."""
        try:
            if decision["mode"] == "off" or (self.journal is None and decision["mode"] == "on"):
                return
            record = self._record(state, decision)
            if decision["mode"] == "shadow" and self.shadow.watches(state):
                if not self.background.do(ShadowRun(self, record, state, values, answer)):
                    # how long the queue is has nothing to do with the question: no evidence, rather than bad evidence
                    self.note({**record, "audit_rate": 0.0, "settled": True, "error": "too many are waiting"})
            elif record["settled"]:
                self.note(record)
            elif not self.background.do(Comparison(self, record, state, values, answer)):
                # accepted answers are on record without a job: leaving out the others would make them look too many
                self.note(record)
        except Exception as error:
            _log_loss(error)

    def failed(self, state: Mapping[str, Any], decision: Decision, error: Exception) -> None:
        """Record a question on which the agent failed: nothing can be compared, so the answers count as differing."""
        try:
            if decision["mode"] == "off" or self.journal is None:
                return
            record = self._record(state, decision)
            if not record["settled"]:
                record = undecided(record)
            self.note({**record, "error": record["error"] or describe_error(error)})
        except Exception as trouble:
            _log_loss(trouble)

    def note(self, record: Record) -> None:
        """Write a record down, soon."""
        self.recorder.record(record)
        if self.opener is not None:
            self._fold()

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is left to be done, and all is written down."""
        return self.background.drain(timeout_s) and self._written(timeout_s)

    async def adrain(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is left; see :meth:`drain`."""
        return await self.background.adrain(timeout_s) and await asyncio.to_thread(self._written, timeout_s)

    def _written(self, timeout_s: float | None) -> bool:
        if self._recorder is None:
            return True
        return self._recorder.flush(_LONG_S if timeout_s is None else timeout_s)

    def asked(self, state: Mapping[str, Any]) -> Asked | None:
        """The question of a state; None where it cannot be found."""
        query = state.get("speceyes_query")
        if not query or not query["turn"]:
            return None
        return question_at(self.adapter.messages(state), query["turn"])

    def fold(self) -> None:
        """Take what the journal has into the evidence of the gate, once all that was recorded is written."""
        with self._lock:
            self._folding, self._folded = None, time.monotonic()
        self._written(FLUSH_S)
        self._refresh()

    def resume(self) -> None:
        """Take up what earlier processes have found out, where the journal can be read already."""
        try:
            if getattr(self.journal, "bound", True):
                self._refresh()
        except Exception as error:
            _logger.warning("a gate that opens itself begins shut: %s", describe_error(error))

    def _fold(self) -> None:
        with self._lock:
            if self._folding == os.getpid():
                return
            self._folding = os.getpid()
        if not self.background.do(Fold(self), on_thread=True):
            self._folding = None

    def _refresh(self) -> None:
        if self.opener is None:
            return
        for event in self.opener.refresh():
            level = logging.WARNING if event["event"] in ("warned", "closed") else logging.INFO
            _logger.log(level, "the gate %s: %s", event["event"], event["reason"])
        self._shut = self.opener.status()["reason"] or NOT_YET

    def _record(self, state: Mapping[str, Any], decision: Decision) -> Record:
        self._bind()
        asked = self.asked(state)
        images = asked.images if asked else ()
        text = question_text(asked.message) if asked else None
        return record_of(state, decision, self.gate, question=text, images=images, looks=self.looks)

    def _bind(self) -> None:
        """Give a journal without a store of its own that of the run."""
        bind = getattr(self.recorder.journal, "bind", None)
        if bind is not None:
            bind(get_runtime().store)


def _log_loss(error: Exception) -> None:
    _logger.warning("a question could not be recorded: %s", describe_error(error))
