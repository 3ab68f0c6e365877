"""The trajectories that are kept running, each by its name, so that its next block finds its variables."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from langgraph_speceyes.agent.sandbox.backend import Session


@dataclass
class Kept:
    """A trajectory that runs.

    Attributes:
        session: Where it runs.
        images: What tells the images that it was started with.
        blocks: The blocks that were run and left something.
        tried: All blocks that were run, failed ones too.
        used: When it was used last, by the monotonic clock.
    """

    session: Session
    images: tuple[str, ...]
    blocks: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    used: float = 0.0

    def follows(self, images: tuple[str, ...], earlier: list[str]) -> bool:
        """Whether this is the state after these blocks on these images."""
        return self.session.alive and self.images == images and earlier in (self.blocks, self.tried)


class Pool:
    """Keeps trajectories, at most so many at once; those that nobody used for long are closed.

    Args:
        most: Most trajectories at once, those in use among them.
        idle_s: Seconds after which one that nobody uses is closed.
    """

    def __init__(self, most: int, idle_s: float) -> None:
        self._most, self._idle_s = most, idle_s
        self._fresh()
        os.register_at_fork(after_in_child=_forgetter(self))

    def _fresh(self) -> None:
        self._places = threading.BoundedSemaphore(self._most)
        self._lock = threading.Lock()
        self._idle: OrderedDict[str, Kept] = OrderedDict()
        self._busy = 0
        self._timer: threading.Timer | None = None

    def __len__(self) -> int:
        """How many are kept, those in use left out."""
        return len(self._idle)

    def __del__(self) -> None:
        """Leave no worker behind where nobody has closed the tool."""
        with suppress(Exception):
            self.close()

    @contextmanager
    def taken(self, name: str, images: tuple[str, ...], earlier: list[str]) -> Iterator[Place]:
        """Have a place for a trajectory, and what is kept of it; no other caller has it meanwhile.

        Args:
            name: The trajectory's name.
            images: What tells its images.
            earlier: The blocks that it has run so far, as the caller knows.
        """
        with self._places:
            with self._lock:
                found = self._idle.pop(name, None)
                self._busy += 1
            place = Place(found)
            if found is not None and not found.follows(images, earlier):
                found.session.close()
                place.kept = None
            if place.kept is None:
                self._make_room()
            try:
                yield place
            except BaseException:
                if place.kept is not None:
                    place.kept.session.close()
                    place.kept = None
                raise
            finally:
                self._back(name, place.kept)

    def close(self, name: str | None = None) -> None:
        """Close a trajectory, or all that nobody uses."""
        with self._lock:
            if name is None:
                closed = list(self._idle.values())
                self._idle.clear()
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
            else:
                one = self._idle.pop(name, None)
                closed = [] if one is None else [one]
        for kept in closed:
            kept.session.close()

    def _make_room(self) -> None:
        with self._lock:
            closed = []
            while self._idle and len(self._idle) + self._busy > self._most:
                closed.append(self._idle.popitem(last=False)[1])
        for kept in closed:
            kept.session.close()

    def _back(self, name: str, kept: Kept | None) -> None:
        replaced = None
        with self._lock:
            self._busy -= 1
            if kept is not None and kept.session.alive:
                kept.used = time.monotonic()
                replaced = self._idle.pop(name, None)
                self._idle[name] = kept
                self._watch(self._idle_s)
        if replaced is not None:
            replaced.session.close()

    def _watch(self, seconds: float) -> None:
        """Look after so many seconds whether there are some to close; the lock is held."""
        if self._timer is None:
            sweep = weakref.WeakMethod(self._sweep)
            self._timer = threading.Timer(seconds, lambda: (method := sweep()) and method())
            self._timer.daemon = True
            self._timer.start()

    def _sweep(self) -> None:
        now, closed = time.monotonic(), []
        with self._lock:
            self._timer = None
            for name, kept in list(self._idle.items()):
                if now - kept.used >= self._idle_s:
                    closed.append(self._idle.pop(name))
            if self._idle:
                oldest = min(kept.used for kept in self._idle.values())
                self._watch(max(0.05, oldest + self._idle_s - now))
        for kept in closed:
            kept.session.close()


@dataclass
class Place:
    """A place for a trajectory that runs.

    Attributes:
        kept: What is kept of it, ``None`` if it has to be started.
    """

    kept: Kept | None


def _forgetter(pool: Pool) -> Callable[[], None]:
    """What a forked process does: it leaves the workers to the one that it was forked from."""
    found = weakref.ref(pool)

    def forget() -> None:
        if (there := found()) is not None:
            idle, there._idle = there._idle, OrderedDict()
            there._fresh()
            for kept in idle.values():
                kept.session.close()

    return forget
