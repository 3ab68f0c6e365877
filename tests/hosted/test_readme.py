"""README's snippet as somebody pastes it: an image by its path, models and a `create_agent` agent behind endpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langgraph_speceyes import Gate, SpecEyesMiddleware, image_question, visual_tools
from langgraph_speceyes.images import inline_images, load_image, parse_reference
from langgraph_speceyes.looks import Sight, observed, own_calls
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.server import ModelServer
from tests.docs.blocks import ROOT, read_page
from tests.docs.preludes import Translated, images

SMALL, LARGE = "Qwen/Qwen3-VL-2B-Instruct", "ChenShawn/DeepEyes-7B"
URLS = ("http://localhost:8000/v1", "http://localhost:8001/v1")
(SNIPPET,) = [block.code for block in read_page(ROOT / "README.md").blocks if "create_speceyes(my_agent" in block.code]
QUESTION = "What colour is the bus?"
Paste = Callable[[Any, str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def server(pair: Pair) -> Iterator[ModelServer]:
    """The embedded pair under the names in README, understanding the default prompts."""
    models = [
        Translated.of(model).model_copy(update={"model_name": name})
        for model, name in ((pair.speculator, SMALL), (pair.large, LARGE))
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with ModelServer(replace(pair, speculator=models[0], large=models[1])) as running:
        yield running
    torch.set_num_threads(threads)


@pytest.fixture
def model(server: ModelServer) -> Any:
    """The agent's model, as somebody makes it who knows nothing of this package."""
    return ChatOpenAI(model=LARGE, base_url=server.url, api_key=SecretStr("-"), temperature=0.0, max_tokens=96)


@pytest.fixture
def pasted(server: ModelServer, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paste:
    """Run the snippet beside an image of its name, with an agent and a question that the embedded pair understands."""
    images(pair, tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(my_agent: Any, image: str, question: str) -> Any:
        shutil.copy(image, "street.jpg")
        code = SNIPPET
        for written, meant in ((URLS[0], server.url), (URLS[1], server.url), (QUESTION, question)):
            assert code.count(written) == 1
            code = code.replace(written, meant)
        names: dict[str, Any] = {"my_agent": my_agent}
        exec(compile(code, "README.md", "exec", dont_inherit=True), names)
        return names

    return run


EASY = ("scene.png", "What color is the circle?")
HARD = ("label.png", "Which word is on the label?")


def test_the_gate_answers(pasted: Paste, model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = pasted(create_agent(model), *EASY)["result"]
    assert capsys.readouterr().out == "The circle is green. bypass\n"
    assert [message.content[0] for message in result["messages"][:1]] == [{"type": "image", "url": "street.jpg"}]


def test_the_agent_answers_as_it_does_alone(pasted: Paste, model: Any) -> None:
    names = pasted(create_agent(model), *HARD)
    result = names["result"]
    assert (result["decision"]["route"], result["decision"]["error"]) == ("fallback", None)
    # alone it has to be given the image itself
    (given,) = inline_images([image_question("street.jpg", HARD[1])])
    alone = create_agent(model).invoke({"messages": [given]})
    assert result["messages"][-1].text == alone["messages"][-1].text != ""
    # the thread keeps what the user wrote
    assert result["messages"][0].content[0] == {"type": "image", "url": "street.jpg"}


def test_so_does_the_middleware_of_the_table_below_it(pasted: Paste, model: Any, pair: Pair) -> None:
    names, large = pasted(create_agent(model), *HARD), cast("Any", pair.large)
    tools = visual_tools(coordinates="resized", resize=large.resize_rule)
    alone, agent = (
        create_agent(
            model,
            tools,
            middleware=[
                SpecEyesMiddleware(
                    names["small"],
                    judge=names["large"],
                    gate=Gate(threshold=0.97, k=20),
                    tool_images="user",
                    mode=mode,
                )
            ],
        )
        for mode in ("off", "on")
    )
    for image, question in (EASY, HARD):
        asked = {"messages": [image_question(image, question)]}
        result, expected = agent.invoke(asked), alone.invoke(asked)
        assert result["messages"][-1].text == expected["messages"][-1].text
        assert expected["messages"][-1].text.startswith("The circle is " if image == EASY[0] else "The label says ")
        assert result["decision"]["route"] == ("bypass" if image == EASY[0] else "fallback")


def test_a_hosted_model_looks_where_it_calls(server: ModelServer, model: Any, pair: Pair, tmp_path: Path) -> None:
    images(pair, tmp_path)
    large = cast("Any", pair.large)
    look = own_calls(model, tools=("crop", "zoom", "ocr"), coordinates="resized", resize=large.resize_rule)
    scene = parse_reference(str(tmp_path / HARD[0]))
    blocks = observed(look(Sight((scene,), HARD[1])))
    whole = load_image(scene)
    regions = [load_image(block) for block in blocks if block["type"] == "image"]
    # it goes where the label is, with a call that came over HTTP
    assert regions or any("GAMMA" in block["text"] for block in blocks)
    assert all(part.size != whole.size for part in regions)
    assert all(block["url"].startswith(f"{scene.uri}#xywh=") for block in blocks if block["type"] == "image")
