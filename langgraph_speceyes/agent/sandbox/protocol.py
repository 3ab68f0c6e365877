"""What a sandbox is: the three methods that the ecosystem's sandbox backends have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class ExecuteResponse(Protocol):
    """What a command came to."""

    @property
    def output(self) -> str:
        """Standard output and standard error together."""

    @property
    def exit_code(self) -> int | None:
        """The command's exit code, ``None`` if it is not known."""

    @property
    def truncated(self) -> bool:
        """Whether output was cut off."""


class UploadResponse(Protocol):
    """What the upload of a file came to."""

    @property
    def path(self) -> str:
        """The file's path, as it was given."""

    @property
    def error(self) -> str | None:
        """What went wrong, or ``None``."""


class DownloadResponse(Protocol):
    """What the download of a file came to."""

    @property
    def path(self) -> str:
        """The file's path, as it was given."""

    @property
    def content(self) -> bytes | None:
        """Its bytes, ``None`` if they cannot be had."""

    @property
    def error(self) -> str | None:
        """What went wrong, or ``None``."""


@runtime_checkable
class Sandbox(Protocol):
    """A place where commands and files of strangers may be.

    These are the methods of deepagents' ``SandboxBackendProtocol`` that need no shell on this side, so that every such
    backend is a sandbox: those of langchain-modal, -daytona, -e2b, -runloop and -nono too.
    """

    @property
    def id(self) -> str:
        """What tells this sandbox from others."""

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run a command line in the sandbox's shell.

        Args:
            command: The command line.
            timeout: Seconds it may take; ``None`` for the sandbox's own limit.
        """

    def upload_files(self, files: list[tuple[str, bytes]]) -> Sequence[UploadResponse]:
        """Write files, each given by its absolute path and its bytes; one response a file, in order."""

    def download_files(self, paths: list[str]) -> Sequence[DownloadResponse]:
        """Read files by absolute path; one response a file, in order."""


class _Alike:
    """Equal to whatever has the same fields, as the responses of deepagents have."""

    def __eq__(self, other: object) -> bool:
        names = vars(self)
        return all(hasattr(other, name) and getattr(other, name) == value for name, value in names.items())

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))


@dataclass(frozen=True, eq=False)
class Executed(_Alike):
    """What a command came to in a sandbox of this package; an :class:`ExecuteResponse`."""

    output: str
    exit_code: int | None = None
    truncated: bool = False


@dataclass(frozen=True, eq=False)
class Uploaded(_Alike):
    """What an upload came to in a sandbox of this package; an :class:`UploadResponse`.

    The error is ``invalid_path``, ``is_directory``, ``file_not_found``, ``permission_denied`` or a text.
    """

    path: str
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Downloaded(_Alike):
    """What a download came to in a sandbox of this package; a :class:`DownloadResponse`, with errors as above."""

    path: str
    content: bytes | None = None
    error: str | None = None
