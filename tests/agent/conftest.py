"""A scripted model and a picture whose every pixel tells where it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from PIL import Image

SIZE = (400, 300)


class Scripted(BaseChatModel):
    """Plays back messages and records what it was sent, and with which tools."""

    script: list[Any]
    sent: list[list[BaseMessage]] = []
    tools: list[list[str]] = []
    threads: list[int] = []
    accepts_image_references: bool = True
    resize_rule: Any = None
    before: Callable[[], object] = lambda: None

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools, **kwargs)

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        self.before()
        self.threads.append(threading.get_ident())
        self.sent.append(list(messages))
        self.tools.append([tool["function"]["name"] for tool in kwargs.get("tools", [])])
        said = self.script[(len(self.sent) - 1) % len(self.script)]
        if isinstance(said, str):
            said = AIMessage(said)
        return ChatResult(generations=[ChatGeneration(message=said.model_copy(deep=True, update={"id": None}))])


@pytest.fixture
def scripted() -> Callable[..., Scripted]:
    """Make a model of what it is to say."""

    def make(*script: Any, **settings: Any) -> Scripted:
        return Scripted(script=list(script), sent=[], tools=[], threads=[], **settings)

    return make


@pytest.fixture
def called() -> Callable[..., AIMessage]:
    """Make a message with native tool calls: pairs of name and arguments."""

    def make(*calls: tuple[str, dict[str, Any]]) -> AIMessage:
        made = [{"name": name, "args": args, "id": f"call_{i}"} for i, (name, args) in enumerate(calls)]
        return AIMessage("", tool_calls=made)

    return make


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep interned images out of the user's cache."""
    directory = tmp_path / "store"
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(directory))
    return directory


@pytest.fixture
def picture() -> Image.Image:
    """400 x 300 pixels; the pixel at (x, y) is (x // 2, y // 2, 7)."""
    red = Image.new("L", SIZE)
    red.putdata([x // 2 for _ in range(SIZE[1]) for x in range(SIZE[0])])
    green = Image.new("L", SIZE)
    green.putdata([y // 2 for y in range(SIZE[1]) for _ in range(SIZE[0])])
    return Image.merge("RGB", (red, green, Image.new("L", SIZE, 7)))


@pytest.fixture
def path(tmp_path: Path, picture: Image.Image) -> str:
    """The picture on disk."""
    file = tmp_path / "picture.png"
    picture.save(file)
    return str(file)


@pytest.fixture
def question(path: str) -> HumanMessage:
    """A question about the picture."""
    return HumanMessage([{"type": "image", "url": path}, {"type": "text", "text": "What colour?"}])


class Echo:
    """A text reader that says what size it was given."""

    def read(self, image: Image.Image) -> list[str]:
        return [f"{image.width}x{image.height}", "second line"]


@pytest.fixture
def echo() -> Echo:
    return Echo()
