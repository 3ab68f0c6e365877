"""Limits on what may be opened as an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from langgraph_speceyes.images.address import both_hosts, check_host

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""Formats that are opened. Others of Pillow's run external programs, or decode before their size is known."""

MEBIBYTE = 1024 * 1024


def _known(formats: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise ValueError(f"expected formats of {', '.join(FORMATS)}, found {', '.join(unknown)}")
    return tuple(name for name in FORMATS if name in formats)


def _hosts(hosts: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if hosts is None else tuple(check_host(host) for host in hosts)


class ImagePolicy(BaseModel):
    """What may be opened, and what opening it may cost.

    A policy given to a graph is in force for all that is loaded within its runs: by judge, speculator and agent, their
    tools and models, for every message of every turn. Where these have policies of their own, both count.

    Attributes:
        max_bytes: Most encoded bytes an image may have (default 64 MiB).
        max_pixels: Most pixels (width x height) of the encoded image, and of an enlarged region. The default is
            the number at which Pillow raises ``DecompressionBombError``.
        max_decoded_bytes: Most memory that decoding an image may take, by what its format and its kind of pixels need
            (default 512 MiB: 134 million pixels of a photo, 67 million with transparency).
        min_side: Fewest pixels either side may have.
        max_images: Most images of a message, and of a question.
        formats: Formats that are opened, as Pillow names them (default :data:`FORMATS`).
        decode_timeout_s: Seconds of a processor that decoding may take in formats and sizes of which nothing tells
            beforehand how long they take. They are decoded in a process of their own, which is ended then.
        allow_remote: Whether http(s) URLs are fetched. Redirects are followed, five at most, to what the policy allows.
        remote_hosts: Hosts that are fetched from: `images.example.com`, or `.example.com` with all below it. ``None``
            allows every host.
        allow_private_addresses: Whether a host may be at an address that is not public: loopback, link-local, private.
        allow_stored: Whether ``sha256:`` references are looked up in the image store. Off, only those are read whose
            image is in the same conversation: a caller may not refer to what others have sent.
        roots: Directories that local paths must resolve into, after symbolic links and ``..`` are followed.
            ``None`` allows every local path; an empty tuple allows none.
        remote_timeout_s: Seconds a remote fetch may take, from looking its host up to the last byte.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=64 * MEBIBYTE, gt=0)
    max_pixels: int = Field(default=178_956_970, gt=0)
    max_decoded_bytes: int = Field(default=512 * MEBIBYTE, gt=0)
    min_side: int = Field(default=1, ge=1)
    max_images: int = Field(default=256, ge=1)
    formats: Annotated[tuple[str, ...], AfterValidator(_known)] = FORMATS
    decode_timeout_s: float = Field(default=1.5, gt=0)
    allow_remote: bool = False
    remote_hosts: Annotated[tuple[str, ...] | None, AfterValidator(_hosts)] = None
    allow_private_addresses: bool = False
    allow_stored: bool = True
    roots: tuple[Path, ...] | None = None
    remote_timeout_s: float = Field(default=20.0, gt=0)

    @property
    def decoding(self) -> str:
        """What tells images decoded under this policy from others in a cache; empty with the default limits."""
        usual, found = (
            (one.formats, one.max_decoded_bytes, one.allow_private_addresses) for one in (DEFAULT_POLICY, self)
        )
        return "" if found == usual else f" {found}"

    def restricted_by(self, other: ImagePolicy) -> ImagePolicy:
        """What both policies allow."""
        if other == self:
            return self
        return ImagePolicy(
            max_bytes=min(self.max_bytes, other.max_bytes),
            max_pixels=min(self.max_pixels, other.max_pixels),
            max_decoded_bytes=min(self.max_decoded_bytes, other.max_decoded_bytes),
            min_side=max(self.min_side, other.min_side),
            max_images=min(self.max_images, other.max_images),
            formats=tuple(name for name in self.formats if name in other.formats),
            decode_timeout_s=min(self.decode_timeout_s, other.decode_timeout_s),
            allow_remote=self.allow_remote and other.allow_remote,
            remote_hosts=both_hosts(self.remote_hosts, other.remote_hosts),
            allow_private_addresses=self.allow_private_addresses and other.allow_private_addresses,
            allow_stored=self.allow_stored and other.allow_stored,
            roots=_both(self.roots, other.roots),
            remote_timeout_s=min(self.remote_timeout_s, other.remote_timeout_s),
        )


DEFAULT_POLICY = ImagePolicy()
"""The limits used where none are given: any local path, nothing remote. It puts nobody else's policy under limits."""

_IN_FORCE: ContextVar[ImagePolicy | None] = ContextVar("speceyes_image_policy", default=None)


@contextmanager
def in_force(policy: ImagePolicy) -> Iterator[None]:
    """Have all that is loaded within the block, in its threads and tasks too, be within a policy.

    Args:
        policy: The policy; of several blocks within each other all count. :data:`DEFAULT_POLICY` itself changes
            nothing: who sets no policy does not restrict models and agents that have one.
    """
    if policy is DEFAULT_POLICY:
        yield
        return
    around = _IN_FORCE.get()
    token = _IN_FORCE.set(policy if around is None else around.restricted_by(policy))
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def effective(policy: ImagePolicy) -> ImagePolicy:
    """A loader's own policy together with the one that is in force around it."""
    around = _IN_FORCE.get()
    return policy if around is None else policy.restricted_by(around)


def _both(first: tuple[Path, ...] | None, second: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
    """Folders that are within both lists of folders."""
    if first is None or second is None:
        return second if first is None else first
    # as they are now: what a symbolic link leads to is looked at again when a path is resolved
    resolved = [(a, b, a.resolve(), b.resolve()) for a in first for b in second]
    inner = (a if low.is_relative_to(high) else b if high.is_relative_to(low) else None for a, b, low, high in resolved)
    return tuple(dict.fromkeys(path for path in inner if path is not None))
