"""What runs inside the sandbox: a program of its own that runs blocks of code one after another.

It is given to the sandbox as text and imports nothing of this package; what it sends is not trusted by the host. It is
started as ``python -c TEXT REQUESTS REPLIES`` with the numbers of two descriptors. Each message, both ways, is the
length of a JSON object in four bytes, the object, and the bytes whose lengths the object names under ``sizes``.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gc
import io
import json
import linecache
import os
import re
import resource
import signal
import stat
import struct
import sys
import threading
import time
import traceback
from typing import Any, Protocol

Files = dict[str, tuple[int, int]]
TAIL = 16384
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 38, 1, 1


class Channel(Protocol):
    """Where replies go."""

    def send(self, header: dict[str, Any], *blobs: bytes) -> None:
        """Send a message."""


class Link:
    """Messages to and from the host."""

    def __init__(self, requests: int, replies: int) -> None:
        self.requests, self.replies = requests, replies

    def read(self, count: int) -> bytes:
        """Read so many bytes; the process ends where the host has closed its end."""
        parts = []
        while count:
            part = os.read(self.requests, min(count, 1 << 20))
            if not part:
                os._exit(0)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def receive(self) -> dict[str, Any]:
        """Wait for a message."""
        (length,) = struct.unpack("!I", self.read(4))
        found: dict[str, Any] = json.loads(self.read(length))
        return found

    def send(self, header: dict[str, Any], *blobs: bytes) -> None:
        """Send a message."""
        data = json.dumps(header).encode()
        for part in (struct.pack("!I", len(data)) + data, *blobs):
            view = memoryview(part)
            while view:
                view = view[os.write(self.replies, view) :]


class Recorded:
    """What a block sends, kept for a file: for sandboxes that run commands and keep no worker."""

    parts: tuple[bytes, ...] = ()

    def send(self, header: dict[str, Any], *blobs: bytes) -> None:
        """Keep a message."""
        data = json.dumps(header).encode()
        self.parts = (struct.pack("!I", len(data)) + data, *blobs)


class Printed(io.TextIOWrapper):
    """Standard output that remembers the end of what was printed, where paths may be."""

    tail = ""

    def write(self, text: str) -> int:
        """Print."""
        self.tail = (self.tail + text[-TAIL:])[-TAIL:]
        return super().write(text)


def opened(number: int) -> Printed:
    """Open a descriptor for printing."""
    raw = os.fdopen(number, "wb", buffering=0, closefd=False)
    return Printed(io.BufferedWriter(raw, 65536), encoding="utf-8", errors="backslashreplace", line_buffering=True)


def limited(limits: dict[str, int], memory: int | None) -> None:
    """Have the kernel enforce what it can; the host knows what memory the libraries take."""
    limits = limits if memory is None else {**limits, "AS": memory}
    for name, value in limits.items():
        number = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))


def become(uid: int | None) -> None:
    """Give up being root, for good; die with the parent all the same, which a change of user would forget."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def confined(readable: list[str], writable: list[str]) -> None:
    """Have Landlock keep this process to these folders, and its signals and sockets to itself."""
    import sandlock

    sandlock.confine(sandlock.Sandbox(fs_readable=readable, fs_writable=writable))


def locked(programs: list[str], number: int) -> None:
    """Put filters of system calls in force, for every thread of the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    for text in programs:
        program = base64.b64decode(text)
        buffer = ctypes.create_string_buffer(program, len(program))
        fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
        pointer = ctypes.create_string_buffer(fprog, len(fprog))
        flags = SECCOMP_FILTER_FLAG_TSYNC
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(number, SECCOMP_SET_MODE_FILTER, flags, pointer):
            raise OSError(ctypes.get_errno(), "the filter of system calls cannot be put in force")


def libraries(setup: dict[str, Any], required: bool = True) -> tuple[dict[str, Any], list[Any]]:
    """Load what a block finds at hand: its names, and what seeds random numbers."""
    import math
    import random
    import string

    sys.path[:0] = setup["site"]
    names: dict[str, Any] = {"os": os, "random": random, "string": string, "math": math, "json": json, "re": re}
    seeds: list[Any] = [random.seed]
    for name in setup["libraries"]:
        try:
            if name == "PIL":
                from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps, UnidentifiedImageError

                Image.init()
                names.update(Image=Image, UnidentifiedImageError=UnidentifiedImageError, ImageOps=ImageOps)
                names.update(ImageDraw=ImageDraw, ImageEnhance=ImageEnhance, ImageFilter=ImageFilter)
            elif name == "numpy":
                import numpy

                names.update(numpy=numpy, np=numpy)
                seeds.append(numpy.random.seed)
            elif name == "cv2":
                import cv2

                # as many as there are processors would go beyond the limit of threads on a large machine
                cv2.setNumThreads(min(4, os.cpu_count() or 1))
                names.update(cv2=cv2)
                seeds.append(cv2.setRNGSeed)
        except ImportError:
            if required:
                raise
    return names, seeds


def reading(link: Link, names: dict[str, Any], most: int) -> Any:
    """A function that has the host read the text of an image of at most so many bytes."""
    lock = threading.Lock()  # a request and its reply belong together

    def ocr(image: Any) -> str:
        pillow = names["Image"]
        if isinstance(image, (str, os.PathLike)):
            image = pillow.open(image)
        elif not isinstance(image, pillow.Image):
            image = pillow.fromarray(image)
        image, data = image.convert("RGB"), io.BytesIO()
        image.save(data, "PNG", compress_level=1)
        if data.tell() > most:
            data = io.BytesIO()
            image.save(data, "JPEG", quality=95)
        if data.tell() > most:
            raise ValueError(f"the image has {data.tell()} bytes, more than {most}: read a part of it")
        with lock:
            link.send({"call": "ocr", "sizes": [data.tell()]}, data.getvalue())
            reply = link.receive()
        if "error" in reply:
            raise ValueError(reply["error"])
        return str(reply["text"])

    return ocr


class Blocks:
    """Runs blocks of code in one namespace, and finds the images that they made."""

    def __init__(self, setup: dict[str, Any], link: Channel, names: dict[str, Any], seeds: list[Any]) -> None:
        self.setup, self.link, self.seeds = setup, link, seeds
        self.folder: str = setup["folder"]
        self.names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__, **names}
        self.names.update(image_paths=setup["inputs"], temp_output_dir=self.folder + "/")
        self.names["image_path"] = setup["inputs"][0] if setup["inputs"] else None
        if isinstance(link, Link) and setup["ocr"]:
            self.names["ocr"] = reading(link, names, setup["image_bytes"])
        self.kept = 0

    def files(self) -> Files:
        """The files in the folder for outputs and below it: when each was changed, and its size."""
        found = {}
        for at, _, names in os.walk(self.folder):
            for path in (os.path.join(at, name) for name in names):
                with contextlib.suppress(OSError):
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode):
                        found[path] = (status.st_mtime_ns, status.st_size)
        return found

    def run(self, code: str) -> None:
        """Run a block; what it names stays, unless it fails."""
        name = f"<block {self.kept + 1}>"
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        before, old = dict(self.names), self.files()
        for seed in self.seeds:
            seed(self.setup["seed"] + self.kept)
        out, err = opened(1), opened(2)
        sys.stdout, sys.stderr = out, err
        error = kind = None
        start = time.perf_counter()
        try:
            exec(compile(code, name, "exec"), self.names)
        except SystemExit as ended:
            # as an interpreter does when it ends
            if ended.code is not None and not isinstance(ended.code, int):
                with contextlib.suppress(Exception):
                    print(ended.code, file=err)
        except BaseException as raised:
            error = "".join(traceback.format_exception_only(raised)).strip()[-2000:]
            kind = "memory" if isinstance(raised, MemoryError) else "exception"
            with contextlib.suppress(Exception):
                out.flush()
                # the first frame is this program's own
                raised.__traceback__ = raised.__traceback__ and raised.__traceback__.tb_next
                err.write("".join(traceback.format_exception(raised, limit=-12)))
        seconds = time.perf_counter() - start
        for stream in (sys.stdout, sys.stderr, out, err):
            with contextlib.suppress(Exception):
                stream.flush()
        found: list[tuple[str, bytes]] = []
        if error is None:
            self.kept += 1
            found, left_out = self.images(before.get("processed_path"), out.tail, old)
            if left_out:
                most = f"at most {self.setup['images']} images, of {self.setup['image_bytes']} bytes together"
                with contextlib.suppress(Exception):
                    out.write("" if out.tail[-1:] in ("", "\n") else "\n")
                    out.write(f"not shown: {len(left_out)} of the files, {left_out[0]} first; a block shows {most}\n")
                    out.flush()
        else:
            self.names.clear()
            self.names.update(before)
        header: dict[str, Any] = {"done": True, "error": error, "kind": kind, "seconds": seconds}
        header.update({"names": [path for path, _ in found], "sizes": [len(data) for _, data in found]})
        self.link.send(header, *(data for _, data in found))

    def images(self, before: Any, printed: str, old: Files) -> tuple[list[tuple[str, bytes]], list[str]]:
        """What the block returns: what it says, or else printed, or else made; and what there is no room for."""
        now, said = self.files(), self.names.get("processed_path")
        changed = {path for path, status in now.items() if old.get(path) != status}
        named: list[str] = []
        if said is not None:
            with contextlib.suppress(Exception):
                given = [said] if isinstance(said, (str, os.PathLike)) else said
                named = [self.place(os.fspath(path)) for path in given]
            if said is before:
                named = [path for path in named if path in changed]
        new = sorted((p for p in changed if p.lower().endswith(SUFFIXES)), key=lambda path: (now[path][0], path))
        left_out: set[str] = set()
        for paths in (named, self.shown(printed, now), new):
            found = self.contents(paths)
            left_out |= set(paths) & now.keys() - {path for path, _ in found}
            if found:
                break
        return [(path[-200:], data) for path, data in found], sorted(left_out)

    def place(self, path: str) -> str:
        """A path of the code's as a path in the folder for outputs, where it leads there."""
        path = os.path.normpath(os.path.join(self.folder, path))
        at, name = os.path.split(path)
        if not path.startswith(self.folder + "/"):
            # /tmp is that folder too
            home, at = os.path.realpath(self.folder), os.path.realpath(at)
            if at == home or at.startswith(home + "/"):
                return f"{self.folder}{at[len(home) :]}/{name}"
        return path

    def shown(self, printed: str, now: Files) -> list[str]:
        """The files whose paths were printed: names may hold blanks, and anything may stand behind them."""
        printed, begin = re.sub("/{2,}", "/", printed), self.folder + "/"
        longest = sorted(now, key=len, reverse=True)
        found, at = [], printed.find(begin)
        while at >= 0:
            path = next((path for path in longest if printed.startswith(path, at)), begin)
            if path != begin:
                found.append(path)
            at = printed.find(begin, at + len(path))
        return found

    def contents(self, paths: list[str]) -> list[tuple[str, bytes]]:
        """Those of some files that may be returned, as many as there is room for."""
        found: list[tuple[str, bytes]] = []
        room = self.setup["image_bytes"]
        for path in dict.fromkeys(paths):
            data = self.content(path, room) if len(found) < self.setup["images"] else None
            if data is not None:
                found.append((path, data))
                room -= len(data)
        return found

    def content(self, path: str, room: int) -> bytes | None:
        """The bytes of a file that is one, of the question or made by the code."""
        if not path.startswith((self.folder + "/", *self.setup["readable"])):
            return None
        try:
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        try:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode) or status.st_size > room:
                return None
            with os.fdopen(number, "rb", closefd=False) as file:
                return file.read(status.st_size)
        except MemoryError:
            return None
        finally:
            os.close(number)


def once(request: str, result: str, printed: str) -> None:
    """Run the earlier blocks silently, then one whose output and reply go to files."""
    with open(request, encoding="utf-8") as file:
        setup = json.load(file)
    os.makedirs(setup["folder"], exist_ok=True)
    os.chdir(setup["folder"])
    link = Recorded()
    blocks = Blocks(setup, link, *libraries(setup, required=False))
    with open(os.devnull, "r+b") as nothing, open(printed, "wb") as output:
        for number in (0, 1, 2):
            os.dup2(nothing.fileno(), number)
        for code in setup["blocks"][:-1]:
            blocks.run(code)
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        blocks.run(setup["blocks"][-1])
    with open(result, "wb") as reply:
        reply.writelines(link.parts)
    # threads that a block left behind do not keep the command from ending
    os._exit(0)


def main(requests: str, replies: str) -> None:
    """Set everything up, then run what comes."""
    link = Link(int(requests), int(replies))
    setup = link.receive()
    os.umask(0o077)
    found = libraries(setup)
    if setup["confine"]:
        import sandlock  # noqa: F401  # what it loads counts as the libraries' memory
    link.send({"loaded": True, "sizes": []})
    memory = link.receive()["memory"]
    gc.collect()
    gc.freeze()
    os.chdir(setup["folder"])
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    if setup["confine"]:
        confined(*setup["confine"])
    become(setup["uid"])
    limited(setup["rlimits"], memory)
    locked(setup["filters"], setup["seccomp"])
    blocks = Blocks(setup, link, *found)
    link.send({"ready": True, "sizes": []})
    while True:
        blocks.run(link.receive()["code"])


if __name__ == "__main__":
    if sys.argv[1] == "once":
        once(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
