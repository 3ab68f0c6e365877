"""Code that a model writes, run where it can do no harm."""

from __future__ import annotations

from langgraph_speceyes.agent.sandbox.limits import CodeLimits
from langgraph_speceyes.agent.sandbox.outcome import CodeOutcome, Failure, escape_tags
from langgraph_speceyes.agent.sandbox.protocol import Downloaded, Executed, Sandbox, Uploaded

__all__ = ["CodeLimits", "CodeOutcome", "Downloaded", "Executed", "Failure", "Sandbox", "Uploaded", "escape_tags"]
