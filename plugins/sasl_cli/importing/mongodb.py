"""MongoDB's users: documents of `admin.system.users`, as mongoexport and mongosh write them.

One document to a line, spread over lines, or all in one array; numbers plain or in extended
JSON. The database to which a user belongs becomes its realm: in MongoDB too there is one `tim`
to each.

Only verifiers of SHA-256 are taken over. Those of SHA-1 are made of an MD5 digest of name and
password, so that nobody but MongoDB's own clients could log in with them.

Source: MongoDB's manual, "system.users Collection"; its authentication specification.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Final, cast

from sasl_cli.importing.jsontext import UnfinishedError, document_at
from sasl_cli.importing.records import Entry, RecordError, Refused, identity
from sasl_core.plugin import UsageError, parse_mongodb_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

__all__ = ["DOCUMENT_LIMIT", "read"]

DOCUMENT_LIMIT: Final = 1024 * 1024
"""Longest document, in characters."""
_CHUNK: Final = 64 * 1024
_WINDOW: Final = 8 * 1024
"""How much of the text the decoder sees at first: it counts the lines before each error."""

_BETWEEN = re.compile("[\\s,\\[\\]\ufeff]*")
# Where one that cannot be read is left behind: the next that begins a line. What is nested in
# a document over several lines is indented.
_NEXT = re.compile(r"\n[\[,]?\{")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHA1 = "its verifier of SHA-1 is of use to MongoDB alone, and is left out"


class _Documents:
    """The documents of a file, one at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # Bytes that are no UTF-8 become half surrogates, which each document is searched for.
        self._decoder = getincrementaldecoder("utf-8")("surrogateescape")
        # What is read and not looked at yet begins at `_at`, in line `_line`. It is copied when
        # more is read, and never for one document.
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False

    def _more(self) -> bool:
        """Read on; False at the end."""
        if not self._ended:
            data = self._file.read(_CHUNK)
            self._ended = not data
            self._text = self._text[self._at :] + self._decoder.decode(data, final=self._ended)
            self._at = 0
        return not self._ended

    def _advance(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, object] | RecordError]]:
        while self._more() or self._at < len(self._text):
            while True:
                between = _BETWEEN.match(self._text, self._at)
                self._advance(between.end() if between else self._at)
                found, end = self._next()
                if found is None:
                    break
                yield self._line, found
                if isinstance(found, RecordError):
                    self._skip()
                else:
                    self._advance(end)

    def _next(self) -> tuple[Mapping[str, object] | RecordError | None, int]:
        """The next document and its end, what is wrong with it, or None to read on."""
        start, window = self._at, _WINDOW
        while piece := self._text[start : start + window]:
            try:
                found, end = document_at(piece, 0)
            except UnfinishedError as error:
                if start + window < len(self._text):
                    window *= 8
                    continue
                whole = self._ended or len(piece) > DOCUMENT_LIMIT
                return (error if whole else None), start
            except RecordError as error:
                return error, start
            if _SURROGATE.search(piece, 0, end):
                return RecordError("it is no UTF-8"), start
            return found, start + end
        return None, start

    def _skip(self) -> None:
        """Go on to the next document that begins a line."""
        while (match := _NEXT.search(self._text, self._at)) is None:
            self._advance(max(self._at, len(self._text) - 2))
            if not self._more():
                self._advance(len(self._text))
                return
        self._advance(match.start())


def read(file: BinaryIO) -> Iterator[Entry | Refused]:
    """Read users from documents of `system.users`."""
    for number, document in _Documents(file):
        try:
            if isinstance(document, RecordError):
                raise document
            yield _entry(number, document)
        except RecordError as error:
            yield error.refused(number)


def _entry(number: int, document: Mapping[str, object]) -> Entry:
    """One user.

    Raises:
        RecordError: it is no user's document, or has no verifier that can be used.
    """
    name, database = document.get("user"), document.get("db", "")
    if not isinstance(name, str) or not isinstance(database, str):
        raise RecordError("it is no document of system.users: it has no 'user'")
    user = identity(name, database)
    if _SURROGATE.search(user):
        raise RecordError("its name is no text")
    given = document.get("credentials")
    credentials = cast("dict[str, object]", given) if isinstance(given, dict) else None
    if database == "$external" or (credentials is not None and credentials.get("external")):
        raise RecordError("it is authenticated outside of MongoDB ($external)", user)
    if document.get("authenticationRestrictions"):
        raise RecordError(
            "its authenticationRestrictions have nothing to stand for them here", user
        )
    try:
        verifiers = parse_mongodb_credentials(credentials)
    except UsageError as error:
        reason = str(error)
    else:
        kept = verifiers.get("SHA-256")
        if kept is not None:
            notes = (_SHA1,) if "SHA-1" in verifiers else ()
            return Entry(number, user, (kept,), notes=notes)
        reason = "it has no verifier of SHA-256"
        if "SHA-1" in verifiers:
            reason += "; that of SHA-1 is of use to MongoDB alone: set the password anew there"
    raise RecordError(reason, user)
