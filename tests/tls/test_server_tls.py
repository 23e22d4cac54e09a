"""`ServerTls.load`: files that do, files that do not, and a package that is not there."""

from __future__ import annotations

import shutil
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from OpenSSL import SSL

from sasl_core import BindingPolicy, ConfigError, PluginError, UsageError
from sasl_tls import ServerTls, server_end_point
from tls_kit import Kind, PyOpenSslEnd, SslEnd, Tls, server_end, shake_hands

LIBRARIES = pytest.mark.parametrize("library", ["ssl", "pyopenssl"])


@LIBRARIES
@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "ed25519"])
def test_keys_of_each_kind_serve(
    certificates: Mapping[Kind, Tls], library: Any, kind: Kind, tmp_path: Path
) -> None:
    """In a file of their own, or in one with the certificate."""
    tls = certificates[kind]
    both = tmp_path / "both.pem"
    both.write_bytes(tls.certificate.read_bytes() + tls.key.read_bytes())
    for loaded in (tls.server(library), ServerTls.load(str(both), library=library)):
        client = SslEnd(tls.client(), server=False)
        shake_hands(server_end(loaded), client)
        assert client.connection.getpeercert(binary_form=True) == tls.der


@LIBRARIES
def test_older_versions_are_not_spoken(tls: Tls, library: Any) -> None:
    """TLS 1.2 at the least, and no renegotiation."""
    loaded = tls.server(library)
    if loaded._ssl is not None:
        assert loaded._ssl.minimum_version == 0x0303
    else:
        assert loaded._pyopenssl is not None
        options = SSL.Connection(loaded._pyopenssl, None).set_options(0)
        assert options & SSL.OP_NO_RENEGOTIATION
        assert options & SSL.OP_NO_TICKET


def encrypted(key: Any) -> bytes:
    made: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"open sesame"),
    )
    return made


def bad_files(folder: Path, tls: Tls, other: Tls) -> dict[str, tuple[Path, Path]]:
    """A certificate and a key that do not make a server, by what is wrong."""
    paths = {name: folder / f"{name}.pem" for name in ("none", "text", "encrypted", "dsa", "empty")}
    paths["text"].write_text("no certificate, but a secret")
    paths["empty"].write_text("")
    paths["encrypted"].write_bytes(encrypted(ec.generate_private_key(ec.SECP256R1())))
    paths["dsa"].write_bytes(
        dsa.generate_private_key(2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return {
        "no certificate": (paths["none"], tls.key),
        "no key": (tls.certificate, paths["none"]),
        "a text": (paths["text"], paths["text"]),
        "nothing in it": (paths["empty"], tls.key),
        "another key": (tls.certificate, other.key),
        "an encrypted key": (tls.certificate, paths["encrypted"]),
        "a key of DSA": (tls.certificate, paths["dsa"]),
        "no key in it": (tls.certificate, tls.certificate),
        "a folder": (folder, tls.key),
    }


@LIBRARIES
def test_files_that_make_no_server_are_configuration_errors(
    certificates: Mapping[Kind, Tls], library: Any, tmp_path: Path
) -> None:
    """The file is named, and nothing of its contents is repeated."""
    cases = bad_files(tmp_path, certificates["ecdsa"], certificates["rsa"])
    for what, (certificate, key) in cases.items():
        with pytest.raises(ConfigError) as caught:
            ServerTls.load(certificate, key, library)
        shown = f"{caught.value} {caught.value.detail}"
        assert str(key if what == "no key" else certificate) in shown, what
        assert "a secret" not in shown
        assert caught.value.__cause__ is None


def test_without_pyopenssl_the_extra_is_named(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is in the message; the standard library's TLS does without."""
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    with pytest.raises(PluginError, match=r"sasl-core\[tls\]") as caught:
        tls.server("pyopenssl")
    assert caught.value.code == "missing-package"
    assert tls.server("ssl")._ssl is not None


def test_a_path_that_is_no_path_is_a_configuration_error(tls: Tls) -> None:
    """NUL in a name, which the system does not take."""
    for library in ("ssl", "pyopenssl"):
        with pytest.raises(ConfigError):
            ServerTls.load("a\0b", tls.key, library)


def test_the_certificate_is_read_when_it_is_loaded(tls: Tls, tmp_path: Path) -> None:
    """A file that is replaced later does not change what is sent, nor what it is bound by."""
    certificate = tmp_path / "copy.pem"
    shutil.copy(tls.certificate, certificate)
    loaded = ServerTls.load(certificate, tls.key)
    certificate.unlink()
    transport, sent = connected(loaded)
    assert (sent, bound_by(loaded, transport)) == (tls.der, server_end_point(tls.der))


class Transport:
    """As much of a transport as `ServerTls.bindings` asks."""

    def __init__(self, end: SslEnd | PyOpenSslEnd) -> None:
        self._name = "ssl_object" if isinstance(end, SslEnd) else "pyopenssl_connection"
        self._connection = end.connection

    def get_extra_info(self, name: str) -> object:
        return self._connection if name == self._name else None


def connected(tls: ServerTls) -> tuple[Any, bytes]:
    """A transport after a handshake, and the certificate that was sent on it."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    server, client = server_end(tls), SslEnd(trusting, server=False)
    shake_hands(server, client)
    sent = client.connection.getpeercert(binary_form=True)
    assert sent is not None
    return Transport(server), sent


def bound_by(tls: ServerTls, transport: Any) -> bytes:
    """The tls-server-end-point of a connection, which is required."""
    data = tls.bindings(transport, BindingPolicy.REQUIRE)["tls-server-end-point"]
    assert isinstance(data, bytes)
    return data


@LIBRARIES
def test_a_renewed_certificate_is_sent_and_bound_after_reload(
    certificates: Mapping[Kind, Tls], tmp_path: Path, library: Any
) -> None:
    """Both change together; connections that stand keep the certificate that they began with."""
    old, new = certificates["ecdsa"], certificates["rsa"]
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    shutil.copy(old.certificate, chain)
    shutil.copy(old.key, key)
    loaded = ServerTls.load(chain, key, library)
    before, _ = connected(loaded)
    shutil.copy(new.certificate, chain)
    with pytest.raises(ConfigError):
        loaded.reload()
    after, sent = connected(loaded)
    assert (sent, bound_by(loaded, after)) == (old.der, server_end_point(old.der))
    shutil.copy(new.key, key)
    loaded.reload()
    after, sent = connected(loaded)
    assert (sent, bound_by(loaded, after)) == (new.der, server_end_point(new.der))
    assert bound_by(loaded, before) == server_end_point(old.der)


def test_what_was_not_loaded_cannot_be_reloaded(tls: Tls) -> None:
    """A context of the application's own came from no files that are known."""
    made = ServerTls(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), tls.der)
    with pytest.raises(UsageError, match=r"ServerTls\.load did not make this"):
        made.reload()


@LIBRARIES
def test_a_missing_key_is_named_and_not_the_certificate(
    tls: Tls, tmp_path: Path, library: Any
) -> None:
    """The file that is not there is the one to look at."""
    with pytest.raises(ConfigError, match=r"missing\.key: .*No such file") as caught:
        ServerTls.load(tls.certificate, tmp_path / "missing.key", library)
    assert str(tls.certificate) not in str(caught.value)
