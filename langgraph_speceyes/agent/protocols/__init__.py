"""The protocols in which backbones call tools."""

from __future__ import annotations

from langgraph_speceyes.agent.protocols.base import AgentProtocol, Turn
from langgraph_speceyes.agent.protocols.deepeyes import DeepEyesProtocol
from langgraph_speceyes.agent.protocols.native import NativeProtocol

__all__ = ["AgentProtocol", "DeepEyesProtocol", "NativeProtocol", "Turn"]
