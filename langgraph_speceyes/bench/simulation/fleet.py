"""Accelerators behind first-come-first-served queues, one a model, whose calls share forward passes."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from langgraph_speceyes.bench.simulation.kernel import Clock, Signal

Model = Literal["large", "small"]
MODELS: tuple[Model, ...] = ("large", "small")
EAGER = 4
"""Newcomers join at once while fewer rows than this are under way, else after as many steps: `_EAGER` of
:mod:`~langgraph_speceyes.models.decoder`, which the simulation does not import, since torch comes with it."""
# whose turn it is, by whose it was
_TURNS: dict[Model, tuple[Model, Model]] = {"large": ("small", "large"), "small": ("large", "small")}


@dataclass(frozen=True)
class Call:
    """One call of a model.

    Its first token comes from the pass in which it joins, which takes ``max(pass_s) + sum(prefill_s)`` over the calls
    that join together; each further one from a decoding step, which takes ``max(step_s) + sum(token_s)`` over the calls
    under way.

    Attributes:
        pass_s: Seconds of a joining pass that the calls in it share: reading the weights, launching kernels.
        prefill_s: Seconds that the call adds to its joining pass: its prompt.
        prepare_s: Seconds of a core before it is queued: decoding the image, rendering the prompt.
        tokens: Tokens it makes; a judgment makes one.
        step_s: Seconds of a decoding step that the calls under way share.
        token_s: Seconds that the call adds to each decoding step.
        setup_s: Seconds of a core that calls of a static batch share before it; a call in no such batch has them for
            itself.
        after_s: Seconds of the accelerator once it is answered: keeping its prompt for later ones.
    """

    pass_s: float
    prefill_s: float
    prepare_s: float = 0.0
    tokens: int = 1
    step_s: float = 0.0
    token_s: float = 0.0
    setup_s: float = 0.0
    after_s: float = 0.0

    @property
    def shared_s(self) -> float:
        """Seconds that it shares with calls beside it, if there are any."""
        return self.pass_s + (self.tokens - 1) * self.step_s

    @property
    def own_s(self) -> float:
        """Seconds that it adds to what the calls share."""
        return self.prefill_s + (self.tokens - 1) * self.token_s

    @property
    def alone_s(self) -> float:
        """Seconds until its answer with nobody beside it, with its preparation."""
        return self.core_s + self.shared_s + self.own_s

    @property
    def core_s(self) -> float:
        """Seconds of a core before it, if it is in no static batch."""
        return self.prepare_s + self.setup_s


def spoken(shared_s: float, prefill_s: float, tokens: int, prepare_s: float = 0.0, setup_s: float = 0.0) -> Call:
    """A call whose shared seconds are spread evenly over its tokens, at least one."""
    tokens = max(1, tokens)
    return Call(shared_s / tokens, prefill_s, prepare_s, tokens, shared_s / tokens, setup_s=setup_s)


@dataclass
class Served:
    """What a fleet has done for one model.

    Attributes:
        calls: Calls begun.
        passes: Passes in which calls joined.
        steps: Decoding steps.
        tokens: Tokens made in both.
        busy_s: Seconds an accelerator was at them.
    """

    calls: int = 0
    passes: int = 0
    steps: int = 0
    tokens: int = 0
    busy_s: float = 0.0


@dataclass
class _Waiting:
    call: Call
    arrived: float
    signal: Signal


@dataclass
class _Rows:
    """Calls of one model under way on one accelerator.

    Attributes:
        ends: After which step each call ends, as a heap.
        steps: Steps so far.
        since: Steps since somebody joined.
        step_s: Seconds of the next step.
        warm: Whether a pass or step has ended and the queue was not looked at since.
    """

    ends: list[tuple[int, int, _Waiting]] = field(default_factory=list)
    steps: int = 0
    since: int = 0
    step_s: float = 0.0
    warm: bool = False


@dataclass
class _Accelerator:
    number: int
    rows: dict[Model, _Rows]
    last: Model = "small"
    began: float = 0.0

    @property
    def load(self) -> int:
        return sum(len(rows.ends) for rows in self.rows.values())


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
    """The accelerators, with continuous batching as :class:`~langgraph_speceyes.models.decoder.CachedDecoder` does it.

    A model that is idle begins as in :class:`~langgraph_speceyes.models.batcher.MicroBatcher`: with a full batch, when
    nobody is known to be on the way, or `max_wait_s` after the first call arrived. From then on whoever waits joins
    between two steps: at once while fewer than :data:`EAGER` rows are under way, else after as many steps. Those who
    join together have a pass of their own, during which nobody else on the accelerator goes on, and then share the
    steps. A call is answered as soon as its tokens are made.

    An accelerator that serves both models does a pass or step of one and of the other in turns.

    Calls wait in one queue a model and are taken in the order they arrived (ideal dispatch): whoever may take newcomers
    takes as many as bring its rows up to the mean of the accelerators with room, waiting calls included, and leaves the
    rest to those with fewer rows.

    Args:
        clock: The clock.
        serves: The models of each accelerator.
        max_batch: Most calls of a model under way on one accelerator.
        max_wait_s: Longest wait for announced calls.
        execute: Does so many seconds of an accelerator's work and then calls; the default is the clock.
    """

    def __init__(
        self,
        clock: Clock,
        serves: Sequence[frozenset[Model]],
        *,
        max_batch: int = 16,
        max_wait_s: float = 0.05,
        execute: Callable[[float, Callable[[], None]], None] | None = None,
    ) -> None:
        self.clock, self.max_batch, self.max_wait_s = clock, max_batch, max_wait_s
        self.served: dict[Model, Served] = {model: Served() for model in MODELS}
        accelerators = [
            _Accelerator(k, {model: _Rows() for model in MODELS if model in models}) for k, models in enumerate(serves)
        ]
        self._serving = {model: [a for a in accelerators if model in a.rows] for model in MODELS}
        self._idle = {model: {a.number: a for a in able} for model, able in self._serving.items()}
        self._queues: dict[Model, deque[_Waiting]] = {model: deque() for model in MODELS}
        self._expected: dict[Model, set[int]] = {model: set() for model in MODELS}
        self._due: dict[Model, float] = dict.fromkeys(MODELS, -1.0)
        self._execute = execute or clock.after
        self._count = 0

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
            Its answer.
        """
        waiting = _Waiting(call, self.clock.now, Signal())
        self._queues[model].append(waiting)
        if key is not None:
            self._expected[model].discard(key)
        # what arrives at the same moment may begin together, as it does where a thread must first wake up
        self.clock.after(0.0, self._dispatch)
        return waiting.signal

    def _ready(self, model: Model) -> bool:
        """Whether an idle model may begin."""
        queue = self._queues[model]
        if not queue:
            return False
        if len(queue) >= self.max_batch or not self._expected[model]:
            return True
        return self.clock.now >= queue[0].arrived + self.max_wait_s - 1e-12

    def _dispatch(self) -> None:
        """Let idle accelerators begin, now or when they have waited long enough."""
        for model in MODELS:
            queue = self._queues[model]
            able = list(self._idle[model].values()) if queue else ()
            if able and not self._ready(model):
                due = queue[0].arrived + self.max_wait_s
                # one look is enough
                if self._due[model] != due:
                    self._due[model] = due
                    self.clock.after(due - self.clock.now, self._dispatch)
                continue
            for accelerator in able:
                if not queue:
                    break
                self._next(accelerator)

    def _next(self, accelerator: _Accelerator) -> None:
        """Begin an accelerator's next pass or step, if there is one."""
        for model in accelerator.rows:
            self._idle[model].pop(accelerator.number, None)
        for model in _TURNS[accelerator.last]:
            if (rows := accelerator.rows.get(model)) is None:
                continue
            joining = self._joining(accelerator, model, rows) if self._queues[model] else ()
            rows.warm = False
            if joining:
                self._pass(accelerator, model, rows, joining)
            elif rows.ends:
                self._step(accelerator, model, rows)
            else:
                continue
            return
        for model in accelerator.rows:
            self._idle[model][accelerator.number] = accelerator
        if any(self._queues[model] for model in accelerator.rows):
            self._dispatch()

    def _joining(self, accelerator: _Accelerator, model: Model, rows: _Rows) -> Sequence[_Waiting]:
        """Who joins now, out of the queue."""
        queue, under_way = self._queues[model], len(rows.ends)
        if under_way:
            # after a pass there is always a step
            if not rows.since or (under_way >= EAGER and rows.since < EAGER):
                return ()
        elif not rows.warm and not self._ready(model):
            return ()
        room = self.max_batch - under_way
        # what idle ones will each take one of is theirs
        if not room or (accelerator.load and len(queue) <= len(self._idle[model])):
            return ()
        roomy = [a.load for a in self._serving[model] if len(a.rows[model].ends) < self.max_batch]
        level = math.ceil((len(queue) + sum(roomy)) / len(roomy))
        size = min(len(queue), room, level - accelerator.load)
        return [queue.popleft() for _ in range(size)]

    def _pass(self, accelerator: _Accelerator, model: Model, rows: _Rows, joining: Sequence[_Waiting]) -> None:
        served = self.served[model]
        served.calls += len(joining)
        served.passes += 1
        served.tokens += len(joining)
        for waiting in joining:
            self._count += 1
            heapq.heappush(rows.ends, (rows.steps + waiting.call.tokens - 1, self._count, waiting))
        rows.since = 0
        calls = [waiting.call for waiting in joining]
        self._run(accelerator, model, max(c.pass_s for c in calls) + sum(c.prefill_s for c in calls))

    def _step(self, accelerator: _Accelerator, model: Model, rows: _Rows) -> None:
        served = self.served[model]
        served.steps += 1
        served.tokens += len(rows.ends)
        rows.steps += 1
        rows.since += 1
        self._run(accelerator, model, rows.step_s)

    def _run(self, accelerator: _Accelerator, model: Model, seconds: float) -> None:
        accelerator.last, accelerator.began = model, self.clock.now
        self._execute(seconds, lambda: self._ended(accelerator, model))

    def _ended(self, accelerator: _Accelerator, model: Model) -> None:
        rows = accelerator.rows[model]
        self.served[model].busy_s += self.clock.now - accelerator.began
        rows.warm = True
        answered = []
        while rows.ends and rows.ends[0][0] <= rows.steps:
            answered.append(heapq.heappop(rows.ends)[2])
        if answered or not rows.since:
            calls = [waiting.call for _, _, waiting in rows.ends]
            rows.step_s = max(c.step_s for c in calls) + sum(c.token_s for c in calls) if calls else 0.0
        if not answered:
            self._next(accelerator)
            return
        began, after = self.clock.now, sum(waiting.call.after_s for waiting in answered)

        def over() -> None:
            self.served[model].busy_s += self.clock.now - began
            self._next(accelerator)

        # without such seconds too, what the answers lead to at this very moment is seen before it goes on
        if after:
            self._execute(after, over)
        else:
            self.clock.after(0.0, over)
        for waiting in answered:
            waiting.signal.fire()


def duration(calls: Sequence[Call]) -> float:
    """Seconds of a static batch, which starts and ends as a whole: ``max(shared) + sum(own)``."""
    return max(call.shared_s for call in calls) + sum(call.own_s for call in calls)
