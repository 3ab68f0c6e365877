"""Limits on what may be opened as an image."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ImagePolicy(BaseModel):
    """What may be opened, and how large it may be.

    Attributes:
        max_bytes: Most encoded bytes an image may have (default 64 MiB).
        max_pixels: Most pixels (width x height) of the encoded image, and of an enlarged region. The default is
            the number at which Pillow raises ``DecompressionBombError``.
        min_side: Fewest pixels either side may have.
        allow_remote: Whether http(s) URLs are fetched. The fetch follows redirects and does not look at what
            address a host name resolves to: leave it off where untrusted callers choose the URL.
        roots: Directories that local paths must resolve into, after symbolic links and ``..`` are followed.
            ``None`` allows every local path; an empty tuple allows none.
        remote_timeout_s: Seconds a remote fetch may take, both per network operation and in total.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=64 * 1024 * 1024, gt=0)
    max_pixels: int = Field(default=178_956_970, gt=0)
    min_side: int = Field(default=1, ge=1)
    allow_remote: bool = False
    roots: tuple[Path, ...] | None = None
    remote_timeout_s: float = Field(default=20.0, gt=0)


DEFAULT_POLICY = ImagePolicy()
"""The limits used where none are given: any local path, nothing remote."""
