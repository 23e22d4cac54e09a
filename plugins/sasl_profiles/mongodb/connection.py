"""One connection of a MongoDB server that does nothing but log in, without I/O: the commands.

What a client may ask when, and what it hears. How octets become requests, and how an exchange
is answered, is in `states`. Invariants: without a login there is nothing but the commands that
lead to one and a few that tell nothing; once a login has lapsed there is nothing but those
that lead to another, or end it; the mechanisms that are named for a user do not depend on
whether there is such a user. No input raises.

Source: MongoDB's manual, "Database Commands"; the driver authentication specification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias, cast

from sasl_core.plugin import PeerError, SaslError, record
from sasl_profiles.mongodb import codes
from sasl_profiles.mongodb.events import (
    AUTH_ENDED,
    LOGGED_OUT,
    AuthContinued,
    AuthStarted,
    Command,
    CommandReceived,
    Limits,
    ProvidersGiven,
)
from sasl_profiles.mongodb.exchange import (
    CONVERSATION,
    EXTERNAL,
    MECHANISMS,
    parse_authenticate,
    parse_continuation,
    parse_start,
)
from sasl_profiles.mongodb.server_facts import build_info, check_user, hello
from sasl_profiles.mongodb.states import Conversation, State
from sasl_tokens.bson import SIZE_LIMIT, decode_document

if TYPE_CHECKING:
    from sasl_profiles.mongodb.codes import Failure
    from sasl_profiles.mongodb.exchange import Start
    from sasl_profiles.mongodb.wire import Request

__all__ = ["MongodbConnection"]

PROVIDERS: Final = "oidcIdentityProviders"

NAME_LIMIT: Final = 64
"""Longest name of a command, in octets."""

# What may stand beside the one parameter that can be set: what drivers add to every command.
_GENERIC: Final = frozenset({"setParameter", "lsid", "comment", "writeConcern", "maxTimeMS"})

_HELLOS: Final = ("hello", "isMaster", "ismaster")

_Document: TypeAlias = Mapping[str, object]


@record
class _Known:
    """A command: what answers it, whether it needs a login, and one that stands if there is one.

    `answered`: whoever asks it and wants no answer makes no sense.
    """

    run: Callable[[MongodbConnection, _Document], None]
    needs_login: bool = False
    needs_valid: bool = True
    answered: bool = False


class MongodbConnection(Conversation):
    """One client's connection.

    `mechanisms` is called when a client asks what a user can log in by; a SaslError of its
    leaves the answer out. `number` tells the client which connection it has. `embedded`:
    somebody answers the commands that are not known here.
    """

    def __init__(
        self,
        mechanisms: Callable[[], Sequence[str]],
        *,
        limits: Limits | None = None,
        number: int = 1,
        embedded: bool = False,
    ) -> None:
        super().__init__(limits or Limits(), embedded=embedded)
        self._mechanisms = mechanisms
        self._number = number
        self._embedded = embedded

    def _command(self, request: Request) -> None:
        name = _name(request.body)
        known = self._COMMANDS.get(name)
        self.lapsed = self.login is not None and not self.login.valid()
        if self.lapsed and self.login is not None and not self.login.renewable:
            # The next connection has the next certificate, and its handshake says what is wrong.
            self.give_up()
        elif request.database is not None and name not in _HELLOS:
            self._refuse(codes.ONLY_HELLO)
        elif self.login is None and (known is None or known.needs_login):
            self._refuse(codes.UNAUTHORIZED_COMMAND)
        elif self.lapsed and (known is None or known.needs_valid):
            self._refuse(codes.REAUTHENTICATE)
        elif known is None:
            self._foreign(name, request)
        else:
            self._known(known, request)

    def _known(self, known: _Known, request: Request) -> None:
        if request.silent and known.answered:
            self.give_up()
            return
        if request.sequences:
            self._refuse(codes.SEQUENCES)
            return
        if len(request.body) > SIZE_LIMIT:
            self._refuse(codes.TOO_LARGE)
            return
        try:
            document = decode_document(request.body)
        except PeerError:
            self._refuse(codes.INVALID_BSON)
            return
        try:
            known.run(self, document)
        except PeerError:
            self._refuse(codes.BAD_VALUE)

    def _foreign(self, name: str, request: Request) -> None:
        if self.login is None or not self._embedded:
            self._refuse(codes.COMMAND_NOT_FOUND)
            return
        command = Command(name, self.login, request.body, request.sequences, request.silent)
        self._state = State.WAIT_COMMAND
        self._pending = CommandReceived(command)

    # --- the commands ---------------------------------------------------------------------------

    def _hello_command(self, document: _Document) -> None:
        answer = hello(document, self._number, self._message_size)
        if "saslSupportedMechs" in document:
            check_user(document["saslSupportedMechs"])
            self._tell_mechanisms(answer)
        speculative = document.get("speculativeAuthenticate")
        if isinstance(speculative, dict) and not self.exchanging:
            self._speculate(cast("dict[str, object]", speculative), answer)
        else:
            self._send(answer)

    def _tell_mechanisms(self, answer: dict[str, object]) -> None:
        try:
            offered = self._mechanisms()
        except SaslError:
            return
        answer["saslSupportedMechs"] = [
            name for name, external in MECHANISMS.items() if not external and name in offered
        ]

    def _speculate(self, document: _Document, answer: dict[str, object]) -> None:
        whole = "authenticate" in document
        # Drivers name no database there: the owners of certificates are in one.
        database = document.get("db", EXTERNAL if whole else None)
        try:
            if (whole is ("saslStart" in document)) or not isinstance(database, str):
                raise PeerError("no saslStart with its database", code="bad-value")
            start = (parse_authenticate if whole else parse_start)(document, database)
        except PeerError:
            # Whatever it was that the client speculated on, it tries again by itself.
            self._send(answer)
        else:
            self._start(start, answer)

    def _sasl_start(self, document: _Document) -> None:
        self._begin(document, parse_start)

    def _authenticate(self, document: _Document) -> None:
        self._begin(document, parse_authenticate)

    def _begin(self, document: _Document, parse: Callable[[_Document, str], Start]) -> None:
        if self._underway is not None and not self._underway.speculative:
            # Both are over: who knows whose message the next one would be.
            self._spoil(codes.OUT_OF_ORDER)
        else:
            database = document.get("$db")
            if not isinstance(database, str):
                raise PeerError("no database", code="bad-value")
            self._start(parse(document, database), None)

    def _start(self, start: Start, hello: dict[str, object] | None) -> None:
        """Begin an exchange; a speculative one that was under way is over.

        A driver that has heard what a user can log in by may begin again by that.
        """
        was_underway = self._underway is not None
        self._begin_auth(start, hello)
        if start.known:
            self._pending = AuthStarted(
                start.mechanism, start.payload.data, start.database, start.skip_empty
            )
            return
        if was_underway:
            self._pending = AUTH_ENDED
        self._refuse_auth(codes.MECHANISM_UNAVAILABLE)

    def _sasl_continue(self, document: _Document) -> None:
        underway = self._underway
        if underway is None:
            self._refuse(codes.NO_CONVERSATION)
            return
        try:
            continuation = parse_continuation(document)
        except PeerError:
            self._spoil(codes.BAD_VALUE)
            return
        if continuation.conversation != CONVERSATION:
            self._spoil(codes.NO_CONVERSATION)
            return
        self._go_on_with_auth(continuation.payload, underway)
        self._pending = AuthContinued(continuation.payload.data)

    def _spoil(self, failure: Failure) -> None:
        """End an exchange by the client's fault; its session can be closed."""
        self._pending = AUTH_ENDED
        self._refuse_auth(failure)

    def _logout(self, _document: _Document) -> None:
        if self.login is not None:
            self.login, self.lapsed = None, False
            self._pending = LOGGED_OUT
        self._send(_OK)

    def _connection_status(self, _document: _Document) -> None:
        users: list[object] = []
        roles: list[object] = []
        if (login := self.login) is not None:
            users.append({"user": login.user, "db": login.database})
            roles += [{"role": role, "db": database} for role, database in login.roles]
        told = {"authenticatedUsers": users, "authenticatedUserRoles": roles}
        self._send({"authInfo": told, "ok": 1.0})

    def _set_parameter(self, document: _Document) -> None:
        if self.login is None or not self.login.administrator:
            self._refuse(codes.UNAUTHORIZED)
            return
        providers = document.get(PROVIDERS)
        others = {key for key in document if not key.startswith("$")} - _GENERIC - {PROVIDERS}
        if others or not isinstance(providers, list | str):
            self._refuse(codes.BAD_VALUE.saying(f"{PROVIDERS}, a list or a JSON text, can be set"))
            return
        self._state = State.WAIT_PROVIDERS
        self._pending = ProvidersGiven(cast("list[object] | str", providers))

    def _build_info(self, _document: _Document) -> None:
        self._send(build_info(self._message_size))

    def _nothing(self, _document: _Document) -> None:
        self._send(_OK)

    _COMMANDS: ClassVar[Mapping[str, _Known]] = {
        **dict.fromkeys(_HELLOS, _Known(_hello_command, needs_valid=False, answered=True)),
        "saslStart": _Known(_sasl_start, needs_valid=False, answered=True),
        "authenticate": _Known(_authenticate, needs_valid=False, answered=True),
        "saslContinue": _Known(_sasl_continue, needs_valid=False, answered=True),
        "logout": _Known(_logout, needs_valid=False),
        "endSessions": _Known(_nothing, needs_valid=False),
        "ping": _Known(_nothing),
        "buildInfo": _Known(_build_info),
        "buildinfo": _Known(_build_info),
        "connectionStatus": _Known(_connection_status),
        "setParameter": _Known(_set_parameter, needs_login=True),
    }


_OK: Final[_Document] = {"ok": 1.0}


def _name(body: bytes) -> str:
    """The command's name, which is the first key; "" where there is none that we could know."""
    stop = body.find(b"\0", 5, 5 + NAME_LIMIT + 1)
    name = body[5 : max(stop, 5)]
    return name.decode("ascii") if name.isascii() else ""
