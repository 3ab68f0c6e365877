"""What others raise within a block is an error; what is meant for the program passes; other tasks are left alone."""

from __future__ import annotations

import asyncio
import types
from contextvars import copy_context
from typing import Any

import pytest

from langgraph_speceyes.contained import _Tasks, contained
from langgraph_speceyes.errors import EscapeError
from langgraph_speceyes.models.waiting import on_thread
from tests.hostile.faults import KINDS
from tests.waiting import PATIENCE_S


@pytest.mark.parametrize("kind", [*KINDS, KeyboardInterrupt])
async def test_what_is_contained(kind: type[BaseException]) -> None:
    def fails() -> None:
        with contained():
            raise kind("own")

    async def afails() -> None:
        with contained():
            raise kind("own")

    with pytest.raises(Exception, match="own"):
        on_thread(fails).result(PATIENCE_S)
    if kind is not KeyboardInterrupt:
        with pytest.raises(Exception, match="own"):
            await afails()
        with pytest.raises(Exception, match="own"):
            await asyncio.create_task(afails())


@pytest.mark.parametrize("error", [RuntimeError(), RuntimeError("in its own words")])
def test_a_runtime_error_of_others_stays_as_it_is(error: RuntimeError) -> None:
    cause = StopIteration("own") if error.args else ValueError("own")
    with pytest.raises(RuntimeError) as raised, contained():
        raise error from cause
    assert raised.value is error


async def test_what_is_meant_for_the_task_passes() -> None:
    begun = asyncio.Event()

    async def waits() -> None:
        with contained():
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waits(), 0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await waits()


def test_a_coroutine_that_is_closed_is_no_fault() -> None:
    @types.coroutine
    def ready() -> Any:
        yield

    async def waits() -> None:
        with contained():
            await ready()

    alone = waits()
    alone.send(None)
    alone.close()  # raises nothing


async def test_tasks_begun_within_raise_no_system_exit_out_of_the_loop() -> None:
    """LangChain asks models in tasks of its own, and LangGraph runs nodes in some."""

    async def ends() -> None:
        await asyncio.sleep(0)
        raise SystemExit(3)

    async def own_cancelled() -> None:
        raise asyncio.CancelledError

    with contained():
        task, other = asyncio.create_task(ends()), asyncio.create_task(own_cancelled())
        await asyncio.wait({task, other})
        never = asyncio.create_task(ends())
    assert isinstance(task.exception(), EscapeError)
    assert other.cancelled()
    never.cancel()  # before it has begun
    await asyncio.wait({never})
    assert never.cancelled()


def test_tasks_outside_of_runs_are_as_they_were() -> None:
    """The exit of another's task ends the program as before, though a run has set the loop's factory."""

    async def ends() -> None:
        await asyncio.sleep(0)
        raise SystemExit(3)

    async def program() -> None:
        loop, go = asyncio.get_running_loop(), asyncio.Event()

        async def other() -> None:
            await go.wait()

        with contained():
            await asyncio.sleep(0)
            factory = loop.get_task_factory()
        with contained():
            assert loop.get_task_factory() is factory  # one for all runs
        coro = other()
        outside = asyncio.create_task(coro)
        assert type(outside) is asyncio.Task
        assert outside.get_coro() is coro
        go.set()
        await outside
        await asyncio.create_task(ends())

    with pytest.raises(SystemExit, match="3"):
        asyncio.run(program())


async def test_a_factory_that_was_there_makes_the_tasks() -> None:
    class Own(asyncio.Task[Any]):
        pass

    made: list[tuple[Any, dict[str, Any]]] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> Any:
        made.append((coro, more))
        return Own(coro, loop=loop, **more)

    async def gives() -> int:
        await asyncio.sleep(0)
        return 5

    loop, context = asyncio.get_running_loop(), copy_context()
    loop.set_task_factory(factory)
    with contained():
        within = loop.create_task(gives(), name="within", context=context)
        assert await within == 5
    outside = loop.create_task(gives(), name="outside", context=context)
    assert await outside == 5
    assert [type(one) for one in (within, outside)] == [Own, Own]
    assert [one.get_name() for one in (within, outside)] == ["within", "outside"]
    assert [more["context"] for _, more in made] == [context, context]


async def test_what_later_pythons_say_of_a_task_is_handed_on() -> None:
    """3.14 hands `eager_start` and the name to a factory, as `create_task` was given them."""
    given: list[tuple[Any, ...]] = []

    async def gives() -> None:
        pass

    def factory(*args: Any, **more: Any) -> Any:
        given.append((*args, more))
        args[1].close()

    loop, coro = asyncio.get_running_loop(), gives()
    more = {"name": "n", "context": copy_context(), "eager_start": True}
    _Tasks(factory)(loop, coro, **more)
    assert given == [(loop, coro, more)]


def begun_at_once(loop: asyncio.AbstractEventLoop, coro: Any, *, name: Any = None, context: Any = None) -> Any:
    """In place of `asyncio.eager_task_factory`, which Python 3.11 lacks: for tasks that end before they wait."""
    future = loop.create_future()
    try:
        (context or copy_context()).run(coro.send, None)
    except StopIteration as ended:
        future.set_result(ended.value)
    except SystemExit:
        raise
    except BaseException as error:
        future.set_exception(error)
    return future


async def test_eager_tasks() -> None:
    async def gives() -> int:
        return 5

    async def ends() -> None:
        raise SystemExit(3)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", begun_at_once))
    with contained():
        given, ended = loop.create_task(gives()), loop.create_task(ends())
        assert (given.done(), given.result()) == (True, 5)
        assert isinstance(ended.exception(), EscapeError)
    with pytest.raises(SystemExit, match="3"):
        await loop.create_task(ends())
