"""What goes over the line to hosted models: how much, over which connections, and no longer than it is wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import HumanMessage

from langgraph_speceyes import create_speceyes
from langgraph_speceyes.models.hosted import hosted_model
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.link import Link
from langgraph_speceyes.testbed.pair import SPECULATOR_NAME, Pair
from langgraph_speceyes.testbed.questions import questions
from langgraph_speceyes.testbed.server import ModelServer
from tests.hosted.upload import bypass
from tests.scripted import Agent


@pytest.fixture
def server(pair: Pair) -> Iterator[ModelServer]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with ModelServer(pair, link=Link()) as running:
        yield running
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> HumanMessage:
    return written(questions("dense", "calibration", 1)[0], tmp_path_factory.mktemp("large"))


def test_a_bypassed_photo_is_sent_small_over_one_connection(server: ModelServer, large: HumanMessage) -> None:
    async def ask(pixels: Any) -> list[int]:
        before = len(server.link.uploads)
        result = await bypass(server.url, pixels).ainvoke({"messages": [large]})
        assert result["decision"]["route"] == "bypass"
        return [one.size for one in server.link.uploads[before:]]

    async def run() -> None:
        assert min(await ask(None)) > 1_500_000
        before = server.link.connections
        for _ in range(3):
            judged, speculated = await ask("auto")
            assert judged + speculated < 300_000
        judged, speculated = await ask({"judge": None})
        assert speculated < 150_000 < 1_500_000 < judged
        # new clients, the same lines
        assert server.link.connections == before

    asyncio.run(run())


def test_a_slow_line_takes_its_time_for_all_bytes_of_all_connections() -> None:
    link, data = Link(mbit_per_s=8.0), bytes(100_000)
    began = time.monotonic()

    async def both() -> list[bytes]:
        reads = [asyncio.to_thread(link.through, lambda size: data[:size], 100_000) for _ in range(2)]
        return list(await asyncio.gather(*reads))

    assert [len(one) for one in asyncio.run(both())] == [100_000] * 2
    assert time.monotonic() - began >= 2 * 100_000 * 8 / 8e6
    assert [one.size for one in link.uploads] == [100_000] * 2


def test_a_cancelled_query_cancels_its_request(tmp_path: Path) -> None:
    async def run() -> None:
        came, left = asyncio.Event(), asyncio.Event()

        async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            came.set()
            while await reader.read(65536):
                pass
            left.set()
            writer.close()

        async with await asyncio.start_server(never_answers, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            small = hosted_model("small", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
            agent = Agent()
            graph = create_speceyes(agent.graph, speculator=small).compile()
            question = written(questions("attributes", "calibration", 1)[0], tmp_path)
            query = asyncio.create_task(graph.ainvoke({"messages": [question]}))
            await asyncio.wait_for(came.wait(), 60)
            query.cancel()
            with pytest.raises(asyncio.CancelledError):
                await query
            await asyncio.wait_for(left.wait(), 60)
            assert not agent.runs

    asyncio.run(run())


def test_streams_end_with_the_tokens_used(server: ModelServer) -> None:
    model = hosted_model(SPECULATOR_NAME, base_url=server.url, temperature=0.0, max_tokens=4)
    chunks = list(model.stream("Answer the question."))
    used = chunks[-1].usage_metadata or next((one.usage_metadata for one in chunks if one.usage_metadata), None)
    assert used is not None
    assert used["output_tokens"] >= 1
    assert used["input_tokens"] >= 1
