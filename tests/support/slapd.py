"""OpenLDAP's server: a directory of the tests' own, whose users log in through Cyrus SASL.

Debian's slapd reads options of SASL from /etc alone, and needs none of them: its own property
plugin looks the password up in the directory, where it stands in clear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from daemons import free_port, home_of, running
from mailhost import Authority

__all__ = ["Slapd", "serving_slapd"]

SUFFIX = "dc=example"

ROOT = f"""
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: example
"""

USER = f"""
dn: uid={{name}},{SUFFIX}
objectClass: account
objectClass: simpleSecurityObject
uid: {{name}}
userPassword: {{password}}
"""

CONFIGURATION = f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
pidfile {{home}}/pid
TLSCertificateFile {{home}}/server.pem
TLSCertificateKeyFile {{home}}/server.key
sasl-host localhost
sasl-auxprops slapd
sasl-cbinding {{binding}}
authz-regexp uid=([^,]*),.*cn=auth uid=$1,{SUFFIX}
database ldif
suffix {SUFFIX}
directory {{home}}
access to attrs=userPassword by * auth
access to * by * read
"""


@dataclass(frozen=True)
class Slapd:
    """One that runs: its ports on 127.0.0.1, and of whom it tells us to be."""

    port: int
    tls_port: int

    @staticmethod
    def name_of(user: str) -> str:
        """What it answers when `user` asks who it is."""
        return f"dn:uid={user},{SUFFIX}"


@contextmanager
def serving_slapd(
    need: Callable[[str], str], authority: Authority, binding: str, users: dict[str, str]
) -> Iterator[Slapd]:
    """A server that binds to the channel by `binding`, as slapd.conf(5) calls it."""
    programs = [need("slapd"), need("slapadd")]
    with home_of("openldap") as home:
        home.write("server.pem", authority.certificate.read_bytes())
        home.write("server.key", authority.key.read_bytes())
        text = CONFIGURATION.format(home=home.folder, binding=binding)
        file = str(home.write("slapd.conf", text))
        entries = [ROOT, *(USER.format(name=name, password=users[name]) for name in users)]
        ldif = str(home.write("users.ldif", "".join(entries).lstrip()))
        home.call(programs[1], "-f", file, "-l", ldif)
        ports = free_port(), free_port()
        listen = f"ldap://127.0.0.1:{ports[0]} ldaps://127.0.0.1:{ports[1]}"
        # -d 0: no messages, and it stays in the foreground.
        with running(home, [programs[0], "-d", "0", "-f", file, "-h", listen], *ports):
            yield Slapd(*ports)
