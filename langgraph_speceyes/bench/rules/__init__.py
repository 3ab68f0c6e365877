"""Whether an answer is right, by rules that need no judge, and the benchmarks' figures.

The rules follow lmms-eval (tasks vstar_bench, hrbench, pope) and VLMEvalKit (`can_infer`, `YOrN_Extraction`), without
their known faults: a letter counts only where it is given as the answer, the whole answer is read, and whatever is
unclear is wrong.
"""

from langgraph_speceyes.bench.rules.choice import multiple_choice, shuffled
from langgraph_speceyes.bench.rules.figures import ROTATIONS, CycleFigures, YesNoFigures, cycle_figures, yes_no_figures
from langgraph_speceyes.bench.rules.judge import LLMJudge
from langgraph_speceyes.bench.rules.rule import rule_of, score
from langgraph_speceyes.bench.rules.scored import Rule, Scored
from langgraph_speceyes.bench.rules.text import free_form, yes_no

__all__ = [
    "ROTATIONS",
    "CycleFigures",
    "LLMJudge",
    "Rule",
    "Scored",
    "YesNoFigures",
    "cycle_figures",
    "free_form",
    "multiple_choice",
    "rule_of",
    "score",
    "shuffled",
    "yes_no",
    "yes_no_figures",
]
