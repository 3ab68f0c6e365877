"""What the pages' code takes for granted: each of these puts names into a page's namespace, or files into its folder.

The pages show plain code for models of anybody's. Here these are the embedded pair, which only knows the words that it
was trained on: the translation between those and the package's default prompts is made below its surface.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.agent import find_question, with_instruction
from langgraph_speceyes.agent.protocols.tags import find_answer
from langgraph_speceyes.prompts import JUDGE, JUDGE_FOLLOW_UP, SPECULATE
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.pair import GATE, Pair
from langgraph_speceyes.testbed.questions import Split, questions
from langgraph_speceyes.traffic import SQLiteJournal, drain
from tests.bench.traffic_made import stream
from tests.bench.traffic_made import written as shadow_traffic
from tests.traffic.records import made

WORDS = {JUDGE: prompts.JUDGE, JUDGE_FOLLOW_UP: prompts.JUDGE, SPECULATE: prompts.SPECULATE}


class Translated(LocalChatModel):
    """An embedded model that understands the default prompts, and the tools of `create_agent`."""

    @classmethod
    def of(cls, model: Any) -> Translated:
        return cls.sharing(model, tools_in_prompt=False)

    def _request(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Any:
        return super()._request(translated(messages), stop, kwargs)

    def _message(self, request: Any, completion: Any, kwargs: dict[str, Any]) -> AIMessage:
        message = super()._message(request, completion, kwargs)
        if kwargs.get("tools") and not kwargs.get("logprobs") and not message.tool_calls:
            return message.model_copy(update={"content": find_answer(message.text)})
        return message


def translated(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The same conversation in the words of the embedded pair."""
    found = [message for message in messages if not isinstance(message, SystemMessage)]
    at = find_question(found)
    question = found[at].model_copy(update={"content": [_block(block) for block in _blocks(found[at])]})
    if not question.text.endswith((*WORDS.values(), prompts.AGENT)):
        question = with_instruction(question, prompts.AGENT)
    return [SystemMessage(prompts.SYSTEM), *found[:at], question, *found[at + 1 :]]


def _blocks(message: BaseMessage) -> list[Any]:
    content = message.content
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _block(block: Any) -> Any:
    if block["type"] != "text":
        return block
    text = block["text"]
    for ours, theirs in WORDS.items():
        text = text.replace(ours, theirs)
    return {**block, "text": text}


def images(pair: Pair, folder: Path) -> dict[str, Any]:
    """`scene.png`, an easy scene with a circle, and `label.png`, whose label only tools can read."""
    for name, split, number in (("scene.png", "attributes", 0), ("label.png", "reading", 1)):
        _scene(split, number).save(folder / name)
    return {}


def models(pair: Pair, folder: Path) -> dict[str, Any]:
    """`small` and `large`."""
    return {"small": Translated.of(pair.speculator), "large": Translated.of(pair.large)}


def agent(pair: Pair, folder: Path) -> dict[str, Any]:
    """`my_agent`: somebody's compiled agent over messages."""
    return {"my_agent": pair.agent().compile(name="agent")}


def gate(pair: Pair, folder: Path) -> dict[str, Any]:
    """`gate.json`."""
    shutil.copy(GATE, folder / "gate.json")
    return {}


def own_questions(pair: Pair | None, folder: Path, each: int = 5) -> dict[str, Any]:
    """`questions.jsonl`, with images for both halves, and so many questions of two splits."""
    rows = []
    for split in ("relations", "existence"):
        for number, question in enumerate(questions(split, "calibration", each)):
            image = f"{split}-{number}.png"
            question.render().resize((384, 384)).save(folder / image)
            rows.append({"image": image, "question": question.stem, "answer": question.key, "split": split})
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {}


def journal(pair: Pair, folder: Path) -> dict[str, Any]:
    """`traffic.db`, a journal of three questions."""
    with closing(SQLiteJournal(folder / "traffic.db")) as written_to:
        for number, (route, agree) in enumerate([("bypass", True), ("fallback", True), ("fallback", False)]):
            written_to.write(made(str(number), route=route, agree=agree))
    return {}


def shadow_journal(pair: Pair | None, folder: Path) -> dict[str, Any]:
    """`traffic.db` with 300 more questions in shadow, on half of which the small model is sure and right."""
    drain()
    shadow_traffic(folder / "traffic.db", stream(300))
    return {}


def _scene(split: Split, number: int) -> Any:
    return questions(split, "calibration", number + 1)[number].render()


PRELUDES: dict[str, Callable[[Pair, Path], dict[str, Any]]] = {
    "images": images,
    "models": models,
    "agent": agent,
    "gate": gate,
    "questions": own_questions,
    "journal": journal,
    "shadow_journal": shadow_journal,
}
