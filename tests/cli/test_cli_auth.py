"""`sasl auth` against what is no server, or none of ours."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from cli_runs import PASSWORD, Sasl


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:25",
        "smtp:127.0.0.1",
        "smtp://",
        f"smtp://tim:{PASSWORD}@127.0.0.1:25",
        "smtp://127.0.0.1:70000",
        "smtp://[::1:25",
        "smtp://127.0.0.1/path",
    ],
)
def test_what_is_no_server(sasl: Sasl, url: str) -> None:
    """A URL that is none, or holds more than an address: one line, nothing of it repeated."""
    done = sasl.run("auth", url, "--mechanism", "ANONYMOUS")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"smtp://tim:{PASSWORD}@127.0.0.1:25", "does not belong into the URL: --user NAME"),
        (f"smtp://tim:{PASSWORD}", "that is no address: HOST:PORT"),
        (f"smtp://tim:a/{PASSWORD}@127.0.0.1", "does not belong into the URL"),
        (f"smtp://127.0.0.1/{PASSWORD}", "a URL of smtp:// has no path behind its host\n"),
        (f"smtp://127.0.0.1,{PASSWORD}", "name one host"),
    ],
)
def test_a_url_that_says_too_much(sasl: Sasl, url: str, said: str) -> None:
    """What to do instead; nothing of what may be a password is repeated, as `run` checks."""
    done = sasl.run("auth", url, "--mechanism", "ANONYMOUS")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert said in done.stderr


def test_the_help_names_what_a_url_can_be(sasl: Sasl) -> None:
    """Each protocol with its port, and what MongoDB's needs."""
    done = sasl.run("auth", "--help")
    for text in ("smtp://", "587", "smtps://", "465", "mongodb://", "tls=", "authSource=", "27017"):
        assert text in done.stdout
    assert "Arguments:\n  - <str>" not in sasl.run("token", "validate", "--help").stdout


def test_a_mechanism_with_a_slip_of_the_pen(sasl: Sasl) -> None:
    """The nearest that is installed, before a password is asked for."""
    done = sasl.run("auth", "smtp://127.0.0.1:1", "--user", "tim", "--mechanism", "SCRAM-SHA-257")
    said = "no mechanism 'SCRAM-SHA-257' is installed; did you mean 'SCRAM-SHA-256'?"
    assert (done.returncode, done.stderr) == (1, f"sasl: {said}\n")


def test_what_was_said_is_drawn_when_it_is_interrupted(
    sasl: Sasl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends the wait for a server that hangs sees how far it came."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sasl_profiles.smtp.SmtpClient.authenticate", interrupt)
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db)) as served:
        done = sasl.log_in(f"smtp://{served.address}", "--trace")
    assert done.returncode not in (0, 1)
    assert "EHLO" in done.stdout
    assert "authenticated" not in done.stdout


def test_nobody_to_log_in(sasl: Sasl) -> None:
    """Without --user and without a mechanism that needs none there is nothing to try."""
    done = sasl.run("auth", "smtp://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (
        1,
        "sasl: give --user, or a --mechanism that needs none, or an access token\n",
    )


def test_a_server_that_is_not_there(sasl: Sasl) -> None:
    """Nobody listens: one line, and 1."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    done = sasl.log_in(f"smtp://127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"sasl: 127.0.0.1:{port}: the server cannot be reached: ")
    assert "perhaps" not in done.stderr


def test_a_server_that_says_nothing(sasl: Sasl) -> None:
    """--timeout bounds the wait; it may be one that waits for a TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = sasl.log_in(f"smtp://{address}", "--timeout", "0.3")
    said = f"sasl: {address}: the server did not answer in time; perhaps it has TLS from the first "
    assert (done.returncode, done.stderr) == (1, f"{said}octet on: smtps://\n")


def test_a_certificate_file_that_is_none(sasl: Sasl, certificate: tuple[Path, Path]) -> None:
    """--cafile of nothing, or of a key: the file is named."""
    for name in ("nowhere.pem", str(certificate[1])):
        done = sasl.log_in("smtp://127.0.0.1:1", "--cafile", name)
        assert done.returncode == 1
        assert Path(name).name in done.stderr
    done = sasl.log_in("smtp://127.0.0.1:1", "--cafile", "x", "--no-starttls")
    assert "nothing to do with" in done.stderr


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff\xfe\x00",
        b"220 \x1b[31mred\r\n",
        b"220 mail\r\n500 \x1b]0;title\x07no\r\n",
        b"999 mail\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220-" + b"x" * 100_000,
        b"220 mail\r\n250-mail\r\n250 AUTH SCRAM-SHA-256\r\n334 \x1b[31m\r\n",
        b"220 mail\r\n250-mail\r\n250 AUTH SCRAM-SHA-256\r\n235 welcome\r\n",
    ],
)
def test_whatever_answers_the_terminal_is_safe(sasl: Sasl, said: bytes) -> None:
    """A server that talks nonsense: 1, one line, and none of its control characters."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            client, _ = listener.accept()
            with client, suppress(OSError):
                client.sendall(said)
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass

        talker = threading.Thread(target=talk)
        talker.start()
        url = f"smtp://127.0.0.1:{listener.getsockname()[1]}"
        done = sasl.log_in(url, "--trace", "--timeout", "5")
        talker.join(10)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert not {"\x1b", "\x07", "\x00"} & set(done.stdout + done.stderr)
    assert "authenticated" not in done.stdout
