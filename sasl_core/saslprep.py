"""SASLprep: user names and passwords made comparable (RFC 4013, a profile of RFC 3454).

Four steps, in this order: map, normalise (NFKC of Unicode 3.2), refuse prohibited code
points, check bidirectional text. Printable ASCII passes through all of them unchanged, so
it is let through at once; all else is prepared with tables of our own, for the standard
library's `stringprep` takes ten times as long.

U+200B stands in two tables of RFC 3454, one mapping it to a space and one to nothing. It
becomes a space here, as in libidn and PostgreSQL.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from sasl_core.errors import PeerError

__all__ = ["PREPARED_LIMIT", "SASLPREP_LIMIT", "prepare_trace", "saslprep", "saslprep_nonempty"]

SASLPREP_LIMIT: Final = 65_536
"""Longest text taken, in characters."""

PREPARED_LIMIT: Final = 1_024
"""Longest text taken that is not printable ASCII, in characters.

Normalising sorts runs of combining marks, in a time that grows with the square of their
length: 0.8 ms for 1024 of them, three seconds for 65536. It also makes up to 18 characters
out of one.
"""

_LEFT: Final = 1
_RIGHT: Final = 2
_UNASSIGNED: Final = 3
_FIRST_PROHIBITED: Final = 4

# RFC 4505 section 3: as SASLprep, but spaces and C.7 are allowed, and nothing is mapped.
_TRACE_PROHIBITED: Final = frozenset({5, 6, 7, 8, 9, 10, 12, 13})


@cache
def _mapped() -> frozenset[str]:
    """What is mapped. As all tables, made for the first text that is not printable ASCII."""
    from sasl_core._saslprep_tables import MAPPING

    return frozenset(map(chr, MAPPING))


@cache
def _bmp() -> bytes:
    """One octet for each code point below U+10000, so that looking one up is a single index.

    Beyond it are few that anybody types, and they are searched for.
    """
    from sasl_core._saslprep_tables import BOUNDS, CLASSES

    return b"".join(
        bytes((number,)) * (min(end, 0x10000) - start)
        for start, end, number in zip(BOUNDS, (*BOUNDS[1:], 0x110000), CLASSES, strict=True)
        if start < 0x10000
    )


def saslprep(text: str, *, stored: bool = False) -> str:
    """Return `text` prepared. The result may be empty; see `saslprep_nonempty`.

    `stored`: the result goes into a store, where code points unassigned in Unicode 3.2 are
    refused; in a query they are allowed (RFC 3454 section 7).

    Raises:
        PeerError: `text` is too long, or holds what RFC 4013 sections 2.3 to 2.5 refuse. The
            message names the kind of code point, and never shows the text.
    """
    if text.isascii() and text.isprintable():
        if len(text) > SASLPREP_LIMIT:
            raise _too_long(SASLPREP_LIMIT)
        return text
    if len(text) > PREPARED_LIMIT:
        raise _too_long(PREPARED_LIMIT)
    return _prepare(text, stored=stored)


def saslprep_nonempty(text: str, *, stored: bool = False) -> str:
    """Return `text` prepared, for names and passwords: nobody is called nothing.

    Raises:
        PeerError: as `saslprep`, or nothing is left of `text`.
    """
    prepared = saslprep(text, stored=stored)
    if not prepared:
        raise PeerError("empty after SASLprep", code="saslprep")
    return prepared


def prepare_trace(text: str) -> str:
    """Return `text` if the "trace" profile allows it, which changes nothing (RFC 4505 section 3).

    Raises:
        PeerError: `text` is too long, holds a prohibited code point, or mixes directions.
    """
    if text.isascii() and text.isprintable() and len(text) <= PREPARED_LIMIT:
        return text
    if len(text) > PREPARED_LIMIT:
        raise _too_long(PREPARED_LIMIT)
    present = _classes(text)
    prohibited = present & _TRACE_PROHIBITED
    if prohibited:
        raise PeerError(f"prohibited in a trace: {_class_name(max(prohibited))}", code="saslprep")
    _check_directions(text, present)
    return text


def _too_long(limit: int) -> PeerError:
    return PeerError(f"more than {limit} characters to prepare", code="saslprep")


def _prepare(text: str, *, stored: bool) -> str:
    if not _mapped().isdisjoint(text):
        from sasl_core._saslprep_tables import MAPPING

        text = text.translate(MAPPING)
    from unicodedata import ucd_3_2_0

    prepared = ucd_3_2_0.normalize("NFKC", text)
    present = _classes(prepared)
    worst = max(present, default=0)
    if worst < _RIGHT:
        return prepared
    if worst >= _FIRST_PROHIBITED:
        raise PeerError(f"prohibited by SASLprep: {_class_name(worst)}", code="saslprep")
    if stored and worst == _UNASSIGNED:
        raise PeerError("an unassigned code point (RFC 3454 table A.1)", code="saslprep")
    _check_directions(prepared, present)
    return prepared


def _check_directions(text: str, present: set[int]) -> None:
    # RFC 3454 section 6: right-to-left letters stand at either end, with no left-to-right one
    # between them.
    if _RIGHT in present and (_LEFT in present or _classes(text[0] + text[-1]) != {_RIGHT}):
        raise PeerError("mixed bidirectional text (RFC 3454 section 6)", code="saslprep")


def _classes(text: str) -> set[int]:
    """Return the classes of all code points of `text`."""
    try:
        return set(map(_bmp().__getitem__, map(ord, text)))
    except IndexError:
        from bisect import bisect

        from sasl_core._saslprep_tables import BOUNDS, CLASSES

        return {CLASSES[bisect(BOUNDS, code_point) - 1] for code_point in set(map(ord, text))}


def _class_name(number: int) -> str:
    from sasl_core._saslprep_tables import CLASS_NAMES

    return CLASS_NAMES[number]
