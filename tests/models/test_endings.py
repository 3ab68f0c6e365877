"""Programs that end while a model is at work, and calls that nobody waits for any longer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_speceyes.front.calling import ModelCall
from langgraph_speceyes.images import DEFAULT_POLICY
from langgraph_speceyes.models.waiting import deadline, wait_for
from langgraph_speceyes.prompts import image_question
from langgraph_speceyes.testbed.pair import Pair
from tests.waiting import PATIENCE_S, until

# Every program has a process of its own, in which a model is in the middle of an answer that does not end.
_BEGUN = """
import asyncio, json, os, signal, sys, threading
from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.testbed.pair import SPECULATOR

model = LocalChatModel.from_pretrained(str(SPECULATOR))
decoder, begun = model._engine.decoder, threading.Event()
model._engine.end_ids = frozenset()
step, steps = decoder._step, []

def stepped(rows):
    steps.append(0)
    if len(steps) == 3:
        begun.set()
    return step(rows)

decoder._step = stepped

def ask():
    return model.invoke("What?", max_tokens=4000)

children = []
for number, program in enumerate(json.loads(sys.argv[1])):
    children.append(os.fork())
    if not children[-1]:
        os.dup2(os.open(f"{sys.argv[2]}/{number}", os.O_WRONLY | os.O_CREAT), 2)
        exec(program)
        break
else:
    print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""
_ENDS = """
threading.Thread(target=ask, daemon=True).start()
begun.wait()
sys.exit(7)
"""
_INTERRUPTED = """
# a suite in the background ignores it, and so would its processes
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt():
    begun.wait()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
ask()
"""
_TIMES_OUT = """
async def main():
    task = asyncio.create_task(model.ainvoke("What?", max_tokens=4000))
    await asyncio.to_thread(begun.wait)
    await asyncio.wait_for(task, 0)

asyncio.run(main())
"""


def test_a_program_ends_with_its_own_exit_code_in_the_middle_of_a_pass(tmp_path: Path) -> None:
    programs = json.dumps([_ENDS, _INTERRUPTED, _TIMES_OUT])
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _BEGUN, programs, str(tmp_path)], capture_output=True, env=environment, text=True
    )
    said = [(tmp_path / str(number)).read_text().strip() for number in range(3)]
    assert done.stdout.split() == ["7", str(-signal.SIGINT), "1"], (done.stderr, said)
    # the first one's call is broken off in a thread that nobody waits for
    assert [one.rpartition("\n")[2] for one in said[1:]] == ["KeyboardInterrupt", "TimeoutError"]


_FORKED = """
import os, signal, sys, threading
from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.testbed.pair import SPECULATOR

model = LocalChatModel.from_pretrained(str(SPECULATOR), max_queue=1)
alone = model.invoke("Who?", max_tokens=2).text
decoder, begun, never = model._engine.decoder, threading.Event(), threading.Event()
step = decoder._step

def held(rows):
    begun.set()
    never.wait()

decoder._step = held
threading.Thread(target=lambda: model.invoke("What?"), daemon=True).start()
begun.wait()
threading.Thread(target=lambda: model.invoke("Where?"), daemon=True).start()
while not model._batcher._waiting:
    pass
child = os.fork()
if not child:
    signal.alarm(30)
    decoder._step = step
    os._exit(7 if model.invoke("Who?", max_tokens=2).text == alone else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_was_forked_has_calls_of_its_own() -> None:
    """With a call under way in the first process, and another one waiting."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", _FORKED], capture_output=True, env=environment, text=True, timeout=300)
    assert done.returncode == 7, done.stderr


def test_who_stops_waiting_gives_the_call_up() -> None:
    future, abandoned = Future[int](), threading.Event()
    with deadline(0.0), pytest.raises(TimeoutError):
        wait_for(future, abandoned)
    assert abandoned.is_set()
    assert future.cancelled()
    # an inner deadline does not put off an outer one
    with deadline(0.0), deadline(PATIENCE_S), pytest.raises(TimeoutError):
        wait_for(Future[int](), threading.Event())
    done, kept = Future[int](), threading.Event()
    done.set_result(3)
    with deadline(PATIENCE_S):
        assert wait_for(done, kept) == 3
    assert not kept.is_set()


def test_time_limits_leave_no_threads_behind(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = pair.speculator
    go, busy, serve = threading.Event(), threading.Event(), model._batcher._run

    def held(requests: Any, feed: Any) -> None:
        busy.set()
        assert go.wait(PATIENCE_S)
        serve(requests, feed)

    monkeypatch.setattr(model._batcher, "_run", held)
    call = ModelCall(model, name="speculate", max_tokens=4, top_logprobs=2, policy=DEFAULT_POLICY, timeout_s=0.01)
    before = set(threading.enumerate())
    for number in range(4):
        with pytest.raises(TimeoutError):
            call([image_question("nowhere.png", "What?").model_copy(update={"content": "What?"})], str(number))
    assert busy.is_set()
    assert {one.name for one in set(threading.enumerate()) - before} <= {model._batcher._name}
    # those that waited have left the queue, and the one that was taken ends with its first token
    go.set()
    calls = model.stats.calls
    until(lambda: not model._batcher._waiting)
    assert model.invoke("What?", max_tokens=1) is not None
    assert model.stats.calls <= calls + 1


def test_time_limits_hold_where_a_graph_streams_what_its_models_say(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LangGraph then has calls made as streams."""
    model: Any = pair.speculator
    go, serve = threading.Event(), model._batcher._run

    def held(requests: Any, feed: Any) -> None:
        go.wait(3.0)
        serve(requests, feed)

    monkeypatch.setattr(model._batcher, "_run", held)
    call = ModelCall(model, name="speculate", max_tokens=4, top_logprobs=2, policy=DEFAULT_POLICY, timeout_s=0.05)
    graph: Any = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": call(state["messages"], "one")})
    graph.add_edge(START, "ask")
    asked = {"messages": [HumanMessage("What?")]}
    with pytest.raises(TimeoutError):
        list(graph.compile().stream(asked, stream_mode="messages"))
    go.set()
    # nobody waits for it any more
    until(lambda: not model._batcher._waiting)
    assert model.invoke("What?", max_tokens=1) is not None
