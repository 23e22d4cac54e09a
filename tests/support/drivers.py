"""The three ways to drive an exchange, behind one face.

`blocking` and `asyncio` are the application's doors. `raw` is an application that takes
`session.raw()` and supplies every need by itself, with the `Supplier` below and none of
the core's runners. Each test of a rule runs through all three.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import sasl_core
from sasl_auxprop.memory import MemoryStore
from sasl_core import accounts, aio
from sasl_core.core import ServerCore
from sasl_core.edge import backend_failure
from sasl_core.errors import BackendError
from sasl_core.flags import CanonFlag, Decision, SetpassFlag
from sasl_core.names import UserName
from sasl_core.needs import (
    NeedAuthorize,
    NeedCall,
    NeedCallback,
    NeedDerivation,
    NeedHttp,
    NeedPassword,
    NeedStore,
    NeedUser,
    PasswordAnswer,
)
from sasl_core.negotiation import ClientNegotiation, Negotiation, Reply, ServerNegotiation
from sasl_core.plugs import Needs
from sasl_core.results import Result
from sasl_core.session import canonical
from sasl_core.verifier import SCRAM_HASHES

__all__ = ["DRIVERS", "Driver", "Handle", "Session", "Supplier", "exchange", "make_driver"]

R = TypeVar("R")

DRIVERS = ("blocking", "asyncio", "raw")
HOST = "mail.example.com"


class Supplier:
    """Answers needs as an application of its own kind would."""

    def __init__(self, core: Any, **callbacks: Callable[..., Any] | None) -> None:
        self.core = core
        self.callbacks = callbacks

    def drive(self, negotiation: Negotiation, event: object) -> Reply:
        """Answer until there is something to send."""
        while not isinstance(event, Reply):
            try:
                answer = self.answer(event)
            except Exception as error:  # noqa: BLE001 - told to the negotiation.
                event = negotiation.fail(error)
            else:
                event = negotiation.answer(answer)
        return event

    def run(self, body: Needs[R]) -> R:
        """Answer what a look-up or a write asks for in turn."""
        try:
            need = next(body)
            while True:
                try:
                    answer = self.answer(need)
                except Exception as error:  # noqa: BLE001 - thrown where it was asked.
                    need = body.throw(backend_failure(need, error))
                else:
                    need = body.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result

    def answer(self, need: object) -> object:
        callback = self.callbacks.get
        match need:
            case NeedUser():
                names = [name.lstrip("*") for name in need.properties]
                return self.run(accounts.look_up(self.core, UserName.parse(need.authid), names))
            case NeedAuthorize():
                policy = callback("authorize")
                if policy is not None:
                    return policy(need.authid, need.authzid, need.properties)
                return Decision.PERMIT if need.authid == need.authzid else Decision.DENY
            case NeedPassword(method="application"):
                asked = callback("checkpass")
                assert asked is not None
                answer = asked(need.user, need.password, need.service)
                return PasswordAnswer(answer) if isinstance(answer, Result) else answer
            case NeedPassword():
                return self.run(
                    accounts.check_by_plug(
                        self.core, need.method, need.user, need.password, need.service
                    )
                )
            case NeedStore():
                return self.run(accounts.store(self.core, need.user, need.change))
            case NeedDerivation():
                name = SCRAM_HASHES[need.hash][0]
                return hashlib.pbkdf2_hmac(name, need.password, need.salt, need.iterations)
            case NeedCall():
                return need.function()
            case NeedHttp():
                http = callback("http")
                if http is None:
                    raise BackendError(code="no-http", temporary=False, detail="no transport")
                return http(need.request)
            case NeedCallback():
                interact = callback("interact")
                assert interact is not None
                return tuple(interact(need.prompts))
            case _:
                raise AssertionError(f"nobody answers {need!r}")


class Session:
    """A session whose calls are plain calls, whatever drives it."""

    def __init__(self, inner: Any, call: Callable[..., Any]) -> None:
        self.inner = inner
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def start(self, *arguments: Any) -> Any:
        return self._call(self.inner.start, *arguments)

    def step(self, message: Any) -> Any:
        return self._call(self.inner.step, message)

    def finish(self, data: bytes | None = None) -> None:
        self._call(self.inner.finish, data)

    def close(self) -> None:
        self.inner.close()


class RawSession(Session):
    """A session that is taken apart and driven by hand."""

    def __init__(self, inner: Any, supplier: Supplier) -> None:
        super().__init__(inner, lambda function, *arguments: function(*arguments))
        self.negotiation: ServerNegotiation | ClientNegotiation = inner.raw()
        self.supplier = supplier

    def start(self, *arguments: Any) -> Any:
        start: Any = self.negotiation.start
        return self.supplier.drive(self.negotiation, start(*arguments))

    def step(self, message: Any) -> Any:
        return self.supplier.drive(self.negotiation, self.negotiation.hear(message))

    def finish(self, data: bytes | None = None) -> None:
        assert isinstance(self.negotiation, ClientNegotiation)
        self.supplier.drive(self.negotiation, self.negotiation.finish(data))


class Handle:
    """A Server or a Client whose calls are plain calls."""

    def __init__(self, inner: Any, driver: Driver, **callbacks: Any) -> None:
        self.inner = inner
        self.core = inner.core
        self._driver = driver
        self._callbacks = callbacks

    def session(self, **facts: Any) -> Session:
        interact = facts.get("interact")
        session = self.inner.session(**facts)
        if self._driver.name == "raw":
            return RawSession(session, self.supplier(interact=interact))
        return Session(session, self._driver.call)

    def supplier(self, **more: Any) -> Supplier:
        return Supplier(self.core, **self._callbacks, **more)

    def setpass(
        self,
        user: str,
        password: Any,
        flags: SetpassFlag = SetpassFlag.NONE,
        mechanism: str | None = None,
    ) -> Any:
        if self._driver.name == "raw":
            core = self._server_core()
            identity = canonical(core, user)
            body = accounts.set_password(core, identity, password, flags, mechanism)
            return self.supplier().run(body)
        return self._driver.call(
            lambda: self.inner.setpass(user, password, flags, mechanism=mechanism)
        )

    def checkpass(self, user: Any, password: Any) -> Any:
        if self._driver.name == "raw":
            negotiation = ServerNegotiation(self._server_core(), self.inner.session().raw().facts)
            self.supplier().drive(negotiation, negotiation.check(user, password))
            return negotiation.authid
        return self._driver.call(self.inner.checkpass, user, password)

    def user_exists(self, user: str) -> Any:
        if self._driver.name == "raw":
            core = self._server_core()
            identity = core.identity(user, CanonFlag.AUTHID | CanonFlag.AUTHZID)
            result = self.supplier().run(accounts.user_exists(core, identity))
            if result is Result.NOVERIFY:
                raise BackendError(code="cannot-tell", temporary=False, detail="nobody can tell")
            return result in (Result.OK, Result.DISABLED)
        return self._driver.call(self.inner.user_exists, user)

    def users(self) -> Any:
        if self._driver.name == "raw":
            return self.supplier().run(accounts.list_users(self._server_core()))
        return self._driver.call(self.inner.users)

    def close(self) -> None:
        if self._driver.name == "raw":
            self.inner.close()
        else:
            self._driver.call(self.inner.close)

    def _server_core(self) -> ServerCore:
        assert isinstance(self.core, ServerCore)
        return self.core


class Driver:
    """Makes Servers and Clients, and closes them."""

    name = ""
    server_class: Any = sasl_core.Server
    client_class: Any = sasl_core.Client

    def __init__(self) -> None:
        self._made: list[Handle] = []

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def server(self, config: Any = None, **more: Any) -> Handle:
        """A Server; where nothing is said of stores, it has an empty one in memory."""
        if "auxprop_plugin" not in (config or {}):
            more.setdefault("stores", [MemoryStore()])
        made = self.server_class("smtp", HOST, config={} if config is None else config, **more)
        return self._keep(made, more)

    def client(self, config: Any = None, host: str = HOST, **more: Any) -> Handle:
        made = self.client_class("smtp", host, config={} if config is None else config, **more)
        return self._keep(made, more)

    def _keep(self, made: Any, more: dict[str, Any]) -> Handle:
        callbacks = {name: more.get(name) for name in ("checkpass", "authorize", "http")}
        handle = Handle(made, self, **callbacks)
        self._made.append(handle)
        return handle

    def close(self) -> None:
        for handle in reversed(self._made):
            handle.close()


class Blocking(Driver):
    name = "blocking"


class Raw(Driver):
    name = "raw"


class Asyncio(Driver):
    name = "asyncio"
    server_class = aio.Server
    client_class = aio.Client

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._runner.run(function(*arguments))

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._runner.close()


def make_driver(name: str) -> Driver:
    """The driver of that name."""
    return {cls.name: cls for cls in (Blocking, Asyncio, Raw)}[name]()


def exchange(
    server: Any, client: Any, offered: Any = None
) -> tuple[list[bytes | None], list[bytes | None]]:
    """Carry messages to and fro until both are done; what the client and the server sent."""
    first = client.start(server.mechanisms() if offered is None else offered)
    reply = server.start(client.mechanism, first.data)
    said, heard = [first.data], [reply.data]
    while not reply.done:
        answer = client.step(reply.data)
        reply = server.step(answer.data)
        said.append(answer.data)
        heard.append(reply.data)
    client.finish(reply.data)
    return said, heard
