"""Marks that the program puts on messages, which nobody else can set.

A mark says that the program wrote a message or a part of it. Whoever sends messages may write any keys into them, so
that a mark counts only where this process has made it: marks that live as long as one call are objects that no JSON
becomes, and a mark that stays in a thread is signed with a key of the process. One that does not verify is data.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from typing import Any

from langchain_core.messages import BaseMessage

_KEY = secrets.token_bytes(32)


class Written(str):
    """Text that the program wrote, in a mark that lives as long as a call."""

    __slots__ = ()


class Places(tuple[int, ...]):
    """Places that the program chose, in a mark that lives as long as a call."""

    __slots__ = ()


def signature(mark: str, content: Any) -> str:
    """The value of a mark that stays in a thread: a signature of the message's texts.

    Args:
        mark: The mark's key.
        content: The message's content. Its images are left out: they are inlined, and stored, on the way.
    """
    blocks = content if isinstance(content, list) else [content]
    texts = [block.get("text") if isinstance(block, dict) else block for block in blocks]
    data = json.dumps([mark, texts], default=str, ensure_ascii=True)
    return hmac.new(_KEY, data.encode(), hashlib.sha256).hexdigest()


def is_signed(message: BaseMessage, mark: str) -> bool:
    """Whether this process has put a mark on a message as it stands."""
    found = message.additional_kwargs.get(mark)
    if not isinstance(found, str) or len(found) != 64 or not found.isascii():
        return False
    return hmac.compare_digest(found, signature(mark, message.content))
