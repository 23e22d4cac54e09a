# Written by tests/tools/write_tutorials.py from docs/tutorials/canonicaliser.md: change the page.
# pyright: reportUnusedCallResult=false
from __future__ import annotations

from collections.abc import Sequence

import attrs

from sasl_core.plugin import (
    CanonContext, CanonFlag, CanonUserPlug, PeerError, SaslUtils, hookimpl, saslprep,
)

SASL_PLUGIN_API = 1


@attrs.frozen
class MailboxOptions:
    """`domain`: ours, cut off user names. None is cut off without it."""

    domain: str = ""


class Mailbox(CanonUserPlug):
    name = "mailbox"

    def __init__(self, options: MailboxOptions) -> None:
        self._domain = options.domain.lower()

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        name = saslprep(user).strip().lower()
        if not name.isascii() or not name.isprintable() or " " in name:
            raise PeerError("a user name is printable ASCII without blanks")
        local, at, domain = name.rpartition("@")
        if at and domain and domain == self._domain:
            name = local
        if not name or (self._domain and name.endswith("@" + self._domain)):
            raise PeerError("the user name is empty, or names our domain twice")
        return name

    canon_user_client = canon_user_server


@hookimpl
def sasl_canonuser_init(utils: SaslUtils) -> Sequence[CanonUserPlug]:
    return [Mailbox(utils.options(MailboxOptions))]


from sasl_auxprop.memory import MemoryStore
from sasl_core import Server
from sasl_core.testing import declare

CONFIG = {
    "canon_user_plugin": "mailbox",
    "canon_user": {"mailbox": {"domain": "example.com"}},
}
registry = declare({"canon_user": {"mailbox": __name__}})
store = MemoryStore()
store.add_user("tim", password="correct horse")

with Server("imap", "mail.example.com", config=CONFIG, registry=registry, stores=[store]) as server:
    for name in ("tim", "TIM", "Tim@Example.com"):
        with server.session(external_ssf=256) as session:
            session.start("PLAIN", f"\0{name}\0correct horse".encode())
            print(name, "is", session.authid)


from sasl_core import Registry
from sasl_core.testing import CanonicalizerConformance


class TestMailbox(CanonicalizerConformance):
    name = "mailbox"
    config = CONFIG
    canonical = {"tim": "tim", " Tim ": "tim", "TIM@Example.COM": "tim", "a@b": "a@b"}
    refused = ("", " ", "a b", "@example.com", "tim@example.com@example.com")
    distinct = (("tim", "tom"), ("tim", "tim@example.org"))

    def registry(self) -> Registry:
        return registry


kit = TestMailbox()
kit.test_declared_names()
kit.test_two_users_stay_two()
kit.test_idempotent()
kit.test_pure()
