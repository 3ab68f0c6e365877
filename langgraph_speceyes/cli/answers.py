"""`demo` and `ask`: questions answered before one's eyes."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langgraph_speceyes import image_question
from langgraph_speceyes.cli.display import Questions, save_regions, show_answer, show_summary
from langgraph_speceyes.cli.options import AsJson, Queries, Threshold
from langgraph_speceyes.cli.progress import progress_bar
from langgraph_speceyes.cli.terminal import ERR, OUT, one_line_errors
from langgraph_speceyes.errors import EndpointError, ImageError, SpecEyesError
from langgraph_speceyes.files import make_folder
from langgraph_speceyes.images import load_image, parse_reference
from langgraph_speceyes.models.quiet import quiet_libraries
from langgraph_speceyes.models.refusal import trouble_in_words

if TYPE_CHECKING:
    from langchain_core.messages import HumanMessage
    from langchain_core.runnables import Runnable
    from PIL.Image import Image

    from langgraph_speceyes.bench.chosen import Chosen


def demo(queries: Queries = 36, threshold: Threshold = None, as_json: AsJson = False) -> None:
    """Run embedded questions through the agent alone and through SpecEyes, and compare."""
    with one_line_errors():
        import asyncio

        from langgraph_speceyes.bench.chosen import Chosen
        from langgraph_speceyes.bench.demo import AGENT, SPECEYES, side_by_side, summary

        quiet_libraries()
        console = ERR if as_json else OUT
        with console.status("Loading the embedded pair"):
            models = Chosen(look=("pair",)).load()
            models = replace(models, gate=with_threshold(models.gate, threshold))
        with tempfile.TemporaryDirectory(prefix="speceyes-") as folder, progress_bar(console) as progress:
            bars = {name: progress.add_task(f"{name:<9}", total=queries) for name in (AGENT, SPECEYES)}

            async def run() -> list[Any]:
                outcomes, questions = [], Questions(console)
                async for outcome in side_by_side(models, queries, Path(folder)):
                    outcomes.append(outcome)
                    progress.advance(bars[outcome["method"]])
                    questions.add(outcome)
                return outcomes

            figures = summary(asyncio.run(run()))
    if as_json:
        print(json.dumps(figures))
    else:
        show_summary(OUT, figures)


def ask(
    image: Annotated[str, typer.Argument(help="Image file.")],
    question: Annotated[str, typer.Argument(help="What to ask about it.")],
    threshold: Threshold = None,
    save_crops: Annotated[Path | None, typer.Option(help="Folder for the regions the agent looked at.")] = None,
    as_json: AsJson = False,
    *,
    chosen: Chosen,
) -> None:
    """Answer one question about one image; show the route, the score of each token and the regions looked at."""
    with one_line_errors():
        from langgraph_speceyes.bench.methods import speceyes

        _check_there(image)
        quiet_libraries()
        with (ERR if as_json else OUT).status("Loading the models"):
            found = chosen.load()
            graph = speceyes(replace(found, gate=with_threshold(found.gate, threshold)))
        if save_crops:
            # what cannot be written to is said before the answer is paid for
            make_folder(save_crops, "save_crops")
        result = _asked(graph, image_question(image, question), chosen)
        answer, decision = result["messages"][-1].text, result["decision"]
        saved = save_regions(decision, save_crops) if save_crops else []
    if as_json:
        print(json.dumps({"answer": answer, "decision": decision, "crops": [str(p) for p in saved]}))
    else:
        show_answer(OUT, answer, decision, saved, image=_seen(image))
        if chosen.embedded:
            OUT.print(
                "These are the embedded models, which know the boards of their own world and nothing else: "
                "`speceyes testbed write` draws some. Your own are named with --speculator and --agent.",
                style="yellow",
                highlight=False,
            )


def _check_there(image: str) -> None:
    """Refuse a file that is not there, before the models are loaded."""
    ref = parse_reference(image, "image")
    if ref.kind == "file" and not os.path.exists(path := ref.local_path("image")):
        raise ImageError("image", "an image file", f"{path} (no such file)")


def _asked(graph: Runnable[Any, Any], question: HumanMessage, chosen: Chosen) -> dict[str, Any]:
    """What the graph returns.

    Raises:
        EndpointError: A named agent's model failed; the bypass itself never does.
    """
    try:
        found: dict[str, Any] = graph.invoke({"messages": [question]})
    except SpecEyesError:
        raise
    except Exception as error:
        if chosen.agent is None:
            raise
        url = "" if "@" in chosen.agent or not chosen.base_url else f" at {chosen.base_url}"
        raise EndpointError(f"the agent, {chosen.agent}{url}", trouble_in_words(error)) from error
    return found


def _seen(image: str) -> Image | None:
    """The picture; None where it is too damaged to be shown, which is no reason to withhold the answer."""
    try:
        return load_image(parse_reference(image))
    except ImageError:
        return None


def with_threshold(gate: Any, threshold: float | None) -> Any:
    """The gate at another threshold; what it was calibrated for no longer holds."""
    return gate if threshold is None else replace(gate, threshold=threshold, calibration=None)
