"""Keeping back what an agent streams, until it is known whether its run counts."""

from __future__ import annotations

import contextvars
import copy
import threading
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langgraph.pregel.protocol import StreamProtocol
from langgraph.runtime import Runtime

from langgraph_speceyes.behind.result import INTERRUPT


class HeldStream:
    """The streams of one run: tokens, updates and custom events of everything beneath it.

    What comes before :meth:`release` is kept, and sent then; without a release it is never sent. Interrupts are not
    sent at all. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._released = False
        self._kept: list[Callable[[], Any]] = []

    def config(self, config: RunnableConfig) -> RunnableConfig:
        """The config to run with.

        Args:
            config: A node's config.
        """
        settings = {key: self._setting(value) for key, value in (config.get("configurable") or {}).items()}
        callbacks = config.get("callbacks")
        if isinstance(callbacks, BaseCallbackManager):
            twins = {id(h): self._twin(h) for h in (*callbacks.handlers, *callbacks.inheritable_handlers)}
            callbacks = callbacks.copy()
            callbacks.handlers = [twins[id(h)] for h in callbacks.handlers]
            callbacks.inheritable_handlers = [twins[id(h)] for h in callbacks.inheritable_handlers]
        return {**config, "configurable": settings, "callbacks": callbacks}

    def release(self) -> None:
        """Send what was kept, and from now on everything at once."""
        with self._lock:
            for send in self._kept:
                send()
            self._kept.clear()
            self._released = True

    def _setting(self, value: Any) -> Any:
        if isinstance(value, StreamProtocol):
            send: Any = value
            return StreamProtocol(self._holding(send), value.modes)
        if isinstance(value, Runtime):
            return value.override(stream_writer=self._holding(value.stream_writer))
        return value

    def _twin(self, handler: BaseCallbackHandler) -> BaseCallbackHandler:
        """A handler of LangGraph that streams what models and nodes say, on the same stream but kept back."""
        if not type(handler).__module__.startswith("langgraph.") or not callable(getattr(handler, "stream", None)):
            return handler
        twin: Any = copy.copy(handler)
        twin.stream = self._holding(twin.stream)
        if isinstance(seen := getattr(handler, "seen", None), set):
            # messages that were never sent have not been seen
            twin.seen = set(seen)

            def merge() -> None:
                seen.update(twin.seen)
                twin.seen = seen

            self._kept.append(merge)
        return twin  # type: ignore[no-any-return]

    def _holding(self, send: Callable[[Any], Any]) -> Callable[[Any], None]:
        def hold(part: Any) -> None:
            if isinstance(part, tuple) and isinstance(part[-1], dict) and INTERRUPT in part[-1]:
                return
            with self._lock:
                if not self._released:
                    # which graph a custom event is from is read off the context that it is sent in
                    context = contextvars.copy_context()
                    self._kept.append(lambda: context.run(send, part))
                    return
            send(part)

        return hold
