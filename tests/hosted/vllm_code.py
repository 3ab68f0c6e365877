"""The agent that writes code behind vLLM: the code and the answers of this process; run by `vllm_server.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage

from langgraph_speceyes.images import inline_images
from langgraph_speceyes.models.hosted import hosted_model, probe
from langgraph_speceyes.testbed.code_agent import CODE_AGENT_NAME, MAX_TOKENS, CodePair, load_code_pair
from langgraph_speceyes.testbed.questions import SPLITS

URL = os.environ["SPECEYES_TEST_CODE_AGENT_URL"]
EACH = 5


@pytest.fixture(scope="module")
def pair() -> Iterator[CodePair]:
    found = load_code_pair()
    yield found
    found.large.close()  # type: ignore[attr-defined]


def text_of(messages: list[BaseMessage]) -> list[str]:
    """What the model wrote and was told, a text for each of its turns; images left out."""
    return ["".join(message.text) for message in messages if isinstance(message, AIMessage)]


def test_it_writes_the_same_code_and_answers_the_same(pair: CodePair, ask: Callable[[str, int], list[Any]]) -> None:
    served = hosted_model(CODE_AGENT_NAME, base_url=URL, temperature=0.0, max_tokens=MAX_TOKENS)
    found = probe(served)
    assert (found.images, found.continues) == ("yes", "yes"), found.said
    here, there = (replace(pair, large=model).agent().compile() for model in (pair.large, served))
    same = blocks = right = 0
    for split in SPLITS:
        for question, message in ask(split, EACH):
            # inline on both sides, so that both get the very same images
            asked = {"messages": inline_images([message])}
            mine, its = (text_of(agent.invoke(asked)["messages"]) for agent in (here, there))
            if mine != its:
                print(f"\n{question.id}\n  here:  {mine}\n  there: {its}")
            same += mine == its
            blocks += sum(text.count("</code>") for text in its)
            right += question.is_right(its[-1].rpartition("<answer>")[2].partition("</answer>")[0])
    count = EACH * len(SPLITS)
    print(f"\n{same} of {count} the same, {blocks} blocks of code, {right} right")
    assert same == count
    assert blocks >= count // 2
