"""A table of questions about images through a bypass, on as many machines as Ray has; the models are behind endpoints.

    pip install 'langgraph-speceyes[ray,openai,ocr]'
    python examples/ray_batch.py questions/ answers/ --base-url http://router:8000/v1 --actors 4 --at-once 64

`questions/` holds parquet files with `id`, `image` (a path or URL that every machine can read) and `question`. Each
actor has a graph and keeps that many questions under way; a worker that dies has its block asked again, and what is
written is written once. A command that was stopped goes on with the questions that have no answer yet.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from langgraph_speceyes import create_speceyes, create_visual_agent, hosted_model, image_question


class Bypass:
    """An actor: one graph, many questions under way at once."""

    def __init__(self, base_url: str, small: str, large: str, at_once: int) -> None:
        # Your models, agent and gate go here.
        speculator, agent = (hosted_model(name, base_url=base_url, temperature=0.0) for name in (small, large))
        self.graph = create_speceyes(create_visual_agent(agent), speculator=speculator, judge=agent).compile()
        # connections belong to a loop, so that all batches have the same one
        self.at_once, self.runner = at_once, asyncio.Runner()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Answers of a batch; a question that fails has its error beside it."""
        return self.runner.run(self.answers(batch))

    async def answers(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """The same, side by side."""
        rows = zip(batch["image"], batch["question"], strict=True)
        asked = [{"messages": [image_question(str(image), str(question))]} for image, question in rows]
        found = await self.graph.abatch(asked, {"max_concurrency": self.at_once}, return_exceptions=True)
        failed = [one if isinstance(one, BaseException) else None for one in found]
        decisions = [None if isinstance(one, BaseException) else one["decision"] for one in found]
        return {
            "id": list(batch["id"]),
            "answer": [None if isinstance(one, BaseException) else one["messages"][-1].text for one in found],
            "route": [one and one["route"] for one in decisions],
            "score": [one and one["score"] for one in decisions],
            "error": [one and f"{type(one).__name__}: {one}" for one in failed],
        }


def answered(out: Path) -> set[Any]:
    """Ids that have an answer; a file that a killed writer left unfinished is taken away."""
    known: set[Any] = set()
    for file in out.glob("*.parquet"):
        try:
            known.update(pq.read_table(file, columns=["id"])["id"].to_pylist())
        except (pa.ArrowInvalid, OSError):
            file.unlink()
    return known


def main() -> None:
    """Answer what has no answer yet."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("questions", type=Path)
    cli.add_argument("out", type=Path)
    cli.add_argument("--base-url", required=True)
    cli.add_argument("--small", default="Qwen/Qwen3-VL-2B-Instruct")
    cli.add_argument("--large", default="Qwen/Qwen3-VL-32B-Instruct")
    cli.add_argument("--actors", type=int, default=1)
    cli.add_argument("--at-once", type=int, default=32, help="questions under way in an actor")
    a = cli.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    known = answered(a.out)
    questions = ray.data.read_parquet(str(a.questions)).filter(lambda row: row["id"] not in known)
    arguments = {"base_url": a.base_url, "small": a.small, "large": a.large, "at_once": a.at_once}
    # a block is asked again where its worker dies, and written when it is done: not too large
    blocks = questions.repartition(target_num_rows_per_block=16 * a.at_once)
    # an actor waits for endpoints; were it to take whole cores, none might be left to read with
    answers = blocks.map_batches(
        Bypass, fn_constructor_kwargs=arguments, batch_size=8 * a.at_once, num_cpus=0.1, concurrency=a.actors
    )
    answers.write_parquet(str(a.out))


if __name__ == "__main__":
    main()
