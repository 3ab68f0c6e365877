"""A second look: what the small model is shown before it answers again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.contained import contained
from langgraph_speceyes.depths import at_depth, counted, depths_of
from langgraph_speceyes.errors import PhaseError, describe_error
from langgraph_speceyes.events import emit
from langgraph_speceyes.foreign import cleaned
from langgraph_speceyes.front.calling import within
from langgraph_speceyes.front.scope import CallScope
from langgraph_speceyes.images import ImagePolicy, in_force, off_loop, question_text
from langgraph_speceyes.looks import Block, Look, Sight, observed
from langgraph_speceyes.models.overview import FrontPixels
from langgraph_speceyes.question import question_at
from langgraph_speceyes.state import Depth, SpecEyesState, query_of

NOT_ASKED = Depth(look=None, observations=[], seconds=0.0, error=None, speculation=None, verdict=None)
"""In the place of a depth that was left out."""


class Looking:
    """Take a look, and put what it gives on record for the speculator.

    A look that fails is a record, or, when `strict`, a :class:`PhaseError` with its cause. Nothing of it enters the
    agent's state.

    Args:
        look: The look.
        depth: Which one it is, from 1.
        adapter: Where the question is in the state.
        scope: The front end's announcements: the speculator's call follows a look that gives something.
        policy: Which images may be loaded.
        front_pixels: How large images are that a look sends to a hosted model.
        timeout_s: Longest wait in seconds, or None. A thread that is at work is not stopped by it.
        strict: Raise instead of going on.
    """

    def __init__(
        self,
        look: Look,
        depth: int,
        adapter: StateAdapter,
        scope: CallScope,
        policy: ImagePolicy,
        *,
        front_pixels: FrontPixels = None,
        timeout_s: float | None,
        strict: bool,
    ) -> None:
        self.look, self.depth, self.adapter, self.scope, self.policy = look, depth, adapter, scope, policy
        self.timeout_s, self.strict, self.front_pixels = timeout_s, strict, front_pixels

    def __call__(self, state: SpecEyesState) -> dict[str, Any]:
        """Look at the newest question."""
        began = time.perf_counter()
        try:
            with in_force(self.policy):
                blocks = within(self.timeout_s, lambda: self._seen(state))
        except Exception as error:
            return self._failed(error, began, state)
        return self._update(blocks, began, None, state)

    async def acall(self, state: SpecEyesState) -> dict[str, Any]:
        """Look at the newest question; see :meth:`__call__`."""
        began = time.perf_counter()
        try:
            with in_force(self.policy):
                blocks = await asyncio.wait_for(self._aseen(state), self.timeout_s)
        except Exception as error:
            return self._failed(error, began, state)
        return self._update(blocks, began, None, state)

    def _seen(self, state: SpecEyesState) -> list[Block]:
        with contained(), _off_the_record():
            sight = self._sight(state)
            return observed(self.look(sight), self.policy, sight.images)

    async def _aseen(self, state: SpecEyesState) -> list[Block]:
        with contained(), _off_the_record():
            sight = self._sight(state)
            found = await self.look.acall(sight)
        return await off_loop(observed, found, self.policy, sight.images)

    def _sight(self, state: SpecEyesState) -> Sight:
        turn = query_of(state)["turn"]
        assert turn, "intake leaves what holds no question to the agent"
        asked = question_at(self.adapter.messages(state), turn)
        return Sight(asked.images, question_text(asked.message), self.policy, self.front_pixels)

    def _failed(self, error: Exception, began: float, state: SpecEyesState) -> dict[str, Any]:
        says = describe_error(error)
        if self.strict:
            raise PhaseError(f"{at_depth('look', self.depth)}: {says}") from cleaned(error)
        return self._update([], began, says, state)

    def _update(self, blocks: list[Block], began: float, error: str | None, state: SpecEyesState) -> dict[str, Any]:
        depth = Depth(
            look=self.look.name,
            observations=blocks,
            seconds=time.perf_counter() - began,
            error=error,
            speculation=None,
            verdict=None,
        )
        if blocks:
            self.scope.announce(at_depth("speculate", self.depth), query_of(state)["id"])
        shown = {"depth": self.depth, "look": self.look.name, **counted(blocks)}
        emit("look", {**shown, "seconds": depth["seconds"], "error": error}, state)
        # a checkpoint of a graph without looks, which goes on in one with them, has no list
        before = depths_of({**state, "speceyes_depths": state.get("speceyes_depths") or []})
        return {"speceyes_depths": [*before, *[NOT_ASKED] * (self.depth - len(before)), depth]}


@contextmanager
def _off_the_record() -> Iterator[None]:
    """Keep what a look's own models say out of the caller's message stream: it is no message of the graph."""
    config = var_child_runnable_config.get() or RunnableConfig()
    quiet = RunnableConfig(**{**config, "tags": [*(config.get("tags") or ()), "nostream"]})
    token = var_child_runnable_config.set(quiet)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)
