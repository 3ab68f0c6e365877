"""A look that the small model directs with a tool call of its own."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from PIL import Image
from pydantic import BaseModel, Field

from langgraph_speceyes import ImagePolicy, create_speceyes, image_question
from langgraph_speceyes.agent import ToolSpec
from langgraph_speceyes.agent.tools import Observation as Seen
from langgraph_speceyes.errors import ArgumentError, ImageError, LookError
from langgraph_speceyes.images import load_image, parse_reference, source
from langgraph_speceyes.looks import Sight, observed, own_calls
from tests.scripted import Agent, Scripted, peaked


@pytest.fixture(params=["sync", "async"])
def take(request: pytest.FixtureRequest) -> Any:
    """Takes a look, in either form."""
    return (lambda look, sight: look(sight)) if request.param == "sync" else lambda look, s: asyncio.run(look.acall(s))


@pytest.fixture
def image(tmp_path: Path) -> str:
    Image.new("RGB", (200, 150), "teal").save(tmp_path / "image.png")
    return str(tmp_path / "image.png")


def sight(image: str, **policy: Any) -> Sight:
    return Sight((parse_reference(image),), "What is there?", ImagePolicy(**policy))


def call(name: str, number: int = 0, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "args": arguments, "id": f"call_{number}", "type": "tool_call"}


class Calling(Scripted):
    """Calls what it was given where it has tools, and answers where it has none: sure once it has seen a crop."""

    wants: list[dict[str, Any]] = Field(default_factory=list)
    text: str = ""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=tools)

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        if "tools" in kwargs or "tool_call" in str(messages[0].content):
            result = super()._generate(messages, *args, **kwargs)
            result.generations[0].message = AIMessage(self.text, tool_calls=self.wants)  # type: ignore[assignment]
            return result
        shown = sum(block["type"] == "image" for block in messages[-1].content)
        self.content = [peaked("blue", 64, 40.0 if shown > 1 else 0.01)]
        return super()._generate(messages, *args, **kwargs)


CROP = call("crop", bbox_2d=[10, 20, 110, 120])


def test_what_a_native_call_shows_is_the_observation(image: str, take: Any) -> None:
    model = Calling(wants=[CROP])
    look = own_calls(model)
    assert observed(take(look, sight(image))) == [{"type": "image", "url": f"{image}#xywh=10,20,100,100"}]
    ((messages, settings),) = model.calls
    assert [one["function"]["name"] for one in settings["tools"]] == ["crop", "zoom"]
    assert [block["type"] for block in messages[-1].content] == ["image", "text"]


def test_calls_written_as_text_are_read_by_their_protocol(image: str, take: Any) -> None:
    written = '<tool_call>{"name": "crop", "arguments": {"bbox_2d": [0, 0, 60, 50]}}</tool_call>'
    look = own_calls(Calling(text=written), protocol="deepeyes")
    assert observed(take(look, sight(image))) == [{"type": "image", "url": f"{image}#xywh=0,0,60,50"}]


def test_an_answer_instead_of_a_call_gives_nothing(image: str, take: Any) -> None:
    assert observed(take(own_calls(Calling(text="blue")), sight(image))) == []
    # in text, with the tags of an answer or without them
    for text in ("<answer>blue</answer>", "The star is not in view."):
        assert observed(take(own_calls(Calling(text=text), protocol="deepeyes"), sight(image))) == []


def test_no_more_calls_are_run_than_allowed(image: str, take: Any) -> None:
    wants = [call("crop", n, bbox_2d=[n, 0, 60 + n, 60]) for n in range(5)]
    for most in (1, 3):
        model = Calling(wants=wants)
        assert len(observed(take(own_calls(model, calls=most), sight(image)))) == most
        assert len(model.calls) == 1


def test_a_call_that_cannot_be_run_is_a_failed_look(image: str, take: Any) -> None:
    for wants in ([call("crop", bbox_2d=[900, 900, 950, 950])], [call("paint")], [call("crop", box="there")]):
        with pytest.raises(LookError, match="own_calls"):
            take(own_calls(Calling(wants=wants)), sight(image))
    # what another call shows is shown
    wants = [call("paint"), call("crop", 1, bbox_2d=[0, 0, 50, 50])]
    assert len(observed(take(own_calls(Calling(wants=wants), calls=2), sight(image)))) == 1


@pytest.mark.parametrize(
    "lines",
    [["80 wide"], ["Password: hunter2", "token=0123456789abcdef"], [f"word {n} of the page" for n in range(400)]],
)
def test_text_that_a_tool_reads_is_an_observation(image: str, take: Any, lines: list[str]) -> None:
    class Reads:
        def read(self, image: Image.Image) -> list[str]:
            return lines

    model = Calling(wants=[call("ocr", bbox_2d=[0, 0, 80, 50])])
    found = observed(take(own_calls(model, tools=["ocr"], reader=Reads()), sight(image)))
    # as it stands there: the agent's model is shown no less
    assert [block["text"] for block in found if block["type"] == "text"] == ["\n".join(lines)]


def test_all_that_one_call_shows_is_observed(image: str, take: Any) -> None:
    class Both(BaseModel):
        pass

    halves = [f"{image}#xywh=0,0,100,150", f"{image}#xywh=100,0,100,150"]
    both = ToolSpec(
        "both", "Shows both halves.", Both, lambda _, view: Seen("halves", (*map(parse_reference, halves),))
    )
    found = observed(take(own_calls(Calling(wants=[call("both")]), tools=[both]), sight(image)))
    assert found == [*({"type": "image", "url": url} for url in halves), {"type": "text", "text": "halves"}]


def test_the_policy_holds_for_its_tools(image: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ImageError):
        own_calls(Calling(wants=[CROP]))(sight(image, roots=(inside,)))


def test_only_tools_that_need_no_graph(image: str) -> None:
    @tool
    def paint() -> str:
        """Paint."""
        return "painted"

    with pytest.raises(ArgumentError, match="tools"):
        own_calls(Calling(), tools=[paint])  # type: ignore[list-item]
    # code has variables from one step to the next, and there is one step
    for protocol in ("native", "thyme"):
        with pytest.raises(ArgumentError, match="tools"):
            own_calls(Calling(), tools=["code"], protocol=protocol)
    for calls in (0, True, 1.5):
        with pytest.raises(ArgumentError, match="calls"):
            own_calls(Calling(), calls=calls)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="model"):
        own_calls(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_small_model_zooms_once_and_answers(image: str, asynchronous: bool) -> None:
    small = Calling(wants=[call("zoom", bbox_2d=[10, 20, 110, 120])])
    graph = create_speceyes(Agent().graph, speculator=small, looks=[own_calls(small)]).compile()
    given = {"messages": [image_question(image, "What colour?")]}
    streamed = [part async for part in graph.astream(given, stream_mode="messages")] if asynchronous else []
    result = await graph.ainvoke(given) if asynchronous else graph.invoke(given)
    decision = result["decision"]
    assert (decision["depth"], decision["depths"][1]["look"], decision["depths"][1]["images"]) == (1, "own_calls", 1)
    assert len(result["messages"]) == 2
    # what it says on the way is no message of the graph
    assert all(not message.tool_calls for message, _ in streamed)


def test_it_looks_no_oftener_than_there_are_looks(image: str) -> None:
    class Insisting(Calling):
        def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
            result = super()._generate(messages, *args, **kwargs)
            if "tools" not in kwargs:
                # it would rather look again than answer
                result.generations[0].message = AIMessage("", tool_calls=[CROP])
            return result

    small = Insisting(wants=[CROP])
    agent = Agent()
    graph = create_speceyes(agent.graph, speculator=small, looks=[own_calls(small)] * 2).compile()
    decision = graph.invoke({"messages": [image_question(image, "What colour?")]})["decision"]
    assert (decision["route"], len(decision["depths"]), len(agent.runs)) == ("fallback", 3, 1)
    # three answers asked for, two looks
    assert len(small.calls) == 5


def test_a_hosted_model_calls_on_the_smaller_picture_and_is_shown_the_original(tmp_path: Path, take: Any) -> None:
    Image.effect_noise((800, 600), 80).convert("RGB").save(tmp_path / "large.png")
    model = Calling(wants=[CROP])
    seen = Sight((parse_reference(str(tmp_path / "large.png")),), "What is there?", front_pixels=400 * 300)
    (block,) = observed(take(own_calls(model), seen))
    # it was sent half the width and height, and what it called for is the same place at twice that
    assert block["url"].endswith("large.png#xywh=20,40,200,200")
    ((messages, _),) = model.calls
    assert load_image(messages[-1].content[0]).size == (400, 300)  # type: ignore[arg-type]


def test_a_hosted_model_that_fetches_the_image_itself_calls_on_the_original(
    take: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO()
    Image.effect_noise((800, 600), 80).convert("RGB").save(data, "PNG")
    monkeypatch.setattr(source, "fetch", lambda *_: data.getvalue())
    url, policy = "https://example.com/large.png", ImagePolicy(allow_remote=True)
    model = Calling(wants=[CROP])
    seen = Sight((parse_reference(url),), "What is there?", policy, front_pixels=400 * 300)
    (block,) = observed(take(own_calls(model), seen), policy)
    ((messages, _),) = model.calls
    assert messages[-1].content[0] == {"type": "image", "url": url}
    assert block["url"] == f"{url}#xywh=10,20,100,100"
