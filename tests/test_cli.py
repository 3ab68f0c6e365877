from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import START, MessagesState, StateGraph
from PIL import Image
from typer.testing import CliRunner

from langgraph_speceyes.agent import ThymeProtocol
from langgraph_speceyes.answers.words import without_repeats
from langgraph_speceyes.bench.chosen import Chosen
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.cli import app, folder
from langgraph_speceyes.cli.display import show_answer, show_overview
from langgraph_speceyes.cli.picture import picture
from langgraph_speceyes.cli.progress import progress_bar
from langgraph_speceyes.cli.terminal import Screen
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.prompts import Prompts
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed.pair import GATE, LOOKS_GATE
from tests.scripted import Scripted, peaked

Ask = Callable[[str, int], list[Any]]


@pytest.fixture
def run() -> Callable[..., Any]:
    return lambda *arguments: CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "NO_COLOR": "1"})


def test_demo_prints_one_json_object_and_nothing_else(run: Callable[..., Any]) -> None:
    result = run("demo", "--queries", "6", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert set(figures) == {
        *("queries", "agent", "speceyes", "speedup", "beta", "alpha", "routes", "tool_calls"),
        *("predicted_latency_s", "threshold", "score"),
    }
    fields = {"accuracy", "latency_mean_s", "latency_p95_s", "tool_steps_mean"}
    assert set(figures["agent"]) == set(figures["speceyes"]) == fields
    routes = figures["routes"]
    assert set(routes) == {"screened", "bypass", "after_look", "rejected"}
    assert sum(routes.values()) - routes["after_look"] == figures["queries"] == 6
    assert 0 < routes["after_look"] < routes["bypass"]
    assert (routes["bypass"] - routes["after_look"]) / 6 <= figures["beta"] < 1
    ratio = figures["agent"]["latency_mean_s"] / figures["speceyes"]["latency_mean_s"]
    assert figures["speedup"] == pytest.approx(ratio)
    assert sum(figures["tool_calls"].values()) == pytest.approx(figures["speceyes"]["tool_steps_mean"] * 6)


def test_demo_shows_a_table(run: Callable[..., Any]) -> None:
    result = run("demo", "--queries", "2")
    assert result.exit_code == 0, result.output
    for word in ("accuracy", "speed-up", "95th percentile", "predicted", "beta", "alpha", "rejected by the gate"):
        assert word in result.stdout


def test_ask_shows_the_route_and_saves_the_regions(run: Callable[..., Any], ask: Ask, tmp_path: Path) -> None:
    question, message = ask("reading", 1)[0]
    image = message.content[0]["url"]
    shown = run("ask", image, question.text, "--save-crops", str(tmp_path / "crops"))
    assert shown.exit_code == 0, shown.output
    assert "route      fallback" in shown.stdout
    kept = json.loads(run("ask", image, question.text, "--save-crops", str(tmp_path / "crops"), "--json").stdout)
    boxes = [call["box"] for call in kept["decision"]["tool_calls"] if call["image"]]
    assert boxes
    for path, (left, top, right, bottom) in zip(kept["crops"], boxes, strict=True):
        with Image.open(path) as region:
            assert (region.width % (right - left), region.height % (bottom - top)) == (0, 0)


def test_ask_shows_the_score_of_every_token(run: Callable[..., Any], ask: Ask) -> None:
    question, message = next(x for x in ask("attributes", 8) if x[0].size == "large")
    shown = run("ask", message.content[0]["url"], question.text, "--threshold", "0.01")
    assert shown.exit_code == 0, shown.output
    if "decided by the judge" not in shown.stdout:
        line = next(x for x in shown.stdout.splitlines() if x.startswith("tokens"))
        assert len(re.findall(r"\d\.\d{3}", line)) >= 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        # said before the folder, which holds no model, is looked at
        (
            ("ask", "absent.png", "What?", "--speculator", "{folder}", "--agent", "{folder}"),
            "ImageError: image: expected an image file, found absent.png (no such file)",
        ),
        (("ask", "{image}", " "), "InputError: messages"),
        (("ask", "{image}", "What?", "--threshold", "2"), "threshold"),
        (("ask", "{image}", "What?", "--speculator", "somewhere"), "agent"),
        (("demo", "--threshold", "0"), "threshold"),
        (("ask", "https://a.example/b.png", "What?"), "(allow_remote is off), found https://a.example/b.png"),
        (("ask", "{image}", "What?", "--save-crops", "{image}"), "save_crops: expected a folder, or a"),
        (("ask", "{image}", "What?", "--speculator", "{folder}", "--agent", "{folder}"), "or --base-url, for a model"),
        (("probe", "{folder}"), "ArgumentError: model_id: expected a checkpoint's folder or Hub id"),
        (("eval", "embedded", "--out", "{folder}/run", "--method", "os.getcwd"), "method: expected a function that"),
        (("eval", "embedded", "--out", "{folder}/run", "--method", "builtins.repr"), "a function that returns a comp"),
        (("bench", "--out", "{image}"), "out: expected a folder, or a place for one, found {image}: File exists"),
        (("bench", "--simulate", "vstar", "--out", "{image}/a"), "out: expected a folder, or a place for one"),
        (("testbed", "opening", "--out", "{image}", "-n", "3"), "out: expected a folder, or a"),
        (("reproduce", "--out", "{image}"), "out: expected a folder, or a place for one"),
        (("testbed", "write", "{image}", "--limit", "1"), "folder: expected a folder, or a place for one"),
        (("eval", "embedded", "--gate", "absent.json", "--out", "{folder}/run"), "gate: expected a readable gate"),
        (("eval", "absent.jsonl", "--out", "{folder}/run"), "bench: expected a benchmark's file or folder, found"),
        (("eval", "{image}", "--out", "{folder}/run"), "bench: expected a .tsv, .csv, .jsonl, .json or .parquet"),
        (("eval", "own", "--data", "absent", "--out", "{folder}/run"), "data: expected a benchmark's file or folder"),
        (("eval", "vstar", "--data", "{folder}", "--split", "x", "--out", "{folder}/run"), "data: expected"),
        (("gate", "json.loads"), "as a function json.loads: missing a required argument"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    run: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    places = {"image": tmp_path / "a.png", "folder": tmp_path}
    result = run(*(a.format(**places) for a in arguments))
    assert result.exit_code == 2
    assert says.format(**places) in result.stderr
    assert "Traceback" not in result.output
    assert not result.stdout


@pytest.mark.parametrize(
    "command", [("ask", "https://a.example/b.png", "What?", "--speculator", "a", "--agent", "b"), ("probe", "a")]
)
def test_a_key_in_the_place_of_its_variable_is_not_shown(run: Callable[..., Any], command: tuple[str, ...]) -> None:
    asked = (*command, "--base-url", "http://127.0.0.1:9/v1", "--api-key-env")
    for key in ("my4plain8key", "0f3c9be1d2a84756", "gsk_plain"):
        shown = run(*asked, key)
        assert (shown.exit_code, key in shown.output) == (2, False)
        assert "api-key-env: expected the name of an environment variable" in shown.stderr
    assert "found none in MY_KEY2" in run(*asked, "MY_KEY2").stderr


@pytest.mark.parametrize(
    "command",
    [
        ("bench", "--out", "{folder}/a"),
        ("bench", "--simulate", "vstar", "--out", "{folder}/a"),
        ("testbed", "opening", "--out", "{folder}/a"),
        ("reproduce", "--out", "{folder}/a"),
    ],
)
def test_the_extra_of_the_plots_is_missed_before_the_work(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(folder, "find_spec", lambda name: None)
    shown = run(*(a.format(folder=tmp_path) for a in command))
    assert (shown.exit_code, shown.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert "'langgraph-speceyes[eval]'" in shown.stderr


def test_what_the_encoding_of_the_output_lacks_is_replaced(tmp_path: Path) -> None:
    asked = [sys.executable, "-m", "langgraph_speceyes", "testbed", "write", str(tmp_path / "f\u00e4cher\u2713")]
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*asked, "--limit", "1", "--split", "attributes"], capture_output=True, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.strip().endswith(b"f?cher?")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full is a device of Linux here")
def test_an_output_that_is_full_is_one_line() -> None:
    code = "from langgraph_speceyes.cli import app; app.command('say')(lambda: print('{}')); app(['say'])"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "error OSError: No space left on device\n")


# brackets are markup to the table library, control characters steer a terminal
OTHERS = st.text("ab[]/\\=#@ \n\r\x00\x07\x1b\x7f\x9b", max_size=12) | st.sampled_from(("[/b]", "\x1b[2J", "[red]a"))


@given(st.tuples(*[OTHERS] * 7))
def test_what_others_wrote_is_shown_as_text(texts: tuple[str, ...]) -> None:
    answer, token, tool, inside, read, wrong, error = texts
    call = {"tool": tool, "box": [1, inside], "text": read, "error": wrong}
    decision: Any = {
        "route": "fallback",
        "decided_by": "speculate",
        "tool_need": 0.1,
        "judge_threshold": 0.5,
        "error": error,
        "score": 0.9,
        "accepted": True,
        "score_name": "odds",
        "threshold": 0.9,
        "k": 20,
        "tokens": {},
        "answer_tokens": [(token, 0.9)],
        "tool_calls": [call],
        "seconds": {"total": 0.1},
    }
    shown = io.StringIO()
    screen = Screen(file=shown, width=400, color_system=None)
    show_answer(screen, answer, decision, [Path(f"a{tool}".replace("\0", ""))])
    assert "fallback, decided by the speculator\n" in shown.getvalue()
    show_overview(screen, {inside: {tool: OVERVIEW}}, Path(f"a{read}"))
    with progress_bar(screen) as progress:
        progress.add_task(read)
        screen.print(progress.get_renderable())
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown.getvalue())
    for text in (token, tool, wrong):
        assert "".join(re.findall(r"[\[\]/=#@ab]", text)) in "".join(re.findall(r"[\[\]/=#@ab]", shown.getvalue()))


OVERVIEW = {
    "n": 1,
    "accuracy": 0.5,
    "accuracy_low": 0.0,
    "accuracy_high": 1.0,
    "seconds_mean": 1.0,
    "errors": 0,
    "first_error": None,
    "contained": 0,
}


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_a_narrow_terminal_cuts_neither_names_nor_figures(width: int) -> None:
    shown = io.StringIO()
    figures = {"a split": {"speceyes:k=2": OVERVIEW | {"speedup": 1.25, "bypassed": 0.5}}}
    show_overview(Screen(file=shown, width=width), figures, Path("run"))
    row = next(line for line in shown.getvalue().splitlines() if "speceyes:k=2" in line)
    assert row.split() == ["speceyes:k=2", "1", "50.0", "0..100", "1000", "ms", "1.25", "x", "50%"]
    assert len(row) <= max(width, 76)


def test_the_next_step_can_be_pasted() -> None:
    shown = io.StringIO()
    show_overview(Screen(file=shown), {"own": {"agent": OVERVIEW}}, Path("my runs/a"))
    step = shlex.split(shown.getvalue().rpartition("next: speceyes ")[2])
    assert step == ["report", "my runs/a", "--out", "report"]


def test_an_answer_is_shown_though_its_picture_is_damaged(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(whole, "PNG")
    (tmp_path / "a.png").write_bytes(whole.getvalue()[:-900])
    small = Scripted(answer="The bus is red.", content=[peaked("The bus is red.", 20, 9.0)])
    monkeypatch.setattr(Chosen, "load", lambda self: replace(made_models(), speculator=small))
    shown = run("ask", str(tmp_path / "a.png"), "What?")
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (0, "The bus is red.")


def test_the_version_and_the_module(run: Callable[..., Any]) -> None:
    shown = run("--version")
    assert (shown.exit_code, shown.stdout) == (0, f"speceyes {version('langgraph-speceyes')}\n")
    asked = [sys.executable, "-m", "langgraph_speceyes", "--version"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == shown.stdout


def test_the_demo_shows_each_question_as_it_comes(run: Callable[..., Any]) -> None:
    shown = run("demo", "--queries", "5").stdout
    assert shown.count("agent alone  ") == 5
    assert "What does the label say?" in shown or "Which word is on the label?" in shown
    assert "small model, after a look" in shown.partition("one at a time")[0]


def test_ask_says_that_the_embedded_models_know_their_own_world_alone(
    run: Callable[..., Any], ask: Ask, tmp_path: Path
) -> None:
    _, message = ask("attributes", 1)[0]
    assert "know the boards of their own world" in " ".join(
        run("ask", message.content[0]["url"], "What?").stdout.split()
    )


def test_a_models_function_beside_the_working_directory_is_found(
    run: Callable[..., Any], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_models_here.py").write_text(
        "from langgraph_speceyes.bench.chosen import embedded_models\n"
        "from langgraph_speceyes.testbed.pair import load_pair\n"
        "def models():\n    return embedded_models(load_pair())\n"
        "def journal():\n"
        "    from langgraph_speceyes.traffic import SQLiteJournal\n"
        "    return SQLiteJournal('here.db')\n"
    )
    monkeypatch.chdir(tmp_path)
    # the folder of the command, as an installed script has it
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", ".")])
    assert "gate: expected a gate of the journal" in run("gate", "my_models_here.journal").stderr
    question, message = ask("attributes", 1)[0]
    given = run("ask", message.content[0]["url"], question.text, "--models", "my_models_here.models", "--json")
    assert given.exit_code == 0, given.output
    # as editors on Windows write it
    (tmp_path / "speceyes.toml").write_text('models = "my_models_here.models"\r\n', encoding="utf-8-sig", newline="")
    assert json.loads(run("ask", message.content[0]["url"], question.text, "--json").stdout)["answer"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modles = 'a.b'", "speceyes.toml: expected the keys models, speculator"),
        ("batch_size = 'many'", "speceyes.toml: batch_size: expected int, found 'many'"),
        ("speculator = ", "speceyes.toml: expected a TOML file"),
        ("speculator = 'small'", "agent: expected a model beside --speculator"),
        ("base_url = 'http://localhost:1/v1'", "speculator: expected a model, and --agent, beside --base-url"),
        ("models = 'nowhere.at_all'", "models: expected the dotted name of a function"),
        ("models = 'a.b'\nprotocol = 'deepeyes'", "models: expected no --protocol beside it"),
        ("models = 'a.b'\njudge = 'large'", "models: expected no --judge beside it"),
        ("coordinates = 'resized'", "speculator: expected a model, and --agent, beside --coordinates"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "speceyes.toml").write_text(text)
    shown = run("ask", "https://a.example/b.png", "What?")
    assert (shown.exit_code, "Traceback" in shown.output) == (2, False)
    assert says in shown.stderr


def test_the_command_line_comes_before_the_configuration() -> None:
    configured = Chosen(speculator="small", agent="large", base_url="http://localhost:1/v1", batch_size=4)
    assert configured.changed({"agent": "other", "judge": None}) == replace(configured, agent="other")
    # one way of naming models takes the place of the other
    assert configured.changed({"models": "my.models"}) == Chosen(models="my.models", batch_size=4)
    assert Chosen(models="my.models").changed({"speculator": "a", "agent": "b"}) == Chosen(speculator="a", agent="b")
    # and of saying how they are called
    assert Chosen(agent="large", protocol="deepeyes").changed({"models": "my.models"}) == Chosen(models="my.models")


def made_models() -> Models:
    agent = StateGraph(MessagesState).add_node("a", lambda state: {}).add_edge(START, "a").compile()
    return Models(Scripted(), None, agent, Gate(threshold=0.97), Prompts())


def test_a_gate_file_counts_beside_a_function_of_models(tmp_path: Path) -> None:
    named = Chosen(models=f"{__name__}.made_models")
    assert named.load().gate.threshold == 0.97
    Gate(threshold=0.6).save(tmp_path / "gate.json")
    assert named.changed({"gate": tmp_path / "gate.json"}).load().gate.threshold == 0.6


def test_the_agents_words_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "thyme.txt").write_text("Look closely.")
    config = tmp_path / "speceyes.toml"
    config.write_text('protocol = "thyme"\nagent_prompt = "thyme.txt"\nspeculator = "small"\nagent = "large"')
    chosen = Chosen.from_file(config)
    assert chosen.speaks() == ThymeProtocol(system="Look closely.")
    assert replace(chosen, agent_prompt=None).speaks() == "thyme"
    with pytest.raises(ArgumentError, match="agent-prompt"):
        replace(chosen, agent_prompt=tmp_path / "other.txt").speaks()
    with pytest.raises(ArgumentError, match="--agent-prompt"):
        Chosen(agent_prompt=tmp_path / "thyme.txt").load()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The circle at a2, the circle at a2 a2 a2 a2", "The circle at a2, the circle at a2"),
        ("no no no no", "no"),
        ("yes, yes, yes, yes", "yes"),
    ],
)
def test_what_repeats_itself_is_cut(text: str, shown: str) -> None:
    assert without_repeats(text) == (shown, True)


@given(st.text("ab c.", max_size=60))
def test_what_is_cut_is_how_the_text_begins(text: str) -> None:
    shown, repeats = without_repeats(text)
    assert text.startswith(shown)
    assert repeats == (shown != text) or not text[len(shown) :].strip(" .")


@pytest.mark.parametrize("text", ["no no", "The bus is red.", "222", "a cat and a dog and a bird"])
def test_an_answer_that_repeats_little_stays(text: str) -> None:
    assert without_repeats(text) == (text, False)


def test_a_picture_has_two_pixels_a_character() -> None:
    image = Image.new("RGB", (4, 4), (255, 0, 0))
    image.putpixel((0, 1), (0, 0, 255))
    shown = picture(image, 4)
    assert shown.plain == "\u2580" * 4 + "\n" + "\u2580" * 4
    assert shown.spans[0].style == "rgb(255,0,0) on rgb(0,0,255)"
    assert picture(Image.new("RGB", (3, 1)), 3).plain == "\u2580" * 3


def test_the_pairs_own_looks_bring_the_gate_that_was_calibrated_with_them() -> None:
    models = Chosen(look=("pair",)).load()
    assert models.gate == Gate.load(LOOKS_GATE)
    assert len(models.gate.depths or ()) == len(models.looks) == 2
    assert Chosen().changed({"look": ["pair"]}).load().gate == models.gate
    assert Chosen().load().gate == Gate.load(GATE)
    # another gate is the one that is named
    assert Chosen(look=("pair",), gate=GATE).load().gate == Gate.load(GATE)
