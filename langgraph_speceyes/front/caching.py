"""Answers of judge and speculator kept in one of LangGraph's caches."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.cache.base import BaseCache, FullKey
from langgraph.types import CachePolicy

from langgraph_speceyes.errors import describe_error
from langgraph_speceyes.images import ImagePolicy, inline_images, parse_block
from langgraph_speceyes.models.endpoint import listed_tokens

_logger = logging.getLogger(__name__)

NAMESPACE = "speceyes"
"""Answers are kept under `("speceyes", "judge model")` and `("speceyes", "speculator")`."""

GRAPH_CACHE: ContextVar[BaseCache[Any] | None] = ContextVar("speceyes_cache", default=None)
"""The cache that the graph under way was compiled with: LangGraph shows it to no node."""


class CallCache:
    """One model's answers by what it was asked.

    A key is made of the model, the call's settings and the prompt, with each image as the digest of its content: a file
    that has changed is another image. A cache that fails is as good as none.

    Args:
        policy: How long an answer is kept; its `key_func` is given a mapping of `model`, `settings` and `prompt`.
        cache: Where; None for the cache of the graph under way.
        name: What the answers are kept under.
        model: What tells the model and the call's settings from others.
        images: Which images may be read.
    """

    def __init__(
        self,
        policy: CachePolicy[Any],
        cache: BaseCache[Any] | None,
        *,
        name: str,
        model: Mapping[str, Any],
        images: ImagePolicy,
    ) -> None:
        self.policy, self.cache, self.model, self.images = policy, cache, model, images
        self._namespace = (NAMESPACE, name)

    @property
    def open(self) -> BaseCache[Any] | None:
        """Where answers are kept now; None for nowhere."""
        # one that has a length is not true while it is empty
        return GRAPH_CACHE.get() if self.cache is None else self.cache

    def key(self, messages: Sequence[BaseMessage]) -> FullKey:
        """The key of a prompt. Its images are read."""
        asked = {**self.model, "prompt": [_plain(one) for one in inline_images(messages, self.images)]}
        made = self.policy.key_func(asked)
        return self._namespace, hashlib.sha256(made.encode() if isinstance(made, str) else made).hexdigest()

    def get(self, cache: BaseCache[Any], key: FullKey) -> AIMessage | None:
        """An answer kept before, which costs no tokens now."""
        try:
            return _free(cache.get([key]).get(key))
        except Exception as error:
            _failed(error)
        return None

    async def aget(self, cache: BaseCache[Any], key: FullKey) -> AIMessage | None:
        """An answer kept before; see :meth:`get`."""
        try:
            return _free((await cache.aget([key])).get(key))
        except Exception as error:
            _failed(error)
        return None

    def set(self, cache: BaseCache[Any], key: FullKey, answer: AIMessage) -> None:
        """Keep an answer, if it can be scored."""
        try:
            if _scored(answer):
                cache.set({key: (answer, self.policy.ttl)})
        except Exception as error:
            _failed(error)

    async def aset(self, cache: BaseCache[Any], key: FullKey, answer: AIMessage) -> None:
        """Keep an answer; see :meth:`set`."""
        try:
            if _scored(answer):
                await cache.aset({key: (answer, self.policy.ttl)})
        except Exception as error:
            _failed(error)


def _free(kept: object) -> AIMessage | None:
    return kept.model_copy(update={"usage_metadata": None}) if isinstance(kept, AIMessage) else None


def _scored(answer: AIMessage) -> bool:
    return bool(listed_tokens(answer))


def _failed(error: Exception) -> None:
    _logger.warning("a cache cannot be used: %s", describe_error(error))


def _plain(message: BaseMessage) -> dict[str, Any]:
    content = message.content if isinstance(message.content, list) else [{"type": "text", "text": message.content}]
    return {"role": message.type, "content": [_block(one) for one in content]}


def _block(block: Any) -> Any:
    image = parse_block(block) if isinstance(block, dict) else None
    if image is None:
        return block
    return {"type": "image", "image": image.uri if image.kind == "remote" else _digest(image.payload)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
