"""The request of a browser that comes back, as far as it matters: nothing else is let in.

Source: RFC 9112 sections 2 to 5 (request line, Host).
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HEAD_LIMIT", "RequestProblem", "parse_head"]

HEAD_LIMIT: Final = 64 * 1024
"""Longest head of a request, in octets: other programs of this machine set cookies, too."""

LINE_LIMIT: Final = 16 * 1024
"""Longest request line, in octets."""

_LINE: Final = re.compile(rb"([A-Za-z]{1,20}) (/[\x21\x22\x24-\x7e]*) HTTP/1\.[01]")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)


class RequestProblem(Exception):  # noqa: N818 - it never leaves the listener
    """A request that is answered with an error. `status`: which."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def parse_head(head: bytes, authority: str) -> tuple[str, str]:
    """Path and query of a GET request for `authority`; `head` goes without its empty line.

    Raises:
        RequestProblem: it is no such request.
    """
    line, *fields = head.split(b"\r\n")
    if len(line) > LINE_LIMIT:
        raise RequestProblem(431)
    found = _LINE.fullmatch(line)
    if found is None:
        raise RequestProblem(400)
    hosts: list[bytes] = []
    for field in fields:
        read = _FIELD.fullmatch(field)
        if read is None:
            raise RequestProblem(400)
        if read[1].lower() == b"host":
            hosts.append(read[2].lower())
    # A name of somebody else's that leads to this machine is not how we are called.
    if hosts != [authority.encode("ascii")]:
        raise RequestProblem(400)
    if found[1] != b"GET":
        raise RequestProblem(405)
    path, _, query = found[2].decode("ascii").partition("?")
    return path, query
