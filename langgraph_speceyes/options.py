"""Every setting of the bypass, once: graph, middleware and hedge take the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, Protocol, Self, TypedDict, runtime_checkable

from langgraph.cache.base import BaseCache
from langgraph.types import CachePolicy, RetryPolicy

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.looks import Look, LookFunction, resolve_looks
from langgraph_speceyes.models.given import Model
from langgraph_speceyes.models.overview import FrontPixels, check_pixels
from langgraph_speceyes.prompts import Prompts
from langgraph_speceyes.question import FOLLOW_UPS, FollowUps
from langgraph_speceyes.scoring import FIRST_LOOKS, FirstLook, Gate
from langgraph_speceyes.state import MODES, ORDERS, Mode, Order


@runtime_checkable
class OpensItself(Protocol):
    """A gate whose threshold follows from its own traffic (:class:`~langgraph_speceyes.traffic.SelfOpening`)."""

    def gate(self, threshold: float) -> Gate:
        """The gate at a threshold."""


class Price(TypedDict):
    """What a million tokens cost, in any currency.

    Attributes:
        input: Price of those that are read.
        output: Price of those that are written.
    """

    input: float
    output: float


class Prices(TypedDict, total=False):
    """Prices of the models; one that is not there is not known."""

    judge: Price
    speculator: Price
    agent: Price


class Settings(TypedDict, total=False):
    """The settings that both :func:`create_speceyes` and :class:`SpecEyesMiddleware` take; see :class:`Options`."""

    judge: Model | None
    gate: Gate | OpensItself | float | str | PathLike[str] | None
    judge_threshold: float | None
    order: Order
    follow_ups: FollowUps
    prompts: Prompts | None
    policy: ImagePolicy
    max_answer_tokens: int
    timeout_s: float | None
    retry_policy: RetryPolicy | Sequence[RetryPolicy]
    cache_policy: CachePolicy[Any] | None
    cache: BaseCache[Any] | None
    prices: Prices | None
    strict: bool
    response_format: Any
    trace_images: bool
    mode: Mode
    journal: Any
    audit: float
    agree: Any
    looks: Sequence[Look | LookFunction]
    first_look: FirstLook | None
    front_pixels: FrontPixels


@dataclass(frozen=True)
class Options:
    """The settings of the front end.

    Attributes:
        speculator: The small model ``M_S``; any chat model that returns `logprobs` with `top_logprobs`.
        judge: The large model ``M_L``; None leaves the judgment out.
        gate: A :class:`Gate`, a threshold for the `odds` score, or the path of a gate file; by default
            `odds` of at least 0.9, which nobody calibrated.
        judge_threshold: Probability of tool need from which the judge screens a query out; the default is the gate
            file's, else 0.5.
        order: ``"judge_first"``; ``"speculate_first"``, which pays where the speculator costs less than the judge:
            ``c_S + P(accepted) * c_J`` instead of ``c_J + beta * c_S`` in front; ``"parallel"``, which pays where they
            run on different devices or servers: ``max(c_J, c_S)``. All give the same routes. ``"auto"`` measures, and
            takes what costs least (:class:`~langgraph_speceyes.front.order.OrderChooser`); it leaves out looks that do
            not pay (:class:`~langgraph_speceyes.front.depth_choice.DepthChooser`).
        follow_ups: Which later turns of a thread the front end, which sees the newest turn only, may answer.
            ``"judge"``: those with an image of their own of which the judge says that they stand on their own, so none
            without a judge; ``"agent"``: none; ``"bypass"``: all, each about the newest image.
        prompts: Instructions for judge and speculator.
        policy: Limits for images, and whether remote ones and which folders are allowed.
        max_answer_tokens: Most tokens of a speculation.
        timeout_s: Longest wait for each of judge and speculator, in seconds.
        retry_policy: When a call of judge or speculator that failed is made again, within `timeout_s`; the first policy
            that takes the error counts. The nodes' own policies see no failure: a failed call becomes a record.
        cache_policy: Keep answers of judge and speculator, by model, settings and prompt, with images by their content.
        cache: Where they are kept; by default the cache that the graph is compiled with.
        prices: What a million tokens of each model cost; then decisions say what was spent (`decision["cost"]`).
        strict: Raise where the front end fails, instead of falling back to the agent: :class:`PhaseError` for judge,
            speculator and gate, :class:`ImageError` for an image that cannot be opened.
        response_format: The form that the agent answers in, as LangChain's `create_agent` takes it, where it cannot be
            found out; a speculation is read into it as `structured_response`, or is the agent's.
        trace_images: Whether the runs that are started here show images in LangSmith; by default their digests.
        mode: ``"on"``; ``"shadow"``: the agent answers everything, and the journal records what the gate would have
            done; ``"off"``: the agent alone. A run may set another (`speceyes_mode` in its context or `configurable`).
        journal: Where records of questions go: the path of a SQLite file, a LangGraph store, or another
            :class:`~langgraph_speceyes.traffic.journal.Journal`; None records nothing, but what shadow runs and audits
            find, in memory.
        audit: Share of accepted answers that the agent answers again in the background, once the user has theirs. Its
            tools are used again too.
        agree: What decides whether two longer answers say the same: a chat model, which is asked in one token, or a
            function of question, speculation and agent's answer. Without it they count as differing.
        looks: What the small model is shown before it answers again, once for each: after an answer that the gate has
            rejected, and at once where the judge says that tools are needed. Looks such as
            :func:`~langgraph_speceyes.looks.tiles`, :func:`~langgraph_speceyes.looks.ocr` and
            :func:`~langgraph_speceyes.looks.own_calls`, and functions of an image's reference and the question. None by
            default.
        first_look: ``"rejected"``: as said at `looks`; ``"always"``: a question comes to the first look at once, the
            answer from the whole image is not asked for, and the judge is asked about follow-ups only. The default is
            the gate file's, else ``"rejected"``.
        front_pixels: Most pixels of an image that a hosted judge and speculator are sent: larger ones are shrunk, and
            encoded once for both. ``"auto"`` goes by the model's family, 1.6 million where nothing else is known
            (:data:`~langgraph_speceyes.models.overview.OVERVIEW`); None sends images as they are. A mapping sets
            ``judge`` and ``speculator`` apart: ``{"judge": None}`` lets a judge that is the agent's own model read the
            agent's bytes, so that a server's prefix cache serves both. Models in this process resize images
            themselves, remote images stay URLs, and the agent is always given the original.
    """

    speculator: Model
    judge: Model | None = None
    gate: Gate | OpensItself | float | str | PathLike[str] | None = None
    judge_threshold: float | None = None
    order: Order = "judge_first"
    follow_ups: FollowUps = "judge"
    prompts: Prompts | None = None
    policy: ImagePolicy = DEFAULT_POLICY
    max_answer_tokens: int = 64
    timeout_s: float | None = None
    retry_policy: RetryPolicy | Sequence[RetryPolicy] = ()
    cache_policy: CachePolicy[Any] | None = None
    cache: BaseCache[Any] | None = None
    prices: Prices | None = None
    strict: bool = False
    response_format: Any = None
    trace_images: bool = False
    mode: Mode = "on"
    journal: Any = None
    audit: float = 0.0
    agree: Any = None
    looks: Sequence[Look | LookFunction] = ()
    first_look: FirstLook | None = None
    front_pixels: FrontPixels = "auto"

    @classmethod
    def of(cls, speculator: Model, settings: Mapping[str, Any]) -> Self:
        """The options that a caller's settings make.

        Raises:
            ArgumentError: A setting is unknown, or has a value that cannot be used.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(settings) - known):
            raise ArgumentError(unknown[0], f"one of {', '.join(sorted(known))}", "an unknown setting")
        return cls(speculator, **settings)

    def __post_init__(self) -> None:
        check_choice("order", self.order, ORDERS)
        check_choice("follow_ups", self.follow_ups, FOLLOW_UPS)
        check_choice("mode", self.mode, MODES)
        if isinstance(self.audit, bool) or not isinstance(self.audit, int | float) or not 0 <= self.audit <= 1:
            raise ArgumentError("audit", "a share from 0 to 1", repr(self.audit))
        if self.max_answer_tokens < 1:
            raise ArgumentError("max_answer_tokens", "at least 1", self.max_answer_tokens)
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise ArgumentError("timeout_s", "more than 0 seconds, or None", self.timeout_s)
        check_prices(self.prices)
        check_pixels(self.front_pixels)
        object.__setattr__(self, "looks", resolve_looks(self.looks))
        if self.first_look is not None:
            check_choice("first_look", self.first_look, FIRST_LOOKS)
        if self.first_look == "always" and not self.looks:
            raise ArgumentError("looks", 'a look beside first_look="always"', "none")
        given = self.retries
        if not isinstance(given, Sequence) or not all(isinstance(one, RetryPolicy) for one in given):
            raise ArgumentError("retry_policy", "a RetryPolicy of LangGraph, or several", repr(self.retry_policy))
        for argument, kind in (("cache_policy", CachePolicy), ("cache", BaseCache)):
            if (value := getattr(self, argument)) is not None and not isinstance(value, kind):
                raise ArgumentError(argument, f"a {kind.__name__} of LangGraph, or None", type(value).__name__)
        if self.cache is not None and self.cache_policy is None:
            raise ArgumentError("cache_policy", "a policy beside the cache", None)

    @property
    def retries(self) -> Sequence[RetryPolicy]:
        """The retry policies."""
        given = self.retry_policy
        # a policy is a tuple itself
        return (given,) if isinstance(given, RetryPolicy) else given


def check_prices(prices: Any) -> None:
    """Refuse what are no prices.

    Raises:
        ArgumentError: They are none.
    """
    if prices is None:
        return
    models, kinds = sorted(Prices.__annotations__), sorted(Price.__annotations__)
    expected = f"a mapping of {', '.join(models)} to prices of {' and '.join(kinds)}, finite and not below 0"
    if not isinstance(prices, Mapping) or not set(prices) <= set(models):
        raise ArgumentError("prices", expected, f"{prices!r:.100}")
    for price in prices.values():
        if not isinstance(price, Mapping) or sorted(price) != kinds or not all(map(_is_price, price.values())):
            raise ArgumentError("prices", expected, f"{price!r:.100}")


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def check_choice(argument: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ArgumentError: It is none of them.
    """
    if value not in choices:
        raise ArgumentError(argument, f"one of {', '.join(choices)}", repr(value))
