"""The front end in shadow: what judge, speculator and gate would have done, found out when nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel

from langgraph_speceyes.errors import InputError
from langgraph_speceyes.front.alone import alone
from langgraph_speceyes.front.end import FrontEnd
from langgraph_speceyes.front.intake import WATCHED
from langgraph_speceyes.front.order import fixed_order
from langgraph_speceyes.front.route import WATCHING
from langgraph_speceyes.images import off_loop
from langgraph_speceyes.question import question_at, seen
from langgraph_speceyes.scoring import Gate

_CONFIG = RunnableConfig(run_name="shadow", tags=["speceyes:shadow"])


class Shadow:
    """Runs the phases on a question that the agent has answered.

    Every phase has its say, so that the record tells what each composition of them would have done.

    Args:
        front: Makes the front end, in the order that lets all phases speak.
        keys: Keys of the state around it.
        gate: The gate.
    """

    def __init__(self, front: Callable[[], FrontEnd], keys: Collection[str], gate: Gate) -> None:
        self._make, self.keys, self.gate = front, keys, gate

    @cached_property
    def front(self) -> FrontEnd:
        """The front end, made when the first question comes."""
        return self._make()

    @cached_property
    def _graph(self) -> Pregel[Any, Any, Any, Any]:
        return alone(self.front, self.keys)

    @staticmethod
    def watches(state: Mapping[str, Any]) -> bool:
        """Whether a question was left to the agent for being watched, and for nothing else."""
        return bool(state["speceyes_query"]["reason"] == WATCHED)

    def run(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Run the phases.

        Args:
            state: The state that the question is in.

        Returns:
            The state with the phases' records.
        """
        given = self._given(state)
        if given["speceyes_query"]["reason"] is not None:
            return given
        with self.front.scope.during(given["speceyes_query"]["id"]):
            return {**given, **self._graph.invoke(given, _CONFIG)}

    async def arun(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Run the phases; see :meth:`run`."""
        given = await off_loop(self._given, state)
        if given["speceyes_query"]["reason"] is not None:
            return given
        with self.front.scope.during(given["speceyes_query"]["id"]):
            return {**given, **await self._graph.ainvoke(given, _CONFIG)}

    def _given(self, state: Mapping[str, Any]) -> dict[str, Any]:
        query = state["speceyes_query"]
        messages = self.front.adapter.messages(state)
        if seen(messages[: query["seen"]["count"]]) != query["seen"]:
            raise InputError("messages", "the conversation as it was when the question was asked", "another one")
        asked = question_at(messages, query["turn"])
        watched = {
            **query,
            "reason": self.front.intake.unopened(asked),
            "order": fixed_order(WATCHING) if self.front.judge is not None else None,
        }
        given = {**{key: state[key] for key in self.keys if key in state}, "speceyes_query": watched}
        return {**given, "speceyes_depths": []} if self.front.looks else given
