"""The protocols in which backbones call tools."""

from __future__ import annotations

from langgraph_speceyes.agent.protocols.base import AgentProtocol, GrowingProtocol, Turn
from langgraph_speceyes.agent.protocols.deepeyes import DeepEyesProtocol
from langgraph_speceyes.agent.protocols.native import NativeProtocol
from langgraph_speceyes.agent.protocols.thyme import ThymeProtocol

__all__ = ["AgentProtocol", "DeepEyesProtocol", "GrowingProtocol", "NativeProtocol", "ThymeProtocol", "Turn"]
