"""A prediction as a table and as a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from langgraph_speceyes.bench.simulation.designs import Design
from langgraph_speceyes.bench.simulation.looks import draw_looks, look_curves
from langgraph_speceyes.bench.simulation.paper import PRESETS
from langgraph_speceyes.bench.simulation.predict import Load, Prediction
from langgraph_speceyes.errors import MissingExtraError
from langgraph_speceyes.files import write_whole

NAMES: dict[Design, str] = {
    "agent_serial": "agent, one by one",
    "agent_batched": "agent, turns batched",
    "reference": "the authors' design",
    "speceyes": "this package",
}
"""What the designs are called."""
_LOADS: dict[Load, str] = {
    "each": "{0} queries in flight for each accelerator",
    "fixed": "{1} queries in flight in all",
    "batch": "{1} queries at once",
}


def show(console: Console, found: Prediction) -> None:
    """A prediction as tables, one a load."""
    console.print(
        f"[bold]{escape(found.name)}[/]: beta {found.beta:.2f}, alpha {found.alpha:.2f}, agent {found.agent_s:.3g} s, "
        f"1 / (1 - beta * alpha) = {found.limit:.2f}",
        highlight=False,
    )
    console.print(escape(found.source), highlight=False)
    for load in dict.fromkeys(row.load for row in found.rows):
        rows = [row for row in found.rows if row.load == load]
        first = rows[0]
        title = _LOADS[load].format(first.in_flight // first.accelerators, first.in_flight)
        table = Table(title=f"{title} (simulated)", title_justify="left")
        table.add_column("accelerators", justify="right")
        table.add_column("design", no_wrap=True)
        for name in ("queries / s", "speed-up", "mean", "p50", "p95", "busy", "rows"):
            table.add_column(name, justify="right", no_wrap=True)
        last = None
        for row in rows:
            if row.accelerators != last and last is not None:
                table.add_section()
            table.add_row(
                "" if row.accelerators == last else str(row.accelerators),
                NAMES[row.design],
                f"{row.throughput:.3g}",
                f"{row.speedup:.2f} x",
                f"{row.latency_mean_s:.3g} s",
                f"{row.latency_p50_s:.3g} s",
                f"{row.latency_p95_s:.3g} s",
                f"{row.utilisation:.0%}",
                f"{row.batch:.1f}",
            )
            last = row.accelerators
        console.print(table)


def save(found: Sequence[Prediction], folder: Path) -> None:
    """Write predictions as `simulation.json` and `simulation.png`.

    For the paper's settings what a look would bring is in `simulation-looks.json` and `simulation-looks.png`.

    Args:
        found: The predictions, of the same loads.
        folder: Where they go; made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "simulation.json", json.dumps([one.to_dict() for one in found], allow_nan=False) + "\n")
    draw(found, folder / "simulation.png")
    curves = [curve for one in found if one.name in PRESETS for curve in look_curves(PRESETS[one.name])]
    if curves:
        written = json.dumps([curve.to_dict() for curve in curves], allow_nan=False) + "\n"
        write_whole(folder / "simulation-looks.json", written)
        draw_looks(curves, folder / "simulation-looks.png")


def draw(found: Sequence[Prediction], file: Path) -> None:
    """Speed-ups over the serial agent, a column a prediction and a row a load, as a PNG.

    Args:
        found: The predictions, of the same loads.
        file: Where the plot goes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
    except ModuleNotFoundError as missing:
        raise MissingExtraError("the simulation's plot", "eval") from missing
    from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, MARKERS, STYLE, WIDTH

    loads = list(dict.fromkeys(row.load for row in found[0].rows))
    designs = list(dict.fromkeys(row.design for row in found[0].rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.7 + 2.3 * len(loads)), layout="constrained")
        axes = figure.subplots(len(loads), len(found), squeeze=False, sharex=True, sharey=True)
        for across, one in enumerate(found):
            for down, load in enumerate(loads):
                ax = axes[down][across]
                for k, design in enumerate(designs):
                    rows = one.of(design, load)
                    ax.plot(
                        [row.accelerators for row in rows],
                        [row.speedup for row in rows],
                        color=COLOURS[k],
                        marker=MARKERS[k],
                        ms=4,
                        lw=1.4,
                    )
                ax.axhline(one.limit, color=INK, lw=0.9, ls=":")
                ax.set_xscale("log", base=2)
                ax.set_yscale("log")
                ax.grid(True)
                ax.xaxis.set_major_locator(FixedLocator([row.accelerators for row in one.of(designs[0], load)]))
                ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
                ax.xaxis.set_minor_locator(NullLocator())
                ax.yaxis.set_major_locator(FixedLocator([0.5, 1, 2, 3, 5, 10, 20]))
                ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
                ax.yaxis.set_minor_locator(NullLocator())
                if not down:
                    ax.set_title(one.name, loc="left")
                if not across:
                    first = one.of(designs[0], load)[0]
                    name = _LOADS[load].format(first.in_flight // first.accelerators, first.in_flight)
                    ax.set_ylabel(f"speed-up (x)\n{name.replace(' in flight', chr(10) + 'in flight')}")
                if down == len(loads) - 1:
                    ax.set_xlabel("accelerators")
        marks = [Line2D([], [], color=COLOURS[k], marker=MARKERS[k], ms=5, lw=1.4) for k in range(len(designs))]
        dotted = Line2D([], [], color=INK, lw=0.9, ls=":")
        names = [*(NAMES[design] for design in designs), "1 / (1 - beta * alpha)"]
        figure.legend([*marks, dotted], names, loc="outside lower center", ncols=len(names))
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=144, facecolor="white")
