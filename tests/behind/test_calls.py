"""However the graph is called and whatever the agent is wrapped in, the agent fares as it does alone."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AnyMessage, ChatMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt
from PIL import Image
from pydantic import BaseModel

from langgraph_speceyes import SpecEyesMiddleware, create_funnel, create_speceyes, image_question
from langgraph_speceyes.errors import ArgumentError
from tests.agents_alone.threads import told
from tests.scripted import Scripted, judge, speculator

REJECTED = 0.01
CONFIG: Any = {"configurable": {"thread_id": "1"}}


class Notes(MessagesState):
    user: str
    count: int
    notes: Annotated[list[str], operator.add]


@dataclass
class Context:
    user: str = "nobody"


class ContextModel(BaseModel):
    user: str = "nobody"


class Kept(TypedDict, total=False):
    messages: list[AnyMessage]
    count: int


def graph(node: Callable[..., Any], **options: Any) -> StateGraph[Any, Any, Any, Any]:
    built: StateGraph[Any, Any, Any, Any] = StateGraph(Notes, **options)
    built.add_node("first", lambda state: {"notes": [f"for {state.get('user')}"]})
    built.add_node("act", node)
    built.add_edge(START, "first")
    built.add_edge("first", "act")
    return built


def counts(state: Notes) -> dict[str, Any]:
    count = state.get("count", 0) + 1
    return {"messages": [AIMessage(f"{count}, {state['notes']}")], "count": count}


def asks(state: Notes) -> dict[str, Any]:
    word = f"{interrupt('may I?')} {interrupt('sure?')}"
    return {"messages": [AIMessage(f"{word} {state['user']} {state['notes']} {len(state['messages'])}")]}


def changes(state: Notes) -> dict[str, Any]:
    """As some do, in place."""
    state["messages"][0].name = "Ada"
    return {"messages": [state["messages"][0], AIMessage("named")]}


def shows(state: Notes) -> dict[str, Any]:
    """With what a tool left beside its words, and no other value can be compared with."""
    word = interrupt("may I?")
    call: Any = {"name": "mask", "args": {}, "id": f"c{len(state['messages'])}"}
    shown = ToolMessage("masked", tool_call_id=call["id"], artifact=numpy.ones((2, 2)))
    return {"messages": [AIMessage("", tool_calls=[call]), shown, AIMessage(word)]}


def tells_context(runtime: Runtime[Any]) -> str:
    values = asdict(runtime.context) if isinstance(runtime.context, Context) else runtime.context.model_dump()
    return f"{values} in {type(runtime.context).__name__}"


def with_context(schema: type[Any]) -> StateGraph[Any, Any, Any, Any]:
    def tell(state: Notes, runtime: Runtime[Any]) -> dict[str, Any]:
        return {"messages": [AIMessage(tells_context(runtime))]}

    return graph(tell, context_schema=schema)


def retried() -> Any:
    return graph(counts).compile(checkpointer=InMemorySaver()).with_retry()


def replaced() -> Any:
    return graph(counts).compile(checkpointer=InMemorySaver()).with_fallbacks([graph(counts).compile()])


def silent() -> StateGraph[Any, Any, Any, Any]:
    """Writes nothing at all, as one does whose work is done elsewhere, or that leaves some questions alone."""
    built: StateGraph[Any, Any, Any, Any] = StateGraph(Notes)
    built.add_node("act", lambda state: None)
    built.add_edge(START, "act")
    return built


QUESTION = "a question"
AS_CHAT: Any = {"messages": "chat"}
FINE: Any = [(QUESTION, {}), (QUESTION, {})]
TOLD: Any = [
    ({"messages": QUESTION, "user": "Ada"}, {}),
    (Command(resume="yes", update={"user": "Bob", "notes": ["beside"], "messages": [HumanMessage("and")]}), {}),
    (Command(resume="yes", update={"messages": {"role": "user", "content": "and"}}), {}),
    (QUESTION, {}),
    (Command(resume="no"), {}),
    (Command(resume="no"), {}),
]
# an agent, and the calls of a thread: their inputs, and what is given beside them
CASES: dict[str, tuple[Callable[[], Any], Any]] = {
    "a context as a dict": (lambda: with_context(Context), [(QUESTION, {"context": {"user": "Ada"}})]),
    "a context model as a dict": (lambda: with_context(ContextModel), [(QUESTION, {"context": {"user": "Ada"}})]),
    "a context of its own": (lambda: with_context(Context), [(QUESTION, {"context": Context("Ada")})]),
    "a context that does not fit": (lambda: with_context(Context), [(QUESTION, {"context": {"other": 1}})]),
    "a low limit": (lambda: graph(counts), [(QUESTION, {"config": {"recursion_limit": 3}})]),
    "too low a limit": (lambda: graph(counts), [(QUESTION, {"config": {"recursion_limit": 2}})]),
    "no limit that could be": (lambda: graph(counts), [(QUESTION, {"config": {"recursion_limit": 0}})]),
    "durability": (lambda: graph(counts), [(QUESTION, {"durability": "sync"})]),
    "an update beside an answer": (lambda: graph(asks), TOLD),
    "nothing written": (silent, [({"messages": QUESTION, "user": "Ada", "notes": ["one"]}, {}), *FINE]),
    "messages changed in place": (lambda: graph(changes), FINE),
    "arrays beside messages": (lambda: graph(shows), [(QUESTION, {}), (Command(resume="yes"), {})] * 3),
    "a message of a role": (lambda: graph(counts), [(AS_CHAT, {}), (AS_CHAT, {})]),
    "with retries": (retried, FINE),
    "with another to fall back to": (replaced, FINE),
}


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "one.png")
    return str(tmp_path / "one.png")


async def outcome(graph: Any, picture: str, calls: Any, asynchronous: bool) -> Any:
    """What the last call came to, as far as the agent alone would leave it."""
    found: Any = None
    for given, options in calls:
        asked = {"messages": given} if given == QUESTION else given
        if isinstance(asked, dict):
            question: Any = image_question(picture, "What?")
            if given is AS_CHAT:
                question = ChatMessage(question.content, role="user", additional_kwargs={"by": "hand"})
            asked = {**asked, "messages": [question]}
        config = {**CONFIG, **options.get("config", {})}
        more = {key: value for key, value in options.items() if key != "config"}
        try:
            if asynchronous:
                found = await graph.ainvoke(asked, config, **more)
            else:
                found = graph.invoke(asked, config, **more)
        except Exception as error:
            return type(error).__name__
    return without_images(told(found))


def without_images(state: dict[str, Any]) -> dict[str, Any]:
    arrays = (one.get("artifact") for one in state["messages"])
    listed = [None if array is None else array.tolist() for array in arrays]
    messages = [
        {**one, "content": one["text"], "artifact": array} for one, array in zip(state["messages"], listed, strict=True)
    ]
    return {**state, "messages": messages}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("hedge", [False, True], ids=["in turn", "hedged"])
@pytest.mark.parametrize("case", CASES)
async def test_it_is_as_alone(picture: str, case: str, hedge: bool, asynchronous: bool) -> None:
    make, calls = CASES[case]
    alone = make()
    if isinstance(alone, StateGraph):
        alone = alone.compile(checkpointer=InMemorySaver())
    wrapped = create_speceyes(
        make(), speculator=speculator(REJECTED), judge=judge(0.1), hedge=hedge, follow_ups="bypass"
    )
    behind = wrapped.compile(checkpointer=InMemorySaver())
    expected = await outcome(alone, picture, calls, asynchronous)
    assert await outcome(behind, picture, calls, asynchronous) == expected


@pytest.mark.parametrize("schema", [Context, ContextModel])
def test_a_context_that_sets_the_run_is_the_agents_without_that(picture: str, schema: type[Any]) -> None:
    built = create_speceyes(with_context(schema), speculator=speculator())
    asked = {"messages": [image_question(picture, "What?")]}
    result = built.compile().invoke(asked, context={"user": "Ada", "speceyes_mode": "off"})
    assert (result["decision"]["mode"], result["messages"][-1].text) == (
        "off",
        f"{{'user': 'Ada'}} in {schema.__name__}",
    )


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_a_context_reaches_the_agent_through_the_funnel(picture: str, asynchronous: bool) -> None:
    built = create_speceyes(with_context(Context), speculator=speculator(REJECTED))
    funnel, given = create_funnel(built).compile(), {"queries": [[image_question(picture, "What?")]]}
    context: Any = {"user": "Ada"}
    found = await funnel.ainvoke(given, context=context) if asynchronous else funnel.invoke(given, context=context)
    assert found["outcomes"][0]["answer"] == "{'user': 'Ada'} in Context"


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_an_entrypoint_is_told_what_it_returned_before(picture: str, asynchronous: bool) -> None:
    def build() -> Any:
        @entrypoint(checkpointer=InMemorySaver())
        def count(given: dict[str, Any], *, previous: Any = None) -> Any:
            count = (previous or {}).get("count", 0) + 1
            return {"messages": [*given["messages"], AIMessage(str(count))], "count": count}

        return count

    behind = create_speceyes(build(), speculator=speculator(REJECTED), state_schema=Kept, follow_ups="bypass").compile()
    counts = [(await outcome(one, picture, FINE, asynchronous))["count"] for one in (build(), behind)]
    assert counts == [2, 2]
    with pytest.raises(ArgumentError, match="checkpoints of its own"):
        create_speceyes(build(), speculator=speculator(), state_schema=Kept, hedge=True)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_the_phases_of_the_middleware_have_room_of_their_own(picture: str, asynchronous: bool) -> None:
    within = SpecEyesMiddleware(speculator(), judge=judge(0.1))
    agent = create_agent(Scripted(), middleware=[within], checkpointer=InMemorySaver())
    # one step for each of its own nodes, as for any middleware
    calls = [(QUESTION, {"config": {"recursion_limit": 4}, "durability": "sync"})]
    found = await outcome(agent, picture, calls, asynchronous)
    assert found["messages"][-1]["text"] == "blue"


@pytest.mark.parametrize("way", ["abb", "bab", "aba"])
@pytest.mark.parametrize("hedge", [False, True], ids=["in turn", "hedged"])
async def test_a_thread_goes_on_where_the_bypass_is_put_in_front_and_taken_away(
    picture: str, way: str, hedge: bool
) -> None:
    saver = InMemorySaver()
    alone = graph(counts).compile(checkpointer=saver)
    behind = create_speceyes(graph(counts), speculator=speculator(REJECTED), follow_ups="bypass", hedge=hedge)
    sides = {"a": alone, "b": behind.compile(checkpointer=saver)}
    found = [await outcome(sides[side], picture, [(QUESTION, {})], False) for side in way]
    other = graph(counts).compile(checkpointer=InMemorySaver())
    assert found == [await outcome(other, picture, [(QUESTION, {})], False) for _ in way]
