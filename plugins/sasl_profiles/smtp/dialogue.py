"""The client's side of SMTP without I/O: what it says, and what it makes of the answers.

Each method is a generator that asks for what it needs: send this line and hear the reply,
hear a reply, put TLS beneath us, or a step of the SASL session. `client` and `aio_client`
supply it, one blocking and one for asyncio.

Invariants: the server's success counts only when the mechanism is satisfied; an exchange
that fails on our side is taken back with `*` before anything else is said; what was learnt
before TLS is forgotten; a connection whose state is in doubt is marked `broken`; what a
server repeats of an exchange's messages stands in no error and in no event.

Sources: RFC 5321, RFC 4954 section 4, RFC 3207 section 4.2, RFC 8314 section 3.3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from sasl_core.plugin import (
    AuthenticationError,
    BackendError,
    MechanismError,
    PeerError,
    Result,
    SaslError,
    UsageError,
    base_name,
    record,
)
from sasl_profiles.clients.talk import (
    Ask,
    Begin,
    Conversation,
    Finish,
    Secure,
    Step,
    Talk,
    Utterance,
)
from sasl_profiles.smtp.auth import (
    COMMAND_LIMIT,
    Capabilities,
    auth_command,
    parse_capabilities,
    parse_response,
    response_line,
)
from sasl_profiles.smtp.replies import SmtpReply
from sasl_profiles.smtp.trace import HIDDEN, TraceEvent, auth_event, without_echo

__all__ = [
    "Ask",
    "Begin",
    "Dialogue",
    "Finish",
    "Hear",
    "Say",
    "Secure",
    "Step",
    "Talk",
    "Trace",
]

Trace: TypeAlias = Callable[[TraceEvent], None]


@record
class Say(Utterance[SmtpReply]):
    """Send this line, CRLF added, and hear the reply."""

    line: bytes

    @property
    def octets(self) -> bytes:
        return self.line + b"\r\n"


class Hear(Utterance[SmtpReply]):
    """Hear a reply to nothing: the greeting."""


class Dialogue(Conversation):
    """One connection's conversation.

    `capabilities`: what the last EHLO was answered. `secured`: TLS is beneath. `broken`:
    nobody knows what the server thinks; close the connection. `trace` gets every line,
    secrets masked.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        self._trace = trace
        self.capabilities = Capabilities()
        self.secured = False
        self._sent: list[str] | None = None  # The base64 of the exchange that goes on.
        # The last messages that are not shown, which a challenge may repeat.
        self._secrets: deque[bytes] = deque(maxlen=8)

    def forget(self) -> None:
        self.capabilities = Capabilities()
        self._secrets.clear()

    def greet(self, *, tls_first: bool = False) -> Talk[None]:
        """Hear the greeting; `tls_first`: over TLS, which nobody has to ask for (RFC 8314)."""
        if tls_first:
            yield from Secure()
            self.secured = True
            self._show(TraceEvent("-", "TLS from the first octet on"))
        reply = self._heard((yield from Hear()))
        if reply.code != 220:
            raise refused("the connection", reply)

    def ehlo(self, name: str) -> Talk[Capabilities]:
        """Say who we are and learn what the server offers.

        Raises:
            UsageError: `name` is no host name or address literal.
        """
        if not (name.isascii() and name.isprintable()) or " " in name or not name:
            raise UsageError("EHLO takes a host name or an address literal")
        if len(name) > COMMAND_LIMIT - len("EHLO \r\n"):
            raise UsageError("a host name is at most 255 characters")
        self.capabilities = Capabilities()
        reply = yield from self._say(f"EHLO {name}")
        if reply.code != 250:
            raise refused("EHLO", reply)
        self.capabilities = parse_capabilities(reply.lines)
        return self.capabilities

    def starttls(self, name: str) -> Talk[Capabilities]:
        """Put TLS beneath, forget everything, and say EHLO again (RFC 3207 section 4.2).

        Raises:
            PeerError: code `no-starttls`: the server does not offer it. Going on in clear
                is never our choice.
        """
        if self.secured:
            raise UsageError("TLS is in use already")
        if "STARTTLS" not in self.capabilities.keywords:
            raise PeerError(
                "the server does not offer STARTTLS", code="no-starttls", result=Result.ENCRYPT
            )
        reply = yield from self._say("STARTTLS")
        if reply.code != 220:
            raise refused("STARTTLS", reply)
        self.capabilities = Capabilities()
        yield from Secure()
        self.secured = True
        self._show(TraceEvent("-", "TLS from here on; all that was said is forgotten"))
        return (yield from self.ehlo(name))

    def login(self, offered: Iterable[str] | None = None) -> Talk[None]:
        """Authenticate by the best mechanism of `offered` (default: of the last EHLO).

        A name stands for its -PLUS variant too, as it does in `client_mech_list`.

        An initial response goes with AUTH when the line stays within 512 octets; otherwise
        it answers the server's empty challenge (RFC 4954 section 4).

        Raises:
            AuthenticationError: refused, or the server did not prove itself.
            MechanismError: no mechanism fits, or the server wants another.
            PeerError: the server broke the protocol.
            BackendError: a temporary refusal.
        """
        self._sent = []
        try:
            yield from self._login(offered)
        finally:
            self._sent = None

    def quit(self) -> Talk[None]:
        """Say goodbye; whatever the answer."""
        _ = yield from self._say("QUIT")

    # --- inside -----------------------------------------------------------------------------

    def _login(self, offered: Iterable[str] | None) -> Talk[None]:
        names = self._names(offered)
        mechanism, reply = yield from Begin(names)
        held: bytes | None = None
        command = auth_command(mechanism, reply.data)
        shown = reply.data
        if command is None:
            held, shown = reply.data, None
            command = b"AUTH " + mechanism.encode("ascii")
        answer = yield from self._auth(command, f"AUTH {mechanism}", mechanism, shown)
        while answer.code == 334:
            try:
                challenge = _challenge(answer)
                if held is not None:
                    if challenge:
                        raise PeerError("a challenge where an empty one was due")
                    message, held = held, None
                elif reply.done:
                    raise PeerError("a challenge after the mechanism's end")
                else:
                    reply = yield from Step(challenge)
                    message = reply.data or b""
                line = response_line(message)
                if line is None:
                    raise UsageError(
                        "the mechanism's message is longer than SMTP can carry",
                        code="message-too-long",
                        result=Result.BUFOVER,
                    )
            except SaslError as error:
                failure = error
            else:
                answer = yield from self._auth(line, "", mechanism, message)
                continue
            yield from self._withdraw(mechanism, failure)
            raise failure
        if answer.code != 235:
            raise refused("AUTH", answer, mechanism)
        try:
            yield from Finish()
        except SaslError:
            # The server takes us for logged in, and we do not know who it is.
            self.broken = True
            raise

    def _names(self, wanted: Iterable[str] | None) -> tuple[str, ...]:
        """What the session shall take for the server's offer.

        A name stands for its -PLUS too, where the server offers that: a client that could be
        bound and does not know of the offer says so, and looks like an attacker's victim.
        """
        offered = self.capabilities.mechanisms
        if wanted is None:
            return offered
        names = tuple(wanted)
        return names + tuple(n for n in offered if n not in names and base_name(n) in names)

    def _withdraw(self, mechanism: str, failure: SaslError) -> Talk[None]:
        """End a failed exchange: with the mechanism's last word if it has one, else with `*`."""
        last = None if failure.wire is None else response_line(failure.wire)
        answer = None
        if last is not None:
            answer = yield from self._auth(last, "", mechanism, failure.wire)
        if answer is None or answer.code == 334:
            answer = yield from self._say("*")
        self.broken = answer.code < 400

    def _say(self, line: str) -> Talk[SmtpReply]:
        self._show(TraceEvent("C", line))
        return self._heard((yield from Say(line.encode("ascii"))))

    def _auth(
        self, line: bytes, prefix: str, mechanism: str, message: bytes | None
    ) -> Talk[SmtpReply]:
        event = auth_event("C", prefix, mechanism, message)
        self._show(event)
        if message and event.secret:
            self._secrets.append(message)
        if message and self._sent is not None:
            self._sent.append(line.decode("ascii").rpartition(" ")[2])
        return self._heard((yield from Say(line)), mechanism)

    def _heard(self, reply: SmtpReply, mechanism: str = "") -> SmtpReply:
        """Show a reply, and return it as it may be repeated in an error; a challenge as it is."""
        if reply.code == 334 and mechanism:
            try:
                event = auth_event("S", "334", mechanism, _challenge(reply), self._secrets)
            except PeerError:
                event = TraceEvent("S", f"334 {HIDDEN}", secret=True)
            self._show(event)
            return reply
        shown = reply
        if self._sent is not None:
            lines = without_echo(reply.lines, self._sent)
            shown = SmtpReply(reply.code, lines, reply.enhanced)
        texts = shown.format().decode("ascii").splitlines()
        for text, before, after in zip(texts, reply.lines, shown.lines, strict=True):
            self._show(TraceEvent("S", text, before != after))
        return shown

    def _show(self, event: TraceEvent) -> None:
        if self._trace is not None:
            self._trace(event)


def _challenge(reply: SmtpReply) -> bytes:
    if len(reply.lines) != 1:
        raise PeerError("a challenge of several lines")
    return parse_response(reply.lines[0])


def refused(what: str, reply: SmtpReply, mechanism: str = "") -> SaslError:
    """The error for a reply that is no success; the server's words go into its detail."""
    words = f"{reply.code} {reply.enhanced} {reply.text}".replace("  ", " ")
    message = f"the server answered {what} with {reply.code}"
    # It begins as the message does, so that whoever shows both says nothing twice.
    detail = f"the server answered {what} with {words}"
    if 400 <= reply.code < 500:
        transition = reply.code == 432
        return BackendError(
            message,
            code="transition-needed" if transition else "unavailable",
            result=Result.TRANS if transition else Result.TRYAGAIN,
            detail=detail,
        )
    if mechanism and reply.code in _MECHANISM_REFUSED:
        result = _MECHANISM_REFUSED[reply.code]
        return MechanismError(message, reasons={mechanism: words}, result=result, detail=detail)
    if mechanism and reply.code >= 510:
        return AuthenticationError(detail=detail)
    return PeerError(message, code="refused", detail=detail)


_MECHANISM_REFUSED = {
    504: Result.NOMECH,
    530: Result.ENCRYPT,
    534: Result.TOOWEAK,
    538: Result.ENCRYPT,
}
