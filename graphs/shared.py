"""What the graphs beside this file share: building once and off the event loop, the embedded pair, the image policy.

A server calls a graph factory on its event loop, for every run and every look at a thread's state. Models are loaded
by the first call, in a thread, and kept.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Lock
from typing import TypeVar

from langgraph_speceyes.images import ImagePolicy
from langgraph_speceyes.testbed.pair import Pair, load_pair

T = TypeVar("T")

IMAGE_ROOTS = "SPECEYES_IMAGE_ROOTS"
"""Environment variable: folders, separated as in PATH, whose images callers may refer to by path."""


def once(build: Callable[[], T]) -> Callable[[], T]:
    """Build at the first call, and return the same object from then on; a build that fails is tried again."""
    lock, built = Lock(), list[T]()

    def get() -> T:
        with lock:
            if not built:
                built.append(build())
            return built[0]

    return get


def factory(build: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    """A graph factory for `langgraph.json` that builds once, in a thread."""
    get = once(build)

    async def make() -> T:
        return await asyncio.to_thread(get)

    return make


@once
def embedded_pair() -> Pair:
    """The embedded pair, the same for every graph of this process."""
    # prompts of the queries under way; a server's memory matters more than what is asked twice
    pair = load_pair(cache_bytes=16 * 1024 * 1024)
    import torch  # not above: the hosted graph runs without it

    torch.set_num_threads(1)  # models this small lose time with more
    return pair


def image_policy() -> ImagePolicy:
    """What callers may refer to: inline images, and files in the folders of SPECEYES_IMAGE_ROOTS; nothing else.

    A caller of a server is not its user: without roots it could have any image file of the server described, and what
    others have sent it.
    """
    return ImagePolicy(
        roots=tuple(Path(p) for p in os.environ.get(IMAGE_ROOTS, "").split(os.pathsep) if p),
        allow_stored=False,
        # what browsers and phones send; other decoders are older and less looked after
        formats=("PNG", "JPEG", "WEBP", "GIF"),
        max_images=32,
    )
