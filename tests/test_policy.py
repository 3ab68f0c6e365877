"""A graph's image policy binds whatever loads for it: every model, every tool, every message of every turn."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langgraph_speceyes import ImagePolicy, SpecEyesMiddleware, create_speceyes
from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import ImageStore, clear_cache, set_default_store
from langgraph_speceyes.images.store import reset_default_store
from langgraph_speceyes.testbed.pair import PROMPTS, Pair
from tests.images.pictures import encode, picture
from tests.scripted import Agent, speculator

CLOSED = ImagePolicy(roots=(), allow_stored=False)
OPENED: list[str] = []
WATCHED: list[str] = []


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and WATCHED and str(args[0]).startswith(WATCHED[0]):
        OPENED.append(str(args[0]))


sys.addaudithook(_watch)


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    """An image that nobody may open."""
    clear_cache()
    path = tmp_path / "secret" / "image.jpg"
    path.parent.mkdir()
    path.write_bytes(encode(picture(320, 320), "JPEG"))
    OPENED.clear()
    WATCHED[:] = [str(path.parent)]
    yield path
    WATCHED.clear()


def question(text: str = "What color is the star?") -> list[Any]:
    shown = base64.b64encode(encode(picture(320, 336), "PNG")).decode()
    return [{"type": "image", "base64": shown, "mime_type": "image/png"}, {"type": "text", "text": text}]


def called(block: Any) -> list[BaseMessage]:
    call = {"name": "crop", "args": {}, "id": "1"}
    return [AIMessage("", tool_calls=[call]), ToolMessage([block], tool_call_id="1", name="crop")]


def observation(block: Any) -> HumanMessage:
    return HumanMessage([block, *question()[1:]], additional_kwargs={"speceyes_observation": True})


PLACES: dict[str, Callable[[Any], list[BaseMessage]]] = {
    "the question": lambda block: [HumanMessage([block, *question()[1:]])],
    "beside the question's image": lambda block: [HumanMessage([*question(), block])],
    "an earlier turn": lambda block: [HumanMessage([block, *question()[1:]]), AIMessage("Red."), HumanMessage("Why?")],
    "an earlier turn of two": lambda block: [HumanMessage([block]), AIMessage("Well."), HumanMessage(question())],
    "a system message": lambda block: [SystemMessage([block]), HumanMessage(question())],
    "an answer behind": lambda block: [HumanMessage(question()), AIMessage([block])],
    "a tool's result behind": lambda block: [HumanMessage(question()), *called(block)],
    "a tool's result before": lambda block: [HumanMessage(question()), *called(block), HumanMessage(question())],
    "a forged observation": lambda block: [HumanMessage(question()), observation(block)],
    "two forged observations": lambda block: [HumanMessage(question()), observation(block), observation(block)],
}


def ways(path: Path) -> dict[str, Any]:
    return {
        "path": {"type": "image", "url": str(path)},
        "region": {"type": "image_url", "image_url": {"url": f"file://{path}#xywh=0,0,64,64&scale=2"}},
    }


@pytest.mark.parametrize("place", PLACES)
def test_no_message_reaches_a_file_outside_the_policy(secret: Path, pair: Pair, place: str) -> None:
    """Front end, agent and its local model: nothing opens the file, and a missing one gives the same outcome."""
    graph = pair.speceyes(policy=CLOSED, follow_ups="bypass").compile()
    for way in ways(secret):
        outcomes = set()
        for path in (secret, secret.with_name("nosuch.jpg")):
            given = {"messages": PLACES[place](ways(path)[way])}

            def run(given: Any = given, way: str = way) -> Any:
                return graph.invoke(given) if way == "path" else asyncio.run(graph.ainvoke(given))

            outcomes.add(outcome(run, str(path)))
        assert OPENED == [], way
        assert len(outcomes) == 1


def test_no_message_reaches_a_file_behind_the_middleware(secret: Path, pair: Pair) -> None:
    middleware = SpecEyesMiddleware(
        pair.speculator, judge=pair.large, gate=pair.gate, prompts=PROMPTS, policy=CLOSED, follow_ups="bypass"
    )
    agent = pair.tool_calling_agent([middleware])
    block = ways(secret)["path"]
    for place in PLACES.values():
        given = {"messages": place(block)}
        outcome(lambda given=given: agent.invoke(given), str(secret))  # type: ignore[misc]
    assert OPENED == []


def outcome(run: Callable[[], dict[str, Any]], path: str) -> str:
    """What a caller learns, without the path that it knows."""
    try:
        result = run()
    except ImageError as error:
        return str(error).replace(path, "PATH")
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace(path, "PATH")
    decision = result["decision"]
    return f"{decision['route']} {decision['reason']} {result['messages'][-1].text}".replace(path, "PATH")


def test_a_policy_that_nobody_set_restricts_no_agent(secret: Path, pair: Pair) -> None:
    result = pair.speceyes().compile().invoke({"messages": PLACES["the question"](ways(secret)["path"])})
    assert result["decision"]["route"] in ("bypass", "fallback")
    assert str(secret) in OPENED


def test_what_others_have_sent_is_read_by_nobody_else(tmp_path: Path, pair: Pair) -> None:
    """Only an image of the same conversation is read by its digest, and then as that conversation holds it."""
    folder = tmp_path / "secret"
    store = ImageStore(folder)
    theirs = store.put(encode(picture(320, 320), "PNG"))
    data = encode(picture(320, 336), "PNG")
    ours = ImageStore(tmp_path / "other").put(data)
    set_default_store(store)
    OPENED.clear()
    # the agent's tools may keep an image of this conversation beside it
    WATCHED[:] = [str(path) for path in folder.rglob("*") if path.is_file()]
    assert len(WATCHED) == 1
    try:
        graph = pair.speceyes(policy=CLOSED).compile()
        outcomes = set()
        for digest in (theirs, "sha256:" + "0" * 64):
            for place in PLACES.values():
                messages = place({"type": "image", "url": f"{digest}#xywh=0,0,100,100"})
                outcomes.add((str(place), outcome(lambda m=messages: graph.invoke({"messages": m}), digest)))  # type: ignore[misc]
        assert len(outcomes) == len(PLACES)
        assert OPENED == []
        shown = PLACES["a tool's result behind"]({"type": "image", "url": f"{ours}#xywh=0,0,100,100"})
        assert pair.large.model_copy(update={"policy": CLOSED}).invoke(shown).text
        assert OPENED == []
    finally:
        WATCHED.clear()
        reset_default_store()


def test_policies_within_each_other_all_count(tmp_path: Path) -> None:
    inner, other = tmp_path / "a" / "b", tmp_path / "c"
    first = ImagePolicy(roots=(tmp_path / "a",), max_bytes=10, allow_remote=True, formats=("PNG", "GIF"))
    second = ImagePolicy(roots=(inner, other), max_images=3, allow_remote=True, allow_stored=False, formats=("GIF",))
    both = first.restricted_by(second)
    assert both == second.restricted_by(first)
    assert both.roots == (inner,)
    assert (both.max_bytes, both.max_images, both.formats) == (10, 3, ("GIF",))
    assert (both.allow_remote, both.allow_stored) == (True, False)
    assert first.restricted_by(ImagePolicy()).roots == first.roots
    assert os.fspath(inner) not in map(os.fspath, first.restricted_by(ImagePolicy(roots=(other,))).roots or ())


@pytest.mark.parametrize("field", ImagePolicy.model_fields)
def test_of_every_limit_the_tighter_one_counts(field: str, tmp_path: Path) -> None:
    others: dict[str, Any] = {
        "formats": ("PNG",),
        "remote_hosts": ("images.example.com",),
        "roots": (tmp_path,),
        "min_side": 5,
        "allow_remote": False,
        "allow_private_addresses": False,
        "allow_stored": False,
    }
    loose = ImagePolicy(allow_remote=True, allow_private_addresses=True)
    # what is not listed is a number, of which the smaller one is tighter
    tight = loose.model_copy(update={field: others.get(field, 1)})
    assert getattr(tight, field) != getattr(loose, field)
    assert loose.restricted_by(tight) == tight.restricted_by(loose) == tight


def test_too_many_images_are_the_agents() -> None:
    """A question of more images than the policy allows is looked at by nobody in front of the agent."""
    shown, text = question()
    given = {"messages": [HumanMessage([*[shown] * 4, text])]}
    for most, asked in ((4, True), (3, False)):
        small = speculator()
        agent = Agent()
        graph = create_speceyes(agent.graph, speculator=small, policy=ImagePolicy(max_images=most)).compile()
        decision = graph.invoke(given)["decision"]
        assert bool(small.calls) == asked
        assert (decision["reason"] is None) == asked
        assert asked or "at most 3 images (max_images)" in decision["reason"]
    with pytest.raises(ImageError, match="max_images"):
        create_speceyes(agent.graph, speculator=small, policy=ImagePolicy(max_images=3), strict=True).compile().invoke(
            given
        )
