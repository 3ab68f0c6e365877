"""LangChain messages as the dictionaries that chat templates read, with their images beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage
from PIL import Image

from langgraph_speceyes.agent.marks import Places, Written, is_signed
from langgraph_speceyes.agent.question import (
    INSTRUCTION_MARK,
    MARKUP_MARK,
    OBSERVATION_MARK,
    TOOL_TEXT_MARK,
    TOOL_TEXT_TAGS,
)
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import (
    Conversation,
    ImagePolicy,
    ImageRef,
    ResizeRule,
    load_image,
    load_resized,
    parse_block,
)
from langgraph_speceyes.models.control import ControlTokens

Turn = dict[str, Any]
RAW_OUTPUT = "generated_text"
"""Key of an answer's `response_metadata` for the whole text that tool calls were read from."""
READ_AS = "generated_as"
"""Key beside it for what was read from it, as :func:`read_as` has it: calls that a person edited are not those any
more."""
THOUGHT_BLOCKS = ("reasoning", "reasoning_content", "thinking", "redacted_thinking")
"""Content blocks that hold a thought, as providers name them."""


def turns(
    messages: Sequence[BaseMessage], policy: ImagePolicy, rule: ResizeRule | None, control: ControlTokens
) -> tuple[list[Turn], list[Image.Image]]:
    """Convert messages for a chat template.

    Nobody's text becomes a special token. Other markup (`<think>`, `<tool_response>`) stays what it is in the model's
    own turns and in what the program wrote: system prompts, instructions, observations.

    Args:
        messages: System, human, AI and tool messages.
        policy: Limits for the images, which are loaded here.
        rule: How the model's processor will resize them, which is then done here; None to leave that to it.
        control: The tokenizer's control tokens.

    Returns:
        The turns, contents as lists of blocks, and the images in the order of their blocks.

    Raises:
        ArgumentError: A message of another kind, or a content block that is neither text nor image.
        ImageError: An image cannot be loaded, or a message has too many.
    """
    images: list[Image.Image] = []
    found: list[Turn] = []
    shown = Conversation(messages, policy)
    for message in messages:
        role = _role(message)
        shown.check_count(message, "messages")
        blocks = _blocks(message, shown, rule, images)
        turn: Turn = {"role": role, "content": blocks}
        if isinstance(message, ToolMessage):
            turn |= {"name": control.deep(message.name), "tool_call_id": control.deep(message.tool_call_id)}
        elif isinstance(message, AIMessage):
            metadata = message.response_metadata
            same = metadata.get(READ_AS) == read_as(message.text, message.tool_calls)
            if isinstance(said := metadata.get(RAW_OUTPUT), str) and same:
                # a local model's own words, calls included: the tokens it wrote, not a template's spelling of them
                turn["content"] = [{"type": "text", "text": said}]
            elif message.tool_calls:
                turn["tool_calls"] = [
                    {
                        "type": "function",
                        "id": control.deep(c["id"]),
                        "function": {"name": control.deep(c["name"]), "arguments": control.deep(c["args"])},
                    }
                    for c in message.tool_calls
                ]
        if not turn["content"] and "tool_calls" not in turn:
            # some templates look at the first block
            turn["content"] = [{"type": "text", "text": ""}]
        _make_plain(turn["content"], message, role, control)
        found.append(turn)
    return found, images


def read_as(text: str, calls: Sequence[ToolCall]) -> str:
    """The words and calls of an answer in short."""
    # streams differ in white space
    said = json.dumps(["".join(text.split()), [[c["name"], c["args"]] for c in calls]], sort_keys=True, default=str)
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def images_as_user_turns(found: Sequence[Turn]) -> list[Turn]:
    """The same turns for templates that drop images of tool results: the images follow in a user turn."""
    moved: list[Turn] = []
    for turn in found:
        pictures = [b for b in turn["content"] if b["type"] == "image"] if turn["role"] == "tool" else []
        if pictures:
            words = [b for b in turn["content"] if b["type"] != "image"]
            moved.append({**turn, "content": words or [{"type": "text", "text": "See the image below."}]})
            moved.append({"role": "user", "content": pictures})
        else:
            moved.append(turn)
    return moved


def _role(message: BaseMessage) -> str:
    roles = ((SystemMessage, "system"), (HumanMessage, "user"), (AIMessage, "assistant"), (ToolMessage, "tool"))
    for kind, role in roles:
        if isinstance(message, kind):
            return role
    raise ArgumentError("messages", "system, human, AI or tool messages", type(message).__name__)


def _make_plain(blocks: list[Turn], message: BaseMessage, role: str, control: ControlTokens) -> None:
    marked = isinstance(message.additional_kwargs.get(MARKUP_MARK), Written)
    ours = role in ("system", "assistant") or marked or is_signed(message, OBSERVATION_MARK)
    instruction = message.additional_kwargs.get(INSTRUCTION_MARK)
    tagged = message.additional_kwargs.get(TOOL_TEXT_MARK)
    for place, block in enumerate(blocks):
        if block["type"] != "text":
            continue
        follows = place + 1 < len(blocks) and blocks[place + 1]["type"] == "text"
        text, end = block["text"], ""
        if isinstance(instruction, Written) and place == len(blocks) - 1 and text.endswith(instruction):
            text, end = text[: len(text) - len(instruction)], control.plain(instruction, markup=True)
        if isinstance(tagged, Places) and place in tagged and text.startswith(TOOL_TEXT_TAGS[0]):
            # the tags are the program's; what stands between them is anybody's
            begin, closing = TOOL_TEXT_TAGS
            inner, mark, rest = text.removeprefix(begin).rpartition(closing)
            block["text"] = begin + control.plain(inner, markup=ours) + mark + control.plain(rest, after=follows) + end
            continue
        block["text"] = control.plain(text, markup=ours, after=follows) + end


def _seen(image: ImageRef, rule: ResizeRule | None, policy: ImagePolicy) -> Image.Image:
    """An image, resized already but for very thin ones, which the processor would then resize once more."""
    if rule is not None and not rule.thinned(*(resized := load_resized(image, rule, policy)).size):
        return resized
    return load_image(image, policy)


def _blocks(
    message: BaseMessage, shown: Conversation, rule: ResizeRule | None, images: list[Image.Image]
) -> list[Turn]:
    content = message.content
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    blocks: list[Turn] = []
    for block in content:
        if isinstance(block, str):
            blocks.append({"type": "text", "text": block})
        elif block.get("type") == "text":
            blocks.append({"type": "text", "text": str(block.get("text", ""))})
        elif (reference := parse_block(block)) is not None:
            own, policy = shown.own(reference), shown.policy
            images.append(_seen(own, rule, policy))
            blocks.append({"type": "image"})
        elif not isinstance(message, AIMessage):
            # those of a model are no visible text: thoughts, calls (repeated in `tool_calls`), what its provider did
            raise ArgumentError("messages", "text and image blocks", f"a block of type {block.get('type')!r}")
    return blocks
