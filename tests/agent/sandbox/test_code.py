"""The code tool: variables between blocks, what comes back, resuming, workers that are kept and given back."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from PIL import Image

from langgraph_speceyes.agent import create_visual_agent
from langgraph_speceyes.agent.sandbox import (
    OUTPUT_FOLDER,
    CodeLimits,
    CodeTool,
    code_tool,
    escape_tags,
    image_path,
    landlock,
)
from langgraph_speceyes.agent.sandbox import choose as choosing
from langgraph_speceyes.agent.sandbox.outcome import TAGS
from langgraph_speceyes.errors import ArgumentError, SandboxUnavailableError
from langgraph_speceyes.images import ImagePolicy, ImageRef, inline_reference, load_image, parse_reference
from tests.agent.sandbox.users import ROOT, WHO, command

CROP = """
image = Image.open(image_path)
processed_path = temp_output_dir + "crop%d.png" % random.randint(0, 10 ** 9)
image.crop((100, 50, 180, 120)).save(processed_path)
print(processed_path)
"""

PIXEL = b"P6 1 1 255 abc"


@pytest.fixture(scope="module")
def tool() -> Iterator[CodeTool]:
    made = CodeTool(limits=CodeLimits(seconds=30))
    yield made
    made.close()


@pytest.fixture
def ref(path: str) -> ImageRef:
    return parse_reference(path)


def pid_of(tool: CodeTool, name: str) -> int:
    session: Any = tool._pool._idle[name].session
    return int(session.process.pid)


def gone(pid: int) -> bool:
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_variables_stay_and_a_crop_comes_back(tool: CodeTool, ref: ImageRef, picture: Image.Image) -> None:
    first = tool.run(CROP, trajectory="a", images=[ref])
    assert (first.error, first.failure, first.replayed) == (None, None, 0)
    assert first.text.startswith(OUTPUT_FOLDER)
    assert first.images[0].source.startswith("sha256:")
    assert load_image(first.images[0]).tobytes() == picture.crop((100, 50, 180, 120)).tobytes()
    # an image that was shown is not shown again, though its variable stays
    second = tool.run(
        "print(image.size, image_path, np.asarray(image).shape)", trajectory="a", images=[ref], earlier=[CROP]
    )
    assert second.text == f"(400, 300) {image_path()} (300, 400, 3)"
    assert (second.images, second.replayed) == ((), 0)


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("for n in 'ab': Image.new('RGB', (40, 40)).save(temp_output_dir + n + '.png')", 2),
        ("for n in 'xy': Image.new('RGB', (40, 40)).save(n + '.png')\nprint('see ' + temp_output_dir + 'y.png')", 1),
        ("Image.new('RGB', (40, 40)).save('/tmp/z.jpg')\nprocessed_path = ['/tmp/../' + temp_output_dir + 'z.jpg']", 1),
        ("cv2.imwrite(temp_output_dir + 'c.png', cv2.imread(image_path)[:50, :60])", 1),
        ("print('nothing')", 0),
        ("processed_path = image_path", 1),
        ("p = temp_output_dir + 'crop.png'\nImage.new('RGB', (40, 40)).save(p)\nprint(f'Saved to {p}.')", 1),
        ("p = temp_output_dir + '/crop.png'\nImage.new('RGB', (40, 40)).save(p)\nprint(f'`{p}`: the crop')", 1),
        ("p = temp_output_dir + 'crop (1).png'\nImage.new('RGB', (40, 40)).save(p)\nprint(p)", 1),
        ("for n in '', '1', '12': Image.new('L', (40, 40)).save(n + 'i.png')\nprint(temp_output_dir + '12i.png!')", 1),
        ("processed_path = '/tmp/crop.png'\nImage.new('RGB', (40, 40)).save(processed_path)", 1),
        ("Image.new('RGB', (40, 40)).save('made.png')\nprocessed_path = temp_output_dir + 'never.png'", 1),
        ("os.makedirs('crops')\nfor n in 'ab': Image.new('RGB', (40, 40)).save(f'crops/{n}.png')", 2),
        ("os.mkdir('/tmp/a b')\nprocessed_path = ['/tmp/a b/c.png']\nImage.new('L', (40, 40)).save('a b/c.png')", 1),
        ("os.symlink('/etc', 'out')\nprocessed_path = 'out/hostname'\nprint(temp_output_dir + 'a\\0b')", 0),
        ("processed_path = '/tmp/a\\0b.png'", 0),
    ],
)  # fmt: skip
def test_which_images_come_back(tool: CodeTool, ref: ImageRef, code: str, count: int) -> None:
    outcome = tool.run(code, trajectory=code, images=[ref])
    assert (outcome.error, len(outcome.images)) == (None, count), outcome
    tool.close(code)


@pytest.mark.parametrize("named", ["processed_path = folder", "print('the crops are in', folder)"])
def test_a_folder_that_is_named_is_no_image(tool: CodeTool, named: str) -> None:
    code = f"folder = temp_output_dir + 'crops'\nos.makedirs(folder)\n{named}"
    outcome = tool.run(code, trajectory=named)
    assert (outcome.error, outcome.images) == (None, ())
    assert tool.run("print(folder)", trajectory=named, earlier=[code]).replayed == 0


def test_errors_are_in_the_text_and_leave_no_variables(tool: CodeTool) -> None:
    failed = tool.run("left = 1\nprint('before')\n{}['key']", trajectory="b")
    assert (failed.error, failed.failure) == ("KeyError: 'key'", "exception")
    assert failed.text.splitlines()[:2] == ["before", "Traceback (most recent call last):"]
    assert failed.text.endswith("KeyError: 'key'")
    assert "<string>" not in failed.text
    wrong = tool.run("if True print(1)", trajectory="b")
    assert str(wrong.error).startswith("SyntaxError")
    # failed blocks may be named or left out
    after = tool.run("'left' in globals()\nprint('left' in globals())", trajectory="b", earlier=[])
    assert (after.text, after.replayed) == ("False", 0)


def test_code_that_ends_early_has_said_why(tool: CodeTool) -> None:
    code = "import sys\nleft = 1\nprint('before')\nsys.exit({})"
    early = tool.run(code.format("'there is nothing to crop'"), trajectory="early")
    assert (early.text, early.error) == ("before\nthere is nothing to crop", None)
    earlier = [code.format("'there is nothing to crop'")]
    assert tool.run(code.format(1), trajectory="early", earlier=earlier).text == "before"


def test_a_worker_that_crashed_is_replaced_and_its_blocks_run_again(tool: CodeTool) -> None:
    block = "value = random.random()\nprint(value)"
    first = tool.run(block, trajectory="c")
    crashed = tool.run("import ctypes\nprint('last words')\nctypes.string_at(0)", trajectory="c", earlier=[block])
    assert (crashed.failure, crashed.images) == ("crash", ())
    assert "SIGSEGV" in str(crashed.error)
    assert crashed.text.startswith("last words")
    again = tool.run("print(value)", trajectory="c", earlier=[block])
    assert (again.text, again.replayed) == (first.text, 1)


def test_another_process_goes_on_with_the_same_names(tool: CodeTool, ref: ImageRef, path: str) -> None:
    second = "print(processed_path, sorted({'x', 'y', 'z'}, key=hash), np.random.rand())"
    tool.run(CROP, trajectory="d", images=[ref])
    here = tool.run(second, trajectory="d", images=[ref], earlier=[CROP])
    code = f"""
from langgraph_speceyes.agent.sandbox import CodeTool
from langgraph_speceyes.images import parse_reference
found = CodeTool().run({second!r}, trajectory="d", images=[parse_reference({path!r})], earlier=[{CROP!r}])
print(found.replayed, found.text)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"1 {here.text}"


def test_a_fork_of_the_trajectory_sees_its_own_past(tool: CodeTool) -> None:
    tool.run("x = 1", trajectory="e")
    tool.run("x = 2", trajectory="e", earlier=["x = 1"])
    assert tool.run("print(x)", trajectory="e", earlier=["x = 1"]).text == "1"
    assert tool.run("print(x)", trajectory="e", earlier=["x = 1", "x = 5"]).text == "5"


def test_an_image_that_is_refused_is_said_and_not_shown(ref: ImageRef) -> None:
    with_policy = CodeTool(policy=ImagePolicy(max_pixels=200_000), limits=CodeLimits(seconds=30))
    code = "processed_path = temp_output_dir + 'large.png'\nImage.new('RGB', (600, 600)).save(processed_path)\nkept = 1"
    outcome = with_policy.run(code, trajectory="t", images=[ref])
    assert (outcome.images, outcome.error, outcome.failure) == ((), None, "images")
    assert "200000" in outcome.text.replace(",", "")
    # its variables are there, as the block ran
    assert with_policy.run("print(kept)", trajectory="t", images=[ref], earlier=[code]).replayed == 0
    with_policy.close()


@pytest.mark.parametrize(
    ("code", "count", "said"),
    [
        ("Image.fromarray(np.random.randint(0, 256, (200, 200), 'uint8')).save('a.bmp')\nprint('made', end='')", 0, 1),
        ("for n in range(5): Image.new('L', (40, 40)).save(f'{n}.png')\nprint('made')", 3, 2),
    ],
)
def test_images_that_are_too_many_or_too_large_are_said_to_be_left_out(code: str, count: int, said: int) -> None:
    few = CodeTool(limits=CodeLimits(seconds=30, images=3, image_bytes=20_000))
    outcome = few.run(code, trajectory="t")
    assert (outcome.error, len(outcome.images)) == (None, count)
    lines = outcome.text.splitlines()
    assert lines[0] == "made"
    assert lines[1].startswith(f"not shown: {said} of the files, {OUTPUT_FOLDER}/")
    few.close()


def test_code_that_has_used_up_its_memory_keeps_its_worker() -> None:
    small = CodeTool(limits=CodeLimits(seconds=30, memory=64 * 1024 * 1024))
    code = """
processed_path = temp_output_dir + "large.bmp"
Image.new("RGB", (1500, 1500)).save(processed_path)
kept = []
try:
    while True: kept.append(bytearray(1 << 16))
except MemoryError: del kept[-16:]
"""
    outcome = small.run(code, trajectory="t")
    assert (outcome.error, outcome.images) == (None, ())
    assert outcome.text.startswith("not shown: 1 of the files")
    after = small.run("kept.clear()\nprint(processed_path)", trajectory="t", earlier=[code])
    assert (after.error, after.replayed) == (None, 0)
    small.close()


def test_long_output_is_cut_in_the_middle(tool: CodeTool) -> None:
    outcome = tool.run("print('begin'); print('x' * 100_000); print('end')", trajectory="f")
    assert outcome.text.startswith("begin")
    assert outcome.text.endswith("end")
    assert "left out" in outcome.text
    assert len(outcome.text) < tool.limits.shown + 100


def test_text_is_read_by_the_host(ref: ImageRef, echo: Any) -> None:
    reading = CodeTool(reader=echo, limits=CodeLimits(seconds=30))
    code = (
        "for i in Image.open(image_path).crop((0, 0, 30, 20)), np.zeros((9, 8, 3), 'uint8'), image_path: print(ocr(i))"
    )
    outcome = reading.run(code, trajectory="t", images=[ref])
    assert outcome.text.splitlines() == ["30x20", "second line", "8x9", "second line", "400x300", "second line"]
    broken = (
        "import os\nImage.Image.save = lambda self, file, *a, **k: file.write(b'junk')\nocr(Image.new('RGB', (9, 9)))"
    )
    assert "cannot be read" in reading.run(broken, trajectory="u", images=[ref]).text
    reading.close()


REQUESTS = """
import io, stat, struct, time
data = io.BytesIO()
Image.new("RGB", (20, 20)).save(data, "PNG")
head = json.dumps({"call": "ocr", "sizes": [data.tell()]}).encode()
for _ in range(40):
    for n in range(3, 64):
        try:
            if stat.S_ISFIFO(os.fstat(n).st_mode): os.write(n, struct.pack("!I", len(head)) + head + data.getvalue())
        except OSError: pass
time.sleep(20)
"""


def test_requests_at_once_are_read_no_longer_than_a_block_may_run(echo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = CodeTool(reader=echo, limits=CodeLimits(seconds=1))
    monkeypatch.setattr(type(echo), "read", lambda self, image: time.sleep(0.2) or ["x"])
    outcome = reading.run(REQUESTS, trajectory="t")
    assert outcome.failure == "timeout"
    # within its limit and one reading, on a busy machine too
    assert outcome.seconds < 4
    reading.close()


def test_an_image_too_large_to_be_sent_as_it_is_can_be_read(echo: Any) -> None:
    reading = CodeTool(reader=echo, limits=CodeLimits(seconds=30, image_bytes=400_000))
    code = "image = np.random.randint(0, 256, (500, {}, 3), 'uint8')\nprint(ocr(image))"
    assert reading.run(code.format(500), trajectory="t").text.splitlines()[0] == "500x500"
    outcome = reading.run(code.format(2000), trajectory="u")
    assert (outcome.failure, "read a part of it" in str(outcome.error)) == ("exception", True)
    reading.close()


def test_text_is_read_for_several_threads(echo: Any) -> None:
    reading = CodeTool(reader=echo, limits=CodeLimits(seconds=30))
    code = (
        "from concurrent.futures import ThreadPoolExecutor\nimages = [Image.new('L', (n + 20, 20)) for n in range(9)]\n"
        "with ThreadPoolExecutor(8) as threads: print(*(text.split()[0] for text in threads.map(ocr, images)))"
    )
    outcome = reading.run(code, trajectory="t")
    assert outcome.text.split() == [f"{20 + n}x20" for n in range(9)]
    reading.close()


def test_workers_are_few_and_given_back() -> None:
    few = CodeTool(limits=CodeLimits(seconds=30, workers=2))
    for name in "abc":
        few.run("x = 1", trajectory=name)
    assert len(few._pool) == 2
    pids = [pid_of(few, name) for name in "bc"]
    few.close("b")
    assert gone(pids[0])
    assert not gone_at_once(pids[1])
    few.close()
    assert gone(pids[1])


def gone_at_once(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_worker_that_nobody_uses_is_closed() -> None:
    idle = CodeTool(limits=CodeLimits(seconds=30, idle_s=0.2))
    idle.run("x = 1", trajectory="a")
    for _ in range(200):
        if not len(idle._pool):
            break
        time.sleep(0.05)
    assert len(idle._pool) == 0


def test_trajectories_at_once_do_not_meet(tool: CodeTool) -> None:
    texts: dict[int, str] = {}

    def work(number: int) -> None:
        blocks = [f"mine = {number}", "mine += 100"]
        for at, block in enumerate(blocks):
            tool.run(block, trajectory=f"at once {number}", earlier=blocks[:at])
        texts[number] = tool.run("print(mine)", trajectory=f"at once {number}", earlier=blocks).text

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {number: str(number + 100) for number in range(4)}


def test_the_worker_dies_with_its_host() -> None:
    code = """
import sys, time
from langgraph_speceyes.agent.sandbox import CodeTool
tool = CodeTool()
tool.run("x = 1", trajectory="a")
print(tool._pool._idle["a"].session.process.pid, flush=True)
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        assert not gone_at_once(pid)
        host.send_signal(signal.SIGKILL)
    assert gone(pid)


def test_it_outlives_the_thread_that_asked_for_it(tool: CodeTool) -> None:
    thread = threading.Thread(target=lambda: tool.run("x = 1", trajectory="thread"))
    thread.start()
    thread.join()
    pid = pid_of(tool, "thread")
    time.sleep(0.2)
    assert tool.run("print(x)", trajectory="thread", earlier=["x = 1"]).text == "1"
    assert pid_of(tool, "thread") == pid


def test_nothing_that_holds_means_no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "candidates", lambda limits: [])
    with pytest.raises(SandboxUnavailableError, match=r"pip install 'langgraph-speceyes\[sandbox\]'"):
        CodeTool()
    with pytest.raises(SandboxUnavailableError):
        code_tool()


@pytest.mark.parametrize("room", range(6))
def test_without_descriptors_no_worker_is_started_and_none_is_lost(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    made = CodeTool(limits=CodeLimits(seconds=30))
    made.run("x = 1", trajectory="a")
    made.close()
    left, pipe, memory = room, os.pipe, os.memfd_create

    def opened(make: Any, *arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.EMFILE, "Too many open files")
        return make(*arguments)

    monkeypatch.setattr(os, "pipe", lambda: opened(pipe))
    monkeypatch.setattr(os, "memfd_create", lambda *arguments: opened(memory, *arguments))
    before = len(os.listdir("/proc/self/fd"))
    images = [inline_reference(PIXEL)]
    with pytest.raises(SandboxUnavailableError, match="Too many open files"):
        made.run("print(1)", trajectory="a", images=images)
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.undo()
    assert made.run("print(1)", trajectory="a", images=images).text == "1"
    made.close()


def test_landlock_leaves_threads_to_code_of_a_user_who_has_many() -> None:
    if not landlock.candidates(CodeLimits()):
        pytest.skip("Landlock's package is not installed")
    code = """
import threading
from langgraph_speceyes.agent.sandbox import CodeTool
from langgraph_speceyes.agent.sandbox.landlock import Landlock
end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(80)]
for thread in threads: thread.start()
block = "import threading\\nthread = threading.Thread(target=print, args=('ran',))\\nthread.start()\\nthread.join()"
tool = CodeTool(Landlock())
print(tool.run(block, trajectory="t").text)
tool.close()
end.set()
"""
    run, environment = command(WHO[-1], ["-c", code])
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "ran", done.stdout + done.stderr[-2000:]


def test_without_a_folder_for_files_landlock_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "_memory", lambda: "/nonexistent")
    with pytest.raises(SandboxUnavailableError, match="no folder"):
        landlock.Landlock().start([], None)


def test_what_cannot_hold_code_is_refused() -> None:
    from deepagents.backends import LocalShellBackend

    with pytest.raises(ArgumentError, match="host's own shell"):
        CodeTool(LocalShellBackend())
    with pytest.raises(ArgumentError, match="found int"):
        CodeTool(7)  # type: ignore[arg-type]


@given(
    st.sampled_from(TAGS), st.sampled_from(["<{}>", "</{}>", "< / {} >", "<{} x='y'>", "<{}/>"]), st.text(max_size=20)
)
def test_tags_are_escaped_and_the_rest_stays(tag: str, form: str, around: str) -> None:
    written = form.format(tag)
    escaped = escape_tags(around + written + around)
    assert written not in escaped
    assert escaped.replace("&lt;", "<") == (around + written + around).replace("&lt;", "<")
    assert escape_tags("a < b, x<y>, <thinking about>") == "a < b, x<y>, <thinking about>"


class Unbound:
    """Makes a scripted model that needs no list of its tools: `create_agent` binds LangChain's, not schemas."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __call__(self, *script: Any) -> Any:
        model = self.make(*script)
        plain = type("Plain", (type(model),), {"bind_tools": lambda self, tools, **kwargs: self})
        return plain(script=list(script), sent=[], tools=[], threads=[])


def asked(path: str) -> HumanMessage:
    return HumanMessage([{"type": "image", "url": path}, {"type": "text", "text": "What colour?"}], id="q")


def test_create_agent_runs_code_and_goes_on_in_another_process(scripted: Any, path: str, picture: Image.Image) -> None:
    def calls(code: str, name: str) -> AIMessage:
        return AIMessage("", tool_calls=[{"name": "code", "args": {"code": code}, "id": name, "type": "tool_call"}])

    script = [calls(CROP, "1"), calls("1 / 0", "2"), calls("print(image.size)", "3"), "done"]
    saver = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "t"}}
    first = CodeTool(limits=CodeLimits(seconds=30))
    agent = create_agent(Unbound(scripted)(*script), [code_tool(first)], checkpointer=saver, interrupt_before=["tools"])
    agent.invoke({"messages": [asked(path)]}, config)
    agent.invoke(None, config)
    assert len(first._pool) == 1
    # another tool knows nothing of the first one's worker
    first.close()
    second = CodeTool(limits=CodeLimits(seconds=30))
    rest = Unbound(scripted)(*script[2:])
    agent = create_agent(rest, [code_tool(second)], checkpointer=saver)
    messages = agent.invoke(None, config)["messages"]
    shown = [message for message in messages if isinstance(message, ToolMessage)]
    assert [message.status for message in shown] == ["success", "error", "success"]
    assert shown[0].content[1]["url"].startswith("sha256:")
    assert "ZeroDivisionError" in shown[1].content
    assert shown[2].content == "(400, 300)"
    second.close()


def test_the_visual_agent_runs_code(scripted: Any, called: Any, path: str) -> None:
    tool = CodeTool(limits=CodeLimits(seconds=30))
    model = scripted(called(("code", {"code": "print(Image.open(image_path).size)"})), "done")
    result = create_visual_agent(model, tools=[code_tool(tool)]).compile().invoke({"messages": [asked(path)]})
    assert result["steps"][0]["text"] == "(400, 300)"
    tool.close()


def test_the_image_is_the_file_that_was_given(tool: CodeTool, path: str) -> None:
    code = "import hashlib\nprint(hashlib.sha256(open(image_path, 'rb').read()).hexdigest())"
    import hashlib

    expected = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert tool.run(code, trajectory="file", images=[parse_reference(path)]).text == expected
    data = io.BytesIO()
    Image.new("RGB", (30, 30), "red").save(data, "JPEG")
    two = [parse_reference(path), inline_reference(data.getvalue())]
    sizes = "print([Image.open(path).size for path in image_paths])"
    assert tool.run(sizes, trajectory="two", images=two).text == "[(400, 300), (30, 30)]"
