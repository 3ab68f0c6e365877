"""A function of the user's as a look: a detector, a retriever, a service."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from langgraph_speceyes.images import ImageRef, intern_reference, off_loop
from langgraph_speceyes.looks.look import Observation, Observations, Sight
from langgraph_speceyes.models.waiting import on_thread

LookFunction = Callable[[str, str], Observations | Awaitable[Observations]]
"""From the reference of an image, such as ``street.jpg`` or ``sha256:...``, and the question to observations."""


class FunctionLook:
    """A function of an image's reference and the question, called for each image of the question.

    Args:
        function: The function, plain or async. A plain one runs on a thread in the async form; an async one runs on
            an event loop of its own in the sync form.
        name: What it is called; by default the function's name.
    """

    def __init__(self, function: LookFunction, name: str | None = None) -> None:
        self.function = function
        self._name = name or getattr(function, "__name__", None) or type(function).__name__

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    def __call__(self, sight: Sight) -> Observations:
        """Call the function for each image."""
        found: list[Observation] = []
        for image in sight.images:
            made = self.function(_text(image), sight.question)
            found += _listed(_awaited(made) if inspect.isawaitable(made) else made)
        return found

    async def acall(self, sight: Sight) -> Observations:
        """Call the function for each image; see :meth:`__call__`."""
        found: list[Observation] = []
        for image in sight.images:
            text = await off_loop(_text, image)
            if inspect.iscoroutinefunction(self.function):
                made: Any = self.function(text, sight.question)
            else:
                made = await off_loop(self.function, text, sight.question)
            found += _listed(await made if inspect.isawaitable(made) else made)
        return found


def _text(image: ImageRef) -> str:
    """A reference as text that is short: inline data is moved to the image store."""
    return intern_reference(image).uri


def _listed(found: Any) -> list[Any]:
    if found is None:
        return []
    return [*found] if isinstance(found, list | tuple) else [found]


def _awaited(made: Any) -> Any:
    """What an awaitable comes to, whether or not an event loop runs on this thread."""

    async def wait() -> Any:
        return await made

    return on_thread(lambda: asyncio.run(wait())).result()
