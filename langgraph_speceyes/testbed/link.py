"""The line that requests come through: their bytes are counted, and it may be slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from langgraph_speceyes.errors import ArgumentError

_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """One request's body.

    Attributes:
        at: When it began to arrive, by `time.monotonic`.
        size: Its bytes.
    """

    at: float
    size: int


@dataclass
class Link:
    """A line that all connections of a server share.

    Attributes:
        mbit_per_s: How much it carries to the server; None for as much as comes.
        uploads: The bodies that came through, in the order in which they began.
        connections: How many connections were made.
    """

    mbit_per_s: float | None = None
    uploads: list[Upload] = field(default_factory=list)
    connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _free: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        if self.mbit_per_s is not None and not self.mbit_per_s > 0:
            raise ArgumentError("mbit_per_s", "more than 0, or None", self.mbit_per_s)

    def connected(self) -> None:
        """Note a connection."""
        with self._lock:
            self.connections += 1

    def through(self, read: Callable[[int], bytes], size: int) -> bytes:
        """Read a body as fast as the line carries it.

        Args:
            read: Reads at most so many bytes.
            size: Bytes of the body.

        Returns:
            What came; less where the client went away.
        """
        with self._lock:
            self.uploads.append(Upload(time.monotonic(), size))
        pieces, left = list[bytes](), size
        while left > 0 and (piece := read(min(left, _PIECE))):
            self._wait(len(piece))
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _wait(self, size: int) -> None:
        """Wait until a piece has come through, behind all that came before it."""
        if self.mbit_per_s is None:
            return
        with self._lock:
            self._free = max(self._free, time.monotonic()) + size * 8 / (self.mbit_per_s * 1e6)
            until = self._free
        time.sleep(max(0.0, until - time.monotonic()))
