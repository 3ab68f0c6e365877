"""Models behind OpenAI-compatible endpoints: making one, and what a refusal of `top_logprobs` means.

Chat completions only: the Responses API returns no candidates. What an endpoint can do is found by
:func:`~langgraph_speceyes.models.probing.probe`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from langgraph_speceyes.errors import ArgumentError, MissingExtraError
from langgraph_speceyes.foreign import cleaned
from langgraph_speceyes.models.endpoint import Endpoint, stated_limit
from langgraph_speceyes.models.probing import aprobe, probe
from langgraph_speceyes.models.refusal import MOST_READ, in_words, told
from langgraph_speceyes.scoring.odds import LEAST_CANDIDATES

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI

__all__ = ["Endpoint", "aprobe", "explain", "hosted_model", "key_from", "probe"]

KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLES = ("OPENAI_API_BASE", "OPENAI_BASE_URL")
NO_KEY = "-"
"""Sent to servers that want no key; OpenAI's client insists on one."""
DEFAULTS: dict[str, Any] = {"max_retries": 2, "timeout": 120.0, "stream_usage": True}

_VARIABLE = re.compile(r"[A-Z]+[0-9]*(?:_[A-Z0-9]+)*")
_REFUSALS = (None, 400, 422)
# a client that has no such parameter; a class whose settings are checked by pydantic
_UNKNOWN = re.compile(
    r"argument '(\w*(?:logprobs|tokens))'|^(\w*(?:logprobs|tokens))\n +Extra inputs are not permitted", re.MULTILINE
)


def hosted_model(model: str, *, base_url: str | None = None, api_key: str | None = None, **options: Any) -> ChatOpenAI:
    """A model behind an OpenAI-compatible chat completions endpoint, set up for this package.

    Args:
        model: The model's name on the server.
        base_url: Where the server is, such as `http://localhost:8000/v1`; the default is `OPENAI_API_BASE`,
            `OPENAI_BASE_URL`, or OpenAI itself.
        api_key: The key; the default is `OPENAI_API_KEY`. Another server than OpenAI needs none: without either a
            placeholder is sent. Give `"-"` to keep a key that is in the environment from such a server.
        options: Fields of `ChatOpenAI`, before this function's: two retries, 120 seconds for a request, and streams
            that end with the tokens used (`stream_usage`).

    Returns:
        The model, never using the Responses API.

    Raises:
        ArgumentError: No model, an URL that is none, no key for OpenAI or one that cannot be sent,
            `use_responses_api=True`, or settings that OpenAI's client refuses.
        MissingExtraError: langchain-openai is not installed.
    """
    try:
        from langchain_openai import ChatOpenAI
    except ModuleNotFoundError as missing:
        if missing.name in ("langchain_openai", "openai"):
            raise MissingExtraError("hosted_model", "openai") from missing
        raise
    if not model.strip():
        raise ArgumentError("model", "the name of a model", "empty text")
    if base_url is not None and not re.match(r"\s*https?://[^/]", base_url, re.IGNORECASE):
        raise ArgumentError("base_url", "an http(s) URL such as http://localhost:8000/v1", repr(base_url))
    if options.get("use_responses_api"):
        raise ArgumentError("use_responses_api", "False: the Responses API returns no candidates", True)
    elsewhere = base_url or next((os.environ[name] for name in URL_VARIABLES if os.environ.get(name)), None)
    # a line end behind a key is what reading it from a file leaves
    key = (api_key or os.environ.get(KEY_VARIABLE) or "").strip() or (NO_KEY if elsewhere else None)
    if key is None:
        raise ArgumentError("api_key", f"a key, {KEY_VARIABLE} in the environment, or a base_url beside it", None)
    if not key.isascii() or not key.isprintable():
        raise ArgumentError("api_key", "a key, of printable ASCII characters", "others")
    settings = DEFAULTS | options | {"use_responses_api": False}
    try:
        return ChatOpenAI(model=model, base_url=base_url and base_url.strip(), api_key=SecretStr(key), **settings)
    except Exception as error:
        expected = "settings that OpenAI's client can use (it reads proxies and certificates from the environment, too)"
        raise ArgumentError("hosted_model", expected, in_words(error)) from cleaned(error)


def key_from(variable: str | None) -> str | None:
    """The key in an environment variable; None where none is named.

    Raises:
        ArgumentError: There is none in it. What was named is shown only if it cannot be the key itself.
    """
    if variable is None:
        return None
    if key := os.environ.get(variable, "").strip():
        return key
    where = f"none in {variable}" if _VARIABLE.fullmatch(variable) else "none under what was given"
    raise ArgumentError("api-key-env", "the name of an environment variable that holds a key", where)


def explain(error: BaseException, k: int) -> str | None:
    """What to do about a server that refused to return K candidates a token, or a class that cannot ask for any.

    Args:
        error: What calling the model raised; the errors it was raised from are looked at too.
        k: The K that was asked for.

    Returns:
        One line, or None when the error is about something else.
    """
    cause: BaseException | None = error
    for _ in range(8):
        if cause is None:
            return None
        if isinstance(cause, TypeError | ValueError) and (unknown := _UNKNOWN.search(str(cause)[:MOST_READ])):
            what = unknown[1] or unknown[2]
            return (
                f"the model's class knows no {what!r}, so it cannot be asked for log-probabilities: where its server "
                "speaks OpenAI's chat completions too, give hosted_model(name, base_url=...), or ChatOpenAI with "
                "use_responses_api=False"
            )
        if getattr(cause, "status_code", None) in _REFUSALS:
            limit = stated_limit(told(cause))
            if limit is not None and limit < k:
                return (
                    f"the server gives at most {limit} top_logprobs, the gate asks for K = {k}: "
                    f"start vLLM with --max-logprobs {k}, or {_otherwise(limit)}"
                )
        cause = cause.__cause__ or cause.__context__
    return None


def _otherwise(limit: int) -> str:
    if limit >= LEAST_CANDIDATES:
        return f"give the gate k={limit} (odds keep their threshold; calibrate the paper's scores at that K)"
    return f"take a gate of the score log, with k={limit}"
