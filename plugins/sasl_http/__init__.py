"""The default HTTP transport: what answers a plugin's `NeedHttp`.

    http = HttpTransport()
    server = sasl_core.Server("imap", "mail.example.com", http=http)

`HttpTransport` is all that is public here. Importing it, and making one, loads neither `socket`
nor `ssl`: the first request does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sasl_http.transport import HttpTransport

__all__ = ["HttpTransport"]


def __getattr__(name: str) -> object:
    if name != "HttpTransport":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sasl_http.transport import HttpTransport

    return HttpTransport


def __dir__() -> list[str]:
    return sorted({*globals(), "HttpTransport"})
