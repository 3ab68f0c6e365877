"""A small discrete-event kernel: a clock, processes that are generators, and what they wait for."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from math import inf

Process = Generator["float | Signal", None, None]
"""Yields seconds to wait for, or a signal."""


class Signal:
    """Something that happens once; processes may wait for it."""

    __slots__ = ("_then", "done")

    def __init__(self) -> None:
        self.done = False
        self._then: list[Callable[[], None]] = []

    def then(self, do: Callable[[], None]) -> None:
        """Call a function when it happens, at once if it has."""
        if self.done:
            do()
        else:
            self._then.append(do)

    def fire(self) -> None:
        """Let it happen."""
        self.done = True
        waiting, self._then = self._then, []
        for do in waiting:
            do()


class Clock:
    """Simulated time in seconds. What is due at the same time happens in the order it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Call a function some seconds from now."""
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, do))

    def wait(self, seconds: float) -> Signal:
        """A signal some seconds from now."""
        signal = Signal()
        self.after(seconds, signal.fire)
        return signal

    def start(self, process: Process) -> Signal:
        """Run a process from now on.

        Returns:
            Its end.
        """
        end = Signal()

        def step() -> None:
            try:
                waited = next(process)
            except StopIteration:
                end.fire()
                return
            if isinstance(waited, Signal):
                waited.then(step)
            else:
                self.after(waited, step)

        self.after(0.0, step)
        return end

    def run(self) -> None:
        """Go on until nothing is due any more."""
        while self._due:
            self.now, _, do = heapq.heappop(self._due)
            do()


class Places:
    """A number of places, taken first come, first served: threads of a pool, an event loop, an accelerator.

    Args:
        clock: The clock.
        places: How many.
    """

    def __init__(self, clock: Clock, places: float = inf) -> None:
        self.clock, self.free = clock, places
        self._queue: deque[Signal] = deque()

    def take(self) -> Signal:
        """A place, when there is one."""
        taken = Signal()
        if self.free >= 1:
            self.free -= 1
            taken.fire()
        else:
            self._queue.append(taken)
        return taken

    def give(self) -> None:
        """Give a place back."""
        if self._queue:
            self._queue.popleft().fire()
        else:
            self.free += 1


@dataclass(order=True)
class _Job:
    ends: float
    number: int
    lock: float = field(compare=False)
    signal: Signal = field(compare=False)


class Cores:
    """Processor cores that all running jobs share equally, as threads of one process do.

    With ``n`` jobs each gets ``min(1, cores / n, 1 / sum(lock))`` of a core: there are no more cores than
    `cores`, and of the parts that need the interpreter's lock only one runs at a time.

    Args:
        clock: The clock.
        cores: How many; may be a fraction, where others use the rest.
    """

    def __init__(self, clock: Clock, cores: float = inf) -> None:
        self.clock, self.cores = clock, cores
        self.used_s = 0.0
        """Core-seconds given so far."""
        self._jobs: list[_Job] = []
        self._locks = 0.0
        # seconds of core time that a job would have had that has been here from the beginning
        self._given = 0.0
        self._at = 0.0
        self._count = 0
        self._version = 0

    def work(self, seconds: float, lock: float = 0.0) -> Signal:
        """Do some work.

        Args:
            seconds: Core time it takes.
            lock: Share of it that holds the interpreter's lock, 0 to 1.

        Returns:
            Its end.
        """
        self._advance()
        self._count += 1
        job = _Job(self._given + seconds, self._count, lock, Signal())
        if seconds <= 0:
            job.signal.fire()
            return job.signal
        heapq.heappush(self._jobs, job)
        self._locks += lock
        self._plan()
        return job.signal

    def _rate(self) -> float:
        return min(1.0, self.cores / len(self._jobs), 1.0 / self._locks if self._locks > 1e-9 else inf)

    def _advance(self) -> None:
        if self._jobs:
            given = (self.clock.now - self._at) * self._rate()
            self._given += given
            self.used_s += given * len(self._jobs)
        self._at = self.clock.now

    def _plan(self) -> None:
        self._version += 1
        if not self._jobs:
            # nothing is compared with it any more
            self._given, self._locks = 0.0, 0.0
            return
        version = self._version
        left = max(0.0, self._jobs[0].ends - self._given) / self._rate()
        self.clock.after(left, lambda: self._end(version))

    def _end(self, version: int) -> None:
        if version != self._version:
            return
        self._advance()
        first = heapq.heappop(self._jobs)
        ended = [first]
        while self._jobs and self._jobs[0].ends <= first.ends + 1e-12:
            ended.append(heapq.heappop(self._jobs))
        for job in ended:
            self._locks -= job.lock
        self._plan()
        for job in ended:
            job.signal.fire()
