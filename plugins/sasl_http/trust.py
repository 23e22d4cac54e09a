"""Whose certificates are believed: TLS contexts, made once for each file of authorities.

Without a file it is whom the machine believes, as OpenSSL finds them: the environment's
SSL_CERT_FILE and SSL_CERT_DIR are heeded, for administrators set them on purpose. Where nobody but
the configuration may say whom to trust, a file of authorities is named.
"""

from __future__ import annotations

import errno
import os
import ssl
import stat
from typing import Any, Final, TypeAlias

from sasl_http.errors import trouble

__all__ = ["Trust"]

Stamp: TypeAlias = tuple[int, int, int, int] | None

ADVICE: Final = "name a readable PEM file of the authorities' certificates"


class Trust:
    """The contexts by file. A file that has changed is read again at the next request.

    Two threads may make the same context at once, and one of the two is kept: that is all that a
    lock would spare.
    """

    def __init__(self) -> None:
        self._contexts: dict[str | None, tuple[Stamp, ssl.SSLContext]] = {}

    def context(self, ca_file: str | None) -> ssl.SSLContext:
        """TLS that trusts the authorities in that file alone; None: those of the machine.

        Raises:
            BackendError: `http-ca-file`: it is missing, unreadable, or holds no certificate.
        """
        stamp = _stamp(ca_file)
        known = self._contexts.get(ca_file)
        if known is not None and known[0] == stamp:
            return known[1]
        context = _strict_context()
        if ca_file is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            _load(context, ca_file)
        self._contexts[ca_file] = (stamp, context)
        return context


class _Closing(ssl.SSLSocket):
    """A connection that is closed when it turns out, while TLS is put on it, to be broken.

    `wrap_socket` has taken the plain one over by then, and hands out neither.
    """

    def getpeername(self) -> Any:
        try:
            return super().getpeername()
        except OSError:
            pass
        self.close()
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


def _strict_context() -> ssl.SSLContext:
    # Not create_default_context: it writes every session's keys where the environment's
    # SSLKEYLOGFILE says, and its flags differ from one Python to the next.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    context.hostname_checks_common_name = False  # RFC 9525 section 2: names are in subjectAltName.
    # Whoever is in the file is trusted, be it an intermediate authority without its root.
    context.verify_flags |= ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = _Closing
    return context


def _load(context: ssl.SSLContext, ca_file: str) -> None:
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ValueError):
        problem = f"it is not readable as such; {ADVICE}"
    else:
        if context.cert_store_stats()["x509"]:
            return
        problem = f"it holds no certificate; {ADVICE}"
    raise trouble("http-ca-file", _named(ca_file), problem)


def _stamp(ca_file: str | None) -> Stamp:
    """What changes when the file does."""
    if ca_file is None:
        # The machine's own, if that is a file; certificates in a folder are looked up one by one.
        return _state(ssl.get_default_verify_paths().cafile or "")[0]
    stamp, problem = _state(ca_file)
    if stamp is None:
        raise trouble("http-ca-file", _named(ca_file), f"{problem}; {ADVICE}")
    return stamp


def _state(path: str) -> tuple[Stamp, str]:
    """The stamp of a file, or None and why there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - pathlib is not needed for anything else here
    except OSError as error:
        return None, error.strerror or type(error).__name__
    except ValueError:
        return None, "it is no path"
    if not stat.S_ISREG(found.st_mode):  # A pipe would be waited for.
        return None, "it is no file"
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev), ""


def _named(ca_file: str) -> str:
    return f"the file of authorities {ca_file!r}"
