"""Blocks of code in a sandbox of others, through the three methods that all of them have.

Such a sandbox keeps no worker: each block is a command that runs the trajectory's earlier blocks once more, silently.
Each trajectory has a folder of its own there, and code's paths are made to lead into it.
"""

from __future__ import annotations

import json
import shlex
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from langgraph_speceyes.agent.sandbox.backend import INPUT_FOLDER, OUTPUT_FOLDER, SEED, Ask, Ran, Root, image_path
from langgraph_speceyes.agent.sandbox.limits import CodeLimits
from langgraph_speceyes.agent.sandbox.outcome import Failure
from langgraph_speceyes.agent.sandbox.protocol import ExecuteResponse, Sandbox
from langgraph_speceyes.agent.sandbox.session import PROGRAM
from langgraph_speceyes.agent.sandbox.wire import Printed, WorkerEndedError, parse_reply
from langgraph_speceyes.errors import ArgumentError, SandboxUnavailableError, describe_error

LIBRARIES = ("numpy", "PIL", "cv2")
TRIP_S = 20.0
"""Seconds that a command may take beyond its code: the way there, and the start of an interpreter."""
_TIMED_OUT = 124
_PROBE = "import importlib.util as u; print('speceyes', *(n for n in {names!r} if u.find_spec(n)))"


class ForeignBackend:
    """Runs trajectories in a sandbox of others.

    What holds the code there is that sandbox's own affair, its limits of memory, files and processes too; time, output
    and images are limited here. Trajectories have folders of their own, but share the sandbox.

    Args:
        sandbox: The sandbox.
        limits: What a block may use.

    Raises:
        ArgumentError: The sandbox is the host's own shell.
    """

    def __init__(self, sandbox: Sandbox, limits: CodeLimits) -> None:
        if any(kind.__name__ == "LocalShellBackend" for kind in type(sandbox).__mro__):
            raise ArgumentError("sandbox", "a sandbox", "the host's own shell, which holds nothing")
        self._sandbox, self._limits = sandbox, limits

    @property
    def name(self) -> str:
        """The sandbox's kind and id."""
        return f"{type(self._sandbox).__name__} {self._sandbox.id}"

    @property
    def asks(self) -> bool:
        """Code cannot ask back."""
        return False

    @cached_property
    def libraries(self) -> Sequence[str]:
        """Which libraries there are, asked of its interpreter once."""
        command = f"python3 -c {shlex.quote(_PROBE.format(names=LIBRARIES))}"
        words = self._execute(command, TRIP_S).output.split()
        if "speceyes" not in words:
            raise SandboxUnavailableError(f"{self.name} has no python3 that runs: {' '.join(words)[:300]}")
        return [name for name in LIBRARIES if name in words]

    def start(self, images: Sequence[bytes], ask: Ask | None) -> ForeignSession:
        """Start a trajectory; see :class:`~langgraph_speceyes.agent.sandbox.backend.Backend`."""
        place = self._place()
        files = [(place.upload + image_path(index), data) for index, data in enumerate(images)]
        files.append((f"{place.upload}/program.py", PROGRAM.encode()))
        session = ForeignSession(self._sandbox, place, self._limits, len(images), self.libraries)
        try:
            session.upload(files)
        except BaseException:
            session.close()
            raise
        return session

    def _place(self) -> Place:
        """A folder of a new trajectory, where both files and commands find it."""
        name = f"speceyes-{uuid.uuid4().hex[:16]}"
        here = self._execute("pwd", TRIP_S).output.strip().splitlines()
        working = here[-1].rstrip("/") if here and here[-1].startswith("/") else ""
        options = [Place(f"/tmp/{name}", f"/tmp/{name}")]
        if working:
            options += [Place(f"{working}/{name}", f"{working}/{name}"), Place(f"/{name}", f"{working}/{name}")]
        said = []
        for place in options:
            try:
                response = self._sandbox.upload_files([(f"{place.upload}/here", b"speceyes")])[0]
                found = self._execute(f"cat {shlex.quote(place.folder + '/here')}", TRIP_S).output
            except Exception as error:  # of any kind: the sandbox is another package's
                said.append(describe_error(error))
                continue
            if response.error is None and "speceyes" in found.split():
                return place
            said.append(response.error or f"no file at {place.folder}")
        raise SandboxUnavailableError(f"{self.name} takes no files that its commands find: {'; '.join(said)[:500]}")

    def _execute(self, command: str, seconds: float) -> ExecuteResponse:
        try:
            return executed(self._sandbox, command, seconds)
        except Exception as error:
            raise SandboxUnavailableError(f"{self.name} runs no commands: {describe_error(error)}") from error


@dataclass(frozen=True)
class Place:
    """A folder, as files are sent there, and as commands see it."""

    upload: str
    folder: str


class ForeignSession:
    """A trajectory in a sandbox of others.

    Args:
        sandbox: The sandbox.
        place: The trajectory's folder.
        limits: What a block may use.
        count: How many images the question has.
        libraries: Which libraries blocks find.
    """

    def __init__(
        self, sandbox: Sandbox, place: Place, limits: CodeLimits, count: int, libraries: Sequence[str]
    ) -> None:
        self._sandbox, self._place, self._limits = sandbox, place, limits
        self._root = Root(place.folder)
        self._blocks: list[str] = []
        self._closed = False
        self._setup = {
            "libraries": list(libraries),
            "site": [],
            "folder": self._root.real(OUTPUT_FOLDER),
            "readable": [self._root.real(INPUT_FOLDER) + "/image"],
            "inputs": [self._root.real(image_path(index)) for index in range(count)],
            "images": limits.images,
            "image_bytes": limits.image_bytes,
            "ocr": False,
            "seed": SEED,
        }

    @property
    def alive(self) -> bool:
        """Whether it was not closed."""
        return not self._closed

    def upload(self, files: list[tuple[str, bytes]]) -> None:
        """Send files.

        Raises:
            SandboxUnavailableError: One is not taken.
        """
        try:
            errors = [response.error for response in self._sandbox.upload_files(files) if response.error]
        except Exception as error:
            raise SandboxUnavailableError(f"{self._sandbox.id} takes no files: {describe_error(error)}") from error
        if errors:
            raise SandboxUnavailableError(f"{self._sandbox.id} takes no files: {errors[0]}")

    def run(self, code: str) -> Ran:
        """Run a block, after those before it."""
        start = time.monotonic()
        blocks = [self._root.inside(block) for block in (*self._blocks, code)]
        folder, up = self._place.folder, self._place.upload
        seconds = self._limits.seconds * (1 + bool(self._blocks)) + TRIP_S
        names = [f"{name}-{len(self._blocks)}-{uuid.uuid4().hex[:8]}" for name in ("request", "result", "printed")]
        # files of blocks that failed or were left out are no part of what a block finds
        parts = [f"rm -rf {shlex.quote(self._root.real(OUTPUT_FOLDER))}", "export PYTHONHASHSEED=0"]
        paths = " ".join(shlex.quote(f"{folder}/{name}") for name in ("program.py", *names)).split(" ", 1)
        parts.append(f"python3 -s {paths[0]} once {paths[1]}")
        try:
            self.upload([(f"{up}/{names[0]}", json.dumps({**self._setup, "blocks": blocks}).encode())])
            done = executed(self._sandbox, "; ".join(parts), seconds)
            result, printed = self._sandbox.download_files([f"{up}/{name}" for name in names[1:]])
        except TimeoutError:
            return self._late(start)
        except Exception as error:  # of any kind: the sandbox is another package's
            return Ran("", (), describe_error(error), "unavailable", time.monotonic() - start)
        output = Printed(self._limits.output)
        output.add(printed.content or b"")
        text = self._root.shown(output.text())
        if result.content is None:
            if done.exit_code == _TIMED_OUT:
                return self._late(start, text)
            said = self._root.shown(done.output[-500:].strip())
            reason = f"the code ended the program that runs it ({said or done.exit_code})"
            return Ran(text, (), reason, "crash", time.monotonic() - start)
        try:
            ran = self._ran(result.content, text)
        except WorkerEndedError as error:
            return Ran(text, (), error.reason, cast(Failure, error.failure), time.monotonic() - start)
        if ran.error is None:
            self._blocks.append(code)
        return ran

    def close(self) -> None:
        """Remove the trajectory's folder, as far as the sandbox lets."""
        if not self._closed:
            self._closed = True
            try:
                executed(self._sandbox, f"rm -rf {shlex.quote(self._place.folder)}", TRIP_S)
            except Exception:  # it may be gone already
                return

    def _late(self, start: float, text: str = "") -> Ran:
        reason = f"the code ran longer than {self._limits.seconds:g} s and was ended"
        return Ran(text, (), reason, "timeout", time.monotonic() - start)

    def _ran(self, data: bytes, text: str) -> Ran:
        reply = parse_reply(bytearray(data), self._limits)
        if reply is None:
            raise WorkerEndedError("crash", "the code broke the program that runs it")
        header: dict[str, Any] = reply.header
        names, error, seconds = header.get("names"), header.get("error"), header.get("seconds")
        files = [(self._root.shown(str(name)), blob) for name, blob in zip(names or [], reply.blobs, strict=False)]
        failure: Failure | None = None
        if error is not None:
            error = self._root.shown(str(error)[:2000])
            failure = "memory" if header.get("kind") == "memory" else "exception"
        return Ran(text, files, error, failure, float(seconds) if isinstance(seconds, (int, float)) else 0.0)


def executed(sandbox: Sandbox, command: str, seconds: float) -> ExecuteResponse:
    """Run a command, and wait no longer than it may take, whatever the sandbox does.

    Args:
        sandbox: The sandbox.
        command: The command.
        seconds: Seconds that it may take.

    Raises:
        TimeoutError: The sandbox has not answered by then.
    """
    future: Future[ExecuteResponse] = Future()

    def run() -> None:
        try:
            try:
                future.set_result(sandbox.execute(command, timeout=max(1, round(seconds))))
            except TypeError as error:
                # backends from before the argument was there
                if "timeout" not in str(error):
                    raise
                future.set_result(sandbox.execute(command))
        except BaseException as error:  # the caller's, who waits for it
            future.set_exception(error)

    threading.Thread(target=run, name="speceyes-sandbox-command", daemon=True).start()
    return future.result(seconds + 1.0)
