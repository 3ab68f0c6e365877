"""A judge that errs on purpose, and in nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langgraph_speceyes.bench.chosen import embedded_models_with_worse_judge
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.front.calling import logprob_content
from langgraph_speceyes.prompts import front_end_prompt, image_question, system_message
from langgraph_speceyes.scoring import tool_need
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.questions import questions
from langgraph_speceyes.testbed.worse import CERTAINTY, _with_odds, worse_judge

SYSTEM = system_message(prompts.SYSTEM)
TOKEN = {"max_tokens": 1, "logprobs": True, "top_logprobs": 20}


def need(model, prompt):  # type: ignore[no-untyped-def]
    said = model.bind(**TOKEN).invoke(prompt)
    (entry,) = logprob_content(said)
    found = tool_need([(c["token"], c["logprob"]) for c in entry["top_logprobs"]])
    assert said.text == entry["token"] == ("yes" if found > 0.5 else "no")
    return found


def test_without_bias_and_noise_it_decides_as_it_did(pair: Pair, ask) -> None:  # type: ignore[no-untyped-def]
    same = worse_judge(pair.large, bias=0, noise=0)
    for _, message in ask("attributes", 4):
        prompt = front_end_prompt(message, SYSTEM, prompts.JUDGE)
        was, now = need(pair.large, prompt), need(same, prompt)
        assert (was > 0.5) == (now > 0.5)
        assert abs(math.log(now / (1 - now))) <= CERTAINTY + 1e-6


def test_the_bias_moves_the_odds_and_turns_answers(pair: Pair, ask) -> None:  # type: ignore[no-untyped-def]
    for question, message in ask("attributes", 4):
        prompt = front_end_prompt(message, SYSTEM, prompts.JUDGE)
        was = need(worse_judge(pair.large, bias=0, noise=0), prompt)
        now = need(worse_judge(pair.large, bias=-2, noise=0), prompt)
        assert math.log(now / (1 - now)) == pytest.approx(math.log(was / (1 - was)) - 2, abs=1e-6)
        assert need(worse_judge(pair.large, bias=-8, noise=0), prompt) < 0.5, question.text


def test_a_third_of_what_needs_tools_is_let_through_and_little_else_changes(pair: Pair) -> None:
    judge = worse_judge(pair.large)
    through, held = [], []
    for split in ("attributes", "relations", "existence", "reading", "deep"):
        for question in questions(split, "calibration", 60):
            name = Path(question.id.replace("/", "-") + ".jpg")
            prompt = front_end_prompt(image_question(name, question.text), SYSTEM, prompts.JUDGE)
            sure = [{"token": "yes", "logprob": -1e-6}, {"token": "no", "logprob": -14.0}]
            if question.size == "large":
                sure = [{"token": "no", "logprob": -1e-6}, {"token": "yes", "logprob": -14.0}]
            odds = judge._odds(prompt[-1], {"top_logprobs": sure})
            assert odds == judge._odds(prompt[-1], {"top_logprobs": sure})
            (held if question.size == "large" else through).append(odds < 0)
    assert 0.27 < sum(through) / len(through) < 0.4
    assert 0.88 < sum(held) / len(held) < 0.99


def test_the_agent_over_it_is_the_agent(pair: Pair, ask) -> None:  # type: ignore[no-untyped-def]
    (_, message), *_ = ask("attributes", 1)
    prompt = front_end_prompt(message, SYSTEM, prompts.AGENT)
    worse = worse_judge(pair.large, bias=-9)
    alone, same = (model.bind(logprobs=True, top_logprobs=20).invoke(prompt) for model in (pair.large, worse))
    assert same.text == alone.text
    first, again = (logprob_content(said)[0]["logprob"] for said in (alone, same))
    assert again == pytest.approx(first, abs=1e-4)


def test_the_command_finds_it(ask) -> None:  # type: ignore[no-untyped-def]
    models = embedded_models_with_worse_judge()
    assert (models.large.bias, models.large.noise) == (-1.7, 3.0)
    assert models.agent_over is not None


tops = st.dictionaries(
    st.sampled_from(["yes", "no", "The", " yes", "No", "160"]), st.floats(-20, 0), min_size=1
).filter(lambda found: set(found) - {"The", "160"})


@given(tops, st.floats(-30, 30))
@example({"yes": -0.001, "160": -9.0}, -2.0)
def test_other_odds_keep_what_yes_and_no_hold_together(found: dict[str, float], odds: float) -> None:
    def held(candidates, *words):  # type: ignore[no-untyped-def]
        return sum(math.exp(c["logprob"]) for c in candidates if c["token"].strip().lower() in words)

    top = [{"token": token, "logprob": logprob, "bytes": []} for token, logprob in found.items()]
    entry = _with_odds({**top[0], "top_logprobs": top}, odds)
    shifted = entry["top_logprobs"]
    # a word that is not listed has at most what the least likely candidate has
    unlisted = 0 if held(top, "yes") and held(top, "no") else math.exp(min(found.values()))
    assert held(shifted, "yes", "no") == pytest.approx(held(top, "yes", "no") + unlisted)
    assert math.log(held(shifted, "yes") / held(shifted, "no")) == pytest.approx(odds, abs=1e-6)
    assert held(shifted, "the", "160") == held(top, "the", "160")
    assert [c["logprob"] for c in shifted] == sorted((c["logprob"] for c in shifted), reverse=True)
    assert (entry["token"], entry["logprob"]) == (shifted[0]["token"], shifted[0]["logprob"])


@pytest.mark.parametrize(("bias", "noise"), [(math.nan, 1.0), (math.inf, 1.0), (0.0, -1.0), (0.0, math.nan)])
def test_numbers_that_are_none_are_refused(pair: Pair, bias: float, noise: float) -> None:
    with pytest.raises(ArgumentError, match=r"bias|noise"):
        worse_judge(pair.large, bias=bias, noise=noise)
