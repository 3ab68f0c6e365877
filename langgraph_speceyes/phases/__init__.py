"""One small object for each phase: given its model when it is built, it turns a state into a state update."""

from __future__ import annotations

from langgraph_speceyes.phases.bypass import Bypass
from langgraph_speceyes.phases.calling import ModelCall
from langgraph_speceyes.phases.fallback import Fallback
from langgraph_speceyes.phases.gate import GatePhase
from langgraph_speceyes.phases.intake import Intake
from langgraph_speceyes.phases.judge import Judge
from langgraph_speceyes.phases.prompts import Prompts
from langgraph_speceyes.phases.slots import Slots
from langgraph_speceyes.phases.speculate import Speculate

__all__ = ["Bypass", "Fallback", "GatePhase", "Intake", "Judge", "ModelCall", "Prompts", "Slots", "Speculate"]
