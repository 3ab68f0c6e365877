"""`langgraph dev` over the repository's graphs, as a client on another machine sees it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.pregel.remote import RemoteGraph
from langgraph_cli.config import validate_config_file
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from graphs import hosted
from graphs.shared import factory
from langgraph_speceyes.testbed.pair import AGENT_NAME, GATE, PROMPTS, SPECULATOR_NAME, Pair
from langgraph_speceyes.testbed.server import ModelServer
from tests.deploy.server import ROOT, DevServer, inline

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

Asked = Any
AGENT_NODES = {"question", "model", "answer"}


@pytest.fixture(scope="module")
def client(server: DevServer) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=server.url) as made:
        yield made


@pytest.fixture(scope="module")
def at_home(pair: Pair) -> Callable[[Asked], dict[str, Any]]:
    """What the same graph gives in this process."""
    graph = pair.speceyes().compile()
    return lambda asked: graph.invoke({"messages": [asked[1]]})


def same(result: dict[str, Any], asked: Asked, expected: dict[str, Any]) -> None:
    """The served answer is right and came the way it comes in this process."""
    decision, at_home = result["decision"], expected["decision"]
    answer = result["messages"][-1]
    assert asked[0].is_right(answer["content"])
    assert answer["content"] == expected["messages"][-1].text
    for key in ("route", "decided_by", "tool_steps", "error"):
        assert decision[key] == at_home[key]
    assert answer["response_metadata"]["speceyes"]["route"] == decision["route"]


def test_the_configuration_is_one_that_can_be_built() -> None:
    config = validate_config_file(ROOT / "langgraph.json")
    assert config["graphs"].keys() == {"embedded", "funnel", "hosted"}
    # they go unquoted into a shell command of the Dockerfile, where `torch>=2.6` is torch and a redirection
    assert not set("".join(config["dependencies"])) & set("<>|;&$ ")


def test_lists_the_graphs_as_assistants(client: SyncLangGraphClient) -> None:
    named = json.loads((ROOT / "langgraph.json").read_text())["graphs"]
    found = {a["graph_id"]: a for a in client.assistants.search()}
    assert found.keys() == named.keys() == {"embedded", "funnel", "hosted"}
    embedded = found["embedded"]["assistant_id"]
    assert "messages" in client.assistants.get_schemas(embedded)["input_schema"]["properties"]
    drawn = client.assistants.get_graph(embedded)
    assert {"intake", "judge", "speculate", "gate", "bypass", "agent"} <= {n["id"] for n in drawn["nodes"]}


def test_bypasses_an_easy_question_and_leaves_a_hard_one_to_the_agent(
    client: SyncLangGraphClient, easy: Asked, hard: Asked, at_home: Callable[[Asked], dict[str, Any]]
) -> None:
    for asked, route in ((easy, "bypass"), (hard, "fallback")):
        result = client.runs.wait(None, "embedded", input={"messages": [inline(asked[1])]})
        assert result["decision"]["route"] == route
        same(result, asked, at_home(asked))


def test_takes_a_path_inside_its_roots_only(
    client: SyncLangGraphClient, hard: Asked, at_home: Callable[[Asked], dict[str, Any]], tmp_path: Path
) -> None:
    image, text = hard[1].content
    inside = {"role": "user", "content": [image, text]}
    same(client.runs.wait(None, "embedded", input={"messages": [inside]}), hard, at_home(hard))
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(Path(image["url"]).read_bytes())
    with pytest.raises(Exception, match="ImageError: messages: expected a path inside the policy's roots"):
        client.runs.wait(
            None,
            "embedded",
            input={"messages": [{"role": "user", "content": [{"type": "image", "url": str(outside)}, text]}]},
        )


def test_streams_phases_decisions_and_the_agents_own_steps(client: SyncLangGraphClient, hard: Asked) -> None:
    modes = ["updates", "custom", "messages-tuple"]
    parts = list(
        client.runs.stream(
            None, "embedded", input={"messages": [inline(hard[1])]}, stream_mode=modes, stream_subgraphs=True
        )
    )
    assert not [part for part in parts if part.event == "error"]
    updated = [node for part in parts if part.event == "updates" for node in part.data]
    assert updated == ["intake", "judge", "agent"]
    within = [node for part in parts if part.event.startswith("updates|agent:") for node in part.data]
    assert set(within) > AGENT_NODES
    assert within[-1] == "answer"
    events = [part.data["event"] for part in parts if part.event.startswith("custom")]
    assert events[0] == "judge"
    assert events[-1] == "decision"
    said = "".join(part.data[0]["content"] for part in parts if is_token(part))
    assert hard[0].key in said
    assert "<tool_call>" in said


def is_token(part: Any) -> bool:
    return part.event.startswith("messages|agent:") and part.data[0]["type"] == "AIMessageChunk"


def test_a_thread_keeps_two_turns_and_no_image(
    client: SyncLangGraphClient, server: DevServer, easy: Asked, hard: Asked
) -> None:
    thread = client.threads.create()["thread_id"]
    asked_ids = ["first", "second"]
    messages = [inline(asked[1]) | {"id": id} for asked, id in zip((hard, easy), asked_ids, strict=True)]
    routes = [
        client.runs.wait(thread, "embedded", input={"messages": [message]})["decision"]["route"] for message in messages
    ]
    assert routes == ["fallback", "bypass"]
    state = client.threads.get_state(thread)
    values: Any = state["values"]
    second = [m["id"] for m in values["messages"]].index(asked_ids[1])
    assert [values["messages"][i]["id"] for i in (0, second)] == asked_ids
    for asked, answer in ((hard, values["messages"][second - 1]), (easy, values["messages"][-1])):
        assert answer["type"] == "ai"
        assert asked[0].is_right(answer["content"])
    assert values["decision"]["route"] == "bypass"
    assert state["next"] == []
    history = client.threads.get_history(thread, limit=100)
    assert len(history) > 8
    payloads = [message["content"][0]["base64"] for message in messages]
    for snapshot in history:
        # LangGraph keeps a run's input beside the channels, in its first checkpoint
        expected = snapshot["next"] == ["__start__"]
        assert any(payload in json.dumps(snapshot) for payload in payloads) == expected
    stored = {path.read_bytes() for path in (server.log.parent / "images").rglob("*") if path.is_file()}
    assert {Path(asked[1].content[0]["url"]).read_bytes() for asked in (easy, hard)} <= stored


async def test_concurrent_runs_answer_as_single_ones_do(
    server: DevServer,
    ask: Callable[[str, int], list[Asked]],
    easy: Asked,
    hard: Asked,
    at_home: Callable[[Asked], dict[str, Any]],
) -> None:
    crowd = [easy, hard, *ask("relations", 2)] * 2
    async with get_client(url=server.url) as many:
        results = await asyncio.gather(
            *(many.runs.wait(None, "embedded", input={"messages": [inline(asked[1])]}) for asked in crowd)
        )
    for asked, result in zip(crowd, results, strict=True):
        expected = at_home(asked)
        assert result["messages"][-1]["content"] == expected["messages"][-1].text
        assert result["decision"]["route"] == expected["decision"]["route"]
        assert result["decision"]["error"] is None


BAD: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "InputError: messages: expected a human message .* found no messages"),
    (
        {"messages": [{"role": "user", "content": "What is this?"}]},
        "InputError: messages: expected .*image.* none",
    ),
    (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "base64": "bm8gaW1hZ2U=", "mime_type": "image/png"},
                        {"type": "text", "text": "What is this?"},
                    ],
                }
            ]
        },
        "ImageError: messages: expected an image .* found no such image in inline data, 8 bytes",
    ),
]


@pytest.mark.parametrize(("given", "error"), BAD, ids=["nothing", "no image", "no such image"])
def test_bad_input_is_an_error_the_client_can_read(
    client: SyncLangGraphClient, given: dict[str, Any], error: str
) -> None:
    with pytest.raises(Exception, match=error):
        client.runs.wait(None, "embedded", input=given)


def test_bad_input_ends_a_stream_and_leaves_the_server_up(client: SyncLangGraphClient, easy: Asked) -> None:
    (last,) = [p for p in client.runs.stream(None, "embedded", input={"messages": []}) if p.event == "error"]
    assert last.data["error"] == "InputError"
    result = client.runs.wait(None, "embedded", input={"messages": [inline(easy[1])]})
    assert easy[0].is_right(result["messages"][-1]["content"])


def test_the_funnel_answers_many_and_reports_the_failed_one(
    client: SyncLangGraphClient, easy: Asked, hard: Asked
) -> None:
    queries = [[inline(hard[1])], [{"role": "user", "content": "no image"}], [inline(easy[1])]]
    outcomes = client.runs.wait(None, "funnel", input={"queries": queries})["outcomes"]
    assert [o["index"] for o in outcomes] == [0, 1, 2]
    assert hard[0].is_right(outcomes[0]["answer"])
    assert outcomes[1]["answer"] is None
    assert outcomes[1]["error"].startswith("InputError: messages")
    assert easy[0].is_right(outcomes[2]["answer"])
    assert [outcomes[i]["decision"]["route"] for i in (0, 2)] == ["fallback", "bypass"]


def test_the_hosted_graph_says_which_variable_is_missing(client: SyncLangGraphClient, easy: Asked) -> None:
    with pytest.raises(Exception, match=r"ArgumentError: SPECEYES_SPECULATOR_MODEL: expected .*environment"):
        client.runs.wait(None, "hosted", input={"messages": [inline(easy[1])]})


async def test_the_hosted_graph_asks_the_endpoints_it_is_given(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, easy: Asked
) -> None:
    given = {"messages": [HumanMessage(inline(easy[1])["content"])]}
    with ModelServer(pair, max_logprobs=64, api_key="secret") as models:
        for role, model in (("SPECULATOR", SPECULATOR_NAME), ("AGENT", AGENT_NAME)):
            monkeypatch.setenv(f"SPECEYES_{role}_MODEL", model)
            monkeypatch.setenv(f"SPECEYES_{role}_URL", models.url)
        # the pair knows no other prompts than those it was trained on
        monkeypatch.setattr(hosted, "create_speceyes", partial(hosted.create_speceyes, prompts=PROMPTS))
        monkeypatch.setenv("OPENAI_API_KEY", "secret")
        monkeypatch.setenv("SPECEYES_GATE", str(GATE))
        monkeypatch.setenv("SPECEYES_PROTOCOL", "deepeyes")
        monkeypatch.setenv("SPECEYES_COORDINATES", "relative_1000")
        result = await (await hosted.graph()).ainvoke(given)
    assert (result["decision"]["route"], result["decision"]["error"]) == ("bypass", None)
    assert result["decision"]["threshold"] == pair.gate.threshold
    assert easy[0].is_right(result["messages"][-1].text)


async def test_a_remote_graph_is_a_runnable(server: DevServer, easy: Asked, hard: Asked) -> None:
    async with get_client(url=server.url) as many:
        with get_sync_client(url=server.url) as one:
            remote = RemoteGraph("embedded", client=many, sync_client=one)
            given = {"messages": [HumanMessage(inline(easy[1])["content"])]}
            result = await asyncio.to_thread(remote.invoke, given)
            assert result["decision"]["route"] == "bypass"
            chain = remote | RunnableLambda(lambda result: result["messages"][-1]["content"])
            assert easy[0].is_right(await chain.ainvoke(given))
            hard_one = {"messages": [HumanMessage(inline(hard[1])["content"])]}
            seen = [part async for part in remote.astream(hard_one, stream_mode="updates", subgraphs=True)]
    assert [next(iter(update)) for space, update in seen if not space] == ["intake", "judge", "agent"]
    assert {next(iter(update)) for space, update in seen if space} > AGENT_NODES


def test_nothing_blocked_the_event_loop(server: DevServer, client: SyncLangGraphClient) -> None:
    assert client.runs is not None
    assert not server.said("BlockingError")


async def test_a_factory_builds_once_off_the_loop_and_again_after_a_failure() -> None:
    built: list[threading.Thread] = []

    def build() -> object:
        built.append(threading.current_thread())
        if len(built) == 1:
            raise ValueError("not configured")
        return object()

    make = factory(build)
    with pytest.raises(ValueError, match="not configured"):
        await make()
    first, *others = await asyncio.gather(*(make() for _ in range(8)))
    assert len(built) == 2
    assert all(other is first for other in others)
    assert threading.current_thread() not in built
