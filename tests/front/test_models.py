"""What may be given as speculator and judge."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import Runnable, RunnableLambda
from PIL import Image

from langgraph_speceyes import Gate, create_speceyes, create_visual_agent, image_question
from langgraph_speceyes.errors import ArgumentError, GateMismatchError, MissingExtraError, MissingLibraryError
from langgraph_speceyes.models.given import chat_models, resolve_model
from langgraph_speceyes.prompts import Prompts
from tests.scripted import Agent, Scripted, front_end, judge, peaked, speculator


class Named(Scripted):
    model_name: str = "small"

    def bind_tools(self, tools: Any, **options: Any) -> Runnable[Any, Any]:
        return self.bind(tools=tools, **options)


class Local(Named):
    """One that reads references and forms batches."""

    accepts_image_references: bool = True
    vocab_size: int = 32
    announced: list[str] = []

    def expect(self, key: str) -> None:
        self.announced.append(f"expect {key}")

    def dismiss(self, key: str) -> None:
        self.announced.append(f"dismiss {key}")


def named(name: str, kind: type[Named] = Named, **options: Any) -> Any:
    return kind(content=speculator().content, model_name=name, **options)


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, list[HumanMessage]]:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")
    return {"messages": [image_question(tmp_path / "a.png", "What colour?")]}


def image_of(call: Any) -> str:
    return next(str(block) for block in call[0][-1].content if block["type"] != "text")


class Watched(BaseCallbackHandler):
    """Keeps what handlers are shown of a model's messages."""

    def __init__(self) -> None:
        self.images: list[Any] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.images += [block for block in messages[0][-1].content if block["type"] != "text"]


def test_images_reach_local_models_in_the_form_that_handlers_see(asked: Any, tmp_path: Path) -> None:
    given = asked["messages"][0].model_copy(deep=True)
    local, watched = named("small", Local), Watched()
    graph = create_speceyes(Agent().graph, speculator=local, judge=judge(0.1), gate=Gate(speculator="small")).compile()
    graph.invoke(asked, {"callbacks": [watched]})
    block = {"type": "image_url", "image_url": {"url": str(tmp_path / "a.png")}}
    assert local.calls[0][0][-1].content[0] == block == watched.images[-1]
    assert asked["messages"][0].content == given.content


WRAPPERS = {
    "plain": lambda model: model,
    "retry": lambda model: model.with_retry(stop_after_attempt=2),
    "bind": lambda model: model.bind(seed=1),
    "config": lambda model: model.with_config(tags=["mine"]),
    "all": lambda model: model.bind(seed=1).with_retry().with_config(tags=["mine"]).with_fallbacks([named("small")]),
}


@pytest.mark.parametrize("wrapped", WRAPPERS)
async def test_a_wrapped_model_answers_as_it_does_alone(asked: Any, wrapped: str) -> None:
    small, large = named("small"), judge(0.1)
    graph = create_speceyes(
        Agent().graph,
        speculator=WRAPPERS[wrapped](small),
        judge=large.with_retry(),  # type: ignore[arg-type]
        gate=Gate(speculator="small"),
    ).compile()
    for found in (graph.invoke(asked), await graph.ainvoke(asked)):
        assert (found["decision"]["route"], found["messages"][-1].text) == ("bypass", "blue")
        assert found["messages"][-1].response_metadata["model_name"] == "small"
    settings = small.calls[0][1]
    asks = {"logprobs": True, "top_logprobs": 20, "max_tokens": 64, "temperature": 0.0, "stream": False}
    assert settings == asks | ({"seed": 1} if wrapped in ("bind", "all") else {})
    shown = [chunk async for chunk, _ in graph.astream(asked, stream_mode="messages") if chunk.text]
    assert [chunk.text for chunk in shown] == ["blue"]


class Streams(Named):
    """One that can stream its tokens, each with its candidates."""

    streaming: bool = False

    def _stream(self, *args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        for one in self.content or ():
            metadata = {"logprobs": {"content": [one]}, "model_provider": "openai"}
            yield ChatGenerationChunk(message=AIMessageChunk(one["token"], response_metadata=metadata))
        last = {"finish_reason": "stop"}
        yield ChatGenerationChunk(message=AIMessageChunk("", response_metadata=last, chunk_position="last"))


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
@pytest.mark.parametrize("wrapped", ["plain", "all"])
async def test_no_token_is_missed_however_a_graph_is_streamed(asked: Any, wrapped: str) -> None:
    content = [peaked("dark", 20, 40.0), peaked(" blue", 20, 40.0)]
    graph = create_speceyes(
        Agent().graph, speculator=WRAPPERS[wrapped](Streams(answer="dark blue", content=content))
    ).compile()
    *_, last = graph.stream(asked, stream_mode=["messages", "values"])
    events = await graph.astream_events(asked, version="v3")
    for found in (last[1], graph.stream_events(asked, version="v3").output, await events.output()):
        assert (found["decision"]["route"], found["messages"][-1].text) == ("bypass", "dark blue")
        assert [token for token, _ in found["decision"]["answer_tokens"]] == ["dark", " blue"]
        # what a stream would not have counted
        assert found["decision"]["tokens"]["speculate"] == {"input": 7, "output": 1}


def test_a_model_that_is_to_stream_does(asked: Any) -> None:
    small = Streams(answer="not streamed", content=[peaked("blue", 20, 40.0)], streaming=True)
    found = create_speceyes(Agent().graph, speculator=small).compile().invoke(asked)
    assert (found["decision"]["route"], found["messages"][-1].text) == ("bypass", "blue")


def test_retries_and_fallbacks_do_what_they_are_for(asked: Any) -> None:
    broken = Named(error="gone")
    for small, calls in ((broken.with_fallbacks([named("small")]), 1), (broken.with_retry(stop_after_attempt=2), 3)):
        decision = create_speceyes(Agent().graph, speculator=small).compile().invoke(asked)["decision"]  # type: ignore[arg-type]
        assert len(broken.calls) == calls
    assert (decision["route"], decision["decided_by"]) == ("fallback", "speculate")


def test_what_is_known_of_a_model_is_known_of_the_wrapped_one(asked: Any) -> None:
    with pytest.raises(ArgumentError, match="gate: expected K of at most 32"):
        front_end(named("small", Local).with_retry(), gate=Gate(k=64))
    gate = Gate(score="min", k=2, threshold=0.5)
    small = named("small", Local)
    small.content[0]["top_logprobs"] = small.content[0]["top_logprobs"][:2]
    create_speceyes(Agent().graph, speculator=small.with_retry().bind(seed=1), gate=gate).compile().invoke(asked)
    call = small.calls[-1]
    assert "base64" not in image_of(call)
    assert call[1]["batch_key"].startswith("speculate ")
    assert f"expect {call[1]['batch_key']}" in small.announced
    # a fallback that does neither gets what it can use
    small.error, other = "gone", named("small")
    create_speceyes(Agent().graph, speculator=small.with_fallbacks([other]), gate=gate).compile().invoke(asked)
    assert "data:image" in image_of(other.calls[-1]) or "base64" in image_of(other.calls[-1])
    assert "batch_key" not in other.calls[-1][1]


def test_the_judge_still_shares_the_agents_beginning() -> None:
    large = Named(model_name="large")
    agent = create_visual_agent(large).compile()
    alone, wrapped = (
        front_end(named("small"), judge=one, agent=agent) for one in (large, large.with_retry().bind(a=1))
    )
    assert alone.judge.front == wrapped.judge.front
    assert alone.judge.front
    inner = chat_models(wrapped.large._callee.bound.bound.bound)  # type: ignore[union-attr]
    assert inner == [large]


@pytest.mark.parametrize("model", [None, 3, object(), RunnableLambda(str), Agent().graph.compile(), [speculator()]])
@pytest.mark.parametrize("argument", ["speculator", "judge"])
def test_anything_else_is_named(argument: str, model: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        resolve_model(argument, model)
    assert caught.value.argument == argument
    assert type(model).__name__ in str(caught.value)
    structured = RunnableLambda(str) | speculator()
    with pytest.raises(ArgumentError):
        resolve_model(argument, structured)
    with pytest.raises(ArgumentError):
        resolve_model(argument, speculator().with_fallbacks([RunnableLambda(str)]))


def test_a_model_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("langchain_openai")
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    front = front_end("openai:gpt-5-mini", judge="openai:gpt-5")
    assert front.small.model_id == "gpt-5-mini"
    assert front.large is not None
    assert front.large.model_id == "gpt-5"
    for name in ("", "nobody:nothing", "no such model"):
        with pytest.raises(ArgumentError, match="speculator"):
            resolve_model("speculator", name)


def test_a_name_without_langchain_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(MissingExtraError, match="middleware"):
        resolve_model("judge", "openai:gpt-5-mini")


def test_a_provider_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_mistralai", None)
    with pytest.raises(MissingLibraryError, match=r"judge='mistralai:x' needs langchain-mistralai, .*pip install"):
        resolve_model("judge", "mistralai:x")


CALIBRATED = Gate(
    speculator="small",
    agent="large",
    judge_threshold=0.3,
    calibration={"method": "paper"},
    prompts=Prompts().digest,
    max_answer_tokens=64,
)


@pytest.mark.parametrize(
    ("named_in_error", "options"),
    [
        ("speculator", {"speculator": named("other")}),
        ("speculator", {"speculator": named("small").with_fallbacks([named("other")])}),
        ("judge", {"judge": named("other")}),
        ("judge", {"judge": None}),
        ("agent", {"agent": create_visual_agent(named("other")).compile()}),
        ("judge_threshold", {"judge_threshold": 0.5}),
        ("prompts", {"prompts": Prompts(judge="Tools?")}),
        ("max_answer_tokens", {"max_answer_tokens": 256}),
    ],
)
def test_a_gate_is_for_what_it_was_calibrated_for(named_in_error: str, options: dict[str, Any]) -> None:
    used: dict[str, Any] = {"speculator": named("small"), "judge": named("large"), "gate": CALIBRATED}
    front_end(**used)
    front_end(**used, judge_threshold=0.3, agent=create_visual_agent(named("large")).compile())
    # nobody knows what these are called
    front_end(speculator(), judge=judge(0.1), gate=CALIBRATED)
    with pytest.raises(GateMismatchError) as caught:
        front_end(**(used | options))
    assert caught.value.argument == named_in_error
