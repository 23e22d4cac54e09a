"""Addresses on the command line: `HOST:PORT`, `[IPv6]:PORT`, `SCHEME://HOST[:PORT]/?NAME=VALUE`."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import unquote

import attrs

from sasl_core.plugin import UsageError, printable, record

__all__ = ["Url", "is_loopback", "parse_address", "parse_url", "show_address"]

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([\w.-]{1,255}))(?::([0-9]{1,5}))?")
_URL = re.compile(r"([a-z][a-z0-9+.-]{0,63})://([^/?#]+)/?([^?#]*)(?:\?([^#]*))?")
_OPTION = re.compile(r"([A-Za-z][A-Za-z0-9]{0,63})=(.*)", re.DOTALL)

OPTIONS: Final = 32
"""Most options of a URL."""


@record
class Url:
    """The parts of a URL: `scheme` is a profile's name, `options` are by name, decoded.

    `path`: what stands behind the address, without its first slash.
    """

    scheme: str
    address: str
    path: str = attrs.field(repr=False)
    options: dict[str, str] = attrs.field(repr=False)


def parse_address(
    text: str, default_port: int | None = None, *, secret: bool = False
) -> tuple[str, int]:
    """Host and port; the port may be left out where there is a default.

    `secret`: it may hold a password by mistake, and no error repeats it.

    Raises:
        UsageError: that is no such address.
    """
    match = _ADDRESS.fullmatch(text)
    if match is not None and (match[3] or default_port is not None):
        host = match[1] or match[2]
        port = int(match[3]) if match[3] else default_port
        if port is not None and port < 65536 and (match[1] is None or _is_ipv6(host)):
            return host, port
    shown = "that" if secret else repr(printable(text, 80))
    raise UsageError(f"{shown} is no address: HOST:PORT or [IPv6]:PORT, ports up to 65535")


def parse_url(text: str) -> Url:
    """The parts of `SCHEME://HOST:PORT/?NAME=VALUE&NAME=VALUE`.

    Raises:
        UsageError: that is no such URL. Names and passwords have no place in it.
    """
    # What stands before an @ may be a password, and is not shown; one that is not encoded may
    # have a / in it.
    if "@" in text:
        raise UsageError(
            "a name or password does not belong into the URL: --user NAME, and -p or a prompt; "
            "an @ that belongs to an option is %40"
        )
    match = _URL.fullmatch(text)
    if match is not None and "," in match[2]:
        raise UsageError("a login is to one server: name one host in the URL")
    if match is None:
        raise UsageError("the server is given as PROFILE://HOST:PORT, as smtp://127.0.0.1:587")
    options: dict[str, str] = {}
    for part in match[4].split("&", OPTIONS) if match[4] else ():
        option = _OPTION.fullmatch(part)
        # Nor is what is no option: it may be one as well.
        if option is None or len(options) == OPTIONS:
            raise UsageError("what follows the ? of a URL is NAME=VALUE&NAME=VALUE, and not much")
        if option[1] in options:
            raise UsageError(f"the URL gives {option[1]} twice")
        try:
            options[option[1]] = unquote(option[2], errors="strict")
        except UnicodeDecodeError:
            problem = f"the value of {option[1]} in the URL is no UTF-8"
        else:
            continue
        raise UsageError(problem)
    return Url(match[1], match[2], match[3], options)


def is_loopback(host: str) -> bool:
    """Whether a numeric address is this machine's own."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def show_address(host: str, port: int) -> str:
    """As `parse_address` reads it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).version == 6
    except ValueError:
        return False
