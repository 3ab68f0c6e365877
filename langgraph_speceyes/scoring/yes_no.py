"""A yes/no question answered from the probabilities of the first token, not from generated text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from langgraph_speceyes.errors import ArgumentError, MissingLogprobsError
from langgraph_speceyes.scoring.separability import FLOOR

__all__ = ["tool_need"]

# What tokenizers write in front of a word besides white space (SentencePiece; byte-level BPE's space and newline), and
# what a tokenizer may keep in one token with it.
_AROUND = "▁ĠĊ.,:;!\"'*`"

_MOST = 0.5


def tool_need(first_token_top: Mapping[str, float] | Iterable[tuple[str, float]]) -> float:
    """Probability that the judge's answer is yes and not no: ``P(yes) / (P(yes) + P(no))``.

    Phase I (the paper's ``g(q, I)``) asks whether tools are needed; this is its answer as a number, which a threshold
    can be put on. The probabilities of all spellings of a word are added ("Yes", " yes", "▁YES", "Yes.", ...); a token
    that only begins with the word does not count.

    It is an answer only where the model is about to say one of the two words: together they hold more than half of the
    probability, or the most probable token is one of them. A model that begins with a thought, a tool call or a
    sentence has said neither, however the crumbs are shared between them.

    When one of the two words is not among the candidates, its log-probability is taken to be the smallest one listed:
    no single unlisted token can have more. The result then lies nearer to 0.5 than the truth. It needs a list that
    reaches past the word itself: from that word alone the result is 0.5.

    Args:
        first_token_top: Candidates for the first token of the judge's answer and their natural log-probabilities:
            a mapping, or ``(token, logprob)`` pairs as in ``TokenLogprobs.top``. Raw logits give the same result;
            their probabilities are shares of what is listed.

    Returns:
        The probability, in [0, 1].

    Raises:
        MissingLogprobsError: There are no candidates.
        ArgumentError: The model says neither word, or a log-probability is NaN or ``+inf``.
    """
    pairs = list(first_token_top.items() if isinstance(first_token_top, Mapping) else first_token_top)
    if not pairs:
        raise MissingLogprobsError("the judge's first token has no top_logprobs: ask for logprobs=True, top_logprobs=K")

    spellings: dict[str, list[float]] = {"yes": [], "no": []}
    for token, logprob in pairs:
        if math.isnan(logprob) or logprob == math.inf:
            raise ArgumentError("first_token_top", "finite log-probabilities", f"{logprob} for {token!r}")
        word = _word(token)
        if word in spellings and logprob > FLOOR:
            spellings[word].append(logprob)
    _check_said([*spellings["yes"], *spellings["no"]], pairs)

    # A floor counts here: what is not even listed is then below it.
    bound = min(logprob for _, logprob in pairs)
    yes, no = (_logsumexp(values) if values else bound for values in spellings.values())
    # The exponent is never positive, so it cannot overflow.
    ratio = math.exp(-abs(yes - no))
    return (1.0 if yes >= no else ratio) / (1.0 + ratio)


def _check_said(said: list[float], pairs: list[tuple[str, float]]) -> None:
    """Refuse candidates of which yes and no are neither the first nor most.

    Log-probabilities are shares of everything; where they add up to more than that they are raw logits.
    """
    expected = "yes or no as the first candidate, or more than half of the probability on the two"
    values = [logprob for _, logprob in pairs if logprob > FLOOR]
    if not said:
        found = ", ".join(repr(token) for token, _ in pairs[:8])
        raise ArgumentError("first_token_top", expected, found)
    if max(said) >= max(values):
        return
    share = math.exp(_logsumexp(said) - max(0.0, _logsumexp(values)))
    if share <= _MOST:
        first = max(pairs, key=lambda pair: pair[1])[0]
        raise ArgumentError("first_token_top", expected, f"{first!r} first and {share:.2g} on yes and no")


def _word(token: str) -> str:
    """Strip the marks of a token's place in the text, and its case."""
    bare = token
    while (stripped := bare.strip().strip(_AROUND)) != bare:
        bare = stripped
    return bare.lower()


def _logsumexp(values: list[float]) -> float:
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))
