"""Dovecot's submission server, which checks tokens by itself with the keys of an issuer.

All of it runs as one account without root's rights, in a folder of its own. It never asks the
issuer: keys lie in files, by the token's `azp`, `alg` and `kid`. What it lets through it hands on
to a relay, which it logs in to by a password.
"""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from daemons import Home, free_port, home_of, running
from mailhost import PASSWORD, USER, Authority, MailHost
from peers import SECONDS
from token_kit import FakeIssuer, SigningKey

__all__ = ["CONFIGURATION_URL", "Dovecot", "serving_dovecot"]

CONFIGURATION_URL = "https://issuer.example.com/.well-known/openid-configuration"
"""Where its errors say that tokens come from."""

# The penalty and the delay make clients wait who were refused: seconds, which the tests have not.
CONFIGURATION = """
base_dir = {home}/run
state_dir = {home}/state
log_path = /dev/stderr
auth_verbose = yes
listen = 127.0.0.1
protocols = submission
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
first_valid_gid = 0
ssl = required
ssl_cert = <{home}/server.pem
ssl_key = <{home}/server.key
auth_mechanisms = oauthbearer xoauth2
auth_failure_delay = 0
mail_location = maildir:~/mail
submission_relay_host = 127.0.0.1
submission_relay_port = {relay}
submission_relay_user = {relay_user}
submission_relay_password = {relay_password}
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {home}/oauth2.conf
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={home}/people/%u
}}
service submission-login {{
  chroot =
  inet_listener submission {{
    port = {port}
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""

TOKENS = """
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={home}/keys/
issuers = {issuer}
audience = {audience}
scope = mail
username_attribute = sub
openid_configuration_url = {url}
"""


class Dovecot:
    """One that runs: its port on 127.0.0.1, with STARTTLS."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log
        self._read = 0

    def hear(self, text: str) -> str:
        """What it has logged since the last call, once `text` stands in it.

        Raises:
            AssertionError: it does not log that in time.
        """
        limit = time.monotonic() + SECONDS
        while text not in (said := self._log.read_text("utf-8", "replace")[self._read :]):
            assert time.monotonic() < limit, f"{text!r} is not in its log: {said}"
            time.sleep(0.01)
        self._read += len(said)
        return said


@contextmanager
def serving_dovecot(
    need: Callable[[str], str], authority: Authority, issuer: FakeIssuer, relay: MailHost
) -> Iterator[Dovecot]:
    """A server that believes what `issuer` signs for its audience, and hands mail on to `relay`."""
    program = need("dovecot")
    _ = need("/usr/lib/dovecot/submission")
    with home_of("dovecot") as home:
        user, group = _names(home)
        _ = home.write("server.pem", authority.certificate.read_bytes())
        _ = home.write("server.key", authority.key.read_bytes())
        for key in issuer.keys.values():
            _ = home.write(f"keys/default/{key.alg}/{key.kid}", _public(key))
        assert isinstance(issuer.audience, str)
        tokens = TOKENS.format(
            home=home.folder, issuer=issuer.url, audience=issuer.audience, url=CONFIGURATION_URL
        )
        _ = home.write("oauth2.conf", tokens)
        port = free_port()
        text = CONFIGURATION.format(
            home=home.folder,
            user=user,
            group=group,
            port=port,
            relay=relay.port,
            relay_user=USER,
            relay_password=PASSWORD,
        )
        file = home.write("dovecot.conf", text)
        with running(home, [program, "-F", "-c", str(file)], port):
            yield Dovecot(port, home.folder / "output")


def _names(home: Home) -> tuple[str, str]:
    """The account and its group, by name: Dovecot's configuration takes no numbers there."""
    found = pwd.getpwuid(os.getuid()) if home.account is None else pwd.getpwnam(home.account)
    return found.pw_name, grp.getgrgid(found.pw_gid).gr_name


def _public(key: SigningKey) -> bytes:
    """The public half as PEM."""
    pem: bytes = key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem
