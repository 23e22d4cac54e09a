"""Plugins of every kind in one module, brought by a distribution of its own.

- X-KNOCK, a mechanism with its own database of secrets, client and server.
- X-TICKET, a mechanism of which there is a client only.
- `roster`, a property store in a JSON file.
- `mailbox`, a canonicaliser that makes mail addresses of one domain into user names.

Nothing of sasl-core is imported but `sasl_core.plugin`.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import attrs

from sasl_core.plugin import (
    PASSWORD,
    VERIFIERS,
    AuxpropPlug,
    Availability,
    BackendError,
    Blocking,
    CanonContext,
    CanonFlag,
    CanonUserPlug,
    Change,
    ClientContext,
    ClientPlug,
    Feature,
    Found,
    NeedCall,
    NeedDerivation,
    NeedPeer,
    Needs,
    NeedUser,
    PeerError,
    PromptId,
    Result,
    SaslError,
    SaslUtils,
    SecurityFlag,
    ServerContext,
    ServerPlug,
    SetpassFlag,
    SimpleStore,
    Success,
    UsageError,
    UserName,
    hookimpl,
    parse_verifier,
    saslprep,
)

__all__ = [
    "SASL_PLUGIN_API",
    "KnockClient",
    "KnockServer",
    "Mailbox",
    "Roster",
    "TicketClient",
]

SASL_PLUGIN_API = 1


def save(path: Path, content: object) -> None:
    """Write `content` as JSON, readable by nobody else; all of it or nothing.

    Raises:
        BackendError: it cannot be written.
    """

    def private(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    new = path.with_name(path.name + ".new")
    try:
        with open(new, "w", encoding="utf-8", opener=private) as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        _ = new.replace(path)
    except OSError as error:
        raise BackendError(detail=f"{path} cannot be written: {error.strerror}") from None


# --- X-KNOCK ----------------------------------------------------------------------------
#
#   C: the user name
#   S: salt and nonce, 32 hexadecimal digits each
#   C: the client's proof
#   S: the server's proof, with the success message
#
#   key   = PBKDF2-HMAC-SHA-256(password, salt, 4,096 rounds)
#   proof = HMAC-SHA-256(key, side + user name + salt + nonce), in hexadecimal digits

DIGITS, ROUNDS = 32, 4096
KNOCK_FLAGS = (
    SecurityFlag.NOPLAINTEXT
    | SecurityFlag.NOACTIVE
    | SecurityFlag.NOANONYMOUS
    | SecurityFlag.MUTUAL_AUTH
)


def prove(key: bytes, side: bytes, said: bytes) -> bytes:
    """The proof of `side` that it knows the key."""
    return hmac.digest(key, side + said, "sha256").hex().encode()


def digits(utils: SaslUtils) -> bytes:
    """Unpredictable digits, for a salt or a nonce."""
    return utils.random(DIGITS // 2).hex().encode()


@attrs.frozen
class KnockOptions:
    """The options of `[mechanisms.X-KNOCK]`. `path`: where the server keeps its secrets."""

    path: Path = Path("/var/lib/knock/secrets.json")


class Book:
    """The mechanism's own secrets: salt and key of each user."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        # For the decoys of users who are not in the book: the same salt each time.
        self._decoys = secrets.token_bytes(32)
        self._pages: Mapping[str, tuple[bytes, bytes]] = {}
        if path.exists():
            pages: dict[str, list[str]] = json.loads(path.read_bytes())
            self._pages = {
                user: (salt.encode(), bytes.fromhex(key)) for user, (salt, key) in pages.items()
            }

    def __contains__(self, user: str) -> bool:
        return user in self._pages

    def look_up(self, user: str) -> tuple[bytes, bytes]:
        """Salt and key of `user`; made up, and computed for everybody, for one without."""
        salt = prove(self._decoys, b"salt", user.encode())[:DIGITS]
        key = prove(self._decoys, b"key", user.encode())
        return self._pages.get(user, (salt, key))

    def change(self, user: str, page: tuple[bytes, bytes] | None) -> None:
        """Set the secret of `user`, or with None remove it."""
        with self._lock:
            pages = {name: kept for name, kept in self._pages.items() if name != user}
            if page is not None:
                pages[user] = page
            rows = {name: (salt.decode(), key.hex()) for name, (salt, key) in pages.items()}
            save(self._path, rows)
            self._pages = pages


class KnockServer(ServerPlug):
    """The server's side."""

    name = "X-KNOCK"
    security_flags = KNOCK_FLAGS
    features = Feature.WANT_CLIENT_FIRST
    hash_bits = 256

    def __init__(self, utils: SaslUtils, options: KnockOptions) -> None:
        self._utils = utils
        self._folder = options.path.parent
        self._book = Book(options.path)

    def availability(self) -> str | None:
        """The folder of the secrets has to be there."""
        if self._folder.is_dir():
            return None
        return f"the folder {self._folder} does not exist: make it, or set path"

    def available(self, user: str) -> Availability:
        """Only who is in the book; no look-up, just the names as they are kept."""
        return Availability.YES if user in self._book else Availability.LATER

    def converse(self, ctx: ServerContext) -> Needs[Success]:
        hello = yield from NeedPeer()
        try:
            name = hello.decode()
        except UnicodeDecodeError:
            raise PeerError("the user name is not UTF-8") from None
        user = yield from NeedUser(name)
        salt, key = self._book.look_up(user.authid)
        challenge = salt + digits(self._utils)

        response = yield from NeedPeer(challenge)
        said = hello + challenge
        expected = prove(key, b"client", said)
        verified = ctx.verify_equal(user, expected, response, how="knock")
        return Success(verified, data=prove(key, b"server", said))

    def setpass(
        self, user: UserName, password: bytes | None, flags: SetpassFlag
    ) -> Needs[Mapping[str, tuple[bytes, ...]] | None]:
        """Keep the secret in the book; the property stores get nothing."""
        if password is None:
            page = None
        else:
            salt = digits(self._utils)
            page = (salt, (yield from NeedDerivation("SHA-256", password, salt, ROUNDS)))
        yield from NeedCall(lambda: self._book.change(str(user), page), Blocking.WRITE)
        return {}


class KnockClient(ClientPlug):
    """The client's side."""

    name = "X-KNOCK"
    security_flags = KNOCK_FLAGS
    features = Feature.WANT_CLIENT_FIRST
    hash_bits = 256
    required_prompts = (PromptId.AUTHNAME, PromptId.PASS)

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authid, password = yield from ctx.ask(PromptId.AUTHNAME, PromptId.PASS)
        user = ctx.canon_user(authid)
        hello = user.authid.encode()

        challenge = yield from NeedPeer(hello)
        if len(challenge) != 2 * DIGITS:
            raise PeerError(f"the challenge has {len(challenge)} bytes, not {2 * DIGITS}")
        prepared = saslprep(password).encode()
        key = yield from NeedDerivation("SHA-256", prepared, challenge[:DIGITS], ROUNDS)
        said = hello + challenge

        answer = yield from NeedPeer(prove(key, b"client", said))
        peer = ctx.verified_peer(prove(key, b"server", said), answer, how="knock")
        return Success(peer=peer)


# --- X-TICKET ---------------------------------------------------------------------------


class TicketClient(ClientPlug):
    """A ticket that the application has, sent as it is. The servers are other people's."""

    name = "X-TICKET"
    security_flags = SecurityFlag.NOANONYMOUS | SecurityFlag.PASS_CREDENTIALS
    features = Feature.WANT_CLIENT_FIRST
    required_prompts = (PromptId.AUTHNAME, PromptId.NOECHOPROMPT)

    def converse(self, ctx: ClientContext) -> Needs[Success]:
        authid, ticket = yield from ctx.ask(PromptId.AUTHNAME, PromptId.NOECHOPROMPT)
        user = ctx.canon_user(authid)
        return Success(data=f"{user.authid} {ticket}".encode())


# --- the store `roster` -----------------------------------------------------------------


class Entry(TypedDict):
    """One user in the file: property -> values, in hexadecimal digits."""

    disabled: bool
    values: dict[str, list[str]]


class Page(TypedDict):
    """The whole file."""

    secret: str
    users: dict[str, Entry]


@attrs.frozen
class RosterOptions:
    """The options of `[auxprop.roster]`. `path`: the file, which need not exist yet."""

    path: Path = Path("/var/lib/roster/users.json")


class Roster(SimpleStore):
    """Users in one JSON file, for a site that edits it with its own tools.

    One process writes at a time; any number reads.
    """

    name = "roster"
    read_blocking = Blocking.LOCAL
    write_blocking = Blocking.WRITE

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        # Of a file that does not exist yet; written with the first user.
        self._secret = secrets.token_hex(32)

    def availability(self) -> str | None:
        """The folder has to be there."""
        folder = self._path.parent
        return None if folder.is_dir() else f"the folder {folder} does not exist: make it"

    def read(self, user: UserName, names: Sequence[str]) -> Found:
        page = self._page()
        secret = bytes.fromhex(page["secret"])
        entry = page["users"].get(str(user))
        if entry is None:
            return Found(Result.NOUSER, decoy_secret=secret)
        if entry["disabled"]:
            return Found(Result.DISABLED, decoy_secret=secret)
        held = _held(entry)
        values = {name: held[name] for name in names if name in held}
        return Found(Result.OK, values, decoy_secret=secret)

    def write(self, user: UserName, change: Change) -> Result:
        if user != UserName.parse(str(user)) or not str(user).isprintable():
            raise UsageError("such a user name cannot be told from others in the file")
        with self._lock:
            page = self._page()
            entry = page["users"].get(str(user))
            if entry is None and not change.create:
                return Result.NOUSER
            if entry is not None and change.create and not change.exist_ok:
                return Result.NOCHANGE
            entry = entry or Entry(disabled=False, values={})
            held = _held(entry)
            for name, expected in change.expected.items():
                # Verifiers have no order, and are kept in that of their names.
                if held.get(name, ()) != (expected if name != VERIFIERS else _sorted(expected)):
                    return Result.NOCHANGE
            if change.delete:
                del page["users"][str(user)]
            else:
                page["users"][str(user)] = _changed(entry, held, change)
            save(self._path, page)
        return Result.OK

    def list_users(self) -> Iterable[UserName]:
        users = map(UserName.parse, self._page()["users"])
        return sorted(users, key=lambda user: (user.realm, user.name))

    def read_decoy_secret(self) -> bytes:
        return bytes.fromhex(self._page()["secret"])

    def _page(self) -> Page:
        """What the file holds.

        Raises:
            BackendError: it cannot be read.
        """
        try:
            page: Page = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return Page(secret=self._secret, users={})
        except (OSError, ValueError) as error:
            problem = f"{self._path} cannot be read ({type(error).__name__})"
            raise BackendError(detail=problem) from None
        return page


def _sorted(verifiers: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(verifiers))


def _held(entry: Entry) -> dict[str, tuple[bytes, ...]]:
    return {name: tuple(map(bytes.fromhex, kept)) for name, kept in entry["values"].items()}


def _changed(entry: Entry, held: dict[str, tuple[bytes, ...]], change: Change) -> Entry:
    """What `change` makes of an entry."""
    if change.values.get(PASSWORD):
        raise UsageError("this store keeps no plaintext passwords")
    values = {**held, **change.values}
    given = change.values.get(VERIFIERS)
    kept = () if change.replace_verifiers or given == () else held.get(VERIFIERS, ())
    by_hash = {hash_of(verifier): verifier for verifier in (*kept, *(given or ()))}
    values[VERIFIERS] = _sorted(by_hash.values())
    return Entry(
        disabled=entry["disabled"] if change.disabled is None else change.disabled,
        values={name: [value.hex() for value in some] for name, some in values.items() if some},
    )


def hash_of(verifier: bytes) -> str:
    """The hash of a SCRAM verifier, which is a user's only one of that hash.

    Raises:
        UsageError: it is none.
    """
    try:
        return parse_verifier(verifier).hash
    except SaslError:
        raise UsageError("authPassword takes SCRAM verifiers") from None


# --- the canonicaliser `mailbox` --------------------------------------------------------


@attrs.frozen
class MailboxOptions:
    """The options of `[canon_user.mailbox]`. `domain`: ours, cut off user names."""

    domain: str = ""


class Mailbox(CanonUserPlug):
    """`Tim@Example.COM` is `tim` here, if example.com is our domain. ASCII only."""

    name = "mailbox"

    def __init__(self, options: MailboxOptions) -> None:
        self._domain = options.domain.lower()

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        name = saslprep(user).strip().lower()
        if not name.isascii() or not name.isprintable() or " " in name:
            raise PeerError("a user name is printable ASCII without blanks")
        local, at, domain = name.rpartition("@")
        if at and domain and domain == self._domain:
            name = local
        if not name or (self._domain and name.endswith("@" + self._domain)):
            raise PeerError("the user name is empty, or names our domain twice")
        return name

    canon_user_client = canon_user_server


# --- the hooks ---------------------------------------------------------------------------


@hookimpl
def sasl_server_plug_init(utils: SaslUtils) -> Sequence[ServerPlug]:
    """The servers' sides."""
    return [KnockServer(utils, utils.options(KnockOptions, "X-KNOCK"))]


@hookimpl
def sasl_client_plug_init(utils: SaslUtils) -> Sequence[ClientPlug]:
    """The clients' sides. The options are read here too, for one file may serve both."""
    _ = utils.options(KnockOptions, "X-KNOCK")
    return [KnockClient(), TicketClient()]


@hookimpl
def sasl_auxprop_init(utils: SaslUtils) -> Sequence[AuxpropPlug]:
    """The store."""
    return [Roster(utils.options(RosterOptions).path)]


@hookimpl
def sasl_canonuser_init(utils: SaslUtils) -> Sequence[CanonUserPlug]:
    """The canonicaliser."""
    return [Mailbox(utils.options(MailboxOptions))]
