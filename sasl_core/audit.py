"""Audit events: what an exchange or an administrative call came to, for the record.

Listeners are plugins of the group `sasl_core.audit`, or callables given to a `Server`.
Each is called with one `AuditEvent` after the fact; what a listener raises is logged
and changes nothing. No event holds a secret.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from sasl_core._record import record
from sasl_core.results import Result

__all__ = ["AuditEvent", "AuditListener"]


@record
class AuditEvent:
    """One event.

    `kind`: "login" (an exchange ended), "setpass", "checkpass" or "transition".
    `how`: the way to the `Verified` ("scram", "password:auxprop", "attest:gssapi", ...).
    `result` is the true one, `detail` the administrator's text. `time` is seconds since
    the epoch.
    """

    kind: str
    time: float
    result: Result
    service: str
    mechanism: str = ""
    authid: str | None = None
    authzid: str | None = None
    how: str = ""
    remote: str = ""
    detail: str | None = None


AuditListener: TypeAlias = Callable[[AuditEvent], None]
