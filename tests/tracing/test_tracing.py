"""What arrives at a LangSmith server on loopback, sent by its own client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import uuid
from pathlib import Path
from typing import Any

import langsmith
import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.langchain import LangChainTracer
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_speceyes import create_funnel, create_speceyes, create_visual_agent
from langgraph_speceyes.hedge import race
from langgraph_speceyes.looks import tiles
from langgraph_speceyes.middleware import SpecEyesMiddleware
from langgraph_speceyes.tracing import feedback, masked_client
from tests.scripted import Scripted, judge, speculator
from tests.tracing.capture import Captured, capture
from tests.tracing.conftest import Traced
from tests.tracing.models import Looks, Reads, noise

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

STEPS = ["crop", "zoom", "ocr"]
LOOP = [["question"], *(one for step in STEPS for one in (["model", ["Looks"]], [step])), ["model", ["Looks"]]]
AGENT = ["agent", ["visual_agent", *LOOP, ["answer"]]]


@pytest.fixture(scope="module")
def image() -> bytes:
    return noise()


@pytest.fixture
def path(image: bytes, tmp_path: Path) -> str:
    (tmp_path / "image.png").write_bytes(image)
    return str(tmp_path / "image.png")


def asked(block: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [HumanMessage([block, {"type": "text", "text": "What does the sign say?"}])]}


def inline(image: bytes) -> dict[str, Any]:
    return {"type": "image", "base64": base64.b64encode(image).decode(), "mime_type": "image/png"}


def looking(**options: Any) -> tuple[Any, Looks]:
    model = Looks()
    return create_visual_agent(model, reader=Reads(), **options), model


async def run(graph: Any, state: dict[str, Any], mode: str, config: Any = None) -> dict[str, Any]:
    if mode == "sync":
        found = await asyncio.to_thread(graph.invoke, state, config)
    else:
        found = await graph.ainvoke(state, config)
    result: dict[str, Any] = found
    return result


def sent(captured: Captured) -> Captured:
    captured.flush()  # type: ignore[attr-defined]
    return captured


def holds_image(captured: Captured, image: bytes) -> bool:
    """Whether any body holds 64 characters of the image's base64, or its bytes, or any picture's base64."""
    text = base64.b64encode(image).decode()
    for body in captured.bodies:
        if image[1000:1064] in body:
            return True
        for found in re.findall(rb"[A-Za-z0-9+/]{64,}", body):
            if len(found) >= 200 or found[:64].decode() in text:
                return True
    return False


def metadata(one: dict[str, Any]) -> dict[str, Any]:
    found = one["extra"]["metadata"].items()
    return {key[9:]: value for key, value in found if key.startswith("speceyes_")}


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("source", ["path", "inline"])
async def test_the_whole_way_to_the_agent(traced: Traced, image: bytes, path: str, mode: str, source: str) -> None:
    captured = traced(mask_root=source == "inline")
    agent, model = looking()
    graph = create_speceyes(agent, speculator=speculator(0.01), judge=judge(0.1)).compile(name="SpecEyes")
    block = inline(image) if source == "inline" else {"type": "image", "url": path}
    result = await run(graph, asked(block), mode)
    assert result["messages"][-1].text == "from the agent"
    sent(captured)
    front = [["intake"], ["judge", ["judge model"]], ["speculate", ["speculator"]], ["gate"]]
    assert captured.tree() == ["SpecEyes", *front, AGENT]
    assert not holds_image(captured, image)
    assert captured.sent < 50_000
    assert sum(map(len, captured.bodies)) < 250_000
    # the model saw what the trace does not show
    shown = [b for m in model.seen[-1] if isinstance(m.content, list) for b in m.content if b.get("type") == "image"]
    assert any(len(block["base64"]) > 5_000_000 for block in shown)
    first = captured.named("Looks")[0]
    assert re.search(rf"sha256:[0-9a-f]{{16}} \(image/png, {len(image)} bytes\)", str(first["inputs"]))
    assert "What does the sign say?" in str(first["inputs"])


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("gap", [40.0, 0.01])
@pytest.mark.parametrize("order", ["judge_first", "auto"])
async def test_an_agent_beside_the_front_end(
    traced: Traced, image: bytes, mode: str, gap: float, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the front end is done before the agent has its answer
    monkeypatch.setattr(race, "_answered", lambda agent: False)
    captured = traced(mask_root=True)
    agent, _ = looking()
    graph = create_speceyes(agent, speculator=speculator(gap), judge=judge(0.1), order=order, hedge=True).compile()
    decision = (await run(graph, asked(inline(image)), mode))["decision"]
    sent(captured)
    assert not holds_image(captured, image)
    for one in (captured.root, captured.named("race")[0]):
        noted = metadata(one)
        assert noted.get("accepted", False) == (gap == 40.0)
        # with "auto" the speculator may be asked first, and the judge not at all
        assert noted.get("screened", True) is True
        assert [tag for tag in one["tags"] if tag.startswith("speceyes:")] == [f"speceyes:{decision['route']}"]
    root = metadata(captured.root)
    assert root["route"] == decision["route"]
    hedge = {name: root[f"hedge_{name}"] for name in ("cancelled", "interrupted", "seconds", "tool_steps")}
    assert hedge == {name: decision["hedge"][name] for name in hedge}
    assert {"judge", "speculate", "gate"} <= set(str(captured.tree()).replace("'", " ").replace("[", " ").split())


async def test_metadata_and_tags(traced: Traced, path: str) -> None:
    captured = traced()
    agent, _ = looking()
    graph = create_speceyes(agent, speculator=speculator(0.01), judge=judge(0.1)).compile()
    run_id = uuid.uuid4()
    decision = graph.invoke(asked({"type": "image", "url": path}), {"run_id": run_id})["decision"]
    sent(captured)
    root = captured.root
    assert root["id"] == str(run_id)
    judged = {"tool_need": pytest.approx(0.1), "judge_threshold": 0.5, "screened": True}
    scored = {"score": decision["score"], "score_name": "odds", "k": 20}
    assert metadata(root) == {
        **judged,
        **scored,
        "route": "fallback",
        "decided_by": "gate",
        "accepted": False,
        "threshold": decision["threshold"],
        "tool_steps": 3,
        "follow_up": False,
    }
    phases = {name: captured.named(name)[0] for name in ("judge", "speculate", "gate")}
    assert metadata(phases["judge"]) == judged
    assert metadata(phases["speculate"]) == scored
    assert metadata(phases["gate"]) == {**scored, "accepted": False, "threshold": decision["threshold"]}
    assert metadata(captured.named("agent")[0])["route"] == "fallback"
    tagged = {run["name"] for run in captured.runs.values() if "speceyes:fallback" in (run.get("tags") or ())}
    assert tagged == {"LangGraph", "gate"}
    # other runs' metadata stays their own
    assert metadata(captured.named("intake")[0]) == {}
    assert feedback(decision) == [
        {"key": "speceyes_bypass", "score": 0.0},
        {"key": "speceyes_screened", "score": 1.0},
        {"key": "speceyes_accepted", "score": 0.0},
        {"key": "speceyes_score", "score": decision["score"]},
        {"key": "speceyes_tool_need", "score": pytest.approx(0.1)},
        {"key": "speceyes_tool_steps", "score": 3.0},
        {"key": "speceyes_decided_by", "value": "gate"},
    ]


@pytest.mark.parametrize(
    ("need", "gap", "order", "route", "by"),
    [
        (0.1, 40.0, "judge_first", "bypass", "gate"),
        (0.9, 40.0, "judge_first", "fallback", "judge"),
        (0.1, 40.0, "speculate_first", "bypass", "judge"),
        (0.9, 40.0, "speculate_first", "fallback", "judge"),
        (0.9, 0.01, "speculate_first", "fallback", "gate"),
    ],
)
async def test_the_deciding_phase_is_tagged(
    traced: Traced, path: str, need: float, gap: float, order: Any, route: str, by: str
) -> None:
    captured = traced()
    answers = RunnableLambda(lambda state: {"messages": [*state["messages"], AIMessage("from the agent")]})
    graph = create_speceyes(answers, speculator=speculator(gap), judge=judge(need), order=order).compile()
    await graph.ainvoke(asked({"type": "image", "url": path}))
    sent(captured)
    tagged = {run["name"]: run["tags"] for run in captured.runs.values() if run.get("tags")}
    ours = {name: [t for t in tags if t.startswith("speceyes:")] for name, tags in tagged.items()}
    assert {name: tags for name, tags in ours.items() if tags} == {
        "LangGraph": [f"speceyes:{route}"],
        by: [f"speceyes:{route}"],
    }
    assert metadata(captured.root)["route"] == route


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("source", ["path", "inline"])
async def test_looks_are_runs_of_their_own(traced: Traced, image: bytes, path: str, mode: str, source: str) -> None:
    captured = traced(mask_root=source == "inline")
    small = speculator(0.01)

    def sure(picture: str, question: str) -> str:
        small.content = speculator().content
        return "look here"

    graph = create_speceyes(looking()[0], speculator=small, looks=[lambda *_: None, tiles(2, 2), sure])
    block = inline(image) if source == "inline" else {"type": "image", "url": path}
    await run(graph.compile(), asked(block), mode)
    sent(captured)
    names = [
        "intake",
        "speculate",
        "gate",
        "look_1",
        "look_2",
        "speculate_2",
        "gate_2",
        "look_3",
        "speculate_3",
        "gate_3",
    ]
    assert [one if isinstance(one, str) else one[0] for one in captured.tree()[1:]] == [*names, "bypass"]
    assert not holds_image(captured, image)
    for name in names[3:]:
        assert metadata(captured.named(name)[0])["depth"] == int(name[-1])
    assert metadata(captured.named("look_2")[0])["look"] == "tiles"
    root = metadata(captured.root)
    assert (root["depth"], root["route"]) == (3, "bypass")
    tagged = {run["name"] for run in captured.runs.values() if "speceyes:bypass" in (run.get("tags") or ())}
    assert tagged == {"LangGraph", "gate_3"}


async def test_a_look_that_fails_is_noted(traced: Traced, path: str) -> None:
    captured = traced()

    def broken(picture: str, question: str) -> str:
        raise RuntimeError("the detector is down")

    graph = create_speceyes(looking()[0], speculator=speculator(0.01), looks=[broken]).compile()
    graph.invoke(asked({"type": "image", "url": path}))
    sent(captured)
    assert "detector is down" in metadata(captured.named("look_1")[0])["error"]
    assert metadata(captured.root)["decided_by"] == "look"
    assert "depth" not in metadata(captured.root)


async def test_models_are_named(traced: Traced, path: str) -> None:
    class Named(Scripted):
        model_name: str = "small-vl"

    captured = traced()
    small = Named(content=speculator().content)
    graph = create_speceyes(looking()[0], speculator=small, judge=judge(0.1)).compile()
    graph.invoke(asked({"type": "image", "url": path}))
    sent(captured)
    assert metadata(captured.root)["speculator_model"] == "small-vl"
    assert metadata(captured.named("speculate")[0])["model"] == "small-vl"


async def test_trouble_is_noted(traced: Traced, path: str) -> None:
    captured = traced()
    graph = create_speceyes(looking()[0], speculator=speculator(error="down"), judge=judge(0.1)).compile()
    graph.invoke(asked({"type": "image", "url": path}))
    sent(captured)
    assert "down" in metadata(captured.root)["error"]
    assert "down" in metadata(captured.named("speculate")[0])["error"]
    assert metadata(captured.root)["decided_by"] == "speculate"


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_images_are_sent_when_asked_for(traced: Traced, image: bytes, path: str, mode: str) -> None:
    captured = traced()
    agent, _ = looking(trace_images=True)
    graph = create_speceyes(
        agent, speculator=speculator(0.01), judge=judge(0.1), trace_images=True, front_pixels=None
    ).compile()
    await run(graph, asked({"type": "image", "url": path}), mode)
    sent(captured)
    text = base64.b64encode(image).decode()
    for name in ("judge model", "speculator", "Looks"):
        assert text in str(captured.named(name)[0]["inputs"])


async def test_only_the_callers_root_run_shows_what_the_caller_passes(traced: Traced, image: bytes) -> None:
    captured = traced()
    graph = create_speceyes(looking()[0], speculator=speculator(0.01), judge=judge(0.1)).compile()
    graph.invoke(asked(inline(image)))
    sent(captured)
    payload = base64.b64encode(image).decode()
    assert captured.showing(payload) == {"LangGraph"}
    assert captured.root["name"] == "LangGraph"


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("source", ["path", "inline"])
async def test_funnel(traced: Traced, image: bytes, path: str, mode: str, source: str) -> None:
    captured = traced(mask_root=source == "inline")
    block = inline(image) if source == "inline" else {"type": "image", "url": path}
    graph = create_funnel(create_speceyes(looking()[0], speculator=speculator(0.01), judge=judge(0.1))).compile()
    result = await run(graph, {"queries": [asked(block)["messages"]] * 2}, mode)
    assert [outcome["answer"] for outcome in result["outcomes"]] == ["from the agent"] * 2
    sent(captured)
    front = [["intake"], ["judge", ["judge model"]], ["speculate", ["speculator"]], ["gate"]]
    assert captured.tree() == ["LangGraph", ["spread"], *[["query", ["speceyes", *front, AGENT]]] * 2, ["collect"]]
    assert not holds_image(captured, image)
    assert [metadata(one)["route"] for one in captured.named("speceyes")] == ["fallback"] * 2


async def test_funnel_masks_the_runs_it_starts(traced: Traced, image: bytes) -> None:
    captured = traced()
    graph = create_funnel(create_speceyes(looking()[0], speculator=speculator(), judge=judge(0.1))).compile()
    await graph.ainvoke({"queries": [asked(inline(image))["messages"]]})
    sent(captured)
    payload = base64.b64encode(image).decode()
    assert captured.showing(payload) == {"LangGraph"}


@pytest.mark.parametrize("server", [{"multipart": False}, {"zstd": False}])
async def test_other_ways_of_sending(traced: Traced, image: bytes, path: str, server: dict[str, bool]) -> None:
    captured = traced(**server)
    graph = create_speceyes(looking()[0], speculator=speculator(0.01), judge=judge(0.1)).compile()
    graph.invoke(asked({"type": "image", "url": path}))
    sent(captured)
    assert captured.tree()[-1] == AGENT
    assert not holds_image(captured, image)


class Watching(BaseCallbackHandler):
    """Another handler, which sees what it always saw."""

    def __init__(self) -> None:
        self.images = 0

    def on_chat_model_start(self, serialized: Any, messages: Any, **_: Any) -> None:
        self.images += str(messages).count("iVBORw0KGgo")


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_any_agent_and_what_it_runs(traced: Traced, image: bytes, path: str, mode: str) -> None:
    payload = base64.b64encode(image).decode()

    @langsmith.traceable(name="look up")
    def look_up(picture: str, data: bytes) -> dict[str, Any]:
        return {"images": [picture], "text": f"![]({'data:image/png;base64,' + picture})"}

    def act(state: MessagesState) -> dict[str, Any]:
        look_up(payload, image)
        ask = HumanMessage([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{payload}"}}])
        said = Scripted(answer="from the agent").invoke([*state["messages"], ask])
        return {"messages": [ask, said.model_copy(update={"additional_kwargs": {"image": image}})]}

    agent = StateGraph(MessagesState)
    agent.add_node("act", act)
    agent.add_edge(START, "act")
    captured, watching = traced(), Watching()
    graph = create_speceyes(agent, speculator=speculator(0.01), output_mode="last_message").compile()
    result = await run(graph, asked({"type": "image", "url": path}), mode, {"callbacks": [watching]})
    assert result["messages"][-1].additional_kwargs["image"] == image
    sent(captured)
    beneath = ["agent", ["LangGraph", ["act", ["look up"], ["Scripted"]]]]
    assert captured.tree()[-1] == beneath
    assert captured.showing(payload[64:128]) <= {"LangGraph"}
    assert f"sha256:{hashlib.sha256(image).hexdigest()[:16]}" in str(captured.named("look up")[0])
    assert watching.images >= 2


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("gap", [0.01, 40.0])
async def test_middleware(traced: Traced, image: bytes, path: str, mode: str, gap: float) -> None:
    captured = traced()
    model = Scripted(answer="from the agent")
    bypass = SpecEyesMiddleware(speculator(gap), judge=judge(0.1))
    await run(create_agent(model, middleware=[bypass]), asked({"type": "image", "url": path}), mode)
    sent(captured)
    route = "bypass" if gap > 1 else "fallback"
    assert bool(model.calls) == (route == "fallback")
    assert not holds_image(captured, image)
    front = [["judge", ["judge model"]], ["speculate", ["speculator"]], ["gate"]]
    assert captured.tree(captured.named("speceyes")[0])[2:5] == front
    assert f"speceyes:{route}" in captured.root["tags"]
    assert metadata(captured.root)["route"] == route
    assert metadata(captured.root)["accepted"] is (route == "bypass")


async def test_standalone_agent(traced: Traced, image: bytes, path: str) -> None:
    captured = traced()
    graph = looking()[0].compile(name="visual_agent")
    await graph.ainvoke(asked({"type": "image", "url": path}))
    sent(captured)
    assert captured.tree() == AGENT[1]
    assert not holds_image(captured, image)


async def test_replicas_with_a_client_of_their_own(traced: Traced, path: str) -> None:
    captured = traced()
    with capture() as other:
        client = langsmith.Client(api_url=other.url, api_key="key")
        graph = create_speceyes(looking()[0], speculator=speculator(0.01), judge=judge(0.1)).compile()
        with langsmith.tracing_context(replicas=[{"project_name": "other", "client": client}]):
            graph.invoke(asked({"type": "image", "url": path}))
        client.flush()
        client.close()
    assert not captured.runs
    assert other.tree()[-1] == AGENT
    assert not re.search(r"[A-Za-z0-9+/]{200,}", other.text)


async def test_a_tracer_of_ones_own(traced: Traced, image: bytes, path: str) -> None:
    class Own(LangChainTracer):
        def __init__(self, colour: str = "none", **options: Any) -> None:
            super().__init__(**options)
            self.colour = colour

    captured = traced()
    graph = create_speceyes(looking()[0], speculator=speculator(0.01), judge=judge(0.1)).compile()
    await graph.ainvoke(asked({"type": "image", "url": path}), {"callbacks": [Own("blue")]})
    sent(captured)
    assert captured.tree()[-1] == AGENT
    assert not holds_image(captured, image)


async def test_a_client_for_one_run(traced: Traced, image: bytes) -> None:
    captured = traced()
    graph = create_speceyes(looking()[0], speculator=speculator(), judge=judge(0.1)).compile()
    client = masked_client()
    with langsmith.tracing_context(client=client):
        graph.invoke(asked(inline(image)))
    client.flush()
    client.close()
    assert captured.root["name"] == "LangGraph"
    assert not holds_image(captured, image)


async def test_without_tracing_nothing_is_sent(traced: Traced, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    captured = traced()
    graph = create_speceyes(looking()[0], speculator=speculator(), judge=judge(0.1)).compile()
    with langsmith.tracing_context(enabled=False):
        graph.invoke(asked({"type": "image", "url": path}))
    sent(captured)
    assert not captured.runs


def test_subgraphs_are_still_found() -> None:
    graph = create_speceyes(looking()[0], speculator=speculator()).compile()
    assert [name for name, _ in graph.get_subgraphs()] == ["agent"]
    assert "agent:crop" in str(graph.get_graph(xray=True).nodes)
    assert [name for name, _ in create_funnel(graph).compile().get_subgraphs(recurse=True)] == ["query", "query|agent"]
