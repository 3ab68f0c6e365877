"""The loop of a process that decodes images for another one, which may end it at any time.

It reads jobs from its standard input and writes to its standard output: for each a line of JSON, and behind the line of
an image its RGB pixels. Of what it says nothing but numbers and words is used, so that a decoder that a hostile image
has taken over can do no more than lie about that image.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import IO, Any

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.pixels import Job, Limits, decode_bands, open_image

_BESIDE = 64 * 1024 * 1024
"""Bytes that the process may take beside what decoding may."""


def serve(jobs: IO[bytes], answers: IO[bytes]) -> None:
    """Decode until nothing comes any more."""
    while line := jobs.readline():
        asked = json.loads(line)
        data = jobs.read(asked["bytes"])
        with _limited(asked["seconds"], asked["limits"]["max_decoded_bytes"] + 2 * len(data) + _BESIDE):
            _answer(asked, data, answers)
        answers.flush()


def _answer(asked: dict[str, Any], data: bytes, answers: IO[bytes]) -> None:
    limits = Limits(**{**asked["limits"], "formats": tuple(asked["limits"]["formats"])})
    job = Job(data, limits, asked["argument"], asked["name"], smaller=asked["smaller"])
    answering = False
    try:
        opened = open_image(job, decode=asked["decode"])
        said: dict[str, Any] = {"size": opened.size, "orientation": opened.turned, "shrunk": opened.shrunk}
        if not asked["decode"]:
            _say(answers, said)
            return
        for band in decode_bands(opened, job):
            if not answering:
                # the size of the pixels, which one that is decoded smaller has fewer of
                _say(answers, {**said, "pixels": opened.decoded})
                answering = True
            answers.write(band.tobytes("raw", "RGB"))
    except ImageError as error:
        if answering:
            raise
        _say(answers, {"error": [error.argument, error.expected, str(error.found)]})
    except MemoryError:
        if answering:
            raise
        _say(answers, {"error": [job.argument, "an image that decodes within its limits", f"{job.name} (memory)"]})


def _say(answers: IO[bytes], said: dict[str, Any]) -> None:
    answers.write(json.dumps(said).encode() + b"\n")


@contextlib.contextmanager
def _limited(seconds: float, memory: int) -> Any:
    """Have the system end this process after some seconds of a processor, and refuse it memory beyond a limit."""
    # the default of the signal ends a process also where it is inside a decoder
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    _limit_memory(memory)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_memory(more: int) -> None:
    import resource

    with contextlib.suppress(OSError, ValueError):  # not every system tells or takes it
        with open("/proc/self/statm", "rb") as file:
            taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (taken + more, hard))


def main() -> None:
    """Serve this process's standard streams; what decoders print goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    serve(sys.stdin.buffer, answers)
