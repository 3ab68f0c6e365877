"""Every hostile image, read in every way, each in a process of its own: what comes of it and what it costs.

    python -m tests.hostile.campaign [a part of a file's name ...]

A line for each that is not well: neither right nor a typed error, over 2 seconds of a processor, or over 600 MB more
than the process had before. What the processes need that decode for it is counted too.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import DEFAULT_POLICY, ResizeRule, load_image, load_resized
from langgraph_speceyes.images.decode import read_size
from langgraph_speceyes.images.workers import WORKERS
from tests.hostile.files import every_file

MOST_SECONDS, MOST_MB = 2.0, 600
PATIENCE = 300
"""Seconds by the clock after which a process counts as one that never ends."""
RULE = ResizeRule(factor=28, min_pixels=28 * 28, max_pixels=1280 * 28 * 28)

WAYS: dict[str, Callable[[Path], object]] = {
    "header": lambda path: read_size(path.read_bytes(), DEFAULT_POLICY, "messages", "it"),
    "decode": lambda path: load_image(str(path)).size,
    "overview": lambda path: load_resized(str(path), RULE).size,
    "crop": lambda path: load_image(f"{path}#xywh=0,0,64,64").size,
}


@dataclass(frozen=True)
class Outcome:
    """What came of reading an image in one way."""

    kind: str
    said: str
    seconds: float
    megabytes: float

    @property
    def well(self) -> bool:
        """Whether it is a right answer or a typed error, within the limits."""
        return self.kind in ("right", "typed") and self.seconds <= MOST_SECONDS and self.megabytes <= MOST_MB


def read(path: Path, way: str) -> Outcome:
    """Read an image in a process of its own."""
    inner, outer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(inner)
        _report(path, way, outer)
    os.close(outer)
    begun = time.monotonic()
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(PATIENCE)
    with os.fdopen(inner, "rb") as pipe:
        said = pipe.read()
    signal.alarm(0)
    os.waitpid(child, 0)
    if not said:
        return Outcome("died", f"no answer after {time.monotonic() - begun:.0f} s", 0, 0)
    return Outcome(*json.loads(said))


def _report(path: Path, way: str, outer: int) -> None:
    before, begun = _megabytes(), _seconds()
    try:
        kind, said = "right", repr(WAYS[way](path))
    except ImageError as error:
        kind, said = "typed", str(error)
        if error.argument != "messages":
            kind = "blames " + error.argument
    except BaseException as error:
        kind, said = "wrong", f"{type(error).__name__}: {error}"
    mine = _megabytes() - before
    WORKERS.close()
    helped = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    # a process that was started has at first the memory of the one that started it
    beside = helped if helped > before * 1.2 else 0.0
    outcome = [kind, said[:300], round(_seconds() - begun, 3), round(mine + beside)]
    os.write(outer, json.dumps(outcome).encode())
    os._exit(0)


def _megabytes() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def main(parts: list[str]) -> int:
    """Run the campaign, and say what is not well."""
    made = {name: make for name, make in every_file().items() if not parts or any(part in name for part in parts)}
    kinds, slow, large, bad = Counter[str](), (0.0, ""), (0.0, ""), 0
    with tempfile.TemporaryDirectory() as folder:
        for name, make in made.items():
            path = Path(folder) / "image"
            path.write_bytes(make())
            for way in WAYS:
                outcome = read(path, way)
                kinds[outcome.kind] += 1
                slow, large = (
                    max(slow, (outcome.seconds, f"{name}, {way}")),
                    max(large, (outcome.megabytes, f"{name}, {way}")),
                )
                if not outcome.well or parts:
                    bad += not outcome.well
                    print(f"{name:24} {way:9} {path.stat().st_size:9} bytes {outcome}", flush=True)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    print(f"{len(made)} files, {sum(kinds.values())} readings: {counted}; {bad} not well")
    print(f"most of a processor: {slow[0]:.2f} s ({slow[1]}); most memory: {large[0]:.0f} MB ({large[1]})")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
