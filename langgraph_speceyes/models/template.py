"""LangChain messages as the dictionaries that chat templates read, with their images beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from PIL import Image

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import Conversation, ImagePolicy, ResizeRule, load_image, load_resized, parse_block

Turn = dict[str, Any]
RAW_OUTPUT = "generated_text"
"""Key of an answer's `response_metadata` for the whole text that tool calls were read from."""


def turns(
    messages: Sequence[BaseMessage], policy: ImagePolicy, rule: ResizeRule | None = None
) -> tuple[list[Turn], list[Image.Image]]:
    """Convert messages for a chat template.

    Args:
        messages: System, human, AI and tool messages.
        policy: Limits for the images, which are loaded here.
        rule: How the model's processor will resize them, which is then done here; None to leave that to it.

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
        shown.check_count(message, "messages")
        blocks = _blocks(message, shown, rule, images)
        if isinstance(message, SystemMessage):
            found.append({"role": "system", "content": blocks})
        elif isinstance(message, HumanMessage):
            found.append({"role": "user", "content": blocks})
        elif isinstance(message, ToolMessage):
            found.append(
                {"role": "tool", "content": blocks, "name": message.name, "tool_call_id": message.tool_call_id}
            )
        elif isinstance(message, AIMessage):
            turn: Turn = {"role": "assistant", "content": blocks}
            if (said := message.response_metadata.get(RAW_OUTPUT)) is not None:
                # a local model's own words, calls included: the tokens it wrote, not a template's spelling of them
                turn["content"] = [{"type": "text", "text": said}]
            elif message.tool_calls:
                turn["tool_calls"] = [
                    {"type": "function", "id": c["id"], "function": {"name": c["name"], "arguments": c["args"]}}
                    for c in message.tool_calls
                ]
            found.append(turn)
        else:
            raise ArgumentError("messages", "system, human, AI or tool messages", type(message).__name__)
    return found, images


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
        elif block.get("type") in ("tool_call", "tool_use", "reasoning", "thinking"):
            continue  # repeated in tool_calls, or not part of the visible text
        elif (reference := parse_block(block)) is not None:
            own, policy = shown.own(reference), shown.policy
            images.append(load_resized(own, rule, policy) if rule else load_image(own, policy))
            blocks.append({"type": "image"})
        else:
            raise ArgumentError("messages", "text and image blocks", f"a block of type {block.get('type')!r}")
    return blocks


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
