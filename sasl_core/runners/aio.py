"""The asyncio runner: nothing that may take long runs on the event loop.

Look-ups in memory and reads of local files run in place, because a hop to a thread
costs more than they do. Derivations have an executor of as many threads as there are
cores; writes and remote calls have another, unless they bring a coroutine of their own, and
HTTP a third.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, assert_never, cast

from sasl_core import accounts
from sasl_core.edge import OUTAGES, backend_failure
from sasl_core.errors import BackendError, SaslError, UsageError
from sasl_core.exchange import foreign
from sasl_core.flags import Blocking
from sasl_core.needs import (
    Found,
    HttpResponse,
    NeedAuthorize,
    NeedCall,
    NeedCallback,
    NeedDerivation,
    NeedHttp,
    NeedInitial,
    NeedPassword,
    NeedPeer,
    NeedStore,
    NeedUser,
    NeedVerdict,
)
from sasl_core.negotiation.base import Reply
from sasl_core.runners.common import (
    application_answer,
    check_body_need,
    http_answer,
    no_transport,
    policy_decision,
)
from sasl_core.verifier import derive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sasl_core.core import Core, ServerCore
    from sasl_core.flags import Decision
    from sasl_core.names import UserName
    from sasl_core.needs import HttpRequest, Need, PasswordAnswer, Prompt
    from sasl_core.negotiation.base import Negotiation
    from sasl_core.plugs import Needs
    from sasl_core.properties import PropertyContext
    from sasl_core.results import Result

__all__ = ["AsyncRunner"]

R = TypeVar("R")

WAITING_THREADS = 32
"""Threads for calls that mostly wait: writes and remote calls without a coroutine; and as many for
HTTP to each host, so that one that hangs holds up neither a store nor another.
"""


DERIVE = "derive"
"""The pool for what keeps a core busy."""

HOSTS = 16
"""Most hosts that have threads of their own for HTTP; more of them share."""

GRACE = 0.5
"""How much longer than its deadline, in seconds, a transport is waited for."""


class _Pool:
    """An executor that `Once` can close."""

    def __init__(self, threads: int, name: str, *, waits: bool) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waits = waits

    def close(self) -> None:
        self.executor.shutdown(wait=self._waits, cancel_futures=True)


class AsyncRunner:
    """Supplies needs from the stores and plugs of `core` and the application's callbacks.

    A callback may be a coroutine function; a plain one runs on the event loop (`http`
    excepted, which goes to a thread) and must not block.
    """

    __slots__ = ("_hosts", "_server_core", "authorize", "checkpass", "core", "http")

    def __init__(
        self,
        core: Core,
        *,
        checkpass: Callable[[UserName, bytes, str], Result | Awaitable[Result]] | None = None,
        authorize: Callable[[str, str, PropertyContext], Decision | Awaitable[Decision]]
        | None = None,
        http: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]] | None = None,
    ) -> None:
        self.core = core
        # A client's runner is asked for nothing that needs it.
        self._server_core = cast("ServerCore", core)
        self.checkpass = checkpass
        self.authorize = authorize
        self.http = http
        self._hosts: set[str] = set()

    async def drive(
        self,
        negotiation: Negotiation,
        event: Need | Reply,
        interact: Callable[[tuple[Prompt, ...]], Any] | None = None,
    ) -> Reply:
        """Supply needs until the negotiation has something to say.

        Cancelling the task closes the exchange.
        """
        while type(event) is not Reply:
            need = cast("Need", event)
            try:
                value = await self.supply(need, interact)
            except Exception as error:  # noqa: BLE001 - thrown where the need was yielded.
                event = negotiation.fail(error)
            except BaseException:
                negotiation.close()
                raise
            else:
                event = negotiation.answer(value)
        return event

    async def run(self, body: Needs[R]) -> R:
        """Run a body of needs that is on nobody's behalf (a look-up, a write).

        Raises:
            SaslError: it failed.
        """
        try:
            need = body.send(None)
            while True:
                try:
                    check_body_need(need)
                    answer = await self.supply(need, None)
                except Exception as error:  # noqa: BLE001 - thrown where the need was yielded.
                    need = body.throw(backend_failure(need, error))
                else:
                    need = body.send(answer)
        except StopIteration as stop:
            return cast("R", stop.value)
        except OUTAGES:
            raise
        except SaslError as error:
            # What a backend's own login or peer came to refuses nobody here.
            raise BackendError(detail=error.detail or str(error)) from None
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises becomes ours.
            raise foreign(error, getattr(body, "__name__", "body")) from None
        finally:
            body.close()

    async def supply(
        self, need: Need, interact: Callable[[tuple[Prompt, ...]], Any] | None
    ) -> object:
        """The answer to one need.

        Raises:
            Exception: whatever the backend raised.
        """
        match need:
            case NeedPassword():
                return await self._check(need)
            case NeedUser():
                return await self._look_up(need)
            case NeedAuthorize():
                if self.authorize is None:
                    from sasl_core.negotiation.server import default_decision

                    return default_decision(need.authid, need.authzid)
                return policy_decision(
                    await _settle(self.authorize(need.authid, need.authzid, need.properties))
                )
            case NeedDerivation():
                return await self._in_thread(
                    DERIVE,
                    lambda: derive(need.hash, need.password, need.salt, need.iterations),
                )
            case NeedCall():
                return await self._call(need)
            case NeedStore():
                return await self.run(accounts.store(self._server_core, need.user, need.change))
            case NeedHttp():
                return http_answer(await self._fetch(need.request))
            case NeedCallback():
                if interact is None:
                    raise UsageError("nobody answers prompts: give interact=", code="no-answer")
                return tuple(await _settle(interact(need.prompts)))
            case NeedPeer() | NeedInitial() | NeedVerdict():
                raise UsageError("the peer's message does not come from a runner")
            case _:
                assert_never(need)

    async def _look_up(self, need: NeedUser) -> Found:
        return await self.run(accounts.look_up_for(self._server_core, need))

    async def _call(self, need: NeedCall[Any]) -> object:
        if need.blocking <= Blocking.LOCAL:
            return need.function()
        if need.async_function is not None:
            return await need.async_function()
        kind = DERIVE if need.blocking is Blocking.CPU else "wait"
        return await self._in_thread(kind, need.function)

    async def _fetch(self, request: HttpRequest) -> object:
        http = self.http
        if http is None:
            raise no_transport()
        # From here on, for a request may have to wait for a thread.
        timer = asyncio.timeout(request.deadline + GRACE)
        try:
            async with timer:
                if inspect.iscoroutinefunction(http):
                    return await http(request)
                pool = self._pool_of(request.url)
                return await _settle(await self._in_thread(pool, lambda: http(request)))
        except TimeoutError:
            if not timer.expired():
                raise
        raise BackendError(code="http-timeout", detail=f"no answer in {request.deadline:g} s")

    def _pool_of(self, url: str) -> str:
        """The pool for requests to the host of `url`: one that hangs holds up no other."""
        host = "/".join(url.split("/", 3)[:3])
        if host not in self._hosts:
            if len(self._hosts) >= HOSTS:
                return "http"
            self._hosts.add(host)
        return f"http {host}"

    async def _check(self, need: NeedPassword) -> PasswordAnswer:
        if need.method == "application":
            if self.checkpass is None:
                raise UsageError("no checkpass callback was given")
            return application_answer(
                await _settle(self.checkpass(need.user, need.password, need.service))
            )
        return await self.run(
            accounts.check_by_plug(
                self._server_core,
                need.method,
                need.user,
                need.password,
                need.service,
            )
        )

    async def _in_thread(self, kind: str, function: Callable[[], R]) -> R:
        """Run it in a thread of the pool for such work: none waits for the other kinds."""
        pool = self.core.once.get(
            ("executor", kind),
            lambda: _Pool(
                (os.cpu_count() or 1) if kind == DERIVE else WAITING_THREADS,
                f"sasl-{kind}",
                # A request ends by its deadline, and nobody is there any more to hear of it.
                waits=not kind.startswith("http"),
            ),
        )
        task = asyncio.current_task()
        cancelling = 0 if task is None else task.cancelling()
        try:
            return await asyncio.get_running_loop().run_in_executor(pool.executor, function)
        except asyncio.CancelledError:
            closed = self.core.closed
            if not closed or (task is not None and task.cancelling() > cancelling):
                raise
            # Nobody has cancelled the task: the pool was closed, with the Server.
        except RuntimeError:
            # The pool takes nothing any more; a RuntimeError of `function` is its own.
            closed = self.core.closed
            if not closed:
                raise
        raise BackendError(code="closed", detail="the Server was closed meanwhile")

    async def keep_running(self) -> None:
        """Run the periodic work (`SaslUtils.every`) until cancelled."""
        jobs = self.core.jobs
        while True:
            now = time.monotonic()
            for job in tuple(jobs):
                if job.take(now):
                    try:
                        _ = await self.run(job.body())
                    except Exception as error:  # noqa: BLE001 - a plugin's fault stops no login.
                        self.core.log_failure("periodic work", error)
            pause = min((job.due for job in jobs), default=now + 1.0) - time.monotonic()
            await asyncio.sleep(max(0.0, min(pause, 1.0)))


async def _settle(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value
