"""The training loop: stages of a model, one after another, resumable from the last checkpoint."""

from __future__ import annotations

import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from langgraph_speceyes.models.patches import flatten_patches
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.training.tape import IGNORE, Batch, Encoder, Example, collate, patches, view
from langgraph_speceyes.testbed.training.teacher import (
    agent_look_example,
    certain_example,
    dense_labels,
    fresh_scene,
    perception_example,
    quarter_view,
    speculator_example,
    speculator_look_example,
    trajectory_example,
)
from langgraph_speceyes.testbed.world import COLOURS, COLUMNS, ROWS, SHAPES

Metrics = dict[str, float]
Make = Callable[[Encoder, random.Random], Example]


@dataclass(frozen=True)
class Stage:
    """One stage: what a step does, most steps, the highest learning rate, and when it has learnt enough.

    Attributes:
        goal: Metrics and the running means at which, when all are reached, the stage ends before its last step.
        warm: Steps until the rate is at its highest.
    """

    name: str
    steps: int
    rate: float
    loss: Callable[[random.Random, int], tuple[Tensor, Metrics]]
    parameters: list[nn.Parameter]
    goal: dict[str, float] | None = None
    warm: int = 100


def schedule(step: int, steps: int, rate: float, warm: int = 100) -> float:
    """Warm-up, then cosine down to 3 % of the highest rate."""
    return rate * min(1.0, (step + 1) / warm) * (0.03 + 0.485 * (1 + math.cos(math.pi * min(1.0, step / steps))))


class SeenWords(nn.Module):
    """Reads shape, colour and cell off a visual token by the language model's own word embeddings.

    The vision tower so learns to put what it sees into the directions that stand for it in text, and the language model
    finds "the star" among visual tokens without first having to learn a dictionary.
    """

    def __init__(self, model: PreTrainedModel, encode: Encoder) -> None:
        super().__init__()
        self.embedding = model.get_input_embeddings()
        # nothing there, something too small to tell, and no colour
        self.without_word = nn.Parameter(torch.randn(3, self.embedding.weight.shape[1]) * 0.05)
        self.shapes = [_word(encode, f" {shape}") for shape in SHAPES]
        self.colours = [_word(encode, f" {colour}") for colour in COLOURS]
        self.label, self.crowd = _word(encode, " label"), encode(f" {prompts.CROWD}")
        self.cells = [_word(encode, f" {column}{row}") for row in ROWS for column in COLUMNS]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of shape ``[n, 12]``, colour ``[n, 9]`` and cell ``[n, 36]``, as the dense labels count."""
        words = self.embedding.weight
        nothing, unreadable, no_colour = self.without_word.unbind()
        crowd = words[self.crowd].mean(0)
        shape = torch.cat([nothing[None], words[self.shapes], unreadable[None], words[[self.label]], crowd[None]])
        colour = torch.cat([no_colour[None], words[self.colours]])
        # as the language model will see them: what is not about shape or colour must not drown what is
        normed = F.rms_norm(features, features.shape[-1:])
        return normed @ shape.T, normed @ colour.T, normed @ words[self.cells].T


def _word(encode: Encoder, word: str) -> int:
    (found,) = encode(word)
    return found


def dense_loss(
    model: PreTrainedModel, seen: SeenWords, size: int, *, quarters: bool, side: int, shuffled: bool = False
) -> Any:
    """A step of stage 1: the vision tower tells shape, colour and cell of what each visual token shows."""

    def loss(rng: random.Random, _: int) -> tuple[Tensor, Metrics]:
        views, wanted = [], []
        for _ in range(size):
            scene, image = fresh_scene(rng)
            quarter = rng.choice(scene.things).quarter if quarters and rng.random() < 0.6 else None
            views.append(view(image, side=side) if quarter is None else quarter_view(image, quarter))
            wanted.append(dense_labels(scene, quarter))
        return labelled_loss(model, seen, _elsewhere(views) if shuffled else views, wanted)

    return loss


def image_features(model: PreTrainedModel, views: list[Any]) -> Tensor:
    """What the vision tower makes of views: ``[36 * n, width]``."""
    pixels, grid = patches(views)
    return torch.cat(list(model.model.get_image_features(pixels, grid, return_dict=True).pooler_output))


def labelled_loss(
    model: PreTrainedModel,
    seen: SeenWords,
    views: list[np.ndarray],
    wanted: Sequence[tuple[np.ndarray, ...]],
    *,
    tower: bool = True,
) -> tuple[Tensor, Metrics]:
    """How well the vision tower tells the dense labels of some views; without `tower` only `seen` learns from it."""
    with nullcontext() if tower else torch.no_grad():
        features = image_features(model, views)
    return label_loss(seen, features, wanted)


def label_loss(seen: SeenWords, features: Tensor, wanted: Sequence[tuple[Any, ...]]) -> tuple[Tensor, Metrics]:
    """How well shape, colour and cell can be read off visual tokens: the loss, and what is right of what is there."""
    total, metrics = torch.zeros(()), {}
    names = ("shape", "colour", "cell")
    for name, logits, labels in zip(names, seen(features), zip(*wanted, strict=True), strict=True):
        target = torch.cat([torch.from_numpy(part) for part in labels])
        weight, there = torch.ones(logits.shape[-1]), target >= 0
        if name in ("shape", "colour"):
            # most tokens show nothing: without a weight the first thing learnt is to say so always
            weight[0], there = 0.2, target > 0
        total = total + F.cross_entropy(logits, target, weight=weight)
        metrics[name] = float((logits.argmax(-1)[there] == target[there]).float().mean())
    return total, metrics


def token_loss(model: PreTrainedModel, encode: Encoder, makers: list[tuple[Make, int]], shuffled: bool = False) -> Any:
    """A step of the later stages: next-token loss on what the model must say, makers taking turns."""

    def loss(rng: random.Random, step: int) -> tuple[Tensor, Metrics]:
        make, size = makers[step % len(makers)]
        examples = [make(encode, rng) for _ in range(size)]
        if shuffled:
            for example, views in zip(examples, _elsewhere([e.views for e in examples]), strict=True):
                example.views = views
        return spoken(model, collate(examples, encode.image_id))

    return loss


def spoken(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Metrics]:
    """Next-token loss on what the model must say, and what is right by tag."""
    hidden = model.model(**batch.inputs).last_hidden_state
    chosen = batch.labels != IGNORE
    logits, target = model.lm_head(hidden[chosen]), batch.labels[chosen]
    right = (logits.argmax(-1) == target).tolist()
    found = defaultdict(list)
    for tag, hit in zip(batch.tags, right, strict=True):
        found[tag].append(hit)
    return F.cross_entropy(logits, target), {tag: sum(hits) / len(hits) for tag, hits in found.items()}


def _elsewhere(views: list[Any]) -> list[Any]:
    """The views of another scene for each: labels that have nothing to do with what is seen."""
    return views[1:] + views[:1]


_SEEN = {"shape": 0.997, "colour": 0.998, "cell": 0.998}


def speculator_stages(
    model: PreTrainedModel, encode: Encoder, steps: tuple[int, int, int, int], shuffled: bool = False
) -> Iterator[Stage]:
    """The speculator: see, then say where things are, then answer what can be told, then everything.

    `shuffled` is the control: every image gets the labels and answers of another scene.
    """
    seen = SeenWords(model, encode)
    seeing = [*model.model.visual.parameters(), *seen.parameters()]
    see = dense_loss(model, seen, 48, quarters=False, side=prompts.SPECULATOR_VIEW, shuffled=shuffled)
    yield Stage("see", steps[0], 1.5e-3, see, seeing, goal=_SEEN)
    everything = list(model.parameters())
    look = token_loss(model, encode, [(speculator_look_example, 64)], shuffled)
    goal = {"colour large": 0.98, "place large": 0.98}
    yield Stage("look", steps[1], 1.5e-3, look, language_parameters(model), goal=goal)
    certain: list[tuple[Make, int]] = [(certain_example, 24)]
    yield Stage("certain", steps[2], 1e-3, token_loss(model, encode, certain, shuffled), everything)
    makers: list[tuple[Make, int]] = [(speculator_example, 24)]
    yield Stage("answer", steps[3], 1e-3, token_loss(model, encode, makers, shuffled), everything)


def agent_stages(model: PreTrainedModel, encode: Encoder, steps: tuple[int, int, int, int]) -> Iterator[Stage]:
    """The agent: see, then answer what can be told, then judge too, then act."""
    seen = SeenWords(model, encode)
    seeing = [*model.model.visual.parameters(), *seen.parameters()]
    see = dense_loss(model, seen, 48, quarters=True, side=prompts.VIEW)
    yield Stage("see", steps[0], 1.5e-3, see, seeing, goal=_SEEN)
    everything = list(model.parameters())
    look = token_loss(model, encode, [(agent_look_example, 48)])
    yield Stage(
        "look", steps[1], 1.5e-3, look, language_parameters(model), goal={"colour quarter": 0.97, "place quarter": 0.97}
    )
    yield Stage("judge", steps[2], 1e-3, token_loss(model, encode, [(perception_example, 24)]), everything)
    makers: list[tuple[Make, int]] = [(trajectory_example, 16), (perception_example, 16), (trajectory_example, 16)]
    act, see = token_loss(model, encode, makers), dense_loss(model, seen, 24, quarters=True, side=prompts.VIEW)

    def acting(rng: random.Random, step: int) -> tuple[Tensor, Metrics]:
        loss, metrics = act(rng, step)
        if step % 3 == 1:
            # the tower goes on seeing what the language model does not ask for yet
            dense, seeing_metrics = see(rng, step)
            loss, metrics = loss + 0.3 * dense, metrics | seeing_metrics
        return loss, metrics

    yield Stage("act", steps[3], 1e-3, acting, [*everything, seen.without_word])


def language_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """All but the vision tower, which forgets what it sees while the language model does not yet ask for it."""
    return [p for name, p in model.named_parameters() if ".visual." not in name]


def train(
    model: PreTrainedModel,
    stages: Iterator[Stage],
    folder: Path,
    *,
    seed: int = 0,
    every: int = 25,
    save_seconds: float = 90,
    note: Callable[[str], None] = print,
) -> None:
    """Run the stages, going on from the checkpoint in `folder` if there is one.

    Args:
        model: The model, trained in place.
        stages: Its stages.
        folder: Where `last.pt`, a checkpoint for each finished stage and `metrics.jsonl` are kept. A stage's checkpoint
            copied over `last.pt` is where a change to the next one can be tried.
        seed: Seed of the data; step k of a stage sees the same examples in every run.
        every: Steps between two lines of the log.
        save_seconds: Seconds between two checkpoints.
        note: Where progress is shown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    flatten_patches(model)
    last = folder / "last.pt"
    kept = torch.load(last, weights_only=False) if last.exists() else {"done": [], "stage": None}
    if "model" in kept:
        model.load_state_dict(kept["model"])
    for stage in stages:
        if stage.name in kept["done"]:
            if kept["stage"] is None and stage.name == kept["done"][-1]:
                # what the stage learnt beside the model goes on into the next one
                _restore(stage, kept)
            continue
        taught = {id(p) for p in stage.parameters}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in taught)
        optimiser = torch.optim.AdamW(stage.parameters, lr=stage.rate, weight_decay=0.02, betas=(0.9, 0.98))
        first = 0
        if kept["stage"] == stage.name:
            optimiser.load_state_dict(kept["optimiser"])
            first = kept["step"]
            _restore(stage, kept)
        mean: Metrics = {}
        began = saved = time.monotonic()
        for step in range(first, stage.steps):
            rng = random.Random(f"{seed} {stage.name} {step}")
            for group in optimiser.param_groups:
                group["lr"] = schedule(step, stage.steps, stage.rate, stage.warm)
            loss, metrics = stage.loss(rng, step)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(stage.parameters, 1.0)
            optimiser.step()
            for key, value in {"loss": float(loss.detach()), **metrics}.items():
                mean[key] = value if key not in mean else 0.95 * mean[key] + 0.05 * value
            reached = (
                stage.goal is not None
                and step - first >= 50
                and all(mean.get(name, 0.0) >= least for name, least in stage.goal.items())
            )
            final = reached or step + 1 == stage.steps
            if (step + 1) % every == 0 or final:
                line = {"stage": stage.name, "step": step + 1, "of": stage.steps, "seconds": time.monotonic() - began}
                line |= {k: round(v, 4) for k, v in sorted(mean.items())}
                with (folder / "metrics.jsonl").open("a") as log:
                    log.write(json.dumps(line) + "\n")
                note(" ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in line.items()))
            if time.monotonic() - saved > save_seconds or final:
                saved = time.monotonic()
                kept = {
                    "done": kept["done"] + ([stage.name] if final else []),
                    "stage": None if final else stage.name,
                    "step": step + 1,
                    "model": model.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "parameters": [p.data for p in stage.parameters],
                }
                torch.save(kept, last.with_suffix(".new"))
                last.with_suffix(".new").replace(last)
            if final:
                without = {name: kept[name] for name in ("done", "stage", "model", "parameters")}
                torch.save(without, folder / f"{stage.name}.pt")
                break
    cast(nn.Module, model).eval()


def _restore(stage: Stage, kept: dict[str, Any]) -> None:
    """Give a stage's parameters the values in a checkpoint."""
    for parameter, value in zip(stage.parameters, kept["parameters"], strict=True):
        parameter.data.copy_(value)
