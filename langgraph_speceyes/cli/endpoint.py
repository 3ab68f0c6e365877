"""`probe`: what an endpoint, or a local model, can do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from langgraph_speceyes.cli.options import AsJson
from langgraph_speceyes.cli.terminal import ERR, OUT, one_line_errors
from langgraph_speceyes.models.endpoint import at_endpoint


def probe(
    model: Annotated[
        str,
        typer.Argument(
            help="The model's name on the server, or NAME@URL; or a checkpoint's folder; with --local a Hub id."
        ),
    ],
    local: Annotated[
        bool, typer.Option("--local", help="Load the checkpoint of a Hub id here, and say how it is run.")
    ] = False,
    base_url: Annotated[
        str | None, typer.Option(help="Where the server is, such as http://localhost:8000/v1; else OpenAI's.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key; the default is OPENAI_API_KEY.")
    ] = None,
    resize: Annotated[
        str | None, typer.Option(help="Compare its image tokens with a family's rule, such as qwen2.5-vl.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask an endpoint what it can do: logprobs and how many, images, tools; or say how a local checkpoint is run."""
    if local or (base_url is None and Path(model).is_dir()):
        _show_local(model, as_json)
        return
    with one_line_errors():
        from langgraph_speceyes.models.hosted import hosted_model, key_from
        from langgraph_speceyes.models.hosted import probe as ask_endpoint

        name, url = at_endpoint(model)
        asked = hosted_model(name, base_url=url or base_url, api_key=key_from(api_key_env), max_retries=1, timeout=60.0)
        with (ERR if as_json else OUT).status("Asking"):
            found = ask_endpoint(asked, resize=resize)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        _show_rows(found.name, found.rows())
        for line in found.advice():
            OUT.print(line, highlight=False, markup=False, soft_wrap=True)


def _show_local(model: str, as_json: bool) -> None:
    with one_line_errors():
        from langgraph_speceyes.models import LocalChatModel

        with (ERR if as_json else OUT).status("Loading"):
            can = LocalChatModel.from_pretrained(model).capabilities
    if as_json:
        print(json.dumps(can.to_dict()))
    else:
        _show_rows(can.model, can.rows())


def _show_rows(title: str, rows: Sequence[tuple[str, str]]) -> None:
    table = Table("", "", title=escape(title), title_justify="left", show_header=False)
    for row in rows:
        table.add_row(*map(escape, row))
    OUT.print(table)
