"""The protocol Thyme against scripted models: one turn that grows, its code run by a stand-in of the code tool."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver

from langgraph_speceyes.agent import DeepEyesProtocol, NativeProtocol, ThymeProtocol, create_visual_agent
from langgraph_speceyes.agent.protocols.thyme import CLOSE, FINAL, OPEN, STOPS, find_boxed, joined
from langgraph_speceyes.agent.sandbox import CodeOutcome, image_path
from langgraph_speceyes.bench.specreason import RATING, SpecReasonModel, rating_prompt
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import parse_reference

PROTOCOL = ThymeProtocol()
TAGS = [
    "<code>",
    "</code>",
    "<answer>",
    "</answer>",
    "<think>",
    "</think>",
    OPEN,
    CLOSE,
    "```python\n",
    "```",
    "<co",
    "\n",
]
words = st.lists(st.sampled_from([*TAGS, "x = 1", "B", r"\boxed{C}", "<CODE>", "</Code>"]), max_size=10).map("".join)


def block(code: str) -> str:
    return f"<think>Look.</think><code>\n```python\n{code}\n```\n</code>"


class Runner:
    """Keeps variables as the code tool does, for code that adds words to a list or prints it."""

    name = "code"
    description = "Runs code."

    def __init__(self, picture: str = "") -> None:
        self.picture, self.ran, self.closed = picture, list[tuple[str, str, list[str]]](), list[str]()

    def run(self, code: str, *, trajectory: str, images: Sequence[Any], earlier: Sequence[str]) -> CodeOutcome:
        assert len(images) == 1
        self.ran.append((code, trajectory, list(earlier)))
        if "raise" in code:
            return CodeOutcome("Traceback\nValueError: no", error="ValueError: no", failure="exception")
        if code == "crop":
            return CodeOutcome("crop.png", (parse_reference(self.picture, "x"),))
        return CodeOutcome(" ".join([*earlier, code]))

    async def arun(self, code: str, **given: Any) -> CodeOutcome:
        return await asyncio.to_thread(self.run, code, **given)

    def close(self, trajectory: str) -> None:
        self.closed.append(trajectory)


class Writer(BaseChatModel):
    """Plays back segments and records prompts and options."""

    script: list[Any]
    sent: list[Any] = []
    options: list[dict[str, Any]] = []
    accepts_image_references: bool = True

    @property
    def _llm_type(self) -> str:
        return "writer"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.sent.append(list(messages))
        self.options.append({"stop": stop, **kwargs})
        said = self.script[len(self.sent) - 1]
        usage = UsageMetadata(input_tokens=10, output_tokens=1, total_tokens=11)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(said, usage_metadata=usage))])


def writer(*script: str) -> Writer:
    return Writer(script=list(script), sent=[], options=[])


def run(model: Any, question: HumanMessage, runner: Runner | None = None, **settings: Any) -> dict[str, Any]:
    agent = create_visual_agent(model, **({"protocol": "thyme", "tools": [runner or Runner()]} | settings)).compile()
    result: dict[str, Any] = agent.invoke({"messages": [question]})
    assert asyncio.run(_again(agent, model, question))[-1].text == result["messages"][-1].text
    return result


async def _again(agent: Any, model: Any, question: HumanMessage) -> list[Any]:
    """The same run without blocking, with a script that begins again; its records are dropped."""
    sent, options = list(model.sent), list(model.options)
    model.sent.clear()
    found = (await agent.ainvoke({"messages": [question]}))["messages"]
    model.sent[:], model.options[:] = sent, options
    return list(found)


def test_the_turn_grows_and_keeps_its_id(question: HumanMessage, path: str) -> None:
    model, runner = writer(block("a"), block("crop"), "<answer>red</answer>"), Runner(path)
    agent = create_visual_agent(model, protocol="thyme", tools=[runner]).compile()
    ids = []
    for update in agent.stream({"messages": [question]}, stream_mode="values"):
        ids += [[m.id for m in update["messages"] if isinstance(m, AIMessage)]]
    result = agent.get_graph() and update
    first, second, third = model.sent
    assert [type(m).__name__ for m in first] == ["SystemMessage", "HumanMessage"]
    assert isinstance(second[-1], AIMessage)
    assert second[-1].text == block("a") + f"{OPEN}a{CLOSE}"
    assert third[-1].text == second[-1].text + block("crop") + OPEN + CLOSE
    assert [b["url"] for b in third[-1].content if b["type"] == "image"] == [path]
    assert second[-1].id == third[-1].id
    turn, final = result["messages"][1:]
    assert (turn.id, turn.content) == (third[-1].id, third[-1].content)
    assert (final.content, final.response_metadata["raw_output"]) == ("red", "<answer>red</answer>")
    assert [m.usage_metadata["total_tokens"] for m in (turn, final)] == [22, 11]
    assert {len(found) for found in ids[2:-1]} <= {1, 2}
    assert [(s["tool"], s["arguments"], s["error"]) for s in result["steps"]] == [
        ("code", {"code": "a"}, None),
        ("code", {"code": "crop"}, None),
    ]
    assert len(runner.closed) == 1
    assert {trajectory for _, trajectory, _ in runner.ran} == set(runner.closed)


def test_how_the_model_is_called(question: HumanMessage) -> None:
    model = writer(block("a"), "Hm.", "<answer>red</answer>")
    run(model, question)
    first, second, third = model.options
    assert first == {"stop": list(STOPS)}
    extra = {"continue_final_message": True, "add_generation_prompt": False, "include_stop_str_in_output": True}
    assert second == {"stop": list(STOPS), "extra_body": extra}
    assert third == {"stop": list(STOPS), "extra_body": extra, "temperature": 1.0}
    assert model.sent[1] == model.sent[2]


def test_the_users_own_extra_body_stays(question: HumanMessage) -> None:
    class Hosted(Writer):
        extra_body: dict[str, Any] = {"mm_processor_kwargs": {"max_pixels": 3}}

    model = Hosted(script=[block("a"), "<answer>red</answer>"], sent=[], options=[])
    run(model, question)
    assert model.options[1]["extra_body"]["mm_processor_kwargs"] == {"max_pixels": 3}
    assert model.options[1]["extra_body"]["continue_final_message"] is True


def test_an_output_with_neither_is_dropped_and_counted(question: HumanMessage) -> None:
    model = writer("Hm.", "Well.", "<answer>red</answer>")
    result = run(model, question, protocol=ThymeProtocol(retry_temperature=0.7))
    assert [m.content for m in result["messages"][1:]] == ["red"]
    assert result["tool_steps"] == 2
    assert [options.get("temperature") for options in model.options] == [None, 0.7, 0.7]


@pytest.mark.parametrize("final", [FINAL, ""])
def test_after_the_last_step_whatever_is_said_is_the_answer(question: HumanMessage, final: str) -> None:
    model, runner = writer(*map(block, "ab"), f"It is red. {block('c')}"), Runner()
    result = run(model, question, runner, max_steps=2, protocol=ThymeProtocol(final=final))
    assert result["messages"][-1].content == "It is red."
    assert [code for code, _, _ in runner.ran] == ["a", "b"] * 2
    last, options = model.sent[2][-1], model.options[2]
    if final:
        assert (last.text, options.get("extra_body")) == (FINAL, None)
    else:
        assert last.text.endswith(CLOSE)
        assert options["extra_body"]["continue_final_message"] is True


@pytest.mark.parametrize("final", [FINAL, ""])
@pytest.mark.parametrize(
    ("said", "answer"), [(block("c"), ""), ("<answer>red</answer>", "red"), ("It is red.", "It is red.")]
)
def test_after_the_last_step_a_pretended_output_ends_the_run_too(
    question: HumanMessage, final: str, said: str, answer: str
) -> None:
    model = writer(*map(block, "ab"), f"{said}{OPEN}c{CLOSE}")
    result = run(model, question, max_steps=2, protocol=ThymeProtocol(final=final))
    assert (len(model.sent), result["messages"][-1].text) == (3, answer)


def test_errors_are_shown_where_results_are_and_leave_no_variables(question: HumanMessage) -> None:
    model, runner = writer(block("a"), block("raise"), block("b"), "<answer>red</answer>"), Runner()
    result = run(model, question, runner)
    assert model.sent[2][-1].text.endswith(f"{OPEN}Traceback\nValueError: no{CLOSE}")
    assert [earlier for _, _, earlier in runner.ran[:3]] == [[], ["a"], ["a"]]
    assert [step["error"] for step in result["steps"]] == [None, "ValueError: no", None]


def test_code_is_repaired_before_it_runs(question: HumanMessage) -> None:
    code = 'image = Image.open("x.jpg")\n    cv.show(image.crop((0, 0, 999, 200)))'
    runner = Runner()
    run(writer(block(code.replace("\n    ", "\n")), "<answer>red</answer>"), question, runner)
    ran = runner.ran[0][0]
    assert 'Image.open("x.jpg")' not in ran
    assert "cv2.show" in ran
    runner = Runner()
    run(writer(block("cv.f()"), "<answer>red</answer>"), question, runner, protocol=ThymeProtocol(repair=False))
    assert runner.ran[0][0] == "cv.f()"


def test_what_an_earlier_block_saved_is_opened_by_its_name(question: HumanMessage) -> None:
    runner, opens = Runner(), "print(Image.open('crop.png').size)"
    script = block("Image.open(image_path).save('crop.png')"), block(opens), "<answer>red</answer>"
    run(writer(*script), question, runner)
    assert runner.ran[1][0] == opens


def test_boxes_of_the_image_are_clamped_to_it(question: HumanMessage) -> None:
    runner = Runner()
    code = "image = Image.open(image_path)\nprint(image.crop((0, 0, 999, 200)))"
    run(writer(block(code), "<answer>red</answer>"), question, runner, protocol="thyme")
    assert runner.ran[0][0].endswith("crop((0, 0, 400, 200)))") or runner.ran[0][0].endswith("(0, 0, 400, 200)))")


def test_code_may_name_further_images() -> None:
    for number in (1, 12):
        code = f"image = Image.open({image_path(number)!r})\nimage.crop((0, 0, 999, 200))"
        assert PROTOCOL.mend(code, lambda: (400, 300)) == code


def test_the_question_names_path_and_size(question: HumanMessage) -> None:
    model = writer("<answer>red</answer>")
    run(model, question, protocol=ThymeProtocol(opening="<image>\n"))
    asked = model.sent[0][-1]
    assert [b.get("type") for b in asked.content][:2] == ["image", "text"]
    assert asked.text.startswith("<image>\nWhat colour?")
    assert "/mnt/data/image.png and has 400 x 300 pixels" in asked.text


def test_a_run_goes_on_from_a_checkpoint_with_its_earlier_blocks(question: HumanMessage) -> None:
    saver, thread = InMemorySaver(), {"configurable": {"thread_id": "1"}}

    def agent(*script: str, runner: Runner) -> Any:
        made = create_visual_agent(writer(*script), protocol="thyme", tools=[runner])
        return made.compile(checkpointer=saver, interrupt_before=["code"])

    first, second = Runner(), Runner()
    before = agent(block("a"), block("b"), runner=first)
    before.invoke({"messages": [question]}, thread)
    before.invoke(None, thread)
    after = agent("<answer>red</answer>", runner=second)
    result = after.invoke(None, thread)
    assert result["messages"][-1].content == "red"
    assert [code for code, _, _ in first.ran] == ["a"]
    assert [(code, earlier) for code, _, earlier in second.ran] == [("b", ["a"])]
    assert first.ran[0][1] == second.ran[0][1]


def test_a_later_question_shows_the_whole_turn_before(question: HumanMessage) -> None:
    model = writer(block("a"), "<answer>red</answer>", "<answer>blue</answer>")
    agent = create_visual_agent(model, protocol="thyme", tools=[Runner()]).compile(checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    agent.invoke({"messages": [question]}, thread)
    result = agent.invoke({"messages": [HumanMessage("And now?")]}, thread)
    assert result["messages"][-1].content == "blue"
    kinds = [type(m).__name__ for m in model.sent[2]]
    assert kinds == ["SystemMessage", "HumanMessage", "AIMessage", "HumanMessage"]
    assert model.sent[2][2].text == block("a") + f"{OPEN}a{CLOSE}red"


def test_code_is_a_tool_of_other_protocols_too(question: HumanMessage, scripted: Any, called: Any) -> None:
    runner = Runner()
    model = scripted(called(("code", {"code": "a"})), called(("code", {})), "red")
    agent = create_visual_agent(model, tools=[runner]).compile()
    result = agent.invoke({"messages": [question]})
    assert [m.content for m in result["messages"][2:5:2]] == ["a", "Error: the argument 'code' must be Python code"]
    assert model.tools[0] == ["code"]
    assert result["messages"][-1].content == "red"


def test_other_tools_are_refused(scripted: Any) -> None:
    with pytest.raises(ArgumentError, match="'code' alone"):
        create_visual_agent(scripted("x"), protocol="thyme", tools=("crop",))


@given(words)
def test_whatever_is_said_is_read(text: str) -> None:
    turn = PROTOCOL.read(AIMessage(text, id="1"), ["code"])
    said = turn.message.text
    assert not (turn.calls and turn.answered)
    assert OPEN not in said
    assert CLOSE not in said
    assert text.startswith(said.removesuffix("</code>"))
    if turn.calls:
        assert said.lower().endswith("</code>")
        code = turn.calls[0]["arguments"]["code"]
        assert turn.calls[0]["error"] is None or not code.strip()
    elif not turn.answered:
        assert not re.search(r"<(code|answer)>", said, re.IGNORECASE)
    PROTOCOL.answer(turn.message)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_only_the_program_writes_outputs(segments: list[tuple[str, str]]) -> None:
    """However models and sandboxes tear the tags, there is one output a block, and the turn is open behind it."""
    opened: AIMessage | None = None
    blocks = 0
    for text, shown in segments:
        turn = PROTOCOL.read(AIMessage(text, id=str(blocks)), ["code"])
        if not turn.calls:
            continue
        said = turn.message if opened is None else joined(opened, turn.message)
        outcome: Any = {"id": "", "tool": "code", "text": shown, "images": [], "error": None}
        opened = PROTOCOL.show(said, [outcome])
        blocks += 1
        assert PROTOCOL.is_open(opened)
        assert opened.text.count(OPEN) == opened.text.count(CLOSE) == blocks
        assert not PROTOCOL.is_open(said)


@given(
    st.text(max_size=40),
    st.booleans(),
    st.sampled_from(["python", "Python", "", " python", "py", "python3", "Python3.11 "]),
)
def test_fences_are_optional(code: str, fenced: bool, language: str) -> None:
    if "`" in code or "<" in code or not code.strip() or code.lower().lstrip().startswith("py"):
        return
    inner = f"```{language}\n{code}\n```" if fenced else code
    turn = PROTOCOL.read(AIMessage(f"<Code>\n{inner}\n</cOde> more"), ["code"])
    assert turn.calls[0]["arguments"]["code"].split() == code.split()
    assert turn.message.text.endswith("</cOde>")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a <answer>no</answer></think><answer> B </answer>", "B"),
        (r"So it is \boxed{\text{red}}.", r"\text{red}"),
        ("<answer>red", "red"),
        (f"red {block('x')}", "red"),
        ("plain", "plain"),
    ],
)
def test_answers(text: str, answer: str) -> None:
    assert PROTOCOL.answer(AIMessage(text)) == answer


@given(st.recursive(st.text("ab ", max_size=4), lambda inner: inner.map(lambda t: f"{{{t}}}") | inner, max_leaves=5))
def test_what_is_boxed_may_hold_braces(text: str) -> None:
    assert find_boxed(rf"\boxed{{no}} then \boxed{{{text}}} end") == text.strip()
    assert find_boxed(text) is None


def test_specreason_rates_the_draft_as_a_part_of_the_open_turn(question: HumanMessage) -> None:
    small, large = writer(block("a"), "<answer>red</answer>"), writer("0", block("b"), "0", "<answer>blue</answer>")
    agent = create_visual_agent(SpecReasonModel(small=small, large=large), protocol="thyme", tools=[Runner()]).compile()
    assert agent.invoke({"messages": [question]})["messages"][-1].content == "blue"
    for rating in (large.options[0], large.options[2]):
        assert rating["max_tokens"] == 1
        assert not set(rating.get("extra_body") or {}) & {"continue_final_message", "add_generation_prompt"}
    assert large.options[3]["extra_body"]["continue_final_message"] is True
    before, draft, asked = large.sent[2][-3:]
    assert isinstance(before, HumanMessage)
    assert draft.text == block("b") + f"{OPEN}b{CLOSE}<answer>red</answer>"
    assert asked.text == RATING
    assert rating_prompt([question], AIMessage("x"))[1].text == "x"


@pytest.mark.parametrize("protocol", [ThymeProtocol, DeepEyesProtocol, NativeProtocol])
def test_words_come_from_a_file(tmp_path: Path, protocol: Any) -> None:
    text, toml = tmp_path / "prompt.txt", tmp_path / "prompt.toml"
    text.write_text("\nLook closely.\n")
    assert protocol.from_file(text) == protocol(system="Look closely.")
    text.write_text("Look closely.", encoding="utf-8-sig")
    assert protocol.from_file(text) == protocol(system="Look closely.")
    toml.write_text('system = "Look."\ninstruction = """\nThink {image_path}"""\n')
    found = protocol.from_file(str(toml), final="End.")
    assert (found.system, found.instruction, found.final) == ("Look.", "Think {image_path}", "End.")
    toml.write_text('system = "Look."', encoding="utf-8-sig")
    assert protocol.from_file(toml).system == "Look."
    for wrong in ("", "x = 1", 'sistem = "Look."', "system = 3", 'system = ""', "aliases = {}"):
        toml.write_text(wrong)
        with pytest.raises(ArgumentError, match="agent-prompt"):
            protocol.from_file(toml)
    with pytest.raises(ArgumentError, match="agent-prompt"):
        protocol.from_file(tmp_path / "none.txt")
