"""What a run of an agent costs, told by its callbacks, for every agent alike; and how it is stopped."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig

from langgraph_speceyes.contained import Passing
from langgraph_speceyes.state import Hedge
from langgraph_speceyes.usage import usage

MOST_PAUSED = 10_000


@dataclass(frozen=True)
class Cost:
    """What an agent's run has cost.

    Attributes:
        seconds: Time at work.
        person: Time it waited for a person, in seconds.
        input_tokens: Tokens read by its model calls; of finished calls, and zero where a model does not say.
        output_tokens: Tokens written.
        model_calls: Calls of models.
        tool_steps: Calls of LangChain tools.
    """

    seconds: float = 0.0
    person: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    model_calls: int = 0
    tool_steps: int = 0

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens as they are recorded."""
        return {"input": self.input_tokens, "output": self.output_tokens}


class Stopped(Passing):
    """Ends an agent that is no longer needed; no `Exception`, so that no agent takes it for a tool's failure."""


class Meter(BaseCallbackHandler):
    """Counts what one run of an agent costs, and can end it where it begins its next step.

    Threads cannot be killed: a stopped run ends at its next chain, model or tool. Safe to use from several threads.

    Args:
        before: What the run had cost before it was interrupted.
    """

    raise_error = True
    run_inline = True

    def __init__(self, before: Cost | None = None) -> None:
        self.stopped: Future[None] = Future()
        """Done when the run is to end."""
        self._lock = threading.Lock()
        self._cost = before or Cost()
        self._began: float | None = None

    def config(self, config: RunnableConfig) -> RunnableConfig:
        """The config of a run that is counted.

        Args:
            config: A node's config.
        """
        callbacks: Any = config.get("callbacks")
        if not isinstance(callbacks, BaseCallbackManager):
            return {**config, "callbacks": [*(callbacks or ()), self]}
        callbacks = callbacks.copy()
        callbacks.add_handler(self, inherit=True)
        return {**config, "callbacks": callbacks}

    def begin(self) -> None:
        """Begin the run.

        Raises:
            Stopped: It is no longer needed.
        """
        self._step()
        with self._lock:
            self._began = time.perf_counter()

    def end(self) -> None:
        """Note that the run is over, or pauses."""
        with self._lock:
            if self._began is not None:
                took = time.perf_counter() - self._began
                self._cost, self._began = replace(self._cost, seconds=self._cost.seconds + took), None

    def stop(self) -> None:
        """End the run at its next step."""
        with self._lock:
            if not self.stopped.done():
                self.stopped.set_result(None)

    def cost(self) -> Cost:
        """What the run has cost so far."""
        with self._lock:
            now = 0.0 if self._began is None else time.perf_counter() - self._began
            return replace(self._cost, seconds=self._cost.seconds + now)

    def hedge(self, *, cancelled: bool = False, interrupted: bool = False, agent_first: bool = False) -> Hedge:
        """What the run has cost so far, for the record of a race.

        Args:
            cancelled: Whether its work is thrown away.
            interrupted: Whether it stopped for an interrupt.
            agent_first: Whether it had its answer before the front end was done.
        """
        cost = self.cost()
        return Hedge(
            cancelled=cancelled,
            interrupted=interrupted,
            agent_first=agent_first,
            seconds=cost.seconds,
            tokens=cost.tokens,
            tool_steps=cost.tool_steps,
        )

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        """Stop here if stopped."""
        self._step()

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        """Count a model call, or stop here if stopped."""
        self._step()
        self._count(model_calls=1)

    def on_llm_start(self, *args: Any, **kwargs: Any) -> None:
        """Count a model call, or stop here if stopped."""
        self._step()
        self._count(model_calls=1)

    def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
        """Count a tool call, or stop here if stopped."""
        self._step()
        self._count(tool_steps=1)

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """Count the tokens of a finished call."""
        for generations in response.generations:
            for one in generations[:1]:
                if isinstance(one, ChatGeneration) and isinstance(one.message, AIMessage):
                    found = usage(one.message)
                    self._count(input_tokens=found["input"], output_tokens=found["output"])

    def _count(self, **more: int) -> None:
        with self._lock:
            self._cost = replace(self._cost, **{name: getattr(self._cost, name) + n for name, n in more.items()})

    def _step(self) -> None:
        if self.stopped.done():
            raise Stopped


class PausedRuns:
    """What runs had cost when they stopped for a person, until they go on in this process.

    A run that goes on elsewhere is counted from there; no state can be written while a run is interrupted.
    """

    def __init__(self, most: int = MOST_PAUSED) -> None:
        self._runs: OrderedDict[str, tuple[float, Cost]] = OrderedDict()
        self._most, self._lock = most, threading.Lock()

    def pause(self, key: str, cost: Cost) -> None:
        """Remember a run that waits.

        Args:
            key: The query's id.
            cost: What it has cost so far.
        """
        with self._lock:
            self._runs[key] = (time.time(), cost)
            while len(self._runs) > self._most:
                self._runs.popitem(last=False)

    def resume(self, key: str) -> Cost | None:
        """What a run had cost that goes on now, its wait included; None where it is not known."""
        with self._lock:
            found = self._runs.pop(key, None)
        if found is None:
            return None
        since, cost = found
        return replace(cost, person=cost.person + max(0.0, time.time() - since))
