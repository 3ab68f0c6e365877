"""An answer in the form that an agent answers in (`response_format`)."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from langgraph_speceyes.contained import contained
from langgraph_speceyes.foreign import cleaned

STRUCTURED: Final = "structured_response"
"""Where LangChain's agents leave an answer in a form."""


class AnswerForm:
    """The form that an agent answers in: words, or a type beside them (`structured_response`).

    Args:
        response_format: What LangChain's `create_agent` takes; None for words.
        known: False where only a call of the agent's model will tell (:meth:`learn`).
    """

    def __init__(self, response_format: Any = None, *, known: bool = True) -> None:
        self._format, self.known = response_format, known

    def learn(self, response_format: Any) -> None:
        """Note the form that a call of the agent's model shows."""
        self._format, self.known = response_format, True

    def read(self, text: str) -> dict[str, Any]:
        """The state update that an answer is beside a message.

        Raises:
            ValueError: It has not the form that the agent answers in.
        """
        return {} if self._format is None else {STRUCTURED: parse_answer(text, self._format)}


def parse_answer(text: str, response_format: Any) -> Any:
    """Read a short answer as an agent's structured response.

    Args:
        text: The answer.
        response_format: What LangChain's `create_agent` takes: a type (pydantic, dataclass, TypedDict), or a strategy
            around one.

    Returns:
        The response: the text read as JSON, or as the only field of a type that has just one.

    Raises:
        ValueError: The text cannot be read so.
    """
    # a strategy has a schema; pydantic's types have a method of that name
    given: Any = response_format
    schema = given if isinstance(given, type) else getattr(given, "schema", given)
    if isinstance(schema, dict):
        raise ValueError("a JSON schema tells no type to read the answer into")
    try:
        with contained():
            return _parsed(text, schema)
    except Exception as error:  # a type's own validators may raise anything
        raise ValueError(f"the answer is no {getattr(schema, '__name__', schema)}") from cleaned(error)


def _parsed(text: str, schema: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(schema)
    try:
        return adapter.validate_json(text)
    except ValidationError:
        if (only := _only_field(schema)) is None:
            raise
    return adapter.validate_python({only: text})


def _only_field(schema: Any) -> str | None:
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        names = [name for name, field in schema.model_fields.items() if field.is_required()]
    else:
        names = list(getattr(schema, "__required_keys__", None) or getattr(schema, "__annotations__", {}))
    return names[0] if len(names) == 1 else None
