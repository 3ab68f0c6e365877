"""Small repairs of code that a model wrote: what published evaluations of such models mend before they run it.

Each is a function from code to code, takes time linear in the code's length, and returns code that it cannot read as it
is: what is wrong then is for the model to read.
"""

from __future__ import annotations

import ast
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence

from langgraph_speceyes.answers.words import stream_safe

LEAST_SIDE = 64
"""Fewest pixels along a box that is cut out."""
MAX_CODE = 20_000
"""Characters beyond which code is not repaired."""

_OPENCV = "cv2"
_MISNAMED = ("cv", "cv4")
# reading images: the attribute, and what it may be an attribute of
_READERS = {"open": ("Image",), "imread": ("cv2", "plt")}

Size = tuple[int, int]
Box = tuple[float, float, float, float]
Edit = tuple[ast.expr, str]


def repaired(
    code: str, paths: Sequence[str], folder: str, size: Callable[[], Size | None], earlier: Sequence[str] = ()
) -> str:
    """Apply every repair.

    Args:
        code: What the model wrote.
        paths: Where the question's images are; the first stands in for a path that does not exist.
        folder: Where code may save images, so that paths below it are the model's own.
        size: Returns the first image's width and height in pixels, None where it is not known; called only if there is
            a box to compare with it.
        earlier: The blocks that ran before.
    """
    if len(code) > MAX_CODE:
        return code
    return with_boxes_inside(with_paths(with_opencv(with_indent(code)), paths, folder, earlier), paths, size)


def with_indent(code: str) -> str:
    """Take away the indent of the whole block, or of its first line, where the code cannot be read with it."""
    code = code.strip("\n")
    if _tree(code) is not None:
        return code
    even = textwrap.dedent(code.expandtabs())
    first, newline, rest = even.partition("\n")
    for found in (even, first.lstrip() + newline + rest, first.lstrip() + newline + textwrap.dedent(rest)):
        if _tree(found) is not None:
            return found
    return code


def with_opencv(code: str) -> str:
    """Write `cv2.` for `cv.` and `cv4.` where the code gives these names no meaning of its own."""
    tree = _tree(code) if any(f"{name}." in code for name in _MISNAMED) else None
    if tree is None:
        return code
    wrong = set(_MISNAMED) - set(_bound(tree))
    edits: list[Edit] = [
        (node.value, _OPENCV)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in wrong
    ]
    return _edited(code, edits)


def with_paths(code: str, paths: Sequence[str], folder: str, earlier: Sequence[str] = ()) -> str:
    """Put the first image's path in place of a literal one that is read and cannot exist.

    Args:
        code: The code.
        paths: Where images are.
        folder: Paths below it are left alone, as are those below /tmp, which leads there, and those that the code has
            at another place too: where it writes them.
        earlier: The blocks that ran before, which may have written them.
    """
    tree = _tree(code) if paths and any(word in code for word in ("image_path", *_READERS)) else None
    if tree is None:
        return code
    below, read = (folder.rstrip("/") + "/", "/tmp/"), list(_read_paths(tree))
    places = {id(literal) for literal in read}
    trees = [tree, *(found for text in earlier if len(text) <= MAX_CODE and (found := _tree(text)) is not None)]
    nodes = (node for one in trees for node in ast.walk(one))
    own = {n.value for n in nodes if isinstance(n, ast.Constant) and id(n) not in places}
    edits = [
        (literal, repr(paths[0]))
        for literal in read
        if literal.value not in paths and literal.value not in own and not str(literal.value).startswith(below)
    ]
    return _edited(code, edits)


def with_boxes_inside(code: str, paths: Sequence[str], size: Callable[[], Size | None]) -> str:
    """Clamp literal boxes of the first image to it, and widen them to :data:`LEAST_SIDE` pixels about their centre.

    A box is the argument of `crop`, written there or as a name that is assigned once; only boxes of what is opened from
    the first image's path in the same block are touched.

    Args:
        code: The code.
        paths: Where images are.
        size: Returns the first image's width and height in pixels.
    """
    tree = _tree(code) if paths and ".crop(" in code else None
    if tree is None:
        return code
    once = _assigned_once(tree)
    opened = {name for name, value in once.items() if _opens(value, paths[0], once)}
    boxes: dict[int, ast.Tuple | ast.List] = {}
    for call in _calls(tree, "crop"):
        of = call.func.value if isinstance(call.func, ast.Attribute) else None
        if of is None or not (_opens(of, paths[0], once) or (isinstance(of, ast.Name) and of.id in opened)):
            continue
        given = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "box")]
        for found in given:
            value = once.get(found.id) if isinstance(found, ast.Name) else found
            if isinstance(value, ast.Tuple | ast.List):
                boxes[id(value)] = value
    edits: list[Edit] = []
    for box in boxes.values():
        numbers = _numbers(box)
        if numbers is None:
            continue
        if (limits := size()) is None:
            return code
        inside = inside_box(numbers, limits)
        if inside != numbers:
            edits += [(item, repr(number)) for item, number in zip(box.elts, inside, strict=True)]
    return _edited(code, edits)


def inside_box(box: Box, size: Size) -> Box:
    """A box clamped to an image and at least :data:`LEAST_SIDE` pixels wide and high, or as the image is.

    Args:
        box: (left, top, right, bottom) in pixels.
        size: Width and height of the image.
    """
    left, right = _inside(box[0], box[2], size[0])
    top, bottom = _inside(box[1], box[3], size[1])
    return left, top, right, bottom


def _inside(low: float, high: float, size: int) -> tuple[float, float]:
    low, high = (min(max(edge, 0), size) for edge in sorted((low, high)))
    least = min(LEAST_SIDE, size)
    if high - low >= least:
        return low, high
    begin = min(max(round((low + high - least) / 2), 0), size - least)
    return begin, begin + least


def _tree(code: str) -> ast.Module | None:
    if stream_safe(code) != code:
        return None  # Python takes the square of a name's marks
    try:
        with warnings.catch_warnings():
            # about the model's code, for nobody here to read
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bound(tree: ast.Module) -> Iterator[str]:
    """Names to which the code gives a meaning."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.arg):
            yield node.arg


def _assigned_once(tree: ast.Module) -> dict[str, ast.expr]:
    """The values of names that get only one, by an assignment at the top of the code."""
    counts: dict[str, int] = {}
    for name in _bound(tree):
        counts[name] = counts.get(name, 0) + 1
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name) and counts[target.id] == 1:
            found[target.id] = node.value
    return found


def _calls(tree: ast.Module, *names: str) -> Iterator[ast.Call]:
    """Calls of methods, or functions of a module, of some names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            yield node


def _reads(call: ast.Call) -> bool:
    """Whether a call reads an image from a path."""
    assert isinstance(call.func, ast.Attribute), "only such calls are found"
    of = call.func.value
    return isinstance(of, ast.Name) and of.id in _READERS.get(call.func.attr, ())


def _read_paths(tree: ast.Module) -> Iterator[ast.Constant]:
    """Literal paths of images that the code reads, or assigns to `image_path`."""
    found: list[ast.expr] = [call.args[0] for call in _calls(tree, *_READERS) if _reads(call) and call.args]
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "image_path" for t in targets):
            found.append(node.value)
    for value in found:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value


def _opens(node: ast.expr, path: str, once: dict[str, ast.expr]) -> bool:
    """Whether an expression opens the image at a path with Pillow."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open"):
        return False
    if not _reads(node) or len(node.args) != 1:
        return False
    given = node.args[0]
    if isinstance(given, ast.Name):
        if given.id == "image_path" and given.id not in once:
            return True
        given = once.get(given.id, given)
    return isinstance(given, ast.Constant) and given.value == path


def _numbers(box: ast.Tuple | ast.List) -> Box | None:
    """The numbers of a literal box."""
    found: list[float] = []
    for item in box.elts:
        sign, number = 1, item
        if isinstance(number, ast.UnaryOp) and isinstance(number.op, ast.USub):
            sign, number = -1, number.operand
        if not isinstance(number, ast.Constant) or not isinstance(number.value, int | float):
            return None
        value = sign * number.value
        if value != value or abs(value) > 1e9:
            return None
        found.append(value)
    return (found[0], found[1], found[2], found[3]) if len(found) == 4 else None


def _edited(code: str, edits: Collection[Edit]) -> str:
    """The code with some expressions written anew; all else stays as the model wrote it."""
    if not edits:
        return code
    # ast counts UTF-8 bytes from the beginning of a line
    lines = code.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    whole, pieces, at = code.encode(), list[bytes](), 0
    for node, text in sorted(edits, key=lambda edit: (edit[0].lineno, edit[0].col_offset)):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        pieces += [whole[at:begin], text.encode()]
        at = end
    return b"".join([*pieces, whole[at:]]).decode()
