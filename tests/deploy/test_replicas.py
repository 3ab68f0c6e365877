"""Two replicas of the test server behind HAProxy, set up as in `graphs/`; left out where HAProxy is not installed."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from langgraph_speceyes.models.hosted import hosted_model
from langgraph_speceyes.testbed.link import Link
from langgraph_speceyes.testbed.pair import AGENT_NAME, Pair
from langgraph_speceyes.testbed.server import ModelServer

GRAPHS = Path(__file__).resolve().parents[2] / "graphs"
CONFIG = (GRAPHS / "haproxy.cfg").read_text()
HASH = "balance hash req.body,bytes(0,16384),xxh64"
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
needs_haproxy = pytest.mark.haproxy


@dataclass
class Recorded(Link):
    """A line that keeps what came through."""

    bodies: list[bytes] = field(default_factory=list)

    def through(self, read: Callable[[int], bytes], size: int) -> bytes:
        body = super().through(read, size)
        self.bodies.append(body)
        return body


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def port_of(server: ModelServer) -> int:
    return int(urlsplit(server.url).port or 0)


@contextmanager
def routed(ports: list[int], folder: Path, change: Callable[[str], str] = str) -> Iterator[str]:
    """The proxy of `graphs/haproxy.cfg` in front of the large model's replicas, which are at these ports."""
    port = free_port()
    servers = "\n".join(f"    server replica{k} 127.0.0.1:{one} check" for k, one in enumerate(ports))
    text = re.sub(r"resolvers docker\n(    .*\n)+", "", CONFIG)
    text = re.sub(r"(?s)frontend small.*?\n\n", "", text)
    text = re.sub(r"(?s)backend small.*", "", text)
    text = re.sub(r"    server-template large .*", servers, text).replace("bind :8000", f"bind 127.0.0.1:{port}")
    file = folder / "haproxy.cfg"
    file.write_text(change(text))
    process = subprocess.Popen(["haproxy", "-f", str(file)], stderr=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as line:
                if line.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def _replicas_of_images(pair: Pair, asked: list[Any], folder: Path, change: Callable[[str], str] = str) -> Any:
    """For each image the replica of each of its requests."""
    lines = [Recorded(), Recorded()]
    # the processor has the images in messages of role tool, which OpenAI refuses
    servers = [ModelServer(pair, link=line, images_in_tool_messages=True) for line in lines]
    with servers[0], servers[1], routed([port_of(one) for one in servers], folder, change) as url:
        large = hosted_model(AGENT_NAME, base_url=url, temperature=0.0)
        agent = replace(pair, large=large).agent().compile()
        for _, message in asked:
            agent.invoke({"messages": [message]})
    found: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        for body in line.bodies:
            image = re.search(r"data:image/\w+;base64,[^\"]+", json.dumps(json.loads(body)["messages"]))
            assert image is not None
            found[image[0]].append(number)
    return found


@needs_haproxy
def test_all_turns_about_an_image_go_to_one_replica(pair: Pair, ask: Any, tmp_path: Path) -> None:
    asked = [*ask("existence", 4), *ask("attributes", 4)]
    found = _replicas_of_images(pair, asked, tmp_path)
    assert len(found) == len(asked)
    assert any(len(turns) > 1 for turns in found.values())
    assert all(len(set(turns)) == 1 for turns in found.values())
    assert {turns[0] for turns in found.values()} == {0, 1}


@needs_haproxy
def test_in_turn_they_do_not(pair: Pair, ask: Any, tmp_path: Path) -> None:
    found = _replicas_of_images(
        pair, ask("attributes", 4), tmp_path, lambda text: text.replace(HASH, "balance roundrobin")
    )
    assert any(len(set(turns)) == 2 for turns in found.values())


@needs_haproxy
def test_a_replica_that_went_away_is_done_without(pair: Pair, ask: Any, tmp_path: Path) -> None:
    with ModelServer(pair, images_in_tool_messages=True) as one, routed([port_of(one), free_port()], tmp_path) as url:
        large = hosted_model(AGENT_NAME, base_url=url, temperature=0.0)
        agent = replace(pair, large=large).agent().compile()
        for question, message in ask("existence", 2):
            assert question.is_right(agent.invoke({"messages": [message]})["messages"][-1].text)


@needs_haproxy
def test_haproxy_takes_the_file_as_it_is() -> None:
    done = subprocess.run(["haproxy", "-c", "-f", str(GRAPHS / "haproxy.cfg")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_composition_fits_the_graph_and_the_router() -> None:
    services = yaml.safe_load((GRAPHS / "compose.yml").read_text())["services"]
    known = set(re.findall(r"SPECEYES_\w+", (GRAPHS / "hosted.py").read_text())) | {"SPECEYES_IMAGE_DIR"}
    given = {name for name in services["server"]["environment"] if name.startswith("SPECEYES_")}
    assert given <= known
    assert {
        "SPECEYES_SPECULATOR_MODEL",
        "SPECEYES_SPECULATOR_URL",
        "SPECEYES_AGENT_MODEL",
        "SPECEYES_AGENT_URL",
    } <= given
    for name, port in (("SPECEYES_AGENT_URL", "8000"), ("SPECEYES_SPECULATOR_URL", "8001")):
        assert services["server"]["environment"][name] == f"http://router:{port}/v1"
        assert f"bind :{port}" in CONFIG
    for model in ("large", "small"):
        replicas = services[model]["deploy"]["replicas"]
        assert f"server-template {model} {replicas} {model}:8000" in CONFIG
    volumes = {one.partition(":")[0] for service in services.values() for one in service.get("volumes", ())}
    assert {one for one in volumes if not one.startswith(".")} == {"images", "models", "threads"}
    assert HASH in CONFIG
