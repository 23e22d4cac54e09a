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
    assert "cannot be reached" in done.stderr


def test_a_server_that_says_nothing(sasl: Sasl) -> None:
    """--timeout bounds the wait."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"smtp://127.0.0.1:{silent.getsockname()[1]}"
        done = sasl.log_in(url, "--timeout", "0.3")
    assert (done.returncode, done.stderr) == (1, "sasl: the server did not answer in time\n")


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
