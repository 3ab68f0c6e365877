from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from PIL import Image

from langgraph_speceyes import Slots, create_funnel, create_speceyes, create_visual_agent, image_question
from langgraph_speceyes.errors import ArgumentError
from tests.scripted import Agent, Scripted, peaked, speculator
from tests.waiting import PATIENCE_S, auntil


class ByQuestion(Scripted):
    """Stands clear of its competitors where the question says so."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        answer = messages[-1].content[-1]["text"].split("\n")[0]
        content = [peaked(answer, 64, 40.0 if "easy" in answer else 0.01)]
        # a model of its own for each call: they run on threads
        return Scripted(answer=answer, content=content)._generate(messages)


@pytest.fixture
def image(tmp_path: Path) -> str:
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def asked(image: str, text: str) -> list[Any]:
    return [HumanMessage([{"type": "image", "url": image}, {"type": "text", "text": text}])]


async def test_outcomes_keep_the_order_of_the_input_and_failures_stay_where_they_are(image: str) -> None:
    graph = create_funnel(create_speceyes(Agent().graph, speculator=ByQuestion())).compile()
    queries = [
        asked(image, "easy 0"),
        asked("absent.png", "easy 1"),
        asked(image, "hard 2"),
        [],
        asked(image, "easy 4"),
    ]
    for result in (graph.invoke({"queries": queries}), await graph.ainvoke({"queries": queries})):
        found = result["outcomes"]
        assert [o["index"] for o in found] == [0, 1, 2, 3, 4]
        assert [o["answer"] for o in found] == ["easy 0", *["from the agent"] * 3, "easy 4"]
        assert [o["decision"]["route"] for o in found] == ["bypass", *["fallback"] * 3, "bypass"]
    own = create_visual_agent(Scripted(answer="<answer>blue</answer>"), tools=["crop"], protocol="deepeyes")
    graph = create_funnel(create_speceyes(own, speculator=ByQuestion())).compile()
    for result in (graph.invoke({"queries": queries}), await graph.ainvoke({"queries": queries})):
        found = result["outcomes"]
        assert found[1]["error"].startswith("ImageError: messages")
        assert found[3]["error"].startswith("InputError: messages")
        assert [o["answer"] for o in found][::2] == ["easy 0", "blue", "easy 4"]


def test_a_second_run_of_a_thread_has_its_own_outcomes(image: str) -> None:
    graph = create_funnel(create_speceyes(Agent().graph, speculator=ByQuestion())).compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    first = graph.invoke({"queries": [asked(image, "easy 0"), asked(image, "hard 1")]}, config)
    second = graph.invoke({"queries": [asked(image, "easy 2")]}, config)
    assert [len(run["outcomes"]) for run in (first, second)] == [2, 1]
    assert second["outcomes"][0]["answer"] == "easy 2"


async def test_accepted_answers_arrive_while_others_are_in_the_agent(image: str) -> None:
    """The agent cannot end before the accepted answer has been seen by the caller."""
    seen = asyncio.Event()

    class Waiting(Agent):
        def __init__(self) -> None:
            super().__init__()
            from langchain_core.messages import AIMessage
            from langgraph.graph import START, MessagesState, StateGraph

            async def act(state: MessagesState) -> dict[str, Any]:
                await asyncio.wait_for(seen.wait(), PATIENCE_S)
                return {"messages": [AIMessage("from the agent")]}

            self.graph = StateGraph(MessagesState)
            self.graph.add_node("act", act)
            self.graph.add_edge(START, "act")

    graph = create_funnel(create_speceyes(Waiting().graph, speculator=ByQuestion())).compile()
    order = []
    async for update in graph.astream({"queries": [asked(image, "hard"), asked(image, "easy")]}, stream_mode="updates"):
        for arrived in update.get("query", {}).get("arrived", []):
            order.append(arrived["index"])
            seen.set()
    assert order == [1, 0]


async def test_the_cap_on_agents_holds_inside_the_fan_out(image: str) -> None:
    slots = Slots(3)
    begun = running = peak = 0

    class Counting(Agent):
        def __init__(self) -> None:
            super().__init__()
            from langchain_core.messages import AIMessage
            from langgraph.graph import START, MessagesState, StateGraph

            async def act(state: MessagesState) -> dict[str, Any]:
                nonlocal begun, running, peak
                begun += 1
                running += 1
                # until all others are here or in the queue
                await auntil(lambda: begun + len(slots._queue) == 12)
                peak = max(peak, running)
                running -= 1
                return {"messages": [AIMessage("from the agent")]}

            self.graph = StateGraph(MessagesState)
            self.graph.add_node("act", act)
            self.graph.add_edge(START, "act")

    one = create_speceyes(Counting().graph, speculator=speculator(0.01), max_concurrent_agents=slots)
    await create_funnel(one).compile().ainvoke({"queries": [asked(image, f"q {i}") for i in range(12)]})
    assert peak == 3


def test_no_queries_give_no_outcomes() -> None:
    graph = create_funnel(create_speceyes(Agent().graph, speculator=speculator())).compile()
    assert graph.invoke({"queries": []}) == {"outcomes": []}


def test_queries_that_are_no_list_are_refused() -> None:
    graph = create_funnel(create_speceyes(Agent().graph, speculator=speculator())).compile()
    with pytest.raises(ArgumentError) as caught:
        graph.invoke({"queries": "what?"})
    assert caught.value.argument == "queries"


async def test_queries_may_be_whole_states_of_agents_with_other_keys(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")

    class Files(TypedDict, total=False):
        image_path: str
        answer: str

    agent = StateGraph(Files)
    agent.add_node("act", lambda state: {"answer": "looked"})
    agent.add_edge(START, "act")
    for gap, answer in ((40.0, "blue"), (0.01, "looked")):
        graph = create_speceyes(
            agent,
            speculator=speculator(gap),
            query_from_state=lambda state: image_question(state["image_path"], "What?"),
            update_from_answer=lambda said, state: {"answer": said.text},
        )
        found = await create_funnel(graph).compile().ainvoke({"queries": [{"image_path": str(tmp_path / "a.png")}] * 2})
        assert [o["state"]["answer"] for o in found["outcomes"]] == [answer] * 2
        assert [o["answer"] for o in found["outcomes"]] == [None, None]


def test_an_agent_may_keep_its_messages_as_dicts(image: str) -> None:
    class Plain(TypedDict):
        messages: list[Any]

    agent = StateGraph(Plain)
    agent.add_node("act", lambda state: {"messages": [*state["messages"], {"role": "assistant", "content": "looked"}]})
    agent.add_edge(START, "act")
    graph = create_funnel(create_speceyes(agent, speculator=speculator(0.01))).compile()
    (outcome,) = graph.invoke({"queries": [asked(image, "What?")]})["outcomes"]
    assert (outcome["answer"], outcome["error"]) == ("looked", None)
