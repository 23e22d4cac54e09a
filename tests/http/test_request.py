"""What is refused before a byte is sent, and what is sent."""

from __future__ import annotations

from typing import Any

import pytest

from http_faults import FaultyServer
from sasl_core.plugin import BackendError, HttpRequest
from sasl_http import HttpTransport
from sasl_http.request import Address, format_head, parse_address


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("https://idp.example.com", "idp.example.com", 443, "/"),
        ("HTTPS://IdP.Example.com/Keys", "idp.example.com", 443, "/Keys"),
        ("https://idp.example.com:8443/a/b?c=d&e=%20", "idp.example.com", 8443, "/a/b?c=d&e=%20"),
        ("https://idp.example.com?x=/y?z", "idp.example.com", 443, "/?x=/y?z"),
        ("https://127.0.0.1:1/", "127.0.0.1", 1, "/"),
        ("https://[2001:DB8::1]:65535/", "2001:db8::1", 65535, "/"),
        ("https://a_b.internal/@me;v=1", "a_b.internal", 443, "/@me;v=1"),
    ],
)
def test_an_address_is_read(url: str, host: str, port: int, target: str) -> None:
    """Scheme and host in any case, the rest as it is."""
    found = parse_address(url)
    assert (found.scheme, found.host, found.port, found.target) == ("https", host, port, target)


BAD_URLS: dict[str, tuple[str, str]] = {
    "empty": ("", "does not begin with https://"),
    "no scheme": ("idp.example.com/keys", "does not begin with https://"),
    "other scheme": ("ftp://idp.example.com/", "does not begin with https://"),
    "file": ("file:///etc/passwd", "does not begin with https://"),
    "http": ("http://idp.example.com/", "only https"),
    "http of the loopback": ("http://127.0.0.1/", "only https"),
    "user": ("https://tim@idp.example.com/", "user name"),
    "password": ("https://tim:pencil@idp.example.com/", "user name"),
    "another host as user": ("https://localhost:pw@evil.example/", "user name"),
    "fragment": ("https://idp.example.com/#top", "fragment"),
    "blank": ("https://idp.example.com/a b", "blank or a control"),
    "line break": ("https://idp.example.com/\r\nHost: evil", "blank or a control"),
    "NUL": ("https://idp.example.com/\0", "blank or a control"),
    "tab": ("https://idp\t.example.com/", "blank or a control"),
    "not ASCII": ("https://idp.exämple.com/", "not ASCII"),
    "full-width dot": ("https://idp。example.com/", "not ASCII"),
    "half a pair": ("https://idp.example.com/\ud800", "not ASCII"),
    "no host": ("https:///keys", "names no host"),
    "no host but a port": ("https://:443/", "names no host"),
    "empty port": ("https://idp.example.com:/", "no address"),
    "port 0": ("https://idp.example.com:0/", "no port"),
    "port too large": ("https://idp.example.com:65536/", "no port"),
    "long port": ("https://idp.example.com:000443/", "no address"),
    "signed port": ("https://idp.example.com:+443/", "no address"),
    "backslash": ("https://idp.example.com\\@evil.example/", "user name"),
    "backslash in the path": ("https://idp.example.com/a\\b", "no address"),
    "bad escape": ("https://idp.example.com/%zz", "no address"),
    "escaped host": ("https://%69dp.example.com/", "no address"),
    "IPv6 zone": ("https://[fe80::1%25eth0]/", "no address"),
    "IPv6 broken": ("https://[1::2::3]/", "IP address and is none"),
    "IPv6 without brackets": ("https://::1/", "names no host"),
    "IPv4 short": ("https://127.1/", "IP address and is none"),
    "IPv4 hexadecimal": ("https://0x7f000001/", "IP address and is none"),
    "IPv4 decimal": ("https://2130706433/", "IP address and is none"),
    "IPv4 octal": ("https://0177.0.0.1/", "IP address and is none"),
    "IPv4 too large": ("https://256.0.0.1/", "IP address and is none"),
    "empty label": ("https://idp..example.com/", "no DNS name"),
    "dot at the end": ("https://idp.example.com./", "no DNS name"),
    "dash first": ("https://-idp.example.com/", "no DNS name"),
    "long label": (f"https://{'a' * 64}.example.com/", "no DNS name"),
    "long name": (f"https://{'a.' * 127}example/", "no DNS name"),
    "long": (f"https://idp.example.com/{'a' * 9000}", "longer than"),
}


@pytest.mark.parametrize(("url", "reason"), BAD_URLS.values(), ids=BAD_URLS)
def test_what_is_no_address_is_refused(url: str, reason: str) -> None:
    """With the reason, and without what could be a secret."""
    with pytest.raises(BackendError) as caught, HttpTransport() as http:
        http(HttpRequest("GET", url))
    assert caught.value.code == "http-url"
    assert caught.value.temporary
    detail = caught.value.detail or ""
    assert reason in detail
    assert "pencil" not in detail


@pytest.mark.parametrize(
    "url",
    [
        "https://tim:pen?cil@idp.example.com/",
        "https://pencil@idp.example.com/",
        "https://tim:pencil/@idp.example.com/",
        "https://idp.example.com/a?key=pencil#x",
        "https://idp.example.com/ ?key=pencil",
        "pencil",
        "pencil://x",
        "https://pencil\\@idp.example.com",
    ],
)
def test_a_refused_address_is_not_told_in_full(url: str) -> None:
    """Neither a user nor a query ends up in a log."""
    with pytest.raises(BackendError) as caught:
        parse_address(url)
    assert "pencil" not in f"{caught.value!r} {caught.value.detail}"
    assert "cil@" not in (caught.value.detail or "")


def test_cleartext_is_for_http_alone() -> None:
    """`cleartext` permits http; an https address stays what it is."""
    assert parse_address("http://127.0.0.1:80/x", cleartext=True).place == "http://127.0.0.1/x"
    assert parse_address("https://127.0.0.1/x", cleartext=True).scheme == "https"


BAD_REQUESTS: dict[str, dict[str, Any]] = {
    "method": {"method": "GET /evil"},
    "small method": {"method": "get"},
    "no method": {"method": ""},
    "tunnel": {"method": "CONNECT"},
    "line break in a value": {"headers": (("Accept", "a\r\nX-Evil: yes"),)},
    "line feed in a value": {"headers": (("Accept", "a\nb"),)},
    "NUL in a value": {"headers": (("Accept", "a\0"),)},
    "blank before a value": {"headers": (("Accept", " a"),)},
    "not ASCII": {"headers": (("Accept", "ä"),)},
    "name": {"headers": (("Ac cept", "a"),)},
    "colon in a name": {"headers": (("Accept:", "a"),)},
    "line break in a name": {"headers": (("X\r\nEvil", "a"),)},
    "no name": {"headers": (("", "a"),)},
    "host": {"headers": (("HOST", "evil.example"),)},
    "length": {"headers": (("Content-Length", "0"),)},
    "transfer coding": {"headers": (("Transfer-Encoding", "chunked"),)},
    "compression": {"headers": (("Accept-Encoding", "gzip"),)},
    "proxy": {"headers": (("Proxy-Authorization", "Basic eA=="),)},
    "endless": {"deadline": float("inf")},
    "no number": {"deadline": float("nan")},
    "a year": {"deadline": 3e7},
    "negative limit": {"limit": -1},
}


@pytest.mark.parametrize("wrong", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_request_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """Nobody is connected to, and no value is told."""
    given: dict[str, Any] = {"method": "GET", **wrong}
    with FaultyServer() as server, HttpTransport() as http:
        with pytest.raises(BackendError) as caught:
            http(HttpRequest(url=server.url, ca_file=server.ca_file, **given))
        assert not server.connections
    assert caught.value.code == "http-request"
    assert not caught.value.temporary
    assert "evil" not in (caught.value.detail or "").lower()


def test_what_is_sent() -> None:
    """The head, byte for byte."""
    request = HttpRequest(
        "POST",
        "https://idp.example.com:8443/token?x=1",
        headers=(("Authorization", "Bearer abc"), ("X-Empty", "")),
        body=b"a=b",
    )
    assert format_head(request, parse_address(request.url)) == (
        b"POST /token?x=1 HTTP/1.1\r\n"
        b"Host: idp.example.com:8443\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Connection: close\r\n"
        b"User-Agent: sasl-core\r\n"
        b"Content-Length: 3\r\n"
        b"Authorization: Bearer abc\r\n"
        b"X-Empty: \r\n"
        b"\r\n"
    )


def test_a_user_agent_of_ones_own() -> None:
    """Is the only one that is sent; a GET without a body has no length."""
    address = Address("https", "::1", 443, "/", "/")
    request = HttpRequest("GET", "https://[::1]/", headers=(("user-agent", "mine"),))
    assert format_head(request, address) == (
        b"GET / HTTP/1.1\r\nHost: [::1]\r\nAccept-Encoding: identity\r\n"
        b"Connection: close\r\nuser-agent: mine\r\n\r\n"
    )
