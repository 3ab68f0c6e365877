"""What runs inside a sandbox that takes commands and files: a program of its own, given to the sandbox as text.

It is started as ``python -c TEXT REQUESTS REPLIES``; messages are those of ``worker.py``. Commands may start processes,
so that what they may use together is limited less strictly than what a block of code may.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
from typing import Any

MOST_FILE = 32 * 1024 * 1024


def receive(requests: int) -> dict[str, Any]:
    """Wait for a message; the process ends where the host has closed its end."""

    def read(count: int) -> bytes:
        parts = []
        while count:
            part = os.read(requests, min(count, 1 << 20))
            if not part:
                os._exit(0)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    (length,) = struct.unpack("!I", read(4))
    found: dict[str, Any] = json.loads(read(length))
    return found


def send(replies: int, header: dict[str, Any], blob: bytes = b"") -> None:
    """Send a message."""
    data = json.dumps({**header, "sizes": [len(blob)] if blob else []}).encode()
    view = memoryview(struct.pack("!I", len(data)) + data + blob)
    while view:
        view = view[os.write(replies, view) :]


def execute(command: str, seconds: float) -> dict[str, Any]:
    """Run a command line; what it leaves running is ended with it."""
    process = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=1, stderr=1)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = 124
    with contextlib.suppress(OSError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(OSError):
        while os.waitpid(-1, 0)[0]:
            pass
    return {"code": code}


def error_of(error: OSError) -> str:
    """The ecosystem's name of an error."""
    if isinstance(error, FileNotFoundError):
        return "file_not_found"
    if isinstance(error, IsADirectoryError):
        return "is_directory"
    return "permission_denied" if isinstance(error, PermissionError) else str(error)


def upload(path: str, text: str) -> dict[str, Any]:
    """Write a file, its folders with it."""
    if not path.startswith("/") or "\0" in path:
        return {"error": "invalid_path"}
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(base64.b64decode(text))
    except OSError as error:
        return {"error": error_of(error)}
    return {"error": None}


def download(path: str) -> tuple[dict[str, Any], bytes]:
    """Read a file that is one."""
    if not path.startswith("/") or "\0" in path:
        return {"error": "invalid_path"}, b""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number, "rb") as file:
            status = os.fstat(number)
            if stat.S_ISDIR(status.st_mode):
                return {"error": "is_directory"}, b""
            if not stat.S_ISREG(status.st_mode):
                return {"error": "permission_denied"}, b""
            if status.st_size > MOST_FILE:
                return {"error": f"a file of {status.st_size} bytes, more than {MOST_FILE}"}, b""
            return {"error": None}, file.read(MOST_FILE)
    except OSError as error:
        return {"error": error_of(error)}, b""


def main(requests: int, replies: int) -> None:
    """Set everything up, then do what comes."""
    setup = receive(requests)
    if setup["uid"] is not None:
        os.setgroups([])
        os.setresgid(*[setup["uid"]] * 3)
        os.setresuid(*[setup["uid"]] * 3)
    for name, value in setup["rlimits"].items():
        number = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(number)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (most, most))
    send(replies, {"ready": True})
    while True:
        asked = receive(requests)
        blob = b""
        if asked["do"] == "execute":
            reply = execute(asked["command"], asked["seconds"])
        elif asked["do"] == "upload":
            reply = upload(asked["path"], asked["data"])
        else:
            reply, blob = download(asked["path"])
        send(replies, {"done": True, **reply}, blob)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
