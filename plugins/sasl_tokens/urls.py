"""Addresses that keys are fetched from: https, or this very machine where that was allowed.

They are read strictly, and not at all as a browser would: what two readers may take for
different hosts is refused.

Invariant: what is taken here the transport (`sasl_http`) carries out, to the host that is read
here. So a wrong address is told with the configuration, and not at every login.
"""

from __future__ import annotations

import re
from typing import Final

from sasl_core.plugin import ConfigError, printable

__all__ = ["URL_LIMIT", "UrlProblem", "check_url", "origin_and_path"]

URL_LIMIT: Final = 2048
"""Longest address, in characters."""

# RFC 3986's generic syntax without userinfo and fragment. A port has one to five digits.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
    r"(?P<query>\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
)
# RFC 1035 section 2.3.4; some names have a `_`.
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# What a resolver takes for a number: 0x7f000001 and 127.1 are this machine.
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_BYTE: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LOOPBACK: Final = re.compile(rf"localhost|\[::1\]|127(?:\.{_BYTE}){{3}}", re.IGNORECASE)


class UrlProblem(ConfigError):  # noqa: N818 - it says what is wrong with an address
    """An address that nothing is fetched from; `problem` says why."""

    default_code = "url"


def check_url(url: str, *, what: str, allow_loopback_http: bool = False) -> tuple[str, bool]:
    """The address, and whether it is one in clear text (of this machine's loopback).

    Raises:
        UrlProblem: not https (http is for localhost, 127.0.0.0/8 and [::1] alone, and only
            where `allow_loopback_http`), or not an absolute address with a host and without
            user, password and fragment. The host is a name of DNS without a dot at its end, or
            an address as it is usually written. The message begins with `what`.
    """
    if len(url) > URL_LIMIT:
        raise UrlProblem(f"{what}: an address of more than {URL_LIMIT} characters")
    found = _URL.fullmatch(url)
    if found is None:
        raise UrlProblem(f"{what}: not an https address ({_mistake(url)})")
    host, port = found["host"], found["port"]
    if port is not None and not 0 < int(port) <= 65_535:
        raise UrlProblem(f"{what}: there is no port {port}")
    if found["scheme"] == "https":
        if not _is_host(host):
            raise UrlProblem(f"{what}: {printable(host)} is no name of DNS and no IP address")
        return url, False
    if _LOOPBACK.fullmatch(host) is None:
        raise UrlProblem(f"{what}: {printable(host)} may be asked by https only")
    if not allow_loopback_http:
        raise UrlProblem(f"{what}: http to this machine needs allowLoopbackHttp")
    return url, True


def _is_host(host: str) -> bool:
    """Whether it is one; it has the right characters."""
    from ipaddress import IPv4Address, IPv6Address

    try:
        if host.startswith("["):
            _ = IPv6Address(host[1:-1])
            return True
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            _ = IPv4Address(host)
            return True
    except ValueError:
        return False
    return len(host) <= 253 and all(map(_LABEL.fullmatch, host.split(".")))


def _mistake(url: str) -> str:
    """What is wrong with an address that does not match; nothing of it that may be a secret."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in ("http", "https"):
        return "it has to begin with https://"
    if "@" in re.split(r"[/?#\\]", rest, maxsplit=1)[0]:
        return "it names a user"
    if "#" in rest:
        return "it has a fragment"
    return "a character that has no place there, a % without its two digits, or no host"


def origin_and_path(url: str) -> tuple[str, str]:
    """Split a checked address without a query before its path; the path may be "".

    Raises:
        UrlProblem: it has a query.
    """
    scheme, _, rest = url.partition("://")
    if "?" in rest:
        raise UrlProblem("an issuer's address has no query")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}", slash + path
