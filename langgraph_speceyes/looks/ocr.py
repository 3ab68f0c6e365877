"""Reading the printed text of an image, or of the region where it is expected."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from langgraph_speceyes.agent import Reader, TextReader
from langgraph_speceyes.errors import ArgumentError, LookError
from langgraph_speceyes.images import ImageRef, intern_reference, load_image, off_loop, parse_reference
from langgraph_speceyes.looks.look import Observations, Sight

Regions = str | ImageRef | Sequence[str | ImageRef] | None
Where = Callable[[str, str], Regions]
"""From the reference of an image and the question to the regions to read, as references; None reads nothing."""


class OcrLook:
    """Reads text; see :func:`ocr`."""

    name = "ocr"

    def __init__(self, where: Where | None, reader: TextReader) -> None:
        if where is not None and not callable(where):
            raise ArgumentError("where", "a function (image reference, question) -> references, or None", repr(where))
        self.where, self.reader = where, reader

    @property
    def settings(self) -> dict[str, str | None]:
        """What tells it from others: the names of what reads, and of the function that says where."""
        where = None if self.where is None else getattr(self.where, "__name__", type(self.where).__name__)
        return {"where": where, "reader": type(self.reader).__name__}

    def __call__(self, sight: Sight) -> Observations:
        """Read each image, or its regions."""
        parts = [part for image in sight.images for part in self._parts(image, sight.question)]
        return ["\n".join(self.reader.read(load_image(sight.own(part), sight.policy))) for part in parts]

    async def acall(self, sight: Sight) -> Observations:
        """Read each image, or its regions, off the event loop."""
        return await off_loop(self, sight)

    def _parts(self, image: ImageRef, question: str) -> list[ImageRef]:
        if self.where is None:
            return [image]
        found = self.where(intern_reference(image).uri, question)
        given = [found] if isinstance(found, str | ImageRef) else found
        if given is None:
            return []
        if not isinstance(given, list | tuple) or not all(isinstance(one, str | ImageRef) for one in given):
            raise LookError("where", "references of regions to read, or None", type(found).__name__)
        return [parse_reference(one, "where") if isinstance(one, str) else one for one in given]


def ocr(where: Where | None = None, *, reader: TextReader | None = None) -> OcrLook:
    """A look at printed text: its lines in reading order. Where there is none it gives nothing.

    Reading a whole large image takes about as long as an agent's answer, and finds what is no text. Tell it where to
    read if anything can.

    Args:
        where: From the reference of an image and the question to the regions to read, as references such as
            ``street.jpg#xywh=10,20,300,200``; None for none. Without a function the whole image is read.
        reader: What reads; by default RapidOCR on the CPU (extra `ocr`).

    Raises:
        ArgumentError: `where` is no function.
        MissingExtraError: There is no reader, and RapidOCR is not installed.
    """
    if reader is None:
        Reader.check_installed()
    return OcrLook(where, reader or Reader())
