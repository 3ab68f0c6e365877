"""What LangChain promises of every chat model."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, trim_messages
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.models.request import Candidate
from tests.models.asking import CASES, TOOL, Says, asked
from tests.models.conftest import Families
from tests.models.families import FAMILIES, Family


@pytest.mark.parametrize("title", ["Qwen3-VL", "Gemma 3", "Idefics3"])
@pytest.mark.parametrize("name", CASES)
def test_tokens_are_counted_as_the_model_is_given_them(families: Families, title: str, name: str) -> None:
    """By the checkpoint's own tokenizer, images and what the template writes included."""
    chat = families.chat(title)
    assert chat.get_num_tokens_from_messages(CASES[name]) == asked(chat, CASES[name]).prompt
    offered = chat.bind_tools([TOOL]).invoke(CASES[name], max_tokens=1).usage_metadata
    assert offered is not None
    assert chat.get_num_tokens_from_messages(CASES[name], tools=[TOOL]) == offered["input_tokens"]
    assert chat.get_num_tokens("red <|im_end|>") >= len("red <|im_end|>")


@pytest.mark.parametrize("title", ["Qwen3-VL", "Gemma 3"])
def test_a_conversation_can_be_trimmed_by_a_models_own_count(families: Families, title: str) -> None:
    chat = families.chat(title)
    said: list[BaseMessage] = [*CASES["turns"], AIMessage("blue"), HumanMessage("Why?")]
    most = chat.get_num_tokens_from_messages(said[-3:])
    assert trim_messages(said, max_tokens=most, token_counter=chat, start_on="human") == said[-3:]


def test_settings_can_be_left_to_the_caller(families: Families) -> None:
    """A model with other settings, as LangChain makes one, is the same checkpoint in memory."""
    chat = families.chat("Qwen3-VL")
    model = chat.configurable_fields(max_tokens=ConfigurableField(id="most"))
    for most in (1, 3):
        answer = model.invoke(CASES["text"], {"configurable": {"most": most}}, logprobs=True)
        assert len(answer.response_metadata["logprobs"]["content"]) == most
    assert "loaded" not in {*chat.model_dump(), repr(chat)}
    given = {name: getattr(chat, name) for name in chat.model_fields_set}
    other = LocalChatModel.from_loaded(chat._engine.model, chat._engine.processor, **given)
    assert other.model_name == "Qwen3-VL"
    assert other._batcher is not chat._batcher


def test_a_misspelt_setting_is_refused_before_anything_is_loaded() -> None:
    for options in ({"max_new_tokens": 5}, {"top_p": 0.9}, {"temperature": "hot"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            LocalChatModel.from_pretrained("no/such-model", **options)
    with pytest.raises(ArgumentError, match="settings: expected fields of LocalChatModel, found top_p"):
        LocalChatModel.from_loaded(None, None, top_p=0.9)


def test_a_folder_may_be_a_path(families: Families) -> None:
    chat = LocalChatModel.from_pretrained(Path(families.folder("Qwen3-VL")), device="cpu")
    assert chat.model_name == chat.source == families.folder("Qwen3-VL")


class Seen(BaseModel):
    """What there is to see."""

    color: str
    sides: int = 4


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
def test_structured_output_is_read_from_a_call_of_its_schema(families: Families, method: str) -> None:
    chat = families.chat("InternVL")
    structured = chat.with_structured_output(Seen, method=method)
    with Says(chat, '<tool_call>{"name": "Seen", "arguments": {"color": "red"}}</tool_call>'):
        assert structured.invoke(CASES["image"]) == Seen(color="red")
    with Says(chat, "It is red."):
        assert structured.invoke(CASES["image"]) is None
    with Says(chat, '<tool_call>{"name": "Seen", "arguments": {"color": []}}</tool_call>'):
        found = chat.with_structured_output(Seen, method=method, include_raw=True).invoke(CASES["image"])
    assert (found["parsed"], found["raw"].tool_calls[0]["args"]) == (None, {"color": []})
    assert found["parsing_error"] is not None


def test_tools_that_hosted_models_bring_are_refused(families: Families) -> None:
    with pytest.raises(ArgumentError, match="tools: expected functions, found 'web_search_preview'"):
        families.chat("Qwen3-VL").bind_tools([TOOL, {"type": "web_search_preview"}])


@pytest.mark.parametrize("title", ["Qwen3-VL", "InternVL"])
def test_a_temperature_is_a_number_that_can_be_divided_by(families: Families, title: str) -> None:
    chat = families.chat(title)
    greedy = asked(chat, CASES["text"]).tokens
    # none is the model's own, as LangChain passes settings on that nobody made
    for temperature in (None, 1e-40, 1e-9, 5e-324):
        assert asked(chat, CASES["text"], temperature=temperature).tokens == greedy
    for refused in (-1, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match="temperature"):
            chat.invoke(CASES["text"], temperature=refused)


def test_a_prompt_that_is_too_long_is_langchains_error(families: Families) -> None:
    """By which its middleware knows that a conversation must be shortened."""
    with pytest.raises(ContextOverflowError, match="at most 4095 tokens"):
        families.chat("Qwen3-VL").invoke("x" * 5000)


class Pieces(Family):
    """A family with a tokenizer in SentencePiece's style, such as Llama's: its words begin with their space."""

    def tokenizer(self) -> PreTrainedTokenizerFast:
        letters = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdefghijklmnopqrstuvwxyz"]
        pairs = [("\u2581", "r"), ("e", "d"), ("\u2581r", "ed"), ("r", "ed")]
        vocabulary = {piece: place for place, piece in enumerate([*letters, *(a + b for a, b in pairs)])}
        model = models.BPE(vocab=vocabulary, merges=pairs, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
        made = super().tokenizer()
        made.backend_tokenizer.model = model
        made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        made.backend_tokenizer.decoder = decoders.Sequence(steps)
        return made


def test_tokens_say_the_spaces_that_they_wrote(tmp_path: Path) -> None:
    """Tokenizers that drop the space at the beginning of a text would show two tokens as one."""
    family = FAMILIES["LLaVA"]
    settings = {field.name: getattr(family, field.name) for field in fields(family)}
    engine = LocalChatModel.from_pretrained(str(Pieces(**settings).write(tmp_path)), device="cpu")._engine
    ids = engine.tokenizer("bred red \u00e9<image>", add_special_tokens=False)["input_ids"]
    entries = [engine.token_entry(Candidate(token, 0.0)) for token in ids]
    assert [one["token"] for one in entries] == [" ", "b", "red", " red", " ", "\ufffd", "\ufffd", "<image>"]
    assert [one["bytes"] for one in entries[2:6]] == [list(b"red"), list(b" red"), [32], None]
