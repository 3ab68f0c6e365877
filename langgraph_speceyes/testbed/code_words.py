"""The words of the embedded agent that writes code: its prompts, its code, and the tokens both are written in."""

from __future__ import annotations

from langgraph_speceyes.testbed import prompts

SYSTEM = "Answer the question about the image. Tools: python."
INSTRUCTION = "Think, then write code or answer."

BEGIN = "<code>\n```python\n"
OPEN_IMAGE = "image = Image.open(image_path)\n"
BOX_HEAD, BOX_TAIL = f"box = [v * image.width / {prompts.VIEW} for v in (", ")]\n"
SHOWN = 2 * prompts.VIEW
"""Pixels along a shown region: twice what the model sees, so that the JPEG file keeps all of that."""
SHOW = (
    'processed_path = "/mnt/data/temp_processed_images/crop.jpg"\n'
    f"image.resize(({SHOWN}, {SHOWN}), box=box).save(processed_path)\n"
    "print(processed_path)\n```\n</code>"
)
READ = "print(ocr(image.crop(box)))\n```\n</code>"

TOKENS: dict[str, str | None] = {
    BEGIN: "<tool_call>",
    "image = Image.open(": None,
    "image_path": None,
    ")\nbox = [": None,
    "box = [": None,
    "v * ": None,
    "image.width": None,
    f" / {prompts.VIEW} for v in (": prompts.CALL_MIDDLE,
    BOX_TAIL: "]}",
    "processed_path": None,
    ' = "/mnt/data/temp_processed_images/': None,
    'crop.jpg"\n': None,
    f"image.resize(({SHOWN}, {SHOWN}), ": None,
    "box=box)": None,
    ".save(": None,
    ")\nprint(": None,
    "print(ocr(": "ocr",
    "image.crop(box)": None,
    ")\n```\n</code>": "</tool_call>",
    "<sandbox_output>": "<tool_response>",
    "</sandbox_output>": "</tool_response>",
}
"""What is added to the agent's vocabulary, and the token that each is like before training.

None of these strings is part of a question or of an answer: a token that was would tear their words apart.
"""


def code(tool: str, box: tuple[int, int, int, int], *, first: bool) -> tuple[str, str, str]:
    """A block of code that shows a region or reads it, cut around the numbers of its box.

    Args:
        tool: ``"ocr"`` reads, anything else shows.
        box: (left, top, right, bottom) in pixels of the view that the model has of the whole image.
        first: Whether the image is not open yet; later blocks go on with the variables of those before.
    """
    head = BEGIN + (OPEN_IMAGE if first else "") + BOX_HEAD
    return head, ",".join(map(str, box)), BOX_TAIL + (READ if tool == "ocr" else SHOW)
