"""The one family of errors that leaves the library.

Every error has a stable `code` slug, a Cyrus `result`, a message that is safe to show
to the peer, a `detail` for the administrator's log, and perhaps `wire`: bytes that the
protocol still has to send to the peer. Neither the message nor the detail ever holds a
secret. An outage is a `BackendError`, never "wrong password".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sasl_core.results import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AuthenticationError",
    "BackendError",
    "ConfigError",
    "MechanismError",
    "PeerError",
    "PluginError",
    "SaslError",
    "UsageError",
    "printable",
]

DETAIL_LIMIT = 1000
"""Longest detail kept, in characters: text built from a peer's bytes must not grow unbounded."""


def printable(text: object, limit: int = 200) -> str:
    """Return `text` cut to `limit` characters, with everything unprintable escaped.

    For text that came from a peer and goes into a message or a log line. Never raises,
    whatever `str(text)` does.
    """
    if type(text) is str and len(text) <= limit and text.isprintable():
        return text
    try:
        string = text if isinstance(text, str) else str(text)
    except Exception as error:  # noqa: BLE001 - an error about an error must not escape.
        string = f"<unprintable {type(text).__name__}: {type(error).__name__}>"
    cut = string[:limit]
    if not cut.isprintable():
        cut = cut.encode("unicode_escape", "backslashreplace").decode("ascii", "replace")[
            : limit * 2
        ]
    return cut if len(string) <= limit else cut + "..."


class SaslError(Exception):
    """Base of every error of this library.

    `code`: a stable slug for programs. `result`: Cyrus's number. `detail`: for the
    administrator's log only; raising an error with a detail inside an exchange is the
    same as calling `seterror`. `wire`: bytes that still go to the peer, or None.
    """

    default_code: ClassVar[str] = "failed"
    default_result: ClassVar[Result] = Result.FAIL
    default_message: ClassVar[str] = "the exchange failed"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        result: Result | None = None,
        detail: str | None = None,
        wire: bytes | None = None,
    ) -> None:
        super().__init__(self.default_message if message is None else message)
        self.code: str = self.default_code if code is None else code
        self.result: Result = self.default_result if result is None else result
        self.detail: str | None = None if detail is None else printable(detail, DETAIL_LIMIT)
        self.wire: bytes | None = wire


class UsageError(SaslError):
    """The caller broke the contract: a wrong argument, a call out of order."""

    default_code = "usage"
    default_result = Result.BADPARAM
    default_message = "wrong use of the library"


class PeerError(SaslError):
    """The peer broke the protocol."""

    default_code = "protocol"
    default_result = Result.BADPROT
    default_message = "the peer's message is malformed"


class AuthenticationError(SaslError):
    """The peer is refused. One public message whatever the cause; the cause is in `detail`."""

    default_code = "authentication-failed"
    default_result = Result.BADAUTH
    default_message = "authentication failed"

    def __init__(
        self,
        *,
        code: str | None = None,
        result: Result | None = None,
        detail: str | None = None,
        wire: bytes | None = None,
    ) -> None:
        super().__init__(code=code, result=result, detail=detail, wire=wire)


class BackendError(SaslError):
    """A store, a pwcheck method, a provider or the machine failed; nobody's password is wrong.

    `temporary`: trying again later may help.
    """

    default_code = "unavailable"
    default_result = Result.UNAVAIL
    default_message = "temporary authentication failure"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        result: Result | None = None,
        detail: str | None = None,
        wire: bytes | None = None,
        temporary: bool = True,
    ) -> None:
        if message is None and not temporary:
            message = "authentication is out of order"
        super().__init__(message, code=code, result=result, detail=detail, wire=wire)
        self.temporary = temporary


class PluginError(SaslError):
    """A plugin broke its contract or could not be loaded.

    `plugin` is its name, `distribution` the package that brought it ("" if unknown),
    `reason` what was wrong and what to do. The message holds all three.
    """

    default_code = "plugin"
    default_result = Result.FAIL

    def __init__(
        self,
        plugin: str,
        distribution: str,
        reason: str,
        *,
        code: str | None = None,
        detail: str | None = None,
    ) -> None:
        origin = f" of distribution {distribution!r}" if distribution else ""
        message = f"plugin {plugin!r}{origin}: {printable(reason, DETAIL_LIMIT)}"
        super().__init__(message, code=code, detail=message if detail is None else detail)
        self.plugin = plugin
        self.distribution = distribution
        self.reason = reason


class MechanismError(SaslError):
    """No mechanism is acceptable. `reasons`: mechanism name -> why not."""

    default_code = "no-mechanism"
    default_result = Result.NOMECH

    def __init__(
        self,
        message: str,
        *,
        reasons: Mapping[str, str] | None = None,
        code: str | None = None,
        result: Result | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(
            message, code=code, result=result, detail=message if detail is None else detail
        )
        self.reasons: dict[str, str] = dict(reasons or {})


class ConfigError(SaslError):
    """The configuration is wrong. `file`, `line` (from 1) and `key` say where, when known."""

    default_code = "config"
    default_result = Result.CONFIGERR

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        line: int | None = None,
        key: str | None = None,
        code: str | None = None,
        result: Result | None = None,
    ) -> None:
        where = file or ""
        if line is not None:
            where += f":{line}" if where else f"line {line}"
        parts = [part for part in (where, key) if part]
        message = ": ".join([*parts, problem])
        super().__init__(message, code=code, result=result, detail=message)
        self.problem = problem
        self.file = file
        self.line = line
        self.key = key
