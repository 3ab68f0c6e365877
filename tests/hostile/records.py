"""Faults whose words hold a large image and a credential: what is kept and shown of them.

`python -m tests.hostile.records` (the end of `make faults`) prints a line a fault.
"""

from __future__ import annotations

import io
import json
import logging
import random
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_core.tracers import LangChainTracer
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import ERROR
from langgraph.graph import START, MessagesState, StateGraph
from langsmith import Client
from PIL import Image

from langgraph_speceyes import Gate, create_speceyes, create_visual_agent
from langgraph_speceyes.traffic import SQLiteJournal
from tests.scripted import Agent, Scripted, judge, peaked, speculator
from tests.spellings import SPELLINGS, base64_of
from tests.tracing.capture import Captured, capture

SECRET = "sk-HUSHHUSH12abcdefgh"
RUN = 64
"""Characters of an image in a row that give it away."""
MOST = 4096
"""Characters of foreign text that a record may have."""


def noise(side: int) -> bytes:
    """A PNG with `3 * side * side` bytes that cannot be guessed."""
    out = io.BytesIO()
    pixels = random.Random(5).randbytes(3 * side * side)
    Image.frombytes("RGB", (side, side), pixels).save(out, "PNG", compress_level=0)
    return out.getvalue()


WRITTEN = (
    *("base64", "URL-safe", "its second half", "in lines"),
    *("data URL in nested JSON", "hexadecimal", "printed", "numbers"),
)
"""How the words of errors have the image, of the spellings that are known."""
PLACES = ("judge", "judge says", "speculator", "speculator says", "look", "gate", "tool", "agent", "journal", "agree")
FAULTS = tuple(
    (place, spelling)
    for number, place in enumerate(PLACES)
    # four of the eight spellings each, every one at five places
    for spelling in [WRITTEN[(number * 4 + k) % 8] for k in range(4)]
)
"""Forty places and spellings."""


class Evidence:
    """Whether a text shows bytes of an image.

    Args:
        data: The image.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._base64 = [base64_of(data[start:]) for start in range(3)]
        self._hex = data.hex()

    def shown(self, text: str) -> str | None:
        """How the text shows the image; None if it does not."""
        flat = re.sub(r"\\+n|\s", "", text).replace("-", "+").replace("_", "/")
        for found in re.findall(rf"[A-Za-z0-9+/]{{{RUN},}}", flat):
            if any(part in one for part in _windows(found) for one in self._base64):
                return "base64"
        for found in re.findall(rf"(?i)[0-9a-f]{{{RUN},}}", flat):
            if any(part.lower() in self._hex for part in _windows(found)):
                return "hexadecimal"
        if re.search(r"(?:\d{1,3},){20}", flat):
            return "numbers"
        if len(re.findall(r"\\+x[0-9a-f]{2}", text)) > 20 or len(re.findall("[\x80-\xff\ufffd]", text)) > 20:
            return "raw"
        return None

    def in_bytes(self, blob: bytes) -> str | None:
        """The same of a checkpoint's bytes."""
        if any(self.data[at : at + RUN] in blob for at in range(1000, len(self.data) - RUN, len(self.data) // 20)):
            return "bytes"
        shown = self.shown(blob.decode("latin-1"))
        return None if shown == "raw" else shown


def _windows(run: str) -> list[str]:
    """Pieces of a run: words before or behind the image's may be of the same letters."""
    return [run[at : at + RUN] for at in (0, (len(run) - RUN) // 2, len(run) - RUN)]


class _Says(Scripted):
    """A model whose description has none of its words: LangChain traces it as it is."""

    def __repr_args__(self) -> Any:
        return []


class _Raises(_Says):
    """A model whose error's words are given."""

    words: str

    def _generate(self, *_: Any, **__: Any) -> Any:
        raise ValueError(self.words)


class _Gate(Gate):
    def accepts(self, answer: Any) -> bool:
        raise RuntimeError("".join(answer.tokens))


class _Journal(SQLiteJournal):
    words = ""

    def write(self, record: Any) -> None:
        raise OSError(self.words)


class _Calls(Scripted):
    """Calls a tool once, then answers."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: Any, *_: Any, **__: Any) -> Any:
        if any(one.type == "tool" for one in messages):
            return Scripted(answer="done")._generate(messages)
        found = Scripted(answer="")._generate(messages)
        message = AIMessage("", tool_calls=[{"name": "fetch", "args": {}, "id": "1"}])
        found.generations[0].message = message
        return found


def graph_for(place: str, words: str, folder: Path) -> Any:
    """A bypass in which something fails at a place with these words."""
    _Journal.words = words
    options: dict[str, Any] = {"speculator": speculator(), "judge": judge(0.1), "gate": Gate("min", 0.9, k=64)}
    agent: Any = Agent().graph
    options["journal"] = SQLiteJournal(folder / "journal.db", texts=True)

    def fails(*_: Any, **__: Any) -> Any:
        raise ValueError(words)

    if place == "judge":
        options["judge"] = _Raises(words=words)
    elif place == "judge says":
        options["judge"] = _Says(answer=words, content=[peaked(words[:3000], 20, 9.0)])
    elif place == "speculator":
        options["speculator"] = _Raises(words=words)
    elif place == "speculator says":
        options["speculator"] = _Says(answer=words, content=[peaked(words, 64, 0.01)])
    elif place == "look":
        options |= {"speculator": speculator(0.01), "looks": [fails]}
    elif place == "gate":
        options |= {"gate": _Gate("min", 0.9, k=64), "speculator": _Says(answer=words, content=[peaked(words, 64, 9)])}
    elif place == "tool":

        @tool
        def fetch() -> str:
            """Fetch."""
            raise ValueError(words)

        options["judge"] = judge(0.9)
        agent = create_visual_agent(_Calls(), tools=[fetch])
    elif place == "agent":
        options["judge"] = judge(0.9)
        agent = StateGraph(MessagesState)
        agent.add_node("act", fails)
        agent.add_edge(START, "act")
    elif place == "journal":
        options["journal"] = _Journal(folder / "journal.db", texts=True)
    elif place == "agree":
        options |= {"mode": "shadow", "agree": fails}
    return create_speceyes(agent, **options).compile(checkpointer=InMemorySaver())


def _parts(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("latin-1")
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _parts(key)
            yield from _parts(one)
    elif isinstance(value, Iterable):
        for one in value:
            yield from _parts(one)


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # those of the server that stands in for LangSmith, and of its client, are not ours
        if not record.name.startswith(("urllib3", "langsmith", "httpcore", "httpx")):
            self.lines.append(self.format(record))


@contextmanager
def _logged() -> Iterator[list[str]]:
    handler, root = _Log(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def records_of(place: str, words: str, image: bytes, folder: Path) -> dict[str, list[str]]:
    """All that is kept and shown of one question with a fault, by kind.

    Args:
        place: What fails.
        words: What it says.
        image: What is asked about, inline.
        folder: For the journal.
    """
    block = {"type": "image", "base64": base64_of(image), "mime_type": "image/png"}
    asked: Any = {"messages": [HumanMessage([block, {"type": "text", "text": "What is there?"}])]}
    found: dict[str, list[str]] = {}
    with capture() as captured, _logged() as lines:
        client = Client(api_url=captured.url, api_key="key")
        tracer = LangChainTracer(client=client, project_name="p")
        graph = graph_for(place, words, folder)
        config: Any = {"callbacks": [tracer], "configurable": {"thread_id": "1"}}
        events: list[Any] = []
        try:
            for mode, part in graph.stream(asked, config, stream_mode=["custom", "updates"]):
                events.append({mode: part})
        except Exception as error:
            found["exception"] = ["".join(traceback.format_exception(error)), repr(error.args)]
        tracer.wait_for_futures()
        client.flush()
        client.cleanup()
        found["trace"] = _traced(captured)
        found["events"] = list(_parts([_plain(one) for one in events]))
        found["log"] = list(lines)
        found["checkpoint"] = list(_kept(graph.checkpointer))
    found["journal"] = [json.dumps(record) for record in _journal(folder)]
    return found


def _kept(saver: InMemorySaver) -> Iterator[str]:
    """What checkpoints hold, but for two things that LangGraph keeps before this package sees them.

    They are the input as it came, in the first checkpoint, and within the agent's own run what its node raised, as with
    the agent alone.
    """
    yield from (data.decode("latin-1") for key, (_, data) in saver.blobs.items() if key[2] != "__start__")
    for namespace, checkpoints in [item for thread in saver.storage.values() for item in thread.items()]:
        for number, (checkpoint, metadata, _) in enumerate(checkpoints.values()):
            yield from (data.decode("latin-1") for _, data in (checkpoint, metadata))
            writes = saver.writes.get(("1", namespace, list(checkpoints)[number]), {}).values()
            if number or namespace:
                own = namespace.startswith("agent")
                yield from (data.decode("latin-1") for _, name, (_, data), _ in writes if name != ERROR or not own)


def _traced(captured: Captured) -> list[str]:
    """What was said of every run, but for what the caller's own root run was given and gave."""
    root = {id for id, run in captured.runs.items() if run.get("parent_run_id") is None}
    found: list[str] = []
    for id, said in captured.said:
        fields = json.loads(said)
        if id in root and not {"messages", "inputs", "outputs", "output"}.isdisjoint(fields):
            fields = {key: fields[key] for key in ("name", "error", "extra", "tags", "events") if key in fields}
        found += _parts(fields)
    return found


def _plain(event: Any) -> Any:
    """An event without the messages that are the agent's or the user's own."""
    return json.loads(json.dumps(event, default=lambda one: type(one).__name__))


def _journal(folder: Path) -> Iterable[Any]:
    journal = SQLiteJournal(folder / "journal.db", texts=True)
    try:
        return [record for _, record in journal.read()]
    finally:
        journal.close()


def _foreign(text: str) -> int:
    """Characters of a text but for the lines of a traceback, which are of files that are there."""
    return sum(len(line) for line in text.replace("\\n", "\n").splitlines() if not line.startswith("  "))


def faults_of(place: str, spelling: str, image: bytes, evidence: Evidence) -> list[str]:
    """What one fault leaves that it must not, in words; nothing where all is well."""
    words = f"Authorization: Bearer {SECRET} refused {SPELLINGS[spelling](image)} of {SECRET}"
    with tempfile.TemporaryDirectory() as folder:
        records = records_of(place, words, image, Path(folder))
    wrong = []
    for kind, texts in records.items():
        for text in texts:
            shown = (
                evidence.in_bytes(text.encode("latin-1", "replace")) if kind == "checkpoint" else evidence.shown(text)
            )
            if shown:
                wrong.append(f"{kind} shows the image: {shown}, {text[:80]!r}")
            if SECRET in text:
                wrong.append(f"{kind} shows the key: {text[:80]!r}")
            if kind != "checkpoint" and (size := _foreign(text)) > MOST:
                wrong.append(f"{kind} holds {size} characters: {text[:80]!r}")
    return wrong


def main(faults: Iterable[tuple[str, str]] = FAULTS, report: Callable[[str], None] = print) -> int:
    """Run the faults; how many left something that they must not."""
    image = noise(1300)
    evidence, failed = Evidence(image), 0
    for place, spelling in faults:
        wrong = faults_of(place, spelling, image, evidence)
        failed += bool(wrong)
        report(f"{place:16} {spelling:24} {'; '.join(wrong)[:300] or 'ok'}")
    report(f"{len(image) / 1e6:.1f} MB, {len(tuple(faults))} faults, {failed} show something")
    return failed


if __name__ == "__main__":
    sys.exit(main() > 0)
