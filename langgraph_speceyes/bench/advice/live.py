"""What a gate in force has done so far, from a journal's records of mode "on"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from langgraph_speceyes.bench.statistics import Estimate, share
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.records import returned_differs


@dataclass(frozen=True)
class Live:
    """The questions since a gate is in force, of the newest gate.

    Attributes:
        questions: How many.
        bypassed: Share that the speculation answered.
        routes: Questions by route and the phase that decided.
        audited: Accepted answers whose audit is settled.
        waiting: Accepted answers whose audit is not.
        differing: Audited answers that differ from the agent's, or were not found to agree.
        differing_share: Their share of the audited.
        loss: Share of all questions with an accepted answer that differs: each audited one counts as many as its audit
            rate stands for; None without an audit.
    """

    questions: int
    bypassed: Estimate
    routes: dict[str, int]
    audited: int
    waiting: int
    differing: int
    differing_share: Estimate
    loss: float | None


def live(records: Sequence[Record]) -> Live | None:
    """Sum up the records of mode "on"; None without any."""
    on = [record for record in records if record["mode"] == "on"]
    if not on:
        return None
    on = [record for record in on if record["gate"] == on[-1]["gate"]]
    accepted = [record for record in on if record["route"] == "bypass"]
    audited = [record for record in accepted if record["audited"] and record["audit_rate"] > 0]
    settled = [record for record in audited if record["settled"]]
    differs = [returned_differs(record) for record in settled]
    weights = [1 / record["audit_rate"] for record, other in zip(settled, differs, strict=True) if other]
    return Live(
        questions=len(on),
        bypassed=share([record["route"] == "bypass" for record in on]),
        routes=dict(Counter(route_of(record) for record in on).most_common()),
        audited=len(settled),
        waiting=len(audited) - len(settled),
        differing=sum(differs),
        differing_share=share(differs),
        loss=sum(weights) / len(on) if settled else None,
    )


def route_of(record: Record) -> str:
    """Where a question went, or would have gone, and which phase decided: a few words."""
    if (record["route"] if record["mode"] == "on" else record["would"]) == "bypass":
        return "bypass"
    return f"agent: {record['decided_by']}"
