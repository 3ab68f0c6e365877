"""The server's own behaviour: what it refuses and in which words, streams on the wire, shared forward passes."""

from __future__ import annotations

import base64
import http.client
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import invalid_tool_call, tool_call

from langgraph_speceyes.errors import ArgumentError, SpecEyesError
from langgraph_speceyes.images import default_store
from langgraph_speceyes.testbed.pair import AGENT_NAME, SPECULATOR_NAME, Pair
from langgraph_speceyes.testbed.server import ModelServer
from langgraph_speceyes.testbed.wire import ChatRequest, Refusal, completion, delta
from langgraph_speceyes.testbed.world import make_scene

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
Reply = tuple[int, dict[str, Any]]


def png() -> bytes:
    buffer = io.BytesIO()
    # a board with a large star
    make_scene("server 2").render(16).save(buffer, "PNG")
    return buffer.getvalue()


DATA_URL = "data:image/png;base64," + base64.b64encode(png()).decode()
TEXT = {"type": "text", "text": "What color is the star?"}


def picture(url: str = DATA_URL) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def body(**fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": [picture(), TEXT]}
    return {"model": SPECULATOR_NAME, "messages": [message], "max_tokens": 4, "temperature": 0} | fields


def send(
    server: ModelServer, content: Any, path: str = "/v1/chat/completions", **headers: str
) -> http.client.HTTPResponse:
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
    data = content if isinstance(content, bytes | None) else json.dumps(content).encode()
    try:
        connection.request("GET" if data is None else "POST", path, data, headers)
        response: Any = connection.getresponse()
        response.text = response.read().decode()
        return response
    finally:
        connection.close()


def ask(server: ModelServer, content: Any, path: str = "/v1/chat/completions", **headers: str) -> Reply:
    response = send(server, content, path, **headers)
    assert response.headers["Content-Type"] == "application/json"
    return response.status, json.loads(response.text)


@pytest.fixture(scope="module")
def server(pair: Pair) -> Iterator[ModelServer]:
    with ModelServer(pair, max_body=3_000_000) as running:
        yield running


def test_models_and_health(server: ModelServer) -> None:
    assert ask(server, None, "/health") == (200, {"status": "ok"})
    status, listed = ask(server, None, "/v1/models")
    assert status == 200
    assert [card["id"] for card in listed["data"]] == [SPECULATOR_NAME, AGENT_NAME]
    assert ask(server, None, f"/v1/models/{AGENT_NAME}")[1] == listed["data"][1]


@pytest.mark.parametrize("name", [SPECULATOR_NAME, AGENT_NAME])
def test_an_answer_in_openais_layout(server: ModelServer, pair: Pair, name: str) -> None:
    status, found = ask(server, body(model=name, logprobs=True, top_logprobs=5))
    assert (status, found["object"], found["model"]) == (200, "chat.completion", name)
    choice = found["choices"][0]
    assert set(choice) == {"index", "message", "logprobs", "finish_reason"}
    assert choice["finish_reason"] == "length"
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    assert {len(token["top_logprobs"]) for token in tokens} == {5}
    usage = found["usage"]
    assert usage["completion_tokens"] == len(tokens) == 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + 4
    assert ask(server, body(model=name))[1]["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"{", 400, "not valid JSON"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (b"\xff", 400, "not valid JSON"),
        ([], 400, "a JSON object"),
        ({}, 400, "model"),
        (body(model="gpt"), 404, "The model `gpt` does not exist."),
        (body(messages=[]), 400, "messages"),
        (body(messages=[{"role": "wizard", "content": "x"}]), 400, "messages.0"),
        (body(messages=[{"role": "user"}]), 400, "content"),
        (body(messages=[{"role": "user", "content": [{"type": "input_audio"}]}]), 400, "input_audio"),
        (body(messages=[{"role": "tool", "content": "x"}]), 400, "tool_call_id"),
        (body(logprobs="yes"), 400, "logprobs"),
        (body(top_logprobs=5), 400, "when using `top_logprobs`, `logprobs` must be set to true."),
        (body(logprobs=True, top_logprobs=-1), 400, "top_logprobs"),
        (
            body(logprobs=True, top_logprobs=64),
            400,
            "Requested sample logprobs of 64, which is greater than max allowed: 20",
        ),
        (body(max_tokens=0), 400, "max_tokens"),
        (body(max_completion_tokens=10**6), 400, "max_completion_tokens"),
        (body(temperature=-1), 400, "temperature"),
        (body(seed="x"), 400, "seed"),
        (body(stop=["a", ""]), 400, "stop"),
        (body(n=2), 400, "n is not supported"),
        (body(response_format={"type": "json_object"}), 400, "response_format is not supported"),
        (body(tools=[{"type": "function"}]), 400, "tools.0"),
        (body(tool_choice="required"), 400, "tool_choice"),
        (body(stream_options={"include_usage": True}), 400, "stream"),
        (body(messages=[{"role": "user", "content": "x" * 3_000_000}]), 413, "3000000"),
    ],
)
def test_bad_requests_are_refused_in_openais_layout(server: ModelServer, content: Any, status: int, says: str) -> None:
    found = ask(server, content)
    assert found[0] == status
    error = found[1]["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert says in error["message"]


def test_unknown_paths_and_methods(server: ModelServer) -> None:
    assert ask(server, body(), "/v1/completions")[0] == 404
    assert ask(server, None, "/v1/chat/completions")[0] == 404
    assert ask(server, None, "/v1/models/gpt")[0] == 404


def test_no_url_is_fetched_and_no_file_is_read(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(tmp_path / "store"))
    file = tmp_path / "a.png"
    file.write_bytes(png())
    interned = default_store().put(png())
    for url in (str(file), file.as_uri(), "http://127.0.0.1:1/a.png", interned, f"DATA:text/plain,{file}"):
        for stream in (False, True):
            status, found = ask(server, body(stream=stream, messages=[{"role": "user", "content": [picture(url)]}]))
            assert status == 400
            assert "fetches no images" in found["error"]["message"]
    # other ways to name an image that the package itself takes
    for part in ({"type": "image", "url": str(file)}, {"type": "image_url", "image_url": str(file)}):
        assert ask(server, body(messages=[{"role": "user", "content": [part]}]))[0] == 400
    broken = picture("data:image/png;base64,AAAA")
    for stream in (False, True):
        assert ask(server, body(stream=stream, messages=[{"role": "user", "content": [broken]}]))[0] == 400


def test_the_models_behind_it_read_no_files_either(server: ModelServer, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png())
    for model in server.models.values():
        with pytest.raises(SpecEyesError, match="roots"):
            model.invoke([("user", [{"type": "image", "url": str(file)}])])


def tool_conversation(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"part": "left"}'}}
    return [
        {"role": "user", "content": [picture(), TEXT]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": list(parts)},
    ]


def test_images_in_tool_messages_are_refused_unless_allowed(server: ModelServer, pair: Pair) -> None:
    assert ask(server, body(messages=tool_conversation(TEXT)))[0] == 200
    status, found = ask(server, body(messages=tool_conversation(TEXT, picture())))
    assert status == 400
    assert "Image URLs are only allowed for messages with role 'user'" in found["error"]["message"]
    with ModelServer(pair, images_in_tool_messages=True) as open_server:
        status, seen = ask(open_server, body(messages=tool_conversation(TEXT, picture())))
        assert status == 200
        without = ask(open_server, body(messages=tool_conversation(TEXT)))[1]
    assert seen["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"] + 30


def test_the_key_is_checked(pair: Pair) -> None:
    with ModelServer(pair, api_key="secret") as locked:
        assert ask(locked, None, "/health")[0] == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            for content, path in ((None, "/v1/models"), (body(), "/v1/chat/completions")):
                status, found = ask(locked, content, path, **headers)
                assert (status, found["error"]["code"]) == (401, "invalid_api_key")
        assert ask(locked, body(), Authorization="Bearer secret")[0] == 200


def test_more_logprobs_where_they_are_allowed(pair: Pair) -> None:
    with ModelServer(pair, max_logprobs=10_000) as generous:
        size = pair.speculator.vocab_size
        status, found = ask(generous, body(logprobs=True, top_logprobs=size, max_tokens=1))
        assert status == 200
        assert len(found["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == size
        status, found = ask(generous, body(logprobs=True, top_logprobs=size + 1))
        assert found["error"]["message"].endswith(f"max allowed: {size}")


def events(response: Any) -> list[Any]:
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    *lines, last, end = response.text.split("\n\n")
    assert (last, end) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_streams_on_the_wire(server: ModelServer) -> None:
    options = {"logprobs": True, "top_logprobs": 3, "max_tokens": 12, "stop": "."}
    whole = ask(server, body(**options))[1]
    streamed = body(**options, stream=True)
    found = events(send(server, streamed))
    assert {event["object"] for event in found} == {"chat.completion.chunk"}
    assert len({event["id"] for event in found}) == 1
    assert found[0]["choices"][0]["delta"]["role"] == "assistant"
    said = [event["choices"][0]["delta"].get("content") or "" for event in found]
    assert len([text for text in said if text]) > 2
    assert "".join(said) == whole["choices"][0]["message"]["content"]
    assert "." not in "".join(said)
    assert [e["choices"][0]["finish_reason"] for e in found] == [None] * (len(found) - 1) + ["stop"]
    assert found[-1]["choices"][0]["logprobs"] == whole["choices"][0]["logprobs"]
    assert not any("usage" in event for event in found)
    *_, last = events(send(server, streamed | {"stream_options": {"include_usage": True}}))
    assert (last["choices"], last["usage"]) == ([], whole["usage"])


def test_temperature_and_seed(server: ModelServer) -> None:
    def said(**fields: Any) -> str:
        found = ask(server, body(max_tokens=24, **fields))[1]
        return str(found["choices"][0]["message"]["content"])

    greedy = said()
    assert said(temperature=2.0, seed=1) == said(temperature=2.0, seed=1)
    assert len({greedy, *(said(temperature=2.0, seed=seed) for seed in range(4))}) > 2
    request = {key: value for key, value in body().items() if key != "temperature"}
    assert ChatRequest.parse(json.dumps(request).encode()).options(20)["temperature"] == 1.0


def test_concurrent_requests_share_forward_passes(server: ModelServer, pair: Pair) -> None:
    before = pair.speculator.stats.calls, pair.speculator.stats.batches
    alone = ask(server, body())[1]["choices"]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: ask(server, body()), range(48)))
    assert all(status == 200 and answer["choices"] == alone for status, answer in found)
    calls, batches = pair.speculator.stats.calls - before[0], pair.speculator.stats.batches - before[1]
    assert calls == 49
    assert batches < 30


def test_tool_calls_on_the_wire() -> None:
    identity = {"id": "1", "created": 1, "model": "m"}
    arguments: dict[str, Any] = {
        "content": "Let me look.",
        "tool_calls": [tool_call(name="crop", args={"a": [1]}, id="c1")],
        "response_metadata": {"finish_reason": "tool_calls"},
    }
    broken = invalid_tool_call(name=None, args="{broken", id="c2", error="no JSON")
    choice = completion(identity, AIMessage(**arguments, invalid_tool_calls=[broken]))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Let me look."
    assert [(c["id"], c["function"]) for c in choice["message"]["tool_calls"]] == [
        ("c1", {"name": "crop", "arguments": '{"a": [1]}'}),
        ("c2", {"name": "", "arguments": "{broken"}),
    ]
    piece = delta(identity, AIMessageChunk(**arguments))["choices"][0]
    assert piece["delta"]["tool_calls"][0]["index"] == 0
    assert piece["finish_reason"] == "tool_calls"


def test_tools_reach_the_model_unless_the_request_says_none() -> None:
    offered = [{"type": "function", "function": {"name": "crop", "parameters": {}}}]
    for choice, tools in ((None, offered), ("auto", offered), ("none", None)):
        request = ChatRequest.parse(json.dumps(body(tools=offered, tool_choice=choice)).encode())
        assert request.options(20).get("tools") == tools
    conversation = ChatRequest.parse(json.dumps(body(messages=tool_conversation(TEXT))).encode())
    _, said, _ = conversation.read_messages(tool_images=False)
    assert isinstance(said, AIMessage)
    assert [(c["name"], c["args"], c["id"]) for c in said.tool_calls] == [("look", {"part": "left"}, "1")]
    broken = tool_conversation(TEXT)
    broken[1]["tool_calls"][0]["function"]["arguments"] = "{"
    with pytest.raises(Refusal, match="arguments"):
        ChatRequest.parse(json.dumps(body(messages=broken)).encode()).read_messages(tool_images=False)


def test_a_stopped_server_answers_nobody(pair: Pair) -> None:
    with ModelServer(pair) as short_lived:
        parts = urlsplit(short_lived.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        for _ in range(2):
            connection.request("GET", "/health")
            assert connection.getresponse().read() == b'{"status": "ok"}'
        kept = connection.sock
    assert connection.sock is kept

    def again() -> Any:
        connection.request("GET", "/health")
        return connection.getresponse()

    with pytest.raises((http.client.HTTPException, OSError)):
        again()
    connection.close()


def test_a_server_that_cannot_start_says_why(pair: Pair, server: ModelServer) -> None:
    with pytest.raises(ArgumentError, match="listened on"):
        ModelServer(pair, port=int(urlsplit(server.url).port or 0)).start()
    with pytest.raises(SpecEyesError, match="not started"):
        _ = ModelServer(pair).url
    for options in ({"port": 70000}, {"max_logprobs": 0}, {"api_key": ""}):
        with pytest.raises(ArgumentError):
            ModelServer(pair, **options)  # type: ignore[arg-type]
