"""JSON without its traps: no member twice, no NaN, no depth that ends the program."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NoReturn, cast

from sasl_cli.importing.records import RecordError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UnfinishedError", "document_at", "strict_object"]

_TAIL: Final = 16
"""What is wrong this near to the end may be only cut off: no word or escape is longer."""


class UnfinishedError(RecordError):
    """The text may have ended too early: with more of it this could be JSON."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise RecordError("a member stands twice in one JSON object")
    return made


def _no_constant(_: str) -> NoReturn:
    raise RecordError("NaN and Infinity are no JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def strict_object(text: str) -> Mapping[str, object]:
    """The one object that is `text`.

    Raises:
        RecordError: it is anything else.
    """
    found, end = document_at(text, len(text) - len(text.lstrip()))
    if text[end:].strip():
        raise RecordError("something follows the JSON object")
    return found


def document_at(text: str, start: int) -> tuple[Mapping[str, object], int]:
    """The object that begins at `start`, and where it ends.

    Raises:
        UnfinishedError: there is none, whole, but there could be if the text went on.
        RecordError: there is none, whatever follows.
    """
    unfinished = False
    try:
        found, end = cast("tuple[object, int]", _DECODER.raw_decode(text, start))
    except RecordError:
        raise
    except RecursionError:
        problem = "it is nested too deeply"
    except json.JSONDecodeError as error:
        # The decoder's own text is left out: it might show what is there. Of a string without
        # end it tells the beginning.
        if error.pos + _TAIL > len(text) or error.msg.startswith("Unterminated string"):
            unfinished = True
        problem = "it is no JSON"
    except ValueError:
        problem = "it is no JSON"
    else:
        if isinstance(found, dict):
            return cast("dict[str, object]", found), end
        problem = "it is no JSON object"
    raise UnfinishedError(problem) if unfinished else RecordError(problem)
