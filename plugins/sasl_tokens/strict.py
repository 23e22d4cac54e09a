"""Base64url and JSON that somebody else has written, read strictly: one reading for each text.

Two readers that understand a text differently are an attack on whoever is asked second.

Source: RFC 4648 section 5, RFC 7515 section 2, RFC 8259, RFC 7493.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from json import JSONDecoder
from typing import Final, NoReturn, cast

from sasl_core.plugin import PeerError

__all__ = [
    "ALPHABET",
    "DEPTH_LIMIT",
    "base64url_decode",
    "base64url_encode",
    "decode_segment",
    "has_controls",
    "json_object",
    "strict_json",
]

DEPTH_LIMIT: Final = 32
"""Most JSON objects and arrays inside each other."""

# --- base64url ---------------------------------------------------------------------------

ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
"""The characters of base64url."""

_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_FROM_STANDARD: Final = bytes.maketrans(b"+/", b"-_")
# By the length modulo 4: what is missing to whole groups, and the last characters whose unused
# bits are zero. No value has a length of 1, 5, 9 and so on.
_PADDING: Final = (b"", b"", b"==", b"=")
_LAST: Final = (ALPHABET, b"", b"AQgw", b"AEIMQUYcgkosw048")


def decode_segment(segment: bytes) -> bytes | None:
    """The octets of a segment whose characters are known to be of the alphabet."""
    left = len(segment) & 3
    if segment and segment[-1] not in _LAST[left]:
        return None
    return a2b_base64(segment.translate(_TO_STANDARD) + _PADDING[left])


def base64url_decode(text: str, what: str) -> bytes:
    """Decode unpadded base64url in its one canonical spelling (RFC 7515 section 2).

    Raises:
        PeerError: it is none; code "base64url". `what` it is stands in the message.
    """
    if text.isascii():
        data = text.encode("ascii")
        if not data.translate(None, ALPHABET):
            decoded = decode_segment(data)
            if decoded is not None:
                return decoded
    raise PeerError(f"{what} is not canonical base64url", code="base64url")


def base64url_encode(data: bytes) -> str:
    """What `base64url_decode` decodes."""
    return b2a_base64(data, newline=False).rstrip(b"=").translate(_FROM_STANDARD).decode("ascii")


# --- JSON --------------------------------------------------------------------------------


class _Refused(Exception):  # noqa: N818 - it never leaves this module
    """The text is JSON to Python, and not to us."""


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("holds a member twice")
    return members


def _constant(text: str) -> NoReturn:
    raise _Refused(f"holds {text}, which is not JSON")


def _integer(text: str) -> int:
    # Digits beyond these are an attack on whoever parses them.
    value = int(text) if len(text) <= 20 else 1 << 63
    if not -(1 << 63) <= value < 1 << 63:
        raise _Refused("holds a number that is too long")
    return value


def _fraction(text: str) -> float:
    value = float(text) if len(text) <= 40 else float("inf")
    if value in (float("inf"), float("-inf")):
        raise _Refused("holds a number that is too large")
    return value


# Made once: the standard library's scanner in C does the work.
_raw_decode: Final = JSONDecoder(
    object_pairs_hook=_members,
    parse_constant=_constant,
    parse_int=_integer,
    parse_float=_fraction,
).raw_decode

_BLANKS: Final = " \t\n\r"
# A string that does not end is taken to the end of the text, and nothing is tried twice: a text
# full of quotes would otherwise take the square of its length.
_BRACKETS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)


def _is_deep(text: str) -> bool:
    """Whether brackets outside of strings nest deeper than `DEPTH_LIMIT`."""
    if text.count("[") + text.count("{") <= DEPTH_LIMIT:
        return False
    depth = 0
    for found in _BRACKETS.finditer(text):
        if found[1]:
            depth += 1
            if depth > DEPTH_LIMIT:
                return True
        elif found[2]:
            depth -= 1
    return False


def strict_json(data: bytes, what: str) -> object:
    """Read JSON that somebody else has written: what it says has one meaning only.

    UTF-8 without a byte order mark; no member twice; no NaN, no Infinity, no number beyond
    64 bits or beyond a double; nothing nested deeper than 32; no half of a surrogate pair.

    Raises:
        PeerError: it is anything else; code "json". The message says what was wrong with
            `what`, and holds nothing of the text itself.
    """
    problem = "is not UTF-8"
    try:
        text = data.decode("utf-8").strip(_BLANKS)
        if _is_deep(text):
            problem = "is nested too deeply"
        else:
            problem = "is not JSON"
            value, end = cast("tuple[object, int]", _raw_decode(text))
            if end == len(text):
                if "\\u" not in text:
                    return value
                problem = "holds half of a surrogate pair"
                _encode_all(value)
                return value
    except _Refused as error:
        problem = str(error)
    except (ValueError, RecursionError):
        pass
    # Raised out here, for a JSONDecodeError carries the whole text along.
    raise PeerError(f"{what} {problem}", code="json")


def _encode_all(value: object) -> None:
    """Encode every string of a JSON value.

    Raises:
        UnicodeEncodeError: one holds half of a surrogate pair.
    """
    if isinstance(value, str):
        _ = value.encode("utf-8")
    elif isinstance(value, dict):
        for name, member in cast("dict[str, object]", value).items():
            _ = name.encode("utf-8")
            _encode_all(member)
    elif isinstance(value, list):
        for member in cast("list[object]", value):
            _encode_all(member)


def json_object(data: bytes, what: str) -> dict[str, object]:
    """`strict_json` of what has to be an object.

    Raises:
        PeerError: it is anything else; code "json".
    """
    value = strict_json(data, what)
    if type(value) is not dict:
        raise PeerError(f"{what} is not a JSON object", code="json")
    return cast("dict[str, object]", value)


_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def has_controls(text: str) -> bool:
    """Whether `text` holds a control character, or one that ends a line."""
    return not text.isprintable() and _CONTROLS.search(text) is not None
