"""What may come back in place of an honest HTTP answer: of a provider that is broken or hostile."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, cast

import attrs

from sasl_core.needs import HttpResponse
from sasl_core.testing.tampers import noise

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ELSEWHERE", "garbled", "refusing"]

ELSEWHERE: Final = "elsewhere.invalid"
"""A host that nobody has any business with."""

LARGE: Final = 256 * 1024
"""As much as a transport lets through, if nobody asks for less."""

_STATUSES: Final = (
    *(300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 408, 410, 429),
    *(500, 502, 503, 504, 599),
)
_BODIES: Final = (
    b"",
    b" ",
    b"\0",
    b"<html><body>502 Bad Gateway</body></html>",
    b"null",
    b"true",
    b"0",
    b"[]",
    b"{}",
    b'"text"',
    b"{",
    b"\xff\xfe{}",
    b'{"a":NaN}',
    b'{"a":1e999}',
    b'{"a":' + b"9" * 5000 + b"}",
    b'{"a":"\\ud800"}',
    b"[" * 100_000,
    b'{"a":' * 20_000,
    b"x" * LARGE,
)
# Of a member of a JSON object: what it is replaced by.
_VALUES: Final = (
    *("null", "true", "-1", "0", "1.5", "1e999", "NaN", "9" * 5000, "[]", "{}", "[[]]"),
    *('""', '" "', '"\\u0000"', '"\\r\\n\\u001b[31m"', '"\\ud800"', '"\\u202e"', '"\u00e9"'),
    f'"{"x" * 70_000}"',
    f'"https://{ELSEWHERE}/"',
    '"http://localhost/"',
    '"file:///etc/passwd"',
)


def refusing(response: HttpResponse) -> Iterator[tuple[str, HttpResponse]]:
    """The same answer under statuses that say no, or that the answer is somewhere else."""
    headers = (*response.headers, ("location", f"https://{ELSEWHERE}/"))
    for status in _STATUSES:
        yield f"status {status}", HttpResponse(status, headers, response.body)


def garbled(
    response: HttpResponse, seed: int, echo: tuple[str, ...]
) -> Iterator[tuple[str, HttpResponse]]:
    """The answer with another body: cut, flipped, of other types, too large.

    `echo`: secrets that it brings back where an error is told.
    """
    rng = random.Random(seed)
    body = response.body
    for other in _BODIES:
        yield f"body {other[:20]!r}", attrs.evolve(response, body=other)
    for place in sorted(rng.sample(range(len(body)), min(40, len(body)))):
        yield f"body cut at {place}", attrs.evolve(response, body=body[:place])
        flipped = bytes([body[place] ^ (1 << rng.randrange(8))])
        changed = body[:place] + flipped + body[place + 1 :]
        yield f"body flipped at {place}", attrs.evolve(response, body=changed)
    for _ in range(60):
        yield "noise", attrs.evolve(response, body=noise(rng, body))
    yield "no headers", attrs.evolve(response, headers=())
    for what, other in _members(body):
        yield what, attrs.evolve(response, body=other)
    told = b'{"error":"invalid_client\\r\\n\\u001b[31m","error_description":"\\r\\n"}'
    yield "an error of control characters", HttpResponse(400, (), told)
    for text in echo:
        told = f'{{"error":"{text}","error_description":"{text}"}}'.encode()
        for status in (200, 400, 401, 500):
            yield f"a secret told with status {status}", HttpResponse(status, (), told)


def _members(body: bytes) -> Iterator[tuple[str, bytes]]:
    """A JSON object with one member replaced, twice there, or left out."""
    import json

    try:
        read: object = json.loads(body)
    except ValueError:
        return
    if not isinstance(read, dict):
        return
    members = {name: json.dumps(value) for name, value in cast("dict[str, object]", read).items()}
    for name, value in members.items():
        rest = [f"{json.dumps(n)}:{text}" for n, text in members.items() if n != name]
        yield f"no {name}", _object(rest)
        own = f"{json.dumps(name)}:{value}"
        yield f"{name} twice", _object([*rest, own, own])
        for text in _VALUES:
            yield f"{name} {text[:20]}", _object([*rest, f"{json.dumps(name)}:{text}"])


def _object(members: list[str]) -> bytes:
    return f"{{{','.join(members)}}}".encode()
