"""Draw what `speceyes demo` shows in a terminal, as an SVG: `make recording`.

python examples/record_demo.py docs/demo.svg --questions 6
"""

from __future__ import annotations

import argparse
import asyncio
import io
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from langgraph_speceyes.bench.chosen import Chosen
from langgraph_speceyes.bench.demo import side_by_side, summary
from langgraph_speceyes.cli.display import Questions, show_summary
from langgraph_speceyes.models.quiet import quiet_libraries


def main() -> None:
    """Run the demo's questions, and save the screen."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("out", type=Path)
    cli.add_argument("--questions", type=int, default=6)
    a = cli.parse_args()
    quiet_libraries()
    console = Console(record=True, width=92, force_terminal=True, color_system="truecolor", file=io.StringIO())
    outcomes = asyncio.run(_recorded(console, a.questions))
    show_summary(console, summary(outcomes))
    a.out.write_text(console.export_svg(title="speceyes demo"))


async def _recorded(console: Console, questions: int) -> list[Any]:
    outcomes: list[Any] = []
    shown = Questions(console)
    with tempfile.TemporaryDirectory(prefix="speceyes-") as folder:
        async for outcome in side_by_side(Chosen(look=("pair",)).load(), questions, Path(folder)):
            outcomes.append(outcome)
            shown.add(outcome)
    return outcomes


if __name__ == "__main__":
    main()
