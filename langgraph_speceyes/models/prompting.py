"""The half of a local chat model that writes prompts: images, tools and the chat template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy, ImageRef, ResizeRule, load_resized
from langgraph_speceyes.models.engine import Engine
from langgraph_speceyes.models.rendering import Fallback, Renderer
from langgraph_speceyes.models.request import Request
from langgraph_speceyes.models.resizing import bicubic_rule_of, rule_of


class PromptingChatModel(BaseChatModel):
    """What a local chat model knows of prompts; see :class:`~langgraph_speceyes.models.chat.LocalChatModel`."""

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    tools_in_prompt: bool = True
    """Show bound tools through the chat template; False for checkpoints that know their tools, whose calls are then
    only read."""
    tools_without_template: Fallback = "system"
    """What becomes of tools that the checkpoint's chat template does not show: `"system"` describes them in the system
    prompt, in Hermes' form; `"error"` refuses them."""
    template_options: dict[str, Any] = Field(default_factory=dict)
    """Further variables of the chat template, such as `enable_thinking`; a call may bring its own."""
    policy: ImagePolicy = Field(default=DEFAULT_POLICY)
    """Which images may be loaded."""

    accepts_image_references: bool = True
    """Callers may pass image references: they need not be turned into base64 first."""

    _engine: Engine = PrivateAttr()
    _renderer: Renderer = PrivateAttr()

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Refuse what is no setting of the class, before gigabytes are loaded for it.

        Raises:
            ArgumentError: There is no field of the name.
            ValueError: A field cannot have the value.
        """
        # the constructor takes anything, as LangChain's models do
        if unknown := sorted(settings.keys() - cls.model_fields.keys()):
            raise ArgumentError("settings", f"fields of {cls.__name__}", ", ".join(unknown))
        cls(**({"model_name": ""} | dict(settings)))

    @property
    def resize_rule(self) -> ResizeRule | None:
        """How the processor resizes an image before the model sees it; None where its class has no known rule."""
        return rule_of(self._engine.processor)

    def preload(self, image: ImageRef) -> bool:
        """Load an image at the size at which the model sees it, for the calls to come.

        Returns:
            Whether that can be done: the processor's way of resizing is known.

        Raises:
            ImageError: It cannot be loaded.
        """
        if (rule := bicubic_rule_of(self._engine.processor)) is None:
            return False
        load_resized(image, rule, self.policy)
        return True

    def get_token_ids(self, text: str) -> list[int]:
        """The tokens of a text by the checkpoint's own tokenizer, as text that users say."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        plain = self._renderer.control.plain(text)
        ids: list[int] = self._engine.tokenizer(plain, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Tokens of the prompt that messages become, images, tools and what the template writes included."""
        offered = [convert_to_openai_tool(tool) for tool in tools or ()]
        try:
            text, images = self.render(messages, offered)
        except ArgumentError:
            # who trims a conversation asks about parts of it, which may begin with any turn, or with none
            text, images = self.render([HumanMessage(""), *messages], offered)
        return self._engine.count(Request(text, images))

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools through the chat template.

        `with_structured_output` offers its schema in the same way: where the model does not call it, None comes back.

        Raises:
            ArgumentError: `tool_choice` forces a tool, which a local model cannot promise; a tool is no function, but
                one that hosted models bring themselves.
        """
        # LangChain's own way to structured output asks for more than it needs
        structured = tool_choice == "any" and "ls_structured_output_format" in kwargs
        if tool_choice not in (None, "auto") and not structured:
            raise ArgumentError("tool_choice", "None or 'auto'", repr(tool_choice))
        offered = [convert_to_openai_tool(tool) for tool in tools]
        if others := [tool.get("type") for tool in offered if "function" not in tool]:
            raise ArgumentError("tools", "functions", repr(others[0]))
        return self.bind(tools=offered, **kwargs)

    def render(
        self,
        messages: Sequence[BaseMessage],
        tools: list[dict[str, Any]] | None = None,
        template_options: dict[str, Any] | None = None,
        *,
        continued: bool = False,
    ) -> tuple[str, tuple[Any, ...]]:
        """The prompt text and the images that these messages become.

        It ends with the generation prompt, or with the text of the last message if that is to be `continued`.
        """
        return self._renderer.render(
            messages,
            self.policy,
            bicubic_rule_of(self._engine.processor),
            tools=tools,
            fallback=self.tools_without_template,
            options=self.template_options | (template_options or {}),
            continued=continued,
        )
