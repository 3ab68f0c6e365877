"""A trajectory in a worker's process."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from langgraph_speceyes.agent.sandbox import seccomp
from langgraph_speceyes.agent.sandbox.backend import (
    INPUT_FOLDER,
    NO_ROOT,
    OUTPUT_FOLDER,
    SEED,
    Ask,
    Ran,
    Root,
    image_path,
)
from langgraph_speceyes.agent.sandbox.launch import Launch
from langgraph_speceyes.agent.sandbox.limits import MEBIBYTE, CodeLimits
from langgraph_speceyes.agent.sandbox.outcome import Failure
from langgraph_speceyes.agent.sandbox.process import WorkerProcess
from langgraph_speceyes.agent.sandbox.wire import Reply, WorkerEndedError
from langgraph_speceyes.errors import SandboxUnavailableError

PROGRAM = Path(__file__).with_name("worker.py").read_text(encoding="utf-8")
"""What a worker runs."""
START_S = 30.0
"""Seconds in which a worker must be up; on a machine that is not busy it takes a fifth of one."""
MOST_CODE = 256 * 1024
"""Most characters of a block."""
MOST_ASKED = 100
"""How often a block may have the host read text."""


@dataclass(frozen=True)
class Fences:
    """What holds a worker besides its walls; all of it is on, and the escape campaign takes one away at a time.

    Attributes:
        run_filter: Whether processes and programs are refused once the worker is up.
        memory: Whether its memory is limited.
        rlimits: Which limits of the kernel it gets, by name.
        stop: Whether it is stopped between blocks.
        watch: Whether its files are counted.
    """

    run_filter: bool = True
    memory: bool = True
    rlimits: tuple[str, ...] = ("FSIZE", "NOFILE", "NPROC", "CORE", "SIGPENDING", "MSGQUEUE", "MEMLOCK")
    stop: bool = True
    watch: bool = True


ALL_FENCES = Fences()


@dataclass(frozen=True)
class Place:
    """Where a worker finds what it needs.

    Attributes:
        site: Folders of its libraries.
        libraries: Which of them it loads.
        root: Where the paths are that its code knows.
        uid: User that it becomes, if it starts as root.
        confine: The folders that Landlock lets it read, and those it lets it write; ``None`` without Landlock.
        start_filter: Whether it puts the filter of system calls in force itself that bubblewrap otherwise does.
        others: Threads that its user has besides, which the kernel counts with its own.
    """

    site: Sequence[str]
    libraries: Sequence[str]
    root: Root = NO_ROOT
    uid: int | None = None
    confine: tuple[Sequence[str], Sequence[str]] | None = None
    start_filter: bool = False
    others: int = 0


def setup_of(limits: CodeLimits, place: Place, count: int, *, ocr: bool, fences: Fences) -> dict[str, Any]:
    """What a worker gets before it starts.

    Args:
        limits: What it may use.
        place: Where it finds what it needs.
        count: How many images the question has.
        ocr: Whether blocks can have text read.
        fences: What holds it.
    """
    architecture = seccomp.machine()
    values = {
        "FSIZE": limits.scratch,
        "NOFILE": 64,
        "NPROC": limits.threads + place.others,
        "CORE": 0,
        "SIGPENDING": 64,
        "MSGQUEUE": 0,
        "MEMLOCK": MEBIBYTE,
    }
    filters = [seccomp.start_filter(architecture)] if place.start_filter else []
    filters += [seccomp.run_filter(architecture)] if fences.run_filter else []
    return {
        "uid": place.uid,
        "libraries": list(place.libraries),
        "site": list(place.site),
        "folder": place.root.real(OUTPUT_FOLDER),
        "readable": [place.root.real(INPUT_FOLDER) + "/image"],
        "inputs": [place.root.real(image_path(index)) for index in range(count)],
        "images": limits.images,
        "image_bytes": limits.image_bytes,
        "rlimits": {name: value for name, value in values.items() if name in fences.rlimits},
        "confine": place.confine and [list(folders) for folders in place.confine],
        "filters": [base64.b64encode(program).decode() for program in filters],
        "seccomp": seccomp.SECCOMP_NUMBER[architecture],
        "ocr": ocr,
        "seed": SEED,
    }


class WorkerSession:
    """One trajectory in a worker's process.

    Args:
        launch: How the process is started.
        place: Where it finds what it needs.
        count: How many images the question has.
        limits: What it may use.
        ask: Reads text for the code, or ``None``.
        fences: What holds it.

    Raises:
        SandboxUnavailableError: The process does not come up.
    """

    def __init__(
        self,
        launch: Launch,
        place: Place,
        count: int,
        limits: CodeLimits,
        ask: Ask | None,
        fences: Fences = ALL_FENCES,
    ) -> None:
        self._limits, self._ask, self._fences, self._root = limits, ask, fences, place.root
        setup = setup_of(limits, place, count, ocr=ask is not None, fences=fences)
        try:
            self.process = WorkerProcess(launch, limits, watch=fences.watch)
        except OSError as error:
            raise SandboxUnavailableError(f"{launch.argv[0]} cannot be started: {error}") from error
        try:
            deadline = time.monotonic() + START_S
            self.process.identify(START_S)
            self.process.send(setup, deadline)
            self._expect("loaded", deadline)
            self.process.find_worker()
            memory = self.process.address_space() + limits.memory if fences.memory else None
            self.process.send({"memory": memory}, deadline)
            self._expect("ready", deadline)
            self._rest()
        except (WorkerEndedError, OSError) as error:
            words = self.process.last_words()
            self.process.end()
            raise SandboxUnavailableError(words[-1000:] or str(error)) from error
        except BaseException:
            self.process.end()
            raise
        self._ended = False

    @property
    def alive(self) -> bool:
        """Whether the process can run a block."""
        return not self._ended and self.process.alive

    def run(self, code: str) -> Ran:
        """Run a block; a process that goes beyond a limit is ended."""
        if len(code) > MOST_CODE:
            return Ran("", error=f"the code has {len(code)} characters, more than {MOST_CODE}", failure="exception")
        process, start = self.process, time.monotonic()
        process.forget_output()
        deadline = start + self._limits.seconds
        try:
            process.go_on()
            process.send({"code": self._root.inside(code).encode("utf-8", "replace").decode()}, deadline)
            reply = self._answered(deadline)
            self._rest()
        except WorkerEndedError as error:
            self.close()
            failure = cast(Failure, error.failure)
            return Ran(self._root.shown(process.printed.text()), (), error.reason, failure, time.monotonic() - start)
        return self._ran(reply, time.monotonic() - start)

    def close(self) -> None:
        """End the process."""
        if not self._ended:
            self._ended = True
            self.process.end()

    def _answered(self, deadline: float) -> Reply:
        """The reply to a block; what the code asks the host meanwhile is answered."""
        asked = 0
        while (reply := self.process.receive(deadline)).header.get("call") == "ocr":
            asked += 1
            answer: dict[str, Any]
            if self._ask is None or asked > MOST_ASKED or len(reply.blobs) != 1:
                answer = {"error": f"text of at most {MOST_ASKED} images can be read in a block"}
            else:
                try:
                    answer = {"text": self._ask(reply.blobs[0])}
                except ValueError as error:
                    answer = {"error": str(error)}
            self.process.send(answer, deadline)
        return reply

    def _ran(self, reply: Reply, seconds: float) -> Ran:
        header = reply.header
        names, error, kind = header.get("names"), header.get("error"), header.get("kind")
        files = []
        if isinstance(names, list):
            files = [(self._root.shown(str(name)[:400]), data) for name, data in zip(names, reply.blobs, strict=False)]
        failure: Failure | None = None
        if error is not None:
            error, failure = self._root.shown(str(error)[:2000]), "memory" if kind == "memory" else "exception"
        return Ran(self._root.shown(self.process.printed.text()), files, error, failure, seconds)

    def _rest(self) -> None:
        """Stop the process until the next block: what a block left behind costs nothing meanwhile."""
        if self._fences.stop:
            self.process.stop()

    def _expect(self, what: str, deadline: float) -> None:
        if what not in self.process.receive(deadline).header:
            raise WorkerEndedError("crash", f"the worker sent something else than {what}")
