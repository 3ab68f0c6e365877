"""The designs that are compared: how a query is led through models and tools."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal, get_args

import numpy as np

from langgraph_speceyes.bench.simulation.fleet import Call, Fleet, Model, Served, duration, layout
from langgraph_speceyes.bench.simulation.kernel import Clock, Cores, Places, Process, Signal
from langgraph_speceyes.bench.simulation.query import Query, Tool
from langgraph_speceyes.errors import ArgumentError

Design = Literal["agent_serial", "agent_batched", "reference", "speceyes"]
DESIGNS: tuple[Design, ...] = get_args(Design)


@dataclass(frozen=True)
class Machine:
    """What the queries run on.

    Attributes:
        accelerators: How many.
        small: How many of them serve the small model only; 0 lets all serve both.
        max_batch: Most calls of a model under way on one accelerator.
        max_wait_s: Longest wait of an idle model for announced calls.
        front_batch: Queries that one process of the reference takes at once (its default is 6).
        cores: Processor cores for tools and preparation.
        threads: Threads they run on.
        models_on_cores: Whether the models run on those cores too, each on a thread of its own.
        lock: Shares of a forward pass, and of the threads' work, that hold the interpreter's lock. The event loop's
            always does.
    """

    accelerators: int = 1
    small: int = 0
    max_batch: int = 16
    max_wait_s: float = 0.05
    front_batch: int = 6
    cores: float = inf
    threads: float = inf
    models_on_cores: bool = False
    lock: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, least in (("accelerators", 1), ("max_batch", 1), ("front_batch", 1), ("cores", 1e-3), ("threads", 1)):
            if getattr(self, name) < least:
                raise ArgumentError(name, f"at least {least}", getattr(self, name))
        if not 0 <= self.small < self.accelerators:
            raise ArgumentError("small", f"0 to {self.accelerators - 1}, of {self.accelerators}", self.small)


@dataclass(frozen=True)
class Simulated:
    """What came of a simulation; times in simulated seconds.

    Attributes:
        design: The design.
        machine: What it ran on.
        in_flight: Queries under way at once.
        began: When each query was sent, in their order.
        ended: When each was answered.
        served: What the accelerators did for each model.
        core_s: Core time used.
    """

    design: Design
    machine: Machine
    in_flight: int
    began: tuple[float, ...]
    ended: tuple[float, ...]
    served: dict[Model, Served]
    core_s: float

    @property
    def latencies(self) -> list[float]:
        """Seconds of each query."""
        return [e - b for b, e in zip(self.began, self.ended, strict=True)]

    @property
    def makespan_s(self) -> float:
        """Seconds from the first query to the last answer."""
        return max(self.ended)

    @property
    def throughput(self) -> float:
        """Queries a second while all places were taken: without the beginning, and without the end, where they run out.

        Over the whole run where that is too short to tell, as with a batch that arrives at once.
        """
        first, last = sorted(self.ended)[min(self.in_flight, len(self.ended) - 1)], max(self.began)
        answered = sum(first < e <= last for e in self.ended)
        if answered < max(30, 2 * self.in_flight):
            return len(self.ended) / self.makespan_s
        return answered / (last - first)

    @property
    def latency_mean_s(self) -> float:
        """Mean seconds of a query."""
        return float(np.mean(self.latencies))

    def latency_s(self, percentile: float) -> float:
        """A percentile of the seconds of a query, 0 to 100."""
        return float(np.percentile(self.latencies, percentile))

    @property
    def utilisation(self) -> float:
        """Share of the accelerators' time that they were busy."""
        return sum(s.busy_s for s in self.served.values()) / (self.machine.accelerators * self.makespan_s)


def simulate(queries: Sequence[Query], design: Design, machine: Machine, in_flight: int) -> Simulated:
    """Run queries through a design, closed loop: when one is answered the next is sent.

    Args:
        queries: The queries, in the order they are sent.
        design: Which design.
        machine: What it runs on.
        in_flight: Queries under way at once; as many as there are queries for a batch that arrives at once.

    Raises:
        ArgumentError: There are no queries, none may be in flight, or the design is unknown.
    """
    if not queries:
        raise ArgumentError("queries", "at least one", "none")
    if in_flight < 1:
        raise ArgumentError("in_flight", "at least 1", in_flight)
    if design not in DESIGNS:
        raise ArgumentError("design", f"one of {', '.join(DESIGNS)}", repr(design))
    world = _World(machine)
    left = iter(range(len(queries)))
    began, ended = [0.0] * len(queries), [0.0] * len(queries)
    send = world.sender(design, queries)

    def client() -> Process:
        for k in left:
            began[k] = world.clock.now
            yield send(k)
            ended[k] = world.clock.now

    for _ in range(min(in_flight, len(queries))):
        world.clock.start(client())
    world.clock.run()
    return Simulated(design, machine, in_flight, tuple(began), tuple(ended), world.fleet.served, world.cores.used_s)


@dataclass
class _World:
    machine: Machine
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        machine, clock = self.machine, self.clock
        self.cores = Cores(clock, machine.cores)
        self.threads = Places(clock, machine.threads)
        self.loop = Places(clock, 1)
        self.places = Places(clock, machine.accelerators)
        self.fleet = Fleet(
            clock,
            layout(machine.accelerators, machine.small),
            max_batch=machine.max_batch,
            max_wait_s=machine.max_wait_s,
            execute=self._execute,
        )
        self._waiting: deque[tuple[int, Signal]] = deque()

    def sender(self, design: Design, queries: Sequence[Query]) -> Callable[[int], Signal]:
        """What takes a query's number and gives its end."""
        if design == "reference":
            return self._through_processes(queries)
        lead = {"agent_serial": self._serial, "agent_batched": self._agent, "speceyes": self._bypass}[design]
        return lambda k: self.clock.start(lead(queries[k], k))

    def _execute(self, seconds: float, then: Callable[[], None]) -> None:
        """An accelerator's work: on the clock, or on the cores that all share."""
        if self.machine.models_on_cores:
            self.cores.work(seconds, self.machine.lock[0]).then(then)
        else:
            self.clock.after(seconds, then)

    # this package: every query on a path of its own, calls of all of them side by side

    def _bypass(self, query: Query, key: int) -> Process:
        if query.judge:
            self.fleet.expect("large", key)
        self.fleet.expect("small", key)
        yield from self._step(query)
        yield from self._thread(query.intake_s)
        if query.judge:
            yield from self._ask(query, "large", query.judge, key)
        if query.passed and query.speculate:
            yield from self._ask(query, "small", query.speculate, key)
            if query.accepted:
                yield from self._step(query)
                return
        else:
            self.fleet.dismiss("small", key)
        for look in query.looks:
            yield from self._thread(look.tool_s)
            yield from self._ask(query, "small", look.call, None)
            if look.accepted:
                yield from self._step(query)
                return
        yield from self._turns(query, read=query.judge is not None)

    def _agent(self, query: Query, key: int) -> Process:
        yield from self._step(query)
        yield from self._thread(query.intake_s)
        yield from self._turns(query)

    def _turns(self, query: Query, read: bool = False) -> Process:
        for turn in query.turns:
            yield from self._ask(query, "large", turn.cached if read and turn.cached else turn.call, None)
            read = True
            if turn.tool:
                yield from self._tool(turn.tool)
                yield from self._step(query)

    def _ask(self, query: Query, model: Model, call: Call, key: int | None) -> Process:
        yield from self._thread(call.core_s)
        yield self.fleet.call(model, call, key)
        yield from self._step(query)

    def _step(self, query: Query) -> Process:
        if query.loop_s:
            yield self.loop.take()
            # the event loop is Python through and through
            yield self.cores.work(query.loop_s, 1.0)
            self.loop.give()

    def _thread(self, seconds: float) -> Process:
        if seconds:
            yield self.threads.take()
            yield self.cores.work(seconds, self.machine.lock[1])
            self.threads.give()

    def _tool(self, tool: Tool) -> Process:
        yield self.threads.take()
        beside = self.cores.work(tool.beside_s)
        yield self.cores.work(tool.core_s, self.machine.lock[1])
        yield beside
        self.threads.give()

    # one query after another, an accelerator each

    def _serial(self, query: Query, key: int) -> Process:
        yield self.places.take()
        yield from self._alone(query)
        self.places.give()

    def _alone(self, query: Query) -> Process:
        """The agent's run on an accelerator that waits while a tool runs."""
        for turn in query.turns:
            yield from self._thread(turn.call.core_s)
            yield from self._busy("large", [turn.call])
            if turn.tool:
                yield from self._tool(turn.tool)

    def _busy(self, model: Model, calls: Sequence[Call]) -> Process:
        """A static batch: it starts and ends as a whole."""
        served, began, end = self.fleet.served[model], self.clock.now, Signal()
        self._execute(duration(calls), end.fire)
        yield end
        served.calls += len(calls)
        served.passes += 1
        served.steps += max(call.tokens for call in calls) - 1
        served.tokens += sum(call.tokens for call in calls)
        served.busy_s += self.clock.now - began

    def _prepare(self, calls: Sequence[Call]) -> Process:
        """What a process does before a static batch, on one thread."""
        yield from self._thread(max(call.setup_s for call in calls) + sum(call.prepare_s for call in calls))

    # the reference: a process an accelerator, which takes a few queries, leads them through the front end together and
    # then those that are left through the agent one by one

    def _through_processes(self, queries: Sequence[Query]) -> Callable[[int], Signal]:
        idle = self.machine.accelerators

        def send(k: int) -> Signal:
            nonlocal idle
            signal = Signal()
            self._waiting.append((k, signal))
            if idle:
                idle -= 1
                self.clock.start(process())
            return signal

        def process() -> Process:
            nonlocal idle
            while self._waiting:
                most = min(len(self._waiting), self.machine.front_batch)
                taken = [self._waiting.popleft() for _ in range(most)]
                yield from self._together([queries[k] for k, _ in taken], [signal for _, signal in taken])
            idle += 1

        return send

    def _together(self, queries: Sequence[Query], signals: Sequence[Signal]) -> Process:
        judged = [q.judge for q in queries if q.judge]
        if judged:
            yield from self._prepare(judged)
            yield from self._busy("large", judged)
        asked = [q.speculate for q in queries if q.passed and q.speculate]
        if asked:
            yield from self._prepare(asked)
            yield from self._busy("small", asked)
        left = []
        for query, signal in zip(queries, signals, strict=True):
            if query.passed and query.accepted:
                signal.fire()
            else:
                left.append((query, signal))
        for depth in range(max((len(query.looks) for query in queries), default=0)):
            looks = [query.looks[depth] for query, _ in left if depth < len(query.looks)]
            if not looks:
                break
            for look in looks:
                yield from self._thread(look.tool_s)
            yield from self._prepare([look.call for look in looks])
            yield from self._busy("small", [look.call for look in looks])
            for query, signal in left:
                if depth < len(query.looks) and query.looks[depth].accepted:
                    signal.fire()
            left = [(q, s) for q, s in left if not (depth < len(q.looks) and q.looks[depth].accepted)]
        for query, signal in left:
            yield from self._alone(query)
            signal.fire()
