"""A yes/no question answered from the probabilities of the first token, not from generated text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from langgraph_speceyes.errors import ArgumentError, MissingLogprobsError
from langgraph_speceyes.scoring.separability import FLOOR

__all__ = ["tool_need"]

# What tokenizers write in front of a word besides white space (SentencePiece; byte-level BPE's space and newline).
_WORD_MARKS = "▁ĠĊ"


def tool_need(first_token_top: Mapping[str, float] | Iterable[tuple[str, float]]) -> float:
    """Probability that the judge's answer is yes and not no: ``P(yes) / (P(yes) + P(no))``.

    Phase I (the paper's ``g(q, I)``) asks whether tools are needed; this is its answer as a number, which a threshold
    can be put on. The probabilities of all spellings of a word are added ("Yes", " yes", "▁YES", ...); a token that
    only begins with the word does not count.

    When one of the two words is not among the candidates, its log-probability is taken to be the smallest one listed:
    no single unlisted token can have more. The result then lies nearer to 0.5 than the truth. It needs a list that
    reaches past the word itself: from that word alone the result is 0.5.

    Args:
        first_token_top: Candidates for the first token of the judge's answer and their natural log-probabilities:
            a mapping, or ``(token, logprob)`` pairs as in ``TokenLogprobs.top``. Raw logits give the same result.

    Returns:
        The probability, in [0, 1].

    Raises:
        MissingLogprobsError: There are no candidates.
        ArgumentError: Neither word is among the candidates, or one of its log-probabilities is NaN or ``+inf``.
    """
    pairs = list(first_token_top.items() if isinstance(first_token_top, Mapping) else first_token_top)
    if not pairs:
        raise MissingLogprobsError("the judge's first token has no top_logprobs: ask for logprobs=True, top_logprobs=K")

    spellings: dict[str, list[float]] = {"yes": [], "no": []}
    for token, logprob in pairs:
        word = _word(token)
        if word not in spellings:
            continue
        if math.isnan(logprob) or logprob == math.inf:
            raise ArgumentError("first_token_top", "finite log-probabilities", f"{logprob} for {token!r}")
        if logprob > FLOOR:
            spellings[word].append(logprob)
    if not spellings["yes"] and not spellings["no"]:
        found = ", ".join(repr(token) for token, _ in pairs[:8])
        raise ArgumentError("first_token_top", "a candidate that spells yes or no", found)

    # A floor counts here: what is not even listed is then below it.
    bound = min(logprob for _, logprob in pairs)
    yes, no = (_logsumexp(values) if values else bound for values in spellings.values())
    # The exponent is never positive, so it cannot overflow.
    ratio = math.exp(-abs(yes - no))
    return (1.0 if yes >= no else ratio) / (1.0 + ratio)


def _word(token: str) -> str:
    """Strip the marks of a token's place in the text, and its case."""
    bare = token
    while (stripped := bare.strip().strip(_WORD_MARKS)) != bare:
        bare = stripped
    return bare.lower()


def _logsumexp(values: list[float]) -> float:
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))
