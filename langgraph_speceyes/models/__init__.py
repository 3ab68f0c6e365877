"""The local chat model, and the batching in front of it. Needs the extra `local` (torch and transformers)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph_speceyes.errors import MissingExtraError
from langgraph_speceyes.models.batcher import BatchStats, MicroBatcher

if TYPE_CHECKING:
    from langgraph_speceyes.models.chat import LocalChatModel

__all__ = ["BatchStats", "LocalChatModel", "MicroBatcher"]


def __getattr__(name: str) -> Any:
    if name == "LocalChatModel":
        try:
            from langgraph_speceyes.models.chat import LocalChatModel
        except ModuleNotFoundError as missing:
            if missing.name in ("torch", "transformers", "jinja2"):
                raise MissingExtraError("LocalChatModel", "local") from missing
            raise
        return LocalChatModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
