"""Our client logs in to GNU SASL's server, which speaks on standard input and output.

It says the mechanism's name, then its first message (an empty line where the client goes
first), and then answers line by line, each message in base64. After its last message it reads
one more line. A client that it refuses is told nothing: the server ends with status 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from peers import Dialogue, Outcome
from sasl_core import (
    AuthenticationError,
    Client,
    ClientSession,
    PeerError,
    SaslError,
    b64decode,
    b64encode,
)

pytestmark = pytest.mark.interop

Need: TypeAlias = Callable[[str], str]

PASSWORD = "pencil"
MECHANISMS = ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"]
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="


@pytest.fixture
def client() -> Iterator[Client]:
    """A client that may say a password to the server's pipe."""
    with Client("smtp", "localhost", config={"allow_cleartext": True}) as made:
        yield made


@pytest.fixture
def serve(need: Need, tmp_path: Path) -> Callable[..., Dialogue]:
    """Starts GNU SASL's server, to be used in a `with`."""

    def start(mechanism: str, *more: str, password: str = PASSWORD) -> Dialogue:
        # -d turns off that it passes on data after the login.
        command = [need("gsasl"), "--server", "--quiet", "--no-cb", "-d", "-m", mechanism]
        return Dialogue([*command, "-p", password, *more], tmp_path)

    return start


def log_in(session: ClientSession, mechanism: str, server: Dialogue) -> Outcome:
    """Carry messages until the server ends; what the session raises is raised here."""
    assert server.hear() == mechanism
    assert server.hear() == ""
    reply = session.start(mechanism)
    assert session.mechanism == mechanism
    server.say(b64encode(reply.data or b"").decode())
    while (heard := server.hear()) is not None:
        if not reply.done:
            reply = session.step(b64decode(heard.encode()))
        # Where we are through, this is the line that it reads after its last message.
        server.say(b64encode(reply.data or b"").decode() if heard else "")
    return server.end()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_right_password_is_let_in(
    client: Client, serve: Callable[..., Dialogue], mechanism: str
) -> None:
    """Both sides are satisfied: the server ends with 0, and the session finishes."""
    with (
        serve(mechanism) as server,
        client.session(authid="user", password=PASSWORD) as session,
    ):
        outcome = log_in(session, mechanism, server)
        outcome.expect(0)
        session.finish()
        assert session.done
        assert session.authid == "user"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_wrong_password_is_refused(
    client: Client, serve: Callable[..., Dialogue], mechanism: str
) -> None:
    """The server ends with 1; SCRAM is left unsatisfied, and believes no claim of success."""
    with (
        serve(mechanism) as server,
        client.session(authid="user", password="Pencil") as session,
    ):
        outcome = log_in(session, mechanism, server)
        outcome.expect(1)
        assert "Error authenticating user" in outcome.output, str(outcome)
        # PLAIN has no word of the server's to wait for.
        if mechanism != "PLAIN":
            assert not session.done
            with pytest.raises(AuthenticationError):
                session.finish()


@pytest.mark.parametrize(
    ("user", "password"),
    [("a=b,c", "x,y=z"), ("j\u00f6rg", "p\u00e4ss w\u00f6rd"), ("user", "I\u00adX")],
    ids=["escaped", "unicode", "prepared"],
)
def test_names_and_passwords_mean_the_same_to_both(
    client: Client, serve: Callable[..., Dialogue], user: str, password: str
) -> None:
    """What separates SCRAM's attributes, what is not ASCII, and what SASLprep takes away."""
    with (
        serve("SCRAM-SHA-256", password=password) as server,
        client.session(authid=user, password=password) as session,
    ):
        outcome = log_in(session, "SCRAM-SHA-256", server)
        outcome.expect(0)
        session.finish()


def test_a_second_login_with_the_same_salt_is_as_good(
    client: Client, serve: Callable[..., Dialogue]
) -> None:
    """The key that the client keeps from the first login convinces the server in the second."""
    for password, status in ((PASSWORD, 0), (PASSWORD, 0), ("Pencil", 1), (PASSWORD, 0)):
        with (
            serve("SCRAM-SHA-256", f"--salt={SALT}", "--iteration-count=5000") as server,
            client.session(authid="user", password=password) as session,
        ):
            outcome = log_in(session, "SCRAM-SHA-256", server)
            outcome.expect(status)


def test_too_few_iterations_are_refused(client: Client, serve: Callable[..., Dialogue]) -> None:
    """A server that asks for 1000 gets no proof to search for the password with."""
    with (
        serve("SCRAM-SHA-256", "--iteration-count=1000") as server,
        client.session(authid="user", password=PASSWORD) as session,
    ):
        with pytest.raises(SaslError) as caught:
            log_in(session, "SCRAM-SHA-256", server)
        assert "iteration" in str(caught.value.detail)
        assert not session.done


@pytest.mark.parametrize("where", ["nonce", "signature"])
def test_a_server_whose_message_was_changed_is_not_believed(
    client: Client, serve: Callable[..., Dialogue], where: str
) -> None:
    """A nonce that is not ours, or a signature with one bit changed, ends in an error of ours."""
    with (
        serve("SCRAM-SHA-256") as server,
        client.session(authid="user", password=PASSWORD) as session,
    ):
        server.hear()
        server.hear()
        server.say(b64encode(session.start("SCRAM-SHA-256").data or b"").decode())
        first = b64decode((server.hear() or "").encode())
        if where == "nonce":
            with pytest.raises(PeerError):
                session.step(first[:2] + bytes([first[2] ^ 1]) + first[3:])
        else:
            server.say(b64encode(session.step(first).data or b"").decode())
            final = bytearray(b64decode((server.hear() or "").encode()))
            final[4] = ord("A") if final[4] != ord("A") else ord("B")
            with pytest.raises(AuthenticationError):
                session.step(bytes(final))
        with pytest.raises(SaslError):
            session.finish()
        assert not session.done
