"""The front end as a graph within a node, whatever the run around it is held to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from PIL import Image

from langgraph_speceyes import Gate, SpecEyesMiddleware, image_question
from langgraph_speceyes.models.waiting import on_thread
from tests.scripted import Scripted, judge, speculator
from tests.waiting import PATIENCE_S


@pytest.mark.parametrize("order", ["judge_first", "parallel"])
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_run_with_few_places_has_room_for_it(tmp_path: Path, order: Any, at_once: int) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "street.png")
    bypass = SpecEyesMiddleware(speculator(3.0), judge=judge(0.1), gate=Gate("min", 0.98, 64), order=order)
    agent = create_agent(Scripted(answer="from the agent"), middleware=[bypass])
    asked: Any = {"messages": [image_question(tmp_path / "street.png", "What colour is it?")]}
    # without room it waits for ever
    running = on_thread(lambda: agent.invoke(asked, {"max_concurrency": at_once}))
    assert running.result(PATIENCE_S)["decision"]["route"] == "bypass"
