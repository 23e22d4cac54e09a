"""One connection of an SMTP submission server, without I/O: the commands.

What a client may say when, and what it hears. How bytes become commands, and how an exchange
is carried, is in `states`. Invariants: nobody hands in mail before a login, or after it has lapsed,
when the connection ends with the next command; AUTH only after
EHLO, once, and outside of a mail transaction (RFC 4954 section 4); nothing of the client's is
ever repeated to it. No input raises.

Sources: RFC 5321 section 4.1, RFC 4954, RFC 3207, RFC 2034.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from sasl_core.plugin import MechanismError, PeerError, SaslError
from sasl_profiles.smtp import replies
from sasl_profiles.smtp.auth import parse_auth
from sasl_profiles.smtp.envelope import DataReader
from sasl_profiles.smtp.events import TLS_REQUESTED, AuthStarted, Limits
from sasl_profiles.smtp.lines import LINE_TOO_LONG
from sasl_profiles.smtp.replies import SmtpReply, reply
from sasl_profiles.smtp.states import Conversation, State

__all__ = ["SmtpConnection"]

_FAULTS: Final = {
    "base64": replies.AUTH_MALFORMED,
    LINE_TOO_LONG: replies.AUTH_TOO_LONG,
    "parameter": replies.PARAMETER,
    "sequence": replies.BAD_SEQUENCE,
}


class SmtpConnection(Conversation):
    """One client's connection.

    `mechanisms` is called at each EHLO and says what AUTH offers, in this order; a SaslError
    of its is a temporary refusal of the EHLO. `starttls`: TLS can be had.
    """

    def __init__(
        self,
        host_name: str,
        mechanisms: Callable[[], Sequence[str]],
        *,
        starttls: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self._mechanisms = mechanisms
        self._commands = 0
        super().__init__(host_name, starttls=starttls, limits=limits or Limits())

    def _command(self, line: bytes) -> None:
        self._commands += 1
        if self._commands > self._limits.commands:
            self.give_up("Too many commands")
            return
        text = line.decode("latin-1")
        verb, _, arguments = text.partition(" ")
        if verb.upper() != "QUIT" and self._has_lapsed():
            return
        command = self._COMMANDS.get(verb.upper())
        if command is None or not (text.isascii() and text.isprintable()):
            self._refuse(replies.UNKNOWN)
            return
        try:
            command(self, arguments)
        except MechanismError:
            self._refuse(replies.AUTH_UNKNOWN)
        except PeerError as error:
            self._refuse(_FAULTS.get(error.code, replies.SYNTAX))

    def _helo(self, arguments: str) -> None:
        self._require(arguments.strip())
        self._greeted, self._esmtp = True, False
        self._transaction.reset()
        self._send(SmtpReply(250, (self._host_name,)))

    def _ehlo(self, arguments: str) -> None:
        self._require(arguments.strip())
        try:
            names = self._mechanisms()
        except SaslError:
            self._send(replies.TEMPORARY)
            return
        self._greeted = self._esmtp = True
        self._transaction.reset()
        size = self._limits.message_size
        lines = [self._host_name, "ENHANCEDSTATUSCODES", "8BITMIME", f"SIZE {size}"]
        if self._starttls:
            lines.append("STARTTLS")
        if names:
            lines.append(" ".join(["AUTH", *names]))
        self._send(SmtpReply(250, tuple(lines)))

    def _starttls_command(self, arguments: str) -> None:
        self._require(not arguments.strip())
        # Without EHLO too: gsasl sends none, and a server should take what is no mail transaction
        # (RFC 5321 section 4.1.4). Nothing said before counts after it.
        self._in_order(not (self.authenticated or self._transaction.open))
        if self._starttls:
            self._state = State.WAIT_TLS
            self._pending = TLS_REQUESTED
        else:
            self._refuse(replies.NOT_IMPLEMENTED)

    def _auth(self, arguments: str) -> None:
        self._in_order(self._esmtp and not (self.authenticated or self._transaction.open))
        mechanism, initial = parse_auth(arguments)
        self._state = State.WAIT_AUTH
        self._pending = AuthStarted(mechanism, initial)

    def _mail(self, arguments: str) -> None:
        self._in_order(self._greeted)
        if self.authenticated:
            self._answer(self._transaction.mail(arguments))
        else:
            self._refuse(replies.AUTH_REQUIRED)

    def _rcpt(self, arguments: str) -> None:
        self._in_order(self._transaction.open)
        self._answer(self._transaction.rcpt(arguments))

    def _data_command(self, arguments: str) -> None:
        self._require(not arguments.strip())
        self._in_order(self._transaction.ready)
        self._data = DataReader(self._limits.message_size)
        self._state = State.DATA
        self._send(SmtpReply(354, ("End data with <CR><LF>.<CR><LF>",)))

    def _rset(self, arguments: str) -> None:
        self._require(not arguments.strip())
        self._transaction.reset()
        self._send(replies.OK)

    def _noop(self, arguments: str) -> None:
        self._send(replies.OK)

    def _vrfy(self, arguments: str) -> None:
        self._send(reply(252, "2.0.0", "Cannot verify, but will take the message"))

    def _help(self, arguments: str) -> None:
        self._send(reply(214, "2.0.0", "Mail submission with AUTH: RFC 5321, RFC 4954"))

    def _expn(self, arguments: str) -> None:
        self._refuse(replies.NOT_IMPLEMENTED)

    def _quit(self, arguments: str) -> None:
        self._require(not arguments.strip())
        self._send(reply(221, "2.0.0", "Bye"))
        self._close()

    def _answer(self, answer: SmtpReply) -> None:
        if answer.code < 500:
            self._send(answer)
        else:
            self._refuse(answer)

    @staticmethod
    def _require(condition: object) -> None:
        if not condition:
            raise PeerError("wrong arguments", code="syntax")

    @staticmethod
    def _in_order(condition: object) -> None:
        if not condition:
            raise PeerError("bad sequence of commands", code="sequence")

    _COMMANDS: ClassVar = {
        "HELO": _helo,
        "EHLO": _ehlo,
        "STARTTLS": _starttls_command,
        "AUTH": _auth,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data_command,
        "RSET": _rset,
        "NOOP": _noop,
        "VRFY": _vrfy,
        "EXPN": _expn,
        "HELP": _help,
        "QUIT": _quit,
    }
