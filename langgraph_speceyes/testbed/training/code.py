"""The agent learns to write code: a fine-tune of its language model, the vision tower as it is.

Every step in three is about what is seen and whether tools are needed, or the agent would forget that.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from langgraph_speceyes.testbed import code_words
from langgraph_speceyes.testbed.training.deep import (
    deep_perception_example,
    deep_trajectory_example,
    either,
    whole_view_example,
)
from langgraph_speceyes.testbed.training.dialect import CODE
from langgraph_speceyes.testbed.training.tape import Encoder, token_id
from langgraph_speceyes.testbed.training.teacher import perception_example, trajectory_example
from langgraph_speceyes.testbed.training.train import Make, Stage, language_parameters, token_loss


def with_code_tokens(model: PreTrainedModel, tokenizer: Tokenizer) -> PreTrainedModel:
    """Give an agent the embeddings of the tokens for code: near their likes, or at random.

    Args:
        model: The agent; changed in place.
        tokenizer: Its tokenizer with the tokens added.
    """
    old = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(tokenizer.get_vocab_size(), mean_resizing=False)
    words = model.get_input_embeddings().weight
    with torch.no_grad():
        for token, like in code_words.TOKENS.items():
            noise = torch.randn(old.shape[1]) * old.std()
            begin = noise if like is None else old[token_id(tokenizer, like)] + 0.2 * noise
            words[token_id(tokenizer, token)] = begin
    return model


def code_stages(model: PreTrainedModel, encode: Encoder, steps: int) -> Iterator[Stage]:
    """The one stage of the fine-tune."""
    run: Make = partial(trajectory_example, dialect=CODE)
    deep: Make = partial(deep_trajectory_example, dialect=CODE)
    see: Make = either(partial(perception_example, dialect=CODE), partial(deep_perception_example, dialect=CODE))
    whole: Make = partial(whole_view_example, dialect=CODE)
    makers = [(run, 16), (see, 14), (deep, 10), (run, 16), (whole, 14)]
    yield Stage("code", steps, 5e-4, token_loss(model, encode, makers), language_parameters(model), warm=20)
