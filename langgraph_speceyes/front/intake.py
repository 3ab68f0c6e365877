"""The beginning of a run: is this a question the front end can answer?"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.choices import DepthChoice, OrderChoice
from langgraph_speceyes.contained import contained
from langgraph_speceyes.errors import ImageError, describe_error
from langgraph_speceyes.front.calling import ModelCall
from langgraph_speceyes.front.depth_choice import DepthChooser
from langgraph_speceyes.front.order import OrderChooser, fixed_order
from langgraph_speceyes.front.scope import CallScope
from langgraph_speceyes.front.settings import RunReader
from langgraph_speceyes.images import ImagePolicy, ImageRef, check_count, check_header, check_image, off_loop
from langgraph_speceyes.question import Asked, FollowUps, read_question, reason_to_leave, seen
from langgraph_speceyes.state import Query, RunSettings, Seen, SpecEyesState

UNREAD = Seen(count=0, last="")
WATCHED, TURNED_OFF = "in shadow", "turned off"
"""Reasons for the agent's answer that are the mode's, not the question's."""


class GivenUp(Protocol):
    """What the agent had done in a run that failed, was cancelled or waits, when something new is asked instead."""

    def find(self, state: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values of the state that the run has changed, and the update that sets them."""

    async def afind(self, state: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The same off the event loop."""


class Intake:
    """Find the question, leave to the agent what the front end cannot know, check images, announce the calls to come.

    The headers of images are read here, within `policy`: what cannot be opened is the agent's. Local models that every
    question comes to take their small copies at once, so that a crowd of large images is not decoded again and again;
    what hosted models will be sent is begun beside what follows. The records of an earlier turn are cleared.

    Args:
        scope: The front end's announcements.
        adapter: Where the question is in the state.
        follow_ups: Which later turns of a thread the front end may answer (:func:`reason_to_leave`).
        judged: Whether there is a judge.
        policy: Which images may be loaded.
        settings: Reads the settings of a run.
        order: The fixed order, or what chooses it; None without a judge.
        first: The calls that every question comes to.
        calls: All that a question may come to.
        strict: Raise where an image cannot be opened: the agent, this package's own, would fail on it as well, or the
            caller wants to know.
        given_up: What the agent had done in a run that nobody went on with; it becomes part of the state.
        looks: Whether there are looks, whose record is begun here.
        depths: What chooses the depths that a query may come to, or the fixed choice; None for all.
    """

    def __init__(
        self,
        scope: CallScope,
        adapter: StateAdapter,
        follow_ups: FollowUps,
        judged: bool,
        policy: ImagePolicy,
        settings: RunReader,
        order: str | OrderChooser | None = None,
        first: Sequence[ModelCall] = (),
        calls: Sequence[ModelCall] = (),
        *,
        strict: bool = False,
        given_up: GivenUp | None = None,
        looks: bool = False,
        depths: DepthChooser | DepthChoice | None = None,
    ) -> None:
        self.scope, self.adapter, self.policy, self.strict = scope, adapter, policy, strict
        self.follow_ups, self.judged, self.order = follow_ups, judged, order
        self.first, self.calls = first, calls
        self.settings, self.given_up, self.looks = settings, given_up, looks
        self.depths = depths
        self.on_question: Callable[[Mapping[str, Any]], None] | None = None
        """Told of every question that the front end looks at or watches, before anything is known of it."""

    def __call__(self, state: SpecEyesState) -> dict[str, Any]:
        """Check one query.

        Raises:
            ImageError: An image of the question cannot be opened, and the run is strict.
        """
        settings, began, clock = self.settings(), time.time(), time.perf_counter()
        values, update = self.given_up.find(state) if self.given_up else ({}, {})
        full: Any = {**state, **values}
        key = self._announced(settings)
        with self.scope.left_on_failure(key):
            found = self._check(full, settings)
        query = self._update(key, began, time.perf_counter() - clock, settings, *found)
        return self._noticed(full, {**update, **self._depths(state), **query})

    async def acall(self, state: SpecEyesState) -> dict[str, Any]:
        """Check one query; images are decoded off the event loop. See :meth:`__call__`."""
        settings, began, clock = self.settings(), time.time(), time.perf_counter()
        values, update = await self.given_up.afind(state) if self.given_up else ({}, {})
        full: Any = {**state, **values}
        key = self._announced(settings)
        with self.scope.left_on_failure(key):
            found = await off_loop(self._check, full, settings)
        query = self._update(key, began, time.perf_counter() - clock, settings, *found)
        return self._noticed(full, {**update, **self._depths(state), **query})

    def _depths(self, state: SpecEyesState) -> dict[str, Any]:
        """The record of the depths at its beginning; without looks, none, nor one that a graph with looks has left."""
        if self.looks:
            return {"speceyes_depths": []}
        return {"speceyes_depths": None} if state.get("speceyes_depths") is not None else {}

    def _noticed(self, state: Any, update: dict[str, Any]) -> dict[str, Any]:
        if self.on_question is not None and update["speceyes_query"]["reason"] in (None, WATCHED):
            self.on_question({**state, **update})
        return update

    def _announced(self, settings: RunSettings) -> str:
        key = uuid.uuid4().hex
        if settings["mode"] == "on":
            self.scope.enter(key)
        return key

    def _check(self, state: SpecEyesState, settings: RunSettings) -> tuple[Asked | None, Seen, str | None]:
        before = state.get("speceyes_query")
        try:
            with contained():
                messages = self.adapter.messages(state)
            asked = read_question(messages, before.get("seen") if before else None)
        except Exception as error:
            if self.strict and settings["mode"] == "on":
                raise
            return None, UNREAD, TURNED_OFF if settings["mode"] == "off" else describe_error(error)
        reason = reason_to_leave(asked, self.follow_ups, self.judged)
        if settings["mode"] == "off":
            reason = TURNED_OFF
        elif reason is None and asked is not None:
            # nothing may delay an agent that is only watched
            reason = WATCHED if settings["mode"] == "shadow" else self.unopened(asked)
        return asked, seen(messages), reason

    def unopened(self, asked: Asked) -> str | None:
        """Why an image of the question cannot be opened; None if all can.

        Raises:
            ImageError: One cannot, or they are too many, and the run is strict.
        """
        try:
            check_count(len(asked.images), self.policy, self.adapter.argument)
        except ImageError as error:
            if self.strict:
                raise
            return describe_error(error)
        for image in asked.images:
            try:
                # every one of them, whatever the first one says
                with contained():
                    sound = [call.preload(image) for call in self.first]
                if not any(sound):
                    self._check_image(image)
            except Exception as error:
                if self.strict:
                    raise
                return f"an image cannot be opened here ({describe_error(error)})"
        for image in asked.images:
            for call in self.calls:
                call.prepare(image)
        return None

    def _check_image(self, image: ImageRef) -> None:
        # what is fetched from elsewhere is kept decoded, rather than fetched again
        check = check_image if image.kind == "remote" else check_header
        check(image, self.policy, argument=self.adapter.argument)

    def _update(
        self,
        key: str,
        began: float,
        seconds: float,
        settings: RunSettings,
        asked: Asked | None,
        read: Seen,
        reason: str | None,
    ) -> dict[str, Any]:
        # only a judge tells whether a later turn stands on its own
        must_judge = asked is not None and asked.follow_up and self.follow_ups == "judge"
        order = self._order(must_judge=must_judge) if reason is None else None
        if reason is not None:
            self.scope.leave(key)
        elif order is None or order["order"] == "no_judge":
            self.scope.leave(key, keep=("speculate",))
        query = Query(
            id=key,
            began=began,
            seconds=seconds,
            follow_up=asked is not None and asked.follow_up,
            seen=read,
            turn=None if asked is None else list(asked.turn),
            reason=reason,
            order=order,
            hedge=None,
            settings=settings,
        )
        if isinstance(self.depths, DepthChooser):
            # a question that is only watched is asked at all depths
            if reason is None:
                query["depth_choice"] = self.depths.choose()
        elif self.depths is not None and reason in (None, WATCHED):
            query["depth_choice"] = self.depths
        return {
            "speceyes_query": query,
            "speceyes_judgment": None,
            "speceyes_speculation": None,
            "speceyes_verdict": None,
            "decision": None,
        }

    def _order(self, *, must_judge: bool) -> OrderChoice | None:
        if isinstance(self.order, OrderChooser):
            return self.order.choose(must_judge=must_judge)
        return None if self.order is None else fixed_order(self.order)
