"""The embedded agent that writes code: the other agent's weights and a difference, and its pair with the speculator."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langgraph.graph import StateGraph

from langgraph_speceyes.agent import Reader, TextReader, ThymeProtocol, create_visual_agent
from langgraph_speceyes.agent.sandbox import CodeLimits, CodeTool
from langgraph_speceyes.errors import MissingExtraError
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.prompts import Prompts
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed import code_words
from langgraph_speceyes.testbed.pair import (
    AGENT,
    CACHE_BYTES,
    CHECKPOINTS,
    GATE,
    LOOKS_GATE,
    MAX_STEPS,
    PROMPTS,
    Pair,
    load_speculator,
)

CODE_AGENT = CHECKPOINTS / "code-agent"
DIFFERENCE = CODE_AGENT / "difference.safetensors"
CODE_GATE, CODE_LOOKS_GATE = CODE_AGENT / GATE.name, CODE_AGENT / LOOKS_GATE.name
CODE_AGENT_NAME = "speceyes-embedded-code-agent"
MAX_TOKENS = 160
"""Most tokens of a segment: a thought and a block of code are about sixty."""

LIMITS = CodeLimits(seconds=120.0)
"""Of its code: it opens images of 8,400 px and waits for the text reader to be loaded, on busy machines too."""

PROTOCOL = ThymeProtocol(system=code_words.SYSTEM, instruction=code_words.INSTRUCTION, final="")
CODE_PROMPTS: Prompts = replace(PROMPTS, judge_system=code_words.SYSTEM)
"""What the pair was trained on: the judge's prompt begins as the agent's."""

WEIGHTS = "model.safetensors"
UNUSED = 0.05
"""Share of an embedding's length below which its change is left out: weight decay, of a token that is never used."""
_WORDS, _ROWS = "model.embed_tokens.weight", "rows"


def write_code_agent(folder: Path, difference: Path = DIFFERENCE, base: Path = AGENT) -> None:
    """Write the agent as an ordinary checkpoint folder, such as transformers and vLLM load.

    Args:
        folder: Where to; made if missing.
        difference: What its text weights differ by from those of `base`, as :func:`write_difference` wrote it.
        base: The checkpoint that it was made from.
    """
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", "README.md"))
    weights, change = load_file(base / WEIGHTS), load_file(difference)
    rows = change.pop(_ROWS).long()
    for name, by in change.items():
        old = weights[name]
        if name == _WORDS:
            weights[name] = torch.zeros(int(rows[-1]) + 1, old.shape[1])
            weights[name][: len(old)] = old
            weights[name][rows] += by
        else:
            weights[name] = old + by
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    _with_tokens(folder / "tokenizer.json")
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config.get("text_config", {})):
        if "vocab_size" in part:
            part["vocab_size"] = len(weights[_WORDS])
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_difference(checkpoint: Path, difference: Path, base: Path = AGENT) -> None:
    """Write what a checkpoint's weights differ by from those of the one that it was made from, in half precision.

    Args:
        checkpoint: Its folder; embeddings of added tokens are behind those of the base.
        difference: The file to write; its folder is made if missing.
        base: The folder of the other one.
    """
    import torch
    from safetensors.torch import load_file, save_file

    difference.parent.mkdir(parents=True, exist_ok=True)
    weights, change = load_file(checkpoint / WEIGHTS), {}
    for name, old in load_file(base / WEIGHTS).items():
        by = weights[name].to(torch.float32)
        by[: len(old)] -= old.to(torch.float32)
        if name == _WORDS:
            moved = by[: len(old)].norm(dim=1) >= UNUSED * old.norm(dim=1)
            rows = torch.cat([moved.nonzero()[:, 0], torch.arange(len(old), len(by))])
            by, change[_ROWS] = by[rows], rows.to(torch.int16)
        if bool(by.any()):
            change[name] = by.to(torch.float16)
    save_file(change, difference, metadata={"format": "pt"})


def _with_tokens(path: Path) -> None:
    """Add the tokens for code to a tokenizer's file, as its own library would."""
    from tokenizers import Tokenizer

    add_tokens(Tokenizer.from_file(str(path))).save(str(path))


def add_tokens(tokenizer: Any) -> Any:
    """Add the tokens that the code is written in to the agent's tokenizer, a `tokenizers.Tokenizer`."""
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in code_words.TOKENS])
    return tokenizer


@dataclass(frozen=True)
class CodePair(Pair):
    """The speculator in front of the agent that writes code.

    Attributes:
        reader: Reads text for its code.
    """

    reader: TextReader | None = None

    @property
    def prompts(self) -> Prompts:
        """What the judge was trained on."""
        return CODE_PROMPTS

    @property
    def looks_gate(self) -> Gate:
        """The gate for the pair's own looks."""
        return Gate.load(CODE_LOOKS_GATE)

    def agent(self, policy: ImagePolicy | None = None) -> StateGraph[Any, Any, Any, Any]:
        """The visual agent over the large model, whose code runs in a sandbox.

        Raises:
            SandboxUnavailableError: Nothing here can hold code.
        """
        policy = policy or DEFAULT_POLICY
        return create_visual_agent(
            self.large,
            tools=[CodeTool(limits=LIMITS, policy=policy, reader=self.reader or Reader())],
            protocol=PROTOCOL,
            max_steps=MAX_STEPS,
            # trained on single questions
            history=False,
            policy=policy,
        )


def load_code_pair(**options: Any) -> CodePair:
    """Load the speculator and the agent that writes code from the package; no network.

    Args:
        options: As for :func:`~langgraph_speceyes.testbed.pair.load_pair`.

    Raises:
        MissingExtraError: torch or transformers are not installed.
    """
    try:
        from langgraph_speceyes.models.chat import LocalChatModel
    except ModuleNotFoundError as missing:
        raise MissingExtraError("the embedded pair", "local") from missing
    large: dict[str, Any] = {"model_name": CODE_AGENT_NAME, "max_tokens": MAX_TOKENS, "cache_bytes": CACHE_BYTES}
    with tempfile.TemporaryDirectory() as made:
        write_code_agent(Path(made))
        model = LocalChatModel.from_pretrained(made, **(large | {"source": str(CODE_AGENT)} | options))
    return CodePair(load_speculator(**options), model, Gate.load(CODE_GATE))
