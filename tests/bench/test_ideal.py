"""The floor is honest: the ideal function really authenticates, and speaks what we speak."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable

import pytest

from bench import ideal
from bench.people import HOST, PASSWORD, SERVICE, crowd
from bench.scram import MECHANISM, server_of
from sasl_core import AuthenticationError, Client

PEOPLE = crowd(["tim", "a,b=c"])
USERS = PEOPLE.table()


def begun(name: bytes = b"tim", flag: bytes = b"n") -> tuple[bytes, ideal.State]:
    sent = ideal.client_first(name)
    return sent, ideal.server_first(USERS, flag + sent[1:])


def test_the_right_proof_is_accepted() -> None:
    """Both sides believe each other; a name with a comma and an equals sign is found."""
    for name in (b"tim", b"a=2Cb=3Dc"):
        sent, state = begun(name)
        response, expected = ideal.client_final(PEOPLE.client, sent, state[2])
        ideal.verify_server(expected, ideal.server_final(state, response))


def flipped(response: bytes) -> bytes:
    """A proof with one bit changed."""
    head, _, proof = response.rpartition(b",p=")
    raw = bytearray(a2b_base64(proof))
    raw[7] ^= 1
    return head + b",p=" + b2a_base64(bytes(raw), newline=False)


def resized(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def change_proof(response: bytes) -> bytes:
        head, _, proof = response.rpartition(b",p=")
        return head + b",p=" + b2a_base64(change(a2b_base64(proof)), newline=False)

    return change_proof


@pytest.mark.parametrize(
    "spoil",
    [
        flipped,
        resized(lambda proof: proof[:-1]),
        resized(lambda proof: b"\0" + proof),
        resized(lambda proof: b""),
        lambda response: response[:-1] + b"*",
        lambda response: response.replace(b",p=", b",p=*"),
        lambda response: response.replace(b"c=biws", b"c=eSws"),
        lambda response: response.replace(b",r=", b",r=x"),
        lambda response: response.replace(b",p=", b"x,p="),
        lambda response: response.replace(b",p=", b",m=x,p="),
        lambda response: response.rpartition(b",p=")[0],
        lambda response: b"",
    ],
    ids=range(12),
)
def test_a_wrong_response_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    """A wrong proof, one of another length, another binding, another nonce, no proof."""
    sent, state = begun()
    response, _ = ideal.client_final(PEOPLE.client, sent, state[2])
    spoilt = spoil(response)
    assert spoilt != response
    with pytest.raises(ideal.Refused):
        ideal.server_final(state, spoilt)
    assert ideal.server_final(state, response)


def test_an_old_response_is_refused() -> None:
    """Each exchange has a nonce of the server's own; what was heard is of no use in another."""
    sent, state = begun()
    response, _ = ideal.client_final(PEOPLE.client, sent, state[2])
    again = ideal.server_first(USERS, sent)
    assert again[3] != state[3]
    with pytest.raises(ideal.Refused):
        ideal.server_final(again, response)


def test_another_password_is_refused() -> None:
    """Keys of another password prove nothing, and a server without the right ones neither."""
    other = ideal.client_keys(b"incorrect horse", PEOPLE.server.salt, PEOPLE.server.iterations)
    sent, state = begun()
    response, _ = ideal.client_final(other, sent, state[2])
    with pytest.raises(ideal.Refused):
        ideal.server_final(state, response)
    _, expected = ideal.client_final(PEOPLE.client, sent, state[2])
    with pytest.raises(ideal.Refused):
        ideal.verify_server(expected, b"v=" + b2a_base64(bytes(32), newline=False))


@pytest.mark.parametrize(
    "message",
    [
        b"n,,n=nobody,r=abcdefghijklmnop",
        b"p=tls-unique,,n=tim,r=abcdefghijklmnop",
        b"n,a=root,n=tim,r=abcdefghijklmnop",
        b"n,,m=x,n=tim,r=abcdefghijklmnop",
        b"n,,n=tim,r=abcdefghijklmnop,m=x",
        b"n,,n=tim,r=short",
        b"n,,n=tim",
        b"n,,n=\xff,r=abcdefghijklmnop",
        b"",
    ],
)
def test_what_the_server_cannot_serve_is_refused(message: bytes) -> None:
    """Unknown users, bindings, other identities, extensions and rubbish get no further."""
    with pytest.raises(ideal.Refused):
        ideal.server_first(USERS, message)


def test_a_downgraded_header_is_noticed() -> None:
    """The flag that the client sent comes back under its proof."""
    sent, state = begun(flag=b"y")
    response, _ = ideal.client_final(PEOPLE.client, sent, state[2])
    with pytest.raises(ideal.Refused):
        ideal.server_final(state, response)


def test_our_client_logs_in_to_the_ideal_server() -> None:
    """The ideal server speaks RFC 5802 as our client does, and proves itself to it."""
    with (
        Client(SERVICE, HOST, config={}) as client,
        client.session(authid="a,b=c", password=PASSWORD, success_data=True) as session,
    ):
        state = ideal.server_first(USERS, session.start([MECHANISM]).data or b"")
        final = ideal.server_final(state, session.step(state[2]).data or b"")
        session.finish(final)
        assert session.done


def test_the_ideal_client_logs_in_to_our_server() -> None:
    """What is on the clock as ours is a login, and a wrong proof is none."""
    with server_of(PEOPLE) as server:
        sent = ideal.client_first(b"a=2Cb=3Dc")
        with server.session(success_data=True) as session:
            challenge = session.start(MECHANISM, sent).data or b""
            response, expected = ideal.client_final(PEOPLE.client, sent, challenge)
            assert session.step(response).data == expected
            assert session.authid == "a,b=c"
        with server.session(success_data=True) as session:
            challenge = session.start(MECHANISM, sent).data or b""
            response, _ = ideal.client_final(PEOPLE.client, sent, challenge)
            with pytest.raises(AuthenticationError):
                session.step(flipped(response))
