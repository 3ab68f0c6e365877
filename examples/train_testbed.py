"""Train the embedded pair from nothing, write its checkpoints, and calibrate its gates.

    python examples/train_testbed.py                # all of it, into ./training
    python examples/train_testbed.py --only agent   # one model's training
    python examples/train_testbed.py --only depth   # the speculator learns to look again, from `training` or as shipped
    python examples/train_testbed.py --only agent-deep   # only its last part, from the shipped weights
    python examples/train_testbed.py --only code-agent   # the agent learns to write code instead of tool calls
    python examples/train_testbed.py --only code-calibration   # the gates before the shipped agent that writes code
    python examples/train_testbed.py --only speculator --shuffled --out control   # the control: it must end at chance

Stop it whenever you like: the same command goes on from the last checkpoint. Progress and loss are shown and kept in
`training/*/metrics.jsonl`. `--ship` writes the result into the package instead of `training/checkpoints`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.bench.benchmark import EMBEDDED, Benchmark
from langgraph_speceyes.bench.calibrate import calibrate_run, certified, fastest
from langgraph_speceyes.bench.calibrated import Calibrated
from langgraph_speceyes.bench.chosen import embedded_models
from langgraph_speceyes.bench.compositions import Composition, Terms
from langgraph_speceyes.bench.evaluation import Evaluation, overview
from langgraph_speceyes.bench.evidence import evidence_of
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed import pair as embedded
from langgraph_speceyes.testbed.code_agent import (
    CODE_AGENT_NAME,
    DIFFERENCE,
    add_tokens,
    load_code_pair,
    write_difference,
)
from langgraph_speceyes.testbed.training.architecture import new_agent, new_speculator
from langgraph_speceyes.testbed.training.code import code_stages, with_code_tokens
from langgraph_speceyes.testbed.training.deep import deep_stages
from langgraph_speceyes.testbed.training.depths import depth_stages
from langgraph_speceyes.testbed.training.export import export
from langgraph_speceyes.testbed.training.tape import Encoder
from langgraph_speceyes.testbed.training.tokenizer import build_tokenizer
from langgraph_speceyes.testbed.training.train import agent_stages, speculator_stages, train

PARTS = ("speculator", "depth", "agent", "agent-deep", "code-agent", "calibration", "code-calibration")


def main() -> None:
    """Train, export, calibrate, report."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--out", type=Path, default=Path("training"))
    cli.add_argument("--only", choices=PARTS)
    cli.add_argument("--threads", type=int, default=2)
    cli.add_argument("--speculator-steps", type=int, nargs=4, default=(450, 2500, 450, 1500))
    cli.add_argument("--depth-steps", type=int, nargs=2, default=(500, 2000))
    cli.add_argument("--agent-steps", type=int, nargs=4, default=(600, 1500, 250, 1400))
    cli.add_argument("--deep-steps", type=int, nargs=4, default=(250, 400, 450, 300))
    cli.add_argument("--code-steps", type=int, default=300)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--ship", action="store_true", help="write the checkpoints into the package")
    cli.add_argument("--questions", type=int, default=150, help="calibration questions of each split")
    cli.add_argument("--shuffled", action="store_true", help="control: the speculator learns other scenes' answers")
    a = cli.parse_args()
    torch.set_num_threads(a.threads)
    tokenizer = build_tokenizer()
    encode = Encoder(tokenizer)
    checkpoints = embedded.CHECKPOINTS if a.ship else a.out / "checkpoints"
    if a.only in (None, "speculator"):
        torch.manual_seed(a.seed)
        model = new_speculator(tokenizer)
        stages = speculator_stages(model, encode, tuple(a.speculator_steps), a.shuffled)
        train(model, stages, a.out / "speculator", seed=a.seed)
        export(model, tokenizer, checkpoints / "speculator", processor_class="Qwen3VLProcessor")
        if a.shuffled:
            show_control(checkpoints / "speculator", a.out)
    if a.only in (None, "depth"):
        torch.manual_seed(a.seed)
        known = checkpoints / "speculator"
        start = known if known.exists() else embedded.SPECULATOR
        model = AutoModelForImageTextToText.from_pretrained(str(start), dtype=torch.float32)
        train(model, depth_stages(model, encode, tuple(a.depth_steps)), a.out / "depth", seed=a.seed)
        export(model, tokenizer, known, processor_class="Qwen3VLProcessor")
    if a.only in (None, "agent"):
        torch.manual_seed(a.seed)
        model = new_agent(tokenizer)
        stages = chain(
            agent_stages(model, encode, tuple(a.agent_steps)), deep_stages(model, encode, tuple(a.deep_steps))
        )
        train(model, stages, a.out / "agent", seed=a.seed)
        export(model, tokenizer, checkpoints / "agent", processor_class="Qwen2_5_VLProcessor")
    if a.only == "agent-deep":
        torch.manual_seed(a.seed)
        model = AutoModelForImageTextToText.from_pretrained(str(embedded.AGENT), dtype=torch.float32)
        train(model, deep_stages(model, encode, tuple(a.deep_steps)), a.out / "agent-deep", seed=a.seed)
        export(model, tokenizer, checkpoints / "agent", processor_class="Qwen2_5_VLProcessor")
    if a.only in (None, "code-agent"):
        torch.manual_seed(a.seed)
        known = checkpoints / "agent"
        start = known if known.exists() else embedded.AGENT
        model = AutoModelForImageTextToText.from_pretrained(str(start), dtype=torch.float32)
        words = add_tokens(build_tokenizer())
        with_code_tokens(model, words)
        train(model, code_stages(model, Encoder(words), a.code_steps), a.out / "code-agent", seed=a.seed)
        whole = a.out / "code-agent" / "whole"
        export(model, words, whole, processor_class="Qwen2_5_VLProcessor")
        write_difference(whole, checkpoints / "code-agent" / DIFFERENCE.name, start)
    if a.only in (None, "calibration"):
        a.out.mkdir(parents=True, exist_ok=True)
        calibrate(checkpoints, a.out, a.questions)
    if a.only == "code-calibration" or (a.only is None and a.ship):
        a.out.mkdir(parents=True, exist_ok=True)
        calibrate_code(checkpoints, a.out, a.questions)


def show_control(checkpoint: Path, out: Path) -> None:
    """What a speculator that learnt other scenes' answers gets right on the test part: what can be had by guessing."""
    small = LocalChatModel.from_pretrained(str(checkpoint), model_name=embedded.SPECULATOR_NAME, max_tokens=32)
    pair = replace(embedded.load_pair(), speculator=small)
    benchmark = Benchmark(EMBEDDED, limit=100)
    outcomes = asyncio.run(Evaluation(benchmark, ["speculator"], embedded_models(pair), out / "control").run())
    print(json.dumps(overview(outcomes), indent=2), flush=True)


def calibrate(checkpoints: Path, out: Path, questions: int) -> None:
    """Choose the gates on the calibration part: for one answer, for the pair's looks, and for the fastest composition.

    That is which of judge and depths are asked at all, chosen on one half of the questions and certified on the other.
    The plain cascade gets a threshold by the same promise, to be compared with. All are read off one run, in which
    every depth of every question is asked. `speceyes testbed check` has the test part.
    """
    small = LocalChatModel.from_pretrained(
        str(checkpoints / "speculator"), model_name=embedded.SPECULATOR_NAME, max_tokens=32
    )
    large = LocalChatModel.from_pretrained(str(checkpoints / "agent"), model_name=embedded.AGENT_NAME, max_tokens=96)
    gate = Gate(speculator=embedded.SPECULATOR_NAME, agent=embedded.AGENT_NAME)
    pair = embedded.Pair(small, large, gate)
    run = out / "calibration"
    models = replace(embedded_models(pair), looks=pair.looks)
    one_answer, first, again = calibrate_pair(models, gate, run, questions)
    best = calibrate_run(run, counted="harm", choose=True)
    plain = replace(gate, score="log", judge_threshold=None)
    evidence = evidence_of(one_answer, plain, run)
    cascade = certified(evidence, Composition("log", None), Terms(0.01, 0.95, "harm", "all"))
    keep(first, checkpoints / embedded.GATE.name)
    keep(again, checkpoints / embedded.LOOKS_GATE.name)
    keep(best, checkpoints / embedded.CHOSEN_GATE.name)
    keep(cascade, checkpoints / embedded.CASCADE_GATE.name)


def calibrate_code(checkpoints: Path, out: Path, questions: int) -> None:
    """Choose the gates before the shipped agent that writes code: for one answer, and for the pair's looks."""
    torch.set_num_threads(1)
    pair = load_code_pair()
    gate = Gate(speculator=embedded.SPECULATOR_NAME, agent=CODE_AGENT_NAME)
    models = replace(embedded_models(pair), looks=pair.looks, gate=gate)
    _, first, again = calibrate_pair(models, gate, out / "code-calibration", questions)
    keep(first, checkpoints / "code-agent" / embedded.GATE.name)
    keep(again, checkpoints / "code-agent" / embedded.LOOKS_GATE.name)


def calibrate_pair(models: Models, gate: Gate, run: Path, questions: int) -> tuple[list[Any], Calibrated, Calibrated]:
    """Run the calibration part with every depth; its outcomes without looks, the gate for these, the one for looks."""
    benchmark = Benchmark(EMBEDDED, part="calibration", limit=questions)
    outcomes = asyncio.run(Evaluation(benchmark, ["speceyes"], models, run, full=True).run())
    one_answer: list[Any] = [{k: v for k, v in o.items() if k not in ("depth", "depths")} for o in outcomes]
    first = fastest(one_answer, gate)
    assert first.gate is not None, "the paper's way always finds one"
    return one_answer, first, calibrate_run(run, counted="harm", judge_threshold=first.gate.judge_threshold)


def keep(found: Calibrated, file: Path) -> None:
    """Write the gate, if there is one, and print what was found."""
    if found.gate is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        found.gate.save(file)
    print(json.dumps(found.to_dict(), indent=2), flush=True)


if __name__ == "__main__":
    main()
