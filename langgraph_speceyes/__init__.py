"""A speculative bypass for LangGraph visual agents (SpecEyes, arXiv 2603.23483)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph_speceyes.agent import create_visual_agent, visual_tools
from langgraph_speceyes.behind.slots import Slots
from langgraph_speceyes.errors import SpecEyesError
from langgraph_speceyes.front.settings import SpecEyesContext
from langgraph_speceyes.funnel import create_funnel
from langgraph_speceyes.graph import create_speceyes
from langgraph_speceyes.images import ImagePolicy
from langgraph_speceyes.models.hosted import hosted_model, probe
from langgraph_speceyes.prompts import Prompts, image_question
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.state import Decision, SpecEyesState
from langgraph_speceyes.tracing import feedback, mask_images, masked_client
from langgraph_speceyes.traffic import SelfOpening

if TYPE_CHECKING:
    from langgraph_speceyes.middleware import SpecEyesMiddleware
    from langgraph_speceyes.models import LocalChatModel

__all__ = [
    "Decision",
    "Gate",
    "ImagePolicy",
    "LocalChatModel",
    "Prompts",
    "SelfOpening",
    "Slots",
    "SpecEyesContext",
    "SpecEyesError",
    "SpecEyesMiddleware",
    "SpecEyesState",
    "create_funnel",
    "create_speceyes",
    "create_visual_agent",
    "feedback",
    "hosted_model",
    "image_question",
    "mask_images",
    "masked_client",
    "probe",
    "visual_tools",
]


def __getattr__(name: str) -> Any:
    if name == "LocalChatModel":
        # torch and transformers are loaded only for those who ask for a local model
        from langgraph_speceyes.models import LocalChatModel

        return LocalChatModel
    if name == "SpecEyesMiddleware":
        # LangChain is an extra
        from langgraph_speceyes.middleware import SpecEyesMiddleware

        return SpecEyesMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
