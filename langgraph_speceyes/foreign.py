"""Text of others, before it becomes a record, an event, a trace, a log line or an error of this package.

Servers echo what they were sent, exceptions quote their arguments, models repeat what they were shown. What they say is
clipped, and shows neither image data, in whichever spelling, nor credentials. Every pattern here takes time that is
linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr

MOST_BYTES = 2_000
"""Bytes in UTF-8 that are kept of one text of others."""
MOST_OF_OURS = 4_000
"""Bytes of a message of this package's own errors, which may quote several."""
MOST_OF_OTHERS = 64_000
"""Bytes that errors of others keep of each of their texts: to look through megabytes takes seconds."""
HIDDEN = "***"
"""What stands where a credential was."""

Shown = Callable[[str], str]
"""What stands in the place of image data; given the data."""

_SHORTEST, _SHORTEST_LINE = 64, 16
"""Characters below which no text, and no line of several, is taken for image data."""
_BEGIN, _END = 65_536, 8_192
"""Characters at the beginning and at the end of a text that are looked at: what lies between is clipped in any case."""
_DEEPEST = 8

# ---- image data ----

_LETTER = r"[A-Za-z0-9+/_-]"
_BEGINS = r"(?:(?<=\\[nrt])|(?<![A-Za-z0-9+/_\\-]))"
_RUN = re.compile(rf"{_BEGINS}{_LETTER}{{40,}}+={{0,2}}")
"""What may be a line of base64, standard or URL-safe, or of hexadecimal digits."""
_LINES = re.compile(
    rf"{_BEGINS}({_LETTER}{{16,}}+)((?:\\+[nrt]|[\s\"',+\\|>]){{1,12}}+)({_LETTER}{{16,}}+)(?:\2{_LETTER}{{16,}}+)*+(?:\2{_LETTER}++={{0,2}})?"
)
"""The same in several lines, with the same between any two of them."""
_URL = re.compile(r"\bdata:[^\s,:\"'<>\\]{0,200},(?:[^\s\"'<>(){}\\]|\\/){32,}", re.I)
_CHANGES = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[a-z0-9])|[0-9](?=[A-Za-z])")
_SEGMENT = re.compile(r"[A-Za-z0-9]{64}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
# bytes as numbers: a printed list or array, or pairs of hexadecimal digits
_NUMBERS = re.compile(r"(?<![\w.])(?:-?\d{1,3}(?:\.0?)?(?![\w.])[\s,;\[\]()]{1,64}){63,}+-?\d{0,3}")
_FRACTIONS = re.compile(r"(?<![\w.])(?:-?\d{1,3}\.\d{1,20}(?:[eE][+-]?\d{1,3})?[\s,;\[\]()]{1,64}){63,}+")
_PAIRS = re.compile(r"(?<!\w)(?:(?:0x)?[0-9A-Fa-f]{2}[\s,:]{1,3}){31,}+(?:(?:0x)?[0-9A-Fa-f]{2})?")
# bytes as text: escaped, percent-encoded, or decoded by whatever came to hand
_NO_TEXT = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\udc80-\udcff"
_ESCAPE = rf"(?:\\{{1,8}}+(?:x[0-9A-Fa-f]{{2}}|u00[0-9A-Fa-f]{{2}})?+|%|[{_NO_TEXT}])"
_ESCAPED = re.compile(rf"(?:{_ESCAPE}[^\\%{_NO_TEXT}]{{0,60}}+){{31,}}{_ESCAPE}")
"""It ends with an escape: what stands behind the last one may be words again."""
_HIGH = re.compile(r"(?<![\x80-\xff])[\x80-\xff]{64,}+")
_BYTE = re.compile(rf"\\(?:x[0-9A-Fa-f]{{2}}|u00[0-9A-Fa-f]{{2}})|%[0189A-Fa-f][0-9A-Fa-f]|[{_NO_TEXT}]")

# ---- credentials ----

_QUOTED = r"\\*[\"']?\]?\s{0,4}(?:[=:,]|%3[dD]|=>)\s{0,4}b?\\*[\"']?"
_NOT_YET = r"(?!\*{3})"
"""A header that was replaced before has words behind it, which are none of it."""
# what any such text holds in lower case, how to find it, and what stands there then
_SECRETS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (
        ("private key-----",),
        re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)", re.S),
        HIDDEN,
    ),
    (("://",), re.compile(r"(?<=://)[^\s/\"'<>]{1,256}@"), f"{HIDDEN}@"),
    (
        ("authori",),
        re.compile(rf"\b((?>(?:proxy-)?authori[sz]ation{_QUOTED})){_NOT_YET}[^\r\n\"'\\}}]{{3,4096}}", re.I),
        rf"\1{HIDDEN}",
    ),
    (
        ("cookie",),
        re.compile(rf"\b((?>(?:set-)?cookie2?{_QUOTED})){_NOT_YET}[^\r\n\"'\\}}]{{3,4096}}", re.I),
        rf"\1{HIDDEN}",
    ),
    (("bearer", "basic"), re.compile(r"\b((?:bearer|basic)\s{1,4})[\w.~+/=-]{6,}", re.I), rf"\1{HIDDEN}"),
    (
        ("key", "secret", "passw", "pwd", "passphrase", "token", "sig", "credential", "policy"),
        re.compile(
            r"((?:api[_-]?key|access[_-]?key(?:[_-]?id)?|account[_-]?key|private[_-]?key|key[_-]pair[_-]id|secret"
            r"|password|passwd|pwd|passphrase|token|signature|credential|(?<![A-Za-z])sig"
            rf"|[?&](?:key|policy)){_QUOTED})(?![{{\[(]|(?:expected|found) )[^\s\"'&,;<>\\{{}}*]{{3,}}",
            re.I,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        ("sk-", "_", "xai-", "glpat-", "nvapi-", "xox", "akia", "asia", "aiza", "eyj"),
        re.compile(
            r"(?<![A-Za-z0-9])(?:sk-[\w.*-]{6,}|(?:gh[pousr]|hf|gsk|github_pat|lsv2)_\w{10,}|(?:xai|glpat|nvapi)-[\w-]{10,}"
            r"|xox[abeprs]-[\w-]{10,}|A(?:KIA|SIA)[A-Z0-9]{12,}|AIza[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?)"
        ),
        HIDDEN,
    ),
)
SECRET_KEYS = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "api_key", "apikey"),
        *("access_token", "refresh_token", "id_token", "secret", "client_secret", "secret_key", "private_key"),
        *("password", "passwd", "passphrase", "access_key", "openai_api_key", "anthropic_api_key", "x-auth-token"),
    }
)
"""Keys of dictionaries whose text is a credential, in lower case."""
_SHORTEST_KEY, _MOST_KEYS = 8, 256
"""Characters below which a key is a placeholder ("EMPTY", "none") and may be a word; keys that are remembered."""
_KEYS: dict[str, None] = {}


def hide_keys(*models: object) -> None:
    """From now on the keys that chat models are called with are credentials to this process, whatever they look like.

    Known are fields that a class keeps as pydantic's `SecretStr`, and headers with a name of :data:`SECRET_KEYS`.
    """
    for model in models:
        fields: dict[str, Any] = getattr(model, "__dict__", {})
        found = [value.get_secret_value() for value in fields.values() if isinstance(value, SecretStr)]
        headers = fields.get("default_headers")
        for name, value in headers.items() if isinstance(headers, Mapping) else ():
            # behind the name of a scheme
            found += value.split()[-1:] if is_secret(name, value) else []
        _KEYS.update(dict.fromkeys(key for key in found if len(key) >= _SHORTEST_KEY))
    for old in list(_KEYS)[:-_MOST_KEYS]:
        _KEYS.pop(old, None)


def counted(data: str) -> str:
    """What stands in the place of image data: how long it was."""
    return f"({len(data)} characters of data)"


def masked_text(text: str, shown: Shown = counted, *, secrets: bool = True) -> str:
    """Replace image data and credentials in a text.

    Image data is what no words look like: `data:` URLs, base64 of 64 characters and more (from its middle and in lines
    too), hexadecimal digits, printed bytes, lists of bytes, percent-encoding, and bytes that were decoded as text.
    Digests behind `sha256:` stay.

    Args:
        text: Any text.
        shown: What stands in the place of image data.
        secrets: Whether credentials are replaced too.

    Returns:
        The same object where nothing had to be replaced.
    """
    found = text if len(text) < _SHORTEST else _without_data(text, shown)
    if secrets and len(text) > len(HIDDEN):
        for key in tuple(_KEYS):
            found = found.replace(key, HIDDEN)
        lower = found.lower()  # a plain search is many times faster than an expression
        for hints, secret, instead in _SECRETS:
            if any(hint in lower for hint in hints):
                found = secret.sub(instead, found)
    return text if found == text else found


def _without_data(text: str, shown: Shown) -> str:
    """Replace image data. Ordinary prose is told from it by how long its words are, without the expressions."""
    found, words = text, text.split()
    longest = max(map(len, words), default=0)
    if longest >= _SHORTEST_LINE:
        found = _URL.sub(lambda match: shown(match[0]), found)
        found = _LINES.sub(lambda match: shown(match[0]) if _are_lines(match) else match[0], found)
        found = _RUN.sub(lambda match: shown(match[0]) if _is_data(match) else match[0], found)
    if longest >= 2 * _SHORTEST or len(words) >= _SHORTEST // 2:
        for pattern in (_NUMBERS, _FRACTIONS, _PAIRS):
            found = pattern.sub(lambda match: shown(match[0]), found)
    if not found.isascii():
        found = _HIGH.sub(lambda match: shown(match[0]), found)
    if "\\" in found or "%" in found or not found.isprintable():
        found = _ESCAPED.sub(lambda match: shown(match[0]) if _are_bytes(match[0]) else match[0], found)
    return found


def foreign_text(text: str, most: int = MOST_BYTES) -> str:
    """What may be kept and shown of a text of others: without image data and credentials, at most `most` bytes.

    Args:
        text: Any text.
        most: Most bytes of the result in UTF-8.

    Returns:
        The text itself where there is nothing to leave out. Of a long one its beginning and its end.
    """
    length = len(text)
    if length < len(HIDDEN) and text.isascii():
        return text
    if length > _BEGIN + _END:
        # a credential that is cut in two could not be told
        tail = text[-_END:]
        tail = tail[min(at for at in (tail.find(" "), tail.find("\n"), _END // 2) if at >= 0) :]
        begin, end = (masked_text(part).encode("utf-8", "replace") for part in (text[:_BEGIN], tail))
    else:
        # a lone surrogate has no place in a checkpoint
        begin = end = masked_text(text).encode("utf-8", "replace")
        if len(begin) <= most:
            kept = begin.decode("utf-8")
            return text if kept == text else kept
    note = f" … ({length} characters in all) … "
    room = max(0, most - len(note.encode()))
    behind = min(room // 4, len(end))
    return begin[: room - behind].decode("utf-8", "ignore") + note + end[len(end) - behind :].decode("utf-8", "ignore")


def words_of(error: BaseException) -> str:
    """An exception's message as it may be kept and shown; never raises."""
    try:
        said = str(error)
    except Exception:
        return "(its message cannot be shown)"
    return foreign_text(said)


def foreign_value(value: Any, most: int = MOST_BYTES, depth: int = 0) -> Any:
    """The same for plain values: every text in lists and dictionaries, keys too; bytes become a note.

    Args:
        value: Numbers, text, bytes, lists, tuples and dictionaries; anything else stays.
        most: Most bytes of each text.
        depth: How deep in a value this one is.

    Returns:
        The same object where nothing had to be left out.
    """
    if isinstance(value, str):
        return foreign_text(value, most)
    if isinstance(value, bytes | bytearray | memoryview):
        return value if len(value) < _SHORTEST // 2 else f"({len(value)} bytes)"
    if isinstance(value, Mapping) and depth < _DEEPEST:
        made = {
            foreign_value(key, most, _DEEPEST): HIDDEN if is_secret(key, one) else foreign_value(one, most, depth + 1)
            for key, one in value.items()
        }
        same = len(made) == len(value) and all(a is b for a, b in zip(made, value, strict=True))
        return value if same and all(made[key] is one for key, one in value.items()) else made
    if type(value) in (list, tuple) and depth < _DEEPEST:
        if are_pixels(value):
            return f"(a list of {len(value)} numbers)"
        items = [foreign_value(one, most, depth + 1) for one in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
    return value


def is_secret(key: object, value: object) -> bool:
    """Whether a dictionary's key says that its text is a credential."""
    return isinstance(key, str) and isinstance(value, str) and key.lower() in SECRET_KEYS and bool(value)


def are_pixels(items: Any) -> bool:
    """Whether a list, of lists too, is one of bytes: 64 and more whole numbers from 0 to 255."""
    left, found, deep = [items], 0, 0
    while left and deep < 10_000:
        one = left.pop()
        deep += 1
        if type(one) in (list, tuple):
            left.extend(reversed(one[: 1 + _SHORTEST]))
        elif type(one) is int and 0 <= one <= 255:
            found += 1
            if found >= _SHORTEST:
                return True
        else:
            return False
    return False


def cleaned(error: BaseException) -> BaseException:
    """Take image data and credentials out of an exception, its notes and those that it is chained to.

    Each text keeps its first and last characters, :data:`MOST_OF_OTHERS` in bytes.

    It stays the same object of the same class, so that whoever catches it finds what the agent alone would have raised.
    What a class makes its message of otherwise than of its arguments and attributes stays.
    """
    left, known = [error], set[int]()
    while left:
        one = left.pop()
        if id(one) in known or len(known) > 100:
            continue
        known.add(id(one))
        _clean(one)
        chained = (one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ()))
        left += [other for other in chained if other is not None]
    return error


def _clean(error: BaseException) -> None:
    try:
        args = foreign_value(error.args, MOST_OF_OTHERS)
        if args is not error.args:
            error.args = args
        for name, value in list(vars(error).items()):
            new = foreign_value(value, MOST_OF_OTHERS)
            if new is not value:
                setattr(error, name, new)
        if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
            error.filename = foreign_value(error.filename, MOST_OF_OTHERS)
    except Exception:  # a class of others may forbid anything
        return


def _is_data(match: re.Match[str]) -> bool:
    # ids are made of UUIDs
    run = _UUID.sub("", match[0].rstrip("="))
    if len(run) < _SHORTEST_LINE:
        return False
    if _HEX.fullmatch(run):
        before = match.string[max(0, match.start() - 7) : match.start()]
        return len(run) >= _SHORTEST and not (len(run) == 64 and before.endswith("sha256:"))
    if len(run) >= _SHORTEST:
        # flat areas repeat a few letters
        marks = run.count("/") + run.count("+")
        if _SEGMENT.search(run) or marks * 5 > len(run) or (run.count("_") + run.count("-")) * 5 > 2 * len(run):
            return not set(run) <= {"-"} and not set(run) <= {"_"}
    return _changes(run) >= 0.36


def _changes(run: str) -> float:
    """How often letters change to capitals, digits and back: two of three times in random base64, rarely in words."""
    # a sample of a long one: its ends and its middle
    if len(run) > 3_000:
        middle = len(run) // 2
        run = run[:1_000] + run[middle : middle + 1_000] + run[-1_000:]
    return len(_CHANGES.findall(run)) / len(run)


def _are_lines(match: re.Match[str]) -> bool:
    lines = match[0].split(match[2])
    joined = "".join(lines)
    if len(joined) < _SHORTEST:
        return False
    # all as long as the first one, but for the last one
    wrapped = len(lines) > 2 and len({len(line) for line in lines[:-1]}) == 1 and len(lines[-1]) <= len(lines[0]) + 2
    return wrapped or _changes(joined) >= 0.36


def _are_bytes(text: str) -> bool:
    return len(_BYTE.findall(text[:20_000])) >= min(32, len(text) // 8)
