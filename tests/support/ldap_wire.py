"""As much of LDAP as a login by SASL takes (RFC 4511 section 4.2), for both sides.

Encoded by BER: a tag, a length, and what it holds. Lengths are written in the fewest octets.

OpenLDAP binds to the channel in a way of its own: the type is called `ldap` whichever it is, and
the name of the real one stands before the data. `openldap_binding` makes that of ours.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from peers import SECONDS
from sasl_core import ChannelBindings, ClientSession, SaslError, ServerSession

__all__ = ["LdapClient", "RefusedError", "openldap_binding", "serving_ldap"]

INTEGER, OCTETS, ENUMERATED, SEQUENCE = 0x02, 0x04, 0x0A, 0x30
BIND_REQUEST, BIND_RESPONSE, UNBIND_REQUEST = 0x60, 0x61, 0x42
EXTENDED_REQUEST, EXTENDED_RESPONSE = 0x77, 0x78
SASL_CHOICE, SERVER_CREDENTIALS = 0xA3, 0x87
REQUEST_NAME, RESPONSE_VALUE = 0x80, 0x8B

SUCCESS, IN_PROGRESS, INVALID_CREDENTIALS = 0, 14, 49
WHO_AM_I = b"1.3.6.1.4.1.4203.1.11.3"
"""RFC 4532."""


def openldap_binding(bindings: ChannelBindings, name: str) -> ChannelBindings:
    """What OpenLDAP calls the binding of the type `name`."""
    data = bindings[name]
    assert isinstance(data, bytes)
    return ChannelBindings({"ldap": f"{name}:".encode() + data})


class RefusedError(Exception):
    """The server's answer, which is no success; `code` is its resultCode."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


# --- BER ------------------------------------------------------------------------------------------


def ber(tag: int, *parts: bytes) -> bytes:
    """One element that holds `parts`."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def number(value: int, tag: int = INTEGER) -> bytes:
    """A small number, which is not negative."""
    return ber(tag, bytes([value]))


def elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element in `content`."""
    place = 0
    while place < len(content):
        tag, size = content[place], content[place + 1]
        place += 2
        if size & 0x80:
            octets = size & 0x7F
            size = int.from_bytes(content[place : place + octets], "big")
            place += octets
        yield tag, content[place : place + size]
        place += size


class Connection:
    """Whole messages over a socket."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._received = b""

    def send(self, identifier: int, operation: bytes) -> None:
        self.socket.sendall(ber(SEQUENCE, number(identifier), operation))

    def receive(self) -> tuple[int, int, bytes] | None:
        """Identifier, tag and content of the next operation; None at the end."""
        while len(self._received) < (size := self._needed()):
            part = self.socket.recv(65536)
            if not part:
                return None
            self._received += part
        message, self._received = self._received[:size], self._received[size:]
        ((_, content),) = elements(message)
        (_, identifier), (tag, operation), *_ = elements(content)
        return int.from_bytes(identifier, "big"), tag, operation

    def _needed(self) -> int:
        """How many octets the next message takes, as far as can be told."""
        head = self._received
        if len(head) < 2:
            return 2
        if head[1] < 0x80:
            return 2 + head[1]
        octets = head[1] & 0x7F
        if len(head) < 2 + octets:
            return 2 + octets
        return 2 + octets + int.from_bytes(head[2 : 2 + octets], "big")


# --- the client's side ----------------------------------------------------------------------------


class LdapClient:
    """A connection that is to be bound; `with` closes it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        connected = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        if tls is not None:
            connected = tls.wrap_socket(connected, server_hostname="localhost")
        self.socket = connected
        self._connection = Connection(connected)
        self._sent = 0

    def log_in(self, session: ClientSession, offered: list[str]) -> None:
        """Bind with one of them; the session is finished with the server's last data.

        Raises:
            RefusedError: the server refused. SaslError: we did.
        """
        reply = session.start(offered)
        code, credentials = self._bind(session.mechanism or "", reply.data)
        while code == IN_PROGRESS:
            reply = session.step(credentials or b"")
            code, credentials = self._bind(session.mechanism or "", reply.data)
        session.finish(credentials)

    def who_am_i(self) -> str:
        """Who the server says that we are."""
        request = ber(EXTENDED_REQUEST, ber(REQUEST_NAME, WHO_AM_I))
        code, optional = self._ask(request, EXTENDED_RESPONSE)
        assert code == SUCCESS
        return optional[RESPONSE_VALUE].decode()

    def _bind(self, mechanism: str, credentials: bytes | None) -> tuple[int, bytes | None]:
        sasl = [ber(OCTETS, mechanism.encode("ascii"))]
        if credentials is not None:
            sasl.append(ber(OCTETS, credentials))
        choice = ber(SASL_CHOICE, *sasl)
        request = ber(BIND_REQUEST, number(3), ber(OCTETS, b""), choice)
        code, optional = self._ask(request, BIND_RESPONSE)
        return code, optional.get(SERVER_CREDENTIALS)

    def _ask(self, request: bytes, expected: int) -> tuple[int, dict[int, bytes]]:
        self._sent += 1
        self._connection.send(self._sent, request)
        received = self._connection.receive()
        assert received is not None, "the server closed the connection"
        identifier, tag, content = received
        assert (identifier, tag) == (self._sent, expected)
        (_, code), _, (_, text), *optional = elements(content)
        result = int.from_bytes(code, "big")
        if result not in (SUCCESS, IN_PROGRESS):
            raise RefusedError(result, text.decode())
        return result, dict(optional)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


# --- the server's side ----------------------------------------------------------------------------


@contextmanager
def serving_ldap(
    begin: Callable[[socket.socket], ServerSession],
    meant: Callable[[bytes, bytes], str],
    tls: ssl.SSLContext,
) -> Iterator[int]:
    """A server for as long as the block runs; its port.

    `begin` makes a session for a connection; `meant` says which mechanism a client means that
    names one and sends that initial response. A client is answered until it goes, one at a time.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            # Closing does not end an accept in another thread; shutting down does.
            with suppress(OSError):
                while True:
                    accepted, _ = listening.accept()
                    accepted.settimeout(SECONDS)
                    with suppress(OSError), tls.wrap_socket(accepted, server_side=True) as safe:
                        _serve(Connection(safe), lambda: begin(safe), meant)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)


def _serve(
    connection: Connection,
    begin: Callable[[], ServerSession],
    meant: Callable[[bytes, bytes], str],
) -> None:
    session: ServerSession | None = None
    while (received := connection.receive()) is not None:
        identifier, tag, content = received
        if tag == UNBIND_REQUEST:
            break
        if tag == EXTENDED_REQUEST:
            name = session.authzid if session is not None and session.done else ""
            value = ber(RESPONSE_VALUE, f"u:{name}".encode())
            connection.send(identifier, _response(EXTENDED_RESPONSE, SUCCESS, "", value))
            continue
        assert tag == BIND_REQUEST, hex(tag)
        _, _, (_, choice) = elements(content)
        (_, mechanism), *given = elements(choice)
        credentials = given[0][1] if given else None
        try:
            if session is None or session.done:
                session = begin()
                reply = session.start(meant(mechanism, credentials or b""), credentials)
            else:
                reply = session.step(credentials or b"")
        except SaslError as error:
            session, code, text, data = None, INVALID_CREDENTIALS, str(error), error.wire
        else:
            code, text, data = SUCCESS if reply.done else IN_PROGRESS, "", reply.data
        optional = b"" if data is None else ber(SERVER_CREDENTIALS, data)
        connection.send(identifier, _response(BIND_RESPONSE, code, text, optional))


def _response(tag: int, code: int, text: str, optional: bytes) -> bytes:
    result = number(code, ENUMERATED), ber(OCTETS, b""), ber(OCTETS, text.encode())
    return ber(tag, *result, optional)
