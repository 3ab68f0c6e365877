"""Answer scores from token log-probabilities, and the gate that compares them with a threshold.

Pure functions over NumPy arrays and plain records: no model, no graph, no torch (convert a tensor with
``tensor.detach().float().cpu().numpy()``). ``odds`` is this package's own score; see the paper (arXiv 2603.23483),
"confidence scores", for the formulas of the others.
"""

from langgraph_speceyes.scoring.aggregate import (
    AT_ONE_K,
    BOTTOM_FRACTION,
    SCORES,
    SQUASH_SCALE,
    ScoreName,
    all_scores,
    check_k_for,
    check_score,
    least_candidates,
    score_bottom,
    score_log,
    score_mean,
    score_min,
    score_odds,
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
from langgraph_speceyes.scoring.gate import DEFAULT_THRESHOLD, FIRST_LOOKS, FirstLook, Gate, resolve_gate
from langgraph_speceyes.scoring.odds import LEAST_CANDIDATES, log_odds, sigmoid
from langgraph_speceyes.scoring.separability import EPS, FLOOR, check_k, count_candidates, separability, top_k
from langgraph_speceyes.scoring.spoken import Spoken, spoken
from langgraph_speceyes.scoring.uncalibrated import uncalibrated_on_purpose, warn_if_uncalibrated
from langgraph_speceyes.scoring.yes_no import tool_need

__all__ = [
    "AT_ONE_K",
    "BOTTOM_FRACTION",
    "DEFAULT_K",
    "DEFAULT_THRESHOLD",
    "END_TOKENS",
    "EPS",
    "FIRST_LOOKS",
    "FLOOR",
    "LEAST_CANDIDATES",
    "SCORES",
    "SQUASH_SCALE",
    "AnswerLogprobs",
    "AnswerScore",
    "FirstLook",
    "Gate",
    "ScoreName",
    "Spoken",
    "TokenLogprobs",
    "all_scores",
    "check_k",
    "check_k_for",
    "check_score",
    "count_candidates",
    "is_end_token",
    "least_candidates",
    "log_odds",
    "parse_logprobs",
    "resolve_gate",
    "score_answer",
    "score_answers",
    "score_bottom",
    "score_log",
    "score_mean",
    "score_min",
    "score_odds",
    "separability",
    "sigmoid",
    "spoken",
    "squash",
    "tool_need",
    "top_k",
    "uncalibrated_on_purpose",
    "warn_if_uncalibrated",
]
