"""Conversations that every family is asked, and what transformers itself makes of them."""

from __future__ import annotations

import base64
import functools
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from PIL import Image
from transformers import AutoModelForImageTextToText

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.models.processor import load_processor
from tests.models.families import Family

CLOSE = 2e-4
"""Most that two log-probabilities may differ in float32."""
TOKENS, K = 5, 20

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "crop",
        "description": "Cut a region out.",
        "parameters": {
            "type": "object",
            "properties": {"bbox": {"type": "array", "items": {"type": "integer"}}, "why": {"type": "string"}},
            "required": ["bbox"],
        },
    },
}


def picture(width: int, height: int) -> Image.Image:
    """Noise of a size, always the same."""
    return Image.fromarray(np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8))


def block(image: Image.Image) -> dict[str, Any]:
    """A picture as a content block."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image", "base64": data, "mime_type": "image/png"}


def words(text: str) -> dict[str, Any]:
    """A text as a content block."""
    return {"type": "text", "text": text}


SMALL, WIDE, THIN = picture(64, 48), picture(220, 130), picture(12, 150)
PICTURES = {block(image)["base64"]: image for image in (SMALL, WIDE, THIN)}

CASES: dict[str, list[BaseMessage]] = {
    "image": [HumanMessage([block(SMALL), words("What?")])],
    "large": [HumanMessage([block(WIDE), words("What is the color of the circle?")])],
    "thin": [SystemMessage("Be brief."), HumanMessage([block(THIN), words("yes or no")])],
    "text": [HumanMessage("What is red?")],
    "several": [HumanMessage([block(SMALL), block(WIDE), words("Same?")])],
    "turns": [
        *(HumanMessage([block(WIDE), words("What?")]), AIMessage("red")),
        HumanMessage([block(SMALL), words("And this?")]),
    ],
}


@dataclass
class Answer:
    """Tokens and top-K log-probabilities of an answer, and how long its prompt was."""

    tokens: list[str]
    logprobs: list[list[float]] = field(repr=False)
    prompt: int

    def compare(self, other: Answer) -> float | str:
        """The largest difference of log-probabilities, or what else differs."""
        if self.prompt != other.prompt:
            return f"prompt of {self.prompt} tokens, not {other.prompt}"
        if self.tokens != other.tokens:
            return f"tokens {self.tokens}, not {other.tokens}"
        pairs = zip(self.logprobs, other.logprobs, strict=True)
        return max((abs(a - b) for one, two in pairs for a, b in zip(one, two, strict=True)), default=0.0)


def answer_of(message: AIMessage) -> Answer:
    """An answer that a chat model gave."""
    entries = message.response_metadata["logprobs"]["content"]
    usage = message.usage_metadata
    assert usage is not None
    listed = [[one["logprob"] for one in entry["top_logprobs"]] for entry in entries]
    return Answer([entry["token"] for entry in entries], listed, usage["input_tokens"])


def asked(chat: LocalChatModel, messages: list[BaseMessage], **options: Any) -> Answer:
    """One call alone."""
    call = {"logprobs": True, "top_logprobs": K, "max_tokens": TOKENS}
    return answer_of(chat.invoke(messages, **(call | options)))


class Says:
    """A model that says one thing, token by token."""

    def __init__(self, chat: LocalChatModel, text: str) -> None:
        self.chat, self.engine = chat, chat._engine
        self.ids = self.engine.tokenizer(text, add_special_tokens=False)["input_ids"]

    def __enter__(self) -> Says:
        self._forward, step = self.engine.model.forward, iter([*self.ids, self.engine.tokenizer.eos_token_id])

        # with the signature that `generate` checks its arguments by
        @functools.wraps(self._forward)
        def forward(*args: Any, **kwargs: Any) -> Any:
            out = self._forward(*args, **kwargs)
            out.logits = torch.full_like(out.logits, -50.0)
            out.logits[:, -1, next(step)] = 50.0
            return out

        self.engine.model.forward = forward
        return self

    def __exit__(self, *args: object) -> None:
        self.engine.model.forward = self._forward


def together(chat: LocalChatModel, conversations: list[list[BaseMessage]]) -> list[Answer]:
    """Several in one batch."""
    call = {"logprobs": True, "top_logprobs": K, "max_tokens": TOKENS}
    requests = [chat._request(one, None, call) for one in conversations]
    completions = chat._engine.generate(requests)
    return [answer_of(chat._message(r, c, call)) for r, c in zip(requests, completions, strict=True)]


class Reference:
    """Transformers' own rendering and `generate`, on a model and a processor of its own."""

    def __init__(self, folder: str, family: Family, device: str) -> None:
        self.family = family
        self.model = AutoModelForImageTextToText.from_pretrained(folder).to(device).eval()
        self.processor = load_processor(folder)
        self.tokenizer = self.processor.tokenizer
        ends = self.model.generation_config.eos_token_id
        self.ends = {ends} if isinstance(ends, int) else set(ends)

    def __call__(self, messages: list[BaseMessage], tools: list[dict[str, Any]] | None = None) -> Answer:
        inputs = self.processor.apply_chat_template(
            self._turns(messages),
            tools=tools,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.model.device)
        with torch.inference_mode():
            made = self.model.generate(
                **inputs, do_sample=False, max_new_tokens=TOKENS, output_logits=True, return_dict_in_generate=True
            )
        ids = made.sequences[0][-len(made.logits) :].tolist()
        tokens, listed = [], []
        for token, logits in zip(ids, made.logits, strict=True):
            if token in self.ends:
                break
            tokens.append(self.tokenizer.decode([token]))
            listed.append(logits[0].float().log_softmax(-1).topk(K).values.tolist())
        return Answer(tokens, listed, inputs["input_ids"].shape[1])

    def _turns(self, messages: list[BaseMessage]) -> list[dict[str, Any]]:
        """The conversation as the family's documentation has it written."""
        turns = [_turn(message) for message in messages]
        if self.family.no_system and turns[0]["role"] == "system":
            (first,) = turns.pop(0)["content"]
            turns[0]["content"].insert(0, words(f"{first['text']}\n\n"))
        for turn in turns:
            if turn["role"] in self.family.texts:
                turn["content"] = "".join(block["text"] for block in turn["content"])
        return turns


def _turn(message: BaseMessage) -> dict[str, Any]:
    role = {"human": "user", "ai": "assistant", "system": "system"}[message.type]
    content = [words(message.content)] if isinstance(message.content, str) else message.content
    blocks = [
        one if one["type"] == "text" else {"type": "image", "image": PICTURES[one["base64"]]}  # type: ignore[index]
        for one in content
    ]
    return {"role": role, "content": blocks}
