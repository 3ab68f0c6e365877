"""Endpoints that cannot be had here, scripted; explanations; settings. Real endpoints: tests/hosted."""

from __future__ import annotations

import base64
import io
import math
import pickle
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from PIL import Image
from pydantic import Field

from langgraph_speceyes.errors import ArgumentError, EndpointError
from langgraph_speceyes.images import ResizeRule
from langgraph_speceyes.models.hosted import explain, hosted_model, key_from, probe
from tests.scripted import entry

VLLM = "Requested sample logprobs of 64, which is greater than max allowed: 20"


class Refused(Exception):
    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(f"Error code: {status} - {{'error': {{'message': {message!r}}}}}")
        self.status_code, self.body = status, {"message": message}


def sizes(message: BaseMessage) -> list[tuple[int, int]]:
    parts = message.content if isinstance(message.content, list) else []
    found = [part["base64"] for part in parts if isinstance(part, dict) and part["type"] == "image"]
    return [Image.open(io.BytesIO(base64.b64decode(data))).size for data in found]


class Server(BaseChatModel):
    """An endpoint as a test dictates it."""

    model_name: str = "scripted"
    openai_api_base: str = "http://user:secret@example.org/v1"
    limit: int = 100
    named: bool = True
    clips: bool = False
    ignores: frozenset[str] = frozenset()
    refuses: dict[str, Exception] = Field(default_factory=dict)
    shift: float = 0.0
    counts: bool = True
    rule: ResizeRule | None = None
    asked: list[int] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "server"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        parts = {(m.type, part["type"]) for m in messages if isinstance(m.content, list) for part in m.content}
        asks = {
            "all": True,
            "images": ("human", "image") in parts,
            "tool_images": ("tool", "image") in parts,
            "tools": "tools" in kwargs,
            "logprobs": bool(kwargs.get("logprobs")),
            "turn_images": ("ai", "image") in parts,
            "continues": bool((kwargs.get("extra_body") or {}).get("continue_final_message")),
        }
        for name, asked in asks.items():
            if asked and name in self.refuses:
                raise self.refuses[name]
        read = 10 + sum(5 for name, asked in asks.items() if asked and name not in {"all", "logprobs", *self.ignores})
        if self.rule is not None:
            read += sum(self.rule.tokens(*size) for m in messages for size in sizes(m))
        metadata: dict[str, Any] = {}
        if asks["logprobs"]:
            k = kwargs["top_logprobs"]
            self.asked.append(k)
            if k > self.limit and not self.clips:
                raise Refused(400, VLLM.replace("20", str(self.limit)) if self.named else "too many")
            if "logprobs" not in self.ignores:
                metadata["logprobs"] = {"content": [self._entry(min(k, self.limit))] * 2}
        usage = {"input_tokens": read, "output_tokens": 2, "total_tokens": read + 2} if self.counts else None
        message = AIMessage("A square.", response_metadata=metadata, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _entry(self, k: int) -> dict[str, Any]:
        rest = [(f"t{i}", -5.0 - i + self.shift) for i in range(k - 1)]
        return entry("A", [("A", math.log(0.9) + self.shift), *rest])


def test_an_endpoint_that_can_do_everything() -> None:
    found = probe(Server())
    assert (found.logprobs, found.images, found.tool_images, found.tools) == ("yes",) * 4
    assert (found.k, found.limit, found.raw_logits, found.said) == (20, None, False, {})
    assert found.advice() == ["K = 20: a gate with k=20 can be used as it is."]
    assert found.continues == "yes"
    assert found.requests == 9
    assert found.url == "http://example.org/v1"
    assert "secret" not in found.describe() + repr(found)


@pytest.mark.parametrize("missing", ["turn_images", "continues"])
@pytest.mark.parametrize("verdict", ["ignored", "refused"])
def test_whether_it_goes_on_with_a_turn_that_holds_an_image(missing: str, verdict: str) -> None:
    unable: dict[str, Any] = (
        {"ignores": {missing}} if verdict == "ignored" else {"refuses": {missing: Refused(400, "No.")}}
    )
    found = probe(Server(**unable))
    assert found.continues == verdict
    assert (found.images, found.tool_images, found.tools) == ("yes",) * 3
    assert f"Going on with a turn that holds images is {verdict}" in found.advice()[-1]
    assert ("going on with a turn", f"{verdict}: No." if verdict == "refused" else verdict) in found.rows()


def test_the_limit_is_read_from_vllms_refusal() -> None:
    server = Server(limit=20)
    found = probe(server, k=64)
    assert (found.k, found.limit) == (20, 20)
    assert server.asked == [64, 20]
    (advice,) = found.advice()
    assert advice.startswith("K = 20: give the gate k=20 (")
    assert advice.endswith(", or start vLLM with --max-logprobs 64.")


@pytest.mark.parametrize(("limit", "most"), [(20, 3), (5, 7), (2, 7), (1, 7), (63, 9), (33, 9)])
def test_a_limit_that_is_not_named_is_searched_for(limit: int, most: int) -> None:
    server = Server(limit=limit, named=False)
    found = probe(server, k=64)
    assert (found.k, found.limit) == (limit, limit)
    assert len(server.asked) <= most
    assert (f"Gate(score='log', k={limit})" in found.advice()[0]) == (limit < 5)


class Odd(Server):
    """One whose log-probabilities are none that scores are read from."""

    entries: list[Any] = Field(default_factory=list)

    def _entry(self, k: int) -> Any:
        return self.entries[0]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "no",
        {"logprob": -0.1},
        {"token": "no", "logprob": None},
        {"token": "no", "logprob": -0.1, "top_logprobs": [{"token": "no", "logprob": None}]},
        {"token": "no", "logprob": -0.1, "top_logprobs": [{"token": "no"}]},
        {"token": "no", "logprob": -0.1, "top_logprobs": ["no"]},
    ],
)
def test_log_probabilities_of_another_layout_are_said_to_be_that(odd: Any) -> None:
    with pytest.raises(EndpointError, match=r"scripted at .*log-probabilities in a layout of its own") as caught:
        probe(Odd(entries=[odd]))
    assert "***" not in str(caught.value)


def test_a_server_that_returns_fewer_without_a_word() -> None:
    found = probe(Server(limit=8, clips=True))
    assert (found.k, found.limit, found.logprobs) == (8, 8, "yes")


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("logprobs", "logprobs"), ("images", "images"), ("tool_images", "tool_images"), ("tools", "tools")],
)
def test_what_is_ignored_is_told_from_what_is_refused(name: str, attribute: str) -> None:
    ignored = probe(Server(ignores=frozenset({name})))
    assert getattr(ignored, attribute) == "ignored"
    assert any("are ignored" in line for line in ignored.advice())
    refused = probe(Server(refuses={name: Refused(400, "not here")}))
    assert getattr(refused, attribute) == "refused"
    assert refused.said[name] == "not here"
    assert "refused: not here" in refused.describe()
    others = {"logprobs", "images", "tool_images", "tools"} - {attribute, "tool_images"}
    assert all(getattr(refused, other) == "yes" for other in others)


def test_without_counts_of_tokens_nothing_is_called_ignored() -> None:
    found = probe(Server(counts=False, ignores=frozenset({"images", "tools"})))
    assert (found.images, found.tools) == ("yes", "yes")


class Others(Server):
    """One that lists K candidates beside the token itself."""

    def _entry(self, k: int) -> dict[str, Any]:
        return {**super()._entry(k), "top_logprobs": super()._entry(k + 1)["top_logprobs"][1:]}


def test_a_token_beside_its_candidates_is_none_more_than_was_asked_for() -> None:
    found = probe(Others())
    assert (found.k, found.limit) == (20, None)


def test_raw_logits_are_recognized() -> None:
    found = probe(Server(shift=12.0))
    assert found.raw_logits
    assert "raw_logits" in found.advice()[1]
    assert "cannot be the speculator" in probe(Server(shift=12.0, limit=4)).advice()[0]


@pytest.mark.parametrize(
    ("status", "message", "refused"),
    [
        (404, "No endpoints found that support image input", True),
        (500, "image input is not supported - hint: provide the mmproj", True),
        (403, "You are not allowed to request logprobs from this model", True),
        (500, "CUDA error", False),
        (429, "slow down", False),
        (401, "bad key", False),
        (503, "overloaded", False),
    ],
)
def test_refusals_and_trouble_are_told_apart(status: int, message: str, refused: bool) -> None:
    for name in ("images", "logprobs", "tools", "tool_images"):
        server = Server(refuses={name: Refused(status, message)})
        if refused:
            assert probe(server).said[name] == message
        else:
            with pytest.raises(EndpointError, match=message) as caught:
                probe(server)
            assert "scripted at http://example.org/v1" in str(caught.value)
            assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    # a plain question is nothing to refuse
    with pytest.raises(EndpointError, match=message):
        probe(Server(refuses={"all": Refused(status, message)}))


def test_a_connection_error_shows_its_cause() -> None:
    error = Refused(None, "Connection error.")
    error.__cause__ = ConnectionRefusedError("[Errno 111] Connection refused")
    with pytest.raises(EndpointError, match=r"Connection error\. \(ConnectionRefusedError: \[Errno 111\]"):
        probe(Server(refuses={"all": error}))


def test_a_k_without_a_competitor_is_refused() -> None:
    with pytest.raises(ArgumentError, match="k: "):
        probe(Server(), k=1)


def test_a_resize_rule_is_compared_with_the_tokens_that_are_counted() -> None:
    found = probe(Server(rule=ResizeRule.of_family("qwen2.5-vl")), resize="qwen2.5-vl")
    assert found.image_tokens == found.rule_tokens == 50 * 36 - 16
    assert ("a larger image", "1784 tokens more, 1784 by the rule") in found.rows()
    assert not any("resized" in line for line in found.advice())
    # a server with a limit of its own, one of another family, one that counts nothing
    limited = ResizeRule(28, 56 * 56, 1280 * 28 * 28)
    for server in (Server(rule=limited), Server(rule=ResizeRule.of_family("qwen3-vl")), Server(counts=False)):
        found = probe(server, resize="qwen2.5-vl")
        assert any("not resized by the rule" in line for line in found.advice())
    assert probe(Server()).rule_tokens is None
    with pytest.raises(ArgumentError, match="resize: "):
        probe(Server(), resize="llava")


def test_a_local_model_can_be_probed_too(pair: Any) -> None:
    found = probe(pair.speculator)
    assert (found.k, found.logprobs, found.images, found.tools) == (20, "yes", "yes", "yes")
    assert (found.tool_images, found.raw_logits) == ("yes", False)


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        (VLLM, 20),
        (f"{VLLM} (parameter=logprobs, value=64)", 20),
        ("Invalid value for 'top_logprobs': must be less than or equal to 5.", 5),
        ("Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20, but got 64 instead.", 20),
        ("[{'loc': ('body', 'top_logprobs'), 'msg': 'Input should be less than or equal to 20', 'input': 64}]", 20),
        ("top_logprobs must be between 0 and 10", 10),
        ("`top_logprobs` can be at most 1", 1),
    ],
)
def test_refusals_of_top_logprobs_are_explained(message: str, limit: int) -> None:
    said = explain(Refused(400, message), 64)
    assert said is not None
    assert said.startswith(f"the server gives at most {limit} top_logprobs, the gate asks for K = 64: start vLLM with")
    assert (f"give the gate k={limit} (" in said) == (limit >= 5)
    assert said.endswith(f"take a gate of the score log, with k={limit}") == (limit < 5)
    assert "\n" not in said
    assert explain(Refused(422, message), limit) is None
    assert explain(Refused(500, message), 64) is None


EXTRA = (
    "2 validation errors for GenerateContentConfig\nmax_tokens\n  Extra inputs are not permitted [type=extra_forbidden]"
)


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (TypeError("Client.chat() got an unexpected keyword argument 'max_tokens'"), "max_tokens"),
        (TypeError("Messages.create() got an unexpected keyword argument 'logprobs'"), "logprobs"),
        (ValueError(EXTRA), "max_tokens"),
    ],
)
def test_a_class_that_cannot_be_asked_is_explained(error: Exception, unknown: str) -> None:
    said = explain(error, 20)
    assert said is not None
    assert said.startswith(f"the model's class knows no '{unknown}', so it cannot be asked for log-probabilities")


@pytest.mark.parametrize(
    "error",
    [
        TypeError("f() got an unexpected keyword argument 'x'"),
        Refused(400, "max_tokens must be less than or equal to 20"),
        Refused(400, "At most 1 image(s) may be provided in one prompt"),
        Refused(400, "logprobs are not supported"),
        ValueError("x"),
        TimeoutError(),
    ],
)
def test_other_errors_are_not_explained(error: Exception) -> None:
    assert explain(error, 64) is None


def test_hosted_models_are_set_up_for_chat_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    model: Any = hosted_model("m", base_url="http://localhost:8000/v1", temperature=0.0, timeout=5)
    assert model.openai_api_key.get_secret_value() == "-"
    assert (model.use_responses_api, model.request_timeout, model.max_retries, model.temperature) == (False, 5, 2, 0.0)
    # names for which ChatOpenAI would choose the other API
    assert hosted_model("gpt-5.2-pro", base_url="http://localhost:8000/v1").use_responses_api is False
    with pytest.raises(ArgumentError, match="OPENAI_API_KEY"):
        hosted_model("m")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    assert hosted_model("m").openai_api_key.get_secret_value() == "-"  # type: ignore[union-attr]
    monkeypatch.setenv("OPENAI_API_KEY", "from the environment")
    assert hosted_model("m").openai_api_key.get_secret_value() == "from the environment"  # type: ignore[union-attr]
    assert hosted_model("m", api_key="given").openai_api_key.get_secret_value() == "given"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"model": " "}, "model"),
        ({"model": "m", "base_url": "localhost:8000"}, "base_url"),
        ({"model": "m", "base_url": "http://x/v1", "use_responses_api": True}, "use_responses_api"),
        ({"model": "m", "base_url": "http://x/v1", "api_key": "sk-\u00e4"}, "api_key"),
        ({"model": "m", "base_url": "http://x/v1", "api_key": "two\nlines"}, "api_key"),
        ({"model": "m", "base_url": "http://x:port/v1"}, "hosted_model"),
        ({"model": "m", "base_url": "http://[::1/v1"}, "hosted_model"),
        ({"model": "m", "base_url": "http://x/v1", "temperature": "warm"}, "hosted_model"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        hosted_model(**arguments)
    assert caught.value.argument == named
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("ALL_PROXY", "socks9://localhost:1", "proxy"),
        ("HTTP_PROXY", "nothing://localhost:1", "proxy"),
        ("SSL_CERT_FILE", "/nowhere.pem", "No such file"),
    ],
)
def test_what_the_client_cannot_use_of_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    # a client is kept for the same URL
    with pytest.raises(ArgumentError, match=f"proxies and certificates from the environment.*{says}"):
        hosted_model("m", base_url=f"http://localhost/{variable}/v1")


def test_blanks_around_what_was_pasted_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = hosted_model("m", base_url=" http://localhost:8000/v1\n", api_key="key\n")
    assert (model.openai_api_base, model.openai_api_key.get_secret_value()) == ("http://localhost:8000/v1", "key")
    # a variable with nothing in it is not another one's key
    monkeypatch.setenv("OPENAI_API_KEY", "of another server")
    monkeypatch.setenv("HERE", " \n")
    with pytest.raises(ArgumentError, match="found none in HERE"):
        key_from("HERE")


def test_explaining_needs_no_client_library() -> None:
    code = (
        "import sys; sys.modules['openai'] = sys.modules['langchain_openai'] = None\n"
        "from langgraph_speceyes.models.hosted import explain, hosted_model\n"
        f"print(explain(ValueError({VLLM!r}), 64))\n"
        "print({'torch', 'transformers'} & set(sys.modules))\n"
        "try: hosted_model('m', base_url='http://x/v1')\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()
    assert found[0].startswith("the server gives at most 20")
    assert found[1] == "set()"
    assert found[2].startswith("MissingExtraError")
    assert "langgraph-speceyes[openai]" in found[2]
