"""What may be given as speculator and judge: a chat model, its name, or one with retries, fallbacks or settings around.

The wrappers are called as they are; what must be known of a model is asked of the chat models inside.
"""

from __future__ import annotations

import re
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase

from langgraph_speceyes.errors import ArgumentError, MissingExtraError, MissingLibraryError, describe_error
from langgraph_speceyes.foreign import cleaned, hide_keys
from langgraph_speceyes.models.endpoint import model_name

__all__ = ["Model", "chat_models", "identity", "resolve_model", "with_tools"]

Model = BaseChatModel | Runnable[Any, Any] | str
"""A chat model; one inside of `with_retry()`, `with_fallbacks()`, `bind()`, `bind_tools()` or `with_config()`; or a
name as LangChain's `init_chat_model` takes it, such as `"openai:gpt-5-mini"`."""

_LIBRARY = re.compile(r"\blangchain-[a-z0-9-]+")
_EXPECTED = (
    "a LangChain chat model, one with with_retry, with_fallbacks, bind or bind_tools around it, or a name such as "
    "'openai:gpt-5-mini'"
)


def resolve_model(argument: str, model: object) -> Runnable[Any, Any]:
    """Make of what a caller gives what can be called.

    Args:
        argument: Name of the argument.
        model: What the caller gave.

    Raises:
        ArgumentError: It is no such thing, or no model can be made of the name.
        MissingExtraError: A name without LangChain.
        MissingLibraryError: A name whose provider's package is not installed.
    """
    found = _named(argument, model) if isinstance(model, str) else model
    if not isinstance(found, Runnable) or not chat_models(found):
        raise ArgumentError(argument, _EXPECTED, type(found).__name__)
    hide_keys(*chat_models(found))
    return found


def chat_models(model: Runnable[Any, Any]) -> list[BaseChatModel]:
    """The chat models that may answer a call, the one that is asked first in front; none if anything else may."""
    found: list[BaseChatModel] = []
    open_ones: list[Any] = [model]
    while open_ones:
        one = open_ones.pop()
        if isinstance(one, BaseChatModel):
            found.append(one)
        elif isinstance(one, RunnableBindingBase):
            open_ones.append(one.bound)
        elif isinstance(one, RunnableWithFallbacks):
            open_ones += [*reversed(one.fallbacks), one.runnable]
        else:
            return []
    return found


def identity(model: Runnable[Any, Any]) -> list[Any]:
    """What tells a model from others: its name and parameters, and the settings around it."""
    if isinstance(model, RunnableBindingBase):
        settings = {key: repr(value) for key, value in model.kwargs.items()}
        return [settings, *identity(model.bound)]
    if isinstance(model, RunnableWithFallbacks):
        return [identity(one) for one in (model.runnable, *model.fallbacks)]
    kind, known = type(model), getattr(model, "_identifying_params", {})
    return [f"{kind.__module__}.{kind.__qualname__}", model_name(model), {k: repr(v) for k, v in known.items()}]


def with_tools(model: Runnable[Any, Any], tools: list[dict[str, Any]]) -> Runnable[Any, Any]:
    """The same with tools bound to the chat models inside."""
    if isinstance(model, BaseChatModel):
        return model.bind_tools(tools)
    if isinstance(model, RunnableBindingBase):
        return model.model_copy(update={"bound": with_tools(model.bound, tools)})
    assert isinstance(model, RunnableWithFallbacks), "resolve_model refuses others"
    fallbacks = [with_tools(one, tools) for one in model.fallbacks]
    return model.model_copy(update={"runnable": with_tools(model.runnable, tools), "fallbacks": fallbacks})


def _named(argument: str, name: str) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "langchain":
            raise MissingExtraError(f"{argument}={name!r}", "middleware") from missing
        raise
    try:
        made = init_chat_model(name)
    except ImportError as missing:
        if library := _LIBRARY.search(str(missing)):
            raise MissingLibraryError(f"{argument}={name!r}", library[0]) from missing
        raise
    except Exception as error:
        raise ArgumentError(argument, _EXPECTED, f"{name!r} ({describe_error(error)})") from cleaned(error)
    if not isinstance(made, BaseChatModel):
        raise ArgumentError(argument, _EXPECTED, repr(name))
    return made
