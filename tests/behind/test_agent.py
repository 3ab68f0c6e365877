"""An agent behind the bypass: what it is given, and what becomes of it in the state around it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from langgraph_speceyes import create_speceyes, image_question
from langgraph_speceyes.behind import agent as behind
from tests.scripted import Agent, speculator


async def test_images_are_read_off_the_event_loop_and_the_state_keeps_the_callers_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "one.png")
    Image.new("RGB", (40, 30), "teal").save(path)
    threads: set[int] = set()
    read = behind.inline_local_images

    def watched(*args: Any, **settings: Any) -> Any:
        threads.add(threading.get_ident())
        if threading.get_ident() == loop:
            # as servers that refuse blocking calls on their loop
            return list(args[0])
        return read(*args, **settings)

    loop = threading.get_ident()
    monkeypatch.setattr(behind, "inline_local_images", watched)
    agent = Agent()
    graph = create_speceyes(agent.graph, speculator=speculator(0.01)).compile()
    result = await graph.ainvoke({"messages": [image_question(path, "What?")]})
    assert agent.runs[0][0].content[0]["base64"]  # type: ignore[index]
    assert result["messages"][0].content[0]["url"] == path
    assert threads
    assert loop not in threads
