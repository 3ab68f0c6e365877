"""Code that a model writes, run where it can do no harm."""

from __future__ import annotations

from langgraph_speceyes.agent.sandbox.backend import OUTPUT_FOLDER, image_path
from langgraph_speceyes.agent.sandbox.code import CodeTool
from langgraph_speceyes.agent.sandbox.limits import CodeLimits
from langgraph_speceyes.agent.sandbox.outcome import CodeOutcome, Failure, escape_tags
from langgraph_speceyes.agent.sandbox.protocol import Downloaded, Executed, Sandbox, Uploaded
from langgraph_speceyes.agent.sandbox.shell import BubblewrapSandbox
from langgraph_speceyes.agent.sandbox.tool import code_tool

__all__ = [
    "OUTPUT_FOLDER",
    "BubblewrapSandbox",
    "CodeLimits",
    "CodeOutcome",
    "CodeTool",
    "Downloaded",
    "Executed",
    "Failure",
    "Sandbox",
    "Uploaded",
    "code_tool",
    "escape_tags",
    "image_path",
]
