"""The labelling page over a real socket: whom it serves, what it serves, and that labels are kept."""

from __future__ import annotations

import http.client
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from langgraph_speceyes.bench.calibrate import prepared, terms_of
from langgraph_speceyes.bench.label_page import LARGEST_SIDE, LabelPage
from langgraph_speceyes.bench.labelling import Labelling
from langgraph_speceyes.images import ImagePolicy
from langgraph_speceyes.traffic.sqlite import SQLiteJournal
from tests.traffic.records import made

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
QUESTION = 'What does it say? <script>alert("x")</script> {{nonce}}'


def journal_at(folder: Path) -> Path:
    """100 questions; two surer ones differ, the image of the second is gone."""
    Image.new("RGB", (2400, 1200), "red").save(folder / "large.png")
    Image.new("RGB", (20, 20), "blue").save(folder / "other.png")
    file = folder / "journal.db"
    journal = SQLiteJournal(file, texts=True)
    shared: dict[str, Any] = {"score_name": "min", "settled": True, "question": QUESTION, "speculation": "red"}
    for k in range(100):
        score = {0: 0.99, 1: 0.98}.get(k, 0.5)
        image = {0: "large.png", 1: "gone.png"}.get(k, "other.png")
        agree = {"agree": k > 1, "agreed_by": "rule", "answer": "red" if k > 1 else "blue"}
        journal.write(
            made(f"q/{k}", score=score, scores={"min": score}, images=[str(folder / image)], **agree, **shared)
        )
    journal.close()
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return journal_at(tmp_path)


@pytest.fixture
def page(file: Path) -> Iterator[LabelPage]:
    evidence, composition = prepared(file, people=True)
    session = Labelling(evidence, composition, terms_of(0.05, 0.9, "net", "disagreements", None))
    with LabelPage(session, policy=ImagePolicy(roots=(file.parent,))) as running:
        yield running


def send(
    page: LabelPage, path: str, content: Any = None, *, token: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    data = content if isinstance(content, bytes | None) else json.dumps(content).encode()
    kind = {} if data is None else {"Content-Type": "application/json"}
    where = f"/{page.token if token is None else token}/{path}"
    try:
        connection.request("GET" if data is None else "POST", where, data, {**kind, **headers})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


def state(page: LabelPage, said: dict[str, Any] | None = None) -> dict[str, Any]:
    status, _, body = send(page, "question" if said is None else "label", said)
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


def test_a_label_is_kept_and_the_next_question_follows(page: LabelPage, file: Path) -> None:
    first = state(page)
    assert (first["id"], first["question"], first["speculation"], first["answer"]) == ("q/0", QUESTION, "red", "blue")
    assert (first["labelled"], first["left"], first["images"], first["done"]) == (0, 2, 1, False)
    second = state(page, {"key": "1", "id": "q/0"})
    assert (second["id"], second["labelled"]) == ("q/1", 1)
    assert state(page, {"key": "u"})["id"] == "q/0"
    state(page, {"key": "3", "id": "q/0"})
    done = state(page, {"key": "s", "id": "q/1"})
    assert (done["done"], "id" in done) == (True, False)
    assert done["accepted"] == page.session.found.accepted == 1.0
    journal = SQLiteJournal(file, texts=True)
    labels = [(one["speculator_right"], one["agent_right"]) for one in map(journal.get, ("q/0", "q/1")) if one]
    assert labels == [(True, True), (None, None)]
    assert not page.done.is_set()
    state(page, {"key": "q"})
    assert page.done.is_set()


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(page: LabelPage) -> None:
    status, headers, body = send(page, "")
    text = body.decode()
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert not re.findall(r"https?:|//\w|@import|url\(", text)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', text))
    assert f"script-src 'nonce-{nonce}'" in policy
    assert "unsafe" not in policy
    assert send(page, "")[2] != body
    # what is shown comes by itself, as data
    assert "What does it say" not in text


def test_who_does_not_know_the_address_gets_nothing(page: LabelPage) -> None:
    state(page)
    image = f"image/{b'q/0'.hex()}/0"
    for path, content in (("", None), ("question", None), (image, None), ("label", {"key": "1", "id": "q/0"})):
        for token in ("", "x", page.token[:-1], page.token + "x", "%C3%A9"):
            assert send(page, path, content, token=token)[0] == 404
        # another name for this machine is somebody else's page
        assert send(page, path, content, Host="evil.example")[0] == 404
        assert send(page, path, content, Host=f"evil.example:{page.port}")[0] == 404
    assert send(page, "question", Host=f"localhost:{page.port}")[0] == 200
    assert state(page)["labelled"] == 0


def test_only_images_of_questions_that_were_shown_are_served(page: LabelPage, file: Path) -> None:
    def picture(id: str, number: str = "0") -> int:
        return send(page, f"image/{id.encode().hex()}/{number}")[0]

    # nothing was shown yet
    assert picture("q/0") == 404
    state(page)
    status, headers, body = send(page, f"image/{b'q/0'.hex()}/0")
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "image/jpeg", "no-store")
    with Image.open(io.BytesIO(body)) as image:
        assert image.size == (LARGEST_SIDE, LARGEST_SIDE // 2)
    assert [picture("q/0", n) for n in ("1", "-1", "x", "")] == [404] * 4
    assert [picture(id) for id in ("q/1", "q/5", "nobody")] == [404] * 3
    for path in (
        "image/zz/0",
        "image/ff/0",
        "image",
        "image/712f30/0/0",
        "../journal.db",
        "large.png",
        "image/..%2f/0",
    ):
        assert send(page, path)[0] == 404
    # its file is gone
    state(page, {"key": "1", "id": "q/0"})
    assert picture("q/1") == 404


def test_images_are_opened_within_the_policy(file: Path, tmp_path: Path) -> None:
    evidence, composition = prepared(file, people=True)
    session = Labelling(evidence, composition, terms_of(0.05, 0.9, "net", "disagreements", None))
    with LabelPage(session, policy=ImagePolicy(roots=())) as page:
        state(page)
        assert send(page, f"image/{b'q/0'.hex()}/0")[0] == 404
    with LabelPage(session, policy=ImagePolicy(max_pixels=1000)) as page:
        state(page)
        assert send(page, f"image/{b'q/0'.hex()}/0")[0] == 404


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"key": "x", "id": "q/0"}, 400),
        ({"key": "1", "id": "nobody"}, 400),
        ({"key": "1"}, 400),
        ([], 400),
        (b"{", 400),
        (b"x" * 5000, 413),
    ],
)
def test_what_says_nothing_is_refused(page: LabelPage, content: Any, status: int) -> None:
    assert send(page, "label", content)[0] == status
    assert state(page)["labelled"] == 0


def test_labels_come_as_json_only(page: LabelPage) -> None:
    said = {"key": "1", "id": "q/0"}
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert send(page, "label", said, **{"Content-Type": kind})[0] == 404
    assert send(page, "question", said)[0] == 404
    assert state(page)["labelled"] == 0
