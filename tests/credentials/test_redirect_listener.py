"""The listener that a browser comes back to: hostile visitors, and its end."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from person_kit import get
from sasl_core import BackendError
from sasl_credentials.redirect import desk as module
from sasl_credentials.redirect.desk import VISITORS
from sasl_credentials.redirect.listener import RedirectListener
from sasl_credentials.redirect.pages import FAILED, WORKED, refusal
from sasl_credentials.redirect.uri import RedirectUri, bind, parse_redirect_uri


def _addresses() -> list[tuple[socket.AddressFamily, str]]:
    """The loopback's addresses that this machine has."""
    found = [(socket.AF_INET, "127.0.0.1")]
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tried:
        tried.bind(("::1", 0))
        found.append((socket.AF_INET6, "::1"))
    return found


ADDRESSES = _addresses()


def accept(query: str) -> str | None:
    """Takes one query and no other."""
    return "heard" if query == "right" else None


def opened(address: str) -> RedirectListener[str]:
    made = RedirectListener(parse_redirect_uri(address, "x"), accept)
    made.open()
    return made


class Waiting:
    """A listener that waits in a thread."""

    def __init__(self, address: str = "http://127.0.0.1/back", seconds: float = 20.0) -> None:
        self.listener = opened(address)
        self.uri = self.listener.uri
        self.port = urlsplit(self.uri).port or 0
        self.got: list[str | None] = []
        self._thread = threading.Thread(
            target=lambda: self.got.append(self.listener.wait(seconds)), daemon=True
        )
        self._thread.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def say(self, data: bytes) -> bytes:
        """What comes back for these octets."""
        with self.connect() as connection:
            connection.sendall(data)
            return heard(connection)

    def join(self) -> str | None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.got[0]

    def come(self) -> None:
        """The browser comes back, and asks for its page."""
        status, headers, _ = get(f"{self.uri}?right")
        assert status == 303
        self.last = threading.Thread(
            target=lambda: self.pages.append(
                get(f"http://127.0.0.1:{self.port}{headers['location']}")
            ),
            daemon=True,
        )
        self.pages: list[tuple[int, object, str]] = []
        self.last.start()

    def page(self) -> str:
        self.last.join(20)
        return self.pages[0][2]


def heard(connection: socket.socket) -> bytes:
    """All that comes until the end."""
    data = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return data


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    """One that is closed at the end, whatever becomes of it."""
    made = Waiting()
    yield made
    made.listener.close()
    _ = made.join()


def request(line: bytes, port: int, *fields: bytes) -> bytes:
    host = b"Host: 127.0.0.1:%d" % port
    return b"\r\n".join([line, host, *fields, b"", b""])


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# --- what it takes, and what not -----------------------------------------------------------


def test_the_right_one_ends_the_wait(waiting: Waiting) -> None:
    """It is sent on at once, and its page waits for what comes of it."""
    waiting.come()
    assert waiting.join() == "heard"
    assert waiting.pages == []
    waiting.listener.finish(worked=True)
    assert waiting.page() == WORKED.partition(b"\r\n\r\n")[2].decode()


def test_who_waits_hears_that_it_failed(waiting: Waiting) -> None:
    """When the listener is closed without a word, as when a login is given up."""
    waiting.come()
    assert waiting.join() == "heard"
    waiting.listener.close()
    assert waiting.page() == FAILED.partition(b"\r\n\r\n")[2].decode()


def test_a_browser_that_does_not_come_for_its_page(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is worth no less; a few seconds are waited for it."""
    monkeypatch.setattr(module, "GRACE", 0.2)
    begin = time.monotonic()
    assert get(f"{waiting.uri}?right")[0] == 303
    assert waiting.join() == "heard"
    assert 0.1 < time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"GET /back?wrong HTTP/1.1", 400),
        (b"GET /back HTTP/1.1", 400),
        (b"GET / HTTP/1.1", 404),
        (b"GET /favicon.ico HTTP/1.1", 404),
        (b"GET /back/?right HTTP/1.1", 404),
        (b"GET /back/x?right HTTP/1.1", 404),
        (b"GET //back?right HTTP/1.1", 404),
        (b"GET /./back?right HTTP/1.1", 404),
        (b"GET /Back?right HTTP/1.1", 404),
        (b"GET /%62ack?right HTTP/1.1", 404),
        (b"GET /back;x?right HTTP/1.1", 404),
        (b"POST /back?right HTTP/1.1", 405),
        (b"HEAD /back?right HTTP/1.1", 405),
        (b"OPTIONS /back?right HTTP/1.1", 405),
        (b"get /back?right HTTP/1.1", 405),
        (b"GET http://127.0.0.1/back?right HTTP/1.1", 400),
        (b"GET /back?right HTTP/2.0", 400),
        (b"GET /back?right", 400),
        (b"GET  /back?right HTTP/1.1", 400),
        (b"GET /back?right#x HTTP/1.1", 400),
        (b"GET /back?ri\xc3\xa4ght HTTP/1.1", 400),
        (b"GET /back?right\n HTTP/1.1", 400),
        (b"PRI * HTTP/2.0", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"", 400),
        (b"GET /back?" + b"x" * 17_000 + b" HTTP/1.1", 431),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_what_does_not_end_the_wait(waiting: Waiting, line: bytes, wanted: int) -> None:
    """Another path, another method, another form: a page in words, and the wait goes on."""
    answer = waiting.say(request(line, waiting.port))
    assert status(answer) == wanted
    assert answer == refusal(wanted)
    waiting.come()
    assert waiting.join() == "heard"


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Host: evil.example.com",
        b"Host: evil.example.com:PORT",
        b"Host: localhost:PORT",
        b"Host: 127.0.0.1",
        b"Host: 127.0.0.1:PORT\r\nHost: 127.0.0.1:PORT",
        b"Host : 127.0.0.1:PORT",
        b"Host: 127.0.0.1:PORT\r\n folded: x",
        b"Host: 127.0.0.1:PORT\r\nno colon",
    ],
)
def test_another_host_is_not_ours(waiting: Waiting, fields: bytes) -> None:
    """A name that somebody lets lead to this machine is not how we are called."""
    named = fields.replace(b"PORT", b"%d" % waiting.port)
    answer = waiting.say(b"GET /back?right HTTP/1.1\r\n" + named + b"\r\n\r\n")
    assert status(answer) == 400
    waiting.come()
    assert waiting.join() == "heard"


@pytest.mark.parametrize("answer", [WORKED, FAILED, *map(refusal, (400, 404, 405, 408, 409, 431))])
def test_every_page_is_plain(answer: bytes) -> None:
    """No script, nothing fetched, nothing kept, readable on a telephone; its length is right."""
    head, _, body = answer.partition(b"\r\n\r\n")
    text = body.decode()
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert int(fields["Content-Length"]) == len(body)
    assert fields["Cache-Control"] == "no-store"
    assert fields["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert fields["Referrer-Policy"] == "no-referrer"
    assert fields["Connection"] == "close"
    assert 'name="viewport"' in text
    assert not [
        word for word in ("<script", "http:", "https:", "src=", "href=", "url(") if word in text
    ]


def test_the_answer_is_in_no_address_and_on_no_page(waiting: Waiting) -> None:
    """The redirect away from it has nothing of it, and no body."""
    with waiting.connect() as connection:
        connection.sendall(request(b"GET /back?right HTTP/1.1", waiting.port))
        answer = heard(connection)
    assert status(answer) == 303
    assert b"right" not in answer
    assert answer.endswith(b"\r\n\r\n")


def test_pieces_are_put_together(waiting: Waiting) -> None:
    """Octet by octet."""
    with waiting.connect() as connection:
        for octet in request(b"GET /back?wrong HTTP/1.1", waiting.port):
            connection.sendall(bytes([octet]))
        assert status(heard(connection)) == 400


# --- hostile visitors ----------------------------------------------------------------------


def test_200_connections_hold_nobody_up(waiting: Waiting) -> None:
    """They say nothing, or half of something; the browser is heard at once."""
    desk: Any = waiting.listener.__dict__["_desk"]
    most = 0
    with ExitStack() as stack:
        for number in range(200):
            connection = stack.enter_context(waiting.connect())
            if number % 2:
                connection.sendall(b"GET /back?ri")
            most = max(most, len(desk.__dict__["_visitors"]))
        begin = time.monotonic()
        waiting.come()
        assert waiting.join() == "heard"
        assert time.monotonic() - begin < 5
        assert 0 < most <= VISITORS
        waiting.listener.finish(worked=True)
        assert "You are logged in" in waiting.page()


def test_200_requests_at_once_are_all_answered(waiting: Waiting) -> None:
    """Those that are complete."""
    answers: list[int] = []

    def ask() -> None:
        with suppress(OSError):
            answers.append(status(waiting.say(request(b"GET /x HTTP/1.1", waiting.port))))

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers.count(404) == len(answers) > 100
    waiting.come()
    assert waiting.join() == "heard"


def test_a_slow_visitor_is_told_so(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """It drips; its time is for all of its request, and not for each piece of it."""
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    with waiting.connect() as connection:
        connection.settimeout(0.05)
        begin, answer = time.monotonic(), b""
        with suppress(OSError):
            while time.monotonic() - begin < 10 and not answer:
                connection.sendall(b"x")
                with suppress(TimeoutError):
                    answer = connection.recv(65536)
        assert time.monotonic() - begin < 8
        assert not answer or status(answer) == 408
    waiting.come()
    assert waiting.join() == "heard"


def test_one_who_says_nothing_is_left_without_a_word(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Browsers open connections before they need them."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with waiting.connect() as connection:
        assert heard(connection) == b""


def test_an_endless_request_ends(waiting: Waiting) -> None:
    """A head without an end takes 64 KiB and no more."""
    with waiting.connect() as connection:
        with suppress(OSError):
            connection.sendall(b"GET /back?right HTTP/1.1\r\nX: " + b"x" * 70_000)
        answer = heard(connection)
    assert not answer or status(answer) == 431
    waiting.come()
    assert waiting.join() == "heard"


def test_an_endless_body_is_not_listened_to(waiting: Waiting) -> None:
    """It has its answer, and a second to hear it."""
    with waiting.connect() as connection:
        connection.sendall(request(b"POST /back?right HTTP/1.1", waiting.port, b"X: y"))
        begin = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - begin < 10:
                connection.sendall(b"x" * 4096)
                time.sleep(0.01)
        assert time.monotonic() - begin < 8
    waiting.come()
    assert waiting.join() == "heard"


def test_one_that_resets_is_gone(waiting: Waiting) -> None:
    """Before, and in the middle of, its request."""
    for said in (b"", b"GET /ba", request(b"GET /back?wrong HTTP/1.1", waiting.port)):
        connection = waiting.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(said)
        connection.close()
    waiting.come()
    assert waiting.join() == "heard"


def test_a_second_answer_is_refused(waiting: Waiting) -> None:
    """While the browser has not come for its page yet."""
    assert get(f"{waiting.uri}?right")[0] == 303
    assert get(f"{waiting.uri}?right")[0] == 400
    assert get(f"http://127.0.0.1:{waiting.port}/last")[0] == 404


# --- where it listens, and until when --------------------------------------------------------


def test_it_listens_on_the_loopback_alone() -> None:
    """Of both families where the name is both's."""
    made = bind(RedirectUri("localhost", None, ""))
    try:
        addresses = {each.getsockname()[0] for each in made}
        assert "127.0.0.1" in addresses
        assert addresses <= {"127.0.0.1", "::1"}
        assert len({each.getsockname()[1] for each in made}) == 1
    finally:
        for each in made:
            each.close()


@pytest.mark.parametrize(("family", "address"), ADDRESSES)
def test_half_of_localhost_is_not_taken(family: socket.AddressFamily, address: str) -> None:
    """Whoever has the port on the other address would get what the browser brings."""
    with socket.socket(family, socket.SOCK_STREAM) as other:
        other.bind((address, 0))
        other.listen(1)
        with pytest.raises(BackendError) as caught:
            _ = bind(RedirectUri("localhost", other.getsockname()[1], ""))
    assert caught.value.code == "redirect-port"


def test_a_machine_without_the_address_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login by localhost needs one of the two, the others theirs."""

    def absent(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        return real(family, kind)

    real = socket.socket
    monkeypatch.setattr("sasl_credentials.redirect.uri.socket.socket", absent)
    (only,) = bind(RedirectUri("localhost", None, ""))
    assert only.getsockname()[0] == "127.0.0.1"
    only.close()
    with pytest.raises(BackendError) as caught:
        _ = bind(RedirectUri("[::1]", None, ""))
    assert "::1" in str(caught.value.detail)


def test_the_time_is_over(waiting: Waiting) -> None:
    """None comes of it."""
    other = Waiting(seconds=0.2)
    assert other.join() is None
    other.listener.close()


def test_closing_ends_the_wait_and_frees_the_port(waiting: Waiting) -> None:
    """At once, from another thread, and as often as anybody likes."""
    begin = time.monotonic()
    waiting.listener.close()
    assert time.monotonic() - begin < 5
    assert waiting.join() is None
    again = bind(RedirectUri("127.0.0.1", waiting.port, ""))
    again[0].close()
    waiting.listener.close()
    assert waiting.listener.wait(5.0) is None


def test_a_cancelled_task_frees_the_port() -> None:
    """Before it has begun, and in the middle of it."""

    async def cancelled(after: float) -> None:
        listener = opened("http://127.0.0.1/")
        task = asyncio.create_task(listener.wait_async(20.0))
        await asyncio.sleep(after)
        _ = task.cancel()
        with pytest.raises(asyncio.CancelledError):
            _ = await task
        port = urlsplit(listener.uri).port
        bind(RedirectUri("127.0.0.1", port, ""))[0].close()

    for after in (0.0, 0.1):
        asyncio.run(cancelled(after))
    end = time.monotonic() + 10
    while any(each.name == "sasl-redirect" for each in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_task_hears_what_came() -> None:
    """The loop goes on meanwhile."""

    async def log_in() -> str | None:
        listener = opened("http://127.0.0.1/back")
        task = asyncio.create_task(listener.wait_async(20.0))
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(listener.uri).port)
        port = urlsplit(listener.uri).port or 0
        writer.write(request(b"GET /back?right HTTP/1.1", port))
        head = await reader.read()
        writer.close()
        last = head.partition(b"Location: ")[2].partition(b"\r\n")[0]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(b"GET " + last + b" HTTP/1.1", port))
        got = await task
        listener.finish(worked=True)
        assert b"You are logged in" in await reader.read()
        writer.close()
        return got

    assert asyncio.run(log_in()) == "heard"


def test_a_port_is_told_as_it_was_written() -> None:
    """Even http's own, which a browser leaves out of the host that it names."""
    made = parse_redirect_uri("http://localhost:80/back", "x")
    assert made.at(80) == "http://localhost:80/back"
    assert made.authority(80) == "localhost"
    assert made.authority(8400) == "localhost:8400"
