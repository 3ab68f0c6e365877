"""Puts the watch over traffic on a front end."""

from __future__ import annotations

import weakref
from collections.abc import Collection

from langgraph.store.memory import InMemoryStore

from langgraph_speceyes.behind.again import AgentAgain
from langgraph_speceyes.front.end import FrontEnd
from langgraph_speceyes.looks import look_id
from langgraph_speceyes.traffic.agreement import resolve_agree
from langgraph_speceyes.traffic.journal import Journal
from langgraph_speceyes.traffic.opened import open_journal
from langgraph_speceyes.traffic.opener import Opener
from langgraph_speceyes.traffic.opening import SelfOpening
from langgraph_speceyes.traffic.records import gate_digest
from langgraph_speceyes.traffic.said import Answers
from langgraph_speceyes.traffic.shadow import Shadow
from langgraph_speceyes.traffic.store import StoreJournal
from langgraph_speceyes.traffic.watch import Traffic

SPARE = 10_000
"""Most records of a journal in memory, where none was given."""

_all: weakref.WeakSet[Traffic] = weakref.WeakSet()


def attach(front: FrontEnd, keys: Collection[str], again: AgentAgain | None = None) -> Traffic:
    """Let a front end's questions be watched.

    Args:
        front: The front end.
        keys: Keys of the state around it.
        again: The agent, for audits; None where it cannot be run again.

    Raises:
        ArgumentError: The journal, or what compares answers, cannot be used.
    """
    options = front.options
    models = {"speculator": front.small.model_id, "judge": front.large.model_id if front.large else None}
    looks = [look_id(look) for look in front.looks]
    digest = gate_digest(
        front.gate,
        models,
        front.prompts.digest,
        options.max_answer_tokens,
        looks,
        front.first_look,
        front.small.pixels_sent,
    )
    journal: Journal | None = None if options.journal is None else open_journal(options.journal)
    opener, opening = None, options.gate
    if isinstance(opening, SelfOpening):
        own = None if opening.journal is None else open_journal(opening.journal)
        journal = own or journal or _spare()
        opener = Opener(opening, digest, journal, judge_threshold=front.judge_threshold, depths=1 + len(looks))
    traffic = Traffic(
        digest,
        journal,
        spare=_spare,
        adapter=front.adapter,
        answers=Answers(front.adapter, front.form),
        agree=resolve_agree(options.agree),
        shadow=Shadow(front.watching, keys, front.gate),
        again=again,
        opener=opener,
        looks=looks,
    )
    front.settled.watcher = traffic
    if opener is not None:
        front.intake.settings.standing, front.intake.on_question = traffic.standing, traffic.reserve
        traffic.resume()
    _all.add(traffic)
    return traffic


def drain(timeout_s: float | None = None) -> bool:
    """Wait until nothing of any graph is left to be done in the background, and all records are written down.

    Args:
        timeout_s: Longest wait in seconds, for each of the graphs.

    Returns:
        Whether nothing is left.
    """
    found = [traffic.drain(timeout_s) for traffic in list(_all)]
    return all(found)


async def adrain(timeout_s: float | None = None) -> bool:
    """Wait until nothing is left to be done in the background, from an event loop that has a part in it."""
    return all([await traffic.adrain(timeout_s) for traffic in list(_all)])


def _spare() -> Journal:
    return StoreJournal(InMemoryStore(), limit=SPARE, settle_s=0)
