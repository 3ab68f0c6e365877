"""Rows that join, grow and leave keep their own keys and values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.multiprocessing.reductions import StorageWeakRef
from transformers import Cache

from langgraph_speceyes.models.prefill import UnderWay
from langgraph_speceyes.models.prefix import PrefixCache
from langgraph_speceyes.models.request import Request
from langgraph_speceyes.models.rows import ROOM, SMALL, Layer, Rows, room_for
from tests.models.conftest import Families

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


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 40), st.integers(1, 9000), st.integers(0, 9000), st.integers(1, 40))
def test_room_is_bounded_by_what_can_come(rows: int, used: int, more: int, most: int) -> None:
    held, columns = room_for(rows, used, used + more, most)
    assert rows <= held <= max(rows, most)
    # the next token fits, and no more columns than any row can come to need
    assert used + 1 <= columns <= max(used + more, used + 1)
    if rows * used >= 4 * SMALL and used >= 16 * ROOM:
        assert held * columns <= 1.2 * rows * used


class Storages:
    """The bytes of all tensors that were made with `new_empty`, as long as their memory is held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.peak = 0
        self._made: list[tuple[StorageWeakRef, int]] = []
        make = torch.Tensor.new_empty

        def made(like: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
            found = make(like, *args, **options)
            storage = found.untyped_storage()
            self._made.append((StorageWeakRef(storage), storage.nbytes()))
            self.peak = max(self.peak, self.held)
            return found

        monkeypatch.setattr(torch.Tensor, "new_empty", made)

    @property
    def held(self) -> int:
        """Bytes held now."""
        self._made = [(one, size) for one, size in self._made if not one.expired()]
        return sum(size for _, size in self._made)


def test_32_rows_of_8k_tokens_hold_little_more_than_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    # shares are those of any number of bytes a token; fewer layers than a real model's make the peak higher
    layers, tokens, count = 4, 8192, 32
    per_token = layers * 2 * 4
    seen = Storages(monkeypatch)

    def newcomer(number: int) -> Rows:
        cache = Cache(layer_class_to_replicate=lambda: Layer(tokens))
        for layer in range(layers):
            cache.update(torch.zeros(1, 1, tokens, 1), torch.zeros(1, 1, tokens, 1), layer)
        mask = torch.ones(1, tokens, dtype=torch.bool)
        return Rows([number], cache, mask, torch.zeros(1, dtype=torch.long), shift=[0], left=[512], most=count)

    def step() -> None:
        rows.grow()
        new = torch.zeros(len(rows), 1, 1, 1)
        for layer in range(layers):
            rows.cache.update(new, new, layer)

    rows = newcomer(0)
    for number in range(1, count):
        rows.join(newcomer(number))
        in_use = len(rows) * tokens * per_token
        assert seen.held <= 1.2 * in_use
        # the newcomer's own is given back layer by layer
        assert seen.peak <= 1.4 * in_use
    # the room of 512 tokens ahead is used up once
    for _ in range(530):
        step()
        in_use = sum(rows.lengths) * per_token
        assert seen.held <= 1.2 * in_use
        assert seen.peak <= 1.4 * in_use
    rows.leave(list(range(1, count)))
    seen.peak = 0
    step()
    assert seen.held <= 1.2 * sum(rows.lengths) * per_token


def test_room_is_kept_while_rows_come_and_go() -> None:
    held = {number: list(range(200)) for number in range(20)}
    rows = begun([0, 1, 2, 3, 4, 5, 6, 7], held)
    rows.grow()
    where = rows.cache.layers[0].keys.data_ptr()
    for number in range(8, 20):
        rows.leave([0])
        rows.join(begun([number], held))
        rows.grow()
        assert rows.cache.layers[0].keys.data_ptr() == where


def test_a_model_holds_little_more_than_is_in_use(families: Families, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight prompts of 2,048 tokens in its own engine, of whose answers one goes on."""
    count, tokens, short, more = 8, 2048, 150, 64
    chat = families.load("Qwen2.5-VL", max_batch=count)
    engine: Any = chat._engine
    decoder, slot = engine.decoder, engine.memory.slot_bytes
    decoder.prefixes = PrefixCache(0)
    monkeypatch.setattr(engine, "end_ids", frozenset())
    seen, fill, step = Storages(monkeypatch), decoder._fill, decoder._step
    shares: dict[int, list[tuple[float, float]]] = {}

    def filled(under: UnderWay, choose: Any) -> None:
        joining = bool(under.rows and under.filling)
        fill(under, choose)
        if joining and under.rows:
            reading = [tokens * len(one.prompts) for one in under.filling if one.cache is not None]
            assert seen.held <= 1.2 * slot * (sum(under.rows.lengths) + sum(reading))

    def stepped(rows: Rows) -> torch.Tensor:
        logits: torch.Tensor = step(rows)
        in_use = slot * sum(rows.lengths)
        shares.setdefault(len(rows), []).append((seen.held / in_use, seen.peak / in_use))
        seen.peak = seen.held
        return logits

    monkeypatch.setattr(decoder, "_fill", filled)
    monkeypatch.setattr(decoder, "_step", stepped)
    texts = ["".join(chr(97 + (7 * one + place) % 26) for place in range(tokens)) for one in range(count)]
    lengths = [short + more, *[short] * (count - 1)]
    engine.generate([Request(text=text, max_tokens=most) for text, most in zip(texts, lengths, strict=True)])
    # the room for tokens ahead was used up once
    assert len(shares[count]) > 128
    assert max(held for held, _ in shares[count]) <= 1.2
    assert max(peak for _, peak in shares[count]) <= 1.4
    assert shares[1][min(more, len(shares[1])) - 1][0] < 2
    chat.close()
