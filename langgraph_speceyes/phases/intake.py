"""What comes before the phases: the input is checked in full before any model runs."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

from langgraph_speceyes.errors import InputError
from langgraph_speceyes.images import ImagePolicy, find_images, load_image, question_text
from langgraph_speceyes.phases.calling import ModelCall
from langgraph_speceyes.phases.prompts import last_human
from langgraph_speceyes.state import Query, SpecEyesState


class Intake:
    """Check messages, question and images; clear the records of an earlier turn; announce the calls to come.

    Images are decoded here, within `policy`: a damaged one fails before any model runs, and later readers find it in
    the cache.

    Args:
        calls: The front end's model calls with the prefix of their batch keys.
        policy: Which images may be loaded.
    """

    def __init__(self, calls: Sequence[tuple[str, ModelCall]], policy: ImagePolicy) -> None:
        self.calls, self.policy = calls, policy

    def __call__(self, state: SpecEyesState) -> dict[str, Any]:
        """Check one query.

        Raises:
            InputError: No messages, no human message, no question or no image in the newest one.
            ImageError: An image cannot be loaded.
        """
        query = self._announce()
        try:
            self._check(state)
        except BaseException:
            self._retract(query)
            raise
        return self._update(query)

    async def acall(self, state: SpecEyesState) -> dict[str, Any]:
        """Check one query; images are decoded off the event loop. See :meth:`__call__`."""
        query = self._announce()
        try:
            await asyncio.to_thread(self._check, state)
        except BaseException:
            self._retract(query)
            raise
        return self._update(query)

    def _announce(self) -> Query:
        query = Query(id=uuid.uuid4().hex, began=time.time())
        for prefix, call in self.calls:
            call.expect(f"{prefix} {query['id']}")
        return query

    def _retract(self, query: Query) -> None:
        for prefix, call in self.calls:
            call.dismiss(f"{prefix} {query['id']}")

    def _check(self, state: SpecEyesState) -> None:
        messages = state.get("messages") or []
        if not messages:
            raise InputError("messages", "a human message with an image and a question", "no messages")
        human = last_human(messages)
        if human is None:
            kinds = ", ".join(m.type for m in messages[-3:])
            raise InputError("messages", "a human message with an image and a question", f"messages of type {kinds}")
        images = find_images([human])
        if not images:
            raise InputError("messages", "at least one image in the newest human message", "none")
        if not question_text(human).strip():
            raise InputError("messages", "a question in the newest human message", "no text")
        for image in images:
            load_image(image, self.policy)

    def _update(self, query: Query) -> dict[str, Any]:
        return {"query": query, "judgment": None, "speculation": None, "verdict": None, "decision": None}
