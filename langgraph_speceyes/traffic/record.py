"""One question as the journal keeps it: numbers and names, text only where asked for, images never."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from langgraph_speceyes.state import Mode, Phase, Route

SCHEMA = 2
"""Version of the record's layout."""
READABLE = (1, 2)
"""Versions that can be read: records of version 1 are those of graphs without looks."""
OF_LOOKS = ("depth", "depths")
"""The fields that a record has in graphs with looks only."""


class DepthRecord(TypedDict):
    """One answer after a look.

    Attributes:
        depth: Which one, from 1.
        look: The look's name, and behind it a digest of its settings.
        score: The score that the gate compares; None without a scored answer.
        scores: All answer scores by name.
        threshold: The gate's at this depth; None while a gate that opens itself is shut.
        k: Candidates a token; None without a scored answer.
        accepted: Whether the gate accepted; None where there was nothing to compare.
        seconds: Wall time of look, speculation and gate together.
        agree: Whether the answer and the agent's say the same; None while that is not known.
        agreed_by: As in :class:`Record`.
        agree_probability: As in :class:`Record`.
        speculator_right: A person's label of the answer; None without one.
        speculation: The answer; None where texts are not kept, or there is none.
        error: Trouble at this depth; None otherwise.
    """

    depth: int
    look: str | None
    score: float | None
    scores: dict[str, float | None]
    threshold: float | None
    k: int | None
    accepted: bool | None
    seconds: float
    agree: bool | None
    agreed_by: str | None
    agree_probability: float | None
    speculator_right: bool | None
    speculation: str | None
    error: str | None


class Record(TypedDict):
    """What came of one question, and what is known about the two answers to it.

    Attributes:
        id: The query's id; a record with an id that is known takes the place of the earlier one.
        at: When it was asked, in seconds since the epoch.
        gate: What the scores depend on (models, score, K, prompts) as a digest; evidence is for one gate only.
        group: The caller's name for the kind of question (`speceyes_group`), or None.
        mode: ``"on"`` or ``"shadow"``; with ``"off"`` nothing is recorded.
        route: Whose answer the user got.
        would: Whose it would have been with mode ``"on"`` and these thresholds.
        decided_by: The phase that decided, for `would`.
        reason: Why the front end did not look; None where it did.
        order: Which of judge and speculator came first; None without a judge.
        tool_need: The judge's probability that tools are needed; None without a judgment.
        judge_threshold: From which probability on the judge would screen out, asked or not; None without a judge.
        screened: Whether judge or intake kept the question from the gate at any threshold.
        score_name: Which answer score the gate compares.
        score: That score; None without a scored speculation.
        scores: All answer scores by name.
        threshold: The gate's; None while a gate that opens itself is shut.
        k: Candidates a token; None without a scored speculation.
        audit_rate: Share of accepted answers that the agent answers again, in force before the question was seen,
            whatever came of it; 1 in shadow; 0 where there was no room to watch it, which makes it no evidence.
        audited: Whether the agent's answer is known or to come: it answered, or this question was chosen.
        agree: Whether speculation and agent's answer say the same; None while that is not known.
        agreed_by: How that was found: ``"rule"``, ``"model"``, ``"function"``; ``"undecided"`` counts as differing.
        agree_probability: A model's probability that they do; None where none was asked.
        settled: Whether nothing more is to come for this record.
        speculator_right: A person's label of the speculation; None without one.
        agent_right: A person's label of the agent's answer; None without one.
        seconds: Wall time by phase, as in the decision; with the agent's where it answered again, and in shadow with
            that of the phases, neither of which is part of the total.
        tokens: Tokens read and written by phase, as in the decision.
        error: Trouble in a phase, in the agent's second answer or in comparing; None otherwise.
        question: The question's text; None where texts are not kept.
        speculation: The small model's answer; None where texts are not kept, or there is none.
        answer: The agent's answer; None where texts are not kept, or there is none.
        images: References of the question's images (paths, URLs, digests; never data); empty where texts are not kept,
            or an image is inline.
        depth: With looks only: the depth whose answer the gate accepts, for `would`; None where there is none. All
            other fields are of depth 0, of which `score` is None where it was not asked.
        depths: With looks only: each answer after a look that was come to, from depth 1 on.
    """

    id: str
    at: float
    gate: str
    group: str | None
    mode: Mode
    route: Route
    would: Route
    decided_by: Phase
    reason: str | None
    order: str | None
    tool_need: float | None
    judge_threshold: float | None
    screened: bool
    score_name: str
    score: float | None
    scores: dict[str, float | None]
    threshold: float | None
    k: int | None
    audit_rate: float
    audited: bool
    agree: bool | None
    agreed_by: str | None
    agree_probability: float | None
    settled: bool
    speculator_right: bool | None
    agent_right: bool | None
    seconds: dict[str, float]
    tokens: dict[str, dict[str, int]]
    error: str | None
    question: str | None
    speculation: str | None
    answer: str | None
    images: list[str]
    depth: NotRequired[int | None]
    depths: NotRequired[list[DepthRecord]]
