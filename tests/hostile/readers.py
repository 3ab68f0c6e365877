"""Readers of others' text, texts made to last in them, and what a megabyte of each costs.

`python -m tests.hostile.readers` (the end of `make hostile`) prints each reader's worst megabyte in seconds of the
processor.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from langchain_core.messages import AIMessage

from langgraph_speceyes.agent.boxes import read_arguments, read_box
from langgraph_speceyes.agent.call import make_call
from langgraph_speceyes.agent.protocols import DeepEyesProtocol, NativeProtocol, ThymeProtocol
from langgraph_speceyes.agent.protocols.tags import find_answer, find_tagged, parse_call, strip_thoughts
from langgraph_speceyes.agent.repairs import repaired
from langgraph_speceyes.agent.sandbox import OUTPUT_FOLDER, escape_tags, image_path
from langgraph_speceyes.answers.agreement import agree
from langgraph_speceyes.answers.options import parted
from langgraph_speceyes.answers.values import read_date, read_number
from langgraph_speceyes.answers.words import unwrapped, without_repeats
from langgraph_speceyes.bench.rules.choice import multiple_choice
from langgraph_speceyes.bench.rules.text import free_form, yes_no
from langgraph_speceyes.errors import SpecEyesError, describe_error
from langgraph_speceyes.foreign import foreign_text, foreign_value, masked_text
from langgraph_speceyes.images import parse_block, parse_reference
from langgraph_speceyes.images.reference import inline_reference
from langgraph_speceyes.looks.look import observed
from langgraph_speceyes.models.hosted import explain
from langgraph_speceyes.models.refusal import in_words
from langgraph_speceyes.models.tool_calls import FORMATS, outside_thoughts, read_calls
from langgraph_speceyes.scoring.spoken import spoken
from langgraph_speceyes.tracing import mask_images

MEGABYTE, MOST_S = 1_000_000, 0.2
THYME, DEEPEYES, NATIVE = ThymeProtocol(), DeepEyesProtocol(), NativeProtocol()
OPTIONS = ("red", "the red one", "a a a a b")
LETTERED = "What color is it?\n(A) red\n(B) the red one\n(C) a a a a b"

Read = Callable[[str], object]
"""Reads a text; a typed error of the package is an outcome too."""


def _block(text: str) -> object:
    return parse_block({"type": "image_url", "image_url": {"url": text}})


def _tokens(text: str) -> object:
    return spoken(text, [{"token": text[at : at + 4], "logprob": -0.1} for at in range(0, len(text), 4)])


READERS: dict[str, Read] = {
    "foreign_text": foreign_text,
    "foreign_value": lambda text: foreign_value({"a": [text, {text: text}]}),
    "masked_text": masked_text,
    "describe_error": lambda text: describe_error(ValueError(text)),
    "mask_images": mask_images,
    "find_answer": find_answer,
    "find_tagged": find_tagged,
    "strip_thoughts": strip_thoughts,
    "parse_call": parse_call,
    "make_call": lambda text: make_call(text, {text: [text], "bbox_2d": text}, {"zoom": "zoom"}),
    "outside_thoughts": lambda text: list(outside_thoughts(text)),
    **{f"read_calls {form.name}": partial(read_calls, form=form) for form in FORMATS},
    "thyme's code": lambda text: THYME.read(AIMessage(text), ["code"]),
    "thyme's answer": lambda text: THYME.answer(AIMessage(text)),
    "deepeyes": lambda text: DEEPEYES.read(AIMessage(text), ["zoom"]),
    "native": lambda text: NATIVE.read(AIMessage(text), ["zoom"]),
    "repairs of code": lambda text: repaired(text[:100_000], [image_path(0)], OUTPUT_FOLDER, lambda: (99, 99)),
    "output of code": escape_tags,
    "observations": lambda text: observed([text]),
    "spoken": lambda text: spoken(text, [{"token": text, "logprob": -0.1}]),
    "spoken in tokens": _tokens,
    "boxes": read_box,
    "boxes of texts": lambda text: (read_box([text] * 4), read_box(dict.fromkeys(("x1", "y1", "x2", "y2"), text))),
    "arguments": lambda text: read_arguments({"bbox": text, text: text}),
    "unwrapped": unwrapped,
    "without_repeats": without_repeats,
    "yes or no": lambda text: yes_no(text, "yes"),
    "numbers": read_number,
    "dates": read_date,
    "options shown": parted,
    "option": lambda text: multiple_choice(text, OPTIONS, "A"),
    "agreement": lambda text: agree("What is it?", text, f"{text} "),
    "agreement on options": lambda text: agree(LETTERED, text, "A"),
    "agreement on its text": lambda text: agree(f"What is it?\n(A) {text}\n(B) red", text, "B"),
    "agreement on yes": lambda text: agree("Is it red?", text, "yes"),
    "agreement on a question": lambda text: agree(text, "red", "blue"),
    "free form": lambda text: free_form(text, "red"),
    "references": parse_reference,
    "blocks": _block,
    "data: URLs": lambda text: parse_reference(f"data:image/png;base64,{text}"),
    "data: URLs in percent": lambda text: parse_reference(f"data:image/png,{text}"),
    "inline data": inline_reference,
    "refusals": lambda text: (explain(ValueError(text), 64), in_words(ValueError(text))),
}
PIECES = (
    *("<think>", "<think></think>", "<think><answer></think>", "<tool_call>", "<tool_call"),
    *("<tool_call>{</tool_call>", "<answer>", "</answer>", "<code>", "</code>", "</think>", "{", "[", "(", '{"a":'),
    *("[[[[", "```", "``` ", '"', "'", "\\", '\\"', "data:", "data:image/png;base64,", "[TOOL_CALLS]x{"),
    *("<tool_call>{}", "<function=", "<arg_key>", " ", "\n", "\t", "\\x89", "%41", "%", "1, ", "ab ", "aB3", "://"),
    *("token=", "eyJ", "<", "</", "< ", "0", "9", "1.", "1,", "1:", "A", "a", "A ", "(A) ", "A.", "A,", ".", ","),
    *("!", "?", "? ", "*", "**", "_", "-", "- ", "not ", "the ", "option ", "choice ", "so ", "answer ", "answer: "),
    *("is ", " is", "yes ", "or ", "I ", "A and ", "a.b", "n't", "\\boxed{", "\\text{", "\\text", "\\boxed ", "{{}"),
    *("#xywh=", "#xywh=1,", "\xe9", "\u4f60", "\u0300", "\u0300\u0316", "\ufdfa", "\ud800", "\u200b", "\u2028"),
    *("1.1", "1e", "+", "=", "| ", "<|", "<|a", "sk-", "key=", "cookie: ", "bearer ", "A\n", "a = (", "x=["),
    *("lambda:", "-----BEGIN PRIVATE KEY-----", "sha256:", "file:", "http://", "@", ".a", "\xb2", "\xdf"),
)
ENDS = (
    *("", "A", "red", "}", "]", ">", '"', "1", " x", "Is it ", "<", "\\boxed{", "answer", "data:image/png;base64,"),
    *("(A) ",),
)
"""What may stand before a text of pieces, and behind it."""


def repeated(piece: str, size: int) -> str:
    return (piece * (size // len(piece) + 1))[:size]


def texts() -> Iterator[tuple[str, str, str]]:
    """What stands before a repeated piece, the piece, and what stands behind: each piece alone, and with some end."""
    for at, piece in enumerate(PIECES):
        end = ENDS[at % len(ENDS)]
        yield from (("", piece, ""), (end, piece, ""), ("", piece, end))


def seconds(read: Read, text: str) -> float:
    """What reading a text takes, in seconds of the processor."""
    start = time.thread_time()
    with suppress(SpecEyesError):
        read(text)
    return time.thread_time() - start


def worst(read: Read) -> tuple[float, str]:
    """What the slowest texts take by the megabyte, of those that are slowest at a hundredth; how the worst looks."""

    def taken(one: tuple[str, str, str], size: int) -> float:
        return seconds(read, one[0] + repeated(one[1], size) + one[2])

    short = sorted(texts(), key=lambda one: taken(one, MEGABYTE // 100), reverse=True)
    # one that came first by chance, because the machine was busy, is measured beside the others
    return max((min(taken(one, MEGABYTE) for _ in range(2)), ascii(one)) for one in short[:8])


def main() -> int:
    """Print each reader's worst megabyte; how many take too long."""
    slow = 0
    for name, read in READERS.items():
        taken, text = worst(read)
        slow += taken > MOST_S
        print(f"{taken:7.3f} s  {name:24} {text}", flush=True)
    print(f"{len(READERS)} readers, {slow} above {MOST_S} s")
    return slow


if __name__ == "__main__":
    sys.exit(main() > 0)
