"""Decoding in a process of its own, where nothing tells beforehand how long it takes: only a process can be stopped.

The processes are started when the first such image comes, and kept for the next ones. They are fresh interpreters, not
forks, and load Pillow alone.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from PIL import Image

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.pixels import Job, check_size

_MOST_WORKERS = 2
"""Most of these processes at once, and most that are kept."""
_PATIENCE = 20
"""How many times longer than it may take of a processor a job may take by the clock, before its process is ended."""
_BAND_BYTES = 8 * 1024 * 1024
_MOST_LINE = 64 * 1024

# without the package's own __init__, which would load all of LangGraph
_START = """
import json, sys, types
sys.path[:], package = json.loads(sys.argv[1]), sys.argv[2]
for name, folder in (("langgraph_speceyes", package), ("langgraph_speceyes.images", package + "/images")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from langgraph_speceyes.images.decoder import main
main()
"""
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a process has found out about an image.

    Attributes:
        size: (width, height), as it is to be shown.
        orientation: Its EXIF orientation; 1 where nothing turns or mirrors it.
        shrunk: Whether it was decoded smaller.
        image: The image in RGB, where its pixels were wanted.
    """

    size: tuple[int, int]
    orientation: int
    shrunk: bool
    image: Image.Image | None = None


class Worker:
    """A process that decodes one image at a time."""

    def __init__(self) -> None:
        kept = {key: value for key, value in os.environ.items() if key in ("LD_LIBRARY_PATH", "SYSTEMROOT")}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, json.dumps(sys.path), str(_PACKAGE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # memory is counted by addresses, of which every arena takes many
            env={**kept, "MALLOC_ARENA_MAX": "1"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._jobs: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self.forget()
        self._process.wait()

    def forget(self) -> None:
        """Close this process's ends of the pipes, which ends the other one unless somebody else holds them."""
        for pipe in (self._jobs, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()

    def run(self, job: Job, seconds: float, *, decode: bool) -> Decoded:
        """Decode an image, or read its header.

        Args:
            job: The image.
            seconds: Seconds of a processor that it may take.
            decode: Whether its pixels are wanted.

        Raises:
            ImageError: It cannot be decoded, or not within its limits.
        """
        asked = {"bytes": len(job.data), "limits": asdict(job.limits), "argument": job.argument, "name": job.name}
        asked |= {"smaller": job.smaller, "seconds": seconds, "decode": decode}
        stop = threading.Timer(seconds * _PATIENCE, self._process.kill)
        stop.daemon = True
        stop.start()
        try:
            self._jobs.write(json.dumps(asked).encode() + b"\n")
            self._jobs.write(job.data)
            self._jobs.flush()
            return self._read(job)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, ImageError):
                raise
            with contextlib.suppress(OSError):
                self._process.kill()
            code = self._process.wait()
            expected = f"an image that decodes within {seconds:g} s (decode_timeout_s) and its limits of memory"
            raise ImageError(job.argument, expected, f"{job.name}, whose decoder ended by {_ended(code)}") from None
        finally:
            stop.cancel()

    def _read(self, job: Job) -> Decoded:
        line = self._answers.readline(_MOST_LINE)
        if not line:
            raise EOFError
        said = json.loads(line)
        if "error" in said:
            argument, expected, what = map(str, said["error"])
            raise ImageError(argument, expected, what)
        found = Decoded(_pair(said["size"]), int(said["orientation"]), bool(said["shrunk"]))
        size, shrunk = found.size, found.shrunk
        check_size(size, job.limits, job.argument, job.name)
        if "pixels" not in said:
            return found
        pixels_size = _pair(said["pixels"])
        if pixels_size != size and not (shrunk and pixels_size[0] <= size[0] and pixels_size[1] <= size[1]):
            raise ValueError(pixels_size)
        image = Image.new("RGB", pixels_size)
        rows = max(1, _BAND_BYTES // (3 * image.width))
        for top in range(0, image.height, rows):
            height = min(rows, image.height - top)
            pixels = self._answers.read(3 * image.width * height)
            if len(pixels) < 3 * image.width * height:
                raise EOFError
            image.paste(Image.frombytes("RGB", (image.width, height), pixels), (0, top))
        return replace(found, image=image)


def _pair(value: Any) -> tuple[int, int]:
    width, height = value
    if type(width) is not int or type(height) is not int or width < 1 or height < 1:
        raise ValueError(value)
    return width, height


def _ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"


class Workers:
    """Keeps the processes that decode, and hands them out."""

    def __init__(self) -> None:
        self._fresh()

    def _fresh(self) -> None:
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST_WORKERS)
        self._idle: list[Worker] = []

    def run(self, job: Job, seconds: float, *, decode: bool) -> Decoded:
        """Run a job in one of the processes; see :meth:`Worker.run`."""
        with self._places:
            try:
                worker = self._taken() or Worker()
            except OSError as error:
                expected = f"a process to decode {job.name} in"
                raise ImageError(job.argument, expected, f"none could be started ({error})") from error
            done = False
            try:
                found = worker.run(job, seconds, decode=decode)
                done = True
                return found
            except ImageError:
                done = worker.alive
                raise
            finally:
                if done:
                    with self._lock:
                        self._idle.append(worker)
                else:
                    worker.end()

    def _taken(self) -> Worker | None:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
                worker.forget()
        return None

    def close(self) -> None:
        """End the processes that are kept; the next job starts another one."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    def forked(self) -> None:
        """Leave the processes to the one that this one was forked from."""
        for worker in self._idle:
            worker.forget()
        self._fresh()


WORKERS = Workers()
atexit.register(WORKERS.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WORKERS.forked)
