"""A simulation of what the designs would do on 1 to 64 accelerators: `speceyes bench --simulate`."""

from langgraph_speceyes.bench.simulation.designs import DESIGNS, Design, Machine, Simulated, simulate
from langgraph_speceyes.bench.simulation.display import draw, save, show
from langgraph_speceyes.bench.simulation.fleet import Call
from langgraph_speceyes.bench.simulation.looks import look_curves, with_look
from langgraph_speceyes.bench.simulation.paper import PRESETS
from langgraph_speceyes.bench.simulation.predict import ACCELERATORS, Predicted, Prediction, run
from langgraph_speceyes.bench.simulation.query import Query, Tool, Turn
from langgraph_speceyes.bench.simulation.recorded import Recorded, from_run
from langgraph_speceyes.bench.simulation.setting import Setting
from langgraph_speceyes.bench.simulation.validation import Compared, measured_lock, validate

__all__ = [
    "ACCELERATORS",
    "DESIGNS",
    "PRESETS",
    "Call",
    "Compared",
    "Design",
    "Machine",
    "Predicted",
    "Prediction",
    "Query",
    "Recorded",
    "Setting",
    "Simulated",
    "Tool",
    "Turn",
    "draw",
    "from_run",
    "look_curves",
    "measured_lock",
    "run",
    "save",
    "show",
    "simulate",
    "validate",
    "with_look",
]
