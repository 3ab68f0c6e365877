"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from langgraph_speceyes.errors import ArgumentError


def write_whole(path: str | os.PathLike[str], data: bytes | str, *, durable: bool = False, mode: int = 0o666) -> None:
    """Write a file beside its place and rename it into it.

    Whoever reads the place finds what was there before or all that is new, also after a kill. A link in the file's
    place is followed, as it would be by writing.

    Args:
        path: The file; one that is there is replaced, and keeps its permissions.
        data: What it is to hold; text as UTF-8, with a question mark for a lone surrogate.
        durable: Whether the data is on the disk when this returns.
        mode: Permissions of a new file, before the process's umask.

    Raises:
        OSError: The file cannot be written. Nothing is left beside it.
    """
    if isinstance(data, str):
        data = data.encode(errors="replace")
    place = Path(os.path.realpath(path))
    if place.exists() and not place.is_file():
        # a pipe or device is nothing to put a file in the place of
        place.write_bytes(data)
        return
    part = place.parent / f".{place.name[:100]}.{secrets.token_hex(8)}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(OSError):
                os.chmod(part, place.stat().st_mode & 0o7777)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(part, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    if durable and os.name == "posix":
        # the name, too
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def make_folder(folder: Path, argument: str) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        ArgumentError: It cannot be made; the argument that names it is blamed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(argument, "a folder, or a place for one", f"{folder}: {error.strerror}") from error


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Add a line to a file of lines, in one piece; a last line that a kill has broken off is taken out before.

    Raises:
        OSError: The file cannot be written.
    """
    with open(path, "a+b", buffering=0) as file:
        if end := file.seek(0, os.SEEK_END):
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode() + b"\n")


def is_whole_jpeg(path: str | os.PathLike[str]) -> bool:
    """Whether a JPEG file of this package's is there, with its end: earlier versions wrote them in place."""
    try:
        with open(path, "rb") as file:
            file.seek(-2, os.SEEK_END)
            return file.read(2) == b"\xff\xd9"
    except OSError:
        return False
