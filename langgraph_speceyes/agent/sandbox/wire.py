"""What comes out of a worker: its messages, and what it prints. None of it is trusted."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

from langgraph_speceyes.agent.sandbox.limits import CodeLimits

MOST_HEADER = 64 * 1024
"""Most bytes of the JSON object that begins a worker's message."""


class WorkerEndedError(Exception):
    """The worker was ended, or ended by itself; what it had printed until then is kept.

    Args:
        failure: As in :class:`~langgraph_speceyes.agent.sandbox.outcome.CodeOutcome`.
        reason: Why, in words for the model.
    """

    def __init__(self, failure: str, reason: str) -> None:
        super().__init__(reason)
        self.failure, self.reason = failure, reason


@dataclass
class Printed:
    """What a worker prints: the beginning and the end, within a limit of bytes.

    Attributes:
        limit: Bytes that are kept, half of them of the end.
        total: Bytes that came.
    """

    limit: int
    total: int = 0
    _head: bytearray = field(default_factory=bytearray)
    _tail: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        """Take in further bytes."""
        self.total += len(data)
        room = self.limit // 2 - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > self.limit:
            del self._tail[: -self.limit // 2]

    def text(self) -> str:
        """All of it, with a note in place of what is left out."""
        tail = bytes(self._tail[-(self.limit // 2) :])
        gone = self.total - len(self._head) - len(tail)
        note = f"\n[... {gone} bytes left out ...]\n".encode() if gone > 0 else b""
        return (bytes(self._head) + note + tail).decode("utf-8", "replace")


@dataclass(frozen=True)
class Reply:
    """A worker's message: its object, and the bytes that follow."""

    header: dict[str, Any]
    blobs: list[bytes]


def parse_reply(buffer: bytearray, limits: CodeLimits) -> Reply | None:
    """Take a message off the beginning of what a worker sent.

    Args:
        buffer: The bytes; those of the message are removed.
        limits: What the worker may send.

    Returns:
        The message, ``None`` if more of it is to come.

    Raises:
        WorkerEndedError: It is no message, or too large a one.
    """
    strange = WorkerEndedError("crash", "the code broke the program that runs it")
    if len(buffer) < 4:
        return None
    (length,) = struct.unpack("!I", buffer[:4])
    if length > MOST_HEADER:
        raise strange
    if len(buffer) < 4 + length:
        return None
    try:
        header = json.loads(bytes(buffer[4 : 4 + length]))
        sizes = header["sizes"]
        if not isinstance(sizes, list) or len(sizes) > limits.images:
            raise strange
        if any(type(size) is not int or size < 0 for size in sizes) or sum(sizes) > limits.image_bytes:
            raise strange
    except (ValueError, KeyError, TypeError, RecursionError):
        raise strange from None
    if len(buffer) < 4 + length + sum(sizes):
        return None
    blobs, place = [], 4 + length
    for size in sizes:
        blobs.append(bytes(buffer[place : place + size]))
        place += size
    del buffer[:place]
    return Reply(header, blobs)
