"""The blocking runner: supplies every need in the caller's thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar, assert_never, cast

from sasl_core import accounts
from sasl_core.edge import OUTAGES, backend_failure
from sasl_core.errors import BackendError, SaslError, UsageError
from sasl_core.exchange import foreign
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
    from collections.abc import Callable

    from sasl_core.core import Core, ServerCore
    from sasl_core.flags import Decision
    from sasl_core.names import UserName
    from sasl_core.needs import HttpRequest, Need, Prompt
    from sasl_core.negotiation.base import Negotiation
    from sasl_core.plugs import Needs
    from sasl_core.properties import PropertyContext
    from sasl_core.results import Result

__all__ = ["Background", "BlockingRunner"]

R = TypeVar("R")


class BlockingRunner:
    """Supplies needs from the stores and plugs of `core` and the application's callbacks."""

    __slots__ = ("_server_core", "authorize", "checkpass", "core", "http")

    def __init__(
        self,
        core: Core,
        *,
        checkpass: Callable[[UserName, bytes, str], Result] | None = None,
        authorize: Callable[[str, str, PropertyContext], Decision] | None = None,
        http: Callable[[HttpRequest], HttpResponse] | None = None,
    ) -> None:
        self.core = core
        # A client's runner is asked for nothing that needs it.
        self._server_core = cast("ServerCore", core)
        self.checkpass = checkpass
        self.authorize = authorize
        self.http = http

    def drive(
        self,
        negotiation: Negotiation,
        event: Need | Reply,
        interact: Callable[[tuple[Prompt, ...]], tuple[str, ...]] | None = None,
    ) -> Reply:
        """Supply needs until the negotiation has something to say."""
        while type(event) is not Reply:
            need = cast("Need", event)
            try:
                value = self.supply(need, interact)
            except Exception as error:  # noqa: BLE001 - thrown where the need was yielded.
                event = negotiation.fail(error)
            except BaseException:
                negotiation.close()
                raise
            else:
                event = negotiation.answer(value)
        return event

    def run(self, body: Needs[R]) -> R:
        """Run a body of needs that is on nobody's behalf (a look-up, a write).

        Raises:
            SaslError: it failed.
        """
        try:
            need = body.send(None)
            while True:
                try:
                    check_body_need(need)
                    answer = self.supply(need, None)
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

    def supply(
        self,
        need: Need,
        interact: Callable[[tuple[Prompt, ...]], tuple[str, ...]] | None,
    ) -> object:
        """The answer to one need.

        Raises:
            Exception: whatever the backend raised.
        """
        match need:
            case NeedPassword():
                return self._check(need)
            case NeedUser():
                return self._look_up(need)
            case NeedAuthorize():
                if self.authorize is None:
                    from sasl_core.negotiation.server import default_decision

                    return default_decision(need.authid, need.authzid)
                return policy_decision(self.authorize(need.authid, need.authzid, need.properties))
            case NeedDerivation():
                return derive(need.hash, need.password, need.salt, need.iterations)
            case NeedCall():
                return need.function()
            case NeedStore():
                return self.run(accounts.store(self._server_core, need.user, need.change))
            case NeedHttp():
                if self.http is None:
                    raise no_transport()
                return http_answer(self.http(need.request))
            case NeedCallback():
                if interact is None:
                    raise UsageError("nobody answers prompts: give interact=", code="no-answer")
                return tuple(interact(need.prompts))
            case NeedPeer() | NeedInitial() | NeedVerdict():
                raise UsageError("the peer's message does not come from a runner")
            case _:
                assert_never(need)

    def _look_up(self, need: NeedUser) -> Found:
        return self.run(accounts.look_up_for(self._server_core, need))

    def _check(self, need: NeedPassword) -> object:
        if need.method == "application":
            if self.checkpass is None:
                raise UsageError("no checkpass callback was given")
            return application_answer(self.checkpass(need.user, need.password, need.service))
        return self.run(
            accounts.check_by_plug(
                self._server_core, need.method, need.user, need.password, need.service
            )
        )

    def run_due(self, *, waiting: bool = False) -> None:
        """Run the periodic work that is due; what fails is logged.

        `waiting`: also what may wait for the net.
        """
        jobs = self.core.jobs
        if not jobs:
            return
        now = time.monotonic()
        for job in tuple(jobs):
            if (waiting or not job.waits) and job.take(now):
                try:
                    _ = self.run(job.body())
                except Exception as error:  # noqa: BLE001 - a plugin's fault stops no login.
                    self.core.log_failure("periodic work", error)


class Background:
    """The one daemon thread that runs the periodic work of a Server that asked for it."""

    def __init__(self, runner: BlockingRunner) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, if it does not run."""
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                name = f"sasl-{self._runner.core.service}"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Stop it, and wait until it has."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._runner.run_due(waiting=True)
            due = min((job.due for job in self._runner.core.jobs), default=time.monotonic() + 1)
            _ = self._stopping.wait(max(0.0, min(due - time.monotonic(), 1.0)))
