"""Watching an agent that runs beside the front end: what it costs, and how it is stopped."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig

from langgraph_speceyes.front.calling import usage
from langgraph_speceyes.state import Hedge


class Stopped(BaseException):
    """Ends an agent that is no longer needed; no `Exception`, so that no agent takes it for a tool's failure."""


class Watch(BaseCallbackHandler):
    """Counts what one run of an agent costs, and ends it where it begins its next step.

    Threads cannot be killed: a stopped run ends at its next chain, model or tool. Safe to use from several threads.
    """

    raise_error = True
    run_inline = True

    def __init__(self) -> None:
        self.stopped: Future[None] = Future()
        """Done when the run is to end."""
        self._lock = threading.Lock()
        self._began: float | None = None
        self._ended: float | None = None
        self._input = self._output = self._tools = 0

    def config(self, config: RunnableConfig) -> RunnableConfig:
        """The config of a watched run.

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
        self._began = time.perf_counter()

    def end(self) -> None:
        """Note that the run is over."""
        self._ended = time.perf_counter()

    def stop(self) -> None:
        """End the run at its next step."""
        with self._lock:
            if not self.stopped.done():
                self.stopped.set_result(None)

    def hedge(self, *, cancelled: bool, interrupted: bool) -> Hedge:
        """What the run has cost so far.

        Args:
            cancelled: Whether its work is thrown away.
            interrupted: Whether it stopped for an interrupt.
        """
        now = time.perf_counter() if self._ended is None else self._ended
        with self._lock:
            return Hedge(
                cancelled=cancelled,
                interrupted=interrupted,
                seconds=0.0 if self._began is None else now - self._began,
                tokens={"input": self._input, "output": self._output},
                tool_steps=self._tools,
            )

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
        """Stop here if stopped."""
        self._step()

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        """Stop here if stopped."""
        self._step()

    def on_llm_start(self, *args: Any, **kwargs: Any) -> None:
        """Stop here if stopped."""
        self._step()

    def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
        """Count a tool call, or stop here if stopped."""
        self._step()
        with self._lock:
            self._tools += 1

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """Count the tokens of a finished call."""
        for generations in response.generations:
            for one in generations[:1]:
                if isinstance(one, ChatGeneration) and isinstance(one.message, AIMessage):
                    found = usage(one.message)
                    with self._lock:
                        self._input += found["input"]
                        self._output += found["output"]

    def _step(self) -> None:
        if self.stopped.done():
            raise Stopped
