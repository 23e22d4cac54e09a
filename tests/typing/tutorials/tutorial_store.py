# Written by tests/tools/write_tutorials.py from docs/tutorials/store.md: change the page.
# pyright: reportUnusedCallResult=false
from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from sasl_core.plugin import (
    PASSWORD, VERIFIERS, AuxpropPlug, BackendError, Blocking, Change, Found, Result, SaslError,
    SaslUtils, SimpleStore, UsageError, UserName, hookimpl, parse_verifier,
)

SASL_PLUGIN_API = 1


class Entry(TypedDict):
    """One user in the file: property -> values, in hexadecimal digits."""

    disabled: bool
    values: dict[str, list[str]]


class Page(TypedDict):
    """The whole file."""

    secret: str
    users: dict[str, Entry]


class ReadableRoster(SimpleStore):
    name = "roster"
    writable = False
    read_blocking = Blocking.LOCAL

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.new_secret = secrets.token_hex(32)

    def page(self) -> Page:
        try:
            page: Page = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return Page(secret=self.new_secret, users={})
        except (OSError, ValueError) as error:
            problem = f"{self.path} cannot be read ({type(error).__name__})"
            raise BackendError(detail=problem) from None
        return page

    def read(self, user: UserName, names: Sequence[str]) -> Found:
        page = self.page()
        secret = bytes.fromhex(page["secret"])
        entry = page["users"].get(str(user))
        if entry is None:
            return Found(Result.NOUSER, decoy_secret=secret)
        if entry["disabled"]:
            return Found(Result.DISABLED, decoy_secret=secret)
        held = values_of(entry)
        values = {name: held[name] for name in names if name in held}
        return Found(Result.OK, values, decoy_secret=secret)

    def list_users(self) -> Iterable[UserName]:
        users = map(UserName.parse, self.page()["users"])
        return sorted(users, key=lambda user: (user.realm, user.name))

    def read_decoy_secret(self) -> bytes:
        return bytes.fromhex(self.page()["secret"])

    def write(self, user: UserName, change: Change) -> Result:
        raise UsageError("this store is read only")


def values_of(entry: Entry) -> dict[str, tuple[bytes, ...]]:
    return {name: tuple(map(bytes.fromhex, kept)) for name, kept in entry["values"].items()}


class Roster(ReadableRoster):
    writable = True
    write_blocking = Blocking.WRITE

    def write(self, user: UserName, change: Change) -> Result:
        key = str(user)
        if user != UserName.parse(key) or not key.isprintable():
            raise UsageError("such a user name cannot be told from others in the file")
        with self.lock:
            page = self.page()
            entry = page["users"].get(key)
            if entry is None and not change.create:
                return Result.NOUSER
            if entry is not None and change.create and not change.exist_ok:
                return Result.NOCHANGE
            entry = entry or Entry(disabled=False, values={})
            held = values_of(entry)
            for name, expected in change.expected.items():
                wanted = tuple(sorted(expected)) if name == VERIFIERS else expected
                if held.get(name, ()) != wanted:
                    return Result.NOCHANGE
            if change.delete:
                del page["users"][key]
            else:
                page["users"][key] = changed(entry, held, change)
            self.save(page)
        return Result.OK

    def save(self, page: Page) -> None:
        new = self.path.with_name(self.path.name + ".new")
        try:
            with open(new, "w", encoding="utf-8", opener=private) as file:
                json.dump(page, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise BackendError(detail=f"{self.path} cannot be written: {error.strerror}") from None


def private(name: str, flags: int) -> int:
    """Open so that nobody else can read it."""
    return os.open(name, flags, 0o600)


def changed(entry: Entry, held: dict[str, tuple[bytes, ...]], change: Change) -> Entry:
    """What `change` makes of an entry."""
    if change.values.get(PASSWORD):
        raise UsageError("this store keeps no plaintext passwords")
    values = {**held, **change.values}
    given = change.values.get(VERIFIERS)
    kept = () if change.replace_verifiers or given == () else held.get(VERIFIERS, ())
    by_hash = {hash_of(verifier): verifier for verifier in (*kept, *(given or ()))}
    values[VERIFIERS] = tuple(sorted(by_hash.values()))
    return Entry(
        disabled=entry["disabled"] if change.disabled is None else change.disabled,
        values={name: [value.hex() for value in some] for name, some in values.items() if some},
    )


def hash_of(verifier: bytes) -> str:
    try:
        return parse_verifier(verifier).hash
    except SaslError:
        raise UsageError("authPassword takes SCRAM verifiers") from None


@hookimpl
def sasl_auxprop_init(utils: SaslUtils) -> Sequence[AuxpropPlug]:
    return [Roster(Path("/var/lib/roster/users.json"))]


import atexit
import tempfile

from sasl_core import Server, SetpassFlag

folder = tempfile.TemporaryDirectory()
atexit.register(folder.cleanup)
roster = Roster(Path(folder.name) / "users.json")

with Server("imap", "mail.example.com", stores=[roster]) as server:
    assert server.setpass("tim", "correct horse", SetpassFlag.CREATE).ok
    roster.write(UserName("tim"), Change({"room": (b"12",)}))
    with server.session(external_ssf=256, properties=["room"]) as session:
        session.start("PLAIN", b"\0tim\0correct horse")
        print(session.authid, "is in room", session.properties.get("room"))


from sasl_core.testing import StoreConformance


class TestRoster(StoreConformance):
    def make_store(self, *, plaintext: bool = False) -> Roster:
        return Roster(Path(tempfile.mkdtemp(dir=folder.name)) / "users.json")


kit = TestRoster()
kit.test_create()
kit.test_compare_and_set()
kit.test_verifiers()
kit.test_all_or_nothing()
