"""The embedded judge made worse on purpose: for tests and tables about a gate behind a judge that errs.

The shipped judge is nearly never wrong, so no table over it shows what a gate is worth where the judge lets questions
through that need tools.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from statistics import NormalDist
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from pydantic import Field

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import find_images
from langgraph_speceyes.models import LocalChatModel
from langgraph_speceyes.scoring import tool_need
from langgraph_speceyes.testbed import prompts

CERTAINTY = 3.0
"""Most log-odds that the worse judge gives a question of its own accord: a probability of .95."""
NOISE = 3.0
"""Standard deviation of the offset of a question, in log-odds."""
BIAS = -1.7
"""Shift of all log-odds: with that noise a third of the questions that need tools are let through, and 6 % of those
that need none are held back."""


def worse_judge(large: LocalChatModel, bias: float = BIAS, noise: float = NOISE) -> WorseJudge:
    """A model that judges worse than another one and is the same in all else; both share weights and batches.

    The log-odds of yes against no are cut to :data:`CERTAINTY`, since those of the shipped judge are so far from 0 that
    a constant alone turns no answer or all of them. Then `bias` and the question's own offset are added: `noise` times
    a standard normal number that a hash of the question's text and its images' names gives, the same in every run.

    Args:
        large: The model of the pair that judges.
        bias: Added to all log-odds; below 0 fewer questions are said to need tools.
        noise: Standard deviation of the offsets, 0 or more; with 0 and no bias the judge decides as it did.

    Returns:
        The worse judge, which is the agent's model too.

    Raises:
        ArgumentError: A number is not finite, or the noise is negative.
    """
    if not math.isfinite(bias):
        raise ArgumentError("bias", "a finite number", bias)
    if not (math.isfinite(noise) and noise >= 0):
        raise ArgumentError("noise", "a finite number, 0 or more", noise)
    return WorseJudge.sharing(large, bias=bias, noise=noise, disable_streaming=True)


class WorseJudge(LocalChatModel):
    """The large model, whose first token errs where it is asked as a judge; see :func:`worse_judge`.

    It does not stream: what is judged wrongly is known only at the end.
    """

    bias: float = Field(default=BIAS)
    noise: float = Field(default=NOISE)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._shifted(messages, super()._generate(messages, stop, run_manager, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._shifted(messages, await super()._agenerate(messages, stop, run_manager, **kwargs))

    def _shifted(self, messages: Sequence[BaseMessage], result: ChatResult) -> ChatResult:
        """Shift what the judge's token says, in place."""
        if not messages or not messages[-1].text.endswith(prompts.JUDGE):
            return result
        said = result.generations[0].message
        for entry in said.response_metadata.get("logprobs", {}).get("content", [])[:1]:
            first = _with_odds(entry, self._odds(messages[-1], entry))
            entry.update(first)
            said.content = first["token"]
        return result

    def _odds(self, question: BaseMessage, entry: Mapping[str, Any]) -> float:
        need = tool_need([(c["token"], c["logprob"]) for c in entry["top_logprobs"]])
        own = math.inf if need == 1 else -math.inf if need == 0 else math.log(need / (1 - need))
        return min(CERTAINTY, max(-CERTAINTY, own)) + self.bias + self.noise * _normal(question)


def _normal(question: BaseMessage) -> float:
    """A standard normal number from a question's text and its images' names; inline images have their digest."""
    images = find_images([question])
    names = [i.source_key if i.kind == "inline" else PurePath(i.source).name for i in images]
    digest = hashlib.sha256("\n".join([question.text, *names]).encode()).digest()
    return NormalDist().inv_cdf((int.from_bytes(digest[:6]) + 0.5) / 2**48)


def _with_odds(entry: Mapping[str, Any], odds: float) -> dict[str, Any]:
    """A token's log-probabilities with other log-odds of yes against no; what the two hold together stays.

    Returns:
        The entry of the token that is then the likeliest, with all candidates in their new order.
    """
    kept = [dict(c) for c in entry["top_logprobs"]]
    words = {word: [c for c in kept if c["token"].strip().lower() == word] for word in ("yes", "no")}
    for word, found in words.items():
        if not found:
            # not among the candidates: it has at most what the least likely of them has
            found.append(min(kept, key=lambda c: float(c["logprob"])) | {"token": word, "bytes": list(word.encode())})
            kept.append(found[0])
    total = _added(c["logprob"] for found in words.values() for c in found)
    for word, sign in (("yes", -1), ("no", 1)):
        # log of the logistic function, without overflow
        wanted = total - (max(0.0, sign * odds) + math.log1p(math.exp(-abs(odds))))
        change = wanted - _added(c["logprob"] for c in words[word])
        for candidate in words[word]:
            candidate["logprob"] += change
    kept.sort(key=lambda c: -c["logprob"])
    return {**kept[0], "top_logprobs": kept}


def _added(logprobs: Any) -> float:
    values = list(logprobs)
    most = max(values)
    return float(most + math.log(sum(math.exp(v - most) for v in values)))
