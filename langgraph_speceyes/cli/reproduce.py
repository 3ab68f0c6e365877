"""`reproduce`: the paper's table on one's own models, or on the embedded pair."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from langgraph_speceyes.cli.folder import prepare_folder
from langgraph_speceyes.cli.options import AsJson
from langgraph_speceyes.cli.progress import progress_bar
from langgraph_speceyes.cli.terminal import ERR, OUT, one_line_errors
from langgraph_speceyes.errors import ArgumentError

if TYPE_CHECKING:
    from langgraph_speceyes.bench.chosen import Chosen
    from langgraph_speceyes.bench.reproduce import Backbone, Plan, Reproduced

_CODE = "langgraph_speceyes.bench.chosen.embedded_code_models"
# how DeepEyes' boxes count, and the rule that an endpoint's processor then follows
_DEEPEYES = {"coordinates": "resized", "resize": "qwen2.5-vl"}


def reproduce(
    out: Annotated[Path, typer.Option(help="Folder of the runs and the table; what is there is gone on with.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with V*, HR-Bench and POPE, as many of them as there are; by default embedded scenes."
        ),
    ] = None,
    speculator: Annotated[
        str | None, typer.Option(help="The small model, named as in eval; by default the embedded one.")
    ] = None,
    agent: Annotated[
        list[str] | None,
        typer.Option(
            help="How the agent's model calls tools, and which it is: deepeyes=NAME@URL, thyme=FOLDER; may be given "
            "several times. By default the two embedded agents."
        ),
    ] = None,
    agent_prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="The words that an agent's model was trained with: deepeyes=FILE; may be given several times."
        ),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="The endpoint of models named without one.")] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable with the endpoints' key; the default is OPENAI_API_KEY.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most questions of each split and half.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fill the paper's Table 1: draft, agent, SpecReason, and the bypass with each score, before each agent."""
    with one_line_errors():
        from langgraph_speceyes.bench.chosen import CONFIG, Chosen
        from langgraph_speceyes.bench.report.page.html import check_installed
        from langgraph_speceyes.bench.reproduce import Plan, embedded_source, reproduced, sources_in, write_table

        check_installed()
        config = Path(CONFIG)
        chosen = Chosen.from_file(config) if config.is_file() else Chosen()
        given = {"speculator": speculator, "base_url": base_url, "api_key_env": api_key_env}
        backbones = _backbones(chosen.changed(given), agent or [], agent_prompt or [])
        sources = [embedded_source()] if data is None else sources_in(data)
        plan = Plan(tuple(sources), tuple(backbones), out, limit)
        embedded = all(one.chosen.embedded or one.chosen.models == _CODE for one in backbones)
        prepare_folder(out, "the table's plot")
        _run(plan, min(2, os.cpu_count() or 1) if embedded else 1, as_json)
        found = reproduced(plan)
        page = write_table(found, out)
    if as_json:
        import json

        print(json.dumps(asdict(found), allow_nan=False))
    else:
        _show(found, page)


def _backbones(chosen: Chosen, agents: Sequence[str], prompts: Sequence[str]) -> list[Backbone]:
    """The agents of the table.

    Raises:
        ArgumentError: One is named in another form, or there are words for one that is not there.
    """
    from langgraph_speceyes.agent.visual import PROTOCOLS
    from langgraph_speceyes.bench.chosen import Chosen
    from langgraph_speceyes.bench.reproduce import Backbone

    words = dict(_named("agent-prompt", one, PROTOCOLS) for one in prompts)
    pairs = [_named("agent", one, PROTOCOLS) for one in agents]
    if not pairs and chosen.agent is not None:
        pairs = [(chosen.protocol, chosen.agent)]
    if unused := set(words) - {name for name, _ in pairs}:
        raise ArgumentError("agent-prompt", "words for an agent that is named", sorted(unused)[0])
    if not pairs:
        if chosen.speculator is not None:
            raise ArgumentError("agent", "an agent's model beside --speculator, as deepeyes=NAME", "none")
        return [Backbone("tools", Chosen()), Backbone("code", Chosen(models=_CODE))]
    found = []
    for protocol, model in pairs:
        changes: dict[str, Any] = {"agent": model, "protocol": protocol, "models": None}
        if protocol in words:
            changes["agent_prompt"] = Path(words[protocol])
        elif protocol != chosen.protocol:
            changes["agent_prompt"] = None
        if protocol == "deepeyes":
            changes |= _DEEPEYES
        found.append(Backbone(protocol, replace(chosen, **changes)))
    return found


def _named(option: str, text: str, known: Sequence[str] | Any) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if name not in known or not value:
        raise ArgumentError(option, f"{' or '.join(f'{one}=...' for one in known)}", repr(text))
    return name, value


def _run(plan: Plan, at_once: int, quiet: bool) -> None:
    """Run what is missing, with a bar a backbone."""
    from langgraph_speceyes.bench.reproduce import run_all

    with progress_bar(ERR if quiet else OUT) as progress:
        bars = {one.name: progress.add_task(f"{one.name:<10.40}", total=None) for one in plan.backbones}

        def report(counts: dict[str, tuple[int, int]]) -> None:
            for name, (done, total) in counts.items():
                progress.update(bars[name], completed=done, total=total or None)

        run_all(plan, at_once, report)


def _show(found: Reproduced, page: Path) -> None:
    """A line a method: the mean of the columns, the paper's beside it, and total time."""
    from langgraph_speceyes.bench.report.text import percent, print_whole, shown
    from langgraph_speceyes.bench.reproduce import label

    grid = Table(
        title=f"Mean of {len(found.columns)} columns; 95 % intervals below",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    grid.add_column("method", overflow="fold", min_width=16)
    for name in ("accuracy, %", "speed-up, x", "in total time, x", "bypassed, %"):
        grid.add_column(name, justify="right", no_wrap=True)
    backbone = ""
    for row in found.rows:
        if row.backbone != backbone:
            backbone = row.backbone
            grid.add_section()
            grid.add_row(f"[bold]before {escape(backbone)}[/] ({row.total.n})")
        paper = row.mean.paper
        grid.add_row(
            escape(label(row)),
            _cell(percent(row.mean.accuracy), paper and f"{paper.accuracy:.2f}"),
            _cell(shown(row.mean.speedup, 1, 2), paper and f"{paper.speedup:.2f}"),
            _cell(shown(row.total.speedup, 1, 2)),
            _cell(percent(row.total.bypassed)),
        )
    print_whole(OUT, grid)
    for sentence in found.missing:
        OUT.print(escape(sentence), highlight=False)
    OUT.print(f"{page}", highlight=False, soft_wrap=True, markup=False)


def _cell(found: tuple[str, str], paper: str | None = None) -> str:
    """A figure, its interval and the paper's figure, a line each."""
    value, ends = found
    return "\n".join([value, *(f"[dim]{one}[/]" for one in (escape(ends), paper and f"paper {paper}") if one)])
