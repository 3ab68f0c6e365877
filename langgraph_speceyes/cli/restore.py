"""`restore`: threads that go on without the bypass."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from langgraph_speceyes.cli.options import AsJson
from langgraph_speceyes.cli.terminal import ERR, OUT, one_line_errors
from langgraph_speceyes.errors import ArgumentError, CheckpointError, MissingExtraError

POSTGRES = ("postgresql://", "postgres://")
SQLITE = "sqlite:///"


def restore(
    checkpoints: Annotated[
        str, typer.Argument(help="The checkpointer's database: an SQLite file, or a postgresql:// URL.")
    ],
    threads: Annotated[list[str] | None, typer.Argument(help="Ids of the threads to restore.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Restore all threads.")] = False,
    history: Annotated[
        bool, typer.Option(help="Also a thread's earlier checkpoints; each then holds a copy of every image.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; say what would change, and which images are not there.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images; the default is the one that graphs of this user keep.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put images back into threads that were kept with references, so that an agent can go on without the bypass.

    Stop what writes to the threads first.
    """
    with one_line_errors():
        from langgraph_speceyes.images import ImageStore, restore_checkpoints

        if every == bool(threads):
            raise ArgumentError("threads", "ids of threads, or --all", "both" if threads else "neither")
        if images is not None and not images.is_dir():
            raise ArgumentError("images", "a folder of images", images)
        with _saver(checkpoints, write=not dry_run) as saver:
            done = restore_checkpoints(
                saver,
                None if every else threads,
                store=None if images is None else ImageStore(images),
                history=history,
                dry_run=dry_run,
            )
    if as_json:
        print(json.dumps({"dry_run": dry_run, "threads": [asdict(one) for one in done]}))
    else:
        table = Table("thread", "checkpoints", "images", "")
        for one in done:
            table.add_row(escape(one.thread_id), str(one.checkpoints), str(one.images), escape(one.error or ""))
        OUT.print(table)
        if dry_run:
            OUT.print("Nothing was written.")
    if any(one.error for one in done):
        ERR.print("Some threads lack images and were left as they are.")
        raise typer.Exit(1)


@contextmanager
def _saver(database: str, *, write: bool) -> Iterator[Any]:
    """The checkpointer over a database that exists.

    Raises:
        CheckpointError: It cannot be opened, or holds no checkpoints.
        MissingExtraError: The checkpointer is not installed.
    """
    if database.startswith(POSTGRES):
        try:
            from langgraph.checkpoint.postgres import PostgresSaver
        except ModuleNotFoundError as missing:
            raise MissingExtraError("speceyes restore on PostgreSQL", "postgres") from missing
        with ExitStack() as opened:
            try:
                saver = opened.enter_context(PostgresSaver.from_conn_string(database))
            except Exception as error:
                # a driver's own message may hold the whole URL, and with it a password
                raise CheckpointError(f"the database cannot be opened ({type(error).__name__})") from error
            yield saver
        return
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver
    except ModuleNotFoundError as missing:
        raise MissingExtraError("speceyes restore on SQLite", "sqlite") from missing
    path = Path(database.removeprefix(SQLITE))
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    mode = "rw" if write else "ro"
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, check_same_thread=False)) as conn:
        try:
            conn.execute("SELECT 1 FROM checkpoints LIMIT 1")
        except sqlite3.Error as error:
            raise CheckpointError(f"{path} holds no checkpoints of LangGraph ({error})") from error
        made = SqliteSaver(conn)
        # its tables are there, and it would write to see to that
        made.is_setup = True
        yield made
