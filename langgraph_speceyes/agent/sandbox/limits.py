"""What a block of code may use."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MEBIBYTE = 1024 * 1024


class CodeLimits(BaseModel):
    """What a block of code may use. What goes beyond is an error that the model reads, never one of the run.

    Attributes:
        seconds: Seconds that a block may take by the clock. The start of a worker and the blocks that it runs again
            have as long once more.
        memory: Bytes of address space of the worker, beyond what it has once its libraries are loaded.
        scratch: Bytes that all files of a trajectory may have; they are in memory.
        files: Files and folders that a trajectory may make.
        output: Bytes of printed text that are read; a worker that prints sixteen times as much is ended.
        shown: Characters of printed text that the model is shown, half of them from its end.
        images: Images that a block may return.
        image_bytes: Bytes that the images of a block may have together.
        threads: Threads a worker may have.
        workers: Workers that are kept at once; the one that was used least recently makes room.
        idle_s: Seconds after which a worker that nobody uses is closed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=10.0, gt=0, le=3600)
    memory: int = Field(default=1024 * MEBIBYTE, ge=64 * MEBIBYTE)
    scratch: int = Field(default=64 * MEBIBYTE, ge=MEBIBYTE)
    files: int = Field(default=1000, ge=10)
    output: int = Field(default=MEBIBYTE, ge=1024)
    shown: int = Field(default=4000, ge=100)
    images: int = Field(default=10, ge=1)
    image_bytes: int = Field(default=32 * MEBIBYTE, ge=1024)
    threads: int = Field(default=64, ge=4)
    workers: int = Field(default=32, ge=1)
    idle_s: float = Field(default=600.0, gt=0)


DEFAULT_LIMITS = CodeLimits()
