"""Every family against transformers: the same tokens and log-probabilities, or a refusal by name."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.errors import SpecEyesError
from tests.models.asking import CASES, CLOSE, SMALL, THIN, TOOL, Reference, asked, block, together, words
from tests.models.conftest import DEVICE, Families
from tests.models.families import FAMILIES, WORKING, Family

# transformers' own, about NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PAGE = Path(__file__).parents[2] / "docs" / "local-models.md"
BEGIN, END = "<!-- measured by tests/models/test_families.py -->", "<!-- end -->"
REFUSED = [title for title in FAMILIES if title not in WORKING]
ROUNDING = {torch.bfloat16: 0.25, torch.float16: 0.25 / 8}
"""Most that log-probabilities differ in half precision: two steps of a logit between 16 and 32."""
WRITE = bool(os.environ.get("SPECEYES_WRITE"))
HALVES = list(product(("sdpa", "eager"), ROUNDING))
if DEVICE == "cpu" and not WRITE:
    # the targets of the Makefile take all of them
    HALVES = HALVES[::3]


@pytest.fixture(scope="session")
def measured(families: Families) -> Any:
    """The largest difference of a family's answers from those it gives alone, or what else differs, by way and case."""

    return cache(lambda title: differences(families.chat(title), families.folder(title), FAMILIES[title]))


def differences(chat: LocalChatModel, folder: str, family: Family) -> dict[tuple[str, str], float | str]:
    reference = Reference(folder, family, DEVICE)
    bare = LocalChatModel.from_loaded(chat._engine.model, chat._engine.processor, cache_bytes=0)
    found: dict[tuple[str, str], float | str] = {}
    alone = {case: asked(chat, messages) for case, messages in CASES.items()}
    for case, messages in CASES.items():
        found["transformers", case] = alone[case].compare(reference(messages))
        found["repeated", case] = alone[case].compare(asked(chat, messages))
        if chat.capabilities.cached:
            found["without caches", case] = alone[case].compare(asked(bare, messages))
    chat.clear_caches()
    for case, answer in zip(CASES, together(chat, list(CASES.values())), strict=True):
        found["batch", case] = alone[case].compare(answer)
    if chat.capabilities.tools == "by the template":
        with_tools = asked(chat, CASES["image"], tools=[TOOL])
        found["transformers", "tools"] = with_tools.compare(reference(CASES["image"], [TOOL]))
        assert with_tools.prompt > alone["image"].prompt
    return found


@pytest.mark.parametrize("title", WORKING)
def test_a_family_answers_as_transformers_does(measured: Any, title: str) -> None:
    wrong = {key: how for key, how in measured(title).items() if isinstance(how, str) or how > CLOSE}
    assert not wrong


@pytest.mark.parametrize("title", REFUSED)
def test_a_family_that_cannot_be_right_is_refused_by_name(families: Families, title: str) -> None:
    with pytest.raises(SpecEyesError, match=FAMILIES[title].refused) as caught:
        families.chat(title)
    assert "\n" not in str(caught.value)


def test_smolvlm_is_right_where_its_library_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes numbers as words for videos only."""
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", str)
    family = replace(FAMILIES["SmolVLM"], refused="")
    folder = str(family.write(tmp_path))
    chat = LocalChatModel.from_pretrained(folder, device=DEVICE, dtype=torch.float32)
    wrong = {key: how for key, how in differences(chat, folder, family).items() if isinstance(how, str) or how > CLOSE}
    assert not wrong


@pytest.mark.parametrize("title", WORKING)
@pytest.mark.parametrize(("attention", "dtype"), HALVES)
def test_half_precision_says_the_same_alone_and_in_a_batch(
    families: Families, title: str, attention: str, dtype: torch.dtype
) -> None:
    chat = families.load(title, dtype=dtype, attn_implementation=attention)
    alone = [asked(chat, messages) for messages in CASES.values()]
    chat.clear_caches()
    same = 0
    for one, other in zip(alone, together(chat, list(CASES.values())), strict=True):
        for place, (token, logprobs) in enumerate(zip(one.tokens, one.logprobs, strict=True)):
            off = max(abs(a - b) for a, b in zip(logprobs, other.logprobs[place], strict=True))
            # not so of a number that is none
            assert off <= ROUNDING[dtype]
            if token != other.tokens[place]:
                # only rounding can have turned the order of the two strongest, and what follows is another text
                assert logprobs[0] - logprobs[1] <= 2 * off
                break
            same += 1
    assert same >= 0.9 * sum(len(one.tokens) for one in alone)
    chat.close()


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 4.0},
        {"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8},
        {"rope_type": "yarn", "factor": 4.0},
        {"rope_type": "linear", "factor": 4.0},
    ],
)
def test_scaled_positions_are_those_of_the_call_alone(families: Families, tmp_path: Path, rope: dict[str, Any]) -> None:
    """Some kinds depend on the longest prompt of a batch."""
    folder, most = shutil.copytree(families.folder("Qwen2.5-VL"), tmp_path / "scaled"), 64
    written = folder / "config.json"
    config = json.loads(written.read_text())
    config["text_config"]["rope_parameters"] |= rope | {"original_max_position_embeddings": most}
    config["text_config"]["max_position_embeddings"] = most if rope["rope_type"] == "dynamic" else 4 * most
    written.write_text(json.dumps(config))
    chat = LocalChatModel.from_pretrained(str(folder), device=DEVICE, dtype=torch.float32)
    assert chat.capabilities.cached == (rope["rope_type"] in ("yarn", "linear"))
    reference = Reference(str(folder), FAMILIES["Qwen2.5-VL"], DEVICE)
    prompts: list[list[BaseMessage]] = [[HumanMessage("red " * count)] for count in (30, 1, 10)]
    expected = [reference(prompt) for prompt in prompts]
    for answers in (together(chat, prompts), [asked(chat, prompt) for prompt in prompts]):
        for mine, theirs in zip(answers, expected, strict=True):
            difference = mine.compare(theirs)
            assert isinstance(difference, float), difference
            assert difference <= CLOSE


@pytest.mark.parametrize("title", WORKING)
def test_a_look_with_a_tool_is_shown_in_every_family(families: Families, title: str) -> None:
    chat = families.chat(title)
    call = {"name": "crop", "args": {"bbox": [1, 2, 3, 4], "why": "to see"}, "id": "call_1", "type": "tool_call"}
    conversation = [
        HumanMessage([block(SMALL), words("What?")]),
        AIMessage("", tool_calls=[call]),
        ToolMessage([block(THIN), words("a cut")], tool_call_id="call_1", name="crop"),
        ToolMessage("and a word", tool_call_id="call_1", name="crop"),
    ]
    text, images = chat.render(conversation, [TOOL])
    assert text.count(chat._renderer.image_token) == len(images) == 2
    after = text.partition("What?")[2]
    assert "Cut a region out." in text
    assert all(word in after for word in ("crop", "bbox", "to see", "a cut", "and a word"))
    # as text, not as the blocks that hold it
    assert '"type"' not in after
    assert "'type'" not in after
    # what the template wrote is what the reader reads
    read = chat._renderer.form.find(after, [TOOL])
    assert [(one["name"], one["args"]) for one in read] == [("crop", call["args"])]
    assert chat.invoke(conversation, tools=[TOOL], max_tokens=2).usage_metadata is not None


def test_the_page_shows_what_was_measured(families: Families, measured: Any) -> None:
    """`SPECEYES_WRITE=1` writes it."""
    lines = [
        "| family | is run | answers as transformers | tools | calls read as | thinking | sizes of images |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for title in WORKING:
        can = families.chat(title).capabilities
        worst = [how for how in measured(title).values() if isinstance(how, str) or how > CLOSE]
        cells = [
            "cached" if can.cached else f"plain: {can.plain_because}",
            f"no, in {len(worst)} of {len(measured(title))}" if worst else f"yes, in all {len(measured(title))}",
            *(can.tools, can.calls, can.thinking),
            f"{can.resize.kind}'s rule" if can.resize else "the processor's own",
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for title in REFUSED:
        with pytest.raises(SpecEyesError) as caught:
            families.chat(title)
        words = str(caught.value).replace(repr(families.folder(title)), "the checkpoint")
        lines.append(f"| {title} | refused: {words} | | | | | |")
    table = "\n".join(lines)
    page = PAGE.read_text()
    if WRITE:
        head, _, rest = page.partition(BEGIN)
        page = f"{head}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}"
        PAGE.write_text(page)
    assert table in page
