"""The encoded bytes a reference stands for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.policy import ImagePolicy
from langgraph_speceyes.images.reference import ImageRef, describe
from langgraph_speceyes.images.remote import check_url, fetch
from langgraph_speceyes.images.store import ImageStoreProtocol, default_store

MAX_PATH = 4096
"""Most characters of a path; no system takes more."""


def check_source(ref: ImageRef, policy: ImagePolicy, store: ImageStoreProtocol | None, argument: str) -> None:
    """Check, without reading it, that a source exists and that the policy allows it.

    Cheap enough to run before every cache hit, so that a strict policy is never served what a lax one loaded.

    Raises:
        ImageError: As :func:`read_source`, as far as it can be known without reading.
    """
    if ref.kind == "inline":
        # Too little to be base64 is for the decoder to say.
        _check_size(max(ref.inline_size, 1), policy, argument, "inline data")
    elif ref.kind == "store":
        if not policy.allow_stored:
            raise ImageError(argument, "an image of this conversation (allow_stored is off)", ref.source)
        _check_size(
            (default_store() if store is None else store).size(ref.source, argument), policy, argument, ref.source
        )
    elif ref.kind == "remote":
        if not policy.allow_remote:
            raise ImageError(argument, "no remote image (allow_remote is off)", describe(ref.source))
        check_url(ref.source, policy, argument)
    else:
        _resolve(ref, policy, argument)


def read_source(
    ref: ImageRef, policy: ImagePolicy, store: ImageStoreProtocol | None, argument: str, most: int | None = None
) -> bytes:
    """Read the encoded bytes of the whole image.

    Args:
        ref: The reference; its region is ignored.
        policy: Limits.
        store: Where ``sha256:`` images are; ``None`` for the default store.
        argument: Name of the argument that errors blame.
        most: How many bytes of a file are read at most; None for all.

    Returns:
        1 to ``policy.max_bytes`` bytes.

    Raises:
        ImageError: The source does not exist, is not a regular file, is empty, over the byte limit, outside the
            roots, remote while that is off, or not base64.
    """
    check_source(ref, policy, store, argument)
    if ref.kind == "inline":
        data = ref.inline_bytes(argument)
    elif ref.kind == "store":
        data = (default_store() if store is None else store).get(ref.source, argument)
    elif ref.kind == "remote":
        data = fetch(ref.source, policy, argument)
    else:
        path = _resolve(ref, policy, argument)
        try:
            with open(path, "rb", opener=_open_only) as file:
                # One byte more than allowed: the file may have grown since it was checked.
                data = file.read(policy.max_bytes + 1 if most is None else most)
        except OSError as error:
            found = f"{describe(ref.local_path(argument))} ({error.strerror})"
            raise ImageError(argument, "a file that can be read", found) from error
    name = "inline data" if ref.kind == "inline" else describe(ref.source)
    _check_size(len(data), policy, argument, name)
    return data


def _resolve(ref: ImageRef, policy: ImagePolicy, argument: str) -> Path:
    given = ref.local_path(argument)
    shown = describe(given)
    if len(given) > MAX_PATH:
        raise ImageError(argument, f"a path of at most {MAX_PATH} characters", shown)
    # Roots first: whether a path outside them exists, and what it is, is not for the caller to learn.
    inside = "a path inside the policy's roots"
    if policy.roots == ():
        raise ImageError(argument, inside, shown)
    try:
        path = Path(given).resolve()
        if policy.roots is not None and not any(path.is_relative_to(root.resolve()) for root in policy.roots):
            raise ImageError(argument, inside, shown)
        status = path.stat()
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        if policy.roots is not None and not isinstance(error, FileNotFoundError):
            raise ImageError(argument, inside, shown) from None
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise ImageError(argument, "an image file", f"{shown} ({reason})") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise ImageError(argument, "an image file", f"{shown}, which is {kind}")
    _check_size(status.st_size, policy, argument, shown)
    if not os.access(path, os.R_OK):
        raise ImageError(argument, "a file that can be read", shown)
    return path


def _open_only(path: str, flags: int) -> int:
    """Open what has been looked at: neither a link nor a pipe that has been put in its place since."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _check_size(size: int, policy: ImagePolicy, argument: str, name: str) -> None:
    if size == 0:
        raise ImageError(argument, "image data", f"0 bytes in {name}")
    if size > policy.max_bytes:
        raise ImageError(argument, f"at most {policy.max_bytes} bytes (max_bytes)", f"{size} bytes in {name}")
