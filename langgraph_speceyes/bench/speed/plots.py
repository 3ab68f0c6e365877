"""The plots of a speed benchmark, as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langgraph_speceyes.bench.report.plots.drawing import COLOURS, INK, MARKERS, PHASE_COLOURS, Drawing, Plot
from langgraph_speceyes.bench.speed.figures import Figure as Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(folder: Path, figures: Mapping[str, Value], details: Mapping[str, Mapping[str, Any]]) -> list[Plot]:
    """Draw what was measured.

    Args:
        folder: Where the files go.
        figures: By key.
        details: Of each measurement.

    Returns:
        The plots; of each there are a PNG and an SVG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    drawing = _Speed(folder)
    latency = details.get("latency", {})
    drawn = [
        drawing.comparison(details.get("comparison", {}).get("methods", {})),
        drawing.routes(latency.get("routes", {})),
        drawing.speedups(latency.get("by_split", {}), figures),
        drawing.throughput(details.get("throughput", {}).get("curve", []), details.get("throughput", {})),
        drawing.switches(details.get("switches", {}).get("ratios", {})),
        drawing.stream(details.get("stream", {})),
    ]
    return [plot for plot in drawn if plot]


class _Speed(Drawing):
    """Draws with the report's style; each method returns None without anything to draw."""

    def comparison(self, methods: Mapping[str, Any]) -> Plot | None:
        """Accuracy against speed-up of SpecEyes and of simpler things."""
        if not methods:
            return None

        def paint(figure: Figure) -> None:
            axes = figure.subplots(1, 2, sharey=True)
            for ax, key, label in zip(axes, ("speedup", "speedup_cpu"), ("wall clock", "processor time"), strict=True):
                for k, (name, found) in enumerate(methods.items()):
                    # the agent is what the others are measured against
                    at = found.get(key, {"median": 1.0, "low": 1.0, "high": 1.0})
                    right = found["accuracy"]
                    if at["median"] is None:
                        continue
                    ax.errorbar(
                        [at["median"]],
                        [100 * right["value"]],
                        xerr=[[at["median"] - at["low"]], [at["high"] - at["median"]]],
                        yerr=[[100 * (right["value"] - right["low"])], [100 * (right["high"] - right["value"])]],
                        fmt=MARKERS[k],
                        color=COLOURS[k],
                        ms=5,
                        lw=1.2,
                        label=name if key == "speedup" else None,
                    )
                ax.axvline(1, color=INK, lw=0.8, ls=":")
                ax.grid(True)
                ax.set_title(label, loc="left")
                ax.set_xlabel("speed-up over the agent, total time (x)")
            axes[0].set_ylabel("accuracy (%)")
            figure.legend(loc="outside lower center", ncols=len(methods))

        caption = (
            "Thresholds of all three chosen by the same rule on other questions. Up and to the right is better; bars "
            "are 95 % intervals."
        )
        return self.save("comparison", "SpecEyes against simpler things", caption, paint, 3.0)

    def routes(self, routes: Mapping[str, Any]) -> Plot | None:
        """Mean latency by route, the phases stacked."""
        if not routes:
            return None

        def paint(figure: Figure) -> None:
            ax: Axes = figure.subplots()
            names = list(routes)
            seen = {phase for name in names for phase in routes[name]["phases"]}
            colours = {phase: colour for phase, colour in PHASE_COLOURS.items() if phase in seen}
            for row, name in enumerate(names):
                left = 0.0
                for phase, colour in colours.items():
                    length = 1e3 * routes[name]["phases"].get(phase, 0.0)
                    ax.barh(row, length, left=left, color=colour, label=phase if row == 0 else None)
                    left += length
                ax.text(left, row, f" {left:.0f} ms", va="center")
            ax.set_yticks(range(len(names)), [f"{n}\nn = {routes[n]['questions']}" for n in names])
            ax.invert_yaxis()
            ax.margins(x=0.12)
            ax.set_xlabel("mean latency (ms)")
            figure.legend(loc="outside lower center", ncols=len(colours))

        caption = "One question at a time, from empty caches. Grey: what no phase accounts for, above all the graph."
        return self.save("latency-routes", "Latency by route", caption, paint, 1.3 + 0.55 * len(routes))

    def speedups(self, by_split: Mapping[str, Any], figures: Mapping[str, Value]) -> Plot | None:
        """Speed-up by split, against the agent without and with caches."""
        kinds = {
            "plain agent": ("speedup_plain_total", "speedup_plain"),
            "agent": ("speedup_total", "speedup_cached"),
        }
        mean = f"mean of {len(by_split)} splits"
        rows: dict[str, dict[str, dict[str, Any]]] = {
            kind: {
                "total time": figures[total].to_dict(),
                mean: figures[key].to_dict(),
                **{s: found[kind] for s, found in by_split.items() if kind in found},
            }
            for kind, (total, key) in kinds.items()
            if key in figures
        }
        if not by_split:
            return None

        def paint(figure: Figure) -> None:
            ax: Axes = figure.subplots()
            names = ["total time", mean, *by_split]
            labels = {"plain agent": "agent without caches", "agent": "agent with the same caches"}
            for k, (kind, found) in enumerate(rows.items()):
                kept = [(x, found[n]) for x, n in enumerate(names) if n in found and found[n]["median"] is not None]
                values = [v["median"] for _, v in kept]
                bars = [[v["median"] - v["low"] for _, v in kept], [v["high"] - v["median"] for _, v in kept]]
                places = [x + 0.16 * (k - 0.5) for x, _ in kept]
                ax.errorbar(
                    places, values, yerr=bars, fmt=MARKERS[k], color=COLOURS[k], ms=5, lw=1.2, label=labels[kind]
                )
            ax.axhline(1, color=INK, lw=0.8, ls=":")
            ax.set_xticks(range(len(names)), names)
            ax.set_ylim(bottom=0)
            ax.grid(True, axis="y")
            ax.set_ylabel("speed-up (x)")
            figure.legend(loc="outside lower center", ncols=2)

        caption = (
            "All seconds of the agent over all of SpecEyes, and the unweighted mean of the splits' ratios; bars are "
            "95 % bootstrap intervals over questions."
        )
        return self.save("speedups", "Speed-up by split", caption, paint, 3.0)

    def throughput(self, curve: list[dict[str, Any]], details: Mapping[str, Any]) -> Plot | None:
        """Queries a second against concurrency, with the limit of a serial agent."""
        if not curve:
            return None

        def paint(figure: Figure) -> None:
            from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

            ax: Axes = figure.subplots()
            at = [row["concurrency"] for row in curve]
            for k, name in enumerate(n for n in ("SpecEyes", "SpecEyes, no batching", "agent") if n in curve[0]):
                ax.plot(at, [row[name] for row in curve], color=COLOURS[k], marker=MARKERS[k], ms=4, lw=1.4, label=name)
            if curve[0]["concurrency"] == 1 and curve[0]["accepted"] < 1:
                limit = curve[0]["agent"] / (1 - curve[0]["accepted"])
                ax.axhline(limit, color=INK, lw=0.9, ls=":", label="limit with a serial agent, 1 / (1 - beta alpha)")
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_locator(FixedLocator(at))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            ax.set_ylim(bottom=0)
            ax.grid(True)
            ax.set_xlabel("questions under way at once")
            ax.set_ylabel("questions a second")
            figure.legend(loc="outside lower center", ncols=4)

        caption = "One pass for each point, from empty caches."
        return self.save("throughput", "Throughput against concurrency", caption, paint, 3.2)

    def switches(self, ratios: Mapping[str, Any]) -> Plot | None:
        """Latency with one thing changed over that as it is."""
        kept = {name.removeprefix("latency "): r for name, r in ratios.items() if r["median"] is not None}
        if not kept:
            return None

        def paint(figure: Figure) -> None:
            ax: Axes = figure.subplots()
            for row, found in enumerate(kept.values()):
                value, low, high = found["median"], found["low"], found["high"]
                ax.barh(row, value - 1, left=1, color=COLOURS[0], alpha=0.6)
                ax.plot([low, high], [row, row], color=INK, lw=1.4)
                ax.text(max(high, 1), row, f"  {value:.2f} x", va="center")
            ax.axvline(1, color=INK, lw=0.8, ls=":")
            ax.set_yticks(range(len(kept)), list(kept))
            ax.invert_yaxis()
            ax.margins(x=0.12)
            ax.set_xlabel("latency, changed / as it is")

        caption = "Median over questions and 95 % bootstrap interval, one question at a time, from empty caches."
        return self.save("switches", "What each is worth", caption, paint, 1.0 + 0.4 * len(kept))

    def stream(self, found: Mapping[str, Any]) -> Plot | None:
        """Memory along the long stream."""
        samples = found.get("quarters")
        if not samples:
            return None

        def paint(figure: Figure) -> None:
            ax: Axes = figure.subplots()
            at = [0, *(s["queries"] for s in samples)]
            ax.plot(at, [found["rss_before_mib"], *(s["rss_mib"] for s in samples)], color=COLOURS[0], marker="o", ms=4)
            ax.set_ylim(0, 1.15 * max(found["rss_before_mib"], *(s["rss_mib"] for s in samples)))
            ax.grid(True)
            ax.set_xlabel("outcomes so far")
            ax.set_ylabel("resident memory (MiB)")

        caption = "Resident memory of the process along one run of the funnel, with stand-ins for the models."
        return self.save("stream", "Memory along a long stream", caption, paint, 2.4)
