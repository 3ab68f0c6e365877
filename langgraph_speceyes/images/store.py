"""Content-addressed storage of encoded images, beside the checkpoints that refer to them."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Protocol, runtime_checkable

from langgraph_speceyes.errors import ArgumentError, ImageError
from langgraph_speceyes.files import write_whole

DIRECTORY_VARIABLE = "SPECEYES_IMAGE_DIR"
"""Environment variable that names the default store's directory."""

_REFERENCE = re.compile(r"sha256:([0-9a-f]{64})")


def default_directory() -> Path:
    """Return the default store's directory: ``$SPECEYES_IMAGE_DIR``, else one in the user's cache directory."""
    configured = os.environ.get(DIRECTORY_VARIABLE)
    if configured:
        return Path(configured)
    cache = os.environ.get("XDG_CACHE_HOME")
    base = Path(cache) if cache and os.path.isabs(cache) else Path.home() / ".cache"
    return base / "langgraph-speceyes" / "images"


@runtime_checkable
class ImageStoreProtocol(Protocol):
    """Where encoded images are kept, each under the SHA-256 of its bytes. Called by many threads at once."""

    def put(self, data: bytes) -> str:
        """Keep encoded bytes, and return their reference, ``sha256:<64 hex>``.

        Raises:
            ImageError: They cannot be kept.
        """

    def size(self, reference: str, argument: str = "reference") -> int:
        """Return how many bytes an image has.

        Args:
            reference: ``sha256:<64 hex>``.
            argument: Name of the argument that errors blame.

        Raises:
            ImageError: The store lacks it.
        """

    def get(self, reference: str, argument: str = "reference") -> bytes:
        """Return the encoded bytes of an image.

        Args:
            reference: ``sha256:<64 hex>``.
            argument: Name of the argument that errors blame.

        Raises:
            ImageError: The store lacks it, or its content does not have that SHA-256.
        """


def reference_of(data: bytes) -> str:
    """Return the reference of encoded bytes, ``sha256:<64 hex>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(reference: str) -> str:
    """Return the 64 hexadecimal digits of a reference.

    Raises:
        ImageError: The reference is not ``sha256:`` and 64 hexadecimal digits.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ImageError("reference", "sha256: and 64 hexadecimal digits", f"{reference!r:.100}")
    return match[1]


class ImageStore:
    """Encoded images in files named by their SHA-256. Safe for many threads and processes at once.

    Nothing is created before the first :meth:`put`. Images are never removed: checkpoints of any age may refer to
    them. Files are readable by their owner only.

    Args:
        directory: Where the images are; ``None`` for :func:`default_directory`, looked up now.
    """

    def __init__(self, directory: Path | str | None = None) -> None:
        self.directory = default_directory() if directory is None else Path(directory)

    def __repr__(self) -> str:
        """Name the directory."""
        return f"ImageStore({str(self.directory)!r})"

    def path(self, reference: str) -> Path:
        """Return where the image of a reference is or would be.

        Raises:
            ImageError: The reference is not ``sha256:`` and 64 hexadecimal digits.
        """
        digest = digest_of(reference)
        return self.directory / digest[:2] / digest

    def put(self, data: bytes) -> str:
        """Keep encoded bytes.

        Args:
            data: An encoded image.

        Returns:
            Its reference, ``sha256:<64 hex>``.

        Raises:
            ImageError: The directory cannot be written.
        """
        reference = reference_of(data)
        path = self.path(reference)
        try:
            if path.stat().st_size == len(data):
                return reference
        except OSError:
            pass
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            # durable: the checkpoint that refers to it may be before the page cache is
            write_whole(path, data, durable=True, mode=0o600)
        except OSError as error:
            raise ImageError("store", "a directory that can be written", f"{self.directory} ({error})") from error
        return reference

    def size(self, reference: str, argument: str = "reference") -> int:
        """Return how many bytes an image has, without reading it.

        Args:
            reference: ``sha256:<64 hex>``.
            argument: Name of the argument that errors blame.

        Raises:
            ImageError: The store lacks it.
        """
        try:
            return self.path(reference).stat().st_size
        except OSError as error:
            raise self._lacks(reference, argument, error) from error

    def get(self, reference: str, argument: str = "reference") -> bytes:
        """Return the encoded bytes of an image.

        Args:
            reference: ``sha256:<64 hex>``.
            argument: Name of the argument that errors blame.

        Raises:
            ImageError: The store lacks it (the message names the directory), or its content does not have
                that SHA-256.
        """
        try:
            data = self.path(reference).read_bytes()
        except OSError as error:
            raise self._lacks(reference, argument, error) from error
        if reference_of(data) != reference:
            raise ImageError(argument, f"an intact image in {self.directory}", f"damaged content of {reference}")
        return data

    def _lacks(self, reference: str, argument: str, error: OSError) -> ImageError:
        found = f"none for {reference} ({error.strerror}); {DIRECTORY_VARIABLE} sets the directory"
        return ImageError(argument, f"an image in {self.directory}", found)


class _Unset:
    """Nothing was chosen, so that the folder is used."""


_chosen: ImageStoreProtocol | _Unset | None = _Unset()


def set_default_store(store: ImageStoreProtocol | None) -> None:
    """Choose where this process keeps the images of messages, instead of in :func:`default_directory`.

    Args:
        store: Where they go; ``None`` leaves messages alone, so that inline images stay in checkpoints and states.
            References made before are then still looked up in the folder.

    Raises:
        ArgumentError: It is no such store.
    """
    global _chosen
    if store is not None and (isinstance(store, type) or not isinstance(store, ImageStoreProtocol)):
        found = f"the class {store.__name__}" if isinstance(store, type) else type(store).__name__
        raise ArgumentError("store", "an image store with put, size and get, or None", found)
    _chosen = store


def reset_default_store() -> None:
    """Go back to the folder in :func:`default_directory`."""
    global _chosen
    _chosen = _Unset()


def default_store() -> ImageStoreProtocol:
    """Return where images are looked up: the store that was chosen, else the folder, looked up at each call."""
    return ImageStore() if _chosen is None or isinstance(_chosen, _Unset) else _chosen


def keeping_store() -> ImageStoreProtocol | None:
    """Return where new images go: :func:`default_store`, or ``None`` if messages are to be left alone."""
    return None if _chosen is None else default_store()
