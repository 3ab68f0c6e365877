"""Backbones in processes of their own, so that the memory of one is free before the next begins."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from queue import Empty
from typing import Any

from langgraph_speceyes.bench.reproduce.run import Backbone, Plan, run_backbone
from langgraph_speceyes.errors import SpecEyesError, describe_error

Report = Callable[[dict[str, tuple[int, int]]], None]
"""Takes, by backbone, how many outcomes are there and how many there will be."""
# seconds until it is looked whether all processes still run
_LOOK_S = 1.0
_SPAWN = multiprocessing.get_context("spawn")


def run_all(plan: Plan, at_once: int = 1, report: Report = lambda counts: None) -> None:
    """Run what is not there yet of every backbone.

    Args:
        plan: The whole.
        at_once: Backbones under way at once: they disturb each other's times where they share a device.
        report: Called as outcomes come.

    Raises:
        SpecEyesError: What a backbone's process raised, or that one ended by itself.
    """
    waiting, counts = list(plan.backbones), {one.name: (0, 0) for one in plan.backbones}
    said: Any = _SPAWN.Queue()
    running: dict[str, BaseProcess] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                backbone = waiting.pop(0)
                # it ends with this one; a kill is noticed there
                running[backbone.name] = _SPAWN.Process(target=_run, args=(plan, backbone, said), daemon=True)
                running[backbone.name].start()
            try:
                name, found = said.get(timeout=_LOOK_S)
            except Empty:
                _check(running)
                continue
            if isinstance(found, BaseException):
                raise found
            if found is None:
                running.pop(name).join()
            else:
                counts[name] = found
                report(counts)
    finally:
        for process in running.values():
            process.terminate()
            process.join()


def _check(running: dict[str, BaseProcess]) -> None:
    for name, process in running.items():
        if not process.is_alive() and process.exitcode:
            raise SpecEyesError(
                f"the process of {name} ended with code {process.exitcode}; run the command again to go on"
            )


def _run(plan: Plan, backbone: Backbone, said: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from langgraph_speceyes.models.quiet import quiet_libraries

    quiet_libraries()
    try:
        run_backbone(plan, backbone, lambda done, total: said.put((backbone.name, (done, total))))
    except SpecEyesError as error:
        said.put((backbone.name, error))
    except Exception as error:
        said.put((backbone.name, SpecEyesError(f"{backbone.name}: {describe_error(error)}")))
    else:
        said.put((backbone.name, None))


def _end_with_parent() -> None:
    """What a killed command has begun ends at once, and lets go of its run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
