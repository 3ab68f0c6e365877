"""Audits that a process could not finish, answered later from the journal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable

from langgraph_speceyes.behind.history import answer_of
from langgraph_speceyes.bench.journals import journal_at, records_of
from langgraph_speceyes.bench.statistics import Estimate, share
from langgraph_speceyes.calibration.detector import Detector
from langgraph_speceyes.errors import ArgumentError, describe_error
from langgraph_speceyes.traffic.agreement import Agree, resolve_agree
from langgraph_speceyes.traffic.journal import Journal
from langgraph_speceyes.traffic.opener import Opener, saved_openings
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.records import agreed, answers_in, returned_differs

COMPARED = ("agree", "agreed_by", "agree_probability", "error", "depths")
"""What of a record a comparison changes."""
NO_TEXTS = "its texts were not kept (journal with texts=True)"
NO_IMAGE = "its image came within the message, and images are not kept"


@dataclass(frozen=True)
class Watch:
    """A detector and what it says.

    Attributes:
        gate: Which gate it watches, as records have it in ``gate``.
        level: Its level.
        warning_level: From here on it warns.
        alarm_level: From here on it alarms; where the gate opens itself, it is closed.
        observed: Questions behind the level.
        closes: Whether it is that of a gate that opens itself.
        max_loss: The limit that it watches.
    """

    gate: str
    level: float
    warning_level: float
    alarm_level: float
    observed: int
    closes: bool
    max_loss: float


@dataclass(frozen=True)
class Audited:
    """What became of a journal's audits.

    Attributes:
        found: Audits that were open.
        settled: Those that are settled now, by what came of them: `same`, `different`, `undecided`.
        failed: Errors of the agent, each with the number of its audits; these stay open.
        unanswerable: Why others cannot be answered again, each with their number; these stay open.
        left: Audits that are open now.
        differing: Share of all settled audits of the journal whose answers differ, or could not be compared.
        detectors: One for each gate of the journal.
    """

    found: int
    settled: dict[str, int]
    failed: dict[str, int]
    unanswerable: dict[str, int]
    left: int
    differing: Estimate
    detectors: tuple[Watch, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)


async def audit_later(
    journal: Journal,
    agent: Runnable[Any, Any],
    *,
    agree: Agree | BaseChatModel | str | Callable[[str, str, str], bool | None] | None = None,
    limit: int | None = None,
    concurrency: int = 4,
    max_loss: float = 0.02,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Audited:
    """Have the agent answer what was to be audited and was not, and write down whether the two answers agree.

    The agent gets the question alone, with its images: of a conversation the journal knows nothing. Its tools are
    used, with everything that they do.

    Args:
        journal: The journal, with texts.
        agent: The agent over messages: takes `{"messages": [question]}`.
        agree: Decides whether the answers say the same, as in :func:`~langgraph_speceyes.create_speceyes`.
        limit: Most audits to answer.
        concurrency: Audits under way at once.
        max_loss: Limit of the detector for gates that do not open themselves.
        report: Called with the number of audits that are done, and of all.

    Raises:
        ArgumentError: A number is out of range, or nothing can be made of `agree`.
        JournalError: The journal cannot be read or written.
    """
    for argument, value in (("limit", limit), ("concurrency", concurrency)):
        if value is not None and value < 1:
            raise ArgumentError(argument, "at least 1", value)
    comparing = resolve_agree(agree)
    found = await asyncio.to_thread(lambda: [record for record in records_of(journal) if is_open(record)])
    reasons = {record["id"]: reason for record in found if (reason := _unanswerable(record)) is not None}
    asked = [record for record in found if record["id"] not in reasons][:limit]
    settled, failed = Counter[str](), Counter[str]()
    room = asyncio.Semaphore(concurrency)

    async def one(record: Record) -> None:
        async with room:
            found_same: bool | None = None
            try:
                answer = await _answered(agent, record)
            except Exception as error:  # whatever the user's agent raises
                failed[describe_error(error)] += 1
                await asyncio.to_thread(_write, journal, record, {"error": describe_error(error)})
            else:
                # trouble of an earlier try is over
                compared: Record = {**record, "error": None}
                for depth, said in answers_in(record):
                    same = await comparing.acall(record["question"] or "", said, answer)
                    compared = agreed(compared, depth, same)
                    if depth == (record.get("depth") or 0):
                        found_same = same.agree
                changes = {key: compared[key] for key in COMPARED if key in compared}  # type: ignore[literal-required]
                await asyncio.to_thread(_write, journal, record, {**changes, "answer": answer, "settled": True})
                settled["undecided" if found_same is None else "same" if found_same else "different"] += 1
            report(sum(settled.values()) + sum(failed.values()), len(asked))

    async with asyncio.TaskGroup() as group:
        for record in asked:
            group.create_task(one(record))
    return await asyncio.to_thread(_counted, journal, len(found), settled, failed, Counter(reasons.values()), max_loss)


def openings_of(journal: Journal) -> list[Opener]:
    """The gates of a journal that open themselves, as they are now.

    What the journal has that is new is taken in, as every process does that uses the gate.

    Raises:
        JournalError: The journal cannot be read or written.
    """
    gates = dict.fromkeys(record["gate"] for record in records_of(journal))
    found = [opener for gate in gates for opener in saved_openings(journal, gate)]
    for opener in found:
        opener.refresh()
    return found


def gate_status(name: str, *, gate: str | None = None, reset: str | None = None, reopen: str | None = None) -> Any:
    """The gates of a journal that open themselves, and what a person does to one of them.

    Args:
        name: The journal, as :func:`~langgraph_speceyes.bench.journals.journal_at` takes it.
        gate: Only this one: its id in records, or its name in the status.
        reset: Discard its evidence and begin anew, for this reason.
        reopen: Take back the detector's last close, for this reason.

    Returns:
        One status each, with `name`.

    Raises:
        ArgumentError: There is no such gate, more than one to be reset or reopened, or none that was closed.
        JournalError: The journal cannot be read or written.
    """
    if reset is not None and reopen is not None:
        raise ArgumentError("reset", "either this or reopen", "both")
    with closing(journal_at(name)) as journal:
        found = [one for one in openings_of(journal) if gate is None or gate in (one.gate_id, one.name)]
        if not found:
            raise ArgumentError("gate", "a gate of the journal that opens itself", gate or "none in it")
        if reset is not None or reopen is not None:
            if len(found) > 1:
                names = ", ".join(one.name for one in found)
                raise ArgumentError("gate", f"one of {names}", gate or "none")
            if reset is not None:
                found[0].reset(reset)
            else:
                found[0].reopen(reopen or "")
        return [{"name": one.name, **one.status()} for one in found]


def is_open(record: Record) -> bool:
    """Whether a record is of an accepted answer that was to be audited and was not."""
    return record["route"] == "bypass" and record["audited"] and not record["settled"]


def _unanswerable(record: Record) -> str | None:
    if record["question"] is None or any(said is None for _, said in answers_in(record)):
        return NO_TEXTS
    return None if record["images"] else NO_IMAGE


async def _answered(agent: Runnable[Any, Any], record: Record) -> str | None:
    images: list[str | dict[str, Any]] = [{"type": "image", "url": image} for image in record["images"]]
    question = HumanMessage([*images, {"type": "text", "text": record["question"] or ""}])
    result = await agent.ainvoke({"messages": [question]})
    messages: Sequence[Any] = result["messages"]
    answer = answer_of(messages[1:])
    return answer.text if answer is not None and answer.text else None


def _write(journal: Journal, record: Record, changes: dict[str, Any]) -> None:
    """Write down what came of an audit, unless another process was faster; labels given meanwhile stay."""
    current = journal.get(record["id"])
    if current is not None and is_open(current):
        journal.write({**current, **changes})  # type: ignore[typeddict-item]


def _counted(
    journal: Journal,
    found: int,
    settled: Counter[str],
    failed: Counter[str],
    unanswerable: Counter[str],
    max_loss: float,
) -> Audited:
    records = list(records_of(journal))
    audits = [record for record in records if record["route"] == "bypass" and record["audited"]]
    return Audited(
        found=found,
        settled=dict(settled),
        failed=dict(failed),
        unanswerable=dict(unanswerable),
        left=sum(is_open(record) for record in audits),
        differing=share([returned_differs(record) for record in audits if record["settled"]]),
        detectors=tuple(_watches(journal, records, max_loss)),
    )


def _watches(journal: Journal, records: Sequence[Record], max_loss: float) -> Iterator[Watch]:
    for gate in dict.fromkeys(record["gate"] for record in records):
        openers = saved_openings(journal, gate)
        for opener in openers:
            opener.refresh()
            status = opener.status()
            shown = {name: status["detector"][name] for name in ("level", "warning_level", "alarm_level", "observed")}
            yield Watch(gate=gate, **shown, closes=True, max_loss=opener.settings.max_loss)
        if not openers:
            yield _watch(gate, [record for record in records if record["gate"] == gate], max_loss)


def _watch(gate: str, records: Sequence[Record], max_loss: float) -> Watch:
    """The level of a detector that has seen the journal's records, for a gate that nothing watches."""
    detector = Detector(max_loss)
    for record in records:
        rate, accepted = record["audit_rate"], record["route"] == "bypass"
        if record["mode"] != "on" or not 0 < rate <= 1 or is_open(record):
            continue
        differs = accepted and record["audited"] and returned_differs(record)
        detector.observe(1 / rate if differs else 0.0, rate=rate)
    return Watch(
        gate=gate,
        level=detector.level,
        warning_level=detector.warning_level,
        alarm_level=detector.alarm_level,
        observed=detector.observed,
        closes=False,
        max_loss=max_loss,
    )
