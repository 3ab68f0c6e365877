"""From nothing to an open gate, live: a stream of embedded questions through a bypass whose gate opens itself."""

from langgraph_speceyes.bench.opening.plot import draw_opening
from langgraph_speceyes.bench.opening.stream import SEED, Live, Point, drawn, lost, run_live, settings_of, summary

__all__ = ["SEED", "Live", "Point", "draw_opening", "drawn", "lost", "run_live", "settings_of", "summary"]
