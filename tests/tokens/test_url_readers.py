"""Two readers of addresses, ours and the transport's: what the one takes, the other carries out."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sasl_core import BackendError, ConfigError
from sasl_http.request import parse_address
from sasl_tokens import UrlProblem, check_url, parse_providers

ODD = {
    "https://issuer.example.com./x": "no name",
    "https://a..b/": "no name",
    "https://a.-b/": "no name",
    "https://a-.b/": "no name",
    f"https://{'a' * 64}.example/": "no name",
    f"https://{'a.' * 126}ab/": "no name",
    "https://2130706433/": "no name",
    "https://0x7f.1/": "no name",
    "https://0x7f000001/": "no name",
    "https://127.1/": "no name",
    "https://192.0.2.256/": "no name",
    "https://192.0.2.01/": "no name",
    "https://1.2.3.4.5/": "no name",
    "https://a.example.7/": "no name",
    "https://[1:2]/": "no name",
    "https://[::g]/": "character",
    "https://[1::2::3]/": "no name",
    "https://[::ffff:1.2.3.256]/": "no name",
    "https://a/%zz": "character",
    "https://a/%": "character",
    "https://a/?x=%1": "character",
}


@pytest.mark.parametrize("url", ODD, ids=lambda url: url[:40])
def test_what_the_transport_would_refuse_is_refused_at_once(url: str) -> None:
    """With the configuration, and not at every login."""
    with pytest.raises(BackendError):
        _ = parse_address(url)
    with pytest.raises(UrlProblem, match=r"^x: ") as caught:
        _ = check_url(url, what="x")
    assert ODD[url] in caught.value.problem
    with pytest.raises(ConfigError):
        _ = parse_providers([{"issuer": url, "audience": "a", "authNamePrefix": "a"}])


_LABEL = st.sampled_from(
    ["a", "a-b", "-", "_a", "0", "7", "0x7f", "0X", "127", "256", "01", "", "localhost", "a" * 63]
)
_PIECES = st.one_of(
    st.lists(_LABEL, min_size=1, max_size=5).map(".".join),
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map("[{}]".format),
    st.text("[]0123456789abcdef:.", max_size=12),
)
_URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["https", "http"]),
    _PIECES,
    st.sampled_from(["", ":443", ":0", ":99999"]),
    st.one_of(st.just(""), st.text("/%0aZ?&=;", max_size=8).map("/{}".format)),
)


@given(_URLS)
@example("http://localhost")
@example("https://a_b.example:8443/x%2F?y=%20")
def test_what_we_take_the_transport_takes_for_the_same(url: str) -> None:
    """Host and port, too; what is checked here goes out as it is."""
    try:
        _, cleartext = check_url(url, what="x", allow_loopback_http=True)
    except UrlProblem:
        return
    address = parse_address(url, cleartext=cleartext)
    assert address.scheme == ("http" if cleartext else "https")
    authority = url.partition("://")[2].partition("/")[0].partition("?")[0].lower()
    assert authority.removesuffix(f":{address.port}").strip("[]") == address.host
