"""A worker's process as the host holds it: started, spoken with within limits, stopped between blocks, ended."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langgraph_speceyes.agent.sandbox.backend import OUTPUT_FOLDER
from langgraph_speceyes.agent.sandbox.launch import SPAWNER, Launch
from langgraph_speceyes.agent.sandbox.limits import CodeLimits
from langgraph_speceyes.agent.sandbox.wire import Printed, Reply, WorkerEndedError, parse_reply

FLOOD = 16
"""How many times more than is read a worker may print before it is ended."""
_CHUNK = 256 * 1024
_WATCH_S = 0.05
_GRACE_S = 1.0


class WorkerProcess:
    """A worker's process.

    Args:
        launch: How it is started.
        limits: What it may use.
        watch: Whether its files are counted.
    """

    def __init__(self, launch: Launch, limits: CodeLimits, watch: bool = True) -> None:
        self.limits, self._watch, self._launch = limits, watch, launch
        self.printed = Printed(limits.output)
        self._owner = os.getpid()
        self._buffer = bytearray()
        self._first: int | None = None
        self._pidfd: int | None = None
        self._host_pid: int | None = None
        opened: list[int] = []

        def start() -> subprocess.Popen[bytes]:
            requests, _, _, replies, _, output = opened
            return subprocess.Popen(
                [
                    part.format(requests=requests, replies=replies) if "{re" in part[:4] else part
                    for part in launch.argv
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[requests, replies, *launch.files],
                env=dict(launch.env),
                cwd="/",
                user=launch.user,
                group=launch.user,
                extra_groups=None if launch.user is None else [],
            )

        theirs = list(launch.files)
        try:
            for _ in range(3):
                opened += os.pipe()
            self._process: subprocess.Popen[bytes] = SPAWNER.run(start)
        except BaseException:
            theirs += opened if launch.info is None else [*opened, launch.info]
            raise
        else:
            request, self._requests, self._replies, reply, self._output, output = opened
            theirs += [request, reply, output]
        finally:
            for number in theirs:
                os.close(number)
        for number in (self._requests, self._replies, self._output):
            os.set_blocking(number, False)
        self._info = launch.info

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The worker's own process id, as the host counts; ``None`` until it is known."""
        return self._host_pid

    def identify(self, seconds: float) -> None:
        """Find the first process in the sandbox, with which all of them end."""
        if self._info is None:
            self._host_pid = self._process.pid
        else:
            number, self._info = self._info, None
            try:
                data = _read_all(number, seconds)
            finally:
                os.close(number)
            try:
                self._host_pid = int(json.loads(data)["child-pid"])
            except (ValueError, KeyError, TypeError):
                raise self._ended() from None
        with contextlib.suppress(OSError):
            self._first = os.pidfd_open(self._host_pid)

    def find_worker(self) -> None:
        """Find the worker itself, which is up: in a sandbox of bubblewrap it is the child of the first process."""
        assert self._host_pid is not None
        if self._launch.info is not None:
            self._host_pid = _child_of(self._host_pid)
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(self._host_pid)

    def address_space(self) -> int:
        """Bytes of addresses that the worker has in use."""
        return int(Path(f"/proc/{self._host_pid}/statm").read_text().split()[0]) * resource.getpagesize()

    def send(self, header: Mapping[str, Any], deadline: float) -> None:
        """Send a message.

        Raises:
            WorkerEndedError: The worker does not take it before the deadline, or that is over.
        """
        data = json.dumps(header).encode()
        rest = memoryview(struct.pack("!I", len(data)) + data)
        with selectors.PollSelector() as selector:
            selector.register(self._requests, selectors.EVENT_WRITE)
            while rest:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise self._late()
                try:
                    rest = rest[os.write(self._requests, rest) :]
                except BlockingIOError:
                    continue
                except OSError:
                    raise self._ended() from None

    def receive(self, deadline: float) -> Reply:
        """Wait for a message, and take in what is printed meanwhile.

        Raises:
            WorkerEndedError: The worker ended, went beyond a limit, or did not answer before the deadline.
        """
        with selectors.PollSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            selector.register(self._output, selectors.EVENT_READ)
            watched = time.monotonic() + _WATCH_S
            while (reply := self._message()) is None:
                now = time.monotonic()
                if now >= deadline:
                    raise self._late()
                ready = {key.fd for key, _ in selector.select(min(deadline - now, _WATCH_S))}
                if self._output in ready and not self._take_output():
                    selector.unregister(self._output)
                if self._replies in ready and not self._take_reply():
                    raise self._ended()
                if time.monotonic() >= watched:
                    self._check_files()
                    watched = time.monotonic() + _WATCH_S
        self._take_output()
        self._check_files()
        return reply

    def forget_output(self) -> None:
        """Begin anew with what is printed: the next block or command has its own."""
        self.printed = Printed(self.limits.output)

    def stop(self) -> None:
        """Stop the process until it goes on: what a block left behind costs nothing meanwhile."""
        self._signal(signal.SIGSTOP, self._pidfd)

    def go_on(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT, self._pidfd)

    def end(self) -> None:
        """End the process and everything in its sandbox; it is gone afterwards."""
        if self._owner == os.getpid():
            self._signal(signal.SIGKILL, self._first)
            if self._first is not None:
                # readable once it has ended, and all others with it; bubblewrap, which waits for it, ends then
                with selectors.PollSelector() as selector:
                    selector.register(self._first, selectors.EVENT_READ)
                    selector.select(_GRACE_S)
            with contextlib.suppress(OSError):
                self._process.kill()
            try:
                self._process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                # on a busy machine; nobody has to wait for it
                threading.Thread(target=self._process.wait, name="speceyes-sandbox-end", daemon=True).start()
        for number in (self._requests, self._replies, self._output, self._first, self._pidfd, self._info):
            if number is not None:
                with contextlib.suppress(OSError):
                    os.close(number)
        self._first = self._pidfd = self._info = None
        if self._launch.done is not None and self._owner == os.getpid():
            self._launch.done()
        self._requests = self._replies = self._output = -1

    def last_words(self) -> str:
        """What it printed, where it did not come up."""
        self._take_output()
        return self.printed.text().strip()

    @staticmethod
    def _signal(number: int, process: int | None) -> None:
        if process is not None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(process, number)

    def _take_output(self) -> bool:
        """Read what was printed; false at its end."""
        while True:
            try:
                data = os.read(self._output, _CHUNK)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self.printed.add(data)
            if self.printed.total > FLOOD * self.limits.output:
                raise WorkerEndedError("output", f"the code printed more than {FLOOD * self.limits.output} bytes")

    def _take_reply(self) -> bool:
        try:
            data = os.read(self._replies, _CHUNK)
        except BlockingIOError:
            return True
        self._buffer += data
        return bool(data)

    def _message(self) -> Reply | None:
        return parse_reply(self._buffer, self.limits)

    def _check_files(self) -> None:
        """See how many files there are: a tmpfs limits bytes, and empty files have none."""
        if not self._watch:
            return
        try:
            if self._launch.scratch is None:
                status = os.statvfs(f"/proc/{self._host_pid}/root{OUTPUT_FOLDER}")
                # the folder itself is one
                count, size = status.f_files - status.f_ffree - 1, 0
            else:
                count, size = _measured(self._launch.scratch, self.limits.files)
        except OSError:
            return
        if count > self.limits.files:
            raise WorkerEndedError("files", f"the code made more than {self.limits.files} files")
        if size > self.limits.scratch:
            raise WorkerEndedError("files", f"the code's files have more than {self.limits.scratch} bytes")

    def _late(self) -> WorkerEndedError:
        self._take_output()
        return WorkerEndedError("timeout", f"the code ran longer than {self.limits.seconds:g} s and was ended")

    def _ended(self) -> WorkerEndedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        self._take_output()
        code = self._process.poll()
        # bubblewrap says 128 + n for a process that signal n ended
        number = -code if code is not None and code < 0 else (code or 0) - 128
        try:
            how = f" by {signal.Signals(number).name}" if number > 0 else ""
        except ValueError:
            how = ""
        return WorkerEndedError("crash", f"the code ended the program that runs it{how}")


def _read_all(number: int, seconds: float) -> bytes:
    """Read a descriptor to its end, or as far as it gets within these seconds."""
    os.set_blocking(number, False)
    data, deadline = b"", time.monotonic() + seconds
    with selectors.PollSelector() as selector:
        selector.register(number, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            part = os.read(number, 4096)
            if not part:
                break
            data += part
            if data.rstrip().endswith(b"}"):
                break
    return data


def _child_of(pid: int) -> int:
    """The one child of a process, or the process itself where it has none."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # a kernel without this list
        found = (path for path in Path("/proc").glob("[0-9]*/stat") if path.parent.name != str(pid))
        children = [path.parent.name for path in found if _parent_of(path) == pid]
    return int(children[0]) if children else pid


def _parent_of(path: Path) -> int:
    try:
        return int(path.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _measured(folder: str, most: int) -> tuple[int, int]:
    """Files and folders in a folder, and their bytes; counted no further than beyond ``most``."""
    count = size = 0
    for at, folders, files in os.walk(folder):
        count += len(folders) + len(files)
        for name in files:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(at, name)).st_blocks * 512
        if count > most:
            break
    return count, size
