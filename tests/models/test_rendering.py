"""What becomes of conversations that a template cannot show as they are."""

from __future__ import annotations

import functools
import json
import operator
from copy import copy
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import DEFAULT_POLICY
from langgraph_speceyes.models.rendering import Renderer
from tests.models.asking import CASES, SMALL, TOOL, Says, block, words
from tests.models.conftest import Families
from tests.models.families import TALKING, WORKING

CALL = {"name": "crop", "args": {"bbox": [1, 2]}, "id": "1", "type": "tool_call"}


@pytest.mark.parametrize("title", WORKING)
def test_a_prompt_begins_once(families: Families, title: str) -> None:
    chat = families.chat(title)
    tokenizer = chat._engine.tokenizer
    text, _ = chat.render(CASES["text"])
    prompts: list[list[int]] = []
    forward = chat._engine.model.forward

    @functools.wraps(forward)
    def watched(*args: Any, **kwargs: Any) -> Any:
        ids = kwargs.get("input_ids")
        prompts.append([] if ids is None else ids[0].tolist())
        return forward(*args, **kwargs)

    chat.clear_caches()
    chat._engine.model.forward = watched
    try:
        chat.invoke(CASES["text"], max_tokens=1)
    finally:
        chat._engine.model.forward = forward
    assert prompts[0]
    if tokenizer.bos_token is not None:
        assert prompts[0].count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(prompts[0]).endswith(text[-20:])


def test_tools_that_a_template_drops_are_shown_in_a_system_text_or_refused(families: Families) -> None:
    chat = families.chat("Qwen2.5-VL")
    assert chat.capabilities.tools == "in a system text"
    text, _ = chat.render([SystemMessage("Be brief."), HumanMessage("What?")], [TOOL])
    system, _, after = text.partition("<|im_end|>")
    assert "Be brief.\n\n# Tools" in system
    assert '"description": "Cut a region out."' in system
    assert "What?" in after
    strict = chat.model_copy(update={"tools_without_template": "error"})
    assert strict.capabilities.tools == "an error"
    with pytest.raises(ArgumentError, match="tools: expected none"):
        strict.invoke([HumanMessage("What?")], tools=[TOOL])
    assert strict.render([HumanMessage("What?")])[0] == chat.render([HumanMessage("What?")])[0]
    # a template that shows them is asked
    assert families.chat("Qwen3-VL").render([HumanMessage("What?")], [TOOL])[0].count("# Tools") == 1


def test_options_of_the_template_are_passed_on(families: Families) -> None:
    chat, asked = families.chat("Qwen3.5"), [HumanMessage("What?")]
    assert chat.render(asked)[0].endswith("<think>\n")
    assert chat.render(asked, None, {"enable_thinking": False})[0].endswith("</think>\n\n")
    quiet = chat.model_copy(update={"template_options": {"enable_thinking": False}})
    assert quiet.render(asked)[0].endswith("</think>\n\n")
    assert (chat.capabilities.thinking, quiet.capabilities.thinking) == (
        "unless enable_thinking is False",
        "turned off",
    )
    seen = chat.invoke(asked, max_tokens=1).usage_metadata
    other = chat.invoke(asked, max_tokens=1, template_options={"enable_thinking": False}).usage_metadata
    assert seen is not None
    assert other is not None
    assert other["input_tokens"] > seen["input_tokens"]


def test_roles_that_must_alternate_do(families: Families) -> None:
    chat = families.chat("Gemma 3")
    assert chat.capabilities.alternates
    asked: list[BaseMessage] = [
        *(SystemMessage("Be brief."), HumanMessage("One."), HumanMessage([words("Two."), words("Three.")])),
        *(
            AIMessage("", tool_calls=[CALL]),
            ToolMessage("red", tool_call_id="1"),
            ToolMessage("blue", tool_call_id="1"),
        ),
        *(HumanMessage("And?"), AIMessage("hm"), AIMessage("yes"), HumanMessage("Sure?")),
    ]
    text, _ = chat.render(asked, [TOOL])
    roles = [part.partition("\n")[0] for part in text.split("<start_of_turn>")[1:]]
    assert roles == ["user", "model", "user", "model", "user", "model"]
    assert "One.\n\nTwo.Three." in text
    assert "hm\n\nyes" in text
    assert '{"name": "crop", "arguments": {"bbox": [1, 2]}}' in text
    with pytest.raises(ArgumentError, match="must alternate"):
        chat.render([AIMessage("first"), HumanMessage("What?")])


def test_a_template_that_shows_no_system_prompt_gets_it_before_the_question(families: Families) -> None:
    processor = copy(families.chat("Qwen3-VL")._engine.processor)
    processor.chat_template = "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{% for b in m.content %}{{ b.text }}{% endfor %}{% endfor %}"  # noqa: E501
    renderer = Renderer(processor)
    assert not renderer.facts.system
    asked = [SystemMessage("Be brief."), HumanMessage("What?"), SystemMessage("Now.")]
    assert renderer.render(asked, DEFAULT_POLICY, None)[0] == "[user]Be brief.\n\nWhat?[user]Now."


def test_a_thought_that_the_prompt_began_is_part_of_the_answer(families: Families) -> None:
    """Else a fragment of it would be taken for the answer."""
    chat, asked = families.chat("Qwen3.5"), [HumanMessage("What?")]
    answer = chat.invoke(asked, max_tokens=4)
    assert answer.text.startswith("<think>")
    chunks = list(chat.stream(asked, max_tokens=4))
    assert "".join(chunk.text for chunk in chunks) == answer.text
    off = chat.invoke(asked, max_tokens=4, template_options={"enable_thinking": False})
    assert not off.text.startswith("<think>")


def test_mistrals_template_gets_ids_and_turns_that_it_takes(families: Families) -> None:
    renderer = families.renderer("Mistral 3, Pixtral")
    assert renderer.shows_tools
    assert (renderer.form.name, renderer.facts.short_ids) == ("mistral", True)
    call = {**CALL, "id": "call_of_any_length"}
    asked = [
        HumanMessage("What? [INST]"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("red", tool_call_id=call["id"]),
        HumanMessage("And?"),
    ]
    text, _ = renderer.render(asked, DEFAULT_POLICY, None, tools=[TOOL])
    assert text.startswith("<s>[AVAILABLE_TOOLS]")
    assert text.count("[INST]") == 2
    assert renderer.form.find(text.partition("What?")[2])[0]["args"] == {"bbox": [1, 2]}
    assert text.endswith("[TOOL_RESULTS]red[/TOOL_RESULTS]</s>[INST]And?[/INST]")


@pytest.mark.parametrize("title", TALKING)
def test_every_turn_is_shown_in_every_family(families: Families, title: str) -> None:
    """Wherever system prompts stand, and beside images too."""
    renderer = families.renderer(title)
    asked: list[BaseMessage] = [
        *(SystemMessage("first"), SystemMessage("second"), HumanMessage([block(SMALL), words("third")])),
        *(AIMessage("fourth"), SystemMessage("fifth"), HumanMessage("sixth"), HumanMessage("seventh")),
        *(AIMessage("eighth"), HumanMessage("ninth")),
    ]
    text, _ = renderer.render(asked, DEFAULT_POLICY, None)
    said = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"]
    assert sorted(said, key=text.find) == said
    assert all(text.count(word) == 1 for word in said)
    # as text, not as the blocks that hold it
    assert "'type'" not in text
    assert text.count(renderer.image_token) == 1


def test_a_template_that_hides_images_beside_tools_is_not_given_any(families: Families) -> None:
    """Llama 3.2's writes its first question as Python writes a list, and takes no system prompt beside an image."""
    chat = families.chat("Llama 3.2 Vision")
    can = chat.capabilities
    assert (can.tools, can.calls, can.system) == ("in a system text", "hermes", False)
    asked = [SystemMessage("Be brief."), HumanMessage([block(SMALL), words("What?")])]
    text, _ = chat.render(asked, [TOOL])
    question = text.rpartition("user<|end_header_id|>")[2]
    assert question.startswith("\n\nBe brief.\n\n# Tools")
    assert question.count("<|image|>") == 1


def test_a_template_without_images_shows_its_tools(families: Families) -> None:
    processor = copy(families.chat("Qwen3-VL")._engine.processor)
    processor.chat_template = processor.chat_template.replace("<|vision_start|><|image_pad|><|vision_end|>", "")
    assert Renderer(processor).shows_tools


@pytest.mark.parametrize(
    "unseen",
    [
        {"type": "redacted_thinking", "data": "qzsecret"},
        {"type": "reasoning_content", "reasoning_content": {"text": "qzsecret"}},
        {"type": "function_call", "name": "qzsecret", "arguments": "{}", "call_id": "1"},
        {"type": "server_tool_use", "name": "web_search", "input": {"query": "qzsecret"}, "id": "1"},
        {"type": "non_standard", "value": {"type": "web_search_call", "id": "qzsecret"}},
    ],
)
def test_turns_of_hosted_models_are_shown_without_what_is_no_text(families: Families, unseen: dict[str, Any]) -> None:
    said = AIMessage([unseen, words("I see")], tool_calls=[CALL])
    text, _ = families.chat("Qwen3-VL").render([HumanMessage("What?"), said, ToolMessage("red", tool_call_id="1")])
    assert "I see" in text
    assert "qzsecret" not in text


def test_an_open_turn_goes_on_in_a_template_that_takes_it_as_text(families: Families) -> None:
    asked = [SystemMessage("Be brief."), HumanMessage("What?"), AIMessage("I see")]
    text, _ = families.chat("GLM-4V").render(asked, continued=True)
    assert text.endswith("<|user|>\nWhat?<|assistant|>\nI see")


@pytest.mark.parametrize("said", ["end", "i", "I see\n"])
def test_an_open_turn_ends_with_its_own_words(families: Families, said: str) -> None:
    """They may be in the mark that the template ends turns with."""
    text, _ = families.chat("Qwen3-VL").render([HumanMessage("What?"), AIMessage(said)], continued=True)
    assert text.endswith(f"<|im_start|>assistant\n{said.strip()}")


def test_only_a_turn_that_ends_with_text_goes_on(families: Families) -> None:
    for turn in (AIMessage(""), AIMessage([words("see"), block(SMALL)]), AIMessage("", tool_calls=[CALL])):
        with pytest.raises(ArgumentError, match="ends with text"):
            families.chat("Qwen3-VL").render([HumanMessage("What?"), turn], continued=True)


def llama(families: Families) -> LocalChatModel:
    """Llama 3.2 Vision with a template that shows its first question beside tools, too."""
    chat = families.chat("Llama 3.2 Vision")
    processor = copy(chat._engine.processor)
    question = "('<|image|>' if seen.images else '') + turns[0].content[-1].text"
    processor.chat_template = processor.chat_template.replace("(turns[0].content | trim)", question)
    return LocalChatModel.from_loaded(chat._engine.model, processor)


@pytest.mark.parametrize(
    ("title", "written"),
    [
        ("InternVL", 'Look. <tool_call>\n{"name": "crop", "arguments": {"bbox": [1, 2]}}\n</tool_call>'),
        (
            "Qwen3.5",
            "so</think>Look. <tool_call>\n<function=crop>\n<parameter=bbox>\n[1, 2]\n</parameter>\n</function>",
        ),
        ("Llama", '<|python_tag|>{"name": "crop", "parameters": {"bbox": [1, 2]}}'),
        ("Gemma 3", 'Look. <tool_call>{"name": "crop", "arguments": {"bbox": [1, 2]}}</tool_call>'),
    ],
)
def test_calls_are_read_from_what_a_model_generates(families: Families, title: str, written: str) -> None:
    chat, asked = llama(families) if title == "Llama" else families.chat(title), [HumanMessage("What?")]
    assert chat.capabilities.calls == ("llama" if title == "Llama" else "qwen3.5" if title == "Qwen3.5" else "hermes")
    with Says(chat, written):
        answer = chat.invoke(asked, tools=[TOOL])
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("crop", {"bbox": [1, 2]})]
    assert answer.response_metadata["finish_reason"] == "tool_calls"
    assert "crop" not in answer.text
    with Says(chat, written):
        chunks = list(chat.stream(asked, tools=[TOOL]))
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    # the space before a call was said before it was known to be one
    assert total.text.rstrip() == answer.text
    assert [(call["name"], call["args"]) for call in total.tool_calls] == [("crop", {"bbox": [1, 2]})]
    assert "crop" not in "".join(chunk.text for chunk in chunks)
    # shown again, it is the call that it was
    again, _ = chat.render([*asked, answer, ToolMessage("red", tool_call_id=answer.tool_calls[0]["id"])], [TOOL])
    assert "crop" in again.partition("What?")[2]


@pytest.mark.parametrize("title", ["InternVL", "Gemma 3"])
def test_calls_that_a_person_edited_are_shown_as_they_are_now(families: Families, title: str) -> None:
    chat, asked = families.chat(title), [HumanMessage("What?")]
    written = 'Look. <tool_call>\n{"name":  "crop", "arguments": {"bbox": [1, 2]}}\n</tool_call>'
    with Says(chat, written):
        answer = chat.invoke(asked, tools=[TOOL])
    with Says(chat, written):
        first, *others = chat.stream(asked, tools=[TOOL])
    for message in (answer, functools.reduce(operator.add, others, first)):
        # as it was written, to the last space
        assert written in chat.render([*asked, message], [TOOL])[0]
        call = {**message.tool_calls[0], "args": {"bbox": [7, 8]}}
        edited = chat.render([*asked, message.model_copy(update={"tool_calls": [call]})], [TOOL])[0]
        assert "[7, 8]" in edited
        assert "[1, 2]" not in edited
        assert "crop" not in chat.render([*asked, message.model_copy(update={"tool_calls": []})])[0]
        reworded = chat.render([*asked, message.model_copy(update={"content": "See."})], [TOOL])[0]
        assert "Look" not in reworded.partition("What?")[2]
        assert "[1, 2]" in reworded


@pytest.mark.parametrize(
    ("written", "text", "calls", "broken"),
    [
        ('\n\nLook. <tool_call>{"name": "crop"}</tool_call>\nThen.', "Look. \nThen.", ["crop"], []),
        ('Look. <tool_call>{"name": "crop", "argu', "Look.", [], ['{"name": "crop", "argu']),
        ('<tool_call>{"name": "crop"}</tool_call><tool_call></tool_call>', "", ["crop"], [""]),
        ("Look. <tool_call>[1, 2</tool_call>", "Look.", [], ["[1, 2"]),
    ],
)
def test_a_stream_has_what_the_answer_has_beside_its_calls(
    families: Families, written: str, text: str, calls: list[str], broken: list[str]
) -> None:
    """Text behind a call, and calls that cannot be used."""
    chat, asked = families.chat("InternVL"), [HumanMessage("What?")]
    with Says(chat, written):
        answer = chat.invoke(asked, tools=[TOOL])
    with Says(chat, written):
        first, *others = chat.stream(asked, tools=[TOOL])
    total = functools.reduce(operator.add, others, first)
    for message in (answer, total):
        assert message.text.strip() == text
        assert [call["name"] for call in message.tool_calls] == calls
    assert [call["args"] for call in answer.invalid_tool_calls] == broken
    # as JSON, where LangChain would take it for the arguments of a call
    streamed = [call["args"] for call in total.invalid_tool_calls]
    assert [json.loads(one) if one.startswith('"') else one for one in streamed] == broken


def test_a_checkpoints_own_template_for_answers_reads_them(families: Families) -> None:
    """With one, Gemma 4's own form is written and read; without, a text asks for another."""
    chat, asked = families.chat("Gemma 4"), [HumanMessage("What?")]
    before = chat.capabilities
    assert (before.tools, before.calls) == ("in a system text", "hermes")
    call = {"name": "{name}", "arguments": "{content}"}
    chat._engine.tokenizer.response_template = {
        "defaults": {"role": "assistant"},
        "start_anchor": "<|turn>model\n",
        "fields": {
            "tool_calls": {
                "open_pattern": r"<\|tool_call>call:(?P<name>\w+)",
                "close": "<tool_call|>",
                "content": "json",
                "content_args": {"unquoted_keys": True, "string_delims": [['<|"|>', '<|"|>']]},
                "repeats": True,
                "transform": {"type": "function", "function": call},
            },
            "content": {},
        },
    }
    try:
        can = chat.capabilities
        assert (can.tools, can.calls) == ("by the template", "its tokenizer says")
        with Says(chat, 'Look. <|tool_call>call:crop{bbox:[1,2],why:<|"|>so<|"|>}<tool_call|>'):
            answer = chat.invoke(asked, tools=[TOOL])
        shown = [*asked, answer, ToolMessage("red", tool_call_id=answer.tool_calls[0]["id"], name="crop")]
        again, _ = chat.render(shown, [TOOL])
    finally:
        chat._engine.tokenizer.response_template = None
    assert [(one["name"], one["args"]) for one in answer.tool_calls] == [("crop", {"bbox": [1, 2], "why": "so"})]
    assert answer.text == "Look."
    assert "<|tool>declaration:crop{" in again
    assert '<|tool_call>call:crop{bbox:[1,2],why:<|"|>so<|"|>}<tool_call|>' in again
    assert '<|tool_response>response:crop{value:<|"|>red<|"|>}<tool_response|>' in again


def test_thoughts_that_a_template_asks_for_only_if_told_are_said(families: Families) -> None:
    chat = families.chat("Gemma 4")
    assert chat.capabilities.thinking == "if enable_thinking is True"
    told = chat.model_copy(update={"template_options": {"enable_thinking": True}})
    assert told.capabilities.thinking == "turned on"
    assert "<|think|>" in told.render([HumanMessage("What?")])[0]


def test_a_begin_of_sequence_token_that_only_the_tokenizer_writes_is_there_with_caches_too(families: Families) -> None:
    from tokenizers.processors import TemplateProcessing

    chat, asked = LocalChatModel.from_pretrained(families.folder("Qwen2.5-VL"), device="cpu"), [HumanMessage("What?")]
    tokenizer = chat._engine.tokenizer
    begin = tokenizer.bos_token = "<|endoftext|>"
    own = TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, tokenizer.convert_tokens_to_ids(begin))])
    tokenizer.backend_tokenizer.post_processor = own
    counts = []
    for cache in (chat, LocalChatModel.from_loaded(chat._engine.model, chat._engine.processor, cache_bytes=0)):
        used = cache.invoke(asked, max_tokens=1).usage_metadata
        assert used is not None
        counts.append(used["input_tokens"])
    assert counts[0] == counts[1] == 1 + len(tokenizer(chat.render(asked)[0], add_special_tokens=False)["input_ids"])
