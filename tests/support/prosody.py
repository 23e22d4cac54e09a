"""Prosody, an XMPP server, with users of the tests' own, and as much of XMPP as a login takes.

A stream of XML (RFC 6120): its start, what the server offers, TLS, and SASL's elements.
"""

from __future__ import annotations

import socket
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from daemons import free_port, home_of, running
from mailhost import Authority
from peers import SECONDS
from sasl_core import ClientSession, b64decode, b64encode

__all__ = ["RefusedError", "XmppClient", "serving_prosody"]

STREAM = "{http://etherx.jabber.org/streams}"
TLS = "{urn:ietf:params:xml:ns:xmpp-tls}"
SASL_NAMESPACE = "urn:ietf:params:xml:ns:xmpp-sasl"
SASL = f"{{{SASL_NAMESPACE}}}"

CONFIGURATION = """
daemonize = false
run_as_root = false
data_path = "{home}/data"
certificates = "{home}"
log = {{ info = "*console" }}
modules_enabled = {{ "saslauth", "tls" }}
modules_disabled = {{ "s2s", "offline" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
s2s_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
c2s_require_encryption = true
storage = "internal"
authentication = "internal_hashed"
password_hash = "{hash_name}"
ssl = {{ certificate = "{home}/server.pem", key = "{home}/server.key", protocol = "{protocol}" }}
VirtualHost "localhost"
"""


@contextmanager
def serving_prosody(
    need: Callable[[str], str],
    authority: Authority,
    hash_name: str,
    protocol: str,
    users: Mapping[str, str],
) -> Iterator[int]:
    """A server that keeps verifiers for that hash and speaks that TLS ("tlsv1_2"); its port."""
    program = need("prosody")
    with home_of("prosody") as home:
        home.write("server.pem", authority.certificate.read_bytes())
        home.write("server.key", authority.key.read_bytes())
        for name, password in users.items():
            # A verifier is made of it at the first login.
            account = f'return {{ ["password"] = "{password}"; }};\n'
            home.write(f"data/localhost/accounts/{name}.dat", account)
        port = free_port()
        text = CONFIGURATION.format(
            home=home.folder, port=port, hash_name=hash_name, protocol=protocol
        )
        file = home.write("prosody.cfg.lua", text)
        with running(home, [program, "--config", str(file), "-F"], port):
            yield port


class RefusedError(Exception):
    """The server's failure; the text is the condition's name."""


class XmppClient:
    """A stream that is to be authenticated; `with` closes it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)

    def open(self) -> ET.Element:
        """Begin a stream; the features that the server tells."""
        self._parser: Any = ET.XMLPullParser(["start", "end"])
        self._depth = 0
        self._send(
            "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' "
            "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        features = self._receive()
        assert features.tag == f"{STREAM}features"
        return features

    def start_tls(self, tls: ssl.SSLContext) -> list[str]:
        """Secure the stream; the mechanisms that the server then offers."""
        assert self.open().find(f"{TLS}starttls") is not None
        self._send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        assert self._receive().tag == f"{TLS}proceed"
        self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        return [found.text or "" for found in self.open().iter(f"{SASL}mechanism")]

    def log_in(self, session: ClientSession, offered: list[str]) -> None:
        """Authenticate with one of them; the session is finished with the server's last data.

        Raises:
            RefusedError: the server refused. SaslError: we did.
        """
        reply = session.start(offered)
        attribute = f" mechanism='{session.mechanism}'"
        self._send(self._element("auth", reply.data, attribute))
        answer = self._receive()
        while answer.tag == f"{SASL}challenge":
            reply = session.step(b64decode((answer.text or "").encode()))
            self._send(self._element("response", reply.data))
            answer = self._receive()
        if answer.tag != f"{SASL}success":
            assert answer.tag == f"{SASL}failure"
            raise RefusedError(answer[0].tag.removeprefix(SASL))
        # No text: no data. RFC 6120 section 6.4.6 has an empty one written as `=`.
        session.finish(None if answer.text is None else b64decode(answer.text.encode()))

    def bind(self) -> str:
        """Begin the stream of a user who is logged in; the address that the server gives us."""
        _ = self.open()
        self._send(
            "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            "<resource>here</resource></bind></iq>"
        )
        found = self._receive().find(".//{urn:ietf:params:xml:ns:xmpp-bind}jid")
        assert found is not None
        return found.text or ""

    @staticmethod
    def _element(name: str, data: bytes | None, attribute: str = "") -> str:
        text = "" if data is None else b64encode(data).decode() or "="
        return f"<{name} xmlns='{SASL_NAMESPACE}'{attribute}>{text}</{name}>"

    def _send(self, text: str) -> None:
        self.socket.sendall(text.encode())

    def _receive(self) -> ET.Element:
        """The next whole element of the stream."""
        while True:
            for event, element in self._parser.read_events():
                self._depth += 1 if event == "start" else -1
                if event == "end" and self._depth == 1:
                    found: ET.Element = element
                    return found
            part = self.socket.recv(65536)
            assert part, "the server closed the connection"
            self._parser.feed(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
