"""What the sandbox costs: the start of a worker, a block beyond its own time, many trajectories at once.

    python -m tests.agent.sandbox.measure

Times of the start are beside those of an interpreter that loads the same libraries without a sandbox, turn by turn: on
a machine that does other things only their ratio says something. Processor seconds are the children's.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from langgraph_speceyes.agent.sandbox import CodeLimits, CodeTool, bubblewrap
from langgraph_speceyes.agent.sandbox.choose import first_that_works

STARTS, BLOCKS, TRAJECTORIES = 15, 200, 32
BARE = """
import sys; sys.path[:0] = {path!r}
import numpy, cv2, random, json, math, string
from PIL import Image; Image.init()
"""


def cpu() -> float:
    """Processor seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def spread(values: list[float]) -> str:
    """Median, lowest and highest, in milliseconds."""
    return f"{1000 * statistics.median(values):.1f} ms [{1000 * min(values):.1f}, {1000 * max(values):.1f}]"


def pss(pid: int) -> int:
    """Bytes of memory of a process, what it shares counted by its share."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:")))


def main() -> None:
    """Measure."""
    backend = first_that_works(bubblewrap.candidates(CodeLimits(seconds=60)))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {backend.name}, {' '.join(backend.libraries)}")
    starts, bare, start_cpu, bare_cpu = [], [], [], []
    command = [sys.executable, "-I", "-S", "-c", BARE.format(path=sys.path)]
    for _ in range(STARTS):
        before, begin = cpu(), time.perf_counter()
        session = backend.start([], None)
        starts.append(time.perf_counter() - begin)
        session.close()
        start_cpu.append(cpu() - before)
        before, begin = cpu(), time.perf_counter()
        subprocess.run(command, check=True, env={"OPENBLAS_NUM_THREADS": "1"})
        bare.append(time.perf_counter() - begin)
        bare_cpu.append(cpu() - before)
    print(f"start of a worker: {spread(starts)}, {1000 * statistics.median(start_cpu):.0f} ms of a processor")
    print(f"the same libraries without: {spread(bare)}, {1000 * statistics.median(bare_cpu):.0f} ms of a processor")
    session = backend.start([], None)
    over = []
    for _ in range(BLOCKS):
        begin = time.perf_counter()
        ran = session.run(
            "begin = __import__('time').perf_counter()\nwhile __import__('time').perf_counter() < begin + .002: pass"
        )
        over.append(time.perf_counter() - begin - 0.002)
        assert ran.error is None
    session.close()
    print(f"a block beyond its own time: {spread(over)}")
    tool = CodeTool(backend, limits=CodeLimits(seconds=60, workers=TRAJECTORIES))
    block = "image = np.zeros((1000, 1500, 3), 'uint8')\nprint(cv2.resize(image, (600, 400)).shape)"
    for number in range(TRAJECTORIES):
        assert tool.run(block, trajectory=str(number)).error is None
    pids = [kept.session.process.pid for kept in tool._pool._idle.values()]  # type: ignore[attr-defined]
    total = sum(pss(int(pid)) for pid in pids)
    print(f"{len(pids)} trajectories at once: {total / 1e9:.2f} GB (sum of Pss), {total / len(pids) / 1e6:.0f} MB each")
    tool.close()


if __name__ == "__main__":
    main()
