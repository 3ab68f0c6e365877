"""Bubblewrap as a sandbox backend: commands and files behind the ecosystem's three methods."""

from __future__ import annotations

import base64
import contextlib
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from langgraph_speceyes.agent.sandbox import bubblewrap
from langgraph_speceyes.agent.sandbox.bubblewrap import Bubblewrap, own_user
from langgraph_speceyes.agent.sandbox.choose import INSTALL, first_that_works
from langgraph_speceyes.agent.sandbox.limits import MEBIBYTE, CodeLimits
from langgraph_speceyes.agent.sandbox.process import WorkerProcess
from langgraph_speceyes.agent.sandbox.protocol import Downloaded, Executed, Uploaded
from langgraph_speceyes.agent.sandbox.session import START_S
from langgraph_speceyes.agent.sandbox.wire import Reply, WorkerEndedError
from langgraph_speceyes.errors import SandboxUnavailableError

PROGRAM = Path(__file__).with_name("shell_worker.py").read_text(encoding="utf-8")
_TIMED_OUT = 124


class BubblewrapSandbox:
    """A sandbox backend on this machine: a shell without network, with files in memory that last until it is closed.

    It has the ecosystem's three methods; deepagents' file tools come by
    ``class Mine(BubblewrapSandbox, BaseSandbox)``.
    Its commands may start programs, which :class:`~langgraph_speceyes.agent.sandbox.code.CodeTool`'s blocks may not:
    its memory is limited for each process, the number of processes, and its files.

    Args:
        limits: What commands may use; ``seconds`` is the limit of a command for which none is given.

    Raises:
        SandboxUnavailableError: Bubblewrap does not work here.
    """

    def __init__(self, limits: CodeLimits | None = None) -> None:
        self._limits = CodeLimits(seconds=120) if limits is None else limits
        option = first_that_works(bubblewrap.candidates(self._limits))
        if not isinstance(option, Bubblewrap):
            raise SandboxUnavailableError(f"no bubblewrap works here: {INSTALL}")
        self._bubblewrap = option
        self._id = f"bubblewrap-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._process: WorkerProcess | None = None

    @property
    def id(self) -> str:
        """What tells this sandbox from others."""
        return self._id

    def execute(self, command: str, *, timeout: int | None = None) -> Executed:
        """Run a command line; what it leaves running is ended with it.

        Args:
            command: The command line, for ``/bin/sh``.
            timeout: Seconds that it may take; ``None`` for the sandbox's limit.

        Returns:
            What it printed and its exit code: 124 if it took too long, ``None`` if it ended the sandbox, which then
            starts anew without its files.
        """
        seconds = float(timeout or self._limits.seconds)
        with self._lock:
            try:
                reply = self._ask({"do": "execute", "command": command, "seconds": seconds}, seconds)
            except WorkerEndedError as error:
                said = "" if self._process is None else self._process.printed.text()
                self._end()
                late = error.failure == "timeout"
                return Executed(f"{said}\n{error.reason}".strip(), _TIMED_OUT if late else None, late)
            assert self._process is not None
            printed, code = self._process.printed, reply.header.get("code")
            return Executed(printed.text(), code if isinstance(code, int) else None, printed.total > printed.limit)

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[Uploaded]:
        """Write files, by absolute path; one response a file, in order."""
        found = []
        for path, data in files:
            asked = {"do": "upload", "path": path, "data": base64.b64encode(data).decode()}
            found.append(Uploaded(path, self._file(asked)[0]))
        return found

    def download_files(self, paths: list[str]) -> list[Downloaded]:
        """Read files, by absolute path; one response a file, in order."""
        found = []
        for path in paths:
            error, data = self._file({"do": "download", "path": path})
            found.append(Downloaded(path, None if error is not None else data, error))
        return found

    def close(self) -> None:
        """End everything in the sandbox; its files are gone."""
        with self._lock:
            self._end()

    def _file(self, asked: dict[str, Any]) -> tuple[str | None, bytes]:
        with self._lock:
            try:
                reply = self._ask(asked, START_S)
            except WorkerEndedError as error:
                self._end()
                return error.reason, b""
            error_text = reply.header.get("error")
            return None if error_text is None else str(error_text), b"".join(reply.blobs)

    def _ask(self, asked: dict[str, Any], seconds: float) -> Reply:
        if self._process is None or not self._process.alive:
            self._end()
            self._process = self._started()
        process = self._process
        process.forget_output()
        # the sandbox ends the command itself; this is for one that has ended the sandbox's own program
        deadline = time.monotonic() + seconds + 1.0
        process.send(asked, deadline)
        return process.receive(deadline)

    def _started(self) -> WorkerProcess:
        drop = self._bubblewrap.mode == "drop"
        process = WorkerProcess(self._bubblewrap.launch([], PROGRAM, shell=True), self._limits)
        try:
            deadline = time.monotonic() + START_S
            process.identify(START_S)
            limits = {
                "AS": self._limits.memory,
                "FSIZE": self._limits.scratch,
                "NPROC": self._limits.threads,
                "NOFILE": 256,
                "CORE": 0,
                "SIGPENDING": 256,
                "MSGQUEUE": 0,
                "MEMLOCK": MEBIBYTE,
            }
            process.send({"uid": own_user() if drop else None, "rlimits": limits}, deadline)
            process.receive(deadline)
        except WorkerEndedError as error:
            words = process.last_words()
            process.end()
            raise SandboxUnavailableError(words[-1000:] or error.reason) from error
        return process

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._end()
