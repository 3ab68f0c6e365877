"""What a further look would bring in the paper's settings, over what it costs and how much its gate accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from langgraph_speceyes.bench.simulation.designs import Machine, simulate
from langgraph_speceyes.bench.simulation.fleet import Call
from langgraph_speceyes.bench.simulation.setting import LookSetting, Setting, scaled
from langgraph_speceyes.calibration.latency import expected_latency
from langgraph_speceyes.errors import ArgumentError, MissingExtraError

COSTS = (0.05, 0.1, 0.2, 0.3)
"""``c_1`` over ``L_agent``. Assumed: the paper has no look."""
_STEPS = 21
_SIMULATED = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_QUERIES, _IN_FLIGHT = 4000, 16


def with_look(setting: Setting, cost: float, alpha: float) -> Setting:
    """A setting with one look.

    A look is assumed to take the setting's tool time, and the answer after it the rest, which is shared, prefilled and
    prepared in the proportions of the answer from the whole image. What the judge sends on is assumed to be accepted as
    often as what the gate has rejected.

    Args:
        setting: The setting.
        cost: ``c_1`` over ``L_agent``.
        alpha: ``alpha_1``.

    Raises:
        ArgumentError: The look alone would take longer than that, or a share is outside 0 to 1.
    """
    seconds = cost * setting.agent_s - setting.tool_s
    if seconds <= 0:
        raise ArgumentError("cost", f"above {setting.tool_s / setting.agent_s:.3g}, of which the tool is", cost)
    call = scaled(setting.speculate, seconds / setting.speculate.alone_s)
    return replace(setting, looks=(LookSetting(call, alpha, setting.tool_s),))


def without_own_work(setting: Setting) -> Setting:
    """A setting whose front end takes a core for nothing: what is left is the models' own passes and steps."""

    def bare(call: Call) -> Call:
        return replace(call, prepare_s=0.0, setup_s=0.0)

    return replace(setting, judge=bare(setting.judge), speculate=bare(setting.speculate))


def speedup(setting: Setting, batch: int) -> float:
    """``L_agent / E[L]`` where so many queries are led through the front end together, the residual one by one.

    Args:
        setting: The setting.
        batch: Queries in a batch, which share what calls share.
    """

    def front(call: Call) -> float:
        return call.alone_s - (1 - 1 / batch) * (call.shared_s + call.setup_s)

    depths = [(front(setting.speculate), setting.alpha)]
    depths += [(look.tool_s + front(look.call), look.alpha) for look in setting.looks]
    return setting.agent_s / expected_latency(front(setting.judge), setting.beta, depths, setting.agent_s)


@dataclass(frozen=True)
class LookCurve:
    """Speed-ups over ``alpha_1``.

    Attributes:
        setting: The setting's name.
        front: ``published``, or ``bare`` without the process's own work.
        cost: ``c_1`` over ``L_agent``.
        without: The speed-up without a look.
        alpha: ``alpha_1``.
        speedup: By the formula.
        simulated: By the simulation of the authors' design, at some of them: pairs; empty where it was not asked.
    """

    setting: str
    front: str
    cost: float
    without: float
    alpha: tuple[float, ...]
    speedup: tuple[float, ...]
    simulated: tuple[tuple[float, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def look_curves(setting: Setting, *, costs: Sequence[float] = COSTS, check: float | None = 0.1) -> list[LookCurve]:
    """What one look would bring, with the published front end and without its own work.

    Args:
        setting: The setting.
        costs: ``c_1`` over ``L_agent``, a curve each.
        check: The cost at which the published front end is simulated, too; None for none.
    """
    alphas = tuple(k / (_STEPS - 1) for k in range(_STEPS))
    found = []
    for front, one in (("published", setting), ("bare", without_own_work(setting))):
        for cost in costs:
            curve = LookCurve(
                setting.name,
                front,
                cost,
                speedup(one, setting.front_batch),
                alphas,
                tuple(speedup(with_look(one, cost, alpha), setting.front_batch) for alpha in alphas),
            )
            if front == "published" and cost == check:
                points = tuple((alpha, _simulated(with_look(one, cost, alpha))) for alpha in _SIMULATED)
                curve = replace(curve, simulated=points)
            found.append(curve)
    return found


def _simulated(setting: Setting) -> float:
    """Throughput of the authors' design over that of the serial agent, on one accelerator."""
    queries = setting.queries(_QUERIES)
    machine = Machine(front_batch=setting.front_batch)
    serial, made = (simulate(queries, design, machine, _IN_FLIGHT) for design in ("agent_serial", "reference"))
    return made.throughput / serial.throughput


def draw_looks(found: Sequence[LookCurve], file: Path) -> None:
    """Speed-ups over ``alpha_1``, a column a setting, a row a front end, as a PNG.

    Args:
        found: Of one setting or several.
        file: Where the plot goes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ModuleNotFoundError as missing:
        raise MissingExtraError("the simulation's plot", "eval") from missing
    from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, STYLE, WIDTH

    names = list(dict.fromkeys(curve.setting for curve in found))
    fronts = {"published": "front end as published", "bare": "without its own work"}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 5.6), layout="constrained")
        axes = figure.subplots(2, len(names), squeeze=False, sharex=True, sharey=True)
        for down, (front, title) in enumerate(fronts.items()):
            for across, name in enumerate(names):
                ax = axes[down][across]
                mine = [curve for curve in found if (curve.setting, curve.front) == (name, front)]
                for k, curve in enumerate(mine):
                    ax.plot(curve.alpha, curve.speedup, color=COLOURS[k], lw=1.5)
                    if curve.simulated:
                        ax.plot(*zip(*curve.simulated, strict=True), "x", color=COLOURS[k], ms=6)
                ax.axhline(mine[0].without, color=INK, lw=1.0, ls="--")
                ax.axhline(1, color=INK, lw=0.8, ls=":")
                ax.set_yscale("log")
                ax.set_yticks([1, 1.5, 2, 3, 5, 10], ["1", "1.5", "2", "3", "5", "10"])
                ax.minorticks_off()
                ax.grid(True)
                ax.set_xlim(0, 1)
                ax.set_title(f"{name}, {title}", loc="left")
                if down:
                    ax.set_xlabel("alpha_1: accepted after the look")
            axes[down][0].set_ylabel("speed-up over the agent (x)")
        costs = list(dict.fromkeys(curve.cost for curve in found))
        marks = [Line2D([], [], color=COLOURS[k], lw=1.5) for k in range(len(costs))]
        marks += [Line2D([], [], color=INK, ls="--", lw=1.0), Line2D([], [], color=INK, marker="x", ls="")]
        labels = [*(f"c_1 = {cost:g} L" for cost in costs), "no look", "simulated"]
        figure.legend(marks, labels, loc="outside lower center", ncols=len(labels))
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=144, facecolor="white")
