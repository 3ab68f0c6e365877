"""What a block of code came to, as the host knows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from langgraph_speceyes.images import ImageRef

Failure = Literal["exception", "timeout", "memory", "files", "output", "crash", "images", "unavailable"]
"""Why a block failed: it raised, was ended by a limit, killed its worker, returned what is no image that may be opened,
or no worker could be had."""

TAGS = (
    "think",
    "code",
    "answer",
    "sandbox_output",
    "tool_call",
    "tool_response",
    "tools",
    "image",
)
"""Tags of the protocols that agents speak; text from a sandbox never contains one."""


@dataclass(frozen=True)
class CodeOutcome:
    """What a block of code came to.

    Attributes:
        text: What it printed, then its traceback or the reason it was ended; shortened, and with the protocols' tags
            made plain text. Empty if there is nothing to say.
        images: The images it returned, in the image store, each decoded under the image policy.
        error: What went wrong in one line, ``None`` if nothing did. It is the last line of ``text`` too.
        failure: The kind of error, or ``None``. ``"images"`` alone comes without an error: the block ran and its
            variables stay, but nothing that it returned may be shown; the text says why.
        seconds: How long it ran, without the worker's start.
        replayed: How many earlier blocks were run again for it.
    """

    text: str
    images: tuple[ImageRef, ...] = ()
    error: str | None = None
    failure: Failure | None = None
    seconds: float = 0.0
    replayed: int = 0


def escape_tags(text: str, tags: Sequence[str] = TAGS) -> str:
    """Return text in which no tag of a protocol and no control token of a chat template is left.

    Args:
        text: Text from a sandbox.
        tags: Names of the tags, without brackets.

    Returns:
        The text; the ``<`` that begins such a tag, opening or closing, in any case and with any blanks, is ``&lt;``.
    """
    names = "|".join(re.escape(tag) for tag in tags)
    return re.sub(rf"<(?=\s*+(?:/\s*+)?(?:{names})\b|\|)", "&lt;", text, flags=re.IGNORECASE)


def cleaned(text: str) -> str:
    """Return text of a sandbox as it may go to a model and into a checkpoint: without tags, NUL and lone surrogates."""
    plain = text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return escape_tags(plain)
