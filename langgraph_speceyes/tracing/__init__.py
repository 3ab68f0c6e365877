"""What LangSmith and other tracers see: names, tags, the decision as metadata, and masked images."""

from __future__ import annotations

from langgraph_speceyes.tracing.beneath import masked_beneath, trace_policy
from langgraph_speceyes.tracing.client import masked_client
from langgraph_speceyes.tracing.feedback import feedback
from langgraph_speceyes.tracing.mask import mask_images
from langgraph_speceyes.tracing.notes import RunNotes

__all__ = ["RunNotes", "feedback", "mask_images", "masked_beneath", "masked_client", "trace_policy"]
