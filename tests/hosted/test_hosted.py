"""The bypass over HTTP: the same answers, scores and routes as with the models in this process."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
import torch
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from typer.testing import CliRunner

from langgraph_speceyes import create_visual_agent
from langgraph_speceyes.agent import DeepEyesProtocol
from langgraph_speceyes.agent.protocols import NativeProtocol
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import EndpointError
from langgraph_speceyes.images import inline_images
from langgraph_speceyes.models.hosted import Endpoint, aprobe, explain, hosted_model, probe
from langgraph_speceyes.scoring import AnswerScore, score_answer, tool_need
from langgraph_speceyes.scoring.answer import TokenLogprobs
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.pair import MAX_STEPS, PROMPTS, Pair
from langgraph_speceyes.testbed.questions import SPLITS
from tests.hosted.conftest import MAX_LOGPROBS, Served

Ask = Callable[[str, int], list[Any]]
AT_ONCE, EACH = 8, 5


@pytest.fixture(scope="module", autouse=True)
def one_thread(pair: Pair) -> Iterator[None]:
    """The server has the other core."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def asked(ask: Ask) -> list[HumanMessage]:
    return [message for split in SPLITS for _, message in ask(split, EACH)]


def prompts_of(messages: list[HumanMessage], system: str | None, instruction: str) -> list[list[BaseMessage]]:
    made: list[list[BaseMessage]] = []
    for message in messages:
        image, text = message.content
        content = [image, {**text, "text": f"{text['text']}\n{instruction}"}]
        # inline on both sides, so that both get the very same images
        made.append(inline_images([SystemMessage(system or ""), HumanMessage(content)]))
    return made


def answers(model: Any, many: list[list[BaseMessage]], **options: Any) -> list[AIMessage]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda one: model.invoke(one, **options), many))


def content(message: AIMessage) -> list[dict[str, Any]]:
    return list(message.response_metadata["logprobs"]["content"])


@pytest.fixture(scope="module")
def speculations(pair: Pair, asked: list[HumanMessage]) -> tuple[list[list[BaseMessage]], list[AIMessage]]:
    many = prompts_of(asked, PROMPTS.speculate_system, PROMPTS.speculate)
    return many, answers(pair.speculator, many, logprobs=True, top_logprobs=64, max_tokens=64, temperature=0.0)


@pytest.mark.parametrize("k", [20, 64])
def test_the_speculator_answers_and_scores_as_in_this_process(
    pair: Pair, served: Served, speculations: tuple[list[list[BaseMessage]], list[AIMessage]], k: int
) -> None:
    many, local = speculations
    hosted = answers(served.speculator(), many, logprobs=True, top_logprobs=k, max_tokens=64)
    sides, apart = [], []
    for one, other in zip(local, hosted, strict=True):
        assert other.text == one.text
        first, second = (score_answer(content(message), pair.gate.score, k) for message in (one, other))
        assert second.k_used == first.k_used == k
        assert second.tokens == first.tokens
        assert second.value == pytest.approx(first.value, abs=1e-2)
        apart.append(abs(second.value - first.value))
        sides.append((accepted(first, pair), accepted(second, pair)))
    print(f"\nK = {k}: {len(sides)} questions, largest difference of the scores {max(apart):.1e}")
    assert all(one == other for one, other in sides)
    # questions on one side only would show nothing
    assert {one for one, _ in sides} == {True, False}


def accepted(score: AnswerScore, pair: Pair) -> bool:
    return score.value >= pair.gate.threshold


def test_the_judges_token_is_the_same(pair: Pair, served: Served, asked: list[HumanMessage]) -> None:
    many = prompts_of(asked, PROMPTS.judge_system, PROMPTS.judge)
    options: dict[str, Any] = {"logprobs": True, "top_logprobs": 20, "max_tokens": 1, "temperature": 0.0}
    needs = [
        [tool_need(TokenLogprobs.from_entry(content(message)[0]).top) for message in answers(model, many, **options)]
        for model in (pair.large, served.agent())
    ]
    assert needs[1] == pytest.approx(needs[0], abs=1e-3)
    assert min(needs[0]) < 0.1 < 0.9 < max(needs[0])


def visual_agent(pair: Pair, model: BaseChatModel, **options: Any) -> Any:
    spoken = DeepEyesProtocol(system=prompts.SYSTEM, instruction=prompts.AGENT, reminder="", final="", aliases={})
    large: Any = pair.large
    defaults: dict[str, Any] = {"protocol": spoken, "max_steps": MAX_STEPS}
    return create_visual_agent(model, coordinates="resized", resize=large.resize_rule, **(defaults | options))


def over_http(pair: Pair, served: Served, **options: Any) -> Any:
    small, large = served.speculator(**options), served.agent(max_tokens=96, **options)
    return pair.speceyes(speculator=small, judge=large, agent=visual_agent(pair, large), strict=True).compile()


@pytest.fixture(scope="module")
def runs(pair: Pair, asked: list[HumanMessage]) -> tuple[list[HumanMessage], list[Any]]:
    chosen = [message for split in range(len(SPLITS)) for message in asked[EACH * split : EACH * split + 2]]
    graph = pair.speceyes().compile()
    return chosen, [graph.invoke({"messages": [message]}) for message in chosen]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_whole_graph_takes_the_same_routes(
    pair: Pair, served: Served, runs: tuple[list[HumanMessage], list[Any]], asynchronous: bool
) -> None:
    # one of each split with an event loop, the other one without
    chosen, local = (found[asynchronous::2] for found in runs)
    inputs = [{"messages": [message]} for message in chosen]

    async def together() -> list[Any]:
        async with httpx.AsyncClient() as client:
            graph = over_http(pair, served, http_async_client=client)
            return await asyncio.gather(*(graph.ainvoke(one) for one in inputs))

    if asynchronous:
        hosted = asyncio.run(together())
    else:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            hosted = list(pool.map(over_http(pair, served).invoke, inputs))
    for one, other in zip(local, hosted, strict=True):
        first, second = one["decision"], other["decision"]
        assert other["messages"][-1].text == one["messages"][-1].text
        for key in ("route", "decided_by", "tool_steps", "error", "speculation", "k"):
            assert second[key] == first[key]
        assert second["score"] == pytest.approx(first["score"], abs=1e-2)
        assert second["tool_need"] == pytest.approx(first["tool_need"], abs=1e-3)
        assert second["tokens"]["judge"]["output"] == 1
    assert {one["decision"]["route"] for one in local} == {"bypass", "fallback"}
    assert any(one["decision"]["tool_steps"] for one in local)


class FirstCalls(BaseChatModel):
    """Calls `crop` first, then says what its model says: the embedded model knows no native tool calls."""

    model: Any

    @property
    def _llm_type(self) -> str:
        return "first-calls"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = {"name": "crop", "args": {"bbox_2d": [0, 0, 96, 96]}, "id": "call_1", "type": "tool_call"}
        answered = any(isinstance(message, ToolMessage) for message in messages)
        said = self.model.invoke(messages, **kwargs) if answered else AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=said)])


def test_a_native_agent_shows_its_crops_where_the_server_takes_images(
    pair: Pair, served: Served, asked: list[HumanMessage]
) -> None:
    def native(model: Any, *, in_user_message: bool) -> Any:
        spoken = NativeProtocol(prompts.SYSTEM, prompts.AGENT, "", "", images_in_user_message=in_user_message)
        agent = visual_agent(pair, FirstCalls(model=model), protocol=spoken, max_steps=1)
        return agent.compile().invoke({"messages": [asked[0]]})

    model = served.agent(max_tokens=96)
    result, local = native(model, in_user_message=True), native(pair.large, in_user_message=True)
    assert result["messages"][-1].text == local["messages"][-1].text
    assert [step["tool"] for step in result["steps"]] == ["crop"]
    if probe(model, k=2).tool_images == "refused":
        with pytest.raises(openai.BadRequestError, match="tool"):
            native(model, in_user_message=False)
    else:
        assert native(model, in_user_message=False)["tool_steps"] == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_streams_add_up_to_the_answer(
    served: Served, speculations: tuple[list[list[BaseMessage]], list[AIMessage]], asynchronous: bool
) -> None:
    (prompt, *_), (local, *_) = speculations
    model = served.speculator(stream_usage=True)
    options: dict[str, Any] = {"logprobs": True, "top_logprobs": 20, "max_tokens": 64}
    whole = model.invoke(prompt, **options)

    async def streamed() -> list[Any]:
        async with httpx.AsyncClient() as client:
            model = served.speculator(stream_usage=True, http_async_client=client)
            return [chunk async for chunk in model.astream(prompt, **options)]

    chunks = asyncio.run(streamed()) if asynchronous else list(model.stream(prompt, **options))
    assert len([chunk for chunk in chunks if chunk.content]) > 2
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert total.text == whole.text == local.text
    assert total.usage_metadata == whole.usage_metadata
    assert total.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"] == "stop"
    one, other = (score_answer(content(message), "min", 20) for message in (whole, total))
    assert other.tokens == one.tokens
    assert other.value == pytest.approx(one.value, abs=1e-4)


def test_the_probe_finds_what_the_endpoint_can_do(served: Served) -> None:
    found = probe(served.speculator())
    assert (found.logprobs, found.images, found.raw_logits) == ("yes", "yes", False)
    assert (found.asked, found.k, found.limit) == (20, 20, None)
    assert found.url == served.speculator_url

    async def at_100() -> Endpoint:
        async with httpx.AsyncClient() as client:
            return await aprobe(served.speculator(http_async_client=client), k=100)

    more = asyncio.run(at_100())
    assert (more.asked, more.k, more.limit) == (100, MAX_LOGPROBS, MAX_LOGPROBS)
    # the limit is read from the refusal, not searched for
    assert more.requests == found.requests + 1
    assert more.advice()[0].startswith("K = 64: give the gate k=64 (")


def test_the_command_shows_what_an_endpoint_can_do(served: Served) -> None:
    command = ["probe", served.agent_name, "--base-url", served.agent_url]
    shown = CliRunner().invoke(app, command, env={"COLUMNS": "120", "NO_COLOR": "1"})
    assert shown.exit_code == 0, shown.output
    assert re.search(r"candidates a token \(K\) +│ 20 of 20", shown.stdout)
    assert "K = 20: a gate with k=20 can be used as it is." in shown.stdout
    printed = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(printed.stdout) == probe(served.agent()).to_dict()
    # as the options of other commands name it
    named = CliRunner().invoke(app, ["probe", f"{served.agent_name}@{served.agent_url}", "--json"])
    assert json.loads(named.stdout) == json.loads(printed.stdout)


def test_one_line_asks_models_behind_endpoints(pair: Pair, served: Served, ask: Ask) -> None:
    named = [
        *("--speculator", f"{served.speculator_name}@{served.speculator_url}"),
        *("--agent", served.agent_name, "--base-url", served.agent_url),
    ]
    here = pair.speceyes().compile()
    routes = set()
    for _, message in ask("attributes", 3):
        image, text = message.content
        printed = CliRunner().invoke(app, ["ask", image["url"], text["text"], *named, "--json"])
        assert printed.exit_code == 0, printed.output
        there, expected = json.loads(printed.stdout), here.invoke({"messages": [message]})
        assert there["answer"] == expected["messages"][-1].text
        assert there["decision"]["route"] == expected["decision"]["route"]
        routes.add(there["decision"]["route"])
    assert routes == {"bypass", "fallback"}


def test_trouble_with_an_endpoint_is_named(served: Served, ask: Ask, unused_tcp_port: int) -> None:
    with pytest.raises(EndpointError, match=r"absent.*no such model"):
        probe(hosted_model("absent", base_url=served.agent_url))
    with pytest.raises(EndpointError, match="ends in /v1"):
        probe(hosted_model(served.agent_name, base_url=served.agent_url.removesuffix("/v1")))
    with pytest.raises(EndpointError, match=f"{unused_tcp_port}.*refused"):
        probe(hosted_model("any", base_url=f"http://127.0.0.1:{unused_tcp_port}/v1", max_retries=0))
    image, text = ask("attributes", 1)[0][1].content
    named = ["--speculator", "small", "--agent", "large", "--base-url", f"http://127.0.0.1:{unused_tcp_port}/v1"]
    shown = CliRunner().invoke(app, ["ask", image["url"], text["text"], *named])
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert re.match(rf"error EndpointError: the agent, large at \S+:{unused_tcp_port}/v1: .*refused", shown.stderr)
    # in front of an agent that answers it is recorded, with what the system said
    named = ["--agent", f"{served.agent_name}@{served.agent_url}", "--judge", "large", *named[:2], *named[4:]]
    shown = CliRunner().invoke(app, ["ask", image["url"], text["text"], *named, "--json"])
    assert "Connection refused" in json.loads(shown.stdout)["decision"]["error"]


def test_a_real_refusal_is_explained(
    served: Served, speculations: tuple[list[list[BaseMessage]], list[AIMessage]]
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        served.speculator().invoke(speculations[0][0], logprobs=True, top_logprobs=65, max_tokens=4)
    wanted = (
        "the server gives at most 64 top_logprobs, the gate asks for K = 65: start vLLM with --max-logprobs 65, "
        "or give the gate k=64 (odds keep their threshold; calibrate the paper's scores at that K)"
    )
    assert explain(caught.value, 65) == wanted
    wrapped = RuntimeError("speculate")
    wrapped.__cause__ = caught.value
    assert explain(wrapped, 65) == wanted
    assert explain(caught.value, 64) is None
