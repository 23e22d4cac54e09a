"""`sasl serve`, and `sasl auth` against it, over TCP."""

from __future__ import annotations

import signal
import smtplib
import socket
from pathlib import Path

import pytest

from cli_runs import Sasl, lines


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "scram-sha-256", None])
def test_a_user_logs_in(sasl: Sasl, mechanism: str | None) -> None:
    """The right password: 0 and who it is; the wrong one: 1 and a line."""
    sasl.user("tim")
    options = () if mechanism is None else ("--mechanism", mechanism)
    used = (mechanism or "SCRAM-SHA-256").upper()
    with sasl.serving("--db", str(sasl.db)) as served:
        url = f"smtp://{served.address}"
        done = sasl.log_in(url, *options)
        assert (done.returncode, done.stdout) == (0, f"authenticated as tim by {used}\n")
        done = sasl.log_in(url, *options, password="wrong")
        assert (done.returncode, done.stdout) == (1, "")
        assert "authentication failed" in done.stderr
        # A password that goes in clear is never passed over in silence.
        assert ("allow_cleartext is implied" in done.stderr) is (used == "PLAIN")


def test_the_servers_log_tells_each_login(sasl: Sasl) -> None:
    """Standard error has a line for each, with the administrator's detail and no secret."""
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db)) as served:
        url = f"smtp://{served.address}"
        sasl.log_in(url)
        sasl.log_in(url, password="wrong")
        assert served.end(signal.SIGTERM) == 0
    assert "login OK: mechanism=SCRAM-SHA-256 authid=tim" in served.log
    assert "login BADAUTH: mechanism=SCRAM-SHA-256 authid=tim" in served.log
    assert "wrong proof" in served.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(sasl: Sasl, number: signal.Signals) -> None:
    """0, clients are sent away with 421, nobody listens any more, the store is closed."""
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db)) as served:
        with (
            socket.create_connection(("127.0.0.1", served.port), timeout=10) as client,
            client.makefile("rb") as replies,
        ):
            assert replies.readline().startswith(b"220 ")
            assert served.end(number) == 0
            assert replies.readline().startswith(b"421 ")
            assert replies.read() == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", served.port), timeout=10)
    # SQLite removes its log when the last connection is closed.
    assert [p.name for p in sasl.folder.glob("users.sqlite*")] == ["users.sqlite"]


def test_cleartext_on_the_loopback_is_implied_and_said(sasl: Sasl) -> None:
    """PLAIN is offered there without TLS, and a line says why; asked for, none does."""
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db)) as served:
        assert "PLAIN" in offered(served.port)
        served.end(signal.SIGTERM)
    assert "--allow-cleartext is implied" in served.log
    with sasl.serving("--db", str(sasl.db), "--allow-cleartext") as served:
        assert "PLAIN" in offered(served.port)
        served.end(signal.SIGTERM)
    assert "implied" not in served.log


def test_beyond_the_loopback_cleartext_is_refused(sasl: Sasl) -> None:
    """On all interfaces PLAIN is neither offered nor taken without TLS, unless asked for."""
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db), listen="0.0.0.0:0") as served:
        assert offered(served.port) == {"SCRAM-SHA-256"}
        done = sasl.log_in(f"smtp://127.0.0.1:{served.port}", "--mechanism", "PLAIN", "--trace")
        assert done.returncode == 1
        # What is not offered is not even tried: the password would be on its way.
        assert "does not offer PLAIN, but SCRAM-SHA-256" in done.stderr
        assert "AUTH PLAIN" not in done.stdout
        assert sasl.log_in(f"smtp://127.0.0.1:{served.port}").returncode == 0
    with sasl.serving(
        "--db", str(sasl.db), "--allow-cleartext", listen="0.0.0.0:0"
    ) as served:  # fmt: skip
        assert "PLAIN" in offered(served.port)


def offered(port: int) -> set[str]:
    """What EHLO offers, as the standard library's client reads it."""
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.ehlo()
        return set(client.esmtp_features["auth"].split())


def test_anonymous_is_let_in_only_when_asked(sasl: Sasl) -> None:
    """Without --anonymous it is not offered; with it nobody needs a password."""
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db)) as served:
        done = sasl.run("auth", f"smtp://{served.address}", "--mechanism", "ANONYMOUS")
        assert done.returncode == 1
    with sasl.serving("--db", str(sasl.db), "--anonymous") as served:
        done = sasl.run("auth", f"smtp://{served.address}", "--mechanism", "ANONYMOUS")
        assert (done.returncode, done.stdout) == (0, "authenticated as anonymous by ANONYMOUS\n")


def test_a_strangers_mechanism_that_breaks_stops_nothing(sasl: Sasl) -> None:
    """Its availability() raises: a line at the start, a reason in the list; of its text nothing."""
    sasl.module(
        "broken",
        """
        from sasl_core.plugin import Feature, SecurityFlag, ServerPlug, hookimpl

        SASL_PLUGIN_API = 1

        class Plug(ServerPlug):
            name = "X-BROKEN"
            security_flags = SecurityFlag.NOPLAINTEXT
            features = Feature.WANT_CLIENT_FIRST

            def availability(self):
                raise ValueError("s3cr3t")

            def converse(self, ctx):
                yield from ()

        @hookimpl
        def sasl_server_plug_init(utils):
            return [Plug()]
        """,
    )
    sasl.install("broken", ("mechanisms", "X-BROKEN", "broken"))
    sasl.user("tim")
    file = sasl.folder / "sasl.toml"
    file.write_text('mech_list = ["SCRAM-SHA-256", "X-BROKEN"]\n')
    said = "its availability() raised ValueError at broken.py:"
    with sasl.serving("--config", str(file), "--db", str(sasl.db)) as served:
        assert offered(served.port) == {"SCRAM-SHA-256"}
        assert served.end(signal.SIGTERM) == 0
    assert f"sasl: warning: mechanism 'X-BROKEN' is not offered: {said}" in served.log
    done = sasl.run("plugins", "--json")
    assert done.returncode == 0
    assert said in done.stdout
    assert "s3cr3t" not in served.log + done.stdout


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_ipv6_is_written_in_brackets(sasl: Sasl) -> None:
    """`[::1]:0` is listened on, printed and taken in the same form."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db), listen="[::1]:0") as served:
        assert served.address == f"[::1]:{served.port}"
        assert sasl.log_in(f"smtp://{served.address}", "--mechanism", "PLAIN").returncode == 0


def test_a_trace_shows_the_conversation_without_its_secrets(sasl: Sasl) -> None:
    """--trace draws every line; password, proof and signature are masked, names are not."""
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db)) as served:
        url = f"smtp://{served.address}"
        plain = sasl.log_in(url, "--mechanism", "PLAIN", "--trace")
        scram = sasl.log_in(url, "--trace")
        wrong = sasl.log_in(url, "--trace", password="wrong")
    assert "AUTH PLAIN ****" in plain.stdout
    assert r"\0tim\0****" in plain.stdout
    assert "n,,n=tim,r=" in scram.stdout
    assert "p=****" in scram.stdout
    assert "v=****" in scram.stdout
    assert scram.stdout.endswith("authenticated as tim by SCRAM-SHA-256\n")
    assert "e=invalid-proof" in wrong.stdout
    assert wrong.returncode == 1
    assert max(map(len, lines(scram.stdout))) <= 80


def test_acting_for_another_is_refused(sasl: Sasl) -> None:
    """--authzid reaches the server, whose default is to let nobody act for another."""
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db)) as served:
        url = f"smtp://{served.address}"
        assert sasl.log_in(url, "--authzid", "ann").returncode == 1
        assert sasl.log_in(url, "--authzid", "tim").returncode == 0
        served.end(signal.SIGTERM)
    assert "authid=tim authzid=ann" in served.log


# --- TLS --------------------------------------------------------------------------------------


def test_tls_is_used_where_it_is_offered(sasl: Sasl, certificate: tuple[Path, Path]) -> None:
    """STARTTLS comes first of itself, is checked against --cafile, and carries PLAIN."""
    cert, key = map(str, certificate)
    sasl.user("tim")
    with sasl.serving(
        "--db", str(sasl.db), "--tls-cert", cert, "--tls-key", key, listen="0.0.0.0:0"
    ) as served:  # fmt: skip
        url = f"smtp://127.0.0.1:{served.port}"
        done = sasl.log_in(url, "--mechanism", "PLAIN", "--cafile", cert, "--trace")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "TLS from here on" in done.stdout
        assert sasl.log_in(url, "--starttls", "--cafile", cert).returncode == 0
        untrusted = sasl.log_in(url)
        assert untrusted.returncode == 1
        assert "certificate" in untrusted.stderr
        assert sasl.log_in(url, "--no-starttls", "--mechanism", "PLAIN").returncode == 1
        assert sasl.log_in(url, "--no-starttls").returncode == 0


def test_tls_that_is_insisted_on_and_not_offered(sasl: Sasl) -> None:
    """--starttls gives up before a password could go."""
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db)) as served:
        done = sasl.log_in(f"smtp://{served.address}", "--starttls", "--trace")
    assert done.returncode == 1
    assert "does not offer STARTTLS" in done.stderr
    assert "AUTH SCRAM-SHA-256 " not in done.stdout.partition("250 AUTH")[2]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--tls-key", "key.pem"), "--tls-key goes with --tls-cert"),
        (("--tls-cert", "nowhere.pem"), "nowhere.pem"),
        (("--tls-cert", "key.pem"), "key.pem"),
        (("--db", ""), "path"),
        (("--config", "nowhere.toml"), "no such file"),
        (("--host-name", "a b"), "host"),
    ],
)
def test_what_cannot_be_served_ends_at_once(
    sasl: Sasl, certificate: tuple[Path, Path], options: tuple[str, ...], problem: str
) -> None:
    """Files that are not there or do not belong together: one line, and 1."""
    del certificate
    done = sasl.run("serve", "smtp", "--listen", "127.0.0.1:0", "--allow-cleartext", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1", "127.0.0.1:", "::1:0", "[::1]", "[::1", "127.0.0.1:x", "a b:1"]
)
def test_what_is_no_address_to_listen_on(sasl: Sasl, address: str) -> None:
    """HOST:PORT, nothing less: one line, and 1."""
    done = sasl.run("serve", "smtp", "--listen", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sasl: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_store_that_is_not_there_is_a_warning(sasl: Sasl) -> None:
    """A mistyped path is said at once; users that are made later log in all the same."""
    with sasl.serving("--db", str(sasl.db)) as served:
        sasl.user("tim")
        assert sasl.log_in(f"smtp://{served.address}").returncode == 0
        served.end(signal.SIGTERM)
    assert "sasl: warning: sasldb" in served.log
    assert "does not exist" in served.log


def test_an_address_that_is_taken(sasl: Sasl) -> None:
    """The system's reason is told."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        done = sasl.run("serve", "smtp", "--listen", address, "--allow-cleartext")
    assert done.returncode == 1
    assert lines(done.stderr)[-1].startswith(f"sasl: cannot listen on {address}: ")
    assert "in use" in done.stderr


def test_a_profile_that_is_not_there(sasl: Sasl) -> None:
    """Both commands say which there are; one that cannot be served says what it lacks."""
    for served in ("smpt", "imap"):
        done = sasl.run("serve", served, "--listen", "127.0.0.1:0")
        hint = "; did you mean 'smtp'?" if served == "smpt" else ""
        said = f"sasl: there is no protocol {served!r}; there are mongodb, smtp{hint}\n"
        assert (done.returncode, done.stderr) == (1, said)
    done = sasl.run("auth", "imap://127.0.0.1:1", "--mechanism", "ANONYMOUS")
    assert done.stderr == "sasl: there is no protocol 'imap'; there are mongodb, smtp, smtps\n"
    sasl.module("half", "PORT = 7")
    sasl.install("half", ("profiles", "half", "half"))
    for done in (
        sasl.run("serve", "smpt", "--listen", "127.0.0.1:0"),
        sasl.run("auth", "smpt://127.0.0.1:1", "--mechanism", "ANONYMOUS"),
    ):
        assert done.returncode == 1
        assert "did you mean 'smtp'?" in done.stderr
    done = sasl.run("serve", "half", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert "make_server" in done.stderr


def test_a_strangers_profile_is_served_and_logged_in_to(sasl: Sasl) -> None:
    """The command line knows no protocol: one that wraps SMTP under another name works as well."""
    sasl.module(
        "sealed",
        """
        from sasl_profiles.smtp import make_client, make_server

        PORT = 1
        """,
    )
    sasl.install("sealed", ("profiles", "sealed", "sealed"))
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db), profile="sealed") as served:
        assert sasl.log_in(f"sealed://{served.address}").returncode == 0


# --- channel binding --------------------------------------------------------------------------

# Options of the server and of the client: what the client was bound by, or why not.
BOUND = [
    (("--tls-library", "pyopenssl"), (), ", bound to TLS by tls-server-end-point"),
    (("--binding", "require"), ("--binding", "require"), ", bound to TLS by tls-server-end-point"),
    ((), (), "the server does not offer SCRAM-SHA-256-PLUS"),
    (("--tls-library", "pyopenssl"), ("--binding", "off"), "--binding is off"),
    (
        ("--tls-library", "pyopenssl"),
        ("--mechanism", "SCRAM-SHA-256"),
        ", bound to TLS by tls-server-end-point",
    ),
]


def test_a_mechanism_that_was_not_asked_for_blames_no_key(sasl: Sasl) -> None:
    """Nobody has set client_mech_list: --mechanism did."""
    sasl.user("tim")
    with sasl.serving("--db", str(sasl.db)) as served:
        url = f"smtp://{served.address}"
        done = sasl.log_in(url, "--mechanism", "SCRAM-SHA-256", "--binding", "require")
    assert done.returncode == 1
    assert "; PLAIN: not in --mechanism, or in client_mech_list; " in done.stderr
    assert "it is not in" not in done.stderr


@pytest.mark.parametrize(("serve", "auth", "said"), BOUND)
def test_both_ends_say_what_a_login_is_bound_by(
    sasl: Sasl,
    certificate: tuple[Path, Path],
    serve: tuple[str, ...],
    auth: tuple[str, ...],
    said: str,
) -> None:
    """The client prints it, the server logs it; where there is none, the reason is told."""
    sasl.user("tim")
    cert, key = map(str, certificate)
    options = ("--db", str(sasl.db), "--tls-cert", cert, "--tls-key", key, *serve)
    with sasl.serving(*options) as served:
        done = sasl.log_in(f"smtp://{served.address}", "--starttls", "--cafile", cert, *auth)
        served.end(signal.SIGTERM)
    assert done.returncode == 0, done.stderr
    if said.startswith(","):
        assert done.stdout == f"authenticated as tim by SCRAM-SHA-256-PLUS{said}\n"
        assert "tim is bound to its TLS connection by tls-server-end-point" in served.log
        assert done.stderr == ""
    else:
        assert done.stdout == "authenticated as tim by SCRAM-SHA-256\n"
        assert done.stderr == f"sasl: not bound to TLS: {said}\n"
    if not serve:
        assert "Python's ssl cannot export it" in served.log


def test_a_client_that_insists_is_not_let_down(sasl: Sasl, certificate: tuple[Path, Path]) -> None:
    """No -PLUS, no login: the reason, and 1."""
    sasl.user("tim")
    cert, key = map(str, certificate)
    with sasl.serving("--db", str(sasl.db), "--tls-cert", cert, "--tls-key", key) as served:
        url = f"smtp://{served.address}"
        done = sasl.log_in(url, "--cafile", cert, "--binding", "require")
        assert (done.returncode, done.stdout) == (1, "")
        assert "channel binding is required" in done.stderr
        done = sasl.log_in(url, "--no-starttls", "--binding", "require")
        assert done.returncode == 1
        served.end(signal.SIGTERM)
    assert "login OK" not in served.log


@pytest.mark.parametrize(
    "options",
    [("--binding", "require"), ("--tls-library", "pyopenssl"), ("--tls-key", "key.pem")],
)
def test_options_that_need_a_certificate(sasl: Sasl, options: tuple[str, ...]) -> None:
    """Each says so: no option is taken and ignored."""
    done = sasl.run("serve", "smtp", "--listen", "127.0.0.1:0", "--db", str(sasl.db), *options)
    assert done.returncode == 1
    assert "goes with --tls-cert" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[mechanisms.EXTERNAL]\nneed_acount = true\n",
            "{file}: mechanisms.EXTERNAL.need_acount: unknown option 'need_acount'; did you mean",
        ),
        (
            "[mechanisms.OAUTHBEARER]\nvalidation = 'introspection'\n",
            "mechanisms.OAUTHBEARER: validation = 'introspection' needs introspection_url",
        ),
        ("[mechanisms.PLAIN]\nfoo = 1\n", "{file}: mechanisms.PLAIN.foo: plugin 'PLAIN' takes"),
    ],
)
def test_a_slip_in_a_mechanisms_table_ends_it(sasl: Sasl, text: str, said: str) -> None:
    """A server that lacked what the table demands would let in whom it keeps out."""
    sasl.user("tim")
    file = sasl.folder / "sasl.toml"
    file.write_text(text)
    done = sasl.run(
        "serve", "smtp", "--listen", "127.0.0.1:0", "--config", str(file), "--db", str(sasl.db)
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    last = lines(done.stderr)[-1]
    assert last.startswith(f"sasl: {said.format(file=file)}"), last


def test_a_mechanism_that_is_counted_on_and_not_offered_is_told(sasl: Sasl) -> None:
    """Named in mech_list, or with a table of its own: once each, at the start, with the reason."""
    sasl.user("tim")
    file = sasl.folder / "sasl.toml"
    file.write_text('mech_list = ["SCRAM-SHA-256", "GSSAPI"]\n[mechanisms.XOAUTH2]\nscope = "m"\n')
    with sasl.serving("--config", str(file), "--db", str(sasl.db)) as served:
        assert offered(served.port) == {"SCRAM-SHA-256"}
        assert served.end(signal.SIGTERM) == 0
    told = [line for line in lines(served.log) if "is not offered" in line]
    assert len(told) == 2, served.log
    assert told[0].startswith("sasl: mechanism 'GSSAPI' is not offered: ")
    assert told[1].startswith("sasl: warning: mechanism 'XOAUTH2' is not offered: no identity")
