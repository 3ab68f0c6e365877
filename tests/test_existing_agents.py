"""Agents that someone else has built, of every kind, behind the bypass: what they could do alone they still can."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt
from PIL import Image
from pydantic import BaseModel

from langgraph_speceyes import Prompts, create_speceyes, create_visual_agent, image_question
from langgraph_speceyes.errors import ArgumentError, InputError
from tests.scripted import Scripted, judge, peaked, speculator

CONFIG: Any = {"configurable": {"thread_id": "1"}}
REJECTED = 0.01


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "one.png")
    return str(tmp_path / "one.png")


def agent(schema: type[Any], *nodes: Any, **options: Any) -> StateGraph[Any, Any, Any, Any]:
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(schema, **options)
    previous = START
    for index, node in enumerate(nodes):
        graph.add_node(f"step{index}", node)
        graph.add_edge(previous, f"step{index}")
        previous = f"step{index}"
    graph.add_edge(previous, END)
    return graph


class Notes(MessagesState):
    user: str
    notes: Annotated[list[str], operator.add]
    verdict: str
    query: str


class NotesModel(BaseModel):
    messages: Annotated[list[Any], operator.add]
    user: str = "nobody"
    notes: Annotated[list[str], operator.add] = []


def take_notes(state: Any) -> dict[str, Any]:
    user = state["user"] if isinstance(state, dict) else state.user
    return {"messages": [AIMessage(f"for {user}")], "notes": ["looked"]}


@pytest.mark.parametrize("gap", [40.0, REJECTED])
def test_state_keys_reducers_and_names_stay_the_agents(picture: str, gap: float) -> None:
    def act(state: Notes) -> dict[str, Any]:
        return {**take_notes(state), "verdict": f"{state['query']}!"}

    graph = create_speceyes(agent(Notes, act), speculator=speculator(gap), follow_ups="bypass")
    thread = graph.compile(checkpointer=InMemorySaver())
    given = {"user": "Ada", "query": "q", "notes": ["begun"]}
    for turn in (1, 2):
        result = thread.invoke({"messages": [image_question(picture, "What?")], **given}, CONFIG)
        bypassed = result["decision"]["route"] == "bypass"
        assert bypassed == (gap > 1)
        # turn for turn what the agent alone would have: the reducer has seen each note once
        once = ["begun"] if bypassed else ["begun", "looked"]
        assert result["notes"] == once * turn
        assert result.get("verdict") == (None if bypassed else "q!")
        assert result["messages"][-1].text == ("blue" if bypassed else "for Ada")
        assert len(result["messages"]) == 2 * turn
    assert set(result) <= {"messages", "decision", "user", "notes", "verdict", "query"}


def test_pydantic_states_and_other_message_reducers(picture: str) -> None:
    graph = create_speceyes(agent(NotesModel, take_notes), speculator=speculator(REJECTED)).compile()
    result = graph.invoke({"messages": [image_question(picture, "What?")]})
    assert [m.type for m in result["messages"]] == ["human", "ai"]
    assert result["notes"] == ["looked"]
    assert result["messages"][-1].response_metadata["speceyes"]["route"] == "fallback"


class Narrow(TypedDict):
    messages: list[AnyMessage]


def test_private_keys_of_the_agent_stay_private(picture: str) -> None:
    class Inner(MessagesState):
        scratch: str

    def act(state: Inner) -> dict[str, Any]:
        return {"scratch": "mine", "messages": [AIMessage("done")]}

    inner = agent(Inner, act, input_schema=MessagesState, output_schema=MessagesState)
    graph = create_speceyes(inner, speculator=speculator(REJECTED)).compile(checkpointer=InMemorySaver())
    result = graph.invoke({"messages": [image_question(picture, "What?")]}, CONFIG)
    assert set(result) == {"messages", "decision"}
    # as alone: what it keeps to itself is in the thread's state, and there again in its next turn
    assert graph.get_state(CONFIG).values["scratch"] == "mine"


def steps(state: MessagesState) -> dict[str, Any]:
    """An agent that calls a tool before it answers."""
    call = {"name": "look", "args": {"x": 1}, "id": "c1", "type": "tool_call"}
    return {
        "messages": [
            AIMessage("", tool_calls=[call]),  # type: ignore[list-item]
            ToolMessage("a bus", tool_call_id="c1", name="look"),
            AIMessage("A bus.", usage_metadata={"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}),
        ]
    }


@pytest.mark.parametrize(
    ("mode", "kinds"), [("full_history", ["human", "ai", "tool", "ai"]), ("last_message", ["human", "ai"])]
)
def test_the_agents_messages_become_the_threads(picture: str, mode: Any, kinds: list[str]) -> None:
    graph = create_speceyes(agent(MessagesState, steps), speculator=speculator(REJECTED), output_mode=mode).compile()
    result = graph.invoke({"messages": [image_question(picture, "What?")]})
    assert [m.type for m in result["messages"]] == kinds
    (call,) = result["decision"]["tool_calls"]
    assert (call["tool"], call["arguments"], call["text"]) == ("look", {"x": 1}, "a bus")
    assert result["decision"]["tokens"]["agent"] == {"input": 5, "output": 2}
    signed = [m for m in result["messages"] if "speceyes" in m.response_metadata]
    assert signed == [result["messages"][-1]]


def test_an_agent_that_removes_messages_has_removed_them(picture: str) -> None:
    def forget(state: MessagesState) -> dict[str, Any]:
        last = state["messages"][-1]
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), last, AIMessage("fresh start")]}

    graph = create_speceyes(agent(MessagesState, forget), speculator=speculator(REJECTED))
    thread = graph.compile(checkpointer=InMemorySaver())
    for _ in range(3):
        result = thread.invoke({"messages": [image_question(picture, "What?")]}, CONFIG)
    assert [m.type for m in result["messages"]] == ["human", "ai"]
    assert result["messages"][-1].text == "fresh start"


@dataclass
class Context:
    language: str


def test_context_store_config_and_streams_reach_the_agent(picture: str) -> None:
    def act(state: MessagesState, runtime: Runtime[Context], config: RunnableConfig) -> dict[str, Any]:
        assert runtime.store is not None
        item = runtime.store.get(("users",), "ada")
        runtime.stream_writer({"progress": "looking"})
        name = item.value["name"] if item else None
        return {"messages": [AIMessage(f"{runtime.context.language} {name} {config['configurable']['extra']}")]}

    store = InMemoryStore()
    store.put(("users",), "ada", {"name": "Ada"})
    graph = create_speceyes(agent(MessagesState, act, context_schema=Context), speculator=speculator(REJECTED))
    compiled = graph.compile(store=store)
    given = {"messages": [image_question(picture, "What?")]}
    config: Any = {"configurable": {"extra": "x"}}
    result = compiled.invoke(given, config, context={"language": "en"})  # type: ignore[arg-type]
    assert result["messages"][-1].text == "en Ada x"
    streamed = list(
        compiled.stream(given, config, context=Context("de"), stream_mode=["custom", "messages"], subgraphs=True)
    )
    assert ({"progress": "looking"}) in [data for _, mode, data in streamed if mode == "custom"]
    assert "de Ada x" in [data[0].text for _, mode, data in streamed if mode == "messages"]


@pytest.mark.parametrize("own", [None, True, False, "saver"])
async def test_checkpointers_of_every_kind(picture: str, own: Any) -> None:
    saver = InMemorySaver() if own == "saver" else own
    looking = agent(MessagesState, steps).compile(checkpointer=saver, name="mine")
    graph = create_speceyes(looking, speculator=speculator(REJECTED)).compile(checkpointer=InMemorySaver())
    for turn in (1, 2):
        result = await graph.ainvoke({"messages": [image_question(picture, "What?")]}, CONFIG)
        assert [m.type for m in result["messages"]] == ["human", "ai", "tool", "ai"] * turn
    alone = create_speceyes(looking, speculator=speculator(REJECTED)).compile()
    if own is True:
        # LangGraph itself keeps such an agent from running without a parent's checkpointer
        return
    result = alone.invoke({"messages": [image_question(picture, "What?")]}, {"configurable": {"thread_id": "9"}})
    assert result["messages"][-1].text == "A bus."


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_interrupt_of_the_agent_stops_the_run_and_resumes(picture: str, asynchronous: bool) -> None:
    began: list[int] = []

    def act(state: MessagesState) -> dict[str, Any]:
        began.append(1)
        return {"messages": [AIMessage(f"They said {interrupt('may I look?')}")]}

    small = speculator(REJECTED)
    graph = create_speceyes(agent(MessagesState, act), speculator=small, max_concurrent_agents=1)
    thread = graph.compile(checkpointer=InMemorySaver())
    given: Any = {"messages": [image_question(picture, "What?")]}
    stopped = await thread.ainvoke(given, CONFIG) if asynchronous else thread.invoke(given, CONFIG)
    assert [i.value for i in stopped["__interrupt__"]] == ["may I look?"]
    resume: Any = Command(resume="yes")
    result = await thread.ainvoke(resume, CONFIG) if asynchronous else thread.invoke(resume, CONFIG)
    assert result["messages"][-1].text == "They said yes"
    assert result["decision"]["route"] == "fallback"
    assert len(small.calls) == 1


def test_langchains_create_agent_keeps_its_structured_response_and_own_state(picture: str) -> None:
    class Answer(BaseModel):
        colour: str

    call = {"name": "Answer", "args": {"colour": "teal"}, "id": "1", "type": "tool_call"}

    class Fake(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    model = Fake(messages=iter([AIMessage("", tool_calls=[call])]))  # type: ignore[list-item]
    made = create_agent(model, [], response_format=Answer)
    graph = create_speceyes(made, speculator=speculator(REJECTED)).compile()
    result = graph.invoke({"messages": [image_question(picture, "What?")]})
    assert result["structured_response"] == Answer(colour="teal")
    graph.get_output_jsonschema()
    graph.get_input_jsonschema()


def test_a_plain_runnable_over_messages_is_an_agent(picture: str) -> None:
    said: Any = RunnableLambda(lambda state: {"messages": [*state["messages"], AIMessage("plain")]})
    graph = create_speceyes(said, speculator=speculator(REJECTED)).compile()
    assert graph.invoke({"messages": [image_question(picture, "What?")]})["messages"][-1].text == "plain"


class Files(TypedDict, total=False):
    image_path: str
    question: str
    answer: str
    sure: bool


def act_on_files(state: Files) -> dict[str, Any]:
    return {"answer": f"looked at {Path(state['image_path']).name}", "sure": True}


@pytest.mark.parametrize("gap", [40.0, REJECTED])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_another_state_through_two_functions(picture: str, gap: float, asynchronous: bool) -> None:
    small, large = speculator(gap), judge(0.1)
    graph = create_speceyes(
        agent(Files, act_on_files),
        speculator=small,
        judge=large,
        query_from_state=lambda state: image_question(state["image_path"], state["question"]),
        update_from_answer=lambda answer, state: {"answer": f"{state['question']} {answer.text}"},
    ).compile(checkpointer=InMemorySaver())
    given: Any = {"image_path": picture, "question": "Colour?"}
    result = await graph.ainvoke(given, CONFIG) if asynchronous else graph.invoke(given, CONFIG)
    if gap > 1:
        assert (result["answer"], result["decision"]["route"]) == ("Colour? blue", "bypass")
        assert "sure" not in result
    else:
        assert (result["answer"], result["sure"]) == ("looked at one.png", True)
        assert result["decision"]["route"] == "fallback"
    assert set(result) == {*given, "answer", "decision", *(["sure"] if gap < 1 else [])}
    assert small.calls[0][0][-1].text.startswith("Colour?")


def test_an_answer_may_fill_other_keys_beside_the_messages(picture: str) -> None:
    graph = create_speceyes(
        agent(Notes, take_notes),
        speculator=speculator(),
        update_from_answer=lambda answer, state: {"verdict": answer.text.upper()},
    ).compile()
    result = graph.invoke({"messages": [image_question(picture, "What?")], "user": "Ada"})
    assert (result["verdict"], result["messages"][-1].text) == ("BLUE", "blue")


def test_a_judge_can_be_shown_the_tools_of_any_agent(picture: str) -> None:
    tool = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {}}}
    large = Binding(content=[peaked("yes", 20, 1.0)])
    prompts = Prompts(judge_system="You look.", judge_tools=[tool])
    graph = create_speceyes(agent(MessagesState, steps), speculator=speculator(), judge=large, prompts=prompts)
    graph.compile().invoke({"messages": [image_question(picture, "What?")]})
    ((messages, kwargs),) = large.calls
    assert (messages[0].text, kwargs["tools"]) == ("You look.", [tool])


def test_an_agents_own_steps_are_no_tool_calls(picture: str) -> None:
    class Planned(MessagesState):
        steps: list[str]

    graph = create_speceyes(
        agent(Planned, lambda state: {"steps": ["think"], "messages": [AIMessage("done")]}),
        speculator=speculator(REJECTED),
    ).compile()
    result = graph.invoke({"messages": [image_question(picture, "What?")]})
    assert (result["steps"], result["decision"]["tool_calls"]) == (["think"], [])


@pytest.mark.parametrize("gap", [40.0, REJECTED])
def test_the_answer_is_signed_wherever_it_is_a_message(picture: str, gap: float) -> None:
    graph = create_speceyes(
        agent(Notes, take_notes),
        speculator=speculator(gap),
        query_from_state=lambda state: state["messages"],
        update_from_answer=lambda answer, state: {"messages": [answer]},
    ).compile()
    result = graph.invoke({"messages": [image_question(picture, "What?")], "user": "Ada"})
    assert result["messages"][-1].response_metadata["speceyes"] == result["decision"]


@pytest.mark.parametrize(
    ("functions", "says"),
    [
        ({"update_from_answer": lambda a, s: {"anwser": a.text}}, "update_from_answer: .*answer.*found anwser"),
        ({"update_from_answer": lambda a, s: a.text}, "update_from_answer: .*mapping"),
    ],
)
def test_functions_that_miss_the_state_are_named(picture: str, functions: dict[str, Any], says: str) -> None:
    right = {
        "query_from_state": lambda s: image_question(s["image_path"], s["question"]),
        "update_from_answer": lambda a, s: {"answer": a.text},
    }
    graph = other(**{**right, **functions}).compile()
    with pytest.raises(InputError, match=says):
        graph.invoke({"image_path": picture, "question": "Colour?"})


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (lambda s: s["path"], "query_from_state: .*KeyError: 'path'"),
        (lambda s: "what?", "query_from_state: .*found str"),
        (lambda s: image_question("absent.png", "?"), "query_from_state: .*absent.png"),
    ],
)
def test_a_query_that_cannot_be_read_is_the_agents_and_says_why(picture: str, query: Any, says: str) -> None:
    given = {"image_path": picture, "question": "Colour?"}
    functions = {"query_from_state": query, "update_from_answer": lambda a, s: {"answer": a.text}}
    decision = other(**functions).compile().invoke(given)["decision"]
    assert decision["route"] == "fallback"
    assert re.search(says, decision["reason"])
    with pytest.raises(InputError, match=says):
        other(**functions, strict=True).compile().invoke(given)


def other(**options: Any) -> Any:
    return create_speceyes(agent(Files, act_on_files), speculator=speculator(), **options)


def asks(state: Any) -> HumanMessage:
    return HumanMessage("?")


@entrypoint()
def functional(messages: list[Any]) -> str:
    return "done"


class Taken(MessagesState):
    judge: str


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (other, "agent: .*messages.*query_from_state.*found state keys answer, image_path, question, sure"),
        (lambda: other(query_from_state=asks), "update_from_answer"),
        (lambda: create_speceyes(functional, speculator=speculator()), "agent: .*state_schema"),
        (lambda: create_speceyes(agent(Taken, steps), speculator=speculator()), "agent: .*'judge'"),
        (lambda: create_speceyes("agent", speculator=speculator()), "agent: .*str"),  # type: ignore[arg-type]
        (
            lambda: create_speceyes(
                RunnableLambda(steps),
                speculator=speculator(),
                query_from_state=asks,
                update_from_answer=lambda a, s: {},
            ),
            "state_schema",
        ),
    ],
)
def test_what_cannot_be_adopted_is_refused_when_it_is_built(build: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        build()


class Binding(Scripted):
    """A model that remembers the tools it was given."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools, **kwargs)


@pytest.mark.parametrize("protocol", ["native", "deepeyes"])
def test_judge_and_agent_of_one_model_are_asked_alike_up_to_the_instruction(picture: str, protocol: str) -> None:
    large = Binding(content=[peaked("yes", 20, 1.0)], answer="<answer>blue</answer>")
    looking = create_visual_agent(large, protocol=protocol, instruction="Look.")
    graph = create_speceyes(looking.compile(), speculator=speculator(), judge=large, prompts=Prompts(judge="Tools?"))
    graph.compile().invoke({"messages": [image_question(picture, "What?")]})
    (judging, judged_with), (acting, acted_with) = large.calls
    assert judging[:-1] == acting[:-1]
    assert len(judging) == 2
    assert judged_with.get("tools") == acted_with.get("tools")
    assert bool(judged_with.get("tools")) == (protocol == "native")
    assert judging[-1].content[0] == acting[-1].content[0]
    ends = [m[-1].content[1]["text"].removeprefix("What?\n") for m in (judging, acting)]
    assert ends == ["Tools?", "Look."]


def test_a_judge_of_its_own_is_not_shown_the_agents_prompt(picture: str) -> None:
    large = judge(0.1)
    graph = create_speceyes(create_visual_agent(Binding()), speculator=speculator(), judge=large).compile()
    graph.invoke({"messages": [image_question(picture, "What?")]})
    assert len(large.calls[0][0]) == 1
