"""Where checkpoints are loaded from, to and as what."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import HumanMessage
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ArgumentError, MissingLibraryError
from langgraph_speceyes.models import loading
from langgraph_speceyes.models.loading import best_dtype
from tests.models.asking import CASES, CLOSE, TOOL, asked
from tests.models.conftest import Families


def test_what_a_model_gets_is_said_when_it_is_loaded(
    families: Families, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = families.folder("Gemma 3")
    with caplog.at_level(logging.INFO, logger="langgraph_speceyes"):
        chat = LocalChatModel.from_pretrained(folder, device="cpu", model_name="gemma")
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("langgraph_speceyes")]
    assert lines == [
        "gemma: gemma3 on cpu in float32, plain (other positions than Qwen-VL's); tools in a system text, thinking no, "
        "context 4096"
    ]
    can = chat.capabilities
    assert json.loads(json.dumps(can.to_dict()))["context"] == 4096
    assert len({len(line.split("  ")[0]) for line in can.describe().splitlines()[1:]}) > 1
    assert can.resize is None
    monkeypatch.setattr(chat._engine, "context", 99)
    assert chat.capabilities.context == 99
    qwen = families.chat("Qwen3-VL").capabilities
    assert (qwen.cached, qwen.image_tokens, qwen.images) == (True, 40_000 // 32**2, 4096 // (40_000 // 32**2))
    bare = LocalChatModel.from_pretrained(families.folder("Qwen3-VL"), device="cpu", cache_bytes=0)
    assert bare.capabilities.plain_because == "cache_bytes is 0"


@pytest.mark.parametrize("title", ["Qwen2.5-VL", "Gemma 4"])
def test_how_files_are_come_by_holds_for_all_of_them(families: Families, tmp_path: Path, title: str) -> None:
    """A cache of the Hub in a folder of its own, which only the model's options name."""
    kept, commit = tmp_path / "models--some--model", "a" * 40
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    shutil.copytree(families.folder(title), kept / "snapshots" / commit)
    options = {"cache_dir": str(tmp_path), "local_files_only": True}
    chat = LocalChatModel.from_pretrained("some/model", device="cpu", model_options=options)
    assert (chat.source, chat.revision) == ("some/model", commit)


def test_a_type_may_be_named_once(families: Families) -> None:
    folder = families.folder("Qwen2.5-VL")
    for options in ({"dtype": torch.float16}, {"dtype": None, "model_options": {"dtype": torch.float16}}):
        chat = LocalChatModel.from_pretrained(folder, device="cpu", **options)
        assert chat.capabilities.dtype == "float16"
    with pytest.raises(ArgumentError, match="dtype: "):
        LocalChatModel.from_pretrained(
            folder, device="cpu", dtype=torch.float32, model_options={"dtype": torch.float16}
        )
    with pytest.raises(ArgumentError, match="device: "):
        LocalChatModel.from_pretrained(folder, device="cpu", model_options={"device_map": "auto"})


def test_accelerate_is_named_where_it_is_needed(families: Families, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingLibraryError, match="device_map needs accelerate"):
        LocalChatModel.from_pretrained(families.folder("Qwen2.5-VL"), model_options={"device_map": "auto"})


@pytest.mark.parametrize("options", [{"device_map": {"": "cpu"}}, {"quantization_config": object()}])
def test_spread_and_quantised_weights_are_not_moved(
    families: Families, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Moving them raises; where they are is up to transformers."""
    model = families.chat("Qwen2.5-VL")._engine.model
    given: dict[str, Any] = {}

    def from_pretrained(name: str, **settings: Any) -> Any:
        given.update(settings)
        return model, {"missing_keys": set(), "mismatched_keys": set()}

    def to(*args: Any) -> Any:
        raise AssertionError("moved")

    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(loading.AutoModelForImageTextToText, "from_pretrained", from_pretrained)
    monkeypatch.setattr(type(model), "to", to)
    LocalChatModel.from_pretrained(families.folder("Qwen2.5-VL"), model_options=options)
    assert given["use_safetensors"] is True
    assert given["dtype"] == ("auto" if "quantization_config" in options else torch.float32)


def test_pickled_weights_are_loaded_only_where_the_user_says_so(families: Families, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(families.folder("Qwen2.5-VL"), folder)
    weights = families.chat("Qwen2.5-VL")._engine.model.state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ArgumentError, match="safetensors") as caught:
        LocalChatModel.from_pretrained(str(folder), device="cpu")
    assert "\n" not in str(caught.value)
    LocalChatModel.from_pretrained(str(folder), device="cpu", model_options={"use_safetensors": False})


@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_weights_that_would_be_made_up_are_refused(families: Families, tmp_path: Path, fault: str) -> None:
    """transformers fills them with random numbers, and the model answers as if nothing were wrong."""
    folder = shutil.copytree(families.folder("Qwen2.5-VL"), tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    name = next(one for one in weights if one.endswith("mlp.down_proj.weight") and "visual" not in one)
    if fault == "missing":
        del weights[name]
    else:
        weights[name] = weights[name][:, :-1].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    how = "without 1 of them" if fault == "missing" else "with other shapes"
    with pytest.raises(ArgumentError, match=rf"model_id: .*{how}.*mlp\.down_proj\.weight\)") as caught:
        LocalChatModel.from_pretrained(str(folder), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_pooling_head_that_no_chat_uses_may_be_missing(families: Families, tmp_path: Path) -> None:
    folder = shutil.copytree(families.folder("Gemma 3"), tmp_path / "headless")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["vision_use_head"] = True
    (folder / "config.json").write_text(json.dumps(config))
    chat = LocalChatModel.from_pretrained(str(folder), device="cpu", dtype=torch.float32)
    difference = asked(chat, CASES["image"]).compare(asked(families.chat("Gemma 3"), CASES["image"]))
    assert isinstance(difference, float), difference
    assert difference <= CLOSE


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("model.safetensors", "version https://git-lfs.github.com/spec/v1\n", "weights are whole"),
        ("tokenizer.json", "version https://git-lfs.github.com/spec/v1\n", "folder or Hub id"),
        ("preprocessor_config.json", "", "folder or Hub id"),
        ("adapter_config.json", "{", "folder or Hub id"),
        ("adapter_config.json", "[]", "base_model_name_or_path"),
    ],
)
def test_broken_files_are_refused_by_name(families: Families, tmp_path: Path, file: str, text: str, words: str) -> None:
    folder = shutil.copytree(families.folder("Qwen2.5-VL"), tmp_path / "broken")
    (folder / file).write_text(text)
    with pytest.raises(ArgumentError, match=f"model_id: .*{words}.*broken") as caught:
        LocalChatModel.from_pretrained(str(folder), device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}),
        ("processor_config.json", {"processor_class": "Own", "auto_map": {"AutoProcessor": "own.Own"}}),
    ],
)
def test_code_of_a_checkpoint_is_refused_without_a_question_on_the_terminal(
    families: Families, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, settings: dict[str, Any]
) -> None:
    folder = shutil.copytree(families.folder("Qwen2.5-VL"), tmp_path / "coded")
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | settings))
    (folder / "own.py").write_text("raise RuntimeError('it ran')")
    asked_for: list[str] = []

    def answer(question: str = "") -> str:
        asked_for.append(question)
        return "n"

    monkeypatch.setattr("builtins.input", answer)
    with pytest.raises(ArgumentError, match=r"without code of its own .*trust_remote_code"):
        LocalChatModel.from_pretrained(str(folder), device="cpu")
    assert not asked_for


def test_a_model_that_writes_whole_blocks_is_refused(tmp_path: Path) -> None:
    """It has no log-probabilities of one token after the other."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "diffusion_gemma"}))
    with pytest.raises(ArgumentError, match=r"one token after the other, found .* a diffusion_gemma model"):
        LocalChatModel.from_pretrained(str(tmp_path))


def test_a_text_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}))
    with pytest.raises(ArgumentError, match=r"a vision-language checkpoint, found .* a qwen2 model"):
        LocalChatModel.from_pretrained(str(tmp_path))


def test_a_lora_names_its_base_and_what_it_needs(
    families: Families, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"base_model_name_or_path": families.folder("Qwen2.5-VL"), "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingLibraryError, match="needs peft"):
        LocalChatModel.from_pretrained(str(tmp_path), device="cpu")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ArgumentError, match="base_model_name_or_path"):
        LocalChatModel.from_pretrained(str(tmp_path), device="cpu")


def test_a_wrapped_model_is_unwrapped(families: Families) -> None:
    chat = families.chat("Qwen2.5-VL")

    class Wrapped:
        def get_base_model(self) -> Any:
            return chat._engine.model

    made = LocalChatModel.from_loaded(Wrapped(), chat._engine.processor)
    assert made.capabilities.cached


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_only_where_the_device_has_it(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has)
    assert best_dtype(torch.device("cuda")) is (torch.bfloat16 if has else torch.float16)
    assert best_dtype(torch.device("cpu")) is torch.float32


@pytest.mark.parametrize("title", ["LLaVA", "Qwen2.5-VL"])
@pytest.mark.parametrize(
    "setting",
    [
        *({"num_beams": 3}, {"no_repeat_ngram_size": 1}, {"suppress_tokens": list(range(60, 200))}),
        *({"repetition_penalty": 9.0}, {"min_new_tokens": 4}, {"do_sample": True, "temperature": 9.0}),
    ],
)
def test_generation_settings_of_the_checkpoint_stay_out(
    families: Families, title: str, setting: dict[str, Any]
) -> None:
    chat = families.chat(title)
    before = asked(chat, CASES["image"])
    for key, value in setting.items():
        setattr(chat._engine.model.generation_config, key, value)
    try:
        found = before.compare(asked(chat, CASES["image"]))
        kept = {key: getattr(chat._engine.model.generation_config, key) for key in setting}
    finally:
        for key in setting:
            setattr(chat._engine.model.generation_config, key, None)
    assert isinstance(found, float)
    assert found <= CLOSE
    # and are the checkpoint's still
    assert kept == setting
    assert chat.invoke([HumanMessage("a")], max_tokens=1)


def test_the_command_line_says_how_a_checkpoint_is_run(families: Families) -> None:
    folder = families.folder("GLM-4V-MoE")
    said = CliRunner().invoke(app, ["probe", folder]).stdout
    assert "by the template, calls read as glm" in " ".join(said.split())
    printed = CliRunner().invoke(app, ["probe", folder, "--json"]).stdout
    found = json.loads(printed)
    assert (found["family"], found["cached"], found["resize"]["kind"]) == ("glm4v_moe", True, "glm")


@pytest.mark.parametrize("title", ["Qwen3-VL", "LLaVA"])
@pytest.mark.parametrize("named", [False, True])
def test_a_chat_template_may_be_in_the_tokenizers_files(
    families: Families, tmp_path: Path, title: str, named: bool
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(families.folder(title), folder)
    source = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    several = [{"name": "default", "template": source}, {"name": "other", "template": "nothing"}]
    settings["chat_template"] = several if named else source
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    chat = LocalChatModel.from_pretrained(str(folder), device="cpu")
    for case in CASES.values():
        assert chat.render(case, [TOOL])[0] == families.chat(title).render(case, [TOOL])[0]
    assert asked(chat, CASES["several"]).tokens == asked(families.chat(title), CASES["several"]).tokens


def test_a_library_is_named_only_where_it_is_missing(families: Families, tmp_path: Path) -> None:
    """transformers lists all kinds that it knows, `timm_wrapper` among them, where it knows none of the name."""
    folder = shutil.copytree(families.folder("Qwen2.5-VL"), tmp_path / "unknown")
    for name in ("preprocessor_config.json", "processor_config.json"):
        written = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(written | {"image_processor_type": "SomeImageProcessor"}))
    with pytest.raises(ArgumentError, match=r"model_id: .*Unrecognized image processor"):
        LocalChatModel.from_pretrained(str(folder), device="cpu")
