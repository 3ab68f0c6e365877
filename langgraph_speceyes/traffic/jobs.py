"""What is done beside the runs: comparing two answers, a shadow run, an audit, folding evidence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig

from langgraph_speceyes.answers.agreement import Agreement
from langgraph_speceyes.behind.again import AgentAgain
from langgraph_speceyes.behind.own_run import OwnRun
from langgraph_speceyes.contained import contained
from langgraph_speceyes.decision import decide
from langgraph_speceyes.errors import AgentError, describe_error
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.records import agreed, answers_in, record_of

if TYPE_CHECKING:
    from langgraph_speceyes.traffic.watch import Traffic


@dataclass
class Comparison:
    """Compares speculation and agent's answer, and writes the record down."""

    traffic: Traffic
    record: Record
    state: Mapping[str, Any]
    values: Mapping[str, Any]
    answer: Any
    _second: str | None = field(default=None, init=False)
    _known: dict[str, Agreement] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """Compare them, at each depth that has an answer."""
        for depth, text in answers_in(self.record):
            said = text or ""
            try:
                with contained():
                    found = self._known.get(said) or self.traffic.agree(self._question, *self._pair(said))
            except Exception as error:
                found, self._second = _undecided(error), None
            self._take(depth, said, found)
        self._note()

    async def arun(self) -> None:
        """Compare them; see :meth:`run`."""
        for depth, text in answers_in(self.record):
            said = text or ""
            try:
                with contained():
                    found = self._known.get(said) or await self.traffic.agree.acall(self._question, *self._pair(said))
            except Exception as error:
                found, self._second = _undecided(error), None
            self._take(depth, said, found)
        self._note()

    @property
    def _question(self) -> str:
        return self.record["question"] or ""

    def _pair(self, said: str) -> tuple[str, str | None]:
        first, self._second = self.traffic.answers.pair(said, self.state, self.values, self.answer)
        return first, self._second

    def _take(self, depth: int, said: str, found: Agreement) -> None:
        # two depths that say the same need one comparison
        self._known[said] = found
        self.record = agreed(self.record, depth, found)

    def _note(self) -> None:
        self.traffic.note({**self.record, "answer": self._second, "settled": True})


def _undecided(error: Exception) -> Agreement:
    return Agreement(None, "undecided", error=describe_error(error))


@dataclass
class ShadowRun(Comparison):
    """Finds out what the front end would have done, and compares its answer with the agent's."""

    def run(self) -> None:
        """Run the front end, then compare."""
        try:
            with contained():
                found = self.traffic.shadow.run(self.state)
        except Exception as error:
            self._failed(error)
            return
        if self._found(found):
            super().run()

    async def arun(self) -> None:
        """Run the front end, then compare; see :meth:`run`."""
        try:
            with contained():
                found = await self.traffic.shadow.arun(self.state)
        except Exception as error:
            self._failed(error)
            return
        if self._found(found):
            await super().arun()

    def _found(self, found: dict[str, Any]) -> bool:
        """Take the phases' records over; whether there is an answer to compare."""
        decision = decide(found, self.traffic.shadow.gate, "fallback")  # type: ignore[arg-type]
        asked, looks = self.record, self.traffic.looks
        record = record_of(found, decision, asked["gate"], question=asked["question"], looks=looks)
        # what the run itself took, with the phases that were no part of it
        seconds, tokens = {**record["seconds"], **asked["seconds"]}, {**record["tokens"], **asked["tokens"]}
        self.record = {**record, "seconds": seconds, "tokens": tokens, "images": asked["images"]}
        if record["settled"]:
            self.traffic.note(self.record)
        return not record["settled"]

    def _failed(self, error: Exception) -> None:
        self.traffic.note({**self.record, "settled": True, "error": describe_error(error)})


@dataclass
class Audit:
    """Asks the agent as well, after the speculation was the answer, and compares the two.

    On a LangGraph Server that is a run of its own, where there can be one.
    """

    traffic: Traffic
    record: Record
    state: Mapping[str, Any]
    config: RunnableConfig
    own: OwnRun | None = None

    def run(self) -> None:
        """Run the agent."""
        assert self.traffic.again is not None, "an audit needs the agent"
        if self.own is not None and self.own.sent:
            # its event loop came to an end; the agent's tools are not to be used a second time
            self._failed(AgentError("the server stopped before the audit's run was done"))
            return
        began = time.perf_counter()
        try:
            with contained():
                values, answer = self.traffic.again.run(self.state, self.config)
        except Exception as error:
            self._failed(error)
        else:
            Comparison(self.traffic, self._timed(began), self.state, values, answer).run()

    async def arun(self) -> None:
        """Run the agent; see :meth:`run`."""
        assert self.traffic.again is not None, "an audit needs the agent"
        began = time.perf_counter()
        try:
            with contained():
                values, answer = await self._answered(self.traffic.again)
        except Exception as error:
            self._failed(error)
        else:
            await Comparison(self.traffic, self._timed(began), self.state, values, answer).arun()

    async def _answered(self, again: AgentAgain) -> tuple[Mapping[str, Any], Any]:
        if self.own is not None:
            try:
                return again.read(self.state, await self.own.result())
            except TypeError:  # what cannot be sent as JSON is asked about here
                self.own = None
        return await again.arun(self.state, self.config)

    def _timed(self, began: float) -> Record:
        """The record with what the agent took, which was no part of the run."""
        return {**self.record, "seconds": {**self.record["seconds"], "agent": time.perf_counter() - began}}

    def _failed(self, error: Exception) -> None:
        # not settled: `speceyes audit` may yet find an answer
        self.traffic.note({**self.record, "error": describe_error(error)})


@dataclass
class Fold:
    """Takes new records into the evidence of a gate that opens itself."""

    traffic: Traffic

    def run(self) -> None:
        """Take them in."""
        self.traffic.fold()

    async def arun(self) -> None:
        """Take them in; see :meth:`run`."""
        await asyncio.to_thread(self.traffic.fold)
