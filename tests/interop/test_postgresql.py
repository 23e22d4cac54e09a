"""Our client logs in to PostgreSQL, and psql with a verifier that `sasl passwd` has made."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest

from mailhost import Authority
from peers import run
from postgres import Postgres, PostgresClient, RefusedError, serving_postgres
from sasl_auxprop.sasldb import SqliteStore
from sasl_core import BindingPolicy, ChannelBindings, Client, MechanismError, UserName
from sasl_core.plugin import VERIFIERS, format_verifier
from sasl_tls import client_bindings

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]

SCRAM, PLUS = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"
END_POINT = "tls-server-end-point"
# -P: the folder that it runs in holds nothing to import.
SASL = [sys.executable, "-P", "-m", "sasl_cli"]

WRONG_PASSWORD = "28P01"
PASSWORDS = {"tim": "pencil", "p\u00e4r": "p\u00e4ss w\u00f6rd", "ann": "I\u00adX"}


@pytest.fixture(scope="module")
def postgres(need: Need, authority: Authority) -> Iterator[Postgres]:
    """A server with TLS, and users whose verifiers it made itself."""
    with serving_postgres(need, authority) as server:
        roles = [f"CREATE ROLE \"{u}\" LOGIN PASSWORD '{p}';" for u, p in PASSWORDS.items()]
        server.sql("\n".join(roles), server.folder)
        yield server


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("postgres", "localhost", config={}) as made:
        yield made


def end_point(peer: PostgresClient) -> ChannelBindings:
    """What the connection is bound by here: PostgreSQL knows this type alone.

    Nothing in its offer says so, and a client with tls-unique or tls-exporter would take that.
    """
    assert isinstance(peer.socket, ssl.SSLSocket)
    return ChannelBindings({END_POINT: client_bindings(peer.socket)[END_POINT]})


def log_in(
    peer: PostgresClient,
    client: Client,
    offered: list[str],
    password: str = "pencil",
    bindings: ChannelBindings | None = None,
    policy: BindingPolicy = BindingPolicy.WANT,
) -> tuple[str | None, str | None]:
    """Mechanism and binding of a login with one of `offered`."""
    with client.session(
        # PostgreSQL ignores the name in SCRAM's message: the start of the connection has it.
        authid="tim",
        password=password,
        remote="127.0.0.1;1",
        success_data=True,
        channel_bindings=bindings or ChannelBindings({}),
        binding_policy=policy,
    ) as session:
        peer.log_in(session, offered)
        assert session.done
        return session.mechanism, session.channel_binding


@pytest.mark.parametrize("policy", list(BindingPolicy))
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_our_client_is_let_in_over_tls(
    postgres: Postgres,
    client: Client,
    authority: Authority,
    version: ssl.TLSVersion,
    policy: BindingPolicy,
) -> None:
    """Bound by tls-server-end-point unless that is off; a wrong password is refused as one."""
    tls = authority.client_context()
    tls.minimum_version = tls.maximum_version = version
    bound = (SCRAM, None) if policy is BindingPolicy.OFF else (PLUS, END_POINT)
    with PostgresClient(postgres.port, tls) as peer:
        offered = peer.offer("tim")
        assert offered == [PLUS, SCRAM]
        assert log_in(peer, client, offered, "pencil", end_point(peer), policy) == bound
    with PostgresClient(postgres.port, tls) as peer:
        offered = peer.offer("tim")
        with pytest.raises(RefusedError) as caught:
            log_in(peer, client, offered, "Pencil", end_point(peer), policy)
        assert caught.value.code == WRONG_PASSWORD


@pytest.mark.parametrize("user", list(PASSWORDS))
def test_our_client_is_let_in_without_tls(postgres: Postgres, client: Client, user: str) -> None:
    """Passwords are prepared alike on both sides; the wrong one is refused."""
    for password, accepted in ((PASSWORDS[user], True), ("Pencil", False)):
        with PostgresClient(postgres.port) as peer:
            offered = peer.offer(user)
            assert offered == [SCRAM]
            if accepted:
                assert log_in(peer, client, offered, password) == (SCRAM, None)
            else:
                with pytest.raises(RefusedError):
                    log_in(peer, client, offered, password)


def test_a_certificate_of_somebody_else_is_noticed(
    postgres: Postgres, client: Client, authority: Authority
) -> None:
    """Bound by the certificate of a man in the middle, the right password is refused."""
    with PostgresClient(postgres.port, authority.client_context()) as peer:
        offered = peer.offer("tim")
        with pytest.raises(RefusedError, match="channel binding"):
            log_in(peer, client, offered, bindings=ChannelBindings({END_POINT: b"\1" * 32}))


def test_an_offer_without_plus_is_noticed(
    postgres: Postgres, client: Client, authority: Authority
) -> None:
    """Somebody takes -PLUS from the offer: our client says that it saw none, and is refused."""
    with PostgresClient(postgres.port, authority.client_context()) as peer:
        offered = peer.offer("tim")
        offered.remove(PLUS)
        with pytest.raises(RefusedError, match="channel binding negotiation"):
            log_in(peer, client, offered, bindings=end_point(peer))


def test_a_required_binding_is_not_given_up(postgres: Postgres, client: Client) -> None:
    """Without TLS there is nothing to be bound by, and our client sends nothing at all."""
    with PostgresClient(postgres.port) as peer:
        offered = peer.offer("tim")
        with pytest.raises(MechanismError):
            log_in(peer, client, offered, policy=BindingPolicy.REQUIRE)


# --- psql, and a verifier that we have made -----------------------------------------------------


@pytest.fixture(scope="module")
def moved(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A user whose verifier `sasl passwd` made, and who moved into PostgreSQL."""
    home = tmp_path_factory.mktemp("moved")
    ours, roles = home / "ours", home / "roles.sql"
    run([*SASL, "passwd", "-c", "-p", "--db", str(ours), "eve"], home, "o'b\"r\n").expect(0)
    export = ["users", "export", "--format", "postgresql", "--db", str(ours), "-o", str(roles)]
    run([*SASL, *export], home).expect(0)
    postgres.sql(roles.read_text(), home)
    with closing(SqliteStore(ours)) as store:
        kept = store.read(UserName("eve"), [VERIFIERS]).verifiers["SHA-256"]
    # Without this, the password could have gone over and PostgreSQL made its own of it.
    assert format_verifier(kept).decode() in roles.read_text()
    return "eve"


@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "clear"])
def test_psql_logs_in_with_our_verifier(
    need: Need,
    postgres: Postgres,
    authority: Authority,
    tmp_path: Path,
    moved: str,
    tls: bool,
    binding: str,
) -> None:
    """Bound where that is asked for and there is TLS; with the wrong password it is refused."""
    possible = tls or binding != "require"
    info = f"host=127.0.0.1 port={postgres.port} user={moved} dbname=postgres"
    info += f" channel_binding={binding} sslmode={'verify-ca' if tls else 'disable'}"
    info += f" sslrootcert={authority.authority}"
    for password, accepted in (("o\\'b\"r", possible), ("wrong", False)):
        command = [need("psql"), f"{info} password='{password}'", "-qAtc", "SELECT current_user"]
        outcome = run(command, tmp_path)
        outcome.expect(0 if accepted else 2)
        if accepted:
            assert outcome.output.strip() == moved
        elif possible:
            assert "password authentication failed" in outcome.output, str(outcome)
        else:
            assert "channel binding" in outcome.output, str(outcome)
