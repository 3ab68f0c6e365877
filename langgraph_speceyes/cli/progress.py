"""How far a long command is: its bar, and the bar of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from langgraph_speceyes.bench.evaluation import Evaluation


def progress_bar(console: Console) -> Progress:
    """A bar with how many are done, at what speed, and the time left; gone when it ends."""
    # what stands there may be a name of others
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def run_evaluation(evaluation: Evaluation, console: Console) -> list[Any]:
    """All outcomes of an evaluation, with a progress bar."""
    import asyncio

    with console.status("Reading the questions"):
        total = evaluation.total
    with progress_bar(console) as progress:
        bar = progress.add_task("outcomes", total=total)

        def report(done: int, name: str) -> None:
            if not name:
                # what an earlier run has done says nothing about the speed of this one
                progress.reset(bar, completed=done)
            progress.update(bar, completed=done, description=f"{name or 'outcomes':<10.40}")

        return asyncio.run(evaluation.run(report))


class _Speed(ProgressColumn):
    """How many a second, or a minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text()
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{speed * 60:.1f}/min", style="progress.data.speed")
