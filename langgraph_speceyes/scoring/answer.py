"""One answer: its tokens' log-probabilities as a server returns them, and the scores computed from them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np

from langgraph_speceyes.errors import ArgumentError, MissingLogprobsError
from langgraph_speceyes.scoring.aggregate import ScoreName, all_scores, check_k_for, check_score, least_candidates
from langgraph_speceyes.scoring.odds import log_odds, odds_behind, sigmoid
from langgraph_speceyes.scoring.separability import FLOOR, FloatArray, separability

__all__ = [
    "DEFAULT_K",
    "END_TOKENS",
    "AnswerLogprobs",
    "AnswerScore",
    "Content",
    "TokenLogprobs",
    "is_end_token",
    "parse_logprobs",
    "score_answer",
    "score_answers",
]

#: ``response_metadata["logprobs"]["content"]`` of a chat model's message; None when the model returned none.
Content = Sequence[Mapping[str, Any]] | None

#: Candidates per token: what hosted APIs and vLLM give without being reconfigured (the paper's ``K`` is 64).
DEFAULT_K = 20

#: Tokens that end an answer, or pad it, in the model families in use. They say nothing about the answer.
END_TOKENS: frozenset[str] = frozenset(
    {
        "<|im_end|>",
        "<|endoftext|>",
        "<|end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|eot|>",
        "<|end_of_text|>",
        "<|return|>",
        "<end_of_turn>",
        "<end_of_utterance>",
        "<eos>",
        "</s>",
        "<pad>",
        "<|pad|>",
        "[PAD]",
    }
)

# What special tokens look like, those that end an answer among them, whatever their family calls them.
_SPECIAL = re.compile(
    r"<[|\uff5c][^<>|\uff5c]{1,64}[|\uff5c]?>|<[^<>|\uff5c]{1,64}[|\uff5c]>|</?(?:s|eos|pad|eot|eom|eod|end|end_of_\w{1,32})>"
    r"|\[/?(?:EOS|BOS|PAD|SEP|CLS|EOT|EOM|END|INST)\]",
    re.IGNORECASE,
)

# What rounding changes at most. A log-probability is at most 0: above this a "logprob" is a raw logit.
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One generated token and the candidates it was chosen from.

    Attributes:
        token: The token's text.
        logprob: Its natural log-probability; NaN where the server tells it neither itself nor among the candidates.
        top: ``(token, logprob)`` of the strongest candidates, as the server ordered them, and of the token itself where
            the server left it out; empty where it listed none. Two candidates may have the same text (fragments of one
            character), so this is not a mapping.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> TokenLogprobs:
        """Read one entry of ``response_metadata["logprobs"]["content"]`` (the layout of ``ChatOpenAI``).

        Args:
            entry: ``{"token", "logprob", "top_logprobs": [{"token", "logprob"}, ...]}``; other keys are ignored.
                ``top_logprobs`` may be absent, None or empty, ``logprob`` where there are candidates.

        Returns:
            The record.

        Raises:
            MissingLogprobsError: It has neither ``logprob`` nor candidates.
            ArgumentError: ``entry`` has another layout (argument ``content``).
        """
        if not isinstance(entry, (dict, Mapping)) or "token" not in entry:
            raise ArgumentError("content", "entries with logprob, token and top_logprobs", _describe(entry))
        token = str(entry["token"])
        candidates, chosen = entry.get("top_logprobs") or (), entry.get("logprob")
        if not candidates and chosen is None:
            raise MissingLogprobsError(_missing(token, "neither a logprob nor top_logprobs", "logprobs=True"))
        try:
            top = tuple((str(item["token"]), float(item["logprob"])) for item in candidates)
            logprob = math.nan if chosen is None else float(chosen)
        except (KeyError, TypeError, ValueError) as error:
            expected = "top_logprobs with a number and a token each"
            raise ArgumentError("content", expected, f"{error!r} at token {token!r}") from error
        own = max((value for text, value in top if text == token), default=None)
        if own is not None:
            # servers write 0 or nothing where they do not tell
            logprob = own if chosen is None or logprob > own else logprob
        elif top and not any(abs(value - logprob) <= _ROUNDING for _, value in top):
            top = (*top, (token, logprob))
        return cls(token, logprob, top)


@dataclass(frozen=True, slots=True, eq=False)
class AnswerLogprobs:
    """The scored tokens of one answer.

    Attributes:
        tokens: The tokens in order, without the end tokens.
        top: The log-probabilities of their strongest candidates, ``[T, K]``, float64, strongest first, floors dropped;
            ``-inf`` behind those of a token that has fewer than the others.
        k_used: Candidates that every token has (the paper's ``K``): as many as asked for, or fewer where a token has
            fewer.
    """

    tokens: tuple[TokenLogprobs, ...]
    top: FloatArray
    k_used: int


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """What is known about one answer's confidence.

    Holds only plain values, so ``dataclasses.asdict`` of it can be written as JSON or into a checkpoint, and
    ``AnswerScore(**that)`` is equal to it.

    Attributes:
        score: Name of the score in ``value``.
        value: The chosen score, in [0, 1]; 0.0 for an empty answer; NaN when it cannot be known. A token that is not
            the strongest of its candidates (a penalty, a bias or sampling chose it) counts with its own probability,
            and as not separable.
        scores: All scores by name; NaN for one that cannot be known: ``odds`` where a token has fewer than five
            candidates, ``min``, ``mean`` and ``bottom`` where it has fewer than two.
        tokens: Texts of the scored tokens.
        token_odds: Probability of each, renormalised over its candidates: ``sigmoid(c_t)``, in [0, 1].
        token_separability: ``S_sep(t)`` of each, not squashed.
        token_probability: ``p_t`` of each, in [0, 1]; NaN when the server's numbers are raw
            logits (vLLM's ``--logprobs-mode raw_logits``), which leaves the other scores valid and ``log`` NaN.
        k_used: Candidates that every token has; 0 where one has none, and an empty answer has the K asked for. The
            separabilities are of that many; odds take all the candidates of a token, up to the K asked for.
        n_tokens: Number of scored tokens.
    """

    score: ScoreName
    value: float
    scores: dict[ScoreName, float]
    tokens: list[str]
    token_odds: list[float]
    token_separability: list[float]
    token_probability: list[float]
    k_used: int
    n_tokens: int

    def by_token(self, score: ScoreName) -> list[float]:
        """What a score makes of each token.

        Args:
            score: Name of the score.

        Returns:
            For ``odds`` the tokens' renormalised probabilities, for ``log`` their probabilities, in [0, 1]; for the
            others their separabilities.
        """
        values = {"odds": self.token_odds, "log": self.token_probability}
        return values.get(score, self.token_separability)


def is_end_token(token: str) -> bool:
    """Whether a token at the end of an answer is none of its words: an end or padding token of any family, or nothing.

    Args:
        token: Its text.
    """
    return not token or token in END_TOKENS or _SPECIAL.fullmatch(token) is not None


def parse_logprobs(content: Content, *, k: int = DEFAULT_K, drop: Collection[str] = END_TOKENS) -> AnswerLogprobs:
    """Read the log-probabilities of one answer.

    Args:
        content: ``response_metadata["logprobs"]["content"]`` of the message (the layout of ``ChatOpenAI``).
        k: Candidates to keep per token (the paper's ``K``), >= 0.
        drop: Texts of end and padding tokens; those at the end of the content are not scored. The default are those
            of :func:`is_end_token`. With vLLM's ``return_tokens_as_token_ids`` give ``{"token_id:151645", ...}``.

    Returns:
        The tokens and their candidates' log-probabilities.

    Raises:
        MissingLogprobsError: ``content`` is None, or a token has neither a log-probability nor candidates.
        ArgumentError: ``k`` is no whole number, or ``content`` has another layout.
    """
    k = check_k_for("log", k)
    if content is None:
        raise MissingLogprobsError("the model returned no log-probabilities: ask it for logprobs=True, top_logprobs=K")
    if isinstance(content, str | Mapping) or not isinstance(content, Sequence):
        raise ArgumentError("content", 'the list response_metadata["logprobs"]["content"]', _describe(content))

    length = len(content)
    while length and isinstance(content[length - 1], Mapping) and _dropped(content[length - 1].get("token"), drop):
        length -= 1
    tokens = tuple(TokenLogprobs.from_entry(entry) for entry in content[:length])

    rows = [[logprob for _, logprob in token.top if not logprob <= FLOOR] for token in tokens]
    sizes = [min(k, len(row)) for row in rows]
    longest = max(map(len, rows), default=k)
    listed = np.array([row + [-np.inf] * (longest - len(row)) for row in rows], dtype=np.float64)
    # Reversed, NaN comes first: an unusable number becomes the leader and is never cut off with the weakest.
    ranked = np.sort(listed.reshape(len(rows), longest), axis=-1)[:, ::-1]
    return AnswerLogprobs(tokens, ranked[:, : max(sizes, default=k)], min([k, *sizes]))


def score_answer(
    content: Content, score: ScoreName = "odds", k: int = DEFAULT_K, *, drop: Collection[str] = END_TOKENS
) -> AnswerScore:
    """Score one answer (paper, "confidence scores").

    Args:
        content: ``response_metadata["logprobs"]["content"]`` of the message.
        score: Which score becomes ``value``.
        k: Candidates per token (the paper's ``K``), >= 2; >= 5 for ``odds``, >= 0 for ``log``.
        drop: Texts of end and padding tokens, not scored at the end of the content.

    Returns:
        The scores. An answer without tokens, or with end tokens only, has the value 0.0.

    Raises:
        MissingLogprobsError: ``content`` is None, or ``score`` cannot be had: a token has fewer candidates above the
            floor than it needs (``odds`` five, ``log`` none but the token's own log-probability, the others two).
        ArgumentError: ``score`` is unknown, ``k`` is too small for it, or ``content`` has another layout.
    """
    return score_answers([content], score, k, drop=drop)[0]


@overload
def score_answers(
    contents: Sequence[Content],
    score: ScoreName = ...,
    k: int = ...,
    *,
    drop: Collection[str] = ...,
    return_exceptions: Literal[False] = ...,
) -> list[AnswerScore]: ...


@overload
def score_answers(
    contents: Sequence[Content],
    score: ScoreName = ...,
    k: int = ...,
    *,
    drop: Collection[str] = ...,
    return_exceptions: Literal[True],
) -> list[AnswerScore | MissingLogprobsError | ArgumentError]: ...


def score_answers(
    contents: Sequence[Content],
    score: ScoreName = "odds",
    k: int = DEFAULT_K,
    *,
    drop: Collection[str] = END_TOKENS,
    return_exceptions: bool = False,
) -> list[AnswerScore] | list[AnswerScore | MissingLogprobsError | ArgumentError]:
    """Score many answers in one pass; each result is what :func:`score_answer` gives for that answer alone.

    Args:
        contents: One content per answer, of any lengths and any numbers of candidates.
        score: Which score becomes ``value``.
        k: Candidates per token (the paper's ``K``), >= 2; >= 5 for ``odds``, >= 0 for ``log``.
        drop: Texts of end and padding tokens, not scored at the end of a content.
        return_exceptions: Put the error of an answer that cannot be scored in its place in the list, so that one
            answer does not cost the others their scores.

    Returns:
        One record per answer, in order.

    Raises:
        MissingLogprobsError: An answer lacks the log-probabilities that ``score`` needs, unless ``return_exceptions``.
        ArgumentError: ``score`` or ``k`` is wrong; or a content has another layout, unless ``return_exceptions``.
    """
    score = check_score(score)
    k = check_k_for(score, k)
    parsed: list[AnswerLogprobs | MissingLogprobsError | ArgumentError] = []
    for content in contents:
        try:
            parsed.append(_enough(parse_logprobs(content, k=k, drop=drop), score, k))
        except (MissingLogprobsError, ArgumentError) as error:
            if not return_exceptions:
                raise
            parsed.append(error)

    scored = iter(_score([answer for answer in parsed if isinstance(answer, AnswerLogprobs)], score))
    return [next(scored) if isinstance(answer, AnswerLogprobs) else answer for answer in parsed]


def _enough(answer: AnswerLogprobs, score: ScoreName, k: int) -> AnswerLogprobs:
    """Refuse an answer of which a score cannot be had."""
    least = least_candidates(score)
    # NaN counts: it makes a score unknown, which is another matter than one that was never asked for
    for token, count in zip(answer.tokens, (answer.top != -np.inf).sum(axis=-1).tolist(), strict=True):
        if count < least:
            found = f"{count} candidate(s) above the floor of {FLOOR:g}" if token.top else "no top_logprobs"
            needs = f"{found}, and the score {score!r} needs at least {least}"
            raise MissingLogprobsError(_missing(token.token, needs, f"logprobs=True and top_logprobs={k}"))
    return answer


def _score(answers: Sequence[AnswerLogprobs], score: ScoreName) -> list[AnswerScore]:
    """Score answers padded to one array ``[B, T, K]``: -inf where an answer has fewer tokens or candidates."""
    if not answers:
        return []
    length, width = (max(answer.top.shape[axis] for answer in answers) for axis in (0, 1))
    # two places at least, so that tokens without candidates have a row all the same
    top = np.full((len(answers), length, max(width, 2)), -np.inf)
    chosen = np.zeros((len(answers), length))
    mask = np.zeros((len(answers), length), dtype=np.bool_)
    for row, answer in enumerate(answers):
        n_tokens, k = answer.top.shape
        top[row, :n_tokens, :k] = answer.top
        chosen[row, :n_tokens] = [token.logprob for token in answer.tokens]
        mask[row, :n_tokens] = True

    leader = np.where(top[..., 0] == -np.inf, chosen, top[..., 0])
    with np.errstate(invalid="ignore"):
        behind = np.where(leader == chosen, 0.0, leader - chosen)
    leads, trails = behind <= _ROUNDING, (behind > _ROUNDING) & (leader < np.inf)
    token_log_odds = np.where(leads | trails, log_odds(top), np.nan)
    token_log_odds[trails] = odds_behind(token_log_odds[trails], behind[trails])
    token_odds = sigmoid(token_log_odds)
    # a K that changed within an answer would make its tokens' separabilities incomparable
    shared = np.array([answer.k_used for answer in answers])[:, None, None]
    token_separability = separability(np.where(np.arange(top.shape[-1]) < shared, top, -np.inf))
    token_separability = np.where(leads, token_separability, np.where(trails, 0.0, np.nan))
    largest = np.where(leads, leader, chosen)
    log_probability = np.where(leader <= _ROUNDING, np.minimum(largest, 0.0), np.nan)
    scores = all_scores(token_log_odds, token_separability, log_probability, mask)

    records = []
    for row, answer in enumerate(answers):
        n_tokens = len(answer.tokens)
        by_name = {name: float(values[row]) for name, values in scores.items()}
        records.append(
            AnswerScore(
                score=score,
                value=by_name[score],
                scores=by_name,
                tokens=[token.token for token in answer.tokens],
                token_odds=token_odds[row, :n_tokens].tolist(),
                token_separability=token_separability[row, :n_tokens].tolist(),
                token_probability=[math.exp(value) for value in log_probability[row, :n_tokens].tolist()],
                k_used=answer.k_used,
                n_tokens=n_tokens,
            )
        )
    return records


def _dropped(token: object, drop: Collection[str]) -> bool:
    return token in drop or (drop is END_TOKENS and isinstance(token, str) and is_end_token(token))


def _missing(token: str, found: str, ask: str) -> str:
    return f"token {token!r} has {found}: ask the model for {ask}, and check that its server supports them"


def _describe(value: object) -> str:
    """Describe a value in an error message without quoting it."""
    if isinstance(value, Mapping):
        return f"a mapping with the keys {list(value)[:6]}"
    return f"{type(value).__name__}"
