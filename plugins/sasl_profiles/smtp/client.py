"""A blocking SMTP client that logs in.

Invariants: those of `sasl_profiles.clients.blocking`.

Sources: RFC 5321 section 4.5.3.2, RFC 4954, RFC 3207, RFC 8314 section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from sasl_core import ConnectionFacts
from sasl_core.plugin import AuthenticationError, SaslError
from sasl_profiles.clients.blocking import BlockingLink
from sasl_profiles.smtp.auth import Capabilities
from sasl_profiles.smtp.dialogue import Dialogue, Talk, Trace
from sasl_profiles.smtp.endpoint import connection_facts, literal
from sasl_profiles.smtp.replies import ReplyReader, SmtpReply

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import Self

    from sasl_core import ClientSession

__all__ = ["SmtpClient"]


class SmtpClient(BlockingLink[Dialogue, SmtpReply]):
    """A connection to an SMTP server; `with` connects it, says EHLO, and ends with QUIT.

    `timeout`: seconds that any one call may take in all; looking the host's name up is the
    system's affair and is not counted, nor is what the SASL session does by itself.
    `local_name`: what EHLO says, by default the address literal of our end. `trace` gets every
    line, secrets masked. `tls`: TLS comes before the first word, as on port 465; the context
    decides whether the server's certificate and name are checked, and
    `ssl.create_default_context()` does. Without it, `starttls` puts TLS beneath.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout: float = 30.0,
        local_name: str | None = None,
        trace: Trace | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._local_name = local_name
        fresh = partial(Dialogue, trace)
        super().__init__(host, port, ReplyReader(), fresh, timeout=timeout, tls=tls)

    def _opening(self) -> Talk[None]:
        return self._dialogue.greet(tls_first=self._tls is not None)

    @property
    def capabilities(self) -> Capabilities:
        """What the last EHLO was answered; empty before, and after the connection is gone."""
        return self._dialogue.capabilities

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The mechanisms that the server offered last."""
        return self.capabilities.mechanisms

    def facts(self) -> ConnectionFacts:
        """What a SASL session has to know of this connection: pass it to `session(...)`.

        With TLS that includes what the connection can be bound by.

        Raises:
            UsageError: not connected. BackendError: the server has gone.
        """
        return connection_facts(*self._beneath(), self.host)

    def ehlo(self) -> Capabilities:
        """Say who we are and learn what the server offers."""
        return self._run(self._dialogue.ehlo(self._name()))

    def starttls(self, context: ssl.SSLContext) -> Capabilities:
        """Go over to TLS, forget what was said, and say EHLO again.

        The context decides whether the server's certificate and name are checked;
        `ssl.create_default_context()` does.

        Raises:
            PeerError: the server does not offer TLS (`no-starttls`), sent on before the
                handshake, or the handshake or the certificate failed (`tls`).
        """
        return self._run(self._dialogue.starttls(self._name()), context=context)

    def authenticate(self, session: ClientSession, mechanisms: Iterable[str] | None = None) -> None:
        """Log in with this session, by the best of `mechanisms` (default: those offered).

        A name stands for its -PLUS variant too, if the server offers that.

        Make the session with `client.session(..., **smtp.facts())`, so that it knows
        whether TLS protects the connection. When it is refused, `session.refused()` says
        whether another session may do better, with a new access token.

        Raises:
            AuthenticationError: refused, or the server did not prove itself.
            MechanismError: no mechanism fits, or the server wants another.
            PeerError: the server broke the protocol. BackendError: it cannot now, or not
                in time.
        """
        try:
            self._run(self._dialogue.login(mechanisms), session=session)
        except AuthenticationError:
            # A token that was kept from an earlier login is not sent a second time.
            _ = session.refused()
            raise

    def quit(self) -> None:
        """Say goodbye if the connection still stands, and close it. Never raises a SaslError."""
        try:
            if self._socket is not None:
                self._run(self._dialogue.quit())
        except SaslError:
            pass
        finally:
            self.close()

    def __enter__(self) -> Self:
        self.connect()
        try:
            _ = self.ehlo()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.quit()

    def _name(self) -> str:
        return self._local_name or literal(self._connected().getsockname())
