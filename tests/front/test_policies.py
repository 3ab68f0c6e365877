"""Retry and cache policy of judge and speculator: LangGraph's own, for phases that never fail as nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langgraph.cache.memory import InMemoryCache
from langgraph.types import CachePolicy, RetryPolicy
from PIL import Image

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes, image_question
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.front import retrying
from langgraph_speceyes.front.retrying import Retries
from tests.scripted import Agent, Scripted, judge, speculator

AT_ONCE = RetryPolicy(initial_interval=0.0, jitter=False, max_attempts=3, retry_on=ConnectionError)


def failing(model: Scripted, times: int, error: type[Exception] = ConnectionError) -> Scripted:
    """The same model, whose first calls fail."""
    left = [None] * times

    def before() -> None:
        if left:
            left.pop()
            raise error("down")

    return model.model_copy(update={"before": before, "calls": []})


def picture(folder: Path, colour: str = "teal", name: str = "street.png") -> str:
    Image.new("RGB", (40, 30), colour).save(folder / name)
    return str(folder / name)


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    return {"messages": [image_question(picture(tmp_path), "What colour is it?")]}


async def both(graph: Any, asked: Any) -> list[Any]:
    """A sync and an async run."""
    return [await asyncio.to_thread(graph.invoke, asked), await graph.ainvoke(asked)]


@pytest.mark.parametrize("phase", ["judge", "speculator"])
@pytest.mark.parametrize("timeout_s", [None, 60.0])
async def test_a_call_that_fails_is_made_again(asked: Any, phase: str, timeout_s: float | None) -> None:
    models = {"judge": judge(0.1), "speculator": speculator()}
    for times, route in ((2, "bypass"), (3, "fallback")):
        for asynchronous in (False, True):
            failed = failing(models[phase], times)
            graph = create_speceyes(
                Agent().graph, **{**models, phase: failed}, retry_policy=AT_ONCE, timeout_s=timeout_s
            ).compile()
            result = await graph.ainvoke(asked) if asynchronous else await asyncio.to_thread(graph.invoke, asked)
            assert (result["decision"]["route"], len(failed.calls)) == (route, 3)
            assert (result["decision"]["error"] is None) == (route == "bypass")


async def test_the_first_policy_that_takes_the_error_counts(asked: Any) -> None:
    never = RetryPolicy(max_attempts=1, retry_on=[ConnectionError])
    chosen = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=lambda error: isinstance(error, OSError))
    for policies, calls in (((chosen, never), 2), ((never, chosen), 1), ([], 1), (chosen, 2)):
        small = failing(speculator(), 1)
        create_speceyes(Agent().graph, speculator=small, retry_policy=policies).compile().invoke(asked)
        assert len(small.calls) == calls


def test_in_the_middleware_too(asked: Any) -> None:
    small = failing(speculator(), 1)
    agent = create_agent(Scripted(), middleware=[SpecEyesMiddleware(small, judge=judge(0.1), retry_policy=AT_ONCE)])
    assert agent.invoke(asked)["decision"]["route"] == "bypass"
    assert len(small.calls) == 2


@given(
    first=st.floats(0, 10),
    factor=st.floats(1, 4),
    most=st.floats(0, 100),
    attempts=st.integers(1, 6),
    within=st.floats(0, 100),
)
def test_pauses_grow_and_end_within_the_time_limit(
    first: float, factor: float, most: float, attempts: int, within: float
) -> None:
    """As LangGraph pauses between the attempts of a node, but never beyond the time limit."""
    now, slept = [0.0], list[float]()

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now[0]

        @staticmethod
        def sleep(seconds: float) -> None:
            slept.append(seconds)
            now[0] += seconds

    def attempt() -> None:
        raise ConnectionError

    policy = RetryPolicy(first, factor, most, attempts, jitter=False)
    failed: list[None] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrying, "time", Clock)
        with pytest.raises(ConnectionError):
            Retries([policy]).run(attempt, within, lambda: failed.append(None))
    expected = [min(most, first * factor**i) for i in range(attempts - 1)]
    assert slept == expected[: len(slept)]
    assert len(failed) == len(slept)
    assert sum(slept) <= within
    if len(slept) < len(expected):
        assert sum(slept) + expected[len(slept)] >= within


def test_no_attempt_is_made_behind_the_time_limit(asked: Any) -> None:
    small = failing(speculator(), 9)
    patient = RetryPolicy(3600.0, max_interval=3600.0, jitter=False, max_attempts=9, retry_on=ConnectionError)
    graph = create_speceyes(Agent().graph, speculator=small, retry_policy=patient, timeout_s=600.0).compile()
    # it gives up at once, and does not wait for a limit at which it would give up
    result = graph.invoke(asked)
    assert "down" in result["decision"]["error"]
    assert len(small.calls) == 1


class Local(Scripted):
    """Reads references itself, and calls them off by key, as a local model does."""

    accepts_image_references: bool = True
    gone: list[str] = []

    def expect(self, key: str) -> None:
        """Nothing waits here."""

    def dismiss(self, key: str) -> None:
        self.gone.append(key)


def calls(*models: Scripted) -> list[int]:
    return [len(model.calls) for model in models]


@pytest.mark.parametrize("kind", [Scripted, Local])
@pytest.mark.parametrize("given", ["compile", "setting"])
async def test_the_same_question_is_asked_once(asked: Any, tmp_path: Path, kind: Any, given: str) -> None:
    small, large = kind(content=speculator().content), kind(content=judge(0.1).content)
    cache: InMemoryCache[Any] = InMemoryCache()
    settings: dict[str, Any] = {"cache": cache} if given == "setting" else {}
    built = create_speceyes(Agent().graph, speculator=small, judge=large, cache_policy=CachePolicy(), **settings)
    graph = built.compile(**({"cache": cache} if given == "compile" else {}))
    first, second = await both(graph, asked)
    assert calls(small, large) == [1, 1]
    # nothing was spent on the second, and all else is the same
    assert second["decision"]["tokens"] == {
        "judge": {"input": 0, "output": 0},
        "speculate": {"input": 0, "output": 0},
    }
    assert first["decision"]["tokens"]["judge"] == {"input": 7, "output": 1}
    for key in ("route", "tool_need", "score", "scores", "answer_tokens", "k"):
        assert second["decision"][key] == first["decision"][key]

    # the same image elsewhere; another question; another image under the same name
    picture(tmp_path, name="copy.png")
    for image, words, made in (("copy.png", "What colour is it?", 1), ("street.png", "How large is it?", 2)):
        graph.invoke({"messages": [image_question(str(tmp_path / image), words)]})
        assert calls(small, large) == [made, made]
    picture(tmp_path, "gold")
    graph.invoke(asked)
    assert calls(small, large) == [3, 3]
    cache.clear([("speceyes", "speculator")])
    graph.invoke(asked)
    assert calls(small, large) == [4, 3]


def test_what_is_another_call_is_not_found(asked: Any) -> None:
    class Named(Scripted):
        model_name: str = "one"

    cache: InMemoryCache[Any] = InMemoryCache()
    content = speculator().content

    def asked_of(small: Any, **settings: Any) -> None:
        options: dict[str, Any] = {"cache_policy": CachePolicy(), "cache": cache} | settings
        create_speceyes(Agent().graph, speculator=small, **options).compile().invoke(asked)

    models = [Named(content=content), Named(content=content, model_name="two"), Scripted(content=content)]
    for small in models:
        asked_of(small)
    asked_of(models[0], max_answer_tokens=32)
    asked_of(models[0].bind(seed=1))
    asked_of(models[0].with_fallbacks([models[1]]))
    assert calls(*models) == [4, 1, 1]
    asked_of(models[0].bind(seed=1))
    assert calls(*models) == [4, 1, 1]


async def test_what_failed_or_cannot_be_scored_is_not_kept(asked: Any) -> None:
    for small in (Scripted(), Scripted(error="down")):
        graph = create_speceyes(Agent().graph, speculator=small, cache_policy=CachePolicy()).compile(
            cache=InMemoryCache()
        )
        for result in await both(graph, asked):
            assert result["decision"]["route"] == "fallback"
        assert len(small.calls) == 2


async def test_a_cache_that_fails_is_as_good_as_none(asked: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(InMemoryCache[Any]):
        def get(self, keys: Sequence[Any]) -> Any:
            raise ConnectionError("no cache")

        async def aget(self, keys: Sequence[Any]) -> Any:
            raise ConnectionError("no cache")

        set = aset = get  # type: ignore[assignment]

    small = speculator()
    graph = create_speceyes(Agent().graph, speculator=small, cache_policy=CachePolicy(), cache=Broken()).compile()
    for result in await both(graph, asked):
        assert (result["decision"]["route"], result["decision"]["error"]) == ("bypass", None)
    assert len(small.calls) == 2
    assert "no cache" in caplog.text


async def test_a_cache_that_counts_what_it_holds_is_one_while_it_is_empty(asked: Any) -> None:
    class Sized(InMemoryCache[Any]):
        def __len__(self) -> int:
            return sum(map(len, self._cache.values()))

    small, cache = speculator(), Sized()
    graph = create_speceyes(Agent().graph, speculator=small, cache_policy=CachePolicy(), cache=cache).compile()
    await both(graph, asked)
    assert (len(small.calls), len(cache)) == (1, 1)


def test_a_key_function_of_ones_own_and_a_time_to_live(asked: Any, tmp_path: Path) -> None:
    seen = []

    def words_only(call: Any) -> str:
        seen.append(call)
        return str(call["prompt"][-1]["content"][-1])

    kept: dict[Any, Any] = {}

    class Noting(InMemoryCache[Any]):
        def set(self, pairs: Any) -> None:
            kept.update(pairs)
            super().set(pairs)

    small = speculator()
    policy = CachePolicy(key_func=words_only, ttl=60)
    graph = create_speceyes(Agent().graph, speculator=small, cache_policy=policy, cache=Noting()).compile()
    graph.invoke(asked)
    other = picture(tmp_path, "gold", "other.png")
    graph.invoke({"messages": [image_question(other, "What colour is it?")]})
    assert len(small.calls) == 1
    assert set(seen[0]) == {"model", "settings", "prompt"}
    assert "iVBOR" not in str(seen[0])
    ((_, (_, ttl)),) = kept.items()
    assert ttl == 60


def test_the_middleware_has_a_cache_of_its_own(asked: Any) -> None:
    small, large = speculator(), judge(0.1)
    within = SpecEyesMiddleware(small, judge=large, cache_policy=CachePolicy(), cache=InMemoryCache())
    agent = create_agent(Scripted(), middleware=[within])
    for _ in range(2):
        assert agent.invoke(asked)["decision"]["route"] == "bypass"
    assert calls(small, large) == [1, 1]
    with pytest.raises(ArgumentError, match="cache: expected a cache beside cache_policy"):
        SpecEyesMiddleware(small, cache_policy=CachePolicy())


@pytest.mark.parametrize(
    ("argument", "settings"),
    [
        ("retry_policy", {"retry_policy": 3}),
        ("retry_policy", {"retry_policy": [AT_ONCE, "twice"]}),
        ("cache_policy", {"cache_policy": 60}),
        ("cache", {"cache": {}, "cache_policy": CachePolicy()}),
        ("cache_policy", {"cache": InMemoryCache()}),
    ],
)
def test_what_is_no_policy_is_named(argument: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError) as caught:
        create_speceyes(Agent().graph, speculator=speculator(), **settings)
    assert caught.value.argument == argument
