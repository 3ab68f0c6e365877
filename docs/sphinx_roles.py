"""A Griffe extension: what the docstrings write as Sphinx does (roles, code blocks), as Markdown with links."""

from __future__ import annotations

import re
from textwrap import dedent, indent
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|data|attr|mod|exc):`(~?)([^`]+)`")
_CODE = re.compile(r"^( *)\.\. code-block:: (\w+)\n\s*\n((?:\1 +.*(?:\n|\Z)|[ \t]*\n)+)", re.MULTILINE)
# a colon in the first line would part a type from a description
_RETURNS = re.compile(r"^(Returns:\n +)(?=\S[^\n]*:)", re.MULTILINE)


class SphinxRoles(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_instance(self, *, node: Any, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one object's docstring."""
        if obj.docstring is not None:
            text = obj.docstring.value.replace("``", "`")
            text = _ROLE.sub(lambda found: _linked(found, obj), text)
            if isinstance(obj, griffe.Function) and obj.returns is not None:
                returned = str(obj.returns)
                text = _RETURNS.sub(lambda found: f"{found[1]}{returned}: ", text)
            obj.docstring.value = _CODE.sub(_fenced, text)


def _linked(found: re.Match[str], obj: griffe.Object) -> str:
    """A name as a link, where the reference has it; `~a.b.C` is shown as C."""
    target = found[2]
    shown = target.rpartition(".")[2] if found[1] else target
    try:
        path = target if "." in target and found[1] else obj.resolve(target)
    except griffe.NameResolutionError:
        return f"`{shown}`"
    return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'


def _fenced(found: re.Match[str]) -> str:
    code = dedent(found[3]).strip("\n")
    return indent(f"```{found[2]}\n{code}\n```\n", found[1])
