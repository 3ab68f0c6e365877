"""Endpoints that break: in front of the agent the question is the agent's, and the agent's own error is as it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage
from PIL import Image

from langgraph_speceyes import Gate, create_speceyes, create_visual_agent
from langgraph_speceyes.errors import EndpointError, PhaseError, describe_error
from langgraph_speceyes.foreign import MOST_BYTES, MOST_OF_OTHERS, MOST_OF_OURS
from langgraph_speceyes.models.hosted import hosted_model, probe
from tests.hostile.web import Connection, Handler, Web, authority, serving
from tests.scripted import Agent, peaked, speculator
from tests.waiting import auntil

SECRET = "sk-HUSHHUSH12abcdefgh"
LONG = 5_000_000
JSON = {"content_type": "application/json"}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
CHOICE = {"index": 0, "finish_reason": "stop", "logprobs": {"content": [peaked("blue", 20, 40.0)]}}
IDENTITY = {"id": "1", "created": 1, "model": "m"}
ANSWER = json.dumps(
    {
        **IDENTITY,
        "object": "chat.completion",
        "choices": [{**CHOICE, "message": {"role": "assistant", "content": "blue"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()
DELTA = {**IDENTITY, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "bl"}}]}
EVENT = f"data: {json.dumps(DELTA)}\n\n".encode()
SAID = f"Authorization: Bearer {SECRET} was refused {'<p>it is our fault</p> ' * (LONG // 22)}"


def sent(*parts: bytes, reset: bool = False) -> Handler:
    """Send some bytes as they are, and close or reset the connection."""

    def handle(connection: Connection) -> None:
        for part in parts:
            connection.send(part)
        if reset:
            connection.reset()

    return handle


def dripped(head: bytes, data: bytes) -> Handler:
    def handle(connection: Connection) -> None:
        connection.send(head)
        connection.drip(data)

    return handle


def answered(said: object, status: str = "200 OK", **headers: object) -> Handler:
    body = said.encode() if isinstance(said, str) else json.dumps(said).encode()
    return lambda one: one.answer(body, status, **(headers or JSON))


LENGTH = f"content-length: {len(ANSWER)}\r\n\r\n".encode()
CHUNK = f"{len(EVENT):x}\r\n".encode() + EVENT + b"\r\n"
WHOLE = sent(HEAD, LENGTH, ANSWER)
BROKEN: dict[str, Handler] = {
    "reset at once": Connection.reset,
    "closed at once": lambda one: None,
    "no HTTP": sent(b"\0\1\2 nothing of http\r\n\r\n"),
    "reset in the headers": sent(HEAD, reset=True),
    "reset in the answer": sent(HEAD, LENGTH, ANSWER[:200], reset=True),
    "less than announced": sent(HEAD, LENGTH, ANSWER[:-1]),
    "cut chunks": sent(HEAD, CHUNKED, b"40\r\n", ANSWER[:64], b"\r\n"),
    "more than announced": sent(HEAD, b"content-length: 100\r\n\r\n", ANSWER),
    "a length that is none": sent(HEAD, b"content-length: 12abc\r\n\r\n", ANSWER),
    "a page": answered(f"<html>{SAID}</html>", content_type="text/html"),
    "a page that says JSON": answered(f"<html>{SAID}</html>"),
    "a page with 500": answered(f"<html>{SAID}</html>", "500 Internal Server Error", content_type="text/html"),
    "an error with 400": answered({"error": {"message": SAID, "type": SAID, "code": SAID}}, "400 Bad Request"),
    "an error with 401": answered({"error": {"message": f"Incorrect API key provided: {SECRET}"}}, "401 Unauthorized"),
    "an error with 500": answered({"detail": [SAID]}, "503 Service Unavailable"),
    "an error with 200": answered({"error": {"message": SAID}}),
    "no object": answered([SAID]),
    "null": answered("null"),
    "no choices": answered({"choices": None}),
    "a choice of nothing": answered({"choices": [None]}),
    "a message of nothing": answered({"choices": [{"message": None}]}),
    "a message of the user": answered({"choices": [{**CHOICE, "message": {"role": "user", "content": "blue"}}]}),
}
"""What an endpoint does in place of an answer."""
STREAMS: dict[str, Handler] = {
    "reset in a stream": sent(EVENTS, CHUNKED, CHUNK, reset=True),
    "cut stream": sent(EVENTS, CHUNKED, CHUNK),
    "error in a stream": sent(EVENTS, b"\r\n", EVENT, f"data: {json.dumps({'error': {'message': SAID}})}\n\n".encode()),
    "garbage in a stream": sent(EVENTS, b"\r\n", EVENT, f"data: {SAID}\n\n".encode()),
}
"""The same of a stream that has begun."""
SLOW: dict[str, Handler] = {
    "silence": Connection.wait,
    "dripped headers": dripped(HEAD, b"x-more: 1\r\n"),
    "dripped answer": dripped(HEAD + b"content-length: 9999999\r\n\r\n", b" "),
    "dripped stream": dripped(EVENTS + b"\r\n", b": wait\n\n"),
    "dripped tokens": dripped(EVENTS + b"\r\n", EVENT),
}
"""What lasts until the other side has gone."""
FORMS = ("invoke", "ainvoke")


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serving() as running:
        yield running


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    blocks: list[Any] = [{"type": "image", "url": str(tmp_path / "a.png")}, {"type": "text", "text": "What color?"}]
    return {"messages": [HumanMessage(blocks)]}


def model(web: Web, fault: Handler, **options: Any) -> Any:
    web.seen.clear()
    web.pages["/v1/chat/completions"] = fault
    return hosted_model("m", base_url=web.url("/v1"), **({"api_key": SECRET, "max_retries": 0} | options))


def bypass(place: str, broken: Any, **options: Any) -> Any:
    if place == "judge":
        options |= {"speculator": speculator(), "judge": broken, "order": "judge_first"}
    else:
        options |= {"speculator": broken}
    return create_speceyes(Agent().graph, **options).compile()


def run(made: Callable[..., Any], form: str, given: Any) -> Any:
    """Run what a function makes of options of its model, whose asynchronous client is of one event loop."""
    if form == "invoke":
        return made().invoke(given)
    if form == "stream":
        return list(made().stream(given, stream_mode="messages"))

    async def asked() -> Any:
        async with httpx.AsyncClient() as client:
            return await made(http_async_client=client).ainvoke(given)

    return asyncio.run(asked())


def check(result: Any) -> str:
    """The question went to the agent, and what is recorded of the reason is short and shows no key."""
    assert result["messages"][-1].text == "from the agent"
    decision = result["decision"]
    assert decision["route"] == "fallback"
    assert decision["error"]
    assert SECRET not in json.dumps(decision, default=str)
    assert len(decision["error"].encode()) <= MOST_BYTES + 100  # the error's type stands in front
    return str(decision["error"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["judge", "speculator"])
@pytest.mark.parametrize("fault", [*BROKEN, *STREAMS])
def test_what_breaks_in_front_of_the_agent_is_recorded(web: Web, given: Any, fault: str, place: str, form: str) -> None:
    def made(**options: Any) -> Any:
        return bypass(place, model(web, (BROKEN | STREAMS)[fault], streaming=fault in STREAMS, **options))

    check(run(made, form, given))
    assert web.seen, "the endpoint was asked"


@pytest.mark.parametrize("place", ["judge", "speculator"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fault", SLOW)
def test_what_lasts_is_over_at_the_time_limit(web: Web, given: Any, fault: str, form: str, place: str) -> None:
    """The endpoints go on for as long as somebody listens: that there is an answer shows that nobody does."""

    def made(**options: Any) -> Any:
        streams = fault in ("dripped stream", "dripped tokens")
        return bypass(place, model(web, SLOW[fault], streaming=streams, **options), timeout_s=0.5)

    assert check(run(made, form, given)).startswith("TimeoutError")


async def test_a_call_that_is_cancelled_or_late_leaves_its_endpoint(web: Web, given: Any) -> None:
    async with httpx.AsyncClient() as client:
        graph = bypass("speculator", model(web, Connection.wait, http_async_client=client))
        task = asyncio.create_task(graph.ainvoke(given))
        await auntil(lambda: bool(web.seen))
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        await auntil(lambda: web.seen[0].gone)
        late = bypass("speculator", model(web, Connection.wait, http_async_client=client), timeout_s=0.5)
        check(await late.ainvoke(given))
        await auntil(lambda: web.seen[0].gone)


@pytest.mark.parametrize("form", [*FORMS, "stream"])
@pytest.mark.parametrize("fault", [*BROKEN, *STREAMS])
def test_what_breaks_behind_the_bypass_is_as_with_the_agent_alone(web: Web, given: Any, fault: str, form: str) -> None:
    def agent(**options: Any) -> Any:
        return create_visual_agent(model(web, (BROKEN | STREAMS)[fault], streaming=fault in STREAMS, **options))

    alone = error_of(lambda **options: agent(**options).compile(), form, given)
    error = error_of(lambda **options: before(agent(**options)), form, given)
    assert type(error) is type(alone)
    assert str(error) == str(alone)
    assert SECRET not in str(error) + repr(vars(error))
    assert len(str(error).encode()) < 2 * MOST_OF_OTHERS


def before(agent: Any) -> Any:
    return create_speceyes(agent, speculator=speculator(0.01)).compile()


def error_of(made: Callable[..., Any], form: str, given: Any) -> Exception:
    try:
        run(made, form, given)
    except Exception as error:
        return error
    raise AssertionError("the endpoint is broken")


@pytest.mark.parametrize("fault", BROKEN)
def test_the_probe_says_what_is_wrong(web: Web, fault: str) -> None:
    with pytest.raises(EndpointError) as caught:
        probe(model(web, BROKEN[fault]))
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).encode()) <= MOST_OF_OURS


WORDS = "Input should be less than or equal to 5"


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"loc": ["body", "top_logprobs"], "msg": WORDS, "input": 20}]},
        {"detail": f"top_logprobs: {WORDS}"},
        {"error": f"top_logprobs: {WORDS}", "error_type": "validation"},
        [{"error": {"code": 400, "message": f"top_logprobs: {WORDS}", "status": "INVALID_ARGUMENT"}}],
        f"top_logprobs: {WORDS}",
    ],
)
def test_a_refusal_in_another_layout_than_openais_is_read(web: Web, given: Any, body: Any) -> None:
    refused = answered(body, "422 Unprocessable Entity")
    assert check(bypass("speculator", model(web, refused)).invoke(given)).startswith("the server gives at most 5")
    gate = Gate(k=5, threshold=0.9)
    assert WORDS in check(bypass("speculator", model(web, refused), gate=gate).invoke(given))
    with pytest.raises(EndpointError, match=WORDS):
        probe(model(web, refused))


@pytest.mark.parametrize("place", ["api_key", "default_headers"])
def test_a_key_of_no_known_kind_is_not_shown(web: Web, given: Any, place: str) -> None:
    key = "hushhush-key-of-our-own"
    refused = answered({"error": {"message": f"The key {key} is for no model of that name"}}, "403 Forbidden")

    def made() -> Any:
        return model(web, refused, **{place: key if place == "api_key" else {"X-API-Key": f"Key {key}"}})

    assert "The key *** is for no model" in check(bypass("judge", made()).invoke(given))
    with pytest.raises(PhaseError, match=r"The key \*\*\* is for") as caught:
        bypass("speculator", made(), strict=True).invoke(given)
    assert key not in f"{caught.value.__cause__}{vars(caught.value.__cause__)}"
    with pytest.raises(EndpointError, match=r"The key \*\*\* is for"):
        probe(made())
    # a benchmark records how the agent failed
    assert key not in describe_error(error_of(lambda **_: create_visual_agent(made()).compile(), "invoke", given))


@pytest.mark.parametrize("form", FORMS)
def test_an_endpoint_whose_certificate_is_not_trusted_is_not_asked(given: Any, tmp_path: Path, form: str) -> None:
    _, context = authority(tmp_path, "elsewhere.example")
    with serving(context) as web:

        def asked(**options: Any) -> Any:
            return model(web, WHOLE, **options)

        for place in ("judge", "speculator"):
            said = check(run(lambda place=place, **options: bypass(place, asked(**options)), form, given))
            assert said.startswith("OpenAIConnectionError")
        for made in (lambda agent: agent.compile(), before):
            error = error_of(lambda made=made, **options: made(create_visual_agent(asked(**options))), form, given)
            assert isinstance(error, openai.APIConnectionError)
        with pytest.raises(EndpointError, match="certificate"):
            probe(asked())
        assert web.seen == []


def test_an_endpoint_that_is_whole_again_is_asked(web: Web, given: Any) -> None:
    result = bypass("speculator", model(web, WHOLE)).invoke(given)
    assert (result["messages"][-1].text, result["decision"]["route"]) == ("blue", "bypass")
