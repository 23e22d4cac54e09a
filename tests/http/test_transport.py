"""The transport against servers that are well, and against every fault."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from http_faults import FAULTS, HUGE, Answer, FaultyServer, Received
from sasl_core.plugin import BackendError, HttpRequest, HttpResponse
from sasl_http import HttpTransport, trust
from sasl_http.errors import CODES

DEADLINE = 0.5
LATE = 1.5
"""How much later than its deadline a request may end: by itself it is some hundredths of a second,
but a machine that stalls is no fault of the transport. What drips would go on for many more.
"""

SECRET = "qr7secret"


@pytest.fixture
def http() -> Iterator[HttpTransport]:
    """A transport, closed afterwards."""
    with HttpTransport() as http:
        yield http


def get(http: HttpTransport, server: FaultyServer, path: str = "/keys", **more: Any) -> Any:
    """What the server answers to a GET."""
    given: dict[str, Any] = {"ca_file": server.ca_file, "cleartext": not server.tls} | more
    return http(HttpRequest("GET", server.url + path, **given))


def refused(http: HttpTransport, server: FaultyServer, **more: Any) -> BackendError:
    """The error of a GET, which tells no secret."""
    headers = (("Authorization", f"Bearer {SECRET}"),)
    with pytest.raises(BackendError) as caught:
        get(http, server, f"/keys?key={SECRET}", headers=headers, **more)
    assert f"{server.url}/keys: " in (caught.value.detail or "")
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.detail}"
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


@contextmanager
def at_its_end(seconds: float = DEADLINE) -> Iterator[None]:
    """Fail unless the body takes just as long as its deadline says."""
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert seconds - 0.01 <= took < seconds + LATE, took


# --- a server that is well ----------------------------------------------------------------------


@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
def test_a_request_and_its_answer(http: HttpTransport, tls: bool) -> None:
    """Method, target, headers and body there; status, headers and body back."""
    told = Answer(201, b"made", (("X-One", "1"), ("X-Two", "2")))
    with FaultyServer(lambda request: told, tls=tls) as server:
        response = http(
            HttpRequest(
                "POST",
                f"{server.url}/a/b?c=%20d",
                headers=(("Content-Type", "text/plain"),),
                body=b"hello" * 20_000,
                ca_file=server.ca_file,
                cleartext=not tls,
            )
        )
    assert response == HttpResponse(
        201, (("x-one", "1"), ("x-two", "2"), ("content-length", "4")), b"made"
    )
    (received,) = server.requests
    assert (received.method, received.target) == ("POST", "/a/b?c=%20d")
    assert received.body == b"hello" * 20_000
    assert received.headers["content-type"] == "text/plain"
    assert received.headers["accept-encoding"] == "identity"
    assert received.headers["connection"] == "close"
    assert received.headers["host"] == server.url.partition("://")[2]


def test_head(http: HttpTransport) -> None:
    """The answer to a HEAD has a length and no body."""
    with FaultyServer() as server:
        response = http(HttpRequest("HEAD", server.url, ca_file=server.ca_file))
    assert dict(response.headers)["content-length"] == "12"
    assert response.body == b""


def test_a_redirect_is_an_answer(http: HttpTransport) -> None:
    """It is not followed."""
    with FaultyServer("redirect") as server:
        response = get(http, server)
        assert server.connections == 1
    assert response.status == 302
    assert dict(response.headers)["location"] == f"{server.url}/elsewhere"


def test_a_body_until_the_close(http: HttpTransport) -> None:
    """Where TLS announces the end, or nothing needs to, that is where a body may end."""
    for tls in (True, False):
        with FaultyServer("until-close", tls=tls) as server:
            assert get(http, server).body == b'{"keys": []}'


def test_the_environment_names_no_proxy(
    http: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can set a variable does not stand between us and the keys."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with FaultyServer() as server:
        assert get(http, server).status == 200


def test_the_environment_gets_no_keys(
    http: HttpTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SSLKEYLOGFILE is not heeded: with its content all traffic can be read."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    with FaultyServer() as server:
        assert get(http, server).status == 200
    assert not list(tmp_path.iterdir())


def test_many_at_once(http: HttpTransport) -> None:
    """One transport serves many threads; each gets its own answer."""
    answers: dict[int, bytes] = {}

    def fetch(number: int) -> None:
        answers[number] = get(http, server, f"/{number}").body

    with FaultyServer(lambda request: Answer(body=request.target.encode())) as server:
        threads = [threading.Thread(target=fetch, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {number: f"/{number}".encode() for number in range(20)}


# --- every fault --------------------------------------------------------------------------------

WELL = {"answer-early", "redirect", "until-close"}
OF_FAULT = {
    "hang-at-once": "http-timeout",
    "slow-tls": "http-timeout",
    "hang": "http-timeout",
    "drip-head": "http-timeout",
    "drip-body": "http-timeout",
    "hang-half-way": "http-timeout",
    "close-at-once": "http-tls",
    "reset-at-once": "http-tls",
    "garbage-at-once": "http-tls",
    "wrong-name": "http-tls",
    "expired": "http-tls",
    "untrusted": "http-tls",
    "close": "http-protocol",
    "reset": "http-protocol",
    "close-half-way": "http-protocol",
    "until-cut-off": "http-protocol",
    "garbage": "http-protocol",
    "gzip": "http-protocol",
    "two-lengths": "http-protocol",
    "both-lengths": "http-protocol",
    "huge": "http-too-large",
    "huge-chunked": "http-too-large",
    "huge-until-close": "http-too-large",
    "endless-head": "http-too-large",
    "endless-interim": "http-too-large",
}
# A connection can be reset before its maker has heard that it stands.
RACE = ("reset-at-once", "http-connect")

# Without TLS these are no faults, or others.
OF_TLS = {"slow-tls", "wrong-name", "expired", "untrusted", "until-cut-off"}
WITHOUT_TLS = OF_FAULT | {
    "close-at-once": "http-protocol",
    "reset-at-once": "http-protocol",
    "garbage-at-once": "http-protocol",
}


def test_every_fault_is_met() -> None:
    """The table below misses none of the kit's."""
    assert set(OF_FAULT) | WELL == set(FAULTS)
    assert set(OF_FAULT.values()) <= set(CODES)


@pytest.mark.parametrize("fault", OF_FAULT)
def test_a_fault_over_tls(http: HttpTransport, fault: str) -> None:
    """Each has its code, is temporary, and none outlasts the deadline."""
    code = OF_FAULT[fault]
    with FaultyServer(fault) as server:
        start = time.monotonic()
        error = refused(http, server, deadline=DEADLINE if code == "http-timeout" else 5)
        took = time.monotonic() - start
    assert error.temporary
    assert error.code == code or (fault, error.code) == RACE
    if code == "http-timeout":
        assert DEADLINE - 0.01 <= took < DEADLINE + LATE
    # What was not trusted was told nothing.
    told = code != "http-tls" and fault not in {"hang-at-once", "slow-tls"}
    assert bool(server.requests) == told


@pytest.mark.parametrize("fault", [fault for fault in OF_FAULT if fault not in OF_TLS])
def test_a_fault_without_tls(http: HttpTransport, fault: str) -> None:
    """The same over plain TCP."""
    code = WITHOUT_TLS[fault]
    with FaultyServer(fault, tls=False) as server:
        start = time.monotonic()
        error = refused(http, server, deadline=DEADLINE if code == "http-timeout" else 5)
        took = time.monotonic() - start
    assert error.temporary
    assert error.code == code or (fault, error.code) == RACE
    if code == "http-timeout":
        assert DEADLINE - 0.01 <= took < DEADLINE + LATE


def test_details_say_what_to_do(http: HttpTransport) -> None:
    """An administrator who reads one knows where to look."""
    said = {
        "untrusted": "name that authority's file",
        "expired": "certificate has expired",
        "wrong-name": "not valid for '127.0.0.1'",
        "hang-at-once": "shaking hands",
        "hang": "waiting for the whole answer",
        "until-cut-off": "TLS's closing alert",
        "huge": "262144 bytes",
    }
    for fault, words in said.items():
        with FaultyServer(fault) as server:
            assert words in (refused(http, server, deadline=DEADLINE).detail or "")


def test_the_machine_does_not_trust_them(http: HttpTransport) -> None:
    """Without its file, a private authority is not believed."""
    with FaultyServer() as server:
        assert refused(http, server, ca_file=None).code == "http-tls"
        assert not server.requests


def test_what_a_context_insists_on() -> None:
    """The certificate, the name in its subjectAltName alone (RFC 9525 section 2), TLS 1.2."""
    context = trust._strict_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert not context.cert_store_stats()["x509"]


def test_a_name_is_verified(http: HttpTransport) -> None:
    """By name as by address; an authority's file may hold an intermediate, or the server's own."""
    for host in ("localhost", "127.0.0.1"):
        with FaultyServer(host=host) as server:
            assert get(http, server).status == 200


def test_a_server_that_goes_and_comes_back(http: HttpTransport) -> None:
    """It is refused while it is away, and answers again."""
    with FaultyServer() as server:
        assert get(http, server).status == 200
        server.stop()
        error = refused(http, server)
        assert error.code == "http-connect"
        assert "127.0.0.1: " in (error.detail or "")
        server.start()
        assert get(http, server).status == 200


@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
def test_an_early_answer_counts(http: HttpTransport, tls: bool) -> None:
    """A server that refuses a long body, and closes before it has read it, is heard."""
    with FaultyServer("answer-early", tls=tls) as server:
        response = http(
            HttpRequest(
                "POST",
                server.url,
                body=b"x" * 20_000_000,
                cleartext=not tls,
                ca_file=server.ca_file,
                deadline=5,
            )
        )
    assert response.status == 413


@pytest.mark.parametrize("fault", ["huge", "huge-chunked", "huge-until-close"])
def test_a_huge_body_takes_no_memory(http: HttpTransport, fault: str) -> None:
    """It is cut at the limit; what was heard of it is less than a megabyte."""
    with FaultyServer(fault) as server:
        refused(http, server)  # Everything is loaded that will be.
        tracemalloc.start()
        try:
            refused(http, server)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 1_500_000, peak
    assert server.sent < HUGE // 2


def test_a_body_of_just_the_limit(http: HttpTransport) -> None:
    """Comes; one byte more does not."""
    with FaultyServer(lambda request: Answer(body=b"x" * 300_000)) as server:
        assert len(get(http, server, limit=300_000).body) == 300_000
        assert refused(http, server, limit=299_999).code == "http-too-large"


# --- deadlines that the server has no part in ---------------------------------------------------


@contextmanager
def answers_to_names(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]
) -> Iterator[list[Any]]:
    """The look-ups of names, which `answer` answers; addresses stay addresses."""
    real, asked = socket.getaddrinfo, list[Any]()

    def getaddrinfo(host: bytes, port: int, *more: Any, **named: Any) -> Any:
        if named.get("flags"):
            return real(host, port, *more, **named)
        asked.append(host)
        return answer(real, host, port)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked
    monkeypatch.undo()


def test_a_resolver_that_hangs(http: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up at the deadline, and asked once by all who ask meanwhile."""
    free = threading.Event()

    def hang(real: Any, host: bytes, port: int) -> Any:
        free.wait(20)
        return real(b"127.0.0.1", port)

    with FaultyServer(host="localhost") as server, answers_to_names(monkeypatch, hang) as asked:
        for _ in range(2):
            with at_its_end():
                error = refused(http, server, deadline=DEADLINE)
            assert error.code == "http-timeout"
            assert "looking up its name" in (error.detail or "")
        assert len(asked) == 1
        free.set()
        assert get(http, server).status == 200
        assert set(asked) == {b"localhost"}


def test_a_name_that_is_none(http: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver said is in the detail."""

    def unknown(real: Any, host: bytes, port: int) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with FaultyServer(host="localhost") as server, answers_to_names(monkeypatch, unknown):
        error = refused(http, server)
    assert error.code == "http-connect"
    assert "Name or service not known" in (error.detail or "")


def test_a_name_without_an_address(http: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that finds nothing of use."""
    with (
        FaultyServer(host="localhost") as server,
        answers_to_names(monkeypatch, lambda real, host, port: []),
    ):
        assert "no address" in (refused(http, server).detail or "")


def _info(host: str, port: int) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", (host, port, 0, 0) if ":" in host else (host, port))


def test_the_next_address_is_tried(http: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses is passed over: IPv6 first, then IPv4."""

    def both(real: Any, host: bytes, port: int) -> Any:
        return [_info(each, port) for each in ("127.0.0.1", "127.0.0.3", "::1")]

    with FaultyServer(host="localhost") as server, answers_to_names(monkeypatch, both):
        assert get(http, server).status == 200
        server.stop()
        detail = refused(http, server).detail or ""
    assert detail.index("::1: ") < detail.index("127.0.0.1: ") < detail.index("127.0.0.3: ")


def test_a_machine_without_ipv6(http: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no such socket, and goes on to the address that it can reach."""
    real = socket.socket

    def without(family: int = -1, *more: Any, **named: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *more, **named)

    def both(real: Any, host: bytes, port: int) -> Any:
        return [_info(each, port) for each in ("::1", "127.0.0.1")]

    with FaultyServer(host="localhost") as server, answers_to_names(monkeypatch, both):
        monkeypatch.setattr("sasl_http.connection.socket.socket", without)
        assert get(http, server).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="a full queue of Linux drops connections")
def test_an_address_that_is_silent(http: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves time for the next; alone, it is given up at the deadline."""
    with _silent() as (host, port):
        request = HttpRequest("GET", f"https://{host}:{port}/", deadline=DEADLINE)
        with at_its_end(), pytest.raises(BackendError) as caught:
            http(request)
        assert caught.value.code == "http-timeout"
        assert "while connecting" in (caught.value.detail or "")

        def silent_first(real: Any, asked: bytes, asked_port: int) -> Any:
            return [_info(host, port), _info("127.0.0.1", asked_port)]

        with FaultyServer(host="localhost") as server, answers_to_names(monkeypatch, silent_first):
            assert get(http, server, deadline=3).status == 200


@contextmanager
def _silent() -> Iterator[tuple[str, int]]:
    """An address that takes no more connections, and refuses none."""
    with socket.socket() as full:
        full.bind(("127.0.0.4", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            with suppress(BlockingIOError):
                each.connect(full.getsockname())
        time.sleep(0.05)
        yield full.getsockname()
        for each in waiting:
            each.close()


def test_a_deadline_that_is_over(http: HttpTransport) -> None:
    """Nobody is connected to."""
    with FaultyServer() as server:
        for deadline in (0, -1):
            assert refused(http, server, deadline=deadline).code == "http-timeout"
        assert not server.connections


def test_what_was_waited_for_before_counts(http: HttpTransport) -> None:
    """A server that thinks for a while and hangs then has one deadline, not two."""

    def slow(request: Received) -> Answer:
        time.sleep(0.6)
        return Answer(body=b"a document")

    with FaultyServer(slow, fault="hang-half-way") as server, at_its_end(1.0):
        assert refused(http, server, deadline=1.0).code == "http-timeout"


def test_a_body_that_nobody_reads(http: HttpTransport) -> None:
    """Sending ends by the deadline too."""
    for tls in (True, False):
        with FaultyServer("hang-at-once" if not tls else "hang", tls=tls) as server, at_its_end():
            with pytest.raises(BackendError) as caught:
                http(
                    HttpRequest(
                        "POST",
                        server.url,
                        body=b"x" * 20_000_000 if not tls else b"x",
                        deadline=DEADLINE,
                        ca_file=server.ca_file,
                        cleartext=not tls,
                    )
                )
            assert caught.value.code == "http-timeout"


# --- files of authorities -----------------------------------------------------------------------


def _missing(folder: Path) -> Path:
    return folder / "missing.pem"


def _of(content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "made.pem"
        path.write_bytes(content)
        return path

    return make


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


@pytest.mark.parametrize(
    "make",
    [
        _missing,
        _of(b""),
        _of(b"no certificate"),
        _of(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        _of(b"\0\xff"),
        _pipe,
        lambda folder: folder,
        lambda folder: folder / "a\0b",
    ],
    ids=["missing", "empty", "text", "broken", "binary", "pipe", "folder", "NUL"],
)
def test_a_file_of_authorities_that_is_none(
    http: HttpTransport, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """It is named, nobody is connected to, and trying again does not help."""
    path = make(tmp_path)
    with FaultyServer() as server:
        with pytest.raises(BackendError) as caught:
            get(http, server, ca_file=str(path))
        assert not server.connections
    assert (caught.value.code, caught.value.temporary) == ("http-ca-file", False)
    # As Python writes it, and that once more as a log can take it.
    assert tmp_path.name in (caught.value.detail or "")


def test_a_file_of_authorities_that_changes(http: HttpTransport, tmp_path: Path) -> None:
    """It is read again, and not before."""
    path = tmp_path / "ca.pem"
    with FaultyServer() as server, FaultyServer() as other:
        ours, theirs = (Path(each.ca_file or "").read_bytes() for each in (server, other))
        path.write_bytes(theirs)
        assert refused(http, server, ca_file=str(path)).code == "http-tls"
        path.write_bytes(ours + theirs)
        assert get(http, server, ca_file=str(path)).status == 200
        assert get(http, other, ca_file=str(path)).status == 200
        path.unlink()
        assert get(http, server).status == 200
        with pytest.raises(BackendError, match="out of order"):
            get(http, server, ca_file=str(path))


def test_a_context_is_made_once(http: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the authorities costs more than a request does."""
    made: list[int] = []
    real = trust._strict_context

    def counted() -> ssl.SSLContext:
        made.append(1)
        return real()

    monkeypatch.setattr(trust, "_strict_context", counted)
    with FaultyServer() as server:
        for _ in range(3):
            get(http, server)
    assert len(made) == 1


def test_an_old_tls_is_refused(http: HttpTransport) -> None:
    """TLS 1.1 is not spoken."""
    with FaultyServer() as server:
        context = server.context("good")
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        assert refused(http, server).code == "http-tls"


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
def test_closing_ends_what_is_under_way(http: HttpTransport, tls: bool) -> None:
    """A request that waits fails at once; none is taken afterwards; closing again does nothing."""
    errors: list[BackendError] = []
    with FaultyServer("hang", tls=tls) as server:
        thread = threading.Thread(
            target=lambda: errors.extend([refused(http, server, deadline=30)]), daemon=True
        )
        thread.start()
        end = time.monotonic() + 10
        while not server.requests and time.monotonic() < end:
            time.sleep(0.01)
        start = time.monotonic()
        http.close()
        thread.join(10)
        assert time.monotonic() - start < 2
        http.close()
        with pytest.raises(BackendError) as caught:
            get(http, server)
    assert [error.code for error in errors] == ["http-closed"]
    assert caught.value.code == "http-closed"


def test_nothing_heavy_is_loaded_before_a_request(tmp_path: Path) -> None:
    """Neither by the import nor by a transport that nobody uses."""
    code = (
        "import sys, sasl_http\n"
        "print(*sys.modules)\n"
        "sasl_http.HttpTransport().close()\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=60,
    )
    first, second = (set(line.split()) for line in done.stdout.splitlines())
    assert "sasl_core" not in first
    assert "sasl_http.transport" in second
    assert not second & {"ssl", "socket", "asyncio", "http.client", "sasl_http.carrier"}
