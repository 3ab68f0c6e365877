"""Accelerators behind first-come-first-served queues, one a model, whose calls share forward batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from langgraph_speceyes.bench.simulation.kernel import Clock, Signal

Model = Literal["large", "small"]
MODELS: tuple[Model, ...] = ("large", "small")


@dataclass(frozen=True)
class Call:
    """One call of a model.

    A forward batch takes ``max(base_s) + sum(slope_s)`` over its calls: of calls that are alike ``base + slope * b``.
    A batch ends as a whole, so a short call waits for the longest one beside it.

    Attributes:
        base_s: Seconds that calls in one batch share: reading the weights once a token, launching kernels.
        slope_s: Seconds that each call adds: its prefill, its part of the batch's arithmetic.
        prepare_s: Seconds of a core before it is queued: decoding the image, rendering the prompt.
    """

    base_s: float
    slope_s: float
    prepare_s: float = 0.0

    @property
    def alone_s(self) -> float:
        """Seconds in a batch of its own, with its preparation."""
        return self.prepare_s + self.base_s + self.slope_s


@dataclass
class Served:
    """What a fleet has done for one model.

    Attributes:
        batches: Forward batches.
        calls: Calls in them.
        busy_s: Seconds an accelerator was at them.
    """

    batches: int = 0
    calls: int = 0
    busy_s: float = 0.0


@dataclass
class _Waiting:
    call: Call
    arrived: float
    signal: Signal


@dataclass
class _Accelerator:
    serves: frozenset[Model]
    busy: bool = False


def layout(accelerators: int, small: int = 0) -> list[frozenset[Model]]:
    """Which models each accelerator serves.

    Args:
        accelerators: How many there are.
        small: How many of them serve the small model and nothing else, the others then the large one; 0 lets all serve
            both, as the paper's one A100 does.
    """
    if not small:
        return [frozenset(MODELS)] * accelerators
    return [frozenset[Model]({"small"})] * small + [frozenset[Model]({"large"})] * (accelerators - small)


class Fleet:
    """The accelerators.

    A batch starts as in :class:`~langgraph_speceyes.models.batcher.MicroBatcher`: when it is full, when nobody is known
    to be on the way, or `max_wait_s` after the first call arrived. An accelerator that serves both models takes the
    queue whose first call is older. Idle accelerators share what waits evenly (ideal dispatch).

    Args:
        clock: The clock.
        serves: The models of each accelerator.
        max_batch: Most calls in one batch.
        max_wait_s: Longest wait for announced calls.
        execute: Runs a batch; the default is an accelerator of its own, for as long as :func:`duration` says.
    """

    def __init__(
        self,
        clock: Clock,
        serves: Sequence[frozenset[Model]],
        *,
        max_batch: int = 16,
        max_wait_s: float = 0.05,
        execute: Callable[[Sequence[Call]], Signal] | None = None,
    ) -> None:
        self.clock, self.max_batch, self.max_wait_s = clock, max_batch, max_wait_s
        self.served: dict[Model, Served] = {model: Served() for model in MODELS}
        self._accelerators = [_Accelerator(models) for models in serves]
        self._queues: dict[Model, list[_Waiting]] = {model: [] for model in MODELS}
        self._expected: dict[Model, set[int]] = {model: set() for model in MODELS}
        self._execute = execute or (lambda calls: clock.wait(duration(calls)))

    def expect(self, model: Model, key: int) -> None:
        """Announce a call."""
        self._expected[model].add(key)

    def dismiss(self, model: Model, key: int) -> None:
        """Call an announcement off."""
        if key in self._expected[model]:
            self._expected[model].discard(key)
            self._dispatch()

    def call(self, model: Model, call: Call, key: int | None = None) -> Signal:
        """Queue a call.

        Returns:
            The end of its batch.
        """
        waiting = _Waiting(call, self.clock.now, Signal())
        self._queues[model].append(waiting)
        if key is not None:
            self._expected[model].discard(key)
        # what arrives at the same moment may share a batch, as it does where a thread must first wake up
        self.clock.after(0.0, self._dispatch)
        return waiting.signal

    def _ready(self, model: Model) -> bool:
        queue = self._queues[model]
        if not queue:
            return False
        if len(queue) >= self.max_batch or not self._expected[model]:
            return True
        return self.clock.now >= queue[0].arrived + self.max_wait_s - 1e-12

    def _dispatch(self) -> None:
        while True:
            ready = [model for model in MODELS if self._ready(model)]
            ready.sort(key=lambda model: self._queues[model][0].arrived)
            for model in ready:
                idle = [a for a in self._accelerators if not a.busy and model in a.serves]
                if idle:
                    self._start(model, idle)
                    break
            else:
                break
        for model in MODELS:
            queue = self._queues[model]
            if queue and not self._ready(model):
                self.clock.after(queue[0].arrived + self.max_wait_s - self.clock.now, self._dispatch)

    def _start(self, model: Model, idle: Sequence[_Accelerator]) -> None:
        queue = self._queues[model]
        size = min(self.max_batch, math.ceil(len(queue) / len(idle)))
        batch, self._queues[model] = queue[:size], queue[size:]
        accelerator, began = idle[0], self.clock.now
        accelerator.busy = True
        served = self.served[model]
        served.batches += 1
        served.calls += size

        def end() -> None:
            accelerator.busy = False
            served.busy_s += self.clock.now - began
            for waiting in batch:
                waiting.signal.fire()
            self.clock.after(0.0, self._dispatch)

        self._execute([waiting.call for waiting in batch]).then(end)


def duration(calls: Sequence[Call]) -> float:
    """Seconds of one forward batch, ``max(base) + sum(slope)``."""
    return max(call.base_s for call in calls) + sum(call.slope_s for call in calls)
