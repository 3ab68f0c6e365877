"""What an endpoint's errors mean: a refusal of what was asked, its limit, its own words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from langgraph_speceyes.errors import SpecEyesError, describe_error
from langgraph_speceyes.foreign import foreign_text

# Once a plain question was answered, these are about what was added to it. OpenAI refuses logprobs with 403, OpenRouter
# images and tools with 404.
_REFUSED = frozenset({400, 403, 404, 405, 406, 413, 415, 422, 501})
MOST_READ = 100_000
"""Characters of an endpoint's words that are looked at."""
# llama-server refuses with 500
_UNSUPPORTED = re.compile(r"not support|unsupported|requires", re.IGNORECASE)
_HINTS = {
    401: "the key is refused",
    403: "the key is refused",
    404: "no such model or path there; a base URL usually ends in /v1",
    429: "it takes no more requests for now",
}


def is_refusal(error: Exception) -> bool:
    """Tell an endpoint's no from trouble on the way to it."""
    status = getattr(error, "status_code", None)
    if status is None:
        # a model of this process, or an adapter that knows its own limits
        return isinstance(error, ValueError | TypeError | NotImplementedError)
    return status in _REFUSED or (status == 500 and bool(_UNSUPPORTED.search(told(error))))


def failure(error: BaseException) -> str:
    """What a failed call is recorded with: its error, all that the server said, and the cause of a lost connection."""
    more = foreign_text(_unsaid(error), 300)
    return describe_error(error) + (f" - {more}" if more else "") + _lost(error)


def told(error: BaseException) -> str:
    """An error's message, and what its server said beside it."""
    return f"{str(error)[:MOST_READ]} {_unsaid(error)}"


def _unsaid(error: BaseException) -> str:
    """What a server said and the message leaves out: OpenAI's client quotes errors in OpenAI's own layout alone."""
    body = getattr(error, "body", None)
    if not body or not isinstance(body, str | Mapping | list):
        return ""
    said = body.get("message") if isinstance(body, Mapping) else None
    text = " ".join((body if isinstance(body, str) else repr(body))[:MOST_READ].split())
    # a page says no more than its status
    return "" if text.startswith("<") or text in str(error) or (said and str(said) in str(error)) else text


def _lost(error: BaseException) -> str:
    """The cause of an error without an answer: the client says no more than "Connection error." itself."""
    if isinstance(error, SpecEyesError) or getattr(error, "status_code", None) is not None:
        return ""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return "" if cause is error else f" ({in_words(cause)})"


def in_words(error: BaseException | None) -> str:
    """An endpoint's own words, in one line."""
    if error is None:
        return "no reason given"
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    text = said if isinstance(said, str) and said else _unsaid(error) or describe_error(error)
    return foreign_text(" ".join(text[:MOST_READ].split()), 300)


def trouble_in_words(error: Exception) -> str:
    """The same of what is no refusal, with a hint where there is one, and the cause of a lost connection."""
    status, words = getattr(error, "status_code", None), in_words(error) + _lost(error)
    return (f"{_HINTS[status]}: " if status in _HINTS else "") + words
