"""Models and functions that compare answers: what they are asked, and that they never raise."""

from __future__ import annotations

import math
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langgraph_speceyes.answers.agreement import Agreement
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.traffic.agreement import Agree, AgreeFunction, ChatAgreement, resolve_agree
from tests.scripted import Scripted, entry

ASKED = ("What is it?", "a red double-decker bus", "It is a bus with two floors, and red.")


def saying(yes: float, **options: Any) -> Scripted:
    """Says the opposite of what its distribution says, which alone counts."""
    top = [("Yes", math.log(yes)), (" no", math.log(1 - yes))]
    return Scripted(answer="no" if yes > 0.5 else "yes", content=[entry("Yes", top)], **options)


async def both(agree: Agree, *asked: str | None) -> Agreement:
    found = agree(*asked)  # type: ignore[arg-type]
    assert await agree.acall(*asked) == found  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(("yes", "threshold", "agrees"), [(0.6, 0.5, True), (0.4, 0.5, False), (0.6, 0.7, False)])
async def test_a_models_probability_decides_what_the_rule_leaves_open(
    yes: float, threshold: float, agrees: bool
) -> None:
    model = saying(yes)
    found = await both(ChatAgreement(model, threshold=threshold), *ASKED)
    assert (found.agree, found.by, found.error) == (agrees, "model", None)
    assert found.probability == pytest.approx(yes)
    (messages, settings), _ = model.calls
    assert settings["max_tokens"] == 1
    assert settings["logprobs"]
    assert all(part in messages[-1].text for part in ASKED)


async def test_the_rule_comes_first_and_nothing_is_compared_with_no_answer() -> None:
    model = saying(0.9)
    agree = ChatAgreement(model)
    assert (await both(agree, "How many?", "2", "two")).by == "rule"
    assert (await both(agree, "How many?", "2", "3")).agree is False
    for nothing in (None, "", "<answer></answer>"):
        assert (await both(agree, "How many?", "2", nothing)).by == "undecided"
    assert not model.calls


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Scripted(error="no route to host"), "no route to host"),
        (Scripted(answer="yes"), "top_logprobs"),
        (Scripted(content=[entry("Well", [("Well", -0.1), ("yes", -3.0)])]), "yes or no"),
        (Scripted(content=[]), "top_logprobs"),
    ],
)
async def test_a_model_in_trouble_decides_nothing(model: Scripted, says: str) -> None:
    found = await both(ChatAgreement(model), *ASKED)
    assert (found.agree, found.by, found.probability) == (None, "undecided", None)
    assert found.error is not None
    assert says in found.error


async def test_a_function_decides_everything() -> None:
    seen: list[tuple[str, str, str]] = []

    def compare(*asked: str) -> bool | None:
        seen.append(asked)  # type: ignore[arg-type]
        return {"2": False, "x": None}.get(asked[1], True)

    agree = resolve_agree(compare)
    assert await both(agree, "How many?", "2", "2") == Agreement(False, "function")
    assert await both(agree, *ASKED) == Agreement(True, "function")
    assert (await both(agree, "How many?", "x", "2")).by == "undecided"
    assert len(seen) == 6
    assert (await both(agree, "How many?", "", "2")).by == "undecided"
    assert len(seen) == 6


async def test_a_function_in_trouble_decides_nothing() -> None:
    def broken(*_: str) -> bool:
        raise KeyError("unit")

    found = await both(AgreeFunction(broken), *ASKED)
    assert (found.agree, found.by, found.error) == (None, "undecided", "KeyError: 'unit'")
    found = await both(AgreeFunction(lambda *_: "yes"), *ASKED)  # type: ignore[arg-type, return-value]
    assert found.agree is None
    assert "neither True, False nor None" in str(found.error)


async def test_what_may_be_given() -> None:
    assert (await both(resolve_agree(None), *ASKED)).by == "undecided"
    model = saying(0.9)
    assert (await both(resolve_agree(model.with_retry()), *ASKED)).by == "model"
    made = ChatAgreement(model)
    assert resolve_agree(made) is made
    wrong: list[Any] = [5, RunnableLambda(lambda x: x), "nobody:nothing"]
    for value in wrong:
        with pytest.raises(ArgumentError, match="agree"):
            resolve_agree(value)
    for threshold in (0, 1, True, "x"):
        with pytest.raises(ArgumentError, match="threshold"):
            ChatAgreement(model, threshold=threshold)  # type: ignore[arg-type]
