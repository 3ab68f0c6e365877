"""The beginning of a run: is this a question the front end can answer?"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.errors import InputError
from langgraph_speceyes.front.calling import ModelCall
from langgraph_speceyes.front.order import OrderChooser
from langgraph_speceyes.images import ImagePolicy, check_image, find_images
from langgraph_speceyes.question import FollowUps, read_question, unfit
from langgraph_speceyes.state import OrderChoice, Query, SpecEyesState


class Intake:
    """Find the question, leave to the agent what the front end cannot know, check images, announce the calls to come.

    Images are decoded here, within `policy`: a damaged one fails before any model runs. Local models that every
    question comes to take their small copies at once, so that a crowd of large images is not decoded again and again.
    The records of an earlier turn are cleared.

    Args:
        calls: The front end's model calls with the prefix of their batch keys.
        adapter: Where the question is in the state.
        follow_ups: Which later turns of a thread the front end may answer (:func:`unfit`).
        judged: Whether there is a judge.
        policy: Which images may be loaded.
        order: The fixed order, or what chooses it; None without a judge.
        first: The calls that every question comes to.
    """

    def __init__(
        self,
        calls: Sequence[tuple[str, ModelCall]],
        adapter: StateAdapter,
        follow_ups: FollowUps,
        judged: bool,
        policy: ImagePolicy,
        order: str | OrderChooser | None = None,
        first: Sequence[ModelCall] = (),
    ) -> None:
        self.calls, self.adapter, self.policy = calls, adapter, policy
        self.follow_ups, self.judged, self.order, self.first = follow_ups, judged, order, first

    def __call__(self, state: SpecEyesState) -> dict[str, Any]:
        """Check one query.

        Raises:
            InputError: There is no message of the user.
            ImageError: An image of the question cannot be loaded.
        """
        key, began, clock = self._announce(), time.time(), time.perf_counter()
        reason: str | None = "not checked"
        try:
            follow_up, reason = self._check(state)
        finally:
            self._retract(key, reason)
        return self._update(key, began, time.perf_counter() - clock, follow_up, reason)

    async def acall(self, state: SpecEyesState) -> dict[str, Any]:
        """Check one query; images are decoded off the event loop. See :meth:`__call__`."""
        key, began, clock = self._announce(), time.time(), time.perf_counter()
        reason: str | None = "not checked"
        try:
            follow_up, reason = await asyncio.to_thread(self._check, state)
        finally:
            self._retract(key, reason)
        return self._update(key, began, time.perf_counter() - clock, follow_up, reason)

    def _announce(self) -> str:
        key = uuid.uuid4().hex
        for prefix, call in self.calls:
            call.expect(f"{prefix} {key}")
        return key

    def _retract(self, key: str, reason: str | None) -> None:
        if reason is not None:
            for prefix, call in self.calls:
                call.dismiss(f"{prefix} {key}")

    def _check(self, state: SpecEyesState) -> tuple[bool, str | None]:
        messages = self.adapter.messages(state)
        asked = read_question(messages)
        if asked is None:
            kinds = ", ".join(m.type for m in messages[-3:])
            found = f"messages of type {kinds}" if kinds else "no messages"
            raise InputError(self.adapter.argument, "a human message with an image and a question", found)
        reason = unfit(asked, self.follow_ups, self.judged)
        if reason is None:
            for image in find_images([asked.message]):
                # every one of them, whatever the first one says
                sound = [call.preload(image) for call in self.first]
                if not any(sound):
                    check_image(image, self.policy, argument=self.adapter.argument)
        return asked.follow_up, reason

    def _update(self, key: str, began: float, seconds: float, follow_up: bool, reason: str | None) -> dict[str, Any]:
        order = self._order() if reason is None else None
        if order is not None and order["order"] == "no_judge":
            for prefix, call in self.calls:
                if prefix == "judge":
                    call.dismiss(f"judge {key}")
        query = Query(id=key, began=began, seconds=seconds, follow_up=follow_up, reason=reason, order=order, hedge=None)
        return {
            "speceyes_query": query,
            "speceyes_judgment": None,
            "speceyes_speculation": None,
            "speceyes_verdict": None,
            "decision": None,
        }

    def _order(self) -> OrderChoice | None:
        if isinstance(self.order, OrderChooser):
            return self.order.choose()
        if self.order is None:
            return None
        return OrderChoice(
            order=self.order, explored=False, queries=0, seconds={}, beta=None, alpha=None, agent_seconds=None
        )
