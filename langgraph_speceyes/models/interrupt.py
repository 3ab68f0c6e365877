"""Ending a forward pass that is under way on another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from langgraph_speceyes.errors import ClosedError


@contextmanager
def interrupted(model: nn.Module, thread: threading.Thread) -> Iterator[None]:
    """Within, the thread's passes through a model end at their next layer or token; those of other threads go on.

    A model that nobody ends has nothing to ask in its layers: they are made to ask only now.

    Args:
        model: The model.
        thread: Whose passes end, with :class:`~langgraph_speceyes.errors.ClosedError`.
    """

    def end(*_: Any) -> None:
        if threading.get_ident() == thread.ident:
            raise ClosedError("the model was closed")

    stacks = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    # a pass of one token may go around its layers, but not around what embeds the token
    embeddings = [part for part in model.modules() if isinstance(part, nn.Embedding)]
    layers = {model, *embeddings, *(one for stack in stacks for one in stack)}
    hooks = [layer.register_forward_pre_hook(end) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
