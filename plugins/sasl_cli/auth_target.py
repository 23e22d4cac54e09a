"""Which server `sasl auth` is to log in to, and how: what URL and options add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from sasl_cli import profiles
from sasl_cli.addresses import parse_address, parse_url
from sasl_core.plugin import ConfigError, PluginError, UsageError, printable, record, suggestion

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from sasl_cli.profiles import Manner, Profile

__all__ = ["Target", "find_target"]

OURS: Final = {
    "mechanism": "--mechanism",
    "tls": "",
    "cafile": "--cafile",
    "cert": "--cert",
}
"""What an option of a URL can stand for, and the option that says the same."""

BOOLEANS: Final = {"true": True, "false": False}


@record
class Target:
    """The server, and how to log in there.

    `scheme`: the profile's name. `mechanism`: as the protocol calls it, None for the best. `tls`:
    what checks the server, None to do without. `insist`: not to go on without TLS. `cert`: the
    file of the certificate that we show. `options`: the profile's own.
    """

    scheme: str
    profile: Profile
    manner: Manner
    host: str
    port: int
    mechanism: str | None
    tls: ssl.SSLContext | None
    insist: bool
    cert: str | None
    options: Mapping[str, str] = attrs.field(repr=False)

    @property
    def sasl_mechanism(self) -> str | None:
        """The mechanism as SASL calls it."""
        return self.named(self.mechanism)

    def named(self, mechanism: str | None) -> str | None:
        """A mechanism of the protocol's as SASL calls it."""
        return None if mechanism is None else self.manner.aliases.get(mechanism, mechanism)

    @property
    def first_tls(self) -> ssl.SSLContext | None:
        """What checks the server where TLS comes before the first word."""
        return None if self.manner.tls == "starttls" else self.tls

    @property
    def way_to_tls(self) -> str:
        """What to do for TLS where there is none, "" where it can do nothing more."""
        if self.tls is not None:
            return ""
        return "add ?tls=true to the URL" if self.manner.tls == "option" else "not --no-starttls"


def find_target(
    url: str,
    *,
    mechanism: str | None,
    starttls: bool | None,
    cafile: str | None,
    cert: str | None,
    key: str | None,
) -> Target:
    """What the URL and the options of the same name add up to.

    Raises:
        UsageError: it is no URL, has an option that the profile has not, or two things
            contradict each other.
        PluginError: there is no such profile, or none that clients of its protocol use.
        ConfigError: a file of certificates cannot be read.
    """
    read = parse_url(url)
    profile = profiles.load(read.scheme)
    manner = profiles.manner(read.scheme, profile)
    if read.path:
        own_options = [name for name, stands_for in manner.url_options.items() if not stands_for]
        instead = f"; perhaps you mean ?{own_options[0]}=NAME" if own_options else ""
        raise UsageError(f"a URL of {read.scheme}:// has no path behind its host{instead}")
    host, port = parse_address(read.address, profile.PORT, secret=True)
    given: dict[str, str | None] = {"mechanism": mechanism, "cafile": cafile, "cert": cert}
    own: dict[str, str] = {}
    for name, value in read.options.items():
        stands_for = _meaning(read.scheme, manner, name)
        if not stands_for:
            own[name] = value
        elif given.get(stands_for) is not None:
            raise UsageError(f"{name} in the URL and {OURS[stands_for]} say the same; keep one")
        elif not value:
            raise UsageError(f"{name} in the URL is empty")
        else:
            given[stands_for] = value
    cafile, cert = given["cafile"], given["cert"]
    if key is not None and cert is None:
        raise UsageError("--key is the key of a certificate: give --cert too")
    wanted = None if given["mechanism"] is None else given["mechanism"].upper()
    if cert is None and manner.aliases.get(wanted or "") == "EXTERNAL":
        raise UsageError(f"{wanted} shows a certificate of yours: give --cert FILE")
    tls = None
    if _with_tls(read.scheme, manner, starttls, given.get("tls"), named=bool(cafile or cert)):
        tls = _context(cafile, cert, key)
    return Target(
        read.scheme,
        profile,
        manner,
        host,
        port,
        wanted,
        tls,
        starttls is True,
        cert,
        own,
    )


def _meaning(scheme: str, manner: Manner, name: str) -> str:
    """What an option of the URL stands for.

    Raises:
        UsageError: this protocol's URLs have none of that name.
        PluginError: the profile says that it stands for what does not exist.
    """
    found = manner.url_options.get(name)
    if found is None:
        near = suggestion(name, manner.url_options)
        known = ", ".join(manner.url_options) or "none at all"
        raise UsageError(
            f"{scheme}:// has no option {printable(name, 40)!r}{near or f'; it has {known}'}"
        )
    if found and found not in OURS:
        raise PluginError(scheme, "", f"its {name} stands for {printable(found, 40)!r}, not known")
    return found


def _with_tls(
    scheme: str, manner: Manner, starttls: bool | None, asked: str | None, *, named: bool
) -> bool:
    """Whether TLS is to be beneath, or may be. `named`: certificates were named for it.

    Raises:
        UsageError: that is not how TLS comes in here, or two things contradict each other.
    """
    if manner.tls != "starttls" and starttls is not None:
        how = (
            "has TLS from the first octet on"
            if manner.tls == "implicit"
            else "has no such command: ?tls=true in the URL is for TLS"
        )
        raise UsageError(f"--starttls and --no-starttls are not for {scheme}://, which {how}")
    if asked is not None and asked not in BOOLEANS:
        raise UsageError("tls in the URL is true or false")
    wanted = BOOLEANS.get(asked or "", named if manner.tls == "option" else starttls is not False)
    if named and not wanted:
        off = "--no-starttls" if manner.tls == "starttls" else "tls=false"
        raise UsageError(f"--cafile, --cert and the like have nothing to do with {off}")
    return wanted


def _context(cafile: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    """What checks the server's certificate and name, and shows ours if there is one.

    Raises:
        ConfigError: a file cannot be read, or holds not what it should.
    """
    import ssl

    try:
        context = ssl.create_default_context(cafile=cafile)
    except (OSError, ValueError) as error:
        raise _unreadable(error, "no certificates", cafile) from None
    if cert is not None:
        try:
            # A key that is encrypted would have OpenSSL ask on the terminal.
            context.load_cert_chain(cert, key, password=_no_password)
        except (OSError, ValueError) as error:
            what = "no certificate with its key (unencrypted)"
            raise _unreadable(error, what, cert if key is None else f"{cert}, {key}") from None
    return context


def _no_password() -> str:
    return ""


def _unreadable(error: Exception, what: str, file: str | None) -> ConfigError:
    reason = printable(getattr(error, "strerror", None) or error)
    return ConfigError(f"{what} can be read from it: {reason}", file=printable(file))
