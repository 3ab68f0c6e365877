"""Threads whose images were references go on with an agent that knows no references."""

from __future__ import annotations

import base64
import io
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from PIL import Image
from typer.testing import CliRunner
from typing_extensions import TypedDict

from langgraph_speceyes import create_speceyes
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ArgumentError, CheckpointError
from langgraph_speceyes.images import ImageStore, MessagesChannel, default_store, restore_checkpoints
from tests.scripted import Scripted, judge, speculator


@dataclass
class Own:
    """A value of a type that no serializer but the user's own process knows."""

    number: int


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(tmp_path / "images"))
    return tmp_path / "images"


def data(colour: str) -> str:
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(picture, "PNG")
    return base64.b64encode(picture.getvalue()).decode()


FORMS: dict[str, dict[str, Any]] = {
    "base64": {"type": "image", "base64": data("teal"), "mime_type": "image/png", "id": "kept"},
    "openai": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data('navy')}", "detail": "low"}},
    "anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data("gold")}},
}


def question(form: str) -> HumanMessage:
    return HumanMessage([FORMS[form], {"type": "text", "text": "What colour is it?"}])


@pytest.fixture(params=["sqlite", "memory"])
def saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """On disk; and one that keeps values apart from checkpoints by their versions, as PostgreSQL's does."""
    if request.param == "memory":
        yield InMemorySaver()
        return
    with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as made:
        yield made


def config(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def asked(saver: Any, thread: str, *forms: str) -> Any:
    """A thread of the bypass, with a question about an image of each form."""
    settings: dict[str, Any] = {"speculator": speculator(), "judge": judge(0.1), "follow_ups": "bypass"}
    graph = create_speceyes(create_agent(Scripted()), **settings).compile(checkpointer=saver)
    for form in forms:
        graph.invoke({"messages": [question(form)]}, config(thread))
    return graph


def held(saver: Any, thread: str) -> list[Any]:
    return saver.get_tuple(config(thread)).checkpoint["channel_values"]["messages"]


def images(messages: list[Any]) -> list[Any]:
    return [message.content[0] for message in messages if isinstance(message, HumanMessage)]


def test_the_agent_alone_goes_on_with_what_the_user_had_sent(saver: Any) -> None:
    asked(saver, "1", *FORMS)
    asked(saver, "2", "base64")
    assert all(block["url"].startswith("sha256:") for block in images(held(saver, "1")))
    before = saver.get_tuple(config("1"))
    (done,) = restore_checkpoints(saver, ["1"])
    assert (done.thread_id, done.checkpoints, done.images, done.error) == ("1", 1, 3, None)

    after = saver.get_tuple(config("1"))
    assert after.config == before.config
    assert after.parent_config == before.parent_config
    assert after.metadata == before.metadata
    others = [key for key in before.checkpoint["channel_values"] if key != "messages"]
    for key in others:
        assert after.checkpoint["channel_values"][key] == before.checkpoint["channel_values"][key]
    # other threads are left alone
    assert images(held(saver, "2"))[0]["url"].startswith("sha256:")

    model = Scripted()
    alone = create_agent(model, checkpointer=saver)
    result = alone.invoke({"messages": [HumanMessage("And now?")]}, config("1"))
    ((seen, _),) = model.calls
    assert images(seen)[:3] == list(FORMS.values())
    assert len(result["messages"]) == 8


def test_the_bypass_goes_on_as_well(saver: Any) -> None:
    graph = asked(saver, "1", "base64")
    restore_checkpoints(saver)
    result = graph.invoke({"messages": [question("openai")]}, config("1"))
    assert images(result["messages"]) == [FORMS["base64"], FORMS["openai"]]
    assert restore_checkpoints(saver, ["1"])[0].images == 2


def test_looking_changes_nothing_and_doing_it_again_finds_nothing(saver: Any) -> None:
    asked(saver, "1", "base64", "openai")
    asked(saver, "2", "anthropic")
    before = list(saver.list(None))
    found = restore_checkpoints(saver, dry_run=True)
    assert {one.thread_id: one.images for one in found} == {"1": 2, "2": 1}
    assert list(saver.list(None)) == before
    assert restore_checkpoints(saver) == found
    assert [one.images for one in restore_checkpoints(saver)] == [0, 0]


def test_earlier_checkpoints_on_request(saver: Any) -> None:
    asked(saver, "1", "base64")
    (newest,) = restore_checkpoints(saver, ["1"])
    (earlier,) = restore_checkpoints(saver, ["1"], history=True)
    assert newest.checkpoints == 1 < earlier.checkpoints
    for one in saver.list(config("1")):
        assert not any("url" in block for block in images(one.checkpoint["channel_values"].get("messages", [])))


def test_a_thread_that_waits_for_a_person_goes_on_where_it_waits(saver: Any) -> None:
    class Waiting(Scripted):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            self.answer = f"You said {interrupt('May I?')}."
            return super()._generate(*args, **kwargs)

    agent = create_agent(Waiting())
    graph = create_speceyes(agent, speculator=speculator(), judge=judge(0.9)).compile(checkpointer=saver)
    graph.invoke({"messages": [question("base64")]}, config("1"))
    (done,) = restore_checkpoints(saver, ["1"])
    assert done.images >= 1
    result = graph.invoke(Command(resume="yes"), config("1"))
    assert result["messages"][-1].text == "You said yes."
    assert images(result["messages"]) == [FORMS["base64"]]


class Kept(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], MessagesChannel]
    own: Any
    others: list[Any]


def test_what_is_no_message_is_kept_byte_for_byte(saver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that restores threads may know none of the user's types, and must not lose what it cannot read."""
    graph = StateGraph(Kept)
    graph.add_node("note", lambda state: {"own": Own(3), "others": [Own(4), {"deep": [Own(5)]}, 1.5, b"\\xff"]})
    graph.add_edge(START, "note")
    tool = ToolMessage([FORMS["openai"]], tool_call_id="1", artifact={"note": (6, None)})
    graph.compile(checkpointer=saver).invoke({"messages": [question("base64"), tool]}, config("1"))
    # what reads and writes here knows no type of anybody's
    monkeypatch.delattr(sys.modules[__name__], "Own")
    (done,) = restore_checkpoints(saver, ["1"])
    monkeypatch.undo()
    assert done.images == 2
    saver.serde = JsonPlusSerializer(allowed_msgpack_modules=True)
    values = saver.get_tuple(config("1")).checkpoint["channel_values"]
    assert (values["own"], values["others"]) == (Own(3), [Own(4), {"deep": [Own(5)]}, 1.5, b"\\xff"])
    assert [message.content[0] for message in values["messages"]] == [FORMS["base64"], FORMS["openai"]]
    assert values["messages"][1].artifact == {"note": [6, None]}


def test_references_that_tools_made_become_their_pixels(saver: Any) -> None:
    uri = default_store().put(base64.b64decode(data("teal")))
    graph = StateGraph(Kept)
    graph.add_node("note", lambda state: {})
    graph.add_edge(START, "note")
    crop = {"type": "image", "url": f"{uri}#xywh=0,0,20,10"}
    path = {"type": "image", "url": "street.jpg#xywh=0,0,20,10"}
    message = ToolMessage([crop, path], tool_call_id="1")
    graph.compile(checkpointer=saver).invoke({"messages": [message]}, config("1"))
    assert restore_checkpoints(saver)[0].images == 1
    shown, left = held(saver, "1")[0].content
    assert Image.open(io.BytesIO(base64.b64decode(shown["base64"]))).size == (20, 10)
    assert left == path


def test_a_thread_whose_images_are_lost_is_left_as_it_is(saver: Any, folder: Path) -> None:
    asked(saver, "1", "base64", "openai")
    asked(saver, "2", "anthropic")
    lost = ImageStore().path(images(held(saver, "1"))[1]["url"])
    lost.unlink()
    before = held(saver, "1")
    first, second = sorted(restore_checkpoints(saver), key=lambda one: one.thread_id)
    assert first.error is not None
    assert "none for sha256:" in first.error
    assert held(saver, "1") == before
    assert (second.images, second.error) == (1, None)


def test_what_cannot_be_done_is_named(saver: Any) -> None:
    with pytest.raises(CheckpointError, match="no thread 'absent'"):
        restore_checkpoints(saver, ["absent"])
    # its characters may be ids of threads
    with pytest.raises(ArgumentError, match=r"^threads: expected a list of ids .*, found '17'"):
        restore_checkpoints(saver, "17")

    class Cipher(CipherProtocol):
        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "none", plaintext

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return ciphertext

    saver.serde = EncryptedSerializer(Cipher())
    with pytest.raises(ArgumentError, match=r"saver.*EncryptedSerializer"):
        restore_checkpoints(saver)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["restore", *map(str, arguments)], env={"COLUMNS": "160", "NO_COLOR": "1"})


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "threads.db"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        asked(saver, "first", "base64", "openai")
        asked(saver, "second", "anthropic")
    return path


def stored(database: Path, thread: str) -> list[Any]:
    with SqliteSaver.from_conn_string(str(database)) as saver:
        return images(held(saver, thread))


def test_the_command(database: Path) -> None:
    content = database.read_bytes()
    looked = run(database, "--all", "--dry-run", "--json")
    assert looked.exit_code == 0, looked.output
    assert '"images": 2' in looked.stdout
    assert database.read_bytes() == content
    done = run(f"sqlite:///{database}", "first")
    assert done.exit_code == 0, done.output
    assert [word for word in done.stdout.split() if word.isdigit()] == ["1", "2"]
    assert stored(database, "first") == [FORMS["base64"], FORMS["openai"]]
    assert "url" in stored(database, "second")[0]
    assert run(database, "--all").exit_code == 0
    assert stored(database, "second") == [FORMS["anthropic"]]


def test_the_command_with_images_of_another_folder(database: Path, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "moved")
    lacking = run(database, "--all")
    assert lacking.exit_code == 1
    assert "left as they are" in lacking.stderr
    assert run(database, "--all", "--images", tmp_path / "moved").exit_code == 0
    assert stored(database, "second") == [FORMS["anthropic"]]


def test_the_command_says_what_is_wrong(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("no database")
    sqlite3.connect(tmp_path / "empty.db").close()
    cases = [
        ((database,), "threads: expected ids of threads, or --all, found neither"),
        ((database, "first", "--all"), "found both"),
        ((database, "absent"), "no thread 'absent'"),
        ((tmp_path / "absent.db", "--all"), "there is no file"),
        ((tmp_path / "notes.txt", "--all"), "holds no checkpoints"),
        ((tmp_path / "empty.db", "--all"), "holds no checkpoints"),
        ((database, "--all", "--images", tmp_path / "absent"), "images: expected a folder"),
    ]
    for arguments, said in cases:
        result = run(*arguments)
        assert (result.exit_code, said in result.stderr) == (2, True), result.output
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", lambda *a, connect=sqlite3.connect, **k: connect(*a, **k, timeout=0))
        locked = run(database, "--all")
    assert (locked.exit_code, "locked" in locked.stderr) == (2, True), locked.output


def test_a_checkpointer_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langgraph.checkpoint.postgres", None)
    result = run("postgresql://user:secret@localhost/threads", "--all")
    assert (result.exit_code, "langgraph-speceyes[postgres]" in result.stderr) == (2, True), result.output
