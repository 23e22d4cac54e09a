"""What a client's dialogue shows of itself, and what it remembers so as not to show it.

Invariant: a server knows what it was told, and may repeat it in whatever it says as long as the
connection lasts: so what was sent is remembered until then, the login's being over or not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from sasl_core.plugin import printable
from sasl_profiles.clients.trace import HIDDEN, Direction, TraceEvent, masked, repeats

if TYPE_CHECKING:
    from sasl_profiles.mongodb.client_errors import Refused

__all__ = ["Trace", "Transcript"]

Trace: TypeAlias = Callable[[TraceEvent], None]

REMEMBERED: Final = 65_536
"""Octets of earlier logins that are remembered; the login that goes on is, whatever it sends."""


class Transcript:
    """Shows each command and reply to `trace`, secrets masked."""

    __slots__ = ("_secrets", "_sent", "_trace")

    def __init__(self, trace: Trace | None) -> None:
        self._trace = trace
        self._sent: list[bytes] = []
        # Those of which something is hidden. What is not may come back, as SCRAM's nonce does.
        self._secrets: list[bytes] = []

    def begin(self) -> None:
        """A login begins: of those before it the last are remembered."""
        for messages in (self._sent, self._secrets):
            while sum(map(len, messages)) > REMEMBERED:
                del messages[0]

    def forget(self) -> None:
        """The connection is gone."""
        self._sent.clear()
        self._secrets.clear()

    def said(self, line: str, mechanism: str = "", message: bytes | None = None) -> None:
        """We say this, and with it perhaps a message of the mechanism."""
        shown, hidden = None, False
        if message is not None and mechanism:
            shown, hidden = masked(mechanism, message)
        if message and message not in self._sent:
            self._sent.append(message)
            if hidden:
                self._secrets.append(message)
        self._show("C", line, shown, hidden)

    def heard(self, line: str, mechanism: str = "", message: bytes | None = None) -> None:
        """The server has said this; its own words in `line` have been through `told`."""
        shown, hidden = None, False
        if message is not None and mechanism and self._trace is not None:
            shown, hidden = masked(mechanism, message, self._secrets)
        self._show("S", line, shown, hidden or HIDDEN in line)

    def note(self, line: str) -> None:
        """Neither says it."""
        self._show("-", line, None, False)

    def told(self, words: object, limit: int = 300) -> str:
        """Words of the server's in a line, or a number."""
        text = str(words)
        return HIDDEN if repeats(text, self._secrets) else printable(text, limit)

    def refused(self, refused: Refused) -> Refused:
        """A server's no as it may be shown, which is done here."""
        shown = refused.without_secrets(self._sent)
        said = f"{'' if shown.code is None else shown.code} {shown.name}".strip()
        line = f"error {said}: {printable(shown.words or '', 300)}".replace(" :", ":")
        self._show("S", line, None, HIDDEN in line)
        return shown

    def _show(self, direction: Direction, line: str, shown: str | None, hidden: bool) -> None:
        if self._trace is not None:
            self._trace(TraceEvent(direction, line, hidden, shown))
