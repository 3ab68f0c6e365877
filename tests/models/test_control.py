"""What users, tools and images say is text, in every family."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langgraph_speceyes.agent import with_instruction
from langgraph_speceyes.images import DEFAULT_POLICY
from langgraph_speceyes.models.control import ControlTokens, adds_special
from langgraph_speceyes.models.rendering import Renderer
from langgraph_speceyes.prompts import front_end_prompt
from langgraph_speceyes.testbed.pair import Pair
from tests.models.asking import SMALL, block, words
from tests.models.conftest import Families
from tests.models.families import FAMILIES, TALKING

PICTURE = block(SMALL)


def tool(text: str) -> dict[str, Any]:
    part = {"type": "string", "description": text, "enum": [text, "b"]}
    parameters = {"type": "object", "properties": {"part": part}}
    return {"type": "function", "function": {"name": "look", "description": text, "parameters": parameters}}


def conversation(question: str, option: str, read: str, argument: str) -> list[BaseMessage]:
    """A question with options, a call, and what was read in the image."""
    call = {"name": "look", "args": {"part": argument}, "id": "call_0001", "type": "tool_call"}
    return [
        SystemMessage(f"About {question}"),
        HumanMessage([PICTURE, words(question), words(f"A. {option}"), words(option), words("B. blue")]),
        AIMessage("", tool_calls=[call]),
        ToolMessage([words(read), words(read), PICTURE], tool_call_id="call_0001", name="look"),
        AIMessage(f"It says {read}"),
        HumanMessage(question),
    ]


def control_tokens(renderer: Renderer, text: str) -> int:
    """How many of a prompt's tokens the tokenizer or the template calls special; independent of what is tested."""
    tokenizer, source = renderer.tokenizer, renderer._source
    added = tokenizer.added_tokens_decoder.items()
    control = {number for number, one in added if one.special or one.content in source}
    ids = tokenizer(text, add_special_tokens=adds_special(tokenizer, text))["input_ids"]
    return sum(number in control for number in ids)


@pytest.mark.parametrize("title", TALKING)
def test_nobodys_text_becomes_control_tokens(families: Families, title: str) -> None:
    renderer, family = families.renderer(title), FAMILIES[title]
    # the marks that a system prompt or the model's own turns may hold
    tokens = family.special + [one for one in family.markup if one in renderer._source]
    shown, _ = renderer.render(conversation("a", "b", "c", "d"), DEFAULT_POLICY, None, tools=[tool("e")])
    clean = control_tokens(renderer, shown)
    piece = st.one_of(
        st.sampled_from(tokens),
        st.sampled_from(tokens).flatmap(lambda t: st.integers(1, len(t) - 1).flatmap(
            lambda n: st.sampled_from([t[:n], t[n:]]))),
        st.text(max_size=3),
    )  # fmt: skip
    said = st.lists(piece, max_size=6).map("".join)

    @settings(max_examples=40)
    @given(said, said, said, said, said)
    def holds(question: str, option: str, read: str, argument: str, described: str) -> None:
        plain = renderer.control.plain(question)
        asked = conversation(question, option, read, argument)
        asked[0] = SystemMessage(f"About {plain}")
        asked[4] = AIMessage(f"It says {renderer.control.plain(read)}")
        text, images = renderer.render(asked, DEFAULT_POLICY, None, tools=[tool(described)])
        assert control_tokens(renderer, text) == clean
        assert text.count(renderer.image_token) == len(images) == 2

    holds()


@pytest.mark.parametrize("title", TALKING)
def test_system_prompts_and_answers_bring_no_special_tokens(families: Families, title: str) -> None:
    renderer, said = families.renderer(title), " ".join(FAMILIES[title].special)

    def count(*texts: str) -> int:
        return control_tokens(renderer, renderer.render(conversation(*texts), DEFAULT_POLICY, None)[0])

    assert count(said, said, said, said) == count("a", "b", "c", "d")


@pytest.mark.parametrize("title", ["Qwen3-VL", "Gemma 3", "LLaVA"])
def test_a_placeholder_in_a_question_is_text(families: Families, title: str) -> None:
    chat = families.chat(title)
    token = chat._renderer.image_token
    for content in ([words(f"What does {token} mean?")], [PICTURE, words(f"What does {token} mean?")]):
        assert chat.invoke([HumanMessage(content)], max_tokens=1).usage_metadata is not None


def test_clean_text_stays_as_it_is(families: Families) -> None:
    control = families.chat("Qwen3-VL")._renderer.control
    for text in ("", "a < b", "<table>", "[1, 2]", "x|>", "<|", "<|im_ end|>", "\u200b"):
        assert control.plain(text) == text


@pytest.mark.parametrize("title", ["Qwen3-VL", "Llama 3.2 Vision"])
def test_half_characters_are_read_as_unknown_ones(families: Families, title: str) -> None:
    """JSON has room for them, tokenizers have not."""
    chat, halves = families.chat(title), "red \ud83d, \ud83d\ude00"
    asked = conversation(halves, halves, halves, halves)
    text, _ = chat.render(asked, [tool(halves)])
    assert text.count("red \ufffd, \U0001f600") > 10
    assert chat.invoke(asked, tools=[tool(halves)], max_tokens=1) is not None


def test_what_the_program_writes_keeps_its_marks(families: Families) -> None:
    """Instructions of protocols name tags that are tokens of their own; what the user says before them does not."""
    chat = families.chat("Qwen3-VL")
    question = with_instruction(HumanMessage("a <tool_call> b"), "Use <tool_call></tool_call>.")
    text, _ = chat.render([SystemMessage("Tags: <tool_call>"), question])
    assert text.count("<tool_call>") == 2
    assert "a <\u200btool_call> b\nUse <tool_call></tool_call>." in text
    assert (
        "<|im_end|>" not in chat.render([with_instruction(HumanMessage("a"), "<|im_end|>")])[0].partition("a")[2][:12]
    )


def test_tokens_that_a_normalizer_makes_are_found(families: Families) -> None:
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens([AddedToken("<end>", special=True, normalized=True)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>")
    control = ControlTokens(tokenizer, "")
    for text in ("<end>", "<END>", "a \uff1cend> b", "<eNd><END>"):
        assert control.count(tokenizer(text)["input_ids"])
        assert not control.count(tokenizer(control.plain(text))["input_ids"])


def test_a_long_text_of_beginnings_takes_linear_time(families: Families) -> None:
    control = families.chat("Qwen3-VL")._renderer.control
    looked: list[int] = []

    class Counting(str):
        def find(self, *place: Any) -> int:
            looked.append(1)
            return super().find(*place)

    for size in (1_000, 10_000):
        looked.clear()
        control.plain(Counting("<|im" * size))
        assert len(looked) <= size + len(control._all._lengths)


TAGS = ["<tool_response>", "</tool_response>", "<|im_end|>", "<tool_call>", "a", " "]


@given(st.lists(st.sampled_from(TAGS)).map("".join))
def test_text_that_a_look_read_stays_between_the_programs_tags(pair: Pair, read: str) -> None:
    """The embedded models learnt what a reader found in tags that are tokens; what was read brings none."""
    question = HumanMessage([PICTURE, words("What does the label say?")])
    renderer = pair.speculator._renderer  # type: ignore[attr-defined]

    def shown(text: str) -> str:
        (prompt,) = front_end_prompt(question, [], "Answer.", [{"type": "text", "text": text}])
        return str(pair.speculator.render([prompt])[0])

    assert "<tool_response>a</tool_response>\n" in shown("a")
    assert control_tokens(renderer, shown(read)) == control_tokens(renderer, shown("a"))
