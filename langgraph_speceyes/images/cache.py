"""Decoded images, kept while they fit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from PIL import Image

from langgraph_speceyes.errors import ArgumentError

Value = TypeVar("Value")

DEFAULT_CACHE_BYTES = 512 * 1024 * 1024
SMALL_BYTES = 1024 * 1024
"""Up to so many bytes an image is a small one: 512 x 512 pixels."""


class ImageCache:
    """Least-recently-used cache of decoded images under a byte budget. Thread-safe.

    Large images go first: what a model sees of an image is a hundredth of it, and needs as long to be made again. Small
    ones may fill half of the budget.

    Concurrent requests for one key load it once: the others wait. A load that fails is not remembered; each
    waiting request then tries for itself.

    Args:
        max_bytes: Budget, counting 4 bytes a pixel (what Pillow uses for RGB). 0 keeps nothing.
    """

    def __init__(self, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self._lock = threading.Lock()
        self._small: OrderedDict[str, Image.Image] = OrderedDict()
        self._large: OrderedDict[str, Image.Image] = OrderedDict()
        self._loading: dict[str, tuple[threading.Lock, list[None]]] = {}
        self._used = self._in_small = 0
        self._max_bytes = 0
        self.resize(max_bytes)

    @property
    def used_bytes(self) -> int:
        """Bytes that the kept images count for."""
        return self._used

    @property
    def max_bytes(self) -> int:
        """The budget."""
        return self._max_bytes

    def resize(self, max_bytes: int) -> None:
        """Set the budget, dropping what no longer fits.

        Raises:
            ArgumentError: The budget is negative or no whole number.
        """
        if type(max_bytes) is not int or max_bytes < 0:
            raise ArgumentError("max_bytes", "a whole number of bytes, at least 0", repr(max_bytes))
        with self._lock:
            self._max_bytes = max_bytes
            self._shrink()

    def clear(self) -> None:
        """Drop every image."""
        with self._lock:
            self._small.clear()
            self._large.clear()
            self._used = self._in_small = 0

    def find(self, key: str) -> Image.Image | None:
        """The image of a key, if it is kept."""
        with self._lock:
            return self._find(key)

    def get(self, key: str, load: Callable[[], Image.Image]) -> Image.Image:
        """Return the image of a key, loading it if it is not kept.

        Args:
            key: A stable key.
            load: Makes the image; what it raises is passed on.

        Returns:
            The image, shared with every other caller.
        """
        with self._lock:
            image = self._find(key)
            if image is not None:
                return image
            loading, waiting = self._loading.setdefault(key, (threading.Lock(), []))
            waiting.append(None)
        try:
            with loading:
                with self._lock:
                    image = self._find(key)
                if image is None:
                    image = load()
                    self._keep(key, image)
                return image
        finally:
            with self._lock:
                waiting.pop()
                if not waiting:
                    self._loading.pop(key, None)

    def _find(self, key: str) -> Image.Image | None:
        for images in (self._small, self._large):
            if key in images:
                images.move_to_end(key)
                return images[key]
        return None

    def _keep(self, key: str, image: Image.Image) -> None:
        with self._lock:
            size = _bytes_of(image)
            if size > self._max_bytes or key in self._small or key in self._large:
                return
            small = size <= SMALL_BYTES
            (self._small if small else self._large)[key] = image
            self._used += size
            self._in_small += size if small else 0
            self._shrink()

    def _shrink(self) -> None:
        while self._used > self._max_bytes and (self._small or self._large):
            small = not self._large or 2 * self._in_small > self._max_bytes
            _, image = (self._small if small else self._large).popitem(last=False)
            self._used -= _bytes_of(image)
            self._in_small -= _bytes_of(image) if small else 0


class Latest(Generic[Value]):
    """The last few results of something slow. Thread-safe; what several threads ask for at once is made once.

    What fails is not remembered: those who have waited for it try for themselves.

    Args:
        most: How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._kept: OrderedDict[Hashable, Future[Value]] = OrderedDict()

    def clear(self) -> None:
        """Drop them all."""
        with self._lock:
            self._kept.clear()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return what belongs to a key, making it if it is not kept; what that raises is passed on."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                mine = self._kept[key] = Future()
                if len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            else:
                self._kept.move_to_end(key)
        if found is not None:
            try:
                return found.result()
            except Exception:  # perhaps whoever made it was called off
                return self.get(key, make)
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                if self._kept.get(key) is mine:
                    del self._kept[key]
            mine.set_exception(error)
            raise
        mine.set_result(made)
        return made


def _bytes_of(image: Image.Image) -> int:
    return image.width * image.height * 4
