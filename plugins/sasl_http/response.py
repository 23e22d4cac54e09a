"""The response, read from bytes as they arrive: no socket here (RFC 9112).

    HEAD --line--> FIELDS --empty line--> SIZED | CHUNK | UNTIL_CLOSE | done
    FIELDS --empty line of a 1xx--> HEAD
    CHUNK --size--> CHUNK_DATA --> CHUNK_END --> CHUNK ... CHUNK --0--> TRAILERS --> done

One response is read per connection, so that nothing can be smuggled behind it; what is refused
here is what would make memory grow, or what two readers could read in two ways. The standard
library's reader is not used: it takes `1_0` for a length, the first of two lengths, a body cut
short for a whole one, `gzip, chunked` for a body without either, and 103 for the answer.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

from sasl_core.plugin import HttpResponse
from sasl_http.errors import trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_core.plugin import BackendError

__all__ = ["ResponseReader"]

HEAD_LIMIT: Final = 65536
"""Bytes of all heads and trailers together."""
FIELDS_LIMIT: Final = 200
CHUNK_LINE_LIMIT: Final = 1024

_STATUS: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: [\t -~\x80-\xff]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?")


class State(Enum):
    """What is read next."""

    HEAD = auto()
    FIELDS = auto()
    SIZED = auto()
    UNTIL_CLOSE = auto()
    CHUNK = auto()
    CHUNK_DATA = auto()
    CHUNK_END = auto()
    TRAILERS = auto()


class ResponseReader:
    """Reads one response, whose body is at most `limit` bytes.

    `place` is named in what is raised. `bodiless`: the answer to a HEAD, which has no body
    whatever its header says.
    """

    __slots__ = (
        "_bodiless",
        "_body",
        "_buffer",
        "_fields",
        "_heard",
        "_left",
        "_limit",
        "_minor",
        "_place",
        "_response",
        "_room",
        "_state",
        "_status",
    )

    def __init__(self, place: str, limit: int, *, bodiless: bool = False) -> None:
        self._place = place
        self._limit = limit
        self._bodiless = bodiless
        self._state = State.HEAD
        self._buffer = bytearray()
        self._room = HEAD_LIMIT
        self._heard = False
        self._status = self._minor = self._left = 0
        self._fields: list[tuple[str, str]] = []
        self._body = bytearray()
        self._response: HttpResponse | None = None

    def feed(self, data: bytes) -> HttpResponse | None:
        """Take what has arrived; the response once it is complete.

        Raises:
            BackendError: `http-protocol`: this is no HTTP, or ambiguous; `http-too-large`.
        """
        self._heard = self._heard or bool(data)
        self._buffer += data
        while self._response is None and self._STEPS[self._state](self):
            pass
        return self._response

    def end(self) -> HttpResponse:
        """The peer sends no more: the response, if that is how it ends.

        Raises:
            BackendError: `http-protocol`: it is not complete.
        """
        if self._response is not None:
            return self._response
        if self._state is State.UNTIL_CLOSE:
            return self._done()
        if not self._heard:
            raise self._wrong("the connection was closed without an answer")
        raise self._wrong("the connection was closed in the middle of the answer")

    # --- the head -------------------------------------------------------------------------------

    def _read_status(self) -> bool:
        line = self._head_line()
        if line is None:
            return False
        found = _STATUS.fullmatch(line)
        if found is None:
            raise self._wrong("the answer is not HTTP/1.1; does an HTTP server listen there?")
        self._minor, self._status = int(found[1]), int(found[2])
        self._state = State.FIELDS
        return True

    def _read_field(self) -> bool:
        line = self._head_line()
        if line is None:
            return False
        if not line:
            self._begin_body()
            return True
        found = _FIELD.fullmatch(line)
        if found is None:
            raise self._wrong("a line of the answer's header is malformed")
        value = found[2].strip(b" \t").decode("latin-1")
        self._fields.append((found[1].decode("ascii").lower(), value))
        if len(self._fields) > FIELDS_LIMIT:
            raise self._large(f"its header has more than {FIELDS_LIMIT} fields")
        return True

    def _begin_body(self) -> None:
        """Find out how the body ends (RFC 9112 section 6.3)."""
        status = self._status
        if status < 200:
            if status == 101:
                raise self._wrong("the server changes the protocol, which nobody has asked for")
            self._fields.clear()
            self._state = State.HEAD
            return
        lengths, codings = self._values("content-length"), self._values("transfer-encoding")
        if len(lengths) + len(codings) > 1:
            raise self._wrong("the header says more than once how long the answer is")
        if lengths and not _LENGTH.fullmatch(lengths[0]):
            raise self._wrong("the answer's Content-Length is no number")
        if codings and (codings[0].lower() != "chunked" or self._minor == 0):
            raise self._wrong("the answer's Transfer-Encoding is not understood")
        if self._bodiless or status in {204, 304}:
            _ = self._done()
            return
        packings = self._values("content-encoding")
        if any(packing.lower() != "identity" for packing in packings):
            raise self._wrong("the answer is compressed, which was not asked for")
        if codings:
            self._state = State.CHUNK
        elif lengths:
            self._left = int(lengths[0])
            self._check_size(self._left)
            self._state = State.SIZED
        else:
            self._state = State.UNTIL_CLOSE

    # --- the body -------------------------------------------------------------------------------

    def _read_sized(self) -> bool:
        self._move(self._left)
        if self._left:
            return False
        _ = self._done()
        return True

    def _read_until_close(self) -> bool:
        self._check_size(len(self._body) + len(self._buffer))
        self._move(len(self._buffer))
        return False

    def _read_chunk(self) -> bool:
        line = self._line(CHUNK_LINE_LIMIT)
        if line is None:
            return False
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise self._wrong("the size of one of the answer's chunks is malformed")
        self._left = int(found[1], 16)
        self._check_size(len(self._body) + self._left)
        self._state = State.CHUNK_DATA if self._left else State.TRAILERS
        return True

    def _read_chunk_data(self) -> bool:
        self._move(self._left)
        if self._left:
            return False
        self._state = State.CHUNK_END
        return True

    def _read_chunk_end(self) -> bool:
        line = self._line(2)
        if line is None:
            return False
        if line:
            raise self._wrong("one of the answer's chunks is longer than it says")
        self._state = State.CHUNK
        return True

    def _read_trailer(self) -> bool:
        """Trailers are read past: nothing that comes so late is believed."""
        line = self._head_line()
        if not line:
            if line is not None:
                _ = self._done()
            return line is not None
        if not _FIELD.fullmatch(line):
            raise self._wrong("a line of the answer's trailer is malformed")
        return True

    # --- what they have in common ---------------------------------------------------------------

    def _head_line(self) -> bytes | None:
        line = self._line(self._room)
        if line is not None:
            self._room -= len(line) + 2
        return line

    def _line(self, limit: int) -> bytes | None:
        """The next line without its end, or None while it is not complete."""
        buffer = self._buffer
        end = buffer.find(b"\n")
        if (len(buffer) if end < 0 else end + 1) > limit:
            if self._state is State.CHUNK_END:
                raise self._wrong("one of the answer's chunks is longer than it says")
            raise self._large("its header is too long")
        if end < 0:
            return None
        line = bytes(buffer[: end + 1])
        del buffer[: end + 1]
        if not line.endswith(b"\r\n"):
            raise self._wrong("a line of the answer does not end in CR LF")
        return line[:-2]

    def _move(self, wanted: int) -> None:
        """Put at most `wanted` bytes of what has arrived into the body."""
        taken = self._buffer[:wanted]
        self._body += taken
        del self._buffer[:wanted]
        self._left = wanted - len(taken)

    def _values(self, name: str) -> list[str]:
        return [value for field, value in self._fields if field == name]

    def _done(self) -> HttpResponse:
        self._response = HttpResponse(self._status, tuple(self._fields), bytes(self._body))
        return self._response

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise self._large(f"it is longer than the {self._limit} bytes that are allowed")

    def _large(self, problem: str) -> BackendError:
        return trouble("http-too-large", self._place, f"the answer is refused: {problem}")

    def _wrong(self, problem: str) -> BackendError:
        return trouble("http-protocol", self._place, problem)

    # Each reads on in its state, and says whether it came any further.
    _STEPS: ClassVar[Mapping[State, Callable[[ResponseReader], bool]]] = MappingProxyType(
        {
            State.HEAD: _read_status,
            State.FIELDS: _read_field,
            State.SIZED: _read_sized,
            State.UNTIL_CLOSE: _read_until_close,
            State.CHUNK: _read_chunk,
            State.CHUNK_DATA: _read_chunk_data,
            State.CHUNK_END: _read_chunk_end,
            State.TRAILERS: _read_trailer,
        }
    )
