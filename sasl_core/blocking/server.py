"""The blocking `Server` and its sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sasl_core import accounts
from sasl_core.core import ServerCore
from sasl_core.edge import sever
from sasl_core.errors import BackendError, SaslError
from sasl_core.facts import facts_from
from sasl_core.flags import SetpassFlag
from sasl_core.negotiation import Reply, ServerNegotiation
from sasl_core.results import Result
from sasl_core.runners.blocking import Background, BlockingRunner
from sasl_core.runners.common import outcome
from sasl_core.session import (
    ServerView,
    canonical,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self, TypeVar, Unpack

    from sasl_core.accounts import SetpassReport
    from sasl_core.audit import AuditListener
    from sasl_core.core import Config
    from sasl_core.facts import ConnectionFacts
    from sasl_core.flags import Decision
    from sasl_core.names import UserName
    from sasl_core.needs import HttpRequest, HttpResponse
    from sasl_core.plugs import AuxpropPlug, Needs
    from sasl_core.properties import PropertyContext
    from sasl_core.registry import Registry
    from sasl_core.utils import SaslUtils

    R = TypeVar("R")

__all__ = ["Server", "ServerSession"]


class ServerSession(ServerView[BlockingRunner]):
    """One attempt of a client to authenticate; `with` closes it."""

    __slots__ = ()

    def start(self, mechanism: str, initial: bytes | None = None) -> Reply:
        """Begin with the client's choice and its initial response (None: it sent none).

        Raises:
            MechanismError: the mechanism is not for this connection, with the reason.
            AuthenticationError: refused. PeerError: the client broke the protocol.
            BackendError: nobody could be asked. UsageError: an attempt was made already.
        """
        negotiation = self._negotiation
        try:
            event = negotiation.start(mechanism, initial)
            return event if type(event) is Reply else self._runner.drive(negotiation, event)
        except BaseException as error:
            _ = sever(error)
            initial = None
            raise

    def step(self, response: bytes) -> Reply:
        """Go on with the client's response (`b""`: an empty one). Raises as `start`."""
        negotiation = self._negotiation
        try:
            event = negotiation.hear(response)
            return event if type(event) is Reply else self._runner.drive(negotiation, event)
        except BaseException as error:
            _ = sever(error)
            response = b""
            raise

    def revalidate(self) -> None:
        """Check again what the login rests on, and take over the grants that there are now.

        For a login by access token: its signature, its times, and its issuer's keys of today;
        `properties` has the grants of today then. The accounts are looked up as at a login; the
        proxy policy is not asked again. Any other login stands.

        Raises:
            AuthenticationError: it does not stand any more, nor ever again.
            BackendError, PluginError: nobody can say now; nothing has changed.
            UsageError: the exchange is not done, or such a token cannot be validated again.
        """
        failure = self._runner.run(self._negotiation.revalidation())
        if failure is not None:
            raise sever(failure)

    def close(self) -> None:
        """End it, and the security layer with it. Idempotent."""
        self._negotiation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._negotiation.close()


class Server:
    """A service that authenticates its clients. Immutable once made, and safe to share.

    `service`: "smtp", "imap", ...; `host`: our fully qualified name. `appname`: whose
    configuration to read, the service's by default. `config`: a `Configuration`, a file's
    path, or the tables of a `sasl.toml` as a mapping; by default the files on
    SASL_CONF_PATH. `realm`: added to names without one (default: `user_realm`).
    `stores`: property stores to use instead of those that `auxprop_plugin` names; they
    stay yours to close, for several servers may share one.
    `checkpass`: the application's own word on a password, asked first: a `Result`, where
    NOVERIFY passes the question on to `pwcheck_method`. `authorize`: the proxy policy,
    asked once per login, last. `audit`: listeners, besides the installed plugins. `http`:
    the transport for plugins that need HTTP. `background`:
    run plugins' periodic work in a daemon thread, not before the next session.

    Raises:
        ConfigError: the configuration is wrong.
        UsageError: a wrong argument.
    """

    def __init__(
        self,
        service: str,
        host: str,
        *,
        appname: str | None = None,
        config: Config = None,
        realm: str | None = None,
        stores: Sequence[AuxpropPlug] = (),
        checkpass: Callable[[UserName, bytes, str], Result] | None = None,
        authorize: Callable[[str, str, PropertyContext], Decision] | None = None,
        audit: Iterable[AuditListener] = (),
        http: Callable[[HttpRequest], HttpResponse] | None = None,
        registry: Registry | None = None,
        background: bool = False,
    ) -> None:
        self._core = ServerCore(
            service,
            host,
            appname=appname,
            config=config,
            realm=realm,
            registry=registry,
            stores=stores,
            has_checkpass=checkpass is not None,
            audit=audit,
        )
        self._runner = BlockingRunner(
            self._core, checkpass=checkpass, authorize=authorize, http=http
        )
        self._background = Background(self._runner) if background else None

    @property
    def core(self) -> ServerCore:
        """What its sessions share: configuration, registry, plugs."""
        return self._core

    @property
    def utils(self) -> SaslUtils:
        """What the Server gives its plugins, for what the application shares with them."""
        return self._core.utils("applications", self._core.appname)

    def run(self, body: Needs[R]) -> R:
        """Run a generator of needs on nobody's behalf: a refresh of keys, say.

        Raises:
            SaslError: whatever it raised.
        """
        self._core.check_open()
        value, failure = self._admin(outcome(body))
        if failure is not None:
            raise sever(failure)
        return cast("R", value)

    def session(self, **facts: Unpack[ConnectionFacts]) -> ServerSession:
        """A session for one attempt, on a connection of which `facts` are known.

        Raises:
            UsageError: an unknown or mistyped fact, or the Server is closed.
        """
        core = self._core
        if core.jobs:
            self._keep_going()
        if core.closed:
            core.check_open()
        runner = self._runner
        asks_policy = runner.authorize is not None
        negotiation = ServerNegotiation(core, facts_from(facts), False, asks_policy)
        return ServerSession(negotiation, runner)

    def checkpass(self, user: str, password: str) -> str:
        """Check a password that came by another way, and return the canonical user (G20).

        Asks as PLAIN does: canonicalisation, the application's callback, `pwcheck_method`,
        the proxy policy.

        Raises:
            AuthenticationError: refused. BackendError: nobody could be asked.
            MechanismError: an unknown method in `pwcheck_method`.
        """
        negotiation: ServerNegotiation | None = None
        try:
            self._core.check_open()
            negotiation = ServerNegotiation(self._core, facts_from({}))
            _ = self._runner.drive(negotiation, negotiation.check(user, password))
            return negotiation.authid
        except BaseException as error:
            _ = sever(error)
            password = ""
            raise
        finally:
            if negotiation is not None:
                negotiation.close()

    def setpass(
        self,
        user: str,
        password: str | None,
        flags: SetpassFlag = SetpassFlag.NONE,
        *,
        mechanism: str | None = None,
        exact: bool = False,
    ) -> SetpassReport:
        """Set a user's password in every store and mechanism that keeps one (G19).

        CREATE makes the user; DISABLE (with no password) locks it; NOPLAIN keeps no
        plaintext anywhere; CURMECH_ONLY sets the secret of `mechanism` alone. `exact`: the
        name is taken as it stands, as that of a login by access token is, and goes to no
        canonicaliser; such a user may be made locked, by CREATE and DISABLE. The report says
        what each target did; its `ok` is whether all went well.

        Raises:
            UsageError: flags that exclude each other, an unusable name or password.
            BackendError: a store failed.
        """
        identity: str | None = None
        try:
            self._core.check_open()
            identity = canonical(self._core, user, exact=exact)
            report = self._runner.run(
                accounts.set_password(self._core, identity, password, flags, mechanism, exact=exact)
            )
            self._core.audit("setpass", report.result, authid=identity)
            return report
        except BaseException as error:
            _ = sever(error)
            password = None
            if isinstance(error, SaslError):
                detail = error.detail or str(error)
                self._core.audit("setpass", error.result, authid=identity, detail=detail)
            raise

    def user_exists(self, user: str, *, exact: bool = False) -> bool:
        """Whether there is such a user, disabled or not (G20). `exact`: as for `setpass`.

        Raises:
            BackendError: no configured method can tell, or one is unavailable.
        """
        self._core.check_open()
        identity = canonical(self._core, user, exact=exact)
        result = self._admin(accounts.user_exists(self._core, identity))
        if result is Result.NOVERIFY:
            raise BackendError(
                "nobody can tell whether the user exists",
                code="cannot-tell",
                result=Result.NOVERIFY,
                temporary=False,
                detail="no method in pwcheck_method can tell whether a user exists",
            )
        return result in (Result.OK, Result.DISABLED)

    def users(self) -> list[UserName]:
        """Every user of every store, each once.

        Raises:
            BackendError: a store failed.
        """
        self._core.check_open()
        return self._admin(accounts.list_users(self._core))

    def _admin(self, body: Needs[R]) -> R:
        try:
            return self._runner.run(body)
        except BaseException as error:
            _ = sever(error)
            raise

    def _keep_going(self) -> None:
        """Run plugins' periodic work that is due, or see to it that somebody does."""
        if self._background is None:
            self._runner.run_due()
        else:
            self._background.start()

    def close(self) -> None:
        """Close every plug and shared thing, once. Sessions must have ended. Idempotent."""
        if self._background is not None:
            self._background.stop()
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
