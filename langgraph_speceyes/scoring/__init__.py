"""Answer scores from token log-probabilities, and the gate that compares them with a threshold.

Pure functions over NumPy arrays and plain records: no model, no graph, no torch (convert a tensor with
``tensor.detach().float().cpu().numpy()``). See the paper (arXiv 2603.23483), "confidence
scores", for the formulas.
"""

from langgraph_speceyes.scoring.aggregate import (
    BOTTOM_FRACTION,
    SCORES,
    SQUASH_SCALE,
    ScoreName,
    all_scores,
    check_score,
    score_bottom,
    score_log,
    score_mean,
    score_min,
    squash,
)
from langgraph_speceyes.scoring.answer import (
    DEFAULT_K,
    END_TOKENS,
    AnswerLogprobs,
    AnswerScore,
    TokenLogprobs,
    is_end_token,
    parse_logprobs,
    score_answer,
    score_answers,
)
from langgraph_speceyes.scoring.gate import DEFAULT_THRESHOLD, Gate, resolve_gate
from langgraph_speceyes.scoring.separability import EPS, FLOOR, check_k, count_candidates, separability, top_k
from langgraph_speceyes.scoring.spoken import Spoken, spoken
from langgraph_speceyes.scoring.yes_no import tool_need

__all__ = [
    "BOTTOM_FRACTION",
    "DEFAULT_K",
    "DEFAULT_THRESHOLD",
    "END_TOKENS",
    "EPS",
    "FLOOR",
    "SCORES",
    "SQUASH_SCALE",
    "AnswerLogprobs",
    "AnswerScore",
    "Gate",
    "ScoreName",
    "Spoken",
    "TokenLogprobs",
    "all_scores",
    "check_k",
    "check_score",
    "count_candidates",
    "is_end_token",
    "parse_logprobs",
    "resolve_gate",
    "score_answer",
    "score_answers",
    "score_bottom",
    "score_log",
    "score_mean",
    "score_min",
    "separability",
    "spoken",
    "squash",
    "tool_need",
    "top_k",
]
