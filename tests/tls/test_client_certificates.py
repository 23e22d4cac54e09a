"""Certificates of clients: who is believed, by either library, and what is told of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.x509 import Name
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from certificate_kit import Authority, Shown, name_of
from sasl_core import ConfigError, UsageError
from sasl_tls import ServerTls, Subject, parse_subject
from sasl_tls.facts import TransportFacts
from sasl_tls.stream import ByteStream
from sasl_tls.subject import valid_until
from tls_kit import Kind, SslEnd, Tls, server_end, shake_hands

LIBRARIES = pytest.mark.parametrize("library", ["ssl", "pyopenssl"])
VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])

NAME = r"CN=Tim Smith,OU=Ops,O=Example\, Inc.,C=DE"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whose clients are believed."""
    return Authority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def shown(authority: Authority) -> Shown:
    """The certificate of Tim."""
    return authority.sign()


class Transport:
    """As much of a transport as `ServerTls.client` asks."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def get_extra_info(self, name: str) -> object:
        kind = "ssl_object" if isinstance(self._connection, ssl.SSLObject) else ""
        return self._connection if name == (kind or "pyopenssl_connection") else None


def told(
    server: ServerTls,
    tls: Tls,
    shown: Shown | None = None,
    version: Any = None,
    session: Any = None,
) -> Subject | None:
    """Whom the server sees after a handshake; raises what the handshake fails with."""
    context = tls.client(version)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    near, far = server_end(server), SslEnd(context, server=False, session=session)
    shake_hands(near, far)
    transport: Any = Transport(near.connection)
    return server.client(transport)


@LIBRARIES
@VERSIONS
@pytest.mark.parametrize("whether", [None, "optional", "required"])
def test_a_certificate_names_its_owner(
    tls: Tls, authority: Authority, shown: Shown, library: Any, version: Any, whether: Any
) -> None:
    """Name and end, on each version of TLS."""
    server = ServerTls.load(
        tls.certificate, tls.key, library, client_ca=authority.file, client_certificates=whether
    )
    found = told(server, tls, shown, version)
    assert found == parse_subject(shown.der)
    assert found is not None
    assert found.name == NAME


@LIBRARIES
@VERSIONS
def test_who_shows_none(tls: Tls, authority: Authority, library: Any, version: Any) -> None:
    """Nobody, where it is optional; no connection, where it is required."""
    for whether in ("optional", "required"):
        server = ServerTls.load(
            tls.certificate, tls.key, library, client_ca=authority.file, client_certificates=whether
        )
        if whether == "optional":
            assert told(server, tls, None, version) is None
        else:
            with pytest.raises((ssl.SSLError, SSL.Error)):
                told(server, tls, None, version)


def strangers(folder: Path, authority: Authority) -> Mapping[str, Shown]:
    """Certificates that nobody should believe, all with the name of somebody who is known."""
    return {
        "expired": authority.sign(days=(-2, -1)),
        "not yet good": authority.sign(days=(1, 2)),
        "for servers": authority.sign(purpose="server"),
        "self-signed": authority.sign(self_signed=True),
        "of another authority": Authority(folder, "others").sign(),
        "of a namesake": Authority(folder / "twin", "clients").sign(),
    }


@LIBRARIES
@VERSIONS
def test_who_is_not_believed(
    tls: Tls, authority: Authority, library: Any, version: Any, tmp_path: Path
) -> None:
    """The handshake fails, also where a certificate is optional."""
    (tmp_path / "twin").mkdir()
    server = ServerTls.load(tls.certificate, tls.key, library, client_ca=authority.file)
    for what, each in strangers(tmp_path, authority).items():
        with pytest.raises((ssl.SSLError, SSL.Error)) as caught:
            told(server, tls, each, version)
        assert caught.value is not None, what


@LIBRARIES
def test_nobody_is_asked_without_an_authority(tls: Tls, shown: Shown, library: Any) -> None:
    """A client with a certificate is as any other."""
    assert told(ServerTls.load(tls.certificate, tls.key, library), tls, shown) is None


@pytest.mark.parametrize("believing", [True, False])
def test_a_context_of_the_applications_own_vouches_for_nobody(
    tls: Tls, authority: Authority, shown: Shown, believing: bool
) -> None:
    """A callback of pyOpenSSL may believe anybody, and `ssl` may ask for another reason."""
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    own.load_cert_chain(tls.certificate, tls.key)
    own.verify_mode = ssl.CERT_REQUIRED
    assert told(ServerTls(own), tls, shown) is None
    other = SSL.Context(SSL.TLS_SERVER_METHOD)
    other.use_certificate_chain_file(str(tls.certificate))
    other.use_privatekey_file(str(tls.key))
    other.set_verify(SSL.VERIFY_PEER, lambda *_: believing)
    if believing:
        assert told(ServerTls(other), tls, shown) is None
    else:
        with pytest.raises(SSL.Error):
            told(ServerTls(other), tls, shown)


@LIBRARIES
@pytest.mark.parametrize(
    "subject",
    [
        Name([]),
        name_of((NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, "tim\0.example.com")),
        name_of((NameOID.COMMON_NAME, "tim\nlogin OK: authid=root")),
    ],
    ids=["empty", "NUL", "a line"],
)
def test_a_subject_that_is_no_name_is_nobodys(
    tls: Tls,
    authority: Authority,
    library: Any,
    subject: Name,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The connection stands, the client is anonymous to it, and the log has why."""
    server = ServerTls.load(tls.certificate, tls.key, library, client_ca=authority.file)
    with caplog.at_level(logging.INFO, "sasl_tls"):
        assert told(server, tls, authority.sign(subject)) is None
    (record,) = caplog.records
    assert record.getMessage().startswith("a client's certificate is as good as none")
    assert record.getMessage().isprintable()


def handshakes(
    server: ServerTls, context: ssl.SSLContext, session: Any = None
) -> tuple[Any, SslEnd]:
    """Both ends of a connection, which is closed as TLS has it: only then can it be resumed."""
    near, far = server_end(server), SslEnd(context, server=False, session=session)
    shake_hands(near, far)
    with contextlib.suppress(ssl.SSLWantReadError):
        # On TLS 1.3 the tickets come with the first data.
        far.connection.read(1)
    return near, far


def hang_up(near: Any) -> None:
    """Close a server's end."""
    with contextlib.suppress(ssl.SSLWantReadError):
        near.connection.unwrap() if isinstance(near, SslEnd) else near.connection.shutdown()


@LIBRARIES
@VERSIONS
@pytest.mark.parametrize("whether", ["optional", "required"])
def test_nobody_gets_a_ticket_who_has_shown_a_certificate(
    tls: Tls, authority: Authority, shown: Shown, library: Any, version: Any, whether: Any
) -> None:
    """A ticket begets a ticket; without one there is a handshake, and a look at the certificate."""
    server = ServerTls.load(
        tls.certificate, tls.key, library, client_ca=authority.file, client_certificates=whether
    )
    context = tls.client(version)
    context.load_cert_chain(shown.certificate, shown.key)
    session = None
    for _ in range(3):
        near, far = handshakes(server, context, session)
        # What is left is the number of a session of TLS 1.2 by `ssl`.
        resumes = session is not None and (library, version) == ("ssl", "1.2")
        assert far.connection.session_reused is resumes
        session = far.connection.session
        # By pyOpenSSL there are tickets on TLS 1.3, of a store that keeps none.
        assert session is None or not session.has_ticket or library == "pyopenssl"
        transport: Any = Transport(near.connection)
        assert server.client(transport) == parse_subject(shown.der)
        hang_up(near)


@LIBRARIES
def test_a_session_can_be_resumed_where_no_certificate_is_asked_for(tls: Tls, library: Any) -> None:
    """So the test above would see it; by pyOpenSSL nothing is resumed."""
    server, context = ServerTls.load(tls.certificate, tls.key, library), tls.client("1.3")
    _, far = handshakes(server, context)
    _, far = handshakes(server, context, far.connection.session)
    assert far.connection.session_reused is (library == "ssl")


@LIBRARIES
def test_of_whom_a_certificate_has_ended_nothing_is_told(
    tls: Tls,
    authority: Authority,
    shown: Shown,
    library: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not on a connection that began in time either."""
    server = ServerTls.load(tls.certificate, tls.key, library, client_ca=authority.file)
    context = shown.client(tls.certificate)
    near, _ = handshakes(server, context)
    transport: Any = Transport(near.connection)
    until = parse_subject(shown.der).until
    monkeypatch.setattr("time.time", lambda: until)
    assert server.client(transport) is not None
    monkeypatch.setattr("time.time", lambda: until + 1)
    with caplog.at_level(logging.INFO, "sasl_tls"):
        assert server.client(transport) is None
    (record,) = caplog.records
    assert record.getMessage().endswith("it has expired since it was shown")


def test_nobody_is_let_in_after_the_end_of_a_certificate(tls: Tls, authority: Authority) -> None:
    """By no session, ticket or handshake; each way was had before. The time does pass."""
    seconds = 5
    ends = authority.sign(days=(-1, seconds / 86400))
    nameless = authority.sign(Name([]), days=(-1, seconds / 86400))
    until = max(parse_subject(ends.der).until, valid_until(nameless.der))
    ways: dict[str, Callable[[], ssl.SSLSession | None]] = {}
    certificates = {"required": ends, "optional": nameless}
    for library, version, whether in product(("ssl", "pyopenssl"), ("1.2", "1.3"), certificates):
        server = ServerTls.load(
            tls.certificate,
            tls.key,
            cast("Any", library),
            client_ca=authority.file,
            client_certificates=cast("Any", whether),
        )
        context, shown = tls.client(cast("Any", version)), certificates[whether]
        context.load_cert_chain(shown.certificate, shown.key)
        what = f"{library}, TLS {version}, {whether}"
        ways[what] = partial(said_hello, server, context, None)
        ways[f"{what}, resumed"] = partial(said_hello, server, context, ways[what]())
    for way in ways.values():
        way()
    time.sleep(max(0.0, until + 1.1 - time.time()))
    for what, way in ways.items():
        with contextlib.suppress(OSError):
            way()
            pytest.fail(f"let in: {what}")


def said_hello(
    server: ServerTls, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> ssl.SSLSession | None:
    """Hear something of this server over TCP; what can be resumed then."""

    async def serve(stream: ByteStream) -> None:
        linger = 5.0
        try:
            await stream.accept_tls(server, timeout=10)
            stream.write(b"hello")
        except OSError:
            linger = 0.0
        await stream.close(linger)

    def connect(port: int) -> ssl.SSLSession | None:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as end,
        ):
            if end.recv(5) != b"hello":
                raise ConnectionResetError("nothing was heard")
            found = end.session
            with contextlib.suppress(OSError):
                # Who only cuts off is not resumed.
                _ = end.unwrap()
            return found

    async def run() -> ssl.SSLSession | None:
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        listener = await loop.create_server(
            lambda: ByteStream(lambda it: tasks.append(loop.create_task(serve(it))), held=True),
            "127.0.0.1",
            0,
        )
        try:
            return await asyncio.to_thread(connect, listener.sockets[0].getsockname()[1])
        finally:
            listener.close()
            _ = await asyncio.gather(*tasks)

    return asyncio.run(run())


@LIBRARIES
def test_another_authority_after_reload(
    certificates: Mapping[Kind, Tls],
    tmp_path: Path,
    shown: Shown,
    authority: Authority,
    library: Any,
) -> None:
    """Who was believed before is not; a file that is no authority changes nothing."""
    tls, file = certificates["ecdsa"], tmp_path / "ca.pem"
    other = Authority(tmp_path, "others")
    shutil.copy(authority.file, file)
    server = ServerTls.load(tls.certificate, tls.key, library, client_ca=file)
    assert told(server, tls, shown) is not None
    file.write_text("no certificate, but a secret")
    with pytest.raises(ConfigError) as caught:
        server.reload()
    assert "a secret" not in f"{caught.value} {caught.value.detail}"
    assert told(server, tls, shown) is not None
    shutil.copy(other.file, file)
    server.reload()
    with pytest.raises((ssl.SSLError, SSL.Error)):
        told(server, tls, shown)
    assert told(server, tls, other.sign()) is not None


@LIBRARIES
def test_a_file_that_is_no_authority(tls: Tls, tmp_path: Path, library: Any) -> None:
    """It is named, and why."""
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    for path in (tmp_path / "none.pem", empty, tls.key, tmp_path, Path("a\0b")):
        with pytest.raises(ConfigError) as caught:
            ServerTls.load(tls.certificate, tls.key, library, client_ca=path)
        assert path.name.replace("\0", "\\x00") in str(caught.value)


@pytest.mark.parametrize(
    "more",
    [
        {"client_certificates": "required"},
        {"client_certificates": "always", "client_ca": "x"},
        {"client_certificates": True, "client_ca": "x"},
    ],
)
def test_arguments_that_make_no_sense(tls: Tls, more: Any) -> None:
    """Whoever requires certificates says whose."""
    with pytest.raises(UsageError):
        ServerTls.load(tls.certificate, tls.key, **more)


def connected(server: ServerTls, context: ssl.SSLContext) -> TransportFacts:
    """The facts of a connection over TCP."""

    async def run() -> TransportFacts:
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[ByteStream] = loop.create_future()
        listener = await loop.create_server(
            lambda: ByteStream(accepted.set_result, held=True), "127.0.0.1", 0
        )
        port = listener.sockets[0].getsockname()[1]
        client = ByteStream(held=True)
        _ = await loop.create_connection(lambda: client, "127.0.0.1", port)
        stream = await accepted
        before = stream.facts()
        assert (before.external_id, before.external_until) == (None, None)
        _ = await asyncio.gather(
            stream.accept_tls(server, timeout=10),
            client.start_tls(context, server_hostname="localhost", timeout=10),
        )
        facts = stream.facts()
        assert client.facts().external_id is None
        for each in (client, stream):
            with contextlib.suppress(OSError):
                await each.close(0.1)
        listener.close()
        await listener.wait_closed()
        return facts

    return asyncio.run(run())


@LIBRARIES
def test_the_facts_of_a_connection(
    tls: Tls, authority: Authority, shown: Shown, library: Any
) -> None:
    """What a profile tells of its client has the name, from the handshake on."""
    server = ServerTls.load(tls.certificate, tls.key, library, client_ca=authority.file)
    facts = connected(server, shown.client(tls.certificate))
    assert (facts.external_id, facts.external_until) == (NAME, parse_subject(shown.der).until)
    assert facts.external_ssf >= 128
    assert connected(server, tls.client()).external_id is None
