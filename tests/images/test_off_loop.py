"""Work that ends when nobody waits for it any longer."""

from __future__ import annotations

from langgraph_speceyes.images.off_loop import end, stop_of, stoppable


def test_who_stops_waiting_ends_all_that_was_begun_within() -> None:
    with stoppable():
        outer = stop_of()
        with stoppable():
            inner = stop_of()
            assert outer is not None
            assert inner is not None
            assert not inner.done()
            end(outer)
            assert inner.done()


def test_a_block_ends_what_is_its_own_and_nothing_around_it() -> None:
    with stoppable():
        outer = stop_of()
        with stoppable():
            inner = stop_of()
        assert inner is not None
        assert inner.done()
        assert stop_of() is outer
        assert outer is not None
        assert not outer.done()
    assert outer.done()
    assert stop_of() is None
