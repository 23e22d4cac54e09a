"""What `sasl auth` says when a connection fails: where, and what may be done.

Invariant: what is not known is said to be so (perhaps); nobody is told to do without a check.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from sasl_cli import profiles
from sasl_cli.addresses import show_address
from sasl_cli.output import one_line
from sasl_core.plugin import MechanismError, PeerError, printable

if TYPE_CHECKING:
    from sasl_cli.auth_target import Target
    from sasl_core.plugin import SaslError

__all__ = ["explain"]

GONE: Final = (os.strerror(errno.ECONNRESET), os.strerror(errno.EPIPE))

UNKNOWN_AUTHORITY: Final = ("self-signed certificate", "unable to get local issuer certificate")
"""How OpenSSL says that nobody whom we trust vouches for a certificate."""

NO_TLS_THERE: Final = ("WRONG_VERSION_NUMBER", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE")
"""How OpenSSL says that what came is no TLS."""


def explain(error: SaslError, where: Target, *, opening: bool) -> str:
    """The error in one line. `opening`: the connection did not stand yet, or its TLS did not."""
    line = one_line(error)
    if isinstance(error, MechanismError):
        if "use TLS" in line and where.way_to_tls:
            line += f"; {where.way_to_tls}"
        return line
    if not opening:
        return line
    at = show_address(printable(where.host, 80), where.port)
    return f"{at}: {line}{_hint(error, where, line)}"


def _hint(error: SaslError, where: Target, line: str) -> str:
    """What to do about a connection that could not be opened; "" where nothing is known."""
    scheme, manner = where.scheme, where.manner.tls
    gone = error.code == "closed" or any(each in line for each in GONE)
    if where.tls is not None:
        if any(each in line for each in UNKNOWN_AUTHORITY):
            return "; if you trust who signed its certificate, name that: --cafile FILE"
        if any(each in line for each in NO_TLS_THERE):
            return "; perhaps this port has no TLS" + _with_command(where)
        if "CERTIFICATE_REQUIRED" in line:
            return "; it wants a certificate of ours: --cert FILE"
    if where.cert is not None and (gone or "_ALERT_" in line):
        return f", after our certificate was shown; perhaps it does not believe {where.cert}"
    if manner == "option" and where.tls is None and (gone or isinstance(error, PeerError)):
        return "; perhaps it wants TLS: ?tls=true in the URL"
    if manner == "starttls" and (gone or error.code == "timeout"):
        over_tls = f"{scheme}s"
        if over_tls in profiles.names():
            return f"; perhaps it has TLS from the first octet on: {over_tls}://"
    return ""


def _with_command(where: Target) -> str:
    """The protocol whose TLS comes by a command, if this is its other form."""
    service = where.manner.service
    if where.manner.tls != "implicit" or service not in profiles.names():
        return ""
    return f" from the first octet on: {service}:// has STARTTLS"
