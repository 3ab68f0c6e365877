"""A served graph and a client that wants to see a file of the server: nothing it sends opens one, or a connection."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import APIStatusError

from langgraph_speceyes.images import ImageStore
from tests.deploy.server import dev_server
from tests.images.pictures import encode, picture

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

WATCH = """
    import os, sys
    secret, log = os.environ["WATCHED"], os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def watch(event, args):
        if event == "open" and isinstance(args[0], (str, bytes)) and secret in os.fsdecode(args[0]):
            os.write(log, ("open " + os.fsdecode(args[0]) + "\\n").encode())
        elif event == "socket.connect" and str(args[1]).find("'127.0.0.9'") >= 0:
            os.write(log, ("connect " + str(args[1]) + "\\n").encode())

    sys.addaudithook(watch)
"""
QUESTION = "What color is the star?"


class Served:
    """A server whose operator has opened no folder, what it may not open, and what it was seen to open."""

    def __init__(self, url: str, client: SyncLangGraphClient, folder: Path, root: Path, log: Path) -> None:
        self.url, self.client, self.root, self.log = url, client, root, log
        self.there, self.gone = folder / "secret-there.png", folder / "secret-gone.png"

    def opened(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, home = tmp_path_factory.mktemp("secrets"), tmp_path_factory.mktemp("hostile")
    (home / "site").mkdir()
    (home / "site" / "sitecustomize.py").write_text(textwrap.dedent(WATCH))
    root, log = home / "root", home / "opened.log"
    root.mkdir()
    (root / "secret-there-but-allowed.png").write_bytes(encode(picture(64, 64)))
    data = encode(picture(320, 320))
    (folder / "secret-there.png").write_bytes(data)
    ImageStore(home / "images").put(data)
    for name in ("there", "gone"):
        (root / f"link-{name}.png").symlink_to(folder / f"secret-{name}.png")
    env = {
        "PYTHONPATH": os.pathsep.join([str(home / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "WATCHED": "secret-there",
        "WATCH_LOG": str(log),
    }
    with (
        dev_server(home, "--n-jobs-per-worker", "4", scenes=root, start_within_s=900, more_env=env) as server,
        get_sync_client(url=server.url) as client,
    ):
        yield Served(server.url, client, folder, root, log)


def ways(path: Path, root: Path) -> dict[str, dict[str, Any]]:
    """Blocks that refer to a file, and by what name."""
    digest = hashlib.sha256(encode(picture(320, 320))).hexdigest() if "there" in path.name else "0" * 64
    link = root / path.name.replace("secret-", "link-")
    urls = {
        "path": str(path),
        "dots": str(root / ".." / ".." / path.parent.name / path.name),
        "link": str(link),
        "file": f"file://{path}",
        "file localhost": f"FILE://localhost{path}",
        "percent": f"file://{quote(str(path)).replace('secret', '%73ecret')}",
        "percent slash": f"file://{root}%2f..%2f..%2f{path.parent.name}%2f{path.name}",
        "fragment": f"{path}#xywh=0,0,64,64&scale=2",
        "stored": f"sha256:{digest}",
        "part of stored": f"sha256:{digest}#xywh=0,0,64,64",
        "loopback": f"http://127.0.0.9:9/{path.name}",
    }
    blocks: dict[str, dict[str, Any]] = {name: {"type": "image", "url": url} for name, url in urls.items()}
    blocks["path key"] = {"type": "image", "path": str(path)}
    blocks["source"] = {"type": "image", "source": {"type": "url", "url": str(path)}}
    kept = {"block": {"type": "image", "base64": None}, "keys": ["base64"]}
    recipe = {"form": "base64", "head": "", "suffix": ""}
    for mark in ("speceyes_checkpointed", "speceyes_interned"):
        extras = {mark: {**kept, "recipe": recipe}}
        blocks[mark] = {"type": "image", "url": f"sha256:{digest}", "extras": extras}
    return blocks


def own() -> list[dict[str, Any]]:
    shown = base64.b64encode(encode(picture(64, 64))).decode()
    return [{"type": "image", "base64": shown, "mime_type": "image/png"}, {"type": "text", "text": QUESTION}]


def human(*content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content), **more}


CALL = {"name": "crop", "args": {}, "id": "1"}
MARKED = {"additional_kwargs": {"speceyes_observation": True}}
PLACES: dict[str, Callable[[Any], list[dict[str, Any]]]] = {
    "question": lambda block: [human(block, own()[1])],
    "beside": lambda block: [human(*own(), block)],
    "earlier": lambda block: [human(block, own()[1]), {"role": "assistant", "content": "Red."}, human(*own())],
    "system": lambda block: [{"role": "system", "content": [block]}, human(*own())],
    "answer": lambda block: [human(*own()), {"role": "assistant", "content": [block]}],
    "tool": lambda block: [
        human(*own()),
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": [block], "tool_call_id": "1", "name": "crop"},
    ],
    "observation": lambda block: [human(*own()), human(block, own()[1], **MARKED)],
}


def test_nothing_that_a_client_sends_opens_a_file_or_a_connection(served: Served) -> None:
    root = served.root
    names = list(ways(served.there, root))
    # every way in the question, and every place with some of them
    attempts = [("question", way) for way in names]
    attempts += [(place, way) for place in PLACES for way in ("path", "fragment", "stored", "loopback", "link", "file")]
    attempts += [("observation", "speceyes_checkpointed"), ("earlier", "speceyes_checkpointed")]
    attempts = list(dict.fromkeys(attempts))
    assert len(attempts) >= 50
    told = _all(attempts, lambda one: [_asked(served, path, PLACES[one[0]], one[1]) for path in _both(served)])
    differing = {attempt: said for attempt, said in zip(attempts, told, strict=True) if said[0] != said[1]}
    assert differing == {}
    assert served.opened() == []
    # what is watched is the server that answers
    allowed = root / "secret-there-but-allowed.png"
    _run(served, None, PLACES["question"]({"type": "image", "url": str(allowed)}), allowed, None)
    assert set(served.opened()) == {f"open {allowed}"}
    served.log.write_text("")


def test_a_state_that_a_client_has_written_opens_nothing(served: Served) -> None:
    """Checkpoint surgery: references put where the agent's own would be, and images pinned by the run's settings."""
    root = served.root
    attempts = [(node, way) for node in ("agent", "bypass", "intake") for way in ("path", "part of stored", "loopback")]
    attempts += [("intake", "speceyes_checkpointed"), ("pinned", "path"), ("pinned", "stored"), ("pinned", "loopback")]

    def attempt(one: tuple[str, str]) -> list[str]:
        return [surgery(*one, path) for path in _both(served)]

    def surgery(node: str, way: str, path: Path) -> str:
        block = ways(path, root)[way]
        # a connection of its own: the server closes one that has seen it fail
        with get_sync_client(url=served.url) as client:
            thread = client.threads.create(graph_id="embedded")["thread_id"]
            config: Any = {"configurable": {"speceyes_images": [block["url"]]}} if node == "pinned" else None
            if config is None:
                messages = [human(block, own()[1]), {"role": "assistant", "content": [block]}]
                try:
                    client.threads.update_state(thread, {"messages": messages}, as_node=node)
                except APIStatusError as error:
                    return f"refused: {type(error).__name__}"
            said = _run(served, thread, [human(*own())], path, config)
            state = json.dumps(client.threads.get_state(thread)["values"].get("messages", []))
            assert base64.b64encode(encode(picture(320, 320))).decode() not in state
            return said

    told = _all(attempts, attempt)
    assert {one: said for one, said in zip(attempts, told, strict=True) if len(set(said)) > 1} == {}
    assert sum(said[0].startswith("refused") for said in told) < len(told) / 2
    assert served.opened() == []


def _both(served: Served) -> tuple[Path, Path]:
    return served.there, served.gone


def _all(attempts: list[Any], run: Callable[[Any], list[str]]) -> list[list[str]]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(run, attempts))


def _asked(served: Served, path: Path, place: Callable[[Any], list[dict[str, Any]]], way: str) -> str:
    block = ways(path, served.root)[way]
    return _run(served, None, place(block), path, None)


def _run(served: Served, thread: str | None, messages: list[Any], path: Path, config: Any) -> str:
    """What a client learns, but for the names that it has sent."""
    try:
        result: Any = served.client.runs.wait(thread, "embedded", input={"messages": messages}, config=config)
        decision = result["decision"]
        said = f"{decision['route']} {decision['reason']} {decision['error']} {result['messages'][-1]['content']}"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    there, gone = (ways(one, served.root)["stored"]["url"] for one in _both(served))
    for name in (there, gone, path.name, quote(path.name), path.name.replace("secret", "link")):
        said = said.replace(name, "NAME")
    return said.replace("%73ecret-there.png", "NAME").replace("%73ecret-gone.png", "NAME")
