"""One small object for each phase: given its model when it is built, it turns a state into a state update."""

from __future__ import annotations

from langgraph_speceyes.phases.adapter import QueryFromState, StateAdapter, UpdateFromAnswer
from langgraph_speceyes.phases.adopted import AdoptedAgent, adopt, extended
from langgraph_speceyes.phases.asked import FollowUps
from langgraph_speceyes.phases.bypass import Bypass
from langgraph_speceyes.phases.calling import ModelCall
from langgraph_speceyes.phases.fallback import Fallback, OutputMode
from langgraph_speceyes.phases.gate import GatePhase
from langgraph_speceyes.phases.intake import Intake
from langgraph_speceyes.phases.judge import Judge
from langgraph_speceyes.phases.prompts import Prompts, image_question
from langgraph_speceyes.phases.race import Race
from langgraph_speceyes.phases.slots import Slots
from langgraph_speceyes.phases.speculate import Speculate

__all__ = [
    "AdoptedAgent",
    "Bypass",
    "Fallback",
    "FollowUps",
    "GatePhase",
    "Intake",
    "Judge",
    "ModelCall",
    "OutputMode",
    "Prompts",
    "QueryFromState",
    "Race",
    "Slots",
    "Speculate",
    "StateAdapter",
    "UpdateFromAnswer",
    "adopt",
    "extended",
    "image_question",
]
