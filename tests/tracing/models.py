"""A model that looks closer twice and reads before it answers, and a large image to look at."""

from __future__ import annotations

import io
import os
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from PIL import Image
from pydantic import Field

from tests.scripted import Scripted

BOX = [10, 10, 400, 300]
CALLS = [
    ("crop", {"bbox_2d": BOX}),
    ("zoom", {"bbox_2d": BOX, "factor": 2}),
    ("ocr", {"bbox_2d": BOX}),
]


def noise(width: int = 1500, height: int = 1170) -> bytes:
    """A PNG of more than 5 MB, of which no two are alike."""
    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), os.urandom(width * height * 3)).save(out, "PNG", compress_level=0)
    return out.getvalue()


class Looks(Scripted):
    """Calls `CALLS` one after the other, then answers; `seen` holds what it was shown."""

    seen: list[list[BaseMessage]] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.seen.append(messages)
        done = sum(m.type == "tool" for m in messages)
        if done < len(CALLS):
            name, arguments = CALLS[done]
            message = AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{done}"}])
        else:
            message = AIMessage("from the agent")
        return ChatResult(generations=[ChatGeneration(message=message)])


class Reads:
    """Reads the same in every image."""

    def read(self, image: Image.Image) -> list[str]:
        return ["STOP"]
