"""How a worker's process is started."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Launch:
    """How a worker's process is started.

    Attributes:
        argv: The command; ``{requests}`` and ``{replies}`` in its last arguments are numbers of descriptors.
        files: Descriptors that it inherits; they are closed here once it has started.
        info: Descriptor from which bubblewrap's account of the process is read; ``None`` if the process is the worker.
        user: User and group that it runs as, or ``None`` for this process's own.
        env: Its environment.
        scratch: The host's folder for its outputs, ``None`` where that is in a file system of its own.
        done: What is called once the process has ended.
    """

    argv: Sequence[str]
    files: Sequence[int] = ()
    info: int | None = None
    user: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    scratch: str | None = None
    done: Callable[[], None] | None = None


class Spawner:
    """Starts processes from one thread that stays: they die with the thread that started them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the thread, which a forked process has not."""
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, job: Callable[[], Any]) -> Any:
        """Do something in that thread, and return what came of it."""
        future: Future[Any] = Future()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="speceyes-sandbox", daemon=True)
                self._thread.start()
        self._jobs.put((job, future))
        return future.result()

    def _serve(self) -> None:
        while True:
            job, future = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as error:  # the caller's, who waits for it
                future.set_exception(error)


SPAWNER = Spawner()
os.register_at_fork(after_in_child=SPAWNER.reset)
