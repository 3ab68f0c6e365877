"""Rows that join, grow and leave keep their own keys and values."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Cache

from langgraph_speceyes.models.rows import Layer, Rows

LAYERS, HEADS, SIZE = 2, 3, 4
LEFT = 1000

Event = tuple[str, list[int]]
events = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.lists(st.integers(1, 40), min_size=1, max_size=4)),
        st.tuples(st.just("grow"), st.lists(st.integers(1, 30), min_size=1, max_size=1)),
        st.tuples(st.just("leave"), st.lists(st.integers(0, 9), min_size=1, max_size=5)),
    ),
    min_size=1,
    max_size=14,
)


def states(token: int, layer: int) -> torch.Tensor:
    """What a layer holds of a token: a number nobody else has."""
    return torch.full((HEADS, 1, SIZE), float(token * LAYERS + layer))


def begun(numbers: list[int], held: dict[int, list[int]]) -> Rows:
    """Newcomers after their prefill, left-padded."""
    width = max(len(held[n]) for n in numbers)
    cache = Cache(layer_class_to_replicate=lambda: Layer(width))
    mask = torch.zeros(len(numbers), width, dtype=torch.bool)
    for layer in range(LAYERS):
        made = torch.full((len(numbers), HEADS, width, SIZE), -1.0)
        for place, number in enumerate(numbers):
            own = held[number]
            made[place, :, width - len(own) :] = torch.cat([states(t, layer) for t in own], dim=1)
            mask[place, width - len(own) :] = 1
        cache.update(made, -made, layer)
    shift = [10 * len(held[n]) for n in numbers]
    return Rows(numbers, cache, mask, torch.tensor(numbers), shift=shift, left=[LEFT] * len(numbers), most=64)


@settings(deadline=None, max_examples=150)
@given(events)
def test_every_row_keeps_what_is_its_own(happens: list[Event]) -> None:
    held: dict[int, list[int]] = {}
    rows: Rows | None = None
    tokens = 0
    for what, values in happens:
        if what == "join":
            new = list(range(len(held), len(held) + len(values)))
            for number, length in zip(new, values, strict=True):
                held[number] = list(range(tokens, tokens + length))
                tokens += length
            if rows is None:
                rows = begun(new, held)
            else:
                rows.join(begun(new, held))
        elif rows is not None and what == "grow":
            for _ in range(values[0]):
                asked, positions = rows.grow()
                assert asked[:, 0].tolist() == rows.numbers
                assert positions[0, :, 0].tolist() == [len(held[n]) for n in rows.numbers]
                assert (positions[1] == positions[3]).all()
                for layer in range(LAYERS):
                    made = torch.stack([states(tokens + k, layer) for k in range(len(rows))])
                    rows.cache.update(made, -made, layer)
                for number in rows.numbers:
                    held[number].append(tokens)
                    tokens += 1
        elif rows is not None and what == "leave":
            places = sorted({v for v in values if v < len(rows)})
            gone = [rows.numbers[p] for p in places]
            before = set(rows.numbers)
            rows.leave(places)
            assert set(rows.numbers) == before - set(gone)
            if not len(rows):
                rows = None
    for place, number in enumerate(rows.numbers if rows else ()):
        assert rows is not None
        assert int(rows.mask[place].sum()) == len(held[number])
        assert rows.padded or len(held[number]) == rows.mask.shape[1]
        for layer, (keys, values_) in enumerate(rows.prefix(place)):
            expected = torch.cat([states(t, layer) for t in held[number]], dim=1)
            # what is masked is a number all the same
            assert rows.cache.layers[layer].keys.isfinite().all()
            assert torch.equal(keys, expected)
            assert torch.equal(values_, -expected)


def test_a_token_is_one_write_until_the_room_is_used_up() -> None:
    layer = Layer.of(torch.zeros(HEADS, 1, SIZE), rows=2, tokens=5, columns=8)
    layer.keys.zero_()
    where = layer.keys.data_ptr()
    for _ in range(3):
        layer.update(torch.ones(2, HEADS, 1, SIZE), torch.ones(2, HEADS, 1, SIZE))
        assert layer.keys.data_ptr() == where
    layer.resize((2, 9), 8, 8)
    layer.update(torch.ones(2, HEADS, 1, SIZE), torch.ones(2, HEADS, 1, SIZE))
    assert layer.keys.data_ptr() != where
    assert layer.keys[:, :, 5:].eq(1).all()
    assert layer.keys[:, :, :5].eq(0).all()


def test_newcomers_who_end_with_their_first_token_leave_nothing_behind() -> None:
    held = {0: [1, 2, 3], 1: [4, 5]}
    rows, fresh = begun([0], held), begun([1], held)
    fresh.leave([0])
    rows.join(fresh)
    assert (rows.numbers, rows.mask.tolist()) == ([0], [[1, 1, 1]])
