"""What the messages of one call show as a whole: how many images, and which of them are its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.block import is_image_block, readable_images
from langgraph_speceyes.images.policy import ImagePolicy, effective
from langgraph_speceyes.images.reference import ImageRef


class Conversation:
    """Messages whose images are about to be read.

    Args:
        messages: All of them, whatever is among them.
        policy: Limits; a policy that is in force counts too.
    """

    def __init__(self, messages: Sequence[object], policy: ImagePolicy) -> None:
        self.messages, self.policy = messages, effective(policy)

    def own(self, ref: ImageRef) -> ImageRef:
        """A reference as it may be read: one into the image store becomes the same image as a message holds it.

        Tools refer to parts of a question's image that way. Where the policy allows looking into the store, and where
        no message holds the image, it is the reference itself.
        """
        if ref.kind != "store" or self.policy.allow_stored:
            return ref
        source = self._sources.get(ref.source)
        return ref if source is None else ImageRef(source, ref.region)

    def check_count(self, message: object, argument: str) -> None:
        """Check how many images a message has.

        Raises:
            ImageError: They are more than the policy allows.
        """
        content = getattr(message, "content", None)
        if isinstance(content, list) and len(content) > self.policy.max_images:
            check_count(sum(map(is_image_block, content)), self.policy, argument)

    @cached_property
    def _sources(self) -> dict[str, str]:
        inline = (ref for ref in readable_images(self.messages) if ref.kind == "inline")
        return {ref.source_key: ref.source for ref in inline}


def check_count(count: int, policy: ImagePolicy, argument: str) -> None:
    """Check a number of images.

    Raises:
        ImageError: They are more than the policy allows.
    """
    if count > policy.max_images:
        raise ImageError(argument, f"at most {policy.max_images} images (max_images)", count)
