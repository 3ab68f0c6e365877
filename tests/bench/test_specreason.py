"""SpecReason: steps drafted by the small model, rated and, where needed, rewritten by the large one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core import globals
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import invalid_tool_call
from langchain_core.outputs import ChatGeneration, ChatResult
from PIL import Image

from langgraph_speceyes.agent import ResizeRule, create_visual_agent
from langgraph_speceyes.bench.methods import Models, build
from langgraph_speceyes.bench.specreason import RATING, SpecReasonModel, most_probable_digit, rating_prompt
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed.pair import PROMPTS, Pair
from tests.scripted import Agent, Scripted, entry

ASKED: list[BaseMessage] = [SystemMessage("Look."), HumanMessage("What colour?")]
BOX, OTHER = [10, 20, 110, 70], [0, 0, 50, 50]
SPENT = {"draft": (100, 20), "rating": (130, 1), "rewrite": (200, 30)}
"""Tokens read and written by each call."""


def digit(rating: int) -> list[dict[str, Any]]:
    """A rating's logprobs: the digit leads, the one on the other side of the threshold comes second."""
    return [entry(str(rating), [(str(rating), -0.2), ("3" if rating >= 7 else "9", -1.9)])]


class Played(Scripted):
    """Plays messages back and rates what it is shown; records the messages, stop strings and settings of each call."""

    turns: list[Any] = []
    ratings: list[list[dict[str, Any]] | None] = []
    accepts_image_references: bool = True
    resize_rule: Any = None
    tool_format: str = "tools"
    silent: bool = False

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(**{self.tool_format: [tool["function"]["name"] for tool in tools]}, **kwargs)

    def sent(self, rating: bool = False) -> list[list[BaseMessage]]:
        return [messages for messages, _ in self.calls if (messages[-1].content == RATING) == rating]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        rating = messages[-1].content == RATING
        said: Any = (self.ratings if rating else self.turns)[len(self.sent(rating))]
        self.calls.append((messages, {**kwargs, "stop": stop}))
        if self.error:
            raise ConnectionError(self.error)
        call = "rating" if rating else "draft" if self.tool_format == "functions" else "rewrite"
        read, written = SPENT[call]
        usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
        if rating:
            # the text is never looked at
            message = AIMessage("5", response_metadata={} if said is None else {"logprobs": {"content": said}})
        else:
            message = said if isinstance(said, AIMessage) else AIMessage(said)
        message = message.model_copy(update={"usage_metadata": None if self.silent else usage})
        return ChatResult(generations=[ChatGeneration(message=message)])


def small(*turns: AIMessage | str, **options: Any) -> Played:
    return Played(turns=list(turns), calls=[], tool_format="functions", **options)


def large(*turns: AIMessage | str, ratings: Any = (), **options: Any) -> Played:
    rated = [digit(rating) if isinstance(rating, int) else rating for rating in ratings]
    return Played(turns=list(turns), ratings=rated, calls=[], **options)


def record(message: BaseMessage) -> dict[str, Any]:
    found: dict[str, Any] = message.response_metadata["specreason"]
    return found


def crop(box: list[int], id: str | None = "call_a") -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "crop", "args": {"bbox_2d": box}, "id": id}])


def crop_text(box: list[int]) -> str:
    return f'<think>Closer.</think><tool_call>{{"name":"crop","arguments":{{"bbox_2d":{box}}}}}</tool_call>'


PROTOCOLS: dict[str, tuple[Callable[[list[int]], Any], str]] = {
    "native": (crop, "{}"),
    "deepeyes": (crop_text, "<answer>{}</answer>"),
}


@pytest.fixture
def question(tmp_path: Path) -> HumanMessage:
    file = tmp_path / "picture.png"
    Image.new("RGB", (400, 300), "red").save(file)
    return HumanMessage([{"type": "image", "url": str(file)}, {"type": "text", "text": "What colour?"}])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_accepted_step_is_kept_and_its_tool_runs(protocol: str, question: HumanMessage) -> None:
    call, answer = PROTOCOLS[protocol]
    drafts, rates = small(call(BOX), answer.format("red")), large(ratings=[7, 9])
    graph = create_visual_agent(SpecReasonModel(small=drafts, large=rates), protocol=protocol).compile()
    result = graph.invoke({"messages": [question]})
    assert result["messages"][-1].text == "red"
    assert [(step["tool"], step["box"], step["error"]) for step in result["steps"]] == [("crop", BOX, None)]
    look = f"{question.content[0]['url']}#xywh=10,20,100,50"  # type: ignore[index]
    assert result["steps"][0]["image"] == look
    # the second draft and its rating saw the first and what its tool showed
    assert look in str(drafts.calls[1][0][-1].content)
    assert look in str(rates.calls[1][0])
    assert len(drafts.calls) == 2
    assert (len(rates.sent()), len(rates.sent(rating=True))) == (0, 2)
    steps = [record(m) for m in result["messages"] if isinstance(m, AIMessage)]
    assert [(step["rating"], step["written_by"], step["error"]) for step in steps] == [
        (7, "small", None),
        (9, "small", None),
    ]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_rejected_step_is_thrown_away_and_rewritten(protocol: str, question: HumanMessage) -> None:
    call, answer = PROTOCOLS[protocol]
    drafts = small(call(OTHER), answer.format("red"))
    rates = large(call(BOX), answer.format("blue"), ratings=[6, 0])
    graph = create_visual_agent(SpecReasonModel(small=drafts, large=rates), protocol=protocol).compile()
    result = graph.invoke({"messages": [question]})
    assert result["messages"][-1].text == "blue"
    assert [step["box"] for step in result["steps"]] == [BOX]
    assert str(OTHER) not in str(result["messages"])
    # the large model writes from what the small one was shown, not from its draft
    assert [[m.content for m in sent] for sent in rates.sent()] == [[m.content for m in sent] for sent in drafts.sent()]
    steps = [record(m) for m in result["messages"] if isinstance(m, AIMessage)]
    assert [(step["rating"], step["written_by"]) for step in steps] == [(6, "large"), (0, "large")]


@pytest.mark.parametrize(
    ("rating", "threshold", "writer"),
    [(6, 7, "large"), (7, 7, "small"), (0, 0, "small"), (8, 9, "large"), (9, 9, "small")],
)
def test_a_draft_is_kept_from_the_threshold_on(rating: int, threshold: int, writer: str) -> None:
    model = SpecReasonModel(small=small("red"), large=large("blue", ratings=[rating]), threshold=threshold)
    said = model.invoke(ASKED)
    assert said.text == {"small": "red", "large": "blue"}[writer]
    found = record(said)
    assert (found["rating"], found["threshold"], found["written_by"]) == (rating, threshold, writer)


def test_the_threshold_is_the_papers_unless_told_and_a_digit() -> None:
    assert SpecReasonModel(small=small(), large=large()).threshold == 7
    for threshold in (-1, 10):
        with pytest.raises(ValueError, match="threshold"):
            SpecReasonModel(small=small(), large=large(), threshold=threshold)


TROUBLES: dict[str, tuple[Callable[[], Played], Callable[[], Played], str]] = {
    "no digit": (
        lambda: small("red"),
        lambda: large("blue", ratings=[[entry("Good", [("Good", -0.1), ("10", -3.0)])]]),
        "'Good', '10'",
    ),
    "nothing said": (lambda: small("red"), lambda: large("blue", ratings=[[]]), "no candidates"),
    "no log-probabilities": (lambda: small("red"), lambda: large("blue", ratings=[None]), "MissingLogprobsError"),
    "rating fails": (lambda: small("red"), lambda: large("blue"), "IndexError"),
    "small fails": (lambda: small("red", error="down"), lambda: large("blue", ratings=[9]), "ConnectionError: down"),
    "empty draft": (lambda: small(" \n"), lambda: large("blue", ratings=[9]), "draft"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_after_trouble_the_large_model_writes(trouble: str) -> None:
    drafts, rates, why = TROUBLES[trouble]
    writes = rates()
    said = SpecReasonModel(small=drafts(), large=writes, threshold=0).invoke(ASKED)
    assert said.text == "blue"
    assert writes.sent() == [ASKED]
    found = record(said)
    assert (found["rating"], found["written_by"]) == (None, "large")
    assert why in str(found["error"])


def test_an_error_of_the_large_models_step_is_the_models() -> None:
    model = SpecReasonModel(small=small("red"), large=large("blue", error="down"))
    with pytest.raises(ConnectionError, match="down"):
        model.invoke(ASKED)


def test_a_draft_without_words_may_still_call_a_tool() -> None:
    for draft in (crop(BOX), AIMessage("", invalid_tool_calls=[{"name": "crop", "args": "{", "id": "b", "error": ""}])):
        said = SpecReasonModel(small=small(draft), large=large(ratings=[8])).invoke(ASKED)
        assert (said.tool_calls, said.invalid_tool_calls) == (draft.tool_calls, draft.invalid_tool_calls)
        assert record(said)["written_by"] == "small"


CASES: dict[str, tuple[Callable[[], Played], Callable[[], Played]]] = {
    "kept": (lambda: small(crop(BOX)), lambda: large("blue", ratings=[8])),
    "rewritten": (lambda: small("red"), lambda: large(crop(BOX), ratings=[2])),
    **{name: (drafts, rates) for name, (drafts, rates, _) in TROUBLES.items()},
}


@pytest.mark.parametrize("case", CASES)
async def test_asynchronous_calls_do_the_same(case: str) -> None:
    drafts, rates = CASES[case]
    pairs = [(drafts(), rates()) for _ in range(2)]
    models = [SpecReasonModel(small=one, large=other) for one, other in pairs]
    settings: dict[str, Any] = {"stop": ["\n\n"], "max_tokens": 40}
    said = [models[0].invoke(ASKED, **settings), await models[1].ainvoke(ASKED, **settings)]
    shown = [{**message.model_dump(), "id": None} for message in said]
    assert shown[0] == shown[1]
    for side in (0, 1):
        calls = [
            [([m.model_dump(exclude={"id"}) for m in messages], kwargs) for messages, kwargs in pair[side].calls]
            for pair in pairs
        ]
        assert calls[0] == calls[1]


async def test_asynchronous_models_are_awaited() -> None:
    class Awaited(Played):
        async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            return Played._generate(self, messages, stop, None, **kwargs)

        def _generate(self, *arguments: Any, **kwargs: Any) -> Any:
            raise AssertionError("called in the way that blocks")

    drafts = Awaited(turns=["red"], calls=[], tool_format="functions")
    rates = Awaited(turns=["blue"], ratings=[digit(3)], calls=[])
    assert (await SpecReasonModel(small=drafts, large=rates).ainvoke(ASKED)).text == "blue"
    assert (len(drafts.calls), len(rates.calls)) == (1, 2)


@pytest.mark.parametrize(
    ("drafts", "rates", "calls"),
    [
        (small("red"), large("blue", ratings=[9]), ["draft", "rating"]),
        (small("red"), large("blue", ratings=[1]), ["draft", "rating", "rewrite"]),
        (small("red"), large("blue", ratings=[None]), ["draft", "rating", "rewrite"]),
        (small(""), large("blue", ratings=[9]), ["draft", "rewrite"]),
        (small("red", error="down"), large("blue", ratings=[9]), ["rewrite"]),
    ],
)
def test_usage_counts_every_call(drafts: Played, rates: Played, calls: list[str]) -> None:
    said = SpecReasonModel(small=drafts, large=rates).invoke(ASKED)
    read, written = (sum(SPENT[call][side] for call in calls) for side in (0, 1))
    assert said.usage_metadata is not None
    assert said.usage_metadata["input_tokens"] == read
    assert said.usage_metadata["output_tokens"] == written
    assert said.usage_metadata["total_tokens"] == read + written
    assert record(said)["tokens"] == {call: dict(zip(("input", "output"), SPENT[call], strict=True)) for call in calls}


def test_models_that_report_no_usage_are_not_made_up_for() -> None:
    said = SpecReasonModel(small=small("red", silent=True), large=large(ratings=[9], silent=True)).invoke(ASKED)
    assert said.usage_metadata is None
    said = SpecReasonModel(small=small("red", silent=True), large=large(ratings=[9])).invoke(ASKED)
    assert said.usage_metadata is not None
    assert said.usage_metadata["input_tokens"] == SPENT["rating"][0]


def test_a_runs_messages_add_up_to_its_calls(question: HumanMessage) -> None:
    model = SpecReasonModel(small=small(crop(BOX), "red"), large=large("blue", ratings=[9, 2]))
    result = create_visual_agent(model).compile().invoke({"messages": [question]})
    used = [m.usage_metadata for m in result["messages"] if isinstance(m, AIMessage)]
    assert sum(one["input_tokens"] for one in used if one) == 2 * 100 + 2 * 130 + 200


def test_settings_reach_draft_and_rewrite_and_the_rating_is_one_token_with_candidates() -> None:
    drafts, writes = small("red"), large("blue", ratings=[1])
    SpecReasonModel(small=drafts, large=writes).invoke(ASKED, stop=["\n\n"], max_tokens=40, seed=3)
    told = {"stop": ["\n\n"], "max_tokens": 40, "seed": 3}
    assert [kwargs for _, kwargs in drafts.calls] == [told]
    rating = {"stop": None, "max_tokens": 1, "logprobs": True, "top_logprobs": 20, "temperature": 0.0, "seed": 3}
    assert [kwargs for _, kwargs in writes.calls] == [rating, told]


def test_tools_are_bound_to_both_models_in_their_own_way(question: HumanMessage) -> None:
    drafts, writes = small(crop(BOX), "red"), large("blue", ratings=[1])
    model = SpecReasonModel(small=drafts, large=writes)
    bound = model.bind_tools([{"type": "function", "function": {"name": "crop"}}])
    bound.invoke(ASKED)
    assert [kwargs.get("functions") for _, kwargs in drafts.calls] == [["crop"]]
    # the rating's prompt begins as the step's does, tools included
    assert [kwargs.get("tools") for _, kwargs in writes.calls] == [["crop"], ["crop"]]
    # the model itself has none: the agent's last call is made without
    writes.ratings.append(digit(9))
    model.invoke(ASKED)
    assert "functions" not in drafts.calls[-1][1]
    assert "tools" not in writes.calls[-1][1]


def test_a_model_without_tools_is_refused_for_native_calls() -> None:
    with pytest.raises(ArgumentError) as caught:
        create_visual_agent(SpecReasonModel(small=Scripted(), large=large()))
    assert caught.value.argument == "model"


def test_the_rating_prompt_is_the_conversation_and_its_question() -> None:
    writes = large(ratings=[9])
    SpecReasonModel(small=small("red"), large=writes).invoke(ASKED)
    (sent,) = writes.sent(rating=True)
    assert sent[:2] == ASKED
    assert [(m.type, m.content) for m in sent[2:]] == [("ai", "red"), ("human", RATING)]


def test_calls_that_were_not_run_have_a_result_in_the_rating_prompt() -> None:
    draft = crop(BOX, id=None)
    draft.tool_calls.append({"name": "zoom", "args": {}, "id": "mine"})
    draft.invalid_tool_calls.append(invalid_tool_call(args="{", id="broken"))
    prompt = rating_prompt(ASKED, draft)
    shown = prompt[2]
    assert isinstance(shown, AIMessage)
    ids = [call["id"] for call in [*shown.tool_calls, *shown.invalid_tool_calls]]
    assert [m.tool_call_id for m in prompt if isinstance(m, ToolMessage)] == ids
    assert ids[1:] == ["mine", "broken"]
    assert ids[0]
    assert [call["args"] for call in shown.tool_calls] == [{"bbox_2d": BOX}, {}]
    assert prompt[-1].content == RATING
    assert draft.tool_calls[0]["id"] is None


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        ([("8", -0.1)], 8),
        ([("5", -1.2), ("8", -0.5), ("9", -1.0)], 8),
        ([("Good", -0.1), (" 8", -4.0), ("9", -5.0)], 8),
        ([("\u2581" + "4", -0.3), ("7", -0.4)], 4),
        ([("\u0120" + "4", -0.3), ("7", -0.4)], 4),
        ([("10", -0.1), ("1.", -0.2), ("\u00b2", -0.3), ("\u0667", -0.4), ("0", -5.0)], 0),
        ([("7", -0.7), ("6", -0.7)], 6),
        ([("9", 31.0), ("2", 30.0)], 9),
        ([("9", -math.inf), ("2", -20.0)], 2),
    ],
)
def test_the_most_probable_digit_is_the_rating(candidates: list[tuple[str, float]], expected: int) -> None:
    assert most_probable_digit(candidates) == expected


@pytest.mark.parametrize(
    "candidates",
    [[], [("Good", -0.1), ("", -1.0)], [("Good", -0.1), ("9", -9999.0)], [("9", math.nan), ("8", -0.1)]],
)
def test_without_a_usable_digit_there_is_no_rating(candidates: list[tuple[str, float]]) -> None:
    with pytest.raises(ArgumentError, match="rating"):
        most_probable_digit(candidates)


@pytest.mark.parametrize("reads", [(True, True), (True, False), (False, True)])
def test_images_are_sent_inline_unless_both_models_read_references(
    reads: tuple[bool, bool], question: HumanMessage
) -> None:
    drafts = small("red", accepts_image_references=reads[0])
    writes = large("blue", ratings=[1], accepts_image_references=reads[1])
    model = SpecReasonModel(small=drafts, large=writes)
    assert model.accepts_image_references is all(reads)
    create_visual_agent(model).compile().invoke({"messages": [question]})
    for messages, _ in [*drafts.calls, *writes.calls]:
        assert ("base64" not in messages[1].content[0]) == all(reads)
    assert not SpecReasonModel(small=Scripted(), large=large()).accepts_image_references


def test_boxes_are_read_in_the_large_models_pixels() -> None:
    rule = ResizeRule(28, 784, 7840)
    model = SpecReasonModel(small=small(resize_rule=ResizeRule(14, 196, 1960)), large=large(resize_rule=rule))
    assert model.resize_rule == rule
    assert SpecReasonModel(small=Scripted(), large=Scripted()).resize_rule is None


def test_only_kept_steps_are_streamed(question: HumanMessage) -> None:
    model = SpecReasonModel(small=small("red", "green"), large=large("blue", ratings=[1, 9]))
    graph = create_visual_agent(model).compile()
    for expected in ("blue", "green"):
        streamed = [m for m, _ in graph.stream({"messages": [question]}, stream_mode="messages")]
        assert {m.text for m in streamed if isinstance(m, AIMessage)} == {expected}


def test_a_shared_cache_does_not_mix_models_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globals, "_llm_cache", InMemoryCache())
    for answer in ("red", "green"):
        drafts, rates = small(answer, cache=False), large(ratings=[9], cache=False)
        assert SpecReasonModel(small=drafts, large=rates).invoke(ASKED).text == answer


@pytest.mark.parametrize("missing", ["large", "agent_over"])
def test_the_method_needs_the_large_model_and_an_agent_over_it(missing: str) -> None:
    given = Models(small(), large(), Agent().graph.compile(), Gate(), PROMPTS, lambda over: Agent().graph.compile())
    build("specreason", given)
    without: dict[str, Any] = {missing: None}
    with pytest.raises(ArgumentError, match=missing) as caught:
        build("specreason", replace(given, **without))
    assert caught.value.argument == "method"


async def test_the_embedded_pair_goes_through_it(pair: Pair, ask: Callable[[Any, int], list[Any]]) -> None:
    ((_, message),) = ask("attributes", 1)

    def over(model: BaseChatModel) -> Any:
        return replace(pair, large=model).agent().compile()

    models = Models(pair.speculator, pair.large, over(pair.large), pair.gate, PROMPTS, over)
    result = await build("specreason", models).ainvoke({"messages": [message]})
    said = [m for m in result["messages"] if isinstance(m, AIMessage)]
    assert said[-1] is result["messages"][-1]
    assert said[-1].text
    for one in said:
        found = record(one)
        # the pair was not trained to rate: whether it does is not looked at, but every call was made
        assert found["written_by"] == ("small" if (found["rating"] or 0) >= 7 else "large")
        assert {"draft"} <= set(found["tokens"]) <= {"draft", "rating", "rewrite"}
        assert one.usage_metadata is not None
        assert one.usage_metadata["input_tokens"] == sum(t["input"] for t in found["tokens"].values())
