"""`probe`: what an endpoint can do."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from langgraph_speceyes.cli.options import AsJson
from langgraph_speceyes.cli.terminal import ERR, OUT, one_line_errors
from langgraph_speceyes.errors import ArgumentError


def probe(
    model: Annotated[str, typer.Argument(help="The model's name on the server.")],
    base_url: Annotated[
        str | None, typer.Option(help="Where the server is, such as http://localhost:8000/v1; else OpenAI's.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key; the default is OPENAI_API_KEY.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask an OpenAI-compatible endpoint what it can do: logprobs and how many, images, tools; say what follows."""
    with one_line_errors():
        from langgraph_speceyes.models.hosted import hosted_model
        from langgraph_speceyes.models.hosted import probe as ask_endpoint

        key = os.environ.get(api_key_env) if api_key_env else None
        if api_key_env and not key:
            raise ArgumentError("api-key-env", "an environment variable that holds a key", api_key_env)
        asked = hosted_model(model, base_url=base_url, api_key=key, max_retries=1, timeout=60.0)
        with (ERR if as_json else OUT).status("Asking"):
            found = ask_endpoint(asked)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        table = Table("", "", title=found.name, title_justify="left", show_header=False)
        for row in found.rows():
            table.add_row(*map(escape, row))
        OUT.print(table)
        for line in found.advice():
            OUT.print(line, highlight=False, markup=False, soft_wrap=True)
