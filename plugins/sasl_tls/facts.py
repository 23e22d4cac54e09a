"""What is known of a connection beneath SASL, in the words of a session's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from sasl_core.plugin import record

if TYPE_CHECKING:
    from sasl_tls.subject import Subject

__all__ = ["Cipher", "TransportFacts", "host_and_port", "transport_facts"]

Cipher: TypeAlias = "tuple[str, str, int] | None"
"""Name, protocol and strength in bits, as the ssl module reports them; None without TLS."""


@record
class TransportFacts:
    """The arguments of `session(...)` that no protocol has a say in, without channel binding.

    `external_ssf`: strength of TLS in bits, 0 without it. `remote`, `local`: "address;port",
    None for what is no internet address. `external_id`: the subject of the client certificate
    whose chain TLS has verified, None without one; `external_until`: the end of its validity, in
    seconds since the epoch.
    """

    external_ssf: int = 0
    remote: str | None = None
    local: str | None = None
    external_id: str | None = None
    external_until: float | None = None


def transport_facts(
    remote: object, local: object, cipher: Cipher, client: Subject | None = None
) -> TransportFacts:
    """The facts of a connection between these socket addresses.

    `client`: whom a server's TLS vouches for (`ServerTls.client`).
    """
    return TransportFacts(
        0 if cipher is None else cipher[2],
        _address(remote),
        _address(local),
        None if client is None else client.name,
        None if client is None else client.until,
    )


def host_and_port(address: object) -> tuple[str, int] | None:
    """Host without its scope, and port; None for what is no internet address."""
    if not isinstance(address, tuple) or len(cast("tuple[object, ...]", address)) < 2:
        return None
    host, port = cast("tuple[object, object]", address[:2])
    return str(host).partition("%")[0], int(cast("int", port))


def _address(address: object) -> str | None:
    found = host_and_port(address)
    return None if found is None else f"{found[0]};{found[1]}"
