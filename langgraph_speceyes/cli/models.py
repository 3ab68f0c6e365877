"""The options that say which models answer, once for every command that needs models."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from langgraph_speceyes.cli.terminal import one_line_errors

_OPTIONS: dict[str, Any] = {
    "speculator": Annotated[
        str | None,
        typer.Option(
            help="The small model: NAME@URL at an OpenAI-compatible endpoint, provider:name as LangChain has it, or a "
            "hub id or folder. The default is the embedded pair, or what speceyes.toml says."
        ),
    ],
    "agent": Annotated[str | None, typer.Option(help="The agent's model, which also judges; named alike.")],
    "judge": Annotated[str | None, typer.Option(help="The model that judges, where it is not the agent's.")],
    "base_url": Annotated[
        str | None, typer.Option(help="The endpoint of models named without one, such as http://localhost:8000/v1.")
    ],
    "api_key_env": Annotated[
        str | None, typer.Option(help="Environment variable with the endpoints' key; the default is OPENAI_API_KEY.")
    ],
    "protocol": Annotated[
        str | None, typer.Option(help="How the agent's model calls tools: native (the default), deepeyes or thyme.")
    ],
    "agent_prompt": Annotated[
        Path | None,
        typer.Option(help="File with the prompt that the agent's model was trained with: text, or TOML with more."),
    ],
    "coordinates": Annotated[
        str | None,
        typer.Option(help="What the agent's boxes count: absolute (the default), resized or relative_1000."),
    ],
    "resize": Annotated[
        str | None,
        typer.Option(help="The family whose rule an endpoint resizes images by, for resized boxes: qwen2.5-vl, say."),
    ],
    "gate": Annotated[Path | None, typer.Option(help="Gate file.")],
    "batch_size": Annotated[
        int | None, typer.Option(min=1, help="Most calls in one forward pass of a local model; the default is 16.")
    ],
    "look": Annotated[
        list[str] | None,
        typer.Option(
            help="What the small model is shown before it answers again: tiles:2x2, ocr, own_calls, pair (the embedded "
            "pair's own), or a function of yours (package.function); may be given several times, a depth each."
        ),
    ],
    "models": Annotated[
        str | None,
        typer.Option(help="In their place: a function of yours that returns bench.methods.Models (package.function)."),
    ],
}


def with_models(command: Callable[..., None], *, gate: bool = True) -> Callable[..., None]:
    """Give a command the options that choose models.

    Args:
        command: It has a parameter `chosen`, which gets a :class:`~langgraph_speceyes.bench.chosen.Chosen`: what
            `speceyes.toml` says, and before it what the command line says.
        gate: Whether a gate file is one of them.
    """
    hints = get_type_hints(command, localns={"Chosen": Any}, include_extras=True)
    offered = {name: hint for name, hint in _OPTIONS.items() if gate or name != "gate"}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name == "chosen":
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            parameters += [inspect.Parameter(n, kind, default=None, annotation=hint) for n, hint in offered.items()]
        else:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))

    @functools.wraps(command)
    def chooses(**arguments: Any) -> None:
        with one_line_errors():
            from langgraph_speceyes.bench.chosen import CONFIG, Chosen

            config = Path(CONFIG)
            configured = Chosen.from_file(config) if config.is_file() else Chosen()
            chosen = configured.changed({name: arguments.pop(name) for name in offered})
        command(**arguments, chosen=chosen)

    # the command's own annotations and signature are those of before: typer is to see these
    del chooses.__wrapped__
    chooses.__annotations__ = {one.name: one.annotation for one in parameters}
    chooses.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return chooses
