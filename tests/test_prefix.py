"""Judge and agent prompts of one model: the same tokens up to their last words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from langgraph_speceyes import create_speceyes, create_visual_agent
from langgraph_speceyes.models import LocalChatModel
from langgraph_speceyes.prompts import Prompts
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.pair import PROMPTS, Pair


class Prompted(BaseCallbackHandler):
    """Collects what each run of a chat model was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any, Any]] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.sent.append((kwargs["name"], messages[0], kwargs["invocation_params"].get("tools")))


def tokens(model: LocalChatModel, messages: Any, tools: Any) -> list[int]:
    text, images = model.render(messages, tools)
    found: list[int] = model._engine.processor(text=[text], images=[list(images)])["input_ids"][0]
    return found


@pytest.mark.parametrize("kind", ["embedded", "native"])
def test_the_common_prefix_ends_where_the_instruction_begins(pair: Pair, ask: Callable[..., Any], kind: str) -> None:
    large: Any = pair.large
    ((_, message),) = ask("attributes", 1)
    if kind == "embedded":
        agent, instructions, said = pair.agent(), (prompts.JUDGE, prompts.AGENT), PROMPTS
    else:
        # tools by bind_tools, which a chat template writes into the system turn
        agent = create_visual_agent(large, instruction="Look.", coordinates="resized", max_steps=1)
        instructions, said = ("Tools?", "Look."), Prompts(judge="Tools?")
    graph = create_speceyes(
        agent, speculator=pair.speculator, judge=large, gate=replace(pair.gate, threshold=0.999999), prompts=said
    ).compile()
    seen = Prompted()
    graph.invoke({"messages": [message]}, {"callbacks": [seen]})
    judged = next((m, t) for name, m, t in seen.sent if name == "judge model")
    acted = next((m, t) for name, m, t in seen.sent if name not in ("judge model", "speculator"))
    one, two = tokens(large, *judged), tokens(large, *acted)
    common = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    tokenizer = large._engine.tokenizer
    rest = [tokenizer.decode(ids[common:]) for ids in (one, two)]
    for left, instruction in zip(rest, instructions, strict=True):
        # nothing but the instruction and the opening of the answer is left
        assert left.strip().removesuffix("<|im_start|>assistant").removesuffix("<|im_end|>\n").strip() in instruction
    question = tokenizer.decode(one[:common])
    assert message.content[1]["text"] in question
    assert common > 0.8 * len(one)
