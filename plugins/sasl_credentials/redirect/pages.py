"""What a browser is shown: a plain page, of which nothing came from outside.

No script, nothing that is fetched, readable on a telephone and in the dark.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final

__all__ = ["FAILED", "WORKED", "away", "page", "refusal"]

_STYLE: Final = (
    "html{color-scheme:light dark}"
    "body{font:1.125rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto 0;"
    "padding:0 1.5rem}"
    "h1{font-size:1.75rem;line-height:1.2}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = (
    "Connection: close\r\n"
    "Cache-Control: no-store\r\n"
    "Content-Security-Policy: default-src 'none'; "
    f"style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
)
_REASONS: Final = {
    200: "OK",
    303: "See Other",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    431: "Request Header Fields Too Large",
}
_REFUSALS: Final = {
    400: (
        "This does not belong to the login",
        "The program waits for another answer. Go back to the login, or begin anew.",
    ),
    404: ("Nothing is here", "A program waits here for the end of a login, and for nothing else."),
    405: (
        "Nothing is here",
        "A program waits here for a browser that comes back from a login, and for nothing else.",
    ),
    408: ("Too slow", "The request did not come in time."),
    409: (
        "This login has been opened twice",
        "Perhaps by somebody else on this machine, so the program has given it up. Begin anew.",
    ),
    431: ("Too long", "The request is longer than any that a login ends with."),
}


def page(status: int, title: str, text: str, more: str = "") -> bytes:
    """A whole response. `more`: header fields besides, each with its end."""
    body = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n<p>{escape(text)}</p>\n</main>\n</body>\n"
        "</html>\n"
    ).encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n{_HEADERS}{more}\r\n"
    )
    return head.encode("ascii") + body


WORKED: Final = page(
    200, "You are logged in", "You can close this window and go back to the program."
)
FAILED: Final = page(
    200,
    "The login did not work",
    "The program says why. You can close this window, and start again from there.",
)


def refusal(status: int) -> bytes:
    """The page for a request that is not the one we wait for."""
    title, text = _REFUSALS[status]
    return page(status, title, text, "Allow: GET\r\n" if status == 405 else "")


def away(address: str) -> bytes:
    """Send the browser on, so that neither what it came with nor where it was can be seen there.

    `address`: a path of ours, or an https address of ASCII.
    """
    head = f"HTTP/1.1 303 See Other\r\nLocation: {address}\r\nContent-Length: 0\r\n{_HEADERS}\r\n"
    return head.encode("ascii")
