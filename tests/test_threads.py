"""Random threads: an agent alone and the same agent behind the bypass, run in step on the same inputs.

On every turn the caller gets an answer that the gate let through, or exactly what the agent alone would have done. A
turn that was bypassed counts as one in which the agent said the bypassed answer.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import math
import operator
import os
import re
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Overwrite, interrupt
from PIL import Image
from pydantic import Field

from langgraph_speceyes import create_speceyes
from langgraph_speceyes.question import FOLLOW_UPS
from langgraph_speceyes.state import ORDERS
from tests.images.blocks import NO_IMAGES, UNLOADABLE, UNREADABLE
from tests.images.pictures import encode
from tests.scripted import Scripted, entry, peaked

EXAMPLES = int(os.environ.get("SPECEYES_EXAMPLES", "200"))
PNG = encode(Image.new("RGB", (3, 2), "teal"))
B64 = base64.b64encode(PNG).decode()
HERE = "here.png"
"""Stands in a plan for a file that is there."""
ASKED = re.compile(r"question-(\d+)-(\d+)")

READABLE: dict[str, dict[str, Any]] = {
    "inline": {"type": "image", "base64": B64, "mime_type": "image/png"},
    "data URL": {"type": "image", "url": f"data:image/png;base64,{B64}"},
    "data URL of OpenAI": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
    "bare data URL": {"type": "image_url", "image_url": f"data:image/png;base64,{B64}"},
    "Anthropic's": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
    "file": {"type": "image", "url": HERE},
    "path": {"type": "image", "path": HERE},
    "file as of OpenAI": {"type": "image_url", "image_url": {"url": HERE}},
}
OTHERS: dict[str, Any] = {
    "pdf": {"type": "file", "mime_type": "application/pdf", "base64": "JVBERi0="},
    "audio": {"type": "audio", "mime_type": "audio/wav", "base64": "UklGRg=="},
    "unknown": {"type": "hologram", "data": [1, 2]},
    # what asks nothing: the questions' texts are those that are counted
    **{f"no image {i}": one for i, one in enumerate(NO_IMAGES) if isinstance(one, dict) and "text" not in one},
}
BLOCKS: dict[str, Any] = {**READABLE, **UNREADABLE, **UNLOADABLE, **OTHERS}


class Broken(RuntimeError):
    """What goes wrong in an agent."""


class ToolBroken(ValueError):
    """What goes wrong in its tool."""


# the plan of a thread


@dataclass(frozen=True)
class Said:
    """One message of an input.

    Attributes:
        kind: Whose it is; `nonsense` is no message at all.
        blocks: What it shows beside its text, by names of `BLOCKS`.
        text: What judge and speculator make of the question, in words of their own; None for no text.
        form: As a `message`, a `dict` or a `tuple`.
        plain: Whether its text is a block without a type, or the whole content.
        names: Its id: `none`, `own`, or that of a message sent `again`.
    """

    kind: str = "human"
    blocks: tuple[str, ...] = ()
    text: str | None = None
    form: str = "message"
    plain: bool = False
    names: str = "none"


@dataclass(frozen=True)
class Turn:
    """What the caller does, and what becomes of it.

    Attributes:
        does: `ask`; `resume` what waits or `retry` what failed, where there is such a thing.
        says: The messages of the input; None where it has no such key.
        agent: How the agent's run goes: `fine`, or where it fails, stops or hangs.
        user: A key of the input beside the messages.
        off: Whether this run turns the bypass off.
    """

    does: str
    says: tuple[Said, ...] | None
    agent: str
    user: str | None
    off: bool = False


@dataclass(frozen=True)
class Plan:
    """A thread with an agent and settings."""

    channel: str
    saver: bool
    carries: bool
    asynchronous: bool
    hedge: bool
    names: bool
    judged: bool
    slots: int | None
    order: Any
    follow_ups: Any
    output_mode: Any
    turns: tuple[Turn, ...]


def saids(asynchronous: bool, hedge: bool) -> st.SearchStrategy[tuple[Said, ...]]:
    small = ["easy"] * 6 + ["hard"] * 2 + ["down", "bare"] + ["hang"] * (asynchronous and not hedge)
    words = st.tuples(st.sampled_from(small), st.sampled_from(["simple"] * 5 + ["tools", "deaf"])).map(" ".join)
    readable = st.sampled_from(list(READABLE))
    any_block = st.one_of(readable, st.sampled_from([*UNREADABLE, *UNLOADABLE]), st.sampled_from(list(OTHERS)))
    names = st.sampled_from(["none"] * 4 + ["own", "again"])
    forms = st.sampled_from(["message"] * 4 + ["dict"])
    whole = st.builds(Said, blocks=st.tuples(readable), text=words, form=forms, names=names)
    foreign = st.builds(Said, blocks=st.tuples(st.sampled_from([*UNREADABLE])), text=words, form=forms)
    closed = st.builds(Said, blocks=st.tuples(st.sampled_from([*UNLOADABLE])), text=words, form=forms)
    text = st.builds(Said, text=words, form=st.sampled_from(["message", "dict", "tuple"]), plain=st.just(True))
    image = st.builds(Said, blocks=st.tuples(readable), form=forms, names=names)
    odd = st.builds(
        Said,
        blocks=st.lists(any_block, min_size=1, max_size=3).map(tuple),
        text=st.none() | words,
        form=forms,
        plain=st.booleans(),
        names=names,
    )
    note = st.builds(Said, kind=st.sampled_from(["ai", "tool", "system"]), names=names)
    shown = st.builds(Said, kind=st.just("tool"), blocks=st.tuples(any_block))
    return st.one_of(
        st.tuples(whole),
        st.tuples(whole),
        st.tuples(whole),
        st.tuples(odd),
        st.tuples(foreign),
        st.tuples(closed),
        st.tuples(text),
        st.tuples(image, text),
        st.lists(st.one_of(whole, text, image, odd, note, shown), max_size=4).map(tuple),
        st.tuples(st.just(Said(kind="nonsense"))),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    asynchronous, hedge, saver = draw(st.booleans()), draw(st.sampled_from([False] * 4 + [True])), draw(st.booleans())
    says = saids(asynchronous, hedge)
    ends = ["fine"] * 5 + ["first", "second", "second", "tool", "interrupt", "interrupt"] + ["hang"] * asynchronous
    turn = st.builds(
        Turn,
        does=st.sampled_from(["ask"] * 4 + ["resume", "retry"]),
        says=st.one_of(says, says, says, says, st.none()),
        agent=st.sampled_from(ends),
        user=st.none() | st.sampled_from(["Ada", "Bob"]),
        off=st.sampled_from([False] * 7 + [True]),
    )
    # a question whose agent fails at once stands unanswered in the thread, whatever is asked next
    words = st.just("easy simple")
    lone = st.builds(Said, text=words, plain=st.booleans())
    whole = st.builds(Said, blocks=st.tuples(st.sampled_from(list(READABLE))), text=words)
    given_up = st.builds(Turn, st.just("ask"), st.tuples(lone), st.just("first"), st.none())
    fresh = st.builds(Turn, st.just("ask"), st.tuples(whole), st.sampled_from(["fine", "second"]), st.none())
    part = st.one_of(turn.map(lambda one: (one,)), turn.map(lambda one: (one,)), st.tuples(given_up, fresh))
    return Plan(
        channel=draw(st.sampled_from(["merged", "merged", "added", "last", "delta"])),
        saver=saver or draw(st.booleans()),
        carries=draw(st.booleans()),
        asynchronous=asynchronous,
        hedge=hedge,
        names=draw(st.booleans()),
        judged=draw(st.booleans()),
        slots=draw(st.sampled_from([None, 1])),
        order=draw(st.sampled_from(ORDERS)),
        follow_ups=draw(st.sampled_from(FOLLOW_UPS)),
        output_mode=draw(st.sampled_from(["full_history", "full_history", "last_message"])),
        turns=tuple(one for several in draw(st.lists(part, min_size=1, max_size=4)) for one in several),
    )


# models that do what the question's text says


@dataclass
class Script:
    """How one side's run goes, and what was seen of it.

    Attributes:
        agent: How the agent's run goes.
        turn: The number of the turn.
        seen: What the agent's first node was given, with the turn's number.
        hung: Where the run hangs: `front` or `agent`.
        reached: Set where it hangs.
    """

    agent: str = "fine"
    turn: int = 0
    seen: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    hung: str | None = None
    reached: asyncio.Event | None = None

    async def hang(self, where: str) -> None:
        assert self.reached is not None
        self.hung = where
        self.reached.set()
        await asyncio.Event().wait()


def text_of(message: BaseMessage) -> str:
    parts = [message.content] if isinstance(message.content, str) else message.content
    return "\n".join(part if isinstance(part, str) else str(part.get("text")) for part in parts)


class Asked(Scripted):
    """A model of the front end: the words behind the question tell how sure it is, or how it fails."""

    script: Any = None
    asked_at: list[tuple[int, str]] = Field(default_factory=list)
    """What it was asked, with the number of the turn: a front end that an agent was faster than asks late."""

    def word(self, messages: list[BaseMessage]) -> str:
        found = re.findall(r"question-\d+-\d+ (\w+) (\w+)", text_of(messages[-1]))
        assert found, "a question without a text was asked"
        return str(found[-1][self.place])

    @property
    def place(self) -> int:
        return 0

    def _note(self, messages: list[BaseMessage], run: Any) -> None:
        self.asked_at.append((run.metadata["turn"], text_of(messages[-1])))

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any) -> Any:
        self._note(messages, run_manager)
        word = self.word(messages)
        self.error = "out of order" if word in ("down", "deaf") else None
        self.content = self.tokens(word)
        return super()._generate(messages, stop, run_manager, **options)

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **options: Any
    ) -> Any:
        if self.word(messages) == "hang":
            self._note(messages, run_manager)
            await self.script.hang("front")
        return self._generate(messages, stop, run_manager, **options)

    def tokens(self, word: str) -> list[dict[str, Any]] | None:
        return None if word == "bare" else [peaked("blue", 64, 40.0 if word == "easy" else 0.01)]


class Judging(Asked):
    """The judge of those questions."""

    @property
    def place(self) -> int:
        return 1

    def tokens(self, word: str) -> list[dict[str, Any]] | None:
        need = 0.9 if word == "tools" else 0.1
        return [entry("Yes", [("Yes", math.log(need)), ("no", math.log(1 - need))])]


# the agent


def appended(state: list[Any], writes: Sequence[Any]) -> list[Any]:
    return [*state, *(one for write in writes for one in (write if isinstance(write, list) else [write]))]


class Beside(TypedDict, total=False):
    user: str
    plan: str
    result: str
    notes: Annotated[list[str], operator.add]


class Merged(Beside, total=False):
    messages: Annotated[list[AnyMessage], add_messages]


class Added(Beside, total=False):
    messages: Annotated[list[Any], operator.add]


class Last(Beside, total=False):
    messages: list[Any]


class Delta(Beside, total=False):
    messages: Annotated[list[Any], DeltaChannel(appended)]


SCHEMAS: dict[str, type[Any]] = {"merged": Merged, "added": Added, "last": Last, "delta": Delta}


@tool
def look(at: int) -> str:
    """Look."""
    raise ToolBroken(f"nothing at {at}")


def agent(plan: Plan, script: Script) -> StateGraph[Any, Any, Any, Any]:
    """An agent of two nodes, `think` and `act`."""

    def named(message: BaseMessage, turn: int) -> BaseMessage:
        return message.model_copy(update={"id": f"{message.type}-{turn}"}) if plan.names else message

    def said(state: Any, *messages: BaseMessage) -> list[Any]:
        new = [named(message, script.turn) for message in messages]
        return [*(state.get("messages") or []), *new] if plan.channel == "last" else new

    def think(state: Any, config: RunnableConfig) -> dict[str, Any]:
        script.seen.append((config["configurable"]["turn"], copy.deepcopy(dict(state))))
        if script.agent == "first":
            raise Broken("in its first node")
        thought = AIMessage(
            f"thinking {script.turn}",
            tool_calls=[{"name": "look", "args": {"at": script.turn}, "id": f"call-{script.turn}"}],  # type: ignore[list-item]
        )
        return {
            "messages": said(state, thought),
            "notes": [f"thought {script.turn}"],
            "plan": f"plan {script.turn}",
        }

    async def athink(state: Any, config: RunnableConfig) -> dict[str, Any]:
        if script.agent == "hang first":
            script.seen.append((config["configurable"]["turn"], copy.deepcopy(dict(state))))
            await script.hang("agent")
        return think(state, config)

    def act(state: Any) -> dict[str, Any]:
        if script.agent == "second":
            raise Broken("in its second node")
        if script.agent == "tool":
            look.invoke({"at": script.turn})
        word = interrupt(f"may I, {script.turn}?") if script.agent == "interrupt" else "nobody"
        answer = AIMessage(f"answer {script.turn}, {word} was asked")
        return {
            "messages": said(state, ToolMessage("a bus", tool_call_id=f"call-{script.turn}", name="look"), answer),
            "notes": [f"acted {script.turn}"],
            "result": f"result {script.turn}",
        }

    async def aact(state: Any) -> dict[str, Any]:
        if script.agent == "hang":
            await script.hang("agent")
        return act(state)

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(SCHEMAS[plan.channel])
    graph.add_node("think", RunnableLambda(think, afunc=athink))
    graph.add_node("act", RunnableLambda(act, afunc=aact))
    graph.add_edge(START, "think")
    graph.add_edge("think", "act")
    graph.add_edge("act", END)
    return graph


# what one sees of a thread


def shown(value: Any, here: str) -> Any:
    """A message by what it says: without its id, with own files as the data they hold."""
    try:
        (message,) = convert_to_messages([value])
    except Exception:
        return repr(value)
    blocks = message.content
    if isinstance(blocks, list):
        blocks = [as_data(block, here) for block in blocks]
    return (
        message.type,
        blocks,
        [(call["name"], call["args"], call["id"]) for call in getattr(message, "tool_calls", ())],
        getattr(message, "tool_call_id", None),
    )


def as_data(block: Any, here: str) -> Any:
    if isinstance(block, dict) and (block.get("url") == here or block.get("path") == here):
        return READABLE["inline"]
    if isinstance(block, dict) and block.get("image_url") == {"url": here}:
        return READABLE["inline"]
    return block


def view(state: Any, here: str) -> dict[str, Any]:
    """A state, the bypass's own records aside."""
    own = {key: value for key, value in state.items() if key != "decision" and not key.startswith("speceyes_")}
    if "messages" in own:
        held = own["messages"]
        own["messages"] = [shown(one, here) for one in (held if isinstance(held, list) else [held])]
    return own


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `done`, `paused`, `raised` or `cancelled`."""

    how: str
    value: Any = None

    @property
    def bypassed(self) -> bool:
        return self.how == "done" and (self.value.get("decision") or {}).get("route") == "bypass"


class Side:
    """One of the two graphs, with its script."""

    def __init__(self, graph: Any, script: Script, asynchronous: bool) -> None:
        self.graph, self.script, self.asynchronous = graph, script, asynchronous
        self.held: list[Any] = []
        self.mode: dict[str, str] = {}

    def config(self) -> Any:
        turn = {"turn": self.script.turn}
        return {"configurable": {"thread_id": "1", **turn, **self.mode}, "metadata": turn}

    async def run(self, given: Any, turn: int, ends: str) -> Outcome:
        script = self.script
        script.turn, script.agent, script.hung = turn, ends, None
        try:
            value = await self._called(given) if self.asynchronous else self.graph.invoke(given, self.config())
        except asyncio.CancelledError:
            return Outcome("cancelled")
        except Exception as error:
            return Outcome("raised", error)
        return Outcome("paused" if "__interrupt__" in value else "done", value)

    async def _called(self, given: Any) -> Any:
        self.script.reached = asyncio.Event()
        task = asyncio.create_task(self.graph.ainvoke(given, self.config()))
        hung = asyncio.create_task(self.script.reached.wait())
        await asyncio.wait({task, hung}, return_when=asyncio.FIRST_COMPLETED)
        hung.cancel()
        if not task.done():
            task.cancel()
        return await task

    def state(self) -> dict[str, Any]:
        return dict(self.graph.get_state(self.config()).values)

    def seen(self, turn: int) -> list[dict[str, Any]]:
        return [state for number, state in self.script.seen if number == turn]


class Thread:
    """Both sides of one plan."""

    def __init__(self, plan: Plan, here: str, tally: Counter[str]) -> None:
        self.plan, self.here, self.tally = plan, here, tally
        ours, theirs = Script(), Script()
        self.small, self.large = Asked(script=ours), Judging(script=ours)
        options: dict[str, Any] = {"judge": self.large} if plan.judged else {}
        wrapped = create_speceyes(
            agent(plan, ours),
            speculator=self.small,
            order=plan.order,
            follow_ups=plan.follow_ups,
            output_mode=plan.output_mode,
            hedge=plan.hedge,
            max_concurrent_agents=plan.slots,
            **options,
        )
        self.wrapped = Side(wrapped.compile(checkpointer=self._saver()), ours, plan.asynchronous)
        self.alone = Side(agent(plan, theirs).compile(checkpointer=self._saver()), theirs, plan.asynchronous)
        self.last = Outcome("done")
        self.asked: list[str] = []
        self.asked_at: dict[int, list[str]] = {}
        self.sent: list[str] = []
        self.resent: set[str] = set()
        """Questions with the id of a message that was there: they take its place, and are not the newest."""
        self.before: list[Any] = []

    def _saver(self) -> InMemorySaver | None:
        return InMemorySaver() if self.plan.saver else None

    async def play(self) -> None:
        for number, turn in enumerate(self.plan.turns, 1):
            given: Any
            if turn.does == "resume" and self.last.how == "paused" and self.plan.saver:
                given, again = Command(resume=f"person {number}"), True
            elif turn.does == "retry" and self.last.how in ("raised", "cancelled") and self._can_retry():
                given, again = None, True
            else:
                given, again = self._input(turn, number), False
            await self._step(turn, number, given, again)

    def _can_retry(self) -> bool:
        # a race that is run again may end in a bypass, and then the agent's first try in it counts for nothing
        return self.plan.saver and not self.plan.hedge

    async def _step(self, turn: Turn, number: int, given: Any, again: bool) -> None:
        self.asked_at[number] = self.asked
        self.wrapped.mode = {"speceyes_mode": "off"} if turn.off else {}
        waited = self.last
        found = await self.wrapped.run(self._for(self.wrapped, given), number, turn.agent)
        self._check_asked()
        if found.bypassed:
            self.tally["bypassed"] += 1
            self._say(given, found.value["messages"][-1], again)
            self._check_state(found.value, bypassed=True)
        else:
            hangs = found.how == "cancelled" and self.wrapped.script.hung == "front"
            ends = "hang first" if hangs else turn.agent
            expected = await self.alone.run(self._for(self.alone, given), number, ends)
            self._check_outcome(found, expected)
            self._check_seen(number, hangs)
            if found.how == "done":
                self._check_state(found.value, expected.value)
            self.tally[found.how] += 1
            if found.how == "done" and (reason := found.value["decision"]["reason"]):
                self.tally[f"left to the agent: {reason.partition(' (')[0]}"] += 1
            if again:
                self.tally[f"{found.how} after {waited.how}"] += 1
        if waited.how in ("raised", "paused", "cancelled") and not again and self.plan.saver:
            self.tally[f"new question after {waited.how}"] += 1
        self.last = found

    def _check_asked(self) -> None:
        """The front end is asked the question of its turn, and none before it."""
        for turn, text in [*self.small.asked_at, *self.large.asked_at]:
            found, asked = [match.group() for match in ASKED.finditer(text)], self.asked_at[turn]
            assert asked, f"nothing was asked, and the front end was asked {text!r}"
            assert set(found) <= set(asked), f"an older question was asked again: {text!r}"
            assert not (new := [one for one in asked if one not in self.resent]) or new[-1] in found

    def _check_outcome(self, found: Outcome, expected: Outcome) -> None:
        """A run ends as the agent's own does, with the same failure or the same interrupt."""
        assert found.how == expected.how, (found, expected)
        if found.how == "raised":
            assert type(found.value) is type(expected.value), (found, expected)
        if found.how == "paused":
            both = [[one.value for one in outcome.value["__interrupt__"]] for outcome in (found, expected)]
            assert both[0] == both[1]

    def _check_seen(self, number: int, hangs: bool) -> None:
        """The agent is given what it is given alone."""
        ours, theirs = self.wrapped.seen(number), self.alone.seen(number)
        if theirs:
            self.before = theirs[-1].get("messages") or []
        if hangs:
            return
        if self.plan.hedge:
            # it is run again after an interrupt, and one that was cancelled ends when it likes
            ours = ours[-1:] if theirs else []
        assert [view(one, self.here) for one in ours] == [view(one, self.here) for one in theirs]

    def _check_state(self, found: Any, expected: Any = None, *, bypassed: bool = False) -> None:
        """The thread is in the state in which the agent alone leaves it."""
        if not bypassed and self.plan.output_mode == "last_message":
            expected = self._pruned(expected)
        if not bypassed:
            self.alone.held = self._listed(expected)
        self.wrapped.held = self._listed(found)
        pairs = [(found, expected)] if expected is not None else []
        if self.plan.saver:
            pairs.append((self.wrapped.state(), self.alone.state()))
        for ours, theirs in pairs:
            left, right = view(ours, self.here), view(theirs, self.here)
            if bypassed:
                # an output of an earlier turn is no answer of this one
                right = {key: value for key, value in right.items() if key in left or key not in ("plan", "result")}
            assert left == right

    def _pruned(self, result: Any) -> Any:
        """The agent alone, told to leave its answer only."""
        messages = [*(self.before if isinstance(self.before, list) else [self.before]), result["messages"][-1]]
        if self.plan.saver:
            exact = messages if self.plan.channel == "last" else Overwrite(messages)
            self.alone.graph.update_state(self.alone.config(), {"messages": exact}, as_node="act")
        return {**result, "messages": messages}

    def _say(self, given: Any, answer: Any, again: bool) -> None:
        """Count a bypassed turn as one in which the agent said the answer."""
        (message,) = convert_to_messages([answer])
        assert message.text == "blue"
        alone, said = self.alone, AIMessage("blue")
        if not self.plan.saver:
            alone.held = [*self._for(alone, given)["messages"], said]
            return
        if not again:
            alone.graph.update_state(alone.config(), self._for(alone, given), as_node=START)
        update = [*alone.state()["messages"], said] if self.plan.channel == "last" else [said]
        alone.graph.update_state(alone.config(), {"messages": update}, as_node="act")

    def _for(self, side: Side, given: Any) -> Any:
        """An input of one side's own; a caller without a checkpointer brings what was said before."""
        given = copy.deepcopy(given)
        if self.plan.carries and not self.plan.saver and isinstance(given, dict) and "messages" in given:
            given["messages"] = [*copy.deepcopy(side.held), *given["messages"]]
        return given

    def _listed(self, state: Any) -> list[Any]:
        held = state.get("messages") or []
        return list(held) if isinstance(held, list) else [held]

    def _input(self, turn: Turn, number: int) -> dict[str, Any]:
        given: dict[str, Any] = {} if turn.user is None else {"user": turn.user}
        self.asked = []
        if turn.says is not None or self.plan.channel == "last":
            # without a reducer an input without messages cannot be told from one that repeats those that are there
            given["messages"] = [self._message(said, number, i) for i, said in enumerate(turn.says or ())]
        return given

    def _message(self, said: Said, number: int, index: int) -> Any:
        if said.kind == "nonsense":
            return {"nonsense": number}
        name = None
        if said.names == "own":
            name = f"m-{number}-{index}"
            self.sent.append(name)
        elif said.names == "again":
            # of an earlier input: within one, the later message would stand where the earlier one stood
            name = next((one for one in reversed(self.sent) if not one.startswith(f"m-{number}-")), None)
        if said.kind == "ai":
            return AIMessage(f"a note {number}-{index}", id=name)
        if said.kind == "system":
            return SystemMessage(f"be brief {number}-{index}", id=name)
        blocks = [self._found(BLOCKS[name]) for name in said.blocks]
        if said.kind == "tool":
            return ToolMessage(blocks or f"seen {number}-{index}", tool_call_id=f"posted-{number}", id=name)
        content: Any = blocks
        if said.text is not None:
            text = f"question-{number}-{index} {said.text}"
            self.asked.append(f"question-{number}-{index}")
            if said.names == "again" and name:
                self.resent.add(self.asked[-1])
            content = [*blocks, text if said.plain else {"type": "text", "text": text}]
            if said.plain and not blocks:
                content = text
        if said.form == "tuple":
            return ("user", content)
        if said.form == "dict":
            return {"role": "user", "content": content} | ({"id": name} if name else {})
        return HumanMessage(content, id=name)

    def _found(self, block: Any) -> Any:
        if isinstance(block, dict):
            return {key: self._found(value) for key, value in block.items()}
        return self.here if block == HERE else block


def in_step(steps: Coroutine[Any, Any, None], asynchronous: bool) -> None:
    if asynchronous:
        asyncio.run(steps)
        return
    # nothing is awaited in it, so that no event loop runs around the graphs
    with pytest.raises(StopIteration):
        steps.send(None)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("threads")
    (folder / HERE).write_bytes(PNG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECEYES_IMAGE_DIR", str(folder / "images"))
        yield str(folder / HERE)


# threads that a cancelled run leaves behind draw ids while the next example is drawn
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@pytest.mark.timeout(3600)
def test_every_turn_is_bypassed_or_what_the_agent_alone_would_have_done(here: str) -> None:
    tally: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(plans())
    def plays(plan: Plan) -> None:
        in_step(Thread(plan, here, tally).play(), plan.asynchronous)

    plays()
    print(dict(tally))
    for kind in ("bypassed", "done", "raised", "paused", "cancelled", "new question after raised"):
        assert tally[kind] >= EXAMPLES // 20, tally
    assert tally["left to the agent: an image cannot be opened here"], tally
    assert tally["left to the agent: an image that only the agent can read"], tally
