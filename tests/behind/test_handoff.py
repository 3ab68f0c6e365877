"""Where an agent's command for a graph further up goes, which behind the bypass is one level further."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.errors import ParentCommand
from langgraph.types import Command

from langgraph_speceyes.behind.handoff import handed_up

HERE = "team:1|look:2|agent:3"


@pytest.mark.parametrize(
    ("target", "goes_to"),
    [
        # the agent knows no more of what is around it than that there is something
        (Command.PARENT, Command.PARENT),
        (HERE, Command.PARENT),
        ("team|look|agent", Command.PARENT),
        (f"{HERE}|model:4", Command.PARENT),
        # a graph by its name stays that graph
        ("team", "team"),
        # no other graph has the name of the bypass's node
        ("agent", Command.PARENT),
    ],
)
def test_a_command_reaches_the_graph_around_the_bypass(target: str, goes_to: str) -> None:
    assert handed(target, HERE) == goes_to


def test_a_graph_further_up_may_have_the_name_of_the_bypass_node() -> None:
    assert handed("agent", "agent:1|look:2|agent:3") == "agent:1"
    assert handed("agent", "agent:1|agent:2|look:3|agent:4") == "agent:1|agent:2"


def handed(target: str, namespace: str) -> Any:
    with pytest.raises(ParentCommand) as raised, handed_up({"configurable": {"checkpoint_ns": namespace}}):
        raise ParentCommand(Command(graph=target, goto="other"))
    command = raised.value.args[0]
    assert command.goto == "other"
    return command.graph
