"""Train the embedded pair from nothing.

    python examples/train_testbed.py            # both models, into ./training
    python examples/train_testbed.py --only agent --threads 1

Stop it whenever you like: the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from langgraph_speceyes.testbed.training.architecture import new_agent, new_speculator
from langgraph_speceyes.testbed.training.tape import Encoder
from langgraph_speceyes.testbed.training.tokenizer import build_tokenizer
from langgraph_speceyes.testbed.training.train import agent_stages, speculator_stages, train


def main() -> None:
    """Train one model after the other."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--out", type=Path, default=Path("training"))
    cli.add_argument("--only", choices=["speculator", "agent"])
    cli.add_argument("--threads", type=int, default=2)
    cli.add_argument("--speculator-steps", type=int, nargs=3, default=(450, 400, 350))
    cli.add_argument("--agent-steps", type=int, nargs=4, default=(500, 250, 400, 1400))
    cli.add_argument("--seed", type=int, default=0)
    a = cli.parse_args()
    torch.set_num_threads(a.threads)
    tokenizer = build_tokenizer()
    encode = Encoder(tokenizer)
    if a.only != "agent":
        torch.manual_seed(a.seed)
        model = new_speculator(tokenizer)
        train(model, speculator_stages(model, encode, tuple(a.speculator_steps)), a.out / "speculator", seed=a.seed)
    if a.only != "speculator":
        torch.manual_seed(a.seed)
        model = new_agent(tokenizer)
        train(model, agent_stages(model, encode, tuple(a.agent_steps)), a.out / "agent", seed=a.seed)


if __name__ == "__main__":
    main()
