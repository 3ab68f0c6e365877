"""What this machine gives to work that runs at once: its interpreter's lock, and what others leave of its cores."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_LOCK_TRIALS, _LOCK_S = 8, 0.25


def lock_share(works: Sequence[Callable[[], object]]) -> float:
    """Share of some work that holds the interpreter's lock: what two threads lack in speed.

    Args:
        works: Two works, each done again and again on a thread of its own.

    Returns:
        1 over the cores that both together get, 0.5 (they do not disturb each other) to 1 (one at a time). The least of
        several trials, since others on the machine can only make it seem more.
    """
    most = 0.0
    for _ in range(_LOCK_TRIALS):
        ready, used = threading.Barrier(len(works)), [0.0] * len(works)

        def repeat(k: int, ready: threading.Barrier, used: list[float]) -> None:
            ready.wait()
            began, core = time.perf_counter(), time.thread_time()
            while time.perf_counter() - began < _LOCK_S:
                works[k]()
            used[k] = (time.thread_time() - core) / (time.perf_counter() - began)

        threads = [threading.Thread(target=repeat, args=(k, ready, used)) for k in range(len(works))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        most = max(most, sum(used))
    return min(1.0, max(0.5, 1 / most))


def busy_s() -> float | None:
    """Core seconds that the machine has been busy; None where the system does not tell."""
    try:
        spent = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]]
    except (OSError, ValueError):
        return None
    # user, nice, system, and what interrupts and other virtual machines took; not idle, not waiting for disks
    return (sum(spent[:3]) + sum(spent[5:8])) / float(os.sysconf("SC_CLK_TCK"))
