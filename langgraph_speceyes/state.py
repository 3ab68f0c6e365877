"""What flows through the graph: messages, and one record for each phase. All of it survives a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from langchain_core.messages import AnyMessage
from typing_extensions import TypedDict

from langgraph_speceyes.choices import DepthChoice, OrderChoice
from langgraph_speceyes.images import MessagesChannel
from langgraph_speceyes.scoring import ScoreName

Phase = Literal["intake", "judge", "look", "speculate", "gate", "agent"]
Route = Literal["bypass", "fallback"]
Order = Literal["judge_first", "speculate_first", "parallel", "auto"]
ORDERS: tuple[Order, ...] = ("judge_first", "speculate_first", "parallel", "auto")
Mode = Literal["on", "shadow", "off"]
"""``"on"``: what the gate accepts is the answer; ``"shadow"``: the agent answers everything, and what the front end
would have done is on record; ``"off"``: the agent alone."""
MODES: tuple[Mode, ...] = ("on", "shadow", "off")


class RunSettings(TypedDict):
    """What holds for one run: the graph's settings, and what the run's context or config changes.

    Attributes:
        mode: Whether the front end answers, watches, or is out of the way.
        threshold: The gate's (tau); None while a gate that opens itself is shut.
        judge_threshold: The judge's; None without a judge.
        audit_rate: Share of accepted answers that the agent answers again.
        audited: Whether this run is among them, should its answer be accepted; drawn before the question was read.
        group: The caller's name for the kind of question, or None.
        shut: Why a gate that opens itself is shut; None for others and where it is open.
    """

    mode: Mode
    threshold: float | None
    judge_threshold: float | None
    audit_rate: float
    audited: bool
    group: str | None
    shut: str | None


class Hedge(TypedDict):
    """What the agent did while the front end was still at work (`create_speceyes(hedge=True)`).

    Attributes:
        cancelled: Whether that work was thrown away: the gate accepted, or the agent stopped for an interrupt.
        interrupted: Whether the agent stopped for an interrupt before it had an answer, and so had to begin anew when
            the question was its own.
        agent_first: Whether the agent had its answer before the front end was done, and so settled the question.
        seconds: How long the agent had run when the front end was done, or until it stopped for an interrupt, without
            its wait for a slot: thrown away, or gained by beginning early. 0.0 if it had not begun.
        tokens: Tokens that its model calls had read and written by then: those of finished calls only, and zero where
            a model does not say.
        tool_steps: Tool calls it had begun by then, as far as they are tools of LangChain.
    """

    cancelled: bool
    interrupted: bool
    agent_first: bool
    seconds: float
    tokens: dict[str, int]
    tool_steps: int


class Seen(TypedDict):
    """How far a conversation had been read when a question was asked.

    Attributes:
        count: How many messages it had.
        last: What tells the last of them from others: its id, or a digest.
    """

    count: int
    last: str


class AgentMemory(TypedDict):
    """What a thread remembers of its agent beside the agent's state.

    Attributes:
        outputs: Keys that the agent has written in each of its runs: outputs of a turn, no answer of the next one.
        kept: Their values while an answer of the front end stands in the state, for the agent's next run.
        held: How many values the thread of an agent on another server holds in its topics.
    """

    outputs: list[str]
    kept: dict[str, Any]
    held: dict[str, int]


class Query(TypedDict):
    """One run.

    Attributes:
        id: Its identity in shared batches.
        began: When it began, in seconds since the epoch.
        seconds: Wall time of intake: finding the question, decoding its images.
        follow_up: Whether there were turns before the question.
        seen: How far the conversation has been read with it.
        turn: Indices of the question's first message and of the one behind its last; None where nothing new is asked.
        reason: Why the front end leaves the question to the agent without a look; None when it looks.
        order: Which of judge and speculator comes first; None without a judge.
        hedge: What the agent did beside the front end; None where it did not run beside it.
        settings: What holds for this run.
        depth_choice: Which depths it may not come to; only where there is such a choice.
    """

    id: str
    began: float
    seconds: float
    follow_up: bool
    seen: Seen
    turn: list[int] | None
    reason: str | None
    order: OrderChoice | None
    hedge: Hedge | None
    settings: RunSettings
    depth_choice: NotRequired[DepthChoice]


class Judgment(TypedDict):
    """Phase I, ``g(q, I)``.

    Attributes:
        tool_need: Probability of "yes, tools" against "no" from the first token; None when the judge failed.
        threshold: The query needs tools from this probability on.
        tools_needed: What follows from the two; True when the judge failed.
        tokens: Tokens read and written.
        seconds: Wall time of the phase.
        error: Why the judge could not tell, or None.
    """

    tool_need: float | None
    threshold: float
    tools_needed: bool
    tokens: dict[str, int]
    seconds: float
    error: str | None


class Speculation(TypedDict):
    """Phase II: the small model's answer and its scores.

    Attributes:
        answer: The text.
        score: The fields of an :class:`~langgraph_speceyes.scoring.AnswerScore`; None when the speculator failed.
        tokens: Tokens read and written.
        seconds: Wall time of the phase.
        error: Why there is no scored answer, or None.
    """

    answer: str
    score: dict[str, Any] | None
    tokens: dict[str, int]
    seconds: float
    error: str | None


class Verdict(TypedDict):
    """Phase III: whether the gate accepted the speculation.

    Attributes:
        accepted: True when the score reached the threshold.
        seconds: Wall time of the phase.
        error: Why nothing could be compared, or None.
    """

    accepted: bool
    seconds: float
    error: str | None


class Depth(TypedDict):
    """What one depth came to: depth 0 sees the images as they are, each further one what another look adds.

    Attributes:
        look: The look's name; None at depth 0.
        observations: What it gave, as content blocks: images as references, text.
        seconds: Wall time of the look.
        error: Why the look failed, or None.
        speculation: The small model's answer at this depth; None where it was not asked.
        verdict: What the gate made of it; None where there was nothing to compare.
    """

    look: str | None
    observations: list[dict[str, Any]]
    seconds: float
    error: str | None
    speculation: Speculation | None
    verdict: Verdict | None


class DepthDecision(TypedDict):
    """One depth in a decision.

    Attributes:
        depth: From 0.
        look: The look's name; None at depth 0.
        images: How many images the look added.
        characters: How many characters of text it added.
        speculation: The small model's answer; None without a scored one.
        score: Its score; None without a scored speculation.
        scores: All answer scores by name.
        k: Candidates that each token has.
        threshold: The gate's threshold at this depth.
        accepted: Whether the gate accepted; None where it was not asked.
        seconds: Wall time of look, speculation and gate together.
        tokens: Tokens that the speculator read and wrote.
        error: Trouble at this depth, or None.
    """

    depth: int
    look: str | None
    images: int
    characters: int
    speculation: str | None
    score: float | None
    scores: dict[ScoreName, float | None]
    k: int | None
    threshold: float | None
    accepted: bool | None
    seconds: float
    tokens: dict[str, int]
    error: str | None


class Cost(TypedDict):
    """What a question cost, at the prices given.

    Attributes:
        spent: By phase: `judge`, `speculate`, `agent` as far as they ran, and `hedge`, an agent's work that was thrown
            away. None where the price or the tokens are not known.
        total: Their sum; None where one of them is not known.
        agent_alone: What the agent would have cost: its own cost where it answered, else the mean of its runs so far in
            this process. None where not known.
    """

    spent: dict[str, float | None]
    total: float | None
    agent_alone: float | None


class Decision(TypedDict):
    """What was decided for a query, and why: the record that comes with every answer.

    Attributes:
        mode: ``"on"``; in ``"shadow"`` and ``"off"`` the agent answers whatever the gate would say.
        route: ``"bypass"``: the speculation is the answer; ``"fallback"``: the agent's is.
        decided_by: The phase that decided; for a phase in trouble, with `error` set. ``"intake"``: the question was
            none for the front end.
        reason: Why intake left the question to the agent; None otherwise.
        follow_up: Whether there were turns before the question.
        order: Which of judge and speculator came first, and for `order="auto"` why; None without a judge.
        accepted: Whether the gate accepted the speculation; None when it was not asked.
        tool_need: The judge's probability that tools are needed; None without a judgment.
        judge_threshold: From which probability on the judge screens a query out; None without a judge.
        score_name: Which answer score the gate compares.
        score: The speculation's score; None without a scored speculation.
        scores: All answer scores by name; None for one that cannot be known.
        threshold: The gate's threshold (tau); None while a gate that opens itself is shut.
        k: Candidates that each token has; None without a scored speculation.
        speculation: The small model's answer, also when it was rejected; None without one.
        answer_tokens: The speculation's tokens, each with what `score` made of it: ``[token, value]`` pairs. The value
            is the token's probability renormalised over its candidates for ``odds``, its probability for ``log``, its
            separability ``S_sep`` for the others; None where that cannot be known.
        tokens: Tokens read and written, by phase.
        seconds: Wall time in seconds: `intake` (which decodes images), `judge`, `speculate` and `gate` as far as they
            ran, `slot` (the agent's wait for one, with `max_concurrent_agents`), `agent` (at work), `person` (its wait
            for one, at interrupts), and `total`, from intake to the answer without waits for a person. Phases that ran
            at the same time add up to more than `total`.
        model_calls: Model calls the agent made.
        tool_steps: Tool calls the agent made.
        tool_calls: Those calls: name, arguments, box, image reference, text or error where known.
        error: Trouble in a front-end phase, which sent the query to the agent; None otherwise.
        hedge: What the agent did while the front end was still at work; None where it did not run beside it.
        audited: Whether the agent answers the question again, after this answer.
        cost: What it cost, and what the agent would have; None without prices.
        depth: With looks only: the depth whose answer was returned, from 0; None on fallback. `accepted`, `score`,
            `scores`, `threshold`, `k`, `speculation` and `answer_tokens` are those of the deepest one that was asked;
            `seconds` and `tokens` have `look_1`, `speculate_1`, `gate_1` and so on beside depth 0's.
        depths: With looks only: each depth up to the deepest that was reached, from 0 on; one that was not asked has
            neither score nor seconds.
        depth_choice: Which depths were left out and why; only where `order="auto"` chooses, or depth 0 is never asked.
    """

    mode: Mode
    route: Route
    decided_by: Phase
    reason: str | None
    follow_up: bool
    order: OrderChoice | None
    accepted: bool | None
    tool_need: float | None
    judge_threshold: float | None
    score_name: str
    score: float | None
    scores: dict[ScoreName, float | None]
    threshold: float | None
    k: int | None
    speculation: str | None
    answer_tokens: list[list[Any]]
    tokens: dict[str, dict[str, int]]
    seconds: dict[str, float]
    model_calls: int
    tool_steps: int
    tool_calls: list[dict[str, Any]]
    error: str | None
    hedge: Hedge | None
    audited: bool
    cost: Cost | None
    depth: NotRequired[int | None]
    depths: NotRequired[list[DepthDecision]]
    depth_choice: NotRequired[DepthChoice]


class Records(TypedDict):
    """What the phases leave for each other; private to the graph, under names no agent's state will have."""

    speceyes_query: NotRequired[Query | None]
    speceyes_judgment: NotRequired[Judgment | None]
    speceyes_speculation: NotRequired[Speculation | None]
    speceyes_verdict: NotRequired[Verdict | None]
    speceyes_depths: NotRequired[list[Depth] | None]
    speceyes_agent: NotRequired[AgentMemory]


class InputState(TypedDict):
    """What the graph takes: messages whose newest turn of the user holds an image and a question."""

    messages: Annotated[list[AnyMessage], MessagesChannel]


class FrontInput(InputState):
    """What the front end alone takes: messages, and how far they had been read before."""

    speceyes_query: NotRequired[Query | None]


class OutputState(TypedDict):
    """What the graph gives: the messages with the answer at their end, and the decision behind it."""

    messages: Annotated[list[AnyMessage], MessagesChannel]
    decision: Decision


class SpecEyesState(Records):
    """All channels of the graph over an agent whose state is `messages`; those of other agents are added to it."""

    messages: Annotated[list[AnyMessage], MessagesChannel]
    decision: NotRequired[Decision | None]


def query_id(state: Mapping[str, Any]) -> str:
    """The id of the run's query, also where there is no record of it."""
    return str((state.get("speceyes_query") or {}).get("id"))


def query_of(state: SpecEyesState) -> Query:
    """The run's own record, which intake begins with."""
    query = state.get("speceyes_query")
    assert query, "intake begins every run"
    return query


def settings_of(state: Mapping[str, Any]) -> RunSettings | None:
    """What holds for the run; None without a record of it, or in one of an earlier version."""
    query = state.get("speceyes_query")
    return query.get("settings") if query else None
