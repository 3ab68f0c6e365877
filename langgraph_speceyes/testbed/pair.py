"""The embedded pair, ready to run: two small checkpoints that were trained on the embedded world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langgraph.graph import StateGraph

from langgraph_speceyes.agent import create_visual_agent, visual_tools
from langgraph_speceyes.errors import MissingExtraError
from langgraph_speceyes.graph import create_speceyes
from langgraph_speceyes.images import DEFAULT_POLICY, CoordinateSpace, ImagePolicy
from langgraph_speceyes.looks import Look, look_id
from langgraph_speceyes.prompts import Prompts
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.looks import AGENT_RESIZE, PROTOCOL, embedded_looks

if TYPE_CHECKING:
    from langgraph_speceyes.models import LocalChatModel

CHECKPOINTS = Path(__file__).parent / "checkpoints"
SPECULATOR, AGENT, GATE = CHECKPOINTS / "speculator", CHECKPOINTS / "agent", CHECKPOINTS / "gate.json"
LOOKS_GATE = CHECKPOINTS / "gate-looks.json"
"""The gate for the speculator that looks again: a threshold for each depth."""
CHOSEN_GATE, CASCADE_GATE = CHECKPOINTS / "gate-chosen.json", CHECKPOINTS / "gate-cascade.json"
"""Of the composition that was the fastest on calibration questions, and of the plain cascade, by the same promise."""
SPECULATOR_NAME, AGENT_NAME = "speceyes-embedded-speculator", "speceyes-embedded-agent"
MAX_STEPS = 5
CACHE_BYTES = 64 * 1024 * 1024
"""Enough for the prompts of the forty newest questions."""

PROMPTS = Prompts(
    judge_system=prompts.SYSTEM,
    judge=prompts.JUDGE,
    # its questions always stand on their own
    judge_follow_up=prompts.JUDGE,
    speculate_system=prompts.SYSTEM,
    speculate=prompts.SPECULATE,
)
"""What the pair was trained on."""


@dataclass(frozen=True)
class Pair:
    """The pair's models and what belongs to them.

    Attributes:
        speculator: Qwen3-VL architecture; sees the overview only.
        large: Qwen2.5-VL architecture; judges, and is the agent's model.
        gate: The gate, calibrated on the calibration split.
    """

    speculator: LocalChatModel
    large: BaseChatModel
    gate: Gate

    @property
    def prompts(self) -> Prompts:
        """What the pair was trained on."""
        return PROMPTS

    @property
    def looks_gate(self) -> Gate:
        """The gate for the pair's looks."""
        return Gate.load(LOOKS_GATE)

    def agent(self, policy: ImagePolicy | None = None) -> StateGraph[Any, Any, Any, Any]:
        """The visual agent over the large model, speaking the protocol it was trained on."""
        return create_visual_agent(
            self.large,
            protocol=PROTOCOL,
            coordinates=CoordinateSpace.RESIZED,
            # behind an endpoint it is the same model, which nobody can ask for its rule
            resize=getattr(self.large, "resize_rule", None) or AGENT_RESIZE,
            max_steps=MAX_STEPS,
            # trained on single questions
            history=False,
            policy=policy or DEFAULT_POLICY,
        )

    def tool_calling_agent(self, middleware: Sequence[Any] = (), policy: ImagePolicy | None = None) -> Any:
        """The same agent made by LangChain's `create_agent`, with tools called natively.

        Args:
            middleware: Middleware in front of the agent's own, such as :class:`~langgraph_speceyes.SpecEyesMiddleware`.
            policy: Limits of loading images.

        Raises:
            MissingExtraError: LangChain is not installed.
        """
        try:
            from langchain.agents import create_agent
        except ModuleNotFoundError as missing:
            raise MissingExtraError("create_agent", "middleware") from missing
        from langgraph_speceyes.testbed.native import TrainedWords

        large: Any = self.large
        policy = policy or DEFAULT_POLICY
        tools = visual_tools(coordinates=CoordinateSpace.RESIZED, resize=large.resize_rule, policy=policy)
        return create_agent(
            # trained with its tools: their schemas are no part of its prompt
            large.model_copy(update={"tools_in_prompt": False}),
            tools,
            system_prompt=prompts.SYSTEM,
            middleware=[*middleware, TrainedWords()],
            name="agent",
        )

    @property
    def looks(self) -> tuple[Look, Look]:
        """What `speceyes(looks=pair.looks)` shows the speculator before it answers again."""
        return embedded_looks(self.speculator)

    def speceyes(self, **options: Any) -> StateGraph[Any, Any, Any, Any]:
        """The bypass in front of that agent; options as :func:`create_speceyes` takes them."""
        looks = [look_id(look) for look in options.get("looks") or ()]
        own = looks and looks == [look_id(look) for look in self.looks]
        gate = self.looks_gate if own else self.gate
        defaults: dict[str, Any] = {
            "speculator": self.speculator,
            "judge": self.large,
            "gate": gate,
            "prompts": self.prompts,
        }
        agent = options.pop("agent", None) or self.agent(options.get("policy"))
        return create_speceyes(agent, **(defaults | options))


def load_pair(**options: Any) -> Pair:
    """Load the embedded pair from the package; no network.

    Args:
        options: Passed on to both models' :meth:`LocalChatModel.from_pretrained`, such as `max_batch`.

    Raises:
        MissingExtraError: torch or transformers are not installed.
    """
    try:
        from langgraph_speceyes.models.chat import LocalChatModel
    except ModuleNotFoundError as missing:
        raise MissingExtraError("the embedded pair", "local") from missing
    large: dict[str, Any] = {"model_name": AGENT_NAME, "max_tokens": 96, "cache_bytes": CACHE_BYTES}
    return Pair(
        speculator=load_speculator(**options),
        large=LocalChatModel.from_pretrained(str(AGENT), **(large | options)),
        gate=Gate.load(GATE),
    )


def load_speculator(**options: Any) -> LocalChatModel:
    """Load the embedded speculator alone; see :func:`load_pair`."""
    from langgraph_speceyes.models.chat import LocalChatModel

    small: dict[str, Any] = {"model_name": SPECULATOR_NAME, "max_tokens": 32, "cache_bytes": CACHE_BYTES}
    return LocalChatModel.from_pretrained(str(SPECULATOR), **(small | options))
