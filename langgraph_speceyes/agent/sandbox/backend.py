"""What runs blocks of code: where files are, and what a running trajectory is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from langgraph_speceyes.agent.sandbox.outcome import Failure

INPUT_FOLDER = "/mnt/data"
"""Where the question's images are, read-only."""
OUTPUT_FOLDER = "/mnt/data/temp_processed_images"
"""Where code may write."""
SEED = 20260
"""What random numbers begin from, plus the number of blocks before: a block that is run again makes the same names."""

Ask = Callable[[bytes], str]
"""Reads the text of an encoded image, for code that asks for it; raises ``ValueError`` with words for the model."""


def image_path(index: int = 0) -> str:
    """Where code finds an image of the question, whatever its format: libraries tell formats by content.

    Args:
        index: Which image, from 0.
    """
    return f"{INPUT_FOLDER}/image.png" if index == 0 else f"{INPUT_FOLDER}/image_{index}.png"


@dataclass(frozen=True)
class Root:
    """The folder in which a sandbox without a file system of its own keeps what code knows under :data:`INPUT_FOLDER`.

    Attributes:
        folder: The folder, absolute; empty where the sandbox's paths are those that code knows.
    """

    folder: str = ""

    def real(self, path: str) -> str:
        """Where a path is that code knows."""
        return self.folder + path

    def inside(self, code: str) -> str:
        """Code with the paths that are there."""
        return code.replace(INPUT_FOLDER, self.folder + INPUT_FOLDER) if self.folder else code

    def shown(self, text: str) -> str:
        """Text with the paths that code knows."""
        return text.replace(self.folder, "") if self.folder else text


NO_ROOT = Root()
"""Paths are those that code knows."""


@dataclass(frozen=True)
class Ran:
    """What a block came to, as it comes out of a sandbox: nothing of it is trusted.

    Attributes:
        output: What was printed, decoded, cut to its limit, the traceback at its end.
        files: The images that it returned, each with its path in the sandbox, which names it and is never opened.
        error: What went wrong in a line, or ``None``.
        failure: The kind of error, or ``None``.
        seconds: How long it ran.
    """

    output: str
    files: Sequence[tuple[str, bytes]] = field(default=())
    error: str | None = None
    failure: Failure | None = None
    seconds: float = 0.0


class Session(Protocol):
    """One trajectory's variables and files, as they are after the blocks so far."""

    @property
    def alive(self) -> bool:
        """Whether it can run a block."""

    def run(self, code: str) -> Ran:
        """Run a block. Whatever the code does is part of what it came to; nothing is raised."""

    def close(self) -> None:
        """Give everything back."""


@runtime_checkable
class Backend(Protocol):
    """Starts trajectories."""

    @property
    def name(self) -> str:
        """What holds the code, for logs and for whoever asks."""

    @property
    def libraries(self) -> Sequence[str]:
        """Which of numpy, PIL and cv2 a block finds."""

    @property
    def asks(self) -> bool:
        """Whether code can have the host read text."""

    def start(self, images: Sequence[bytes], ask: Ask | None) -> Session:
        """Start a trajectory.

        Args:
            images: The question's images, encoded.
            ask: Reads text, for ``ocr`` in a block; ``None`` for none.

        Raises:
            SandboxUnavailableError: It cannot be started; the message says why.
        """
