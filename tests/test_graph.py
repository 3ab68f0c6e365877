from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import threading
from pathlib import Path
from typing import Any, TypedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from PIL import Image
from pydantic import Field

from langgraph_speceyes import Gate, Slots, create_speceyes, create_visual_agent
from langgraph_speceyes.errors import ArgumentError, GateMismatchError, ImageError, InputError, PhaseError
from langgraph_speceyes.images import ImagePolicy
from tests.scripted import Agent, Scripted, entry, judge, peaked, speculator
from tests.waiting import PATIENCE_S, until

CONFIG: Any = {"configurable": {"thread_id": "1"}}


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "image.png"
    path.write_bytes(png())
    return str(path)


def asked(image: str | dict[str, Any], question: str = "What colour is it?") -> dict[str, Any]:
    block = {"type": "image", "url": image} if isinstance(image, str) else image
    return {"messages": [HumanMessage([block, {"type": "text", "text": question}])]}


ROUTES = [
    # judge's P(yes), gap of the speculation, route, decided by, accepted
    (0.1, 40.0, "bypass", "gate", True),
    (0.1, 0.01, "fallback", "gate", False),
    (0.9, 40.0, "fallback", "judge", None),
    (None, 40.0, "bypass", "gate", True),
    (None, 0.01, "fallback", "gate", False),
]


@pytest.mark.parametrize(("need", "gap", "route", "decided_by", "accepted"), ROUTES)
@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "batch"])
async def test_routes(
    image: str, need: float | None, gap: float, route: str, decided_by: str, accepted: bool | None, mode: str
) -> None:
    agent, small = Agent(), speculator(gap)
    graph = create_speceyes(agent.graph, speculator=small, judge=judge(need) if need else None).compile()
    if mode == "invoke":
        result = graph.invoke(asked(image))
    elif mode == "ainvoke":
        result = await graph.ainvoke(asked(image))
    else:
        result = (await asyncio.to_thread(graph.batch, [asked(image)] * 2))[1]
    decision, answer = result["decision"], result["messages"][-1]
    assert (decision["route"], decision["decided_by"], decision["accepted"]) == (route, decided_by, accepted)
    assert answer.text == ("blue" if route == "bypass" else "from the agent")
    assert answer.response_metadata["speceyes"] == decision
    assert [m.type for m in result["messages"]] == ["human", "ai"]
    assert bool(agent.runs) == (route == "fallback")
    assert bool(small.calls) == (decided_by != "judge")
    assert decision["tool_need"] == (pytest.approx(need) if need else None)
    assert decision["error"] is None
    assert set(decision["seconds"]) == {
        "intake",
        *(["judge"] if need else []),
        *(["speculate", "gate"] if decided_by != "judge" else []),
        *(["agent"] if route == "fallback" else []),
        "total",
    }
    assert set(result) == {"messages", "decision"}


@given(
    need=st.floats(0.01, 0.99),
    gap=st.floats(0, 60),
    threshold=st.floats(0.5, 0.999),
    judge_threshold=st.floats(0.05, 0.95),
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_all_orders_give_the_same_routes(
    image: str, need: float, gap: float, threshold: float, judge_threshold: float
) -> None:
    routes = []
    for order in ("judge_first", "speculate_first", "parallel", "auto"):
        graph = create_speceyes(
            Agent().graph,
            speculator=speculator(gap),
            judge=judge(need),
            gate=threshold,
            judge_threshold=judge_threshold,
            order=order,  # type: ignore[arg-type]
        )
        decision = graph.compile().invoke(asked(image))["decision"]
        routes.append(decision["route"])
        assert decision["route"] == (
            "bypass" if decision["accepted"] and decision["tool_need"] < judge_threshold else "fallback"
        )
    assert len(set(routes)) == 1


def test_speculating_first_spares_the_judge_what_the_gate_rejects(image: str) -> None:
    large = judge(0.1)
    create_speceyes(Agent().graph, speculator=speculator(0.01), judge=large, order="speculate_first").compile().invoke(
        asked(image)
    )
    assert large.calls == []


def test_prompts_begin_with_the_question_and_end_with_the_instruction(image: str) -> None:
    small, large = speculator(), judge(0.2)
    create_speceyes(Agent().graph, speculator=small, judge=large).compile().invoke(asked(image))
    for model, word in ((small, "briefly"), (large, "yes or no")):
        ((messages, kwargs),) = model.calls
        assert kwargs["logprobs"] is True
        (message,) = messages
        assert message.content[0]["type"] == "image"
        assert message.content[1]["text"].startswith("What colour is it?\n")
        assert word in message.content[1]["text"].lower()
    assert large.calls[0][1]["max_tokens"] == 1
    assert small.calls[0][1]["top_logprobs"] == 20


def test_models_that_take_no_references_get_image_data(image: str) -> None:
    small = speculator()
    create_speceyes(Agent().graph, speculator=small).compile().invoke(asked(image))
    block = small.calls[0][0][0].content[0]
    assert base64.b64decode(block["base64"]) == Path(image).read_bytes()


@pytest.mark.parametrize(
    ("small", "large", "phase", "says"),
    [
        (Scripted(error="refused"), None, "speculate", "ConnectionError: refused"),
        (Scripted(), None, "speculate", "MissingLogprobsError"),
        (speculator(k=4), None, "speculate", "'odds' needs at least 5"),
        (speculator(), Scripted(error="refused"), "judge", "ConnectionError: refused"),
        (speculator(), Scripted(), "judge", "MissingLogprobsError"),
        (speculator(), Scripted(content=[entry("Maybe", [("Maybe", -0.1), ("So", -3.0)])]), "judge", "yes"),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_trouble_in_front_goes_to_the_agent_and_is_recorded(
    image: str, small: Scripted, large: Scripted | None, phase: str, says: str, asynchronous: bool
) -> None:
    await _left_to_the_agent(image, small, large, phase, says, asynchronous)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_separability_of_another_k_is_trouble_and_odds_are_not(image: str, asynchronous: bool) -> None:
    papers = Gate(score="min", threshold=0.98, k=64)
    await _left_to_the_agent(image, speculator(k=5), None, "gate", "K", asynchronous, gate=papers)
    graph = create_speceyes(Agent().graph, speculator=speculator(k=5)).compile()
    decision = (await graph.ainvoke(asked(image)) if asynchronous else graph.invoke(asked(image)))["decision"]
    assert (decision["route"], decision["k"], decision["error"]) == ("bypass", 5, None)
    ((token, value),) = decision["answer_tokens"]
    assert (token, value) == ("blue", decision["score"])


def test_the_log_score_needs_no_candidates(image: str) -> None:
    small = Scripted(content=[{"token": "blue", "logprob": -0.05, "top_logprobs": []}])
    gate = Gate(score="log", threshold=0.9, k=0)
    decision = create_speceyes(Agent().graph, speculator=small, gate=gate).compile().invoke(asked(image))["decision"]
    assert (decision["route"], decision["error"]) == ("bypass", None)
    assert decision["scores"] == {"odds": None, "min": None, "mean": None, "bottom": None, "log": decision["score"]}
    assert decision["answer_tokens"] == [["blue", decision["score"]]]
    assert "top_logprobs" not in small.calls[0][1]
    shut = create_speceyes(Agent().graph, speculator=small, gate=Gate(score="log", threshold=0.96)).compile()
    assert shut.invoke(asked(image))["decision"]["accepted"] is False


@pytest.mark.parametrize("phase", ["speculate", "judge"])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_model_that_does_not_answer_in_time_is_trouble_too(image: str, phase: str, asynchronous: bool) -> None:
    # it answers only once all is over
    over = threading.Event()
    stuck = {"before": lambda: over.wait(PATIENCE_S)}
    small, large = (speculator(), judge(0.2, **stuck)) if phase == "judge" else (speculator(**stuck), None)
    try:
        await _left_to_the_agent(image, small, large, phase, "TimeoutError", asynchronous, timeout_s=0.1)
    finally:
        over.set()


async def _left_to_the_agent(
    image: str, small: Scripted, large: Scripted | None, phase: str, says: str, asynchronous: bool, **options: Any
) -> None:
    graph = create_speceyes(Agent().graph, speculator=small, judge=large, **options).compile()
    result = await graph.ainvoke(asked(image)) if asynchronous else graph.invoke(asked(image))
    decision = result["decision"]
    assert (decision["route"], decision["decided_by"]) == ("fallback", phase)
    assert says in decision["error"]
    assert result["messages"][-1].text == "from the agent"
    strict = create_speceyes(Agent().graph, speculator=small, judge=large, strict=True, **options).compile()
    with pytest.raises(PhaseError, match=phase) as caught:
        await strict.ainvoke(asked(image)) if asynchronous else strict.invoke(asked(image))
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("answer", ["", " \n "])
def test_an_empty_speculation_scores_zero_and_falls_back(image: str, answer: str) -> None:
    small = speculator()
    # white space may be as sure of itself as it likes: it is no answer
    small.answer, small.content = answer, [peaked(answer, 64, 40.0)] if answer else []
    decision = create_speceyes(Agent().graph, speculator=small, gate=0.01).compile().invoke(asked(image))["decision"]
    assert (decision["route"], decision["score"], decision["accepted"]) == ("fallback", 0.0, False)


def test_an_agents_failure_is_the_callers(image: str) -> None:
    graph = create_speceyes(Agent(fail=True).graph, speculator=speculator(0.01)).compile()
    with pytest.raises(RuntimeError, match="the agent broke"):
        graph.invoke(asked(image))


def test_events_tell_each_decision_and_messages_stream_only_the_answer(image: str) -> None:
    graph = create_speceyes(Agent().graph, speculator=speculator(), judge=judge(0.2)).compile()
    modes = list(graph.stream(asked(image), stream_mode=["custom", "messages", "updates"]))
    events = [e["event"] for mode, e in modes if mode == "custom"]
    assert events == ["judge", "speculate", "gate", "decision"]
    assert "".join(m.text for mode, (m, _) in (x for x in modes if x[0] == "messages")) == "blue"
    assert [next(iter(u)) for mode, u in modes if mode == "updates"] == [
        "intake",
        "judge",
        "speculate",
        "gate",
        "bypass",
    ]
    json.dumps([e for mode, e in modes if mode == "custom"])


@pytest.mark.parametrize(
    "block",
    [
        lambda p: {"type": "image", "url": p},
        lambda p: {"type": "image", "url": f"file://{p}"},
        lambda p: {"type": "image", "path": p},
        lambda p: {"type": "image", "data": Path(p).read_bytes()},
        lambda p: {
            "type": "image",
            "base64": base64.b64encode(Path(p).read_bytes()).decode(),
            "mime_type": "image/png",
        },
        lambda p: {"type": "image_url", "image_url": {"url": p}},
        lambda p: {
            "type": "image_url",
            "image_url": f"data:image/png;base64,{base64.b64encode(Path(p).read_bytes()).decode()}",
        },
    ],
)
def test_images_come_in_every_form_and_survive_a_checkpoint(image: str, block: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(Path(image).parent / "store"))
    small = speculator()
    graph = create_speceyes(Agent().graph, speculator=small).compile(checkpointer=InMemorySaver())
    given = asked(block(image))
    assert graph.invoke(given, CONFIG)["decision"]["route"] == "bypass"
    assert graph.get_state(CONFIG).values["messages"][0].content == given["messages"][0].content
    sent = small.calls[0][0][0].content[0]
    data = sent.get("base64") or sent.get("data") or sent["image_url"]
    assert data == png() or base64.b64decode(str(data).rpartition(",")[2]) == png()


def test_the_agent_is_a_subgraph_that_langgraph_can_find(image: str) -> None:
    graph = create_speceyes(Agent().graph, speculator=speculator(0.01)).compile(checkpointer=InMemorySaver())
    assert [name for name, _ in graph.get_subgraphs()] == ["agent"]
    assert "agent\\3aact" in graph.get_graph(xray=True).draw_mermaid()
    namespaces = [ns for ns, _ in graph.stream(asked(image), CONFIG, stream_mode="updates", subgraphs=True)]
    assert any(ns and ns[0].startswith("agent:") for ns in namespaces)


async def test_a_trace_holds_the_phases_and_no_helpers_of_ours(image: str) -> None:
    graph = create_speceyes(Agent().graph, speculator=speculator(0.01), judge=judge(0.2)).compile(name="speceyes")
    started = [
        (len(e["parent_ids"]), e["name"])
        async for e in graph.astream_events(asked(image), version="v2")
        if e["event"].endswith("_start")
    ]
    assert started == [
        (0, "speceyes"),
        (1, "intake"),
        (1, "judge"),
        (2, "judge model"),
        (1, "speculate"),
        (2, "speculator"),
        (1, "gate"),
        (1, "agent"),
        (2, "LangGraph"),
        (3, "act"),
    ]


def test_a_second_turn_starts_with_clean_records(image: str) -> None:
    small = speculator()
    graph = create_speceyes(Agent().graph, speculator=small, judge=judge(0.2)).compile(checkpointer=InMemorySaver())
    assert graph.invoke(asked(image), CONFIG)["decision"]["route"] == "bypass"
    small.content = None
    stopped = graph.invoke(asked(image, "And now?"), CONFIG, interrupt_before=["agent"])
    assert stopped["decision"] is None
    second = graph.invoke(None, CONFIG)
    assert second["decision"]["route"] == "fallback"
    assert [m.type for m in second["messages"]] == ["human", "ai", "human", "ai"]


def _truncated(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "cut.png").write_bytes(png((300, 300))[:120])
    return {"type": "image", "url": str(tmp_path / "cut.png")}


def _empty(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "empty.png").write_bytes(b"")
    return {"type": "image", "path": str(tmp_path / "empty.png")}


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda p: asked(str(p / "absent.png")), ImageError),
        (lambda p: asked(str(p)), ImageError),
        (lambda p: asked(_truncated(p)), ImageError),
        (lambda p: asked(_empty(p)), ImageError),
        (lambda p: asked({"type": "image", "base64": "%%%", "mime_type": "image/png"}), ImageError),
        (lambda p: asked("https://example.com/a.png"), ImageError),
        (lambda p: asked("../../etc/passwd"), ImageError),
        (lambda p: asked({"type": "image", "base64": base64.b64encode(png((3000, 30))).decode()}), ImageError),
    ],
)
def test_an_image_that_cannot_be_opened_is_the_agents_and_an_error_where_the_agent_opens_images(
    tmp_path: Path, image: str, make: Any, kind: type
) -> None:
    small, large, agent = speculator(), judge(0.2), Agent()
    policy = ImagePolicy(max_pixels=50_000, roots=(tmp_path,))
    graph = create_speceyes(agent.graph, speculator=small, judge=large, policy=policy).compile()
    decision = graph.invoke(make(tmp_path))["decision"]
    assert (decision["route"], decision["decided_by"]) == ("fallback", "intake")
    assert "image" in decision["reason"]
    assert len(agent.runs) == 1
    model = Scripted()
    own = create_visual_agent(model, tools=["crop"], protocol="deepeyes", policy=policy)
    for strict, behind in ((True, agent.graph), (False, own)):
        graph = create_speceyes(behind, speculator=small, judge=large, policy=policy, strict=strict).compile()
        with pytest.raises(kind) as caught:
            graph.invoke(make(tmp_path))
        assert caught.value.argument == "messages"  # type: ignore[attr-defined]
    assert not small.calls
    assert not large.calls
    assert not model.calls


@pytest.mark.parametrize("messages", [[], [SystemMessage("hi")], [AIMessage("hello")]])
def test_where_nothing_is_asked_the_agent_runs_as_alone(messages: list[Any]) -> None:
    agent = Agent()
    result = create_speceyes(agent.graph, speculator=speculator()).compile().invoke({"messages": messages})
    assert result["decision"]["reason"] == "nothing new is asked"
    assert [m.text for m in agent.runs[0]] == [m.text for m in messages]
    own = create_visual_agent(Scripted(), tools=["crop"], protocol="deepeyes")
    with pytest.raises(InputError):
        create_speceyes(own, speculator=speculator()).compile().invoke({"messages": messages})


class Other(TypedDict):
    question: str


def _other() -> StateGraph[Any, Any, Any, Any]:
    graph = StateGraph(Other)
    graph.add_node("act", lambda state: state)
    graph.add_edge(START, "act")
    return graph


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("agent", {"agent": _other()}),
        ("agent", {"agent": _other().compile()}),
        ("agent", {"agent": "nothing"}),
        ("speculator", {"speculator": "gpt"}),
        ("judge", {"judge": 3}),
        ("threshold", {"gate": 1.0}),
        ("threshold", {"gate": 0}),
        ("order", {"order": "both"}),
        ("judge_threshold", {"judge": judge(0.2), "judge_threshold": 1.5}),
        ("judge_threshold", {"judge_threshold": 0.5}),
        ("timeout_s", {"timeout_s": 0}),
        ("max_answer_tokens", {"max_answer_tokens": 0}),
        ("max_concurrent_agents", {"max_concurrent_agents": 0}),
    ],
)
def test_bad_arguments_are_named(argument: str, options: dict[str, Any]) -> None:
    agent = options.pop("agent", None) or Agent().graph
    with pytest.raises(ArgumentError) as caught:
        create_speceyes(agent, **({"speculator": speculator()} | options))
    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("argument", "options"), [("score", {"score": "max"}), ("k", {"k": 1}), ("threshold", {"threshold": 1})]
)
def test_bad_gates_are_named(argument: str, options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError) as caught:
        Gate(**options)
    assert caught.value.argument == argument


def test_a_gate_for_another_speculator_is_refused() -> None:
    class Named(Scripted):
        model_name: str = "small-b"

    with pytest.raises(GateMismatchError, match="small-a"):
        create_speceyes(Agent().graph, speculator=Named(), gate=Gate(speculator="small-a"))


class Batching(Scripted):
    """Notes who was announced, like a model that batches."""

    expected: set[str] = Field(default_factory=set)

    def expect(self, key: str) -> None:
        self.expected.add(key)

    def dismiss(self, key: str) -> None:
        self.expected.discard(key)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        assert kwargs["batch_key"] in self.expected
        if not self.error:
            # one that fails may fail before it has queued anything
            self.dismiss(kwargs["batch_key"])
        return super()._generate(messages, stop, run_manager, **kwargs)


@pytest.mark.parametrize("need", [0.1, 0.9])
@pytest.mark.parametrize("gap", [40.0, 0.01])
@pytest.mark.parametrize("order", ["judge_first", "speculate_first"])
@pytest.mark.parametrize("broken", [None, "judge", "speculator", "image"])
async def test_every_announced_call_is_made_or_called_off(
    image: str, need: float, gap: float, order: Any, broken: str | None
) -> None:
    small = Batching(content=speculator(gap).content, error="refused" if broken == "speculator" else None)
    large = Batching(content=judge(need).content, error="refused" if broken == "judge" else None)
    graph = create_speceyes(Agent().graph, speculator=small, judge=large, order=order).compile()
    given = asked("absent.png" if broken == "image" else image)
    for run in (graph.ainvoke(given), asyncio.to_thread(graph.invoke, given)):
        with contextlib.suppress(ImageError):
            await run
        assert small.expected == large.expected == set()


def test_slots_hold_over_several_graphs(image: str) -> None:
    slots, begun, done = Slots(2), list[None](), list[None]()
    most = 0

    class Slow(Agent):
        def __init__(self) -> None:
            super().__init__()

            def act(state: Any) -> dict[str, Any]:
                nonlocal most
                begun.append(None)
                # until all others are here or in the queue
                until(lambda: len(begun) + len(slots._queue) == 8)
                most = max(most, len(begun) - len(done))
                done.append(None)
                return {"messages": [AIMessage("slow")]}

            graph = StateGraph(self.graph.state_schema)
            graph.add_node("act", act)
            graph.add_edge(START, "act")
            self.graph = graph

    graphs = [
        create_speceyes(Slow().graph, speculator=speculator(0.01), max_concurrent_agents=slots).compile()
        for _ in range(2)
    ]

    async def main() -> None:
        await asyncio.gather(*(g.ainvoke(asked(image)) for g in graphs for _ in range(4)))

    asyncio.run(main())
    assert slots.peak == most == 2
