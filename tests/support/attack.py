"""Honest clients and servers, and an attacker who owns every wire between them.

Each message lies on its wire until the attacker passes it on. What he may do is a method
here; `check` says afterwards whether he has got anything by it: a SCRAM success of either
side must belong to exactly one session of the other side, with the same mechanism and the
same messages, byte for byte ("matching conversations"), and to the same names and channel.

Sessions are never taken away from the attacker: he may go on after an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    BindingPolicy,
    Client,
    ClientSession,
    Decision,
    SaslError,
    Server,
    ServerSession,
    UsageError,
    b64decode,
    b64encode,
)

__all__ = [
    "LOGINS",
    "Kind",
    "Link",
    "Login",
    "Packet",
    "Programs",
    "World",
    "headed",
    "misspelt",
    "rebound",
]

SCRAM: Final = "SCRAM-SHA-256"


class Kind(Enum):
    """What the protocol calls a message; the first three go to the server."""

    AUTH = "AUTH"
    RESPONSE = "response"
    OFFER = "offer"
    CHALLENGE = "challenge"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True)
class Packet:
    """A message on its wire. `name`: the mechanism of AUTH, the names of an offer.

    `altered`: its bytes, or the mechanism's name, are not what an honest side wrote.
    """

    kind: Kind
    data: bytes | None = None
    name: str = ""
    altered: bool = False

    @property
    def to_server(self) -> bool:
        return self.kind in (Kind.AUTH, Kind.RESPONSE)


@dataclass(frozen=True)
class Login:
    """As whom a client logs in, and whether the server will hear of it."""

    authid: str
    password: str
    authzid: str | None = None
    right: bool = True

    @property
    def identity(self) -> tuple[str, str]:
        return self.authid, self.authzid or self.authid


LOGINS: Final = (
    Login("tim", "pencil"),
    Login("tim", "pencil", "fred"),
    Login("fred", "umbrella"),
    Login("tim", "pencil", "root", right=False),
    Login("fred", "umbrella", "tim", right=False),
    Login("tim", "umbrella", right=False),
    Login("nobody", "pencil", right=False),
)


@dataclass
class Side:
    """One side of a link: what it knows of the channel, and what it has heard and said."""

    session: ClientSession | ServerSession
    bindings: Mapping[str, bytes]
    policy: BindingPolicy
    heard: list[bytes] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)
    misled: bool = False
    """It took a message that nobody honest has written so."""
    took_success: bool = False
    """A server that was done; a client that took the success message."""

    @property
    def accepted(self) -> bool:
        """Whether it stands by its success: a later message may have made it an error."""
        return self.took_success and self.session.done

    @property
    def mechanism(self) -> str:
        return self.session.mechanism or ""

    @property
    def scram(self) -> bool:
        return self.mechanism.startswith(SCRAM)

    def note(self, heard: bytes | None, said: bytes | None, *, altered: bool) -> None:
        """Keep what was exchanged; empty messages only carry the turn."""
        self.misled |= altered
        if heard:
            self.heard.append(heard)
        if said:
            self.said.append(said)


@dataclass
class Link:
    """A client and a server, and what lies on the wire between them."""

    login: Login
    cautious: bool
    client_session: ClientSession
    server_session: ServerSession
    client: Side
    server: Side
    wire: list[Packet] = field(default_factory=list)


class Programs:
    """One Server and two Clients, which many worlds share; `close` ends them."""

    def __init__(self) -> None:
        store = MemoryStore({"tim": "pencil", "fred": "umbrella"})
        lax = {"allow_cleartext": True, "allow_anonymous": True}
        self.server = Server("imap", "localhost", config=lax, stores=[store], authorize=_authorize)
        # A client that was told who it is becomes nobody only where its own list says so.
        wanted = {"client_mech_list": ["SCRAM-SHA-256", "PLAIN", "ANONYMOUS"]}
        self.lax = Client("imap", "localhost", config={**lax, **wanted})
        self.cautious = Client("imap", "localhost", config={})

    def close(self) -> None:
        for made in (self.server, self.lax, self.cautious):
            made.close()


class World:
    """Every link that there ever was between some programs."""

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self.links: list[Link] = []
        self.seen: list[Packet] = []
        """Every packet that an honest side has sent, for replays."""

    def close(self) -> None:
        for link in self.links:
            link.client_session.close()
            link.server_session.close()

    # --- honest sides -----------------------------------------------------------------

    def connect(
        self,
        login: Login,
        *,
        cautious: bool = True,
        initial_response: bool = True,
        success_data: bool = False,
        client_bindings: Mapping[str, bytes] | None = None,
        server_bindings: Mapping[str, bytes] | None = None,
        client_policy: BindingPolicy = BindingPolicy.WANT,
        server_policy: BindingPolicy = BindingPolicy.WANT,
    ) -> Link:
        """A new link, with the server's offer on its wire."""
        server_session = self.programs.server.session(
            channel_bindings=server_bindings or {},
            binding_policy=server_policy,
            initial_response=initial_response,
            success_data=success_data,
        )
        client = self.programs.cautious if cautious else self.programs.lax
        client_session = client.session(
            authid=login.authid,
            password=login.password,
            authzid=login.authzid,
            trace=login.authid,
            channel_bindings=client_bindings or {},
            binding_policy=client_policy,
            initial_response=initial_response,
            success_data=success_data,
        )
        link = Link(
            login,
            cautious,
            client_session,
            server_session,
            Side(client_session, client_bindings or {}, client_policy),
            Side(server_session, server_bindings or {}, server_policy),
        )
        self.links.append(link)
        self._send(link, Packet(Kind.OFFER, name=server_session.listmech()))
        return link

    def deliver(self, link: Link, packet: Packet) -> None:
        """Let the side that it is meant for hear a packet; its answer goes on the wire."""
        try:
            if packet.to_server:
                self._server_hears(link, packet)
            else:
                self._client_hears(link, packet)
        except UsageError:
            # Nothing that a session could take: to it, the message has not been there.
            if packet.to_server:
                self._send(link, Packet(Kind.FAILURE))
        except SaslError as error:
            side = link.server if packet.to_server else link.client
            side.misled |= packet.altered and packet.kind is not Kind.OFFER
            if packet.to_server:
                self._send(link, Packet(Kind.FAILURE, error.wire))

    def settle(self, link: Link) -> None:
        """Deliver everything in order until nothing is left."""
        for _ in range(40):
            if not link.wire:
                return
            self.deliver(link, link.wire.pop(0))
        # Two sides that go on and on would be a fault of ours; a wire full of tricks is none.
        link.wire.clear()

    def impersonate_server(self, link: Link, kind: Kind) -> None:
        """Answer the client in its server's place, without knowing any password.

        The last message goes as a challenge, or with a success.
        """
        self._until(link, lambda packet: packet.kind is Kind.AUTH)
        if not link.wire or not link.wire[0].name.startswith(SCRAM):
            return
        _, separator, nonce = (link.wire.pop(0).data or b"").rpartition(b",r=")
        if separator:
            first = b"r=" + nonce + b"impostor,s=c2FsdHNhbHRzYWx0,i=4096"
            self.deliver(link, Packet(Kind.CHALLENGE, first, altered=True))
            link.wire.clear()
            self.deliver(link, Packet(kind, b"v=" + b64encode(b"s" * 32), altered=True))

    def impersonate_client(self, link: Link, name: str) -> None:
        """Log in as tim without his password, before the client of this link does."""
        binding = b"n,,"
        if name.endswith("-PLUS"):
            binding = b"p=tls-exporter,,"
        first = Packet(Kind.AUTH, binding + b"n=tim,r=intrudersnonce", name, altered=True)
        self.deliver(link, first)
        nonce = (link.wire.pop().data or b"").partition(b",")[0]
        if nonce.startswith(b"r="):
            channel = b"" if binding == b"n,," else b"e" * 32
            final = b"c=%b,%b,p=%b" % (b64encode(binding + channel), nonce, b64encode(bytes(32)))
            self.deliver(link, Packet(Kind.RESPONSE, final, altered=True))

    def _until(self, link: Link, wanted: Callable[[Packet], bool]) -> None:
        """Let the link go on until such a packet is the next."""
        for _ in range(6):
            if not link.wire or wanted(link.wire[0]):
                return
            self.deliver(link, link.wire.pop(0))

    def _server_hears(self, link: Link, packet: Packet) -> None:
        session = link.server_session
        if packet.kind is Kind.AUTH:
            reply = session.start(packet.name, packet.data)
        else:
            reply = session.step(packet.data or b"")
        link.server.note(packet.data, reply.data, altered=packet.altered)
        link.server.took_success |= reply.done
        self._send(link, Packet(Kind.SUCCESS if reply.done else Kind.CHALLENGE, reply.data))

    def _client_hears(self, link: Link, packet: Packet) -> None:
        session = link.client_session
        data, said = packet.data, None
        if packet.kind is Kind.SUCCESS:
            session.finish(data)
            link.client.took_success = True
        elif packet.kind is Kind.OFFER:
            said = session.start(packet.name).data
            self._send(link, Packet(Kind.AUTH, said, session.mechanism or ""))
            data = None
        elif packet.kind is Kind.CHALLENGE or data is not None:
            said = session.step(data or b"").data
            self._send(link, Packet(Kind.RESPONSE, said or b""))
        # A changed offer is no changed message: the client sees what it is offered.
        altered = packet.altered and packet.kind is not Kind.OFFER
        link.client.note(data, said, altered=altered)

    def _send(self, link: Link, packet: Packet) -> None:
        link.wire.append(packet)
        self.seen.append(packet)

    # --- what must hold -----------------------------------------------------------------

    def check(self) -> None:
        """Raises AssertionError where an attack has succeeded."""
        owed: set[int] = set()
        taken: set[int] = set()
        for link in self.links:
            self._check_choice(link)
            for side in (link.client, link.server):
                assert not (side.accepted and side.scram and side.misled), (
                    f"{side.mechanism} succeeded with an altered message"
                )
            if link.server.scram and len(link.server.said) == 2:
                self._check_server(link.server, taken)
            elif link.server.accepted:
                self._check_weak_server(link)
            if link.client.scram and link.client.accepted:
                self._check_client(link, owed)

    def _check_choice(self, link: Link) -> None:
        """A client sends no more than it was told it may, whatever it was offered."""
        if link.cautious:
            assert link.client.mechanism in ("", SCRAM, SCRAM + "-PLUS")
        if link.client.accepted:
            if link.client.policy is BindingPolicy.REQUIRE:
                assert link.client_session.channel_binding is not None
            assert link.client_session.ssf == 0

    def _check_server(self, server: Side, taken: set[int]) -> None:
        """One client with the right password has said all that the server has heard."""
        clients = [
            other
            for other in self.links
            if other.client.mechanism == server.mechanism
            and other.client.said[:2] == server.heard[:2]
            and other.client.heard[:1] == server.said[:1]
        ]
        assert len(clients) == 1, f"the server's proof is of {len(clients)} clients"
        (link,) = clients
        client = link.client
        assert id(link) not in taken, "one client has logged in twice"
        taken.add(id(link))
        assert link.login.right, "the password was wrong, or the identity not allowed"
        if server.accepted:
            session = server.session
            assert (session.authid, session.authzid) == link.login.identity
            name = session.channel_binding
            assert (name is not None) == server.mechanism.endswith("-PLUS")
            if name is not None:
                assert client.bindings[name] == server.bindings[name]
        policies = {client.policy, server.policy}
        if BindingPolicy.REQUIRE in policies:
            assert server.mechanism.endswith("-PLUS")
        if client.bindings and server.bindings and BindingPolicy.OFF not in policies:
            assert server.mechanism.endswith("-PLUS"), "a downgrade from -PLUS"

    def _check_client(self, link: Link, owed: set[int]) -> None:
        """One server has said all that the client has heard, and heard all that it said."""
        client = link.client
        servers = [
            other
            for other in self.links
            if other.server.mechanism == client.mechanism
            and other.server.heard[:2] == client.said
            and other.server.said == client.heard
        ]
        assert len(servers) == 1, f"the client believes in {len(servers)} servers"
        (other,) = servers
        assert id(other) not in owed, "one server has satisfied two clients"
        owed.add(id(other))
        session, server = link.client_session, other.server_session
        assert (session.authid, session.authzid) == link.login.identity
        if other.server.accepted:
            assert session.mechanism == server.mechanism
            assert (session.authid, session.authzid) == (server.authid, server.authzid)
            assert session.channel_binding == server.channel_binding
            assert session.ssf == server.ssf

    def _check_weak_server(self, link: Link) -> None:
        """What is no proof can be repeated, but not made say anything else."""
        session = link.server_session
        assert link.server.policy is not BindingPolicy.REQUIRE
        assert session.channel_binding is None
        identity = (session.authid, session.authzid)
        if link.server.mechanism == "ANONYMOUS":
            assert identity == ("anonymous", "anonymous")
            return
        assert link.server.mechanism == "PLAIN"
        said = {
            other.login.identity
            for other in self.links
            if other.login.right and other.client.mechanism == "PLAIN" and other.client.said
        }
        assert identity in said, "nobody has said the password of that user"


def _authorize(authid: str, authzid: str, _: object) -> Decision:
    allowed = authid == authzid or (authid, authzid) == ("tim", "fred")
    return Decision.PERMIT if allowed else Decision.DENY


def headed(data: bytes, header: bytes) -> bytes:
    """A client's first SCRAM message with another GS2 header, authzid and all."""
    _, separator, bare = data.partition(b",n=")
    return header + separator[1:] + bare if separator else data


def misspelt(data: bytes, at: int, letter: int) -> bytes:
    """The message with one letter or digit of it another one: as well-formed as it was."""
    places = [place for place, byte in enumerate(data) if bytes([byte]).isalnum()]
    if not places:
        return data
    place = places[at % len(places)]
    return data[:place] + bytes([_LETTERS[letter % len(_LETTERS)]]) + data[place + 1 :]


_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def rebound(data: bytes, old: bytes, new: bytes) -> bytes:
    """A SCRAM message whose GS2 header begins otherwise, in `c=` too; or the same message."""
    if data.startswith(old):
        return new + data[len(old) :]
    if data.startswith(b"c="):
        value, comma, rest = data[2:].partition(b",")
        try:
            header = b64decode(value)
        except SaslError:
            return data
        if header.startswith(old):
            return b"c=" + b64encode(new + header[len(old) :]) + comma + rest
    return data
