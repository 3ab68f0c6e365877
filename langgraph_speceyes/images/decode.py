"""Encoded bytes to RGB pixels: here where it is plain what that costs, else in a process that can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.pixels import SMALLER, Job, Limits, Opened, decode_bands, open_image
from langgraph_speceyes.images.policy import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.images.structure import may_be_turned, orientation, plain
from langgraph_speceyes.images.workers import WORKERS

__all__ = ["SMALLER", "WHOLE", "decode", "is_turned", "limits_of", "read_size"]

WHOLE = "whole size"
"""Key of a smaller image's `info` for (width, height) of the whole one."""
_HEADER = 0.25
"""Share of the time for decoding that reading the header may take, which is done beforehand."""
ROOM_BYTES = 1024 * 1024 * 1024
"""What the decodings under way in this process may take together; one alone may always go on."""


def limits_of(policy: ImagePolicy) -> Limits:
    """What of a policy counts for decoding."""
    return Limits(policy.max_pixels, policy.max_decoded_bytes, policy.min_side, policy.formats)


def decode(data: bytes, policy: ImagePolicy, argument: str, name: str, smaller: bool = False) -> Image.Image:
    """Decode an image completely.

    Args:
        data: Encoded bytes. Of an animation the first frame counts.
        policy: Limits, checked against the header before any pixel is decoded.
        argument: Name of the argument that errors blame.
        name: What the error calls the image.
        smaller: Whether it may be decoded at a quarter of its width and height, where it is a JPEG: as averages over
            blocks of its pixels; truncated and damaged data is found all the same.

    Returns:
        An RGB image: EXIF orientation applied, transparency composited on white, 16-bit grey scaled to 8. Where it is
        smaller, its `info` has the whole one's size under :data:`WHOLE`.

    Raises:
        ImageError: The bytes are no image of the policy's formats, are truncated or damaged, over a limit, or not
            decoded in time.
    """
    known, limits = plain(data), limits_of(policy)
    if known is None:
        job = Job(data, limits, argument, name, smaller=smaller)
        with _ROOM.held(policy.max_decoded_bytes):
            found = WORKERS.run(job, policy.decode_timeout_s, decode=True)
        assert found.image is not None
        size, image, smaller = found.size, found.image, found.shrunk
    else:
        job = Job(known.data, limits, argument, name, known.orientation, smaller, known.scans)
        opened = open_image(job)
        size, smaller = opened.size, opened.shrunk
        with _ROOM.held(opened.cost):
            image = _joined(decode_bands(opened, job), opened)
    # A leftover orientation would be applied a second time by whoever saves and reopens the image.
    image.info.clear()
    if smaller:
        image.info[WHOLE] = size
    return image


def read_size(data: bytes, policy: ImagePolicy, argument: str, name: str) -> tuple[int, int]:
    """Read (width, height) from the header, EXIF orientation applied.

    Raises:
        ImageError: As :func:`decode`, as far as the header tells; what decoding takes is not asked.
    """
    known, limits = plain(data), limits_of(policy)
    if known is None:
        return WORKERS.run(Job(data, limits, argument, name), _HEADER * policy.decode_timeout_s, decode=False).size
    return open_image(Job(known.data, limits, argument, name, known.orientation, scans=1), decode=False).size


def is_turned(data: bytes) -> bool:
    """Whether a tag says that the image is to be shown turned or mirrored; false for what is no image.

    No pixel is decoded.
    """
    known = orientation(data)
    if known is None and may_be_turned(data):
        # the limits are checked where the image is decoded
        job = Job(data, limits_of(DEFAULT_POLICY), "image", "data")
        try:
            known = WORKERS.run(job, _HEADER * DEFAULT_POLICY.decode_timeout_s, decode=False).orientation
        except ImageError:
            return False
    return known not in (None, 1)


def _joined(bands: Iterator[Image.Image], opened: Opened) -> Image.Image:
    first = next(bands)
    second = next(bands, None)
    if second is None:
        return first
    whole = Image.new("RGB", opened.decoded)
    whole.paste(first, (0, 0))
    top = first.height
    while second is not None:
        whole.paste(second, (0, top))
        top += second.height
        second = next(bands, None)
    return whole


class _Room:
    """Memory that is shared by all that decode at once."""

    def __init__(self, most: int) -> None:
        self._most, self._taken, self._changed = most, 0, threading.Condition()

    @contextmanager
    def held(self, cost: int) -> Iterator[None]:
        """Wait until there is room, and take it for the time of the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + cost <= self._most)
            self._taken += cost
        try:
            yield
        finally:
            with self._changed:
                self._taken -= cost
                self._changed.notify_all()


_ROOM = _Room(ROOM_BYTES)
