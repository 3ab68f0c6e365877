"""What follows from a decision: the order's chooser learns, those who stream are told, traffic is watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from langgraph_speceyes.events import emit
from langgraph_speceyes.front.costs import Costs
from langgraph_speceyes.state import Decision


class Watcher(Protocol):
    """Who records what came of a question. It may neither fail nor wait."""

    def bypassed(self, state: Mapping[str, Any], decision: Decision) -> None:
        """The speculation is the answer."""

    def answered(self, state: Mapping[str, Any], decision: Decision, values: Mapping[str, Any], answer: Any) -> None:
        """The agent has answered.

        Args:
            state: The state that the question is in, as it was before the agent ran.
            decision: What was decided.
            values: What the agent returned.
            answer: The message among it that is the answer, if there is one.
        """

    def failed(self, state: Mapping[str, Any], decision: Decision, error: Exception) -> None:
        """The agent has raised an error."""


class Learner(Protocol):
    """What learns from decisions."""

    def learn(self, decision: Decision) -> None:
        """Take in what a query cost."""


class Settled:
    """Tells everybody who is concerned of a decision.

    Args:
        learners: What learns the cost of orders and of depths.
        watcher: Who records questions, if anybody.
        costs: Puts prices on decisions.
    """

    def __init__(
        self, learners: Sequence[Learner] = (), watcher: Watcher | None = None, costs: Costs | None = None
    ) -> None:
        self.learners, self.watcher, self.costs = learners, watcher, costs or Costs()

    def bypassed(self, state: Mapping[str, Any], decision: Decision) -> None:
        """The speculation is the answer."""
        self._publish(state, decision)
        if self.watcher is not None:
            self.watcher.bypassed(state, decision)

    def answered(self, state: Mapping[str, Any], decision: Decision, values: Mapping[str, Any], answer: Any) -> None:
        """The agent has answered; see :meth:`Watcher.answered`."""
        self._publish(state, decision)
        if self.watcher is not None:
            self.watcher.answered(state, decision, values, answer)

    def failed(self, state: Mapping[str, Any], decision: Decision, error: Exception) -> None:
        """The agent has raised an error."""
        if self.watcher is not None:
            self.watcher.failed(state, decision, error)

    def _publish(self, state: Mapping[str, Any], decision: Decision) -> None:
        for learner in self.learners:
            learner.learn(decision)
        emit("decision", decision, state)
