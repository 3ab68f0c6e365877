"""A served graph and a client that wants to see a file of the server: nothing it sends opens one, or a connection."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
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
from tests.hostile.web import Web, serving
from tests.images.pictures import encode, picture

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

WATCH = """
    import os, sys
    secrets = os.environ["WATCHED"].split(":")
    log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(what, said):
        os.write(log, (what + " " + said + "\\n").encode("utf-8", "replace"))

    def watch(event, args):
        if event.startswith(("open", "os.", "glob", "pathlib", "shutil", "mmap", "subprocess", "ctypes")):
            said = " ".join(os.fsdecode(one) if isinstance(one, (str, bytes)) else str(one) for one in args)
            if any(secret in said for secret in secrets):
                note(event, said)
        elif event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
            note(event, str(args[1:] if event in ("socket.connect", "socket.sendto") else args))

    sys.addaudithook(watch)
"""
QUESTION = "What color is the star?"


class Served:
    """A server whose operator has opened no folder, what it may not open, and what it was seen to open."""

    def __init__(self, url: str, client: SyncLangGraphClient, folder: Path, root: Path, log: Path, trap: Web) -> None:
        self.url, self.client, self.root, self.log, self.trap = url, client, root, log, trap
        self.there, self.gone = folder / "secret-there.png", folder / "secret-where.png"
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            self.closed: int = closed.getsockname()[1]

    def opened(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def spelled(self, there: bool) -> dict[str, str]:
        """References to what is there, or to the same that is not: a file, an image of somebody else, a port."""
        path, root = self.there if there else self.gone, self.root
        digest = DIGEST if there else "0" * 64
        port = self.trap.port if there else self.closed
        names = {
            "path": str(path),
            "dots": str(root / ".." / ".." / path.parent.name / path.name),
            "link": str(root / path.name.replace("secret-", "link-")),
            "linked folder": str(root / "folder" / path.name),
            "file": f"file://{path}",
            "file localhost": f"FILE://localhost{path}",
            "percent": f"file://{quote(str(path)).replace('secret', '%73ecret')}",
            "percent slash": f"file://{root}%2f..%2f..%2f{path.parent.name}%2f{path.name}",
            "process": f"/proc/self/root{path}",
            "fragment": f"{path}#xywh=0,0,64,64&scale=2",
            "stored": f"sha256:{digest}",
            "part of stored": f"sha256:{digest}#xywh=0,0,64,64",
        }
        hosts = (
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0x7f.1",
            "2130706433",
            "0.0.0.0",
            "user@127.0.0.1",
        )
        return names | {host: f"http://{host}:{port}/{path.name}" for host in hosts}

    def named(self) -> list[tuple[str, str]]:
        """What two answers may differ in: the names that the client has sent."""
        pairs = zip(self.spelled(True).values(), self.spelled(False).values(), strict=True)
        return [*pairs, (self.there.name, self.gone.name), (DIGEST, "0" * 64), (str(self.trap.port), str(self.closed))]


DIGEST = hashlib.sha256(encode(picture(320, 320))).hexdigest()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, home = tmp_path_factory.mktemp("secrets"), tmp_path_factory.mktemp("hostile")
    (home / "site").mkdir()
    (home / "site" / "sitecustomize.py").write_text(textwrap.dedent(WATCH))
    root, log = home / "root", home / "opened.log"
    root.mkdir()
    (root / "allowed.png").write_bytes(encode(picture(64, 64)))
    data = encode(picture(320, 320))
    (folder / "secret-there.png").write_bytes(data)
    ImageStore(home / "images").put(data)
    (root / "folder").symlink_to(folder)
    for name in ("there", "where"):
        (root / f"link-{name}.png").symlink_to(folder / f"secret-{name}.png")
    env = {
        "PYTHONPATH": os.pathsep.join([str(home / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "WATCHED": f"{folder.name}/:allowed.png",
        "WATCH_LOG": str(log),
    }
    with (
        serving() as trap,
        dev_server(home, "--n-jobs-per-worker", "4", scenes=root, start_within_s=900, more_env=env) as server,
        get_sync_client(url=server.url) as client,
    ):
        log.write_text("")
        yield Served(server.url, client, folder, root, log, trap)


def marked(mark: str) -> Callable[[str], dict[str, Any]]:
    recipe = {"form": "base64", "head": "", "suffix": ""}
    kept = {"block": {"type": "image", "base64": None}, "keys": ["base64"], "recipe": recipe}
    return lambda url: {"type": "image", "url": url, "extras": {mark: kept}}


SHAPES: dict[str, Callable[[str], dict[str, Any]]] = {
    "url": lambda url: {"type": "image", "url": url},
    "path": lambda url: {"type": "image", "path": url},
    "data": lambda url: {"type": "image", "base64": url, "mime_type": "image/png"},
    "file id": lambda url: {"type": "image", "file_id": url},
    "source": lambda url: {"type": "image", "source": {"type": "url", "url": url}},
    "image_url": lambda url: {"type": "image_url", "image_url": {"url": url}},
    "image_url as text": lambda url: {"type": "image_url", "image_url": url},
    "input_image": lambda url: {"type": "input_image", "image_url": url},
    "image_file": lambda url: {"type": "image_file", "image_file": {"file_id": url}},
    "file": lambda url: {"type": "file", "url": url, "path": url, "mime_type": "image/png"},
    "media": lambda url: {"type": "media", "file_uri": url, "mime_type": "image/png"},
    "only key": lambda url: {"image": {"source": {"url": url}, "path": url}},
    "checkpointed": marked("speceyes_checkpointed"),
    "interned": marked("speceyes_interned"),
}
"""Blocks that refer to an image."""


def own() -> list[dict[str, Any]]:
    shown = base64.b64encode(encode(picture(64, 64))).decode()
    return [{"type": "image", "base64": shown, "mime_type": "image/png"}, {"type": "text", "text": QUESTION}]


def human(*content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content), **more}


CALL = {"name": "crop", "args": {}, "id": "1"}
MARKED = {"additional_kwargs": {"speceyes_observation": True}}


def said(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "Red.", **more}


def called(url: str) -> dict[str, Any]:
    return {"image": url, "path": url, "url": url, "image_path": url, "bbox_2d": [0, 0, 64, 64], "label": url}


def other_keys(url: str) -> dict[str, Any]:
    """Keys of the state that no client is to write: the bypass's own, and the agent's."""
    call = {"id": "1", "tool": "crop", "arguments": called(url), "error": None}
    keys = ("question", "intake", "judgment", "speculation", "looks", "observations", "settings", "images")
    own_keys = {f"speceyes_{key}": {"image": url, "images": [url], "uri": url} for key in keys}
    return own_keys | {
        "calls": [call],
        "steps": [{"image": url}],
        "images": [url],
        "image": url,
        "decision": {"image": url},
    }


Made = Callable[[str, dict[str, Any]], dict[str, Any]]
"""From a reference, and a block of it, to what a run is given."""
PLACES: dict[str, Made] = {
    "question": lambda url, block: {"input": [human(block, own()[1])]},
    "beside": lambda url, block: {"input": [human(*own(), block)]},
    "earlier": lambda url, block: {"input": [human(block, own()[1]), said(), human(*own())]},
    "system": lambda url, block: {"input": [{"role": "system", "content": [block]}, human(*own())]},
    "answer": lambda url, block: {"input": [human(*own()), said(content=[block])]},
    "answered": lambda url, block: {"input": [human(*own()), said(content=[block]), human(*own())]},
    "tool": lambda url, block: {
        "input": [
            human(*own()),
            said(tool_calls=[CALL]),
            {"role": "tool", "content": [block], "tool_call_id": "1", "name": "crop"},
        ]
    },
    "artifact": lambda url, block: {
        "input": [
            human(*own()),
            said(tool_calls=[CALL]),
            {
                "role": "tool",
                "content": "a part",
                "tool_call_id": "1",
                "artifact": [block, {"image": url, "path": url}],
            },
        ]
    },
    "observation": lambda url, block: {"input": [human(*own()), human(block, own()[1], **MARKED)]},
    "arguments": lambda url, block: {"input": [human(*own()), said(tool_calls=[{**CALL, "args": called(url)}])]},
    "call in text": lambda url, block: {
        "input": [
            human(*own()),
            said(content=f"<tool_call>{json.dumps({'name': 'crop', 'arguments': called(url)})}</tool_call>"),
        ]
    },
    "kwargs": lambda url, block: {
        "input": [human(*own(), additional_kwargs={"images": [url], "image_url": url, "content": [block]})]
    },
    "kwargs of an answer": lambda url, block: {
        "input": [
            human(*own()),
            said(
                additional_kwargs={
                    "image": url,
                    "function_call": {"name": "crop", "arguments": json.dumps(called(url))},
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "crop", "arguments": json.dumps(called(url))},
                        }
                    ],
                }
            ),
        ]
    },
    "metadata of an answer": lambda url, block: {
        "input": [human(*own()), said(response_metadata={"speceyes": {"image": url}, "image": block}), human(*own())]
    },
    "name": lambda url, block: {"input": [human(*own(), name=url, id=url)]},
    "other keys": lambda url, block: {"input": [human(*own())], "keys": other_keys(url)},
    "configurable": lambda url, block: {
        "input": [human(*own())],
        "config": {"configurable": {"speceyes_images": [url], "image": url, "checkpoint_ns": url}},
    },
    "context": lambda url, block: {"input": [human(*own())], "context": {"speceyes_images": [url], "image": url}},
    "metadata": lambda url, block: {"input": [human(*own())], "metadata": {"image": url, "speceyes_images": [block]}},
    "command": lambda url, block: {"update": [human(block, own()[1])], "keys": other_keys(url)},
}


def attempts(served: Served) -> list[tuple[str, str, str]]:
    """Every spelling and every shape in a question; every place with some of both, all of them in turn."""
    spellings, shapes = list(served.spelled(True)), list(SHAPES)
    made = [("question", spelling, "url") for spelling in spellings]
    made += [("question", "path", shape) for shape in shapes]
    for number, place in enumerate(PLACES):
        made += [(place, "path", "url"), (place, "127.0.0.1", "image_url")]
        made += [
            (place, spellings[(5 * number + k) % len(spellings)], shapes[(3 * number + k) % len(shapes)])
            for k in range(3)
        ]
    return list(dict.fromkeys(made))


def test_nothing_that_a_client_sends_opens_a_file_or_a_connection(served: Served) -> None:
    tried = attempts(served)
    assert len(tried) > 100
    assert {place for place, _, _ in tried} == set(PLACES)
    told = _all(tried, lambda one: [_asked(served, there, *one) for there in (True, False)])
    assert {one: pair for one, pair in zip(tried, told, strict=True) if pair[0] != pair[1]} == {}
    # most of it is answered, not refused before it comes to anything
    assert sum(pair[0].startswith(("bypass", "fallback")) for pair in told) > len(told) / 2
    assert served.opened() == []
    assert served.trap.seen == []
    # what is watched is the server that answers
    allowed = served.root / "allowed.png"
    _run(served, None, [human(SHAPES["url"](str(allowed)), own()[1])])
    assert f"open {allowed}" in " ".join(served.opened())
    served.log.write_text("")


def test_what_a_client_keeps_on_the_server_opens_nothing(served: Served) -> None:
    """The store, and the metadata of a thread and of an assistant."""

    def kept(one: str) -> list[str]:
        return [keep(served.spelled(there)[one]) for there in (True, False)]

    def keep(url: str) -> str:
        value = {"image": url, "images": [url], "record": {"images": [url]}, "messages": [human(SHAPES["url"](url))]}
        with get_sync_client(url=served.url) as client:
            for namespace in (["speceyes"], ["speceyes", "journal"], ["speceyes", "images"]):
                client.store.put_item(namespace, key=hashlib.sha256(url.encode()).hexdigest(), value=value)
            thread = client.threads.create(graph_id="embedded", metadata=value)["thread_id"]
        return _run(served, thread, [human(*own())])

    tried = ["path", "link", "file", "stored", "127.0.0.1"]
    assert [pair for pair in _all(tried, kept) if pair[0] != pair[1] or "Error" in pair[0]] == []
    assert served.opened() == []
    assert served.trap.seen == []


def test_a_state_that_a_client_has_written_opens_nothing(served: Served) -> None:
    """Checkpoint surgery: references put where the agent's own would be."""
    tried = [
        (node, spelling, "url")
        for node in ("agent", "bypass", "intake", "judge", "speculate", "__start__", "__input__", None)
        for spelling in ("path", "part of stored", "127.0.0.1")
    ]
    tried += [("intake", "stored", "checkpointed"), ("agent", "stored", "interned"), ("agent", "link", "image_url")]

    def attempt(one: tuple[str | None, str, str]) -> list[str]:
        return [surgery(*one, there) for there in (True, False)]

    def surgery(node: str | None, spelling: str, shape: str, there: bool) -> str:
        url = served.spelled(there)[spelling]
        block = SHAPES[shape](url)
        # a connection of its own: the server closes one that has seen it fail
        with get_sync_client(url=served.url) as client:
            thread = client.threads.create(graph_id="embedded")["thread_id"]
            messages = [human(block, own()[1]), said(content=[block], tool_calls=[{**CALL, "args": called(url)}])]
            try:
                client.threads.update_state(thread, {"messages": messages, **other_keys(url)}, as_node=node)
            except APIStatusError as error:
                return f"refused: {type(error).__name__}"
            told = _run(served, thread, [human(*own())])
            state = json.dumps(client.threads.get_state(thread)["values"].get("messages", []))
            assert base64.b64encode(encode(picture(320, 320))).decode() not in state
            return told

    told = _all(tried, attempt)
    assert {one: pair for one, pair in zip(tried, told, strict=True) if len(set(pair)) > 1} == {}
    assert sum(pair[0].startswith("refused") for pair in told) < len(told) * 2 / 3
    assert served.opened() == []
    assert served.trap.seen == []


def _all(attempts: list[Any], run: Callable[[Any], list[str]]) -> list[list[str]]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(run, attempts))


def _asked(served: Served, there: bool, place: str, spelling: str, shape: str) -> str:
    url = served.spelled(there)[spelling]
    made = PLACES[place](url, SHAPES[shape](url))
    thread = None
    if "update" in made:
        thread = served.client.threads.create(graph_id="embedded")["thread_id"]
        made = {"command": {"update": {"messages": made["update"], **made["keys"]}, "goto": "agent"}}
        return _run(served, thread, None, **made)
    return _run(served, thread, made.pop("input"), **made)


def _run(served: Served, thread: str | None, messages: Any, keys: Any = None, **options: Any) -> str:
    """What a client learns, but for the names that it has sent."""
    given = None if messages is None else {"messages": messages, **(keys or {})}
    try:
        result: Any = served.client.runs.wait(thread, "embedded", input=given, **options)
        decision = result.get("decision") or {}
        messages = [(one["type"], one["content"]) for one in result["messages"]]
        shown = [decision.get("route"), decision.get("reason"), decision.get("error"), messages]
        told = " ".join(one if isinstance(one, str) else json.dumps(one) for one in shown)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
    for there, gone in served.named():
        for name in (there, gone):
            told = told.replace(json.dumps(name)[1:-1], "NAME").replace(name, "NAME")
    return told
