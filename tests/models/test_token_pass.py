"""One further token, past what transformers wraps around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch import Tensor, nn

from langgraph_speceyes.models.engine import Completion
from langgraph_speceyes.models.token_pass import TokenPass
from langgraph_speceyes.testbed.pair import Pair

KINDS = ["speculator", "large"]
LENGTHS = (12, 3, 8)


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, pair: Pair) -> Iterator[Any]:
    found: Any = getattr(pair, request.param)
    decoder = found._engine.decoder
    kept = decoder._token
    yield found
    decoder._token = kept


def test_its_logits_are_the_model_s_own_to_the_last_bit(model: Any, ask: Callable[..., Any]) -> None:
    engine, decoder = model._engine, model._engine.decoder
    settings = {"logprobs": True, "top_logprobs": 20}
    prompts = [message for split in ("attributes", "relations") for _, message in ask(split, 2)][: len(LENGTHS)]
    requests = [
        model._request([prompt], None, settings | {"max_tokens": most})
        for prompt, most in zip(prompts, LENGTHS, strict=True)
    ]
    taken: list[tuple[int, bool]] = []

    class Counted:
        def __call__(self, tokens: Tensor, positions: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
            taken.append((len(tokens), mask is not None))
            return own(tokens, positions, mask, cache)

    own: TokenPass = decoder._token
    found: list[list[Completion]] = []
    for token in (Counted(), None):
        decoder._token = token
        for batch in (requests[:1], requests):
            model.clear_caches()
            found.append(engine.generate(batch))
    # alone without a mask, and several, of different lengths, with one
    assert (1, False) in taken
    assert any(rows > 1 and masked for rows, masked in taken)
    for mine, theirs in zip(found[0] + found[1], found[2] + found[3], strict=True):
        assert mine.text == theirs.text
        for one, other in zip(mine.steps, theirs.steps, strict=True):
            assert one.chosen == other.chosen
            assert (one.ids.tolist(), one.logprobs.tolist()) == (other.ids.tolist(), other.logprobs.tolist())


def test_a_model_in_which_anything_was_changed_runs_as_transformers_has_it(model: Any) -> None:
    inner = model._engine.model
    text = inner.model.language_model
    layer = text.layers[0]
    assert TokenPass.of(inner) is not None

    hook = layer.mlp.register_forward_hook(lambda *_: None)
    assert TokenPass.of(inner) is None
    hook.remove()
    layer.input_layernorm.forward = lambda hidden: hidden
    assert TokenPass.of(inner) is None
    del layer.input_layernorm.forward

    class Quantised(nn.Linear):
        pass

    projection = layer.self_attn.q_proj
    layer.self_attn.q_proj = Quantised(projection.in_features, projection.out_features)
    assert TokenPass.of(inner) is None
    layer.self_attn.q_proj = projection
    text.rotary_emb.rope_type = "yarn"
    assert TokenPass.of(inner) is None
    text.rotary_emb.rope_type = "default"
    inner.train()
    assert TokenPass.of(inner) is None
    inner.eval()
    assert TokenPass.of(inner) is not None
    assert TokenPass.of(nn.Linear(2, 2)) is None
