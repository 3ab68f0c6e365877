"""State schemas: what an agent takes and gives back, and the schema around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass, make_dataclass
from typing import Annotated, Any, NotRequired, Required, get_args, get_origin, get_type_hints

from langchain_core.messages import AnyMessage
from langgraph.channels.base import BaseChannel
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import StateGraph
from pydantic import BaseModel, create_model
from typing_extensions import TypedDict

from langgraph_speceyes.behind.channels import around
from langgraph_speceyes.front.settings import SpecEyesContext
from langgraph_speceyes.images import MessagesChannel

MESSAGES = "messages"


def hints_of(schema: type[Any]) -> dict[str, Any]:
    """A schema's keys with their annotations; those that may be missing say so."""
    hints = get_type_hints(schema, include_extras=True)
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return {key: NotRequired[hints[key]] for key in schema.model_fields}
    if is_dataclass(schema):
        return {one.name: NotRequired[hints[one.name]] for one in dataclass_fields(schema)}
    optional: frozenset[str] = getattr(schema, "__optional_keys__", frozenset())
    return {
        key: NotRequired[hint] if key in optional and get_origin(hint) is not NotRequired else hint
        for key, hint in hints.items()
    }


def channel_of(hint: Any) -> BaseChannel[Any, Any, Any] | None:
    """The channel that an annotation stands for; None for a managed value."""
    return StateGraph(TypedDict("_One", {"key": hint})).channels.get("key")  # type: ignore[operator]


def messages_hint() -> Any:
    """Messages whose images stay out of checkpoints."""
    return Annotated[list[AnyMessage], MessagesChannel]


def surrounding(hint: Any, channel: BaseChannel[Any, Any, Any]) -> Any:
    """The annotation of an agent's key in the state around it."""
    outer = around(channel)
    if isinstance(outer, MessagesChannel):
        return messages_hint()
    bare, optional = _bare(hint)
    # a DeltaChannel is made anew from its annotation, and begins with an empty value of that type
    made: Any = Annotated[outer.typ if isinstance(outer, DeltaChannel) else bare, outer]
    return NotRequired[made] if optional else made


def extended(*parts: Mapping[str, Any] | type[Any] | None, name: str) -> type[Any]:
    """A state schema made of several.

    Args:
        parts: Schemas, or annotations of the keys to add; a later part's annotation counts.
        name: Name of the schema.
    """
    hints: dict[str, Any] = {}
    for part in parts:
        if part is not None:
            hints |= part if isinstance(part, Mapping) else hints_of(part)
    return TypedDict(name, hints)  # type: ignore[operator, no-any-return]


def with_settings(context: type[Any] | None) -> type[Any]:
    """What an agent wants as `context`, with the settings of a run beside it, none of which must be given."""
    hints: dict[str, Any] = get_type_hints(SpecEyesContext)
    if context is None:
        return SpecEyesContext
    if isinstance(context, type) and issubclass(context, BaseModel):
        own: dict[str, Any] = {key: (hint, None) for key, hint in hints.items() if key not in context.model_fields}
        return create_model(context.__name__, __base__=context, **own)
    if is_dataclass(context):
        known = {one.name for one in dataclass_fields(context)}
        made: list[Any] = [(key, hint, None) for key, hint in hints.items() if key not in known]
        frozen: bool = context.__dataclass_params__.frozen  # type: ignore[attr-defined]
        return make_dataclass(context.__name__, made, bases=(context,), frozen=frozen, kw_only=True)
    return extended({key: NotRequired[hint] for key, hint in hints.items()}, context, name=context.__name__)


def _bare(hint: Any) -> tuple[Any, bool]:
    """An annotation without its extras, and whether the key may be missing."""
    optional = False
    while (origin := get_origin(hint)) in (Annotated, NotRequired, Required):
        optional = optional or origin is NotRequired
        hint = get_args(hint)[0]
    return hint, optional
