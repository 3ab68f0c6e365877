"""The bypass as middleware of `create_agent`: the same as around the agent, for the same inputs."""

from __future__ import annotations

import base64
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from PIL import Image
from pydantic import BaseModel, field_validator

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes, image_question, visual_tools
from langgraph_speceyes.agent import is_user
from langgraph_speceyes.errors import ArgumentError, PhaseError
from langgraph_speceyes.looks import tiles
from langgraph_speceyes.middleware import images_behind_tools
from tests.scripted import Scripted, judge, peaked, speculator

CONFIG: Any = {"configurable": {"thread_id": "1"}}
REJECTED = 0.01


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (400, 300), "teal").save(tmp_path / "one.png")
    return str(tmp_path / "one.png")


class Looking(Scripted):
    """Crops once, then answers."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools, **kwargs)

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        result = super()._generate(messages, *args, **kwargs)
        looked = any(
            isinstance(m, ToolMessage) for m in messages[max(i for i, m in enumerate(messages) if is_user(m)) :]
        )
        if not looked and kwargs.get("tools"):
            call = {"name": "crop", "args": {"bbox_2d": [10, 20, 110, 120]}, "id": f"c{len(messages)}"}
            result.generations[0].message = AIMessage("", tool_calls=[{**call, "type": "tool_call"}])  # type: ignore
        return result


def pair_of(options: dict[str, Any], saver: bool = False) -> tuple[Any, Any, Looking, Looking]:
    """The bypass around an agent, and within it; and the model of each."""
    tools = visual_tools(["crop"])
    outer, inner = Looking(answer="looked"), Looking(answer="looked")
    around = create_speceyes(create_agent(outer, tools), **options)
    within = create_agent(
        inner, tools, middleware=[SpecEyesMiddleware(**options)], checkpointer=InMemorySaver() if saver else None
    )
    return around.compile(checkpointer=InMemorySaver() if saver else None), within, outer, inner


def told(result: dict[str, Any]) -> Any:
    decision = {key: value for key, value in result["decision"].items() if key not in ("seconds", "tokens")}
    if "depths" in decision:
        decision["depths"] = [{**depth, "seconds": None} for depth in decision["depths"]]
    phases = set(result["decision"]["seconds"])
    tokens = result["decision"]["tokens"]
    messages = [(m.type, m.content, "speceyes" in m.response_metadata) for m in result["messages"]]
    return decision, phases, tokens, messages, set(result)


class Seeing(Scripted):
    """Sure of its answer once a function's look has shown something."""

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        sure = "here it is" in str(messages[-1].content)
        self.content = [peaked("blue", 64, 40.0 if sure else REJECTED)]
        return super()._generate(messages, *args, **kwargs)


def shown(image: str, question: str) -> str:
    return "here it is"


def broken(image: str, question: str) -> str:
    raise RuntimeError("the detector is down")


CASES: dict[str, Any] = {
    "accepted": lambda: {"speculator": speculator(), "judge": judge(0.1)},
    "rejected": lambda: {"speculator": speculator(REJECTED), "judge": judge(0.1)},
    "screened": lambda: {"speculator": speculator(), "judge": judge(0.9)},
    "no judge": lambda: {"speculator": speculator()},
    "speculator first": lambda: {"speculator": speculator(), "judge": judge(0.1), "order": "speculate_first"},
    "speculator broken": lambda: {"speculator": Scripted(error="refused"), "judge": judge(0.1)},
    "looked at, accepted": lambda: {"speculator": Seeing(), "judge": judge(0.1), "looks": [shown]},
    "screened and looked at": lambda: {"speculator": Seeing(), "judge": judge(0.9), "looks": [tiles(1, 2), shown]},
    "looked at, rejected": lambda: {"speculator": speculator(REJECTED), "judge": judge(0.1), "looks": [tiles(2, 2)]},
    "look broken": lambda: {"speculator": Seeing(), "judge": judge(0.1), "looks": [broken]},
    "judge broken": lambda: {"speculator": speculator(), "judge": Scripted(error="refused")},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_within_is_as_around(picture: str, case: str, asynchronous: bool) -> None:
    around, within, outer, inner = pair_of(CASES[case]())
    given = {"messages": [image_question(picture, "What?")]}
    found = [await g.ainvoke(given) if asynchronous else g.invoke(given) for g in (around, within)]
    assert told(found[0]) == told(found[1])
    assert len(outer.calls) == len(inner.calls) == (2 if found[0]["decision"]["route"] == "fallback" else 0)
    assert found[1]["messages"][-1].response_metadata["speceyes"] == found[1]["decision"]


@pytest.mark.parametrize("follow_ups", ["judge", "agent", "bypass"])
@pytest.mark.parametrize("judged", [True, False])
def test_threads_too(picture: str, follow_ups: Any, judged: bool) -> None:
    options = {
        "speculator": speculator(),
        "judge": judge(0.1) if judged else None,
        "follow_ups": follow_ups,
    }
    around, within, *_ = pair_of(options, saver=True)
    turns = [image_question(picture, "What?"), HumanMessage("And its size?"), image_question(picture, "And this?")]
    for turn in turns:
        one, two = (graph.invoke({"messages": [turn.model_copy()]}, CONFIG) for graph in (around, within))
        assert told(one) == told(two)


def test_nothing_private_is_returned_and_a_new_turn_begins_clean(picture: str) -> None:
    small = speculator()
    _, within, *_ = pair_of({"speculator": small, "follow_ups": "bypass"}, saver=True)
    first = within.invoke({"messages": [image_question(picture, "What?")]}, CONFIG)
    assert set(first) == {"messages", "decision"}
    small.content = None
    second = within.invoke({"messages": [image_question(picture, "What?")]}, CONFIG)
    assert (second["decision"]["route"], second["decision"]["score"]) == ("fallback", None)


def test_strict_raises_and_bad_choices_are_refused(picture: str) -> None:
    _, within, *_ = pair_of({"speculator": Scripted(error="refused"), "strict": True})
    with pytest.raises(PhaseError, match="refused"):
        within.invoke({"messages": [image_question(picture, "What?")]})
    with pytest.raises(ArgumentError, match="tool_images"):
        SpecEyesMiddleware(speculator(), tool_images="both")  # type: ignore[arg-type]


def test_events_and_phases_stream_from_within(picture: str) -> None:
    _, within, *_ = pair_of({"speculator": speculator(REJECTED), "judge": judge(0.1)})
    given = {"messages": [image_question(picture, "What?")]}
    seen = list(within.stream(given, stream_mode=["custom", "updates"], subgraphs=True))
    assert [d["event"] for _, mode, d in seen if mode == "custom"] == ["judge", "speculate", "gate", "decision"]
    nodes = [next(iter(d)) for _, mode, d in seen if mode == "updates"]
    assert nodes[:5] == ["intake", "judge", "speculate", "gate", "SpecEyesMiddleware.before_agent"]


def test_a_human_in_the_loop_of_the_agent_still_decides(picture: str) -> None:
    small = speculator(REJECTED)
    agent = create_agent(
        Looking(answer="looked"),
        visual_tools(["crop"]),
        middleware=[SpecEyesMiddleware(small), HumanInTheLoopMiddleware(interrupt_on={"crop": True})],
        checkpointer=InMemorySaver(),
    )
    stopped = agent.invoke({"messages": [image_question(picture, "What?")]}, CONFIG)
    assert stopped["__interrupt__"]
    assert stopped["decision"] is None
    result = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), CONFIG)
    assert result["messages"][-1].text == "looked"
    assert result["decision"]["tool_steps"] == 1
    assert len(small.calls) == 1


def test_other_middleware_sees_what_it_would_see_without(picture: str) -> None:
    class Witness(AgentMiddleware[Any, Any, Any]):
        seen: list[str]

        def before_agent(self, state: Any, runtime: Any) -> None:
            self.seen.append("before")

        def after_agent(self, state: Any, runtime: Any) -> None:
            self.seen.append(f"after {state['messages'][-1].text}")

    for gap, answer in ((40.0, "blue"), (REJECTED, "looked")):
        witness = Witness()
        witness.seen = []
        bypass = SpecEyesMiddleware(speculator(gap))
        for stack in ([witness, bypass], [bypass, witness]):
            agent = create_agent(Looking(answer="looked"), visual_tools(["crop"]), middleware=stack)
            agent.invoke({"messages": [image_question(picture, "What?")]})
        # what stands before the bypass always runs; what stands behind it only where the agent runs
        assert witness.seen[:2] == ["before", f"after {answer}"]


@pytest.mark.parametrize("place", ["tool", "user"])
def test_the_agents_model_gets_regions_as_data_where_it_takes_them(picture: str, place: Any) -> None:
    model = Looking(answer="looked")
    bypass = SpecEyesMiddleware(speculator(REJECTED), tool_images=place)
    agent = create_agent(model, visual_tools(["crop"]), middleware=[bypass])
    result = agent.invoke({"messages": [image_question(picture, "What?")]})
    # the state holds references, the model sees pixels
    assert result["messages"][2].content[0]["url"].endswith("#xywh=10,20,100,100")
    sent = model.calls[-1][0]
    holder = sent[-1]
    assert holder.type == ("tool" if place == "tool" else "human")
    (image,) = [b for b in holder.content if b["type"] == "image"]
    assert Image.open(io.BytesIO(base64.b64decode(image["base64"]))).size == (100, 100)
    assert result["decision"]["tool_calls"][0]["box"] == [10, 20, 110, 120]


def test_images_move_behind_the_results_of_one_turn() -> None:
    def result(name: str, *blocks: Any) -> ToolMessage:
        return ToolMessage(list(blocks), tool_call_id=name, name=name)

    image = {"type": "image", "url": "a.png"}
    messages = [HumanMessage("q"), AIMessage(""), result("a", image), result("b", {"type": "text", "text": "t"}, image)]
    moved = images_behind_tools([*messages, AIMessage("next")])
    assert [m.type for m in moved] == ["human", "ai", "tool", "tool", "human", "ai"]
    assert [b for b in moved[4].content if b["type"] == "image"] == [image, image]
    assert not any(b["type"] == "image" for m in moved[2:4] for b in m.content)
    assert images_behind_tools(moved) == moved
    assert messages[2].content == [image]


@pytest.mark.parametrize("waits", [False, True])
def test_only_a_persons_time_is_a_wait_for_a_person(picture: str, waits: bool) -> None:
    """A busy machine may pause between two steps for as long as it likes."""

    class Between(AgentMiddleware[Any, Any, Any]):
        def before_model(self, state: Any, runtime: Any) -> None:
            time.sleep(0.3)
            if waits and len(state["messages"]) > 1:
                interrupt("may I go on?")

    @tool
    def look() -> str:
        """Look again."""
        return "teal"

    model = Calling(content=[peaked("x", 20, 1.0)])
    bypass = SpecEyesMiddleware(speculator(REJECTED))
    agent: Any = create_agent(model, [look], middleware=[bypass, Between()], checkpointer=InMemorySaver())
    found = agent.invoke({"messages": [image_question(picture, "What?")]}, CONFIG)
    assert ("__interrupt__" in found) == waits
    if waits:
        found = agent.invoke(Command(resume=True), CONFIG)
    seconds = found["decision"]["seconds"]
    assert ("person" in seconds) == waits
    assert found["decision"]["tool_steps"] == 1


class Calling(Scripted):
    """Calls a tool first, and answers then."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _generate(self, messages: Any, *args: Any, **options: Any) -> Any:
        made = super()._generate(messages, *args, **options)
        if messages[-1].type == "human":
            call = {"name": "look", "args": {}, "id": "1"}
            made.generations[0].message = AIMessage("", tool_calls=[call])
        return made


class Formed(Looking):
    """Answers in the form that it is bound to."""

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        result = super()._generate(messages)
        call = {"name": kwargs["tools"][0].name, "args": {"colour": "red", "shape": "round"}, "id": "1"}
        result.generations[0].message = AIMessage("", tool_calls=[{**call, "type": "tool_call"}])  # type: ignore
        return result


class Known(BaseModel):
    """A form whose own check raises what is no `ValueError`."""

    colour: str

    @field_validator("colour")
    @classmethod
    def known(cls, value: str) -> str:
        return {"red": "red"}[value]


class Both(BaseModel):
    colour: str
    shape: str


def test_a_form_that_refuses_the_answer_leaves_it_to_the_agent(picture: str) -> None:
    bypass = SpecEyesMiddleware(speculator())
    agent = create_agent(Formed(), middleware=[bypass], response_format=ToolStrategy(Known))
    for _ in range(2):
        found = agent.invoke({"messages": [image_question(picture, "What?")]})
        assert (found["structured_response"], found["decision"]["route"]) == (Known(colour="red"), "fallback")


def test_a_form_that_is_learned_while_a_question_is_under_way(picture: str) -> None:
    asked, learned = threading.Event(), threading.Event()

    def wait() -> None:
        if not asked.is_set():
            asked.set()
            assert learned.wait(20)

    bypass = SpecEyesMiddleware(speculator(), judge=judge(0.1, before=wait), order="speculate_first")
    agent = create_agent(Formed(), middleware=[bypass], response_format=ToolStrategy(Both))
    given: Any = {"messages": [image_question(picture, "What?")]}
    with ThreadPoolExecutor(1) as pool:
        # its gate has accepted before the other's call tells the form, in which the answer is not
        slow = pool.submit(agent.invoke, given)
        assert asked.wait(20)
        found = [agent.invoke(given)]
        learned.set()
        found.append(slow.result(20))
    assert [one["structured_response"] for one in found] == [Both(colour="red", shape="round")] * 2
    assert [one["decision"]["route"] for one in found] == ["fallback"] * 2


def test_an_answer_that_another_middleware_throws_away_is_not_the_runs(picture: str) -> None:
    class Twice(AgentMiddleware[Any, Any, Any]):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            handler(request)
            return handler(request)

    agent = create_agent(Looking(answer="looked"), middleware=[Twice(), SpecEyesMiddleware(speculator())])
    found = agent.invoke({"messages": [image_question(picture, "What?")]})
    assert (found["messages"][-1].text, found["decision"]["route"]) == ("looked", "fallback")
    assert found["messages"][-1].response_metadata["speceyes"] == found["decision"]
