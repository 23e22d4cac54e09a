"""A request, from what a plugin asks for to the bytes that are sent (RFC 3986, RFC 9112).

Everything is checked before the first byte leaves, and before a name is looked up. What is not
plainly an address is refused, not mended: two readers of a mended address may see two hosts.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import record
from sasl_http.errors import trouble

if TYPE_CHECKING:
    from sasl_core.plugin import HttpRequest

__all__ = ["Address", "format_head", "parse_address"]

URL_LIMIT: Final = 8192
DAY: Final = 86400.0
PORTS: Final = {"https": 443, "http": 80}

_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*)?"
    r"(?P<query>\?(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*)?",
    re.IGNORECASE | re.ASCII,
)
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
# What inet_aton, and so a resolver, takes for a number: 0x7f000001 and 127.1 are this machine.
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)

_METHOD: Final = re.compile(r"[A-Z]{1,20}", re.ASCII)
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}", re.ASCII)
_VALUE: Final = re.compile(r"([!-~]([ \t!-~]*[!-~])?)?", re.ASCII)

OURS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that say how the message is carried; a plugin's own would contradict what is done."""


@record
class Address:
    """Where a request goes. `target` is what the server is asked for, its query included."""

    scheme: str
    host: str
    port: int
    path: str
    target: str = attrs.field(repr=False)

    @property
    def authority(self) -> str:
        """The host, in brackets where it must be, and the port unless it is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """How a detail names it: without the query."""
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_address(url: str, *, cleartext: bool = False) -> Address:
    """Read an address; `cleartext` says that `http://` is meant.

    Raises:
        BackendError: `http-url`: it is not what RFC 3986 and RFC 9110 section 4.2 call an
            address, or names a user, or is of `http` without `cleartext`.
    """
    found = _URL.fullmatch(url) if len(url) <= URL_LIMIT else None
    if found is None:
        raise trouble("http-url", _shown(url), _what_is_wrong(url))
    scheme, host = found["scheme"].lower(), found["host"].lower()
    place = f"{scheme}://{host}"
    if scheme == "http" and not cleartext:
        raise trouble("http-url", place, "only https is carried out; give an https address")
    if problem := _wrong_host(host):
        raise trouble("http-url", place, problem)
    port = PORTS[scheme] if found["port"] is None else int(found["port"])
    if not 0 < port < 65536:
        raise trouble("http-url", place, f"{port} is no port; they go from 1 to 65535")
    path = found["path"] or "/"
    return Address(scheme, host.strip("[]"), port, path, path + (found["query"] or ""))


def format_head(request: HttpRequest, address: Address) -> bytes:
    """The request's head, up to where its body begins.

    Raises:
        BackendError: `http-request`: a method, a header, a limit or a deadline that cannot be.
    """
    if problem := _wrong_request(request):
        raise trouble("http-request", address.place, problem)
    given = {name.lower() for name, _ in request.headers}
    lines = [
        f"{request.method} {address.target} HTTP/1.1",
        f"Host: {address.authority}",
        # No compression: what a body unpacks to is not bounded by what it weighs.
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    if "user-agent" not in given:
        lines.append("User-Agent: sasl-core")
    if request.body or request.method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(request.body)}")
    lines += (f"{name}: {value}" for name, value in request.headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _wrong_request(request: HttpRequest) -> str | None:
    if not _METHOD.fullmatch(request.method) or request.method == "CONNECT":
        return "the method must be upper-case letters, and not CONNECT"
    for name, value in request.headers:
        if not _NAME.fullmatch(name):
            return "a header's name holds what no name may hold (RFC 9110 section 5.1)"
        if name.lower() in OURS or name.lower().startswith("proxy-"):
            return f"the header {name} is the transport's own; leave it out"
        if not _VALUE.fullmatch(value):
            return f"the value of {name} is not printable ASCII (a line break in it, perhaps)"
    if not isfinite(request.deadline) or request.deadline > DAY:
        return "the deadline must be at most a day"
    if request.limit < 0:
        return "the limit of the answer's length is below zero"
    return None


def _wrong_host(host: str) -> str | None:
    """Why a name or an address that has the right characters is none."""
    from ipaddress import IPv4Address, IPv6Address

    try:
        if host.startswith("["):
            _ = IPv6Address(host[1:-1])
            return None
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            _ = IPv4Address(host)
            return None
    except ValueError:
        return "the host looks like an IP address and is none"
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        return "the host is no DNS name (RFC 1035 section 2.3.4)"
    return None


def _shown(url: str) -> str:
    """As much of a refused address as is certain not to be somebody's password."""
    scheme, mark, rest = url.partition("://")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if not mark or scheme.lower() not in PORTS:
        return "an address"
    if "@" in url or not re.fullmatch(r"[A-Za-z0-9._:\[\]-]{1,253}", authority):
        return f"{scheme}://..."
    return f"{scheme}://{authority}"


def _what_is_wrong(url: str) -> str:
    """The first reason, of those that people meet."""
    scheme, mark, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    reasons = (
        (len(url) > URL_LIMIT, f"it is longer than {URL_LIMIT} characters"),
        (
            not url.isascii(),
            "it is not ASCII; a host has an xn-- form, the rest is %-encoded",
        ),
        (not url.isprintable() or " " in url, "it holds a blank or a control character"),
        (not mark or scheme.lower() not in PORTS, "it does not begin with https://"),
        ("@" in authority, "it holds a user name or a password, which do not belong there"),
        ("#" in url, "it holds a fragment (#), which is never sent; leave it out"),
        (not authority or authority.startswith(":"), "it names no host"),
    )
    for wrong, reason in reasons:
        if wrong:
            return reason
    return "it is no address by RFC 3986; look at its host, its port, and what it must %-encode"
