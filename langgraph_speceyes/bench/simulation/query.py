"""What a simulated query will ask of the machine: fixed before the simulation begins, the same for every design."""

from __future__ import annotations

from dataclasses import dataclass

from langgraph_speceyes.bench.simulation.fleet import Call


@dataclass(frozen=True)
class Tool:
    """One tool call.

    Attributes:
        core_s: Core time on a thread of its own.
        beside_s: Core time of helper threads at the same time, such as an OCR engine's.
    """

    core_s: float
    beside_s: float = 0.0


@dataclass(frozen=True)
class Turn:
    """One turn of the agent.

    Attributes:
        call: Its call of the large model.
        tool: The tool it calls; None when it answers.
        cached: The call where the model has read the prompt's beginning before and kept it, as judge or in an earlier
            turn; None where nothing is kept.
    """

    call: Call
    tool: Tool | None = None
    cached: Call | None = None


@dataclass(frozen=True)
class Looked:
    """A further look, and the small model's answer after it.

    Attributes:
        call: The speculator's call.
        accepted: Whether the gate accepts it.
        tool_s: Core time of the look.
    """

    call: Call
    accepted: bool
    tool_s: float = 0.0


@dataclass(frozen=True)
class Query:
    """One query.

    Attributes:
        judge: The judge's call; None without a judge.
        speculate: The speculator's; None where it is not known and not asked.
        passed: Whether the judge lets it pass.
        accepted: Whether the gate accepts the speculation.
        turns: The agent's run.
        intake_s: Core time before the first call.
        loop_s: Time of the event loop that each step of the query takes.
        looks: What the front end would do before the agent, where the judge does not let it pass or the gate rejects.
    """

    judge: Call | None
    speculate: Call | None
    passed: bool
    accepted: bool
    turns: tuple[Turn, ...]
    intake_s: float = 0.0
    loop_s: float = 0.0
    looks: tuple[Looked, ...] = ()

    @property
    def bypassed(self) -> bool:
        """Whether a speculation is the answer."""
        return (self.passed and self.accepted) or any(look.accepted for look in self.looks)

    @property
    def agent_s(self) -> float:
        """``L_agent``, seconds of the agent's run with the machine to itself."""
        tools = (max(t.tool.core_s, t.tool.beside_s) for t in self.turns if t.tool)
        return sum(turn.call.alone_s + self.loop_s for turn in self.turns) + sum(tools)
