"""Text that is only text: what users, tools and images say never becomes one of a tokenizer's control tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from langgraph_speceyes.errors import ArgumentError

JOINERS = ("\u200b", "\u2060", "\u00ad", " ")
"""What may stand behind the first character of a control token's text, so that it is read as text: characters without a
width, and a space for tokenizers that drop those."""


def adds_special(tokenizer: Any, text: str) -> bool:
    """Whether a tokenizer is to add its own special tokens to a prompt: not to one that begins with them.

    The rule of transformers' `apply_chat_template`.
    """
    begin = tokenizer.bos_token
    return not (begin and text.startswith(begin))


class ControlTokens:
    """The control tokens of a tokenizer, and how to write their text without writing them.

    Control tokens are those that the tokenizer calls special, and of its other added tokens those that the chat
    template writes (`<tool_response>`, `<think>`), where they are no mere words or white space.

    Args:
        tokenizer: A tokenizer of transformers.
        template: The chat template's source.
        more: Further ones, such as the processor's placeholders of images.

    Attributes:
        special: Texts of the special ones.
        markup: Texts of the others.
        ids: Token ids of all of them.

    Raises:
        ArgumentError: The tokenizer reads them as control tokens however they are written.
    """

    def __init__(self, tokenizer: Any, template: str, more: Iterable[str] = ()) -> None:
        added = list(tokenizer.added_tokens_decoder.items())
        named = {*tokenizer.all_special_tokens, *more}
        special = {one.content for _, one in added if one.special} | named
        markup = {
            one.content
            for _, one in added
            if one.content in template and not one.content.replace("_", "").isalnum() and not one.content.isspace()
        }
        # nothing can stand inside of a single character
        self.special = frozenset(text for text in special if len(text) > 1)
        self.markup = frozenset(text for text in markup - special if len(text) > 1)
        self.ids = frozenset(tokenizer.convert_tokens_to_ids(sorted(self.special | self.markup)))
        self._tokenizer = tokenizer
        self._all, self._special = _Finder(self.special | self.markup), _Finder(self.special)
        # matched against a text that was made lower case or the like first: only the tokenizer itself can tell where
        self._altered = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None) is not None and any(
            one.normalized and one.content in self.special | self.markup for _, one in added
        )
        self.joiner = self._find_joiner()

    def plain(self, text: str, *, markup: bool = False, after: bool = False) -> str:
        """A text that is read as text, whatever it says.

        Args:
            text: Any text.
            markup: Leave those in it that are not special: the program's own words, or the model's.
            after: Whether other text comes right behind it, with which it could make up a control token.

        Returns:
            The text, with an invisible character in each control token; in most cases the text as it is.
        """
        finder, text = self._special if markup else self._all, _encodable(text)
        places = finder.find(text)
        if self._altered:
            places |= self._altered_places(text, self.special if markup else self.special | self.markup)
        if after and finder.begins(text):
            places.add(len(text.rstrip()))
        if not places:
            return text
        cuts = [0, *sorted(places), len(text)]
        return self.joiner.join(text[begin:end] for begin, end in pairwise(cuts))

    def deep(self, value: Any) -> Any:
        """The same for all text in lists and dictionaries, their keys included."""
        if isinstance(value, str):
            return self.plain(value)
        if isinstance(value, Mapping):
            return {self.deep(key): self.deep(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.deep(one) for one in value]
        return value

    def count(self, ids: Iterable[int]) -> int:
        """How many of some tokens are control tokens."""
        return sum(token in self.ids for token in ids)

    def _altered_places(self, text: str, which: frozenset[str]) -> set[int]:
        wanted = set(self._tokenizer.convert_tokens_to_ids(sorted(which)))
        encoding = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        return {begin + 1 for token, (begin, end) in pairs if token in wanted and end - begin > 1}

    def _find_joiner(self) -> str:
        texts = sorted(self.special | self.markup)
        for joiner in JOINERS:
            written = "\n".join(text[0] + joiner + text[1:] for text in texts)
            if not self.count(self._tokenizer(written, add_special_tokens=False)["input_ids"]):
                return joiner
        raise ArgumentError(
            "processor", "a tokenizer that can tell text from control tokens", type(self._tokenizer).__name__
        )


def _encodable(text: str) -> str:
    """A text without lone surrogates, which tokenizers refuse; halves of a character that stand together are one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class _Finder:
    """Finds texts in a text, overlapping ones too, in time that is linear in its length."""

    def __init__(self, texts: frozenset[str]) -> None:
        self._texts = texts
        # from the first two characters to the lengths there are: no other place is looked at
        self._lengths: dict[str, list[int]] = {}
        for text in texts:
            lengths = self._lengths.setdefault(text[:2], [])
            if len(text) not in lengths:
                lengths.append(len(text))
        self._heads = frozenset(text[:n] for text in texts for n in range(1, len(text)))
        self._longest = max(map(len, texts), default=0)

    def find(self, text: str) -> set[int]:
        """The places behind the first character of each."""
        found = set()
        for head, lengths in self._lengths.items():
            at = text.find(head)
            while at >= 0:
                if any(text[at : at + length] in self._texts for length in lengths):
                    found.add(at + 1)
                at = text.find(head, at + 1)
        return found

    def begins(self, text: str) -> bool:
        """Whether the end of a text may be the beginning of one."""
        end = text.rstrip()[-self._longest :]
        return any(end[n:] in self._heads for n in range(len(end)))
