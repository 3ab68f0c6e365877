"""What is known of runs that a middleware sees in pieces: costs, the question's images, an answer to be given."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage
from langchain_core.tracers.context import register_configure_hook
from langgraph.runtime import get_runtime

from langgraph_speceyes.behind.meter import MOST_PAUSED, Cost, Meter
from langgraph_speceyes.state import Decision

_METER: ContextVar[Meter | None] = ContextVar("speceyes_meter", default=None)
# whatever model or tool is called beneath an agent's step is counted, with whichever config it is called
register_configure_hook(_METER, inheritable=True)


@dataclass
class Run:
    """One run of an agent.

    Attributes:
        images: References of the question's images.
        meter: What its steps have cost.
        proposed: An answer of the front end that the agent's first model call may give.
        bypassed: The decision, once that answer was given.
    """

    images: list[str] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)
    proposed: tuple[AIMessage, Decision] | None = None
    bypassed: Decision | None = None
    _steps: int = 0
    _idle: float = 0.0
    _since: float = field(default_factory=time.time)
    _invocation: object = None

    @property
    def cost(self) -> Cost:
        """What its steps have cost."""
        return self.meter.cost()

    def waited(self, passed: float) -> float:
        """How much of some time was a wait for a person, and not the agent's work, in seconds.

        Args:
            passed: Time since the agent began.
        """
        return min(self._idle, max(0.0, passed))

    def enter(self) -> None:
        """Begin a step; steps may overlap. A run that goes on in another call of the graph waited for a person."""
        if self._steps == 0:
            invocation = _invocation()
            if self._invocation is not None and invocation is not self._invocation:
                self._idle += time.time() - self._since
            self._invocation = invocation
            self.meter.begin()
        self._steps += 1

    def leave(self) -> None:
        """End a step."""
        self._steps -= 1
        if self._steps == 0:
            self.meter.end()
            self._since = time.time()


class Runs:
    """The runs under way in this process; one that went on from elsewhere is known from there on.

    Args:
        most: Runs remembered at once.
    """

    def __init__(self, most: int = MOST_PAUSED) -> None:
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._most, self._lock = most, threading.Lock()

    def begin(self, key: str, images: Sequence[str]) -> None:
        """Note a run that begins."""
        with self._lock:
            self._runs[key] = Run(images=list(images))
            while len(self._runs) > self._most:
                self._runs.popitem(last=False)

    def end(self, key: str) -> Run:
        """Forget a run, and return what was known of it."""
        with self._lock:
            return self._runs.pop(key, None) or Run()

    def images(self, key: str) -> list[str]:
        """References of the images of a run's question."""
        return self._of(key).images

    def propose(self, key: str, answer: AIMessage, decision: Decision) -> None:
        """Keep an answer until it is known in which form the agent answers."""
        self._of(key).proposed = (answer, decision)

    def proposed(self, key: str) -> tuple[AIMessage, Decision] | None:
        """Take the answer that was kept; one that was given earlier is not the run's any more."""
        run = self._of(key)
        found, run.proposed, run.bypassed = run.proposed, None, None
        return found

    def accept(self, key: str, decision: Decision) -> None:
        """Note that the answer kept is the run's answer."""
        self._of(key).bypassed = decision

    @contextmanager
    def working(self, key: str) -> Iterator[None]:
        """Count a step of a run, and all that runs beneath it."""
        run = self._of(key)
        with self._lock:
            run.enter()
        token = _METER.set(run.meter)
        try:
            yield
        finally:
            _METER.reset(token)
            with self._lock:
                run.leave()

    def _of(self, key: str) -> Run:
        with self._lock:
            return self._runs.setdefault(key, Run())


def _invocation() -> object:
    """What all steps of one call of the graph have in common, and no other call has; None outside of any."""
    try:
        return get_runtime().control
    except (RuntimeError, KeyError, AttributeError):
        return None
