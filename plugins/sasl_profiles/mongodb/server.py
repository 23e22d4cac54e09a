"""A MongoDB server for asyncio that does nothing but log in, by a `sasl_core.aio.Server`.

Invariants: one SASL session for each exchange, closed however it ends, or with the login that
came of it; a client that drips, floods, errs or vanishes costs one task until its limits end
it, and whoever is logged in nothing; nobody is kept out by a login that has lapsed; `close`
leaves no task, no session and no socket behind.

Source: MongoDB's manual, "MongoDB Wire Protocol"; the driver authentication specification.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

from sasl_core.plugin import (
    AuthenticationError,
    BindingPolicy,
    ConfigError,
    Decision,
    UsageError,
    UserName,
    printable,
)
from sasl_profiles.mongodb.client_task import ClientTask, connection_facts
from sasl_profiles.mongodb.events import Command, Limits
from sasl_profiles.mongodb.exchange import EXTERNAL, MECHANISMS, SASL_NAMES, X509
from sasl_profiles.mongodb.names import ADMIN, another_database, check_database, parse_user
from sasl_profiles.mongodb.options import MongodbOptions
from sasl_profiles.mongodb.room import LAST, rank
from sasl_tls import ServerTls
from sasl_tls.facts import TransportFacts
from sasl_tls.listener import StreamServer

if TYPE_CHECKING:
    import ssl

    from sasl_core import ConnectionFacts
    from sasl_core.aio import Server
    from sasl_core.plugin import PropertyContext
    from sasl_tls.stream import ByteStream

__all__ = ["CommandHandler", "MongodbServer"]

CommandHandler: TypeAlias = Callable[[Command], Awaitable[Mapping[str, object] | bytes]]
"""Answers a command: with a document, as a mapping or as BSON."""

STRONG: Final = 256
"""Bits of a connection that nobody would call weak."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class MongodbServer(StreamServer[ClientTask]):
    """Listens, and lets clients log in.

    `server`: whose users they are; it stays open when this is closed. `databases`: the
    database of SCRAM's users -> the Server that knows them, whose realm is its name; by
    default `server` itself at `admin`. Users of PLAIN, MONGODB-OIDC and MONGODB-X509 are at
    "$external", and `server` knows them. `administrators`: who may replace the identity
    providers, each as DATABASE.USER, as in "admin.tim" or "$external.okta/tim". `tls`: speak TLS
    with this, from the first octet. `on_command`: answers the commands that are not known here,
    of clients that are logged in; without it they are refused. `limits`: of each client.
    `max_connections`: beyond it a client that is not logged in makes room, as
    `sasl_profiles.mongodb.room` says.

    Raises:
        UsageError: a database cannot be one of users, or an administrator is no user of one.
    """

    def __init__(
        self,
        server: Server,
        *,
        databases: Mapping[str, Server] | None = None,
        administrators: Iterable[str] = (),
        tls: ServerTls | ssl.SSLContext | None = None,
        on_command: CommandHandler | None = None,
        limits: Limits | None = None,
        max_connections: int = 1000,
    ) -> None:
        super().__init__(max_connections=max_connections, held=True)
        self.server = server
        self.databases = {ADMIN: server} if databases is None else dict(databases)
        for name in self.databases:
            _ = check_database(name)
        self.administrators = frozenset(parse_user(each, self.databases) for each in administrators)
        self.tls = tls if tls is None or isinstance(tls, ServerTls) else ServerTls(tls)
        self.on_command = on_command
        self.limits = limits or Limits()
        self._numbers = count(1)
        self._own: list[Server] = []

    @classmethod
    def configured(
        cls, server: Server, *, tls: ServerTls | None, binding: BindingPolicy
    ) -> MongodbServer:
        """A server as the table `[profiles.mongodb]` of the configuration of `server` says.

        Raises:
            ConfigError: what the table says is wrong.
            UsageError: `binding` is REQUIRE.
        """
        if binding is BindingPolicy.REQUIRE:
            raise UsageError("channel binding cannot be required: no driver of MongoDB's has it")
        options = server.core.configuration.plugin_options("profiles", "mongodb", MongodbOptions)
        names = [_read("databases", name, check_database) for name in options.databases]
        for text in options.administrators:
            _ = _read("administrators", text, lambda each: parse_user(each, names or (ADMIN,)))
        own = {name: _server_of(server, name) for name in names}
        made = cls(server, databases=own or None, administrators=options.administrators, tls=tls)
        made._own += own.values()
        return made

    async def close(self) -> None:
        """Stop listening and send every client away. Idempotent."""
        await super().close()
        while self._own:
            await self._own.pop().close()

    # --- what clients' tasks ask ----------------------------------------------------------------

    def mechanisms(self, facts: ConnectionFacts) -> tuple[str, ...]:
        """What any user can log in by on a connection of which these facts are known."""
        servers = {self.server, *self.databases.values()}
        offered = {name for server in servers for name in _offer(server, facts)}
        return tuple(name for name in MECHANISMS if SASL_NAMES.get(name, name) in offered)

    def server_for(self, mechanism: str, database: str) -> Server:
        """The Server that knows the users of `database` who log in by `mechanism`.

        Raises:
            AuthenticationError: there are none; the same, whoever they say they are.
        """
        external = MECHANISMS[mechanism]
        server = self.server if external else self.databases.get(database)
        if server is None or external is not (database == EXTERNAL):
            problem = f"nobody logs in at the database {printable(database, 64)!r} by {mechanism}"
            _log.info("%s", problem)
            raise AuthenticationError(detail=problem)
        return server

    def check_certificate(self, facts: ConnectionFacts) -> None:
        """Whether whoever comes over such a connection has shown a certificate.

        Where nobody could log in by one, whatever it is, that is not the reason.

        Raises:
            AuthenticationError: there is none, and with one there would be a way.
        """
        if facts.get("external_id"):
            return
        ideal: ConnectionFacts = {**facts, "external_id": "somebody", "external_ssf": STRONG}
        if SASL_NAMES[X509] in _offer(self.server, ideal):
            problem = "the client has shown no certificate that names anybody"
            _log.info("no login by %s: %s", X509, problem)
            raise AuthenticationError(detail=problem)

    def external_problem(self, name: str) -> str | None:
        """Why a user of the stores cannot be `name` at "$external"; None: there is no reason.

        Raises:
            ConfigError: the identity providers are wrong, and nobody knows whose names are theirs.
        """
        realm = UserName.parse(name).realm
        if self.databases.get(realm, self.server) is not self.server:
            return f"{printable(name, 80)!r} is a user of the database {realm!r}"
        prefix, slash, _ = name.partition("/")
        if slash:
            from sasl_tokens.manager import idp_manager

            providers = idp_manager(self.server.utils).providers
            if any(each.config.auth_name_prefix == prefix for each in providers):
                return f"{printable(name, 80)!r} is the name of who bears a token of {prefix!r}"
        return None

    def reload_providers(self, providers: list[object] | str) -> None:
        """Replace the identity providers.

        Raises:
            ConfigError: they are wrong; those that there were go on to serve.
        """
        from sasl_tokens.manager import idp_manager

        manager = idp_manager(self.server.utils)
        manager.reload(
            providers
            if isinstance(providers, str)
            else cast("list[Mapping[str, object]]", providers)
        )

    def _check(self) -> None:
        facts = connection_facts(TransportFacts())
        for server in {self.server, *self.databases.values()}:
            _ = _offer(server, facts)

    def _client(self, stream: ByteStream) -> ClientTask:
        return ClientTask(self, stream, next(self._numbers))

    def _makes_room(self) -> bool:
        """Whether one more client has a place, be it that another loses its own."""
        clients, places = self._clients, self.max_connections
        if len(clients) < places:
            return True
        # Whoever comes to a full server costs one look at all: no lists, and nothing twice.
        now = asyncio.get_running_loop().time()
        present, chosen, lowest = 0, None, LAST
        for task, client in clients.items():
            if client.dismissed:
                continue
            present += 1
            loses = rank(client, now)
            # In this order, for few are lower than all before them.
            if loses < lowest and not client.stands(now):
                chosen, lowest = (task, client), loses
        if present < places:
            return True
        if chosen is None:
            return False
        task, client = chosen
        client.dismissed = True
        _ = task.cancel()
        return True


def _read(option: str, text: str, read: Callable[[str], T]) -> T:
    """What `read` makes of a text in the list `option` of our table.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return read(text)
    except UsageError as error:
        problem = str(error)
    raise ConfigError(f"{printable(text, 80)!r}: {problem}", key=f"profiles.mongodb.{option}")


def _server_of(server: Server, database: str) -> Server:
    """A Server for the users of `database`, with the stores and the settings of `server`.

    It lets in nobody else: the core asks before it says that somebody is in.
    """
    from sasl_core.aio import Server

    def authorize(authid: str, authzid: str, _properties: PropertyContext) -> Decision:
        if UserName.parse(authid).realm != database:
            raise another_database(authid, database)
        return Decision.PERMIT if authid == authzid else Decision.DENY

    core = server.core
    scram = [f"SCRAM-{name}" for name in core.scram_hashes]
    only: dict[str, object] = {
        "mech_list": [name for name in scram if name in MECHANISMS],
        "scram_hashes": list(core.scram_hashes),
    }
    return Server(
        core.service,
        core.host,
        config=core.configuration.overlaid(only),
        appname=core.appname,
        realm=database,
        stores=core.stores(),
        registry=core.registry,
        authorize=authorize,
    )


def _offer(server: Server, facts: ConnectionFacts) -> tuple[str, ...]:
    session = server.session(**facts)
    try:
        return session.mechanisms()
    finally:
        session.close()
