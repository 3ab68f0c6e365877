"""A small byte-level BPE tokenizer with Qwen's special tokens, trained on the world's own sentences."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.questions import (
    COLOUR_QUESTIONS,
    EXISTENCE_QUESTIONS,
    HEIGHT_QUESTIONS,
    HEIGHTS,
    LABEL_QUESTIONS,
    LETTERS,
    SIDE_QUESTIONS,
    SIDES,
)
from langgraph_speceyes.testbed.world import COLOURS, COLUMNS, GRID, QUARTERS, ROWS, SHAPES, WORDS

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
MARKS = (
    *("<think>", "</think>", "<answer>", "</answer>"),
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    prompts.CALL_HEAD,
    prompts.CALL_MIDDLE,
)
# cells of the board, letters of options, words, numbers of up to three digits, punctuation, white space
_PIECES = (
    r" ?[a-f][1-6]| ?\([A-D]\)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus() -> Iterator[str]:
    """Every word the pair reads or writes, several times over."""
    cells = [column + row for column in COLUMNS for row in ROWS]
    wordings = (*COLOUR_QUESTIONS, *SIDE_QUESTIONS, *HEIGHT_QUESTIONS, *EXISTENCE_QUESTIONS)
    for _ in range(40):
        yield from (prompts.SYSTEM, prompts.JUDGE, prompts.SPECULATE, prompts.AGENT, "yes", "no")
        yield from ("Where is the label?", "system\n", "user\n", "assistant\n", "No text found.", "Error:")
        yield from (prompts.call(tool, prompts.quarter_box(q)) for tool in ("zoom", "crop") for q in range(QUARTERS))
        yield from (prompts.call("ocr", prompts.cell_box(cell)) for cell in range(GRID * GRID))
        for then in (prompts.CHECK, prompts.SEARCH, prompts.READ, prompts.SEEN, prompts.NOWHERE):
            yield f"<think>{prompts.sighting([('label', 'a1'), ('label', None)])}, {then}.</think>"
        yield from WORDS
        yield from (f"The label says {word}.\n({letter}) {word}" for word in WORDS for letter in LETTERS)
        yield from (w.format(kind=s, first=s, second=s) for w in wordings for s in SHAPES)
        yield from (f"Where is the {s} and the {s}? The {s} is {c}." for s in SHAPES for c in COLOURS)
        yield from (f"The {s} at {cell}, the {s} at {cell}" for s in SHAPES for cell in cells)
        yield from (f": {side}.\n({letter}) {side}" for side in (*SIDES, *HEIGHTS) for letter in LETTERS)
        yield from (f"The {s}: yes. The {s} not in view: no.\n(A) yes\n(B) no" for s in SHAPES)
        yield from LABEL_QUESTIONS


def build_tokenizer() -> Tokenizer:
    """Train the tokenizer; the result is the same every time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in MARKS])
    return tokenizer
