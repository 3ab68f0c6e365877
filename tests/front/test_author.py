"""A bypassed answer is signed with the name that the agent writes on its own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import create_react_agent
from PIL import Image
from pydantic import BaseModel

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes, image_question
from tests.scripted import Scripted, judge, speculator

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")


class Plain(Scripted):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


class Passing(AgentMiddleware[Any, Any, Any]):
    """Somebody's middleware between the bypass and the model."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request)

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request)


@tool
def look(at: str) -> str:
    """Look at a part."""
    return at


def by_hand(name: str | None) -> Any:
    """An agent whose graph has a name that is on none of its answers."""

    def model(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("from the agent")]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_edge(START, "model")
    return graph.compile(name=name)


MAKERS: dict[str, Any] = {
    "create_agent": lambda name: create_agent(Plain(), [look], name=name),
    "create_agent with middleware": lambda name: create_agent(Plain(), middleware=[Passing()], name=name),
    "create_react_agent": lambda name: create_react_agent(Plain(), [look], name=name),
    "by hand": by_hand,
}


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    Image.new("RGB", (40, 30)).save(tmp_path / "street.png")
    return {"messages": [image_question(str(tmp_path / "street.png"), "What colour is it?")]}


def settings(need: float) -> dict[str, Any]:
    return {"speculator": speculator(), "judge": judge(need)}


@pytest.mark.parametrize("name", ["looker", None])
@pytest.mark.parametrize("kind", MAKERS)
async def test_around_an_agent(asked: Any, kind: str, name: str | None) -> None:
    own = MAKERS[kind](name).invoke(asked)["messages"][-1].name
    assert own == (None if kind == "by hand" else name)
    for need, route in ((0.1, "bypass"), (0.9, "fallback")):
        graph = create_speceyes(MAKERS[kind](name), **settings(need)).compile(name="around")
        for result in (graph.invoke(asked), await graph.ainvoke(asked)):
            assert (result["decision"]["route"], result["messages"][-1].name) == (route, own)


@pytest.mark.parametrize("name", ["looker", None])
@pytest.mark.parametrize("others", [[], [Passing()]])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_within_an_agent(asked: Any, name: str | None, others: list[Any], asynchronous: bool) -> None:
    agent = create_agent(Plain(), [look], name=name, middleware=[SpecEyesMiddleware(**settings(0.1)), *others])
    # what an agent's first model call shows is known from then on
    for _ in range(2):
        result = await agent.ainvoke(asked) if asynchronous else agent.invoke(asked)
        assert (result["decision"]["route"], result["messages"][-1].name) == ("bypass", name)


class Colour(BaseModel):
    colour: str


@pytest.mark.parametrize("name", ["looker", None])
def test_within_an_agent_whose_model_is_never_called(asked: Any, name: str | None) -> None:
    within = SpecEyesMiddleware(**settings(0.1), response_format=Colour)
    result = create_agent(Plain(), middleware=[within], response_format=Colour, name=name).invoke(asked)
    assert (result["structured_response"], result["messages"][-1].name) == (Colour(colour="blue"), name)


@pytest.mark.parametrize("name", ["looker", None])
def test_within_an_agent_that_another_one_calls(asked: Any, name: str | None) -> None:
    worker = create_agent(Plain(), middleware=[SpecEyesMiddleware(**settings(0.1))], name=name)
    said = []

    class Calling(AgentMiddleware[Any, Any, Any]):
        def before_agent(self, state: Any, runtime: Any) -> None:
            said.append(worker.invoke(asked)["messages"][-1].name)

    create_agent(Plain(), middleware=[Calling()], name="boss").invoke(asked)
    assert said == [name]


def test_in_messages_that_are_dictionaries(asked: Any) -> None:
    class Dicts(TypedDict):
        messages: Annotated[list[Any], lambda old, new: [*old, *new]]

    def call(name: str) -> Any:
        def model(state: Dicts) -> dict[str, Any]:
            answer = AIMessage("from the agent")
            answer.name = name
            return {"messages": [{"role": "assistant", "content": answer.text, "name": answer.name}]}

        return model

    agent = StateGraph(Dicts)
    agent.add_node("model", call("looker"))
    agent.add_edge(START, "model")
    message = asked["messages"][0]
    given = {"messages": [{"role": "user", "content": message.content}]}
    result = create_speceyes(agent, **settings(0.1)).compile().invoke(given)
    assert result["messages"][-1] == {"role": "assistant", "content": "blue", "name": "looker"}
