"""What a session is told of a connection."""

from __future__ import annotations

import pytest

from sasl_tls.facts import Cipher, TransportFacts, transport_facts

IPV4, IPV6 = ("192.0.2.1", 25), ("fe80::1%eth0", 27017, 0, 2)


@pytest.mark.parametrize(
    ("remote", "local", "cipher", "expected"),
    [
        (IPV4, IPV6, None, TransportFacts(0, "192.0.2.1;25", "fe80::1;27017")),
        (IPV4, IPV4, ("X", "TLSv1.3", 256), TransportFacts(256, "192.0.2.1;25", "192.0.2.1;25")),
        (None, None, None, TransportFacts()),
        ("/run/x.sock", "", None, TransportFacts()),
        (b"\0x", ("one",), None, TransportFacts()),
    ],
)
def test_facts(remote: object, local: object, cipher: Cipher, expected: TransportFacts) -> None:
    """Addresses of the internet without their scope, and the strength of TLS."""
    assert transport_facts(remote, local, cipher) == expected
