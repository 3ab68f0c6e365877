"""Images in a LangGraph store, for servers whose machines share no folder."""

from __future__ import annotations

import base64

from langgraph.store.base import BaseStore
from langgraph.store.base.batch import AsyncBatchedBaseStore

from langgraph_speceyes.errors import ArgumentError, ImageError
from langgraph_speceyes.images.store import digest_of, reference_of

NAMESPACE = ("speceyes", "images")
PART_BYTES = 768 * 1024
"""Bytes of an image in one item, a multiple of 3: a mebibyte of base64."""

_FORM = "an image store that can be used"


def check_namespace(namespace: object) -> None:
    """Refuse what is no namespace of a LangGraph store.

    Raises:
        ArgumentError: It is none.
    """
    given = namespace if isinstance(namespace, tuple) else ()
    if not given or given[0] == "langgraph" or not all(map(_is_label, given)):
        raise ArgumentError("namespace", "a tuple of texts without a period", repr(namespace))


def _is_label(text: object) -> bool:
    return isinstance(text, str) and bool(text) and "." not in text and "\x00" not in text


class GraphImageStore:
    """Encoded images in a LangGraph store, as base64 text under their SHA-256.

    A large image takes several items. Images are never removed and never expire: checkpoints of any age may refer to
    them.

    Args:
        store: The store. Its methods are called from threads, while the event loop may wait for them: forms that work
            on the loop themselves, such as ``AsyncPostgresStore``, are refused; ``PostgresStore`` is not.
        namespace: Where the images are.
        part_bytes: Most bytes of an image that one item holds.

    Raises:
        ArgumentError: It is no such store or namespace, or the number is not above 0.
    """

    def __init__(
        self, store: BaseStore, *, namespace: tuple[str, ...] = NAMESPACE, part_bytes: int = PART_BYTES
    ) -> None:
        if not isinstance(store, BaseStore) or isinstance(store, AsyncBatchedBaseStore):
            raise ArgumentError("store", "a LangGraph store with sync methods", type(store).__name__)
        if type(part_bytes) is not int or part_bytes < 1:
            raise ArgumentError("part_bytes", "a whole number of bytes, at least 1", repr(part_bytes))
        check_namespace(namespace)
        self._store, self._namespace, self._part_bytes = store, namespace, part_bytes

    def __repr__(self) -> str:
        """Name the store and the namespace."""
        return f"GraphImageStore({type(self._store).__name__}, {'/'.join(self._namespace)})"

    def put(self, data: bytes) -> str:
        """Keep encoded bytes, and return their reference, ``sha256:<64 hex>``.

        Raises:
            ImageError: The store cannot be written.
        """
        reference = reference_of(data)
        digest = digest_of(reference)
        try:
            known = self._store.get(self._namespace, digest)
            if known is None or known.value.get("bytes") != len(data):
                self._write(digest, data)
        except Exception as error:  # every store has errors of its own
            raise ImageError("store", _FORM, f"{self!r} ({error})") from error
        return reference

    def _write(self, digest: str, data: bytes) -> None:
        parts = [data[start : start + self._part_bytes] for start in range(0, len(data), self._part_bytes)]
        for number, part in enumerate(parts[1:], 1):
            self._keep(f"{digest}-{number}", {"data": base64.b64encode(part).decode("ascii")})
        # the first part comes last: where it is, all are
        first = base64.b64encode(parts[0] if parts else b"").decode("ascii")
        self._keep(digest, {"data": first, "bytes": len(data), "parts": len(parts)})

    def _keep(self, key: str, value: dict[str, str | int]) -> None:
        self._store.put(self._namespace, key, value, index=False, ttl=None)

    def size(self, reference: str, argument: str = "reference") -> int:
        """Return how many bytes an image has.

        Args:
            reference: ``sha256:<64 hex>``.
            argument: Name of the argument that errors blame.

        Raises:
            ImageError: The store lacks it.
        """
        return int(self._item(digest_of(reference), reference, argument)["bytes"])

    def get(self, reference: str, argument: str = "reference") -> bytes:
        """Return the encoded bytes of an image.

        Args:
            reference: ``sha256:<64 hex>``.
            argument: Name of the argument that errors blame.

        Raises:
            ImageError: The store lacks it, or its content does not have that SHA-256.
        """
        digest = digest_of(reference)
        first = self._item(digest, reference, argument)
        rest = range(1, int(first.get("parts", 1)))
        items = [first, *(self._item(f"{digest}-{number}", reference, argument) for number in rest)]
        try:
            data = b"".join(base64.b64decode(str(item["data"])) for item in items)
        except ValueError:
            data = b""
        if reference_of(data) != reference:
            raise ImageError(argument, f"an intact image in {self!r}", f"damaged content of {reference}")
        return data

    def _item(self, key: str, reference: str, argument: str) -> dict[str, str | int]:
        try:
            item = self._store.get(self._namespace, key)
        except Exception as error:  # every store has errors of its own
            raise ImageError(argument, _FORM, f"{self!r} ({error})") from error
        if item is None:
            raise ImageError(argument, f"an image in {self!r}", f"none for {reference}")
        return item.value
