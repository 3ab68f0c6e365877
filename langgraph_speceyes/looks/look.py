"""What a look is, and what it may give: regions of images as references, and text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from langchain_core.messages import HumanMessage

from langgraph_speceyes.errors import ArgumentError, LookError
from langgraph_speceyes.images import (
    DEFAULT_POLICY,
    Conversation,
    ImagePolicy,
    ImageRef,
    block_of,
    check_region,
    intern_reference,
    is_image_block,
    parse_block,
    parse_reference,
)
from langgraph_speceyes.models.overview import FrontPixels

MOST_OBSERVATIONS = 64
"""Most observations of one look."""
MOST_CHARACTERS = 20_000
"""Most characters of text that one look gives."""

Block = dict[str, Any]
"""A content block of a message: an image as a reference, or text."""
Observation = str | ImageRef | Mapping[str, Any]
"""What a look may give: text, a reference to an image or a region of one, or a content block of either.

Text that is the reference to one of the question's images, or to a region of it, is that reference.
"""
Observations = Observation | Sequence[Observation] | None


@dataclass(frozen=True)
class Sight:
    """What a look is given.

    Attributes:
        images: The question's images, in order; at least one.
        question: The question's text.
        policy: Limits of loading.
        front_pixels: Most pixels of an image that a look sends to a hosted model
            (:attr:`~langgraph_speceyes.options.Options.front_pixels`).
    """

    images: tuple[ImageRef, ...]
    question: str
    policy: ImagePolicy = DEFAULT_POLICY
    front_pixels: FrontPixels = None

    def own(self, ref: ImageRef) -> ImageRef:
        """A reference as it may be read here (:meth:`~langgraph_speceyes.images.Conversation.own`)."""
        return self._shown.own(ref)

    def part(self, text: str) -> ImageRef | None:
        """The question's image, or the region of one, that a text is the whole reference to; None for other text.

        Raises:
            ImageError: It names no region that there can be.
        """
        for name in self._names:
            rest = text.removeprefix(name)
            if text.startswith(name) and (not rest or (rest.startswith("#xywh=") and len(rest.split()) == 1)):
                return parse_reference(text, "observations")
        return None

    @cached_property
    def _names(self) -> list[str]:
        """What the images are called where text has to be short."""
        return [image.key if image.kind == "inline" else image.uri for image in self.images]

    @cached_property
    def _shown(self) -> Conversation:
        return Conversation([HumanMessage([*map(block_of, self.images)])], self.policy)


@runtime_checkable
class Look(Protocol):
    """Something that looks at a question's images; what it raises is a failed look.

    One whose observations depend on settings says so in an attribute or property `settings`, a mapping that JSON can
    hold, so that a gate tells it from the same look with others (:func:`look_id`).
    """

    @property
    def name(self) -> str:
        """What it is called in events, decisions and traces."""

    def __call__(self, sight: Sight) -> Observations:
        """Look."""

    async def acall(self, sight: Sight) -> Observations:
        """Look, without blocking the event loop."""


def look_id(look: Look) -> str:
    """What tells a look from others, in a gate file or the record of a run.

    Returns:
        Its name, and behind it eight hexadecimal digits of its settings if it has any: ``tiles 4f0c21ab``.
    """
    settings = getattr(look, "settings", None)
    if settings is None:
        return look.name
    return f"{look.name} {hashlib.sha256(json.dumps(settings, sort_keys=True, default=repr).encode()).hexdigest()[:8]}"


def observed(found: object, policy: ImagePolicy = DEFAULT_POLICY, images: Sequence[ImageRef] = ()) -> list[Block]:
    """The observations of a look as content blocks that a state can hold.

    Args:
        found: What a look gave.
        policy: Limits of loading.
        images: The question's images, which it may refer to by their digests whatever the policy says of the store.

    Returns:
        Image blocks whose `url` is a reference, never inline data, and text blocks, in their order. Every image has
        been opened within the policy. Empty text is left out.

    Raises:
        LookError: It gave something else, or too much.
        ImageError: An image cannot be opened, is over a limit or is not allowed, or a region lies outside its image.
    """
    if found is None:
        return []
    given: list[Any] = [*found] if isinstance(found, list | tuple) else [found]
    if len(given) > MOST_OBSERVATIONS:
        raise LookError("observations", f"at most {MOST_OBSERVATIONS}", len(given))
    sight = Sight(tuple(images), "", policy)
    blocks = [block for one in given if (block := _block(one, sight)) is not None]
    if (length := sum(len(block.get("text", "")) for block in blocks)) > MOST_CHARACTERS:
        raise LookError("observations", f"at most {MOST_CHARACTERS} characters of text", length)
    return blocks


def _block(one: object, sight: Sight) -> Block | None:
    if isinstance(one, Mapping) and one.get("type") == "text":
        one = one.get("text")
    if isinstance(one, str):
        text = one.strip()
        # functions are given references as text, and give them back so
        one = sight.part(text)
        if one is None:
            return {"type": "text", "text": text} if text else None
    ref = one if isinstance(one, ImageRef) else None
    if isinstance(one, Mapping) and is_image_block(one):
        ref = parse_block(one, "observations")
    if ref is None:
        expected = "text, references to images (ImageRef), or content blocks of either"
        raise LookError("observations", expected, type(one).__name__ if not isinstance(one, Mapping) else "a block")
    check_region(sight.own(ref), sight.policy, argument="observations")
    # bytes have no place in a state
    ref = intern_reference(ref)
    if ref.kind == "inline":
        raise LookError("observations", "an image store to keep inline images in (set_default_store)", "none")
    return block_of(ref)


def resolve_looks(given: object) -> tuple[Look, ...]:
    """Make looks of what a caller gives.

    Args:
        given: A sequence of looks, and of functions of an image's reference and the question.

    Raises:
        ArgumentError: It is none, or holds something else.
    """
    from langgraph_speceyes.looks.function import FunctionLook

    expected = "a list of looks, or of functions (image reference, question) -> observations"
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence):
        raise ArgumentError("looks", expected, type(given).__name__)
    looks: list[Look] = []
    for one in given:
        if isinstance(one, type) or not callable(one):
            raise ArgumentError("looks", expected, f"{one!r:.100}")
        looks.append(one if isinstance(one, Look) else FunctionLook(one))
        # gate files and decisions tell looks by it
        if not isinstance(name := looks[-1].name, str) or not name:
            raise ArgumentError("looks", "looks whose name is a text", f"{name!r:.100}")
    return tuple(looks)
