"""Each check of a store passes a sound toy, and fails on one that is wrong where it looks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import nullcontext
from typing import Any

import pytest

from sasl_core.plugin import (
    PASSWORD,
    VERIFIERS,
    BackendError,
    Blocking,
    Found,
    NeedCall,
    Result,
    SaslError,
    SimpleStore,
    UsageError,
    UserName,
    parse_verifier,
)
from sasl_core.testing import StoreConformance


class ToyStore(SimpleStore):
    """A sound store: two dicts and a lock."""

    name = "toy"

    def __init__(self, *, plaintext=False):
        self.plaintext = plaintext
        self.lock: Any = threading.Lock()
        self.rows = {}
        self.locked = set()
        self.closed = False

    def key(self, user):
        return user.realm, user.name

    def property(self, name):
        return name

    def values(self, row, names):
        return {name: row[name] for name in map(self.property, names) if name in row}

    def secret(self) -> bytes:
        return b"the toy's secret"

    def check_open(self):
        if self.closed:
            raise UsageError("the toy is closed")

    def read(self, user, names):
        self.check_open()
        row = self.rows.get(self.key(user))
        if row is None:
            return Found(Result.NOUSER, decoy_secret=self.secret())
        if self.key(user) in self.locked:
            return Found(Result.DISABLED, decoy_secret=self.secret())
        return Found(Result.OK, self.values(row, names), decoy_secret=self.secret())

    def check(self, change):
        for value in change.values.get(VERIFIERS, ()):
            try:
                parse_verifier(value)
            except SaslError as error:
                problem = error.detail
            else:
                continue
            raise UsageError(f"no verifier: {problem}")
        if change.values.get(PASSWORD) and not self.plaintext:
            raise UsageError("no plaintext here")

    def differs(self, row, change):
        for name, values in change.expected.items():
            held = row.get(name, ())
            same = sorted(held) == sorted(values) if name == VERIFIERS else held == values
            if not same:
                return True
        return False

    def changed(self, row, change):
        new = {**row, **{self.property(name): values for name, values in change.values.items()}}
        given = change.values.get(VERIFIERS)
        if given or change.replace_verifiers:
            kept = {} if change.replace_verifiers else row.get(VERIFIERS, ())
            by_hash = {parse_verifier(v).hash: v for v in (*kept, *(given or ()))}
            new[VERIFIERS] = tuple(by_hash.values())
        return {name: values for name, values in new.items() if values}

    def write(self, user, change):
        self.check_open()
        self.check(change)
        key = self.key(user)
        with self.lock:
            row = self.rows.get(key)
            if row is None and not change.create:
                return Result.NOUSER
            if row is not None and change.create and not change.exist_ok:
                return Result.NOCHANGE
            if self.differs(row or {}, change):
                return Result.NOCHANGE
            if change.delete:
                self.delete(key)
                return Result.OK
            self.rows[key] = self.changed(row or {}, change)
            if change.disabled is not None:
                (self.locked.add if change.disabled else self.locked.discard)(key)
        return Result.OK

    def delete(self, key):
        del self.rows[key]
        self.locked.discard(key)

    def list_users(self):
        return [UserName(name, realm) for realm, name in sorted(self.rows)]

    def read_decoy_secret(self):
        self.check_open()
        return self.secret()

    def close(self):
        self.closed = True


class TestSound(StoreConformance):
    """The sound toy passes."""

    def make_store(self, *, plaintext=False):
        return ToyStore(plaintext=plaintext)


# --- each wrong in one way ------------------------------------------------------------------


class Metadata(ToyStore):
    override: Any = 1


class Inventive(ToyStore):
    """Everybody is there."""

    def read(self, user, names):
        found = super().read(user, names)
        return Found(Result.OK) if found.result is Result.NOUSER else found


class Sorting(ToyStore):
    def values(self, row, names):
        return {name: tuple(sorted(v)) for name, v in super().values(row, names).items()}


class Generous(ToyStore):
    def values(self, row, names):
        return dict(row)


class Unordered(ToyStore):
    def list_users(self):
        return [UserName(name, realm) for realm, name in self.rows]


class Realmless(ToyStore):
    def key(self, user):
        return "", user.name


class Restless(ToyStore):
    def secret(self):
        return os.urandom(16)


class Short(ToyStore):
    def secret(self):
        return b"short"


class Mixed(ToyStore):
    """Keeps one look-up's user where all look-ups of a loop find it."""

    def lookup(self, user, names):
        self.current = user

        async def remotely():
            await asyncio.sleep(0)
            return self.read(self.current, names)

        return (yield from NeedCall(lambda: self.read(user, names), Blocking.REMOTE, remotely))


class Showing(ToyStore):
    def __repr__(self):
        return f"<toy {self.rows}>"


class Abrupt(ToyStore):
    def check_open(self):
        if self.closed:
            raise KeyError("closed")


class Overwriting(ToyStore):
    """Creates whoever is there already."""

    def write(self, user, change):
        if change.create:
            self.rows.pop(self.key(user), None)
        return super().write(user, change)


class Upserting(ToyStore):
    def write(self, user, change):
        self.rows.setdefault(self.key(user), {})
        return super().write(user, change) if not change.create else Result.OK


class Forgetting(ToyStore):
    """A change replaces all there was."""

    def changed(self, row, change):
        return super().changed({}, change)


class Credulous(ToyStore):
    def differs(self, row, change):
        return False


class Retentive(ToyStore):
    """Deletes the name and keeps the row."""

    def __init__(self, **more):
        super().__init__(**more)
        self.deleted = {}

    def delete(self, key):
        self.deleted[key] = self.rows.pop(key)

    def changed(self, row, change):
        old: dict = next(iter(self.deleted.values()), {}) if change.create else {}
        return super().changed({**old, **row}, change)


class Blabbing(ToyStore):
    """Shows what a disabled user has."""

    def read(self, user, names):
        found = super().read(user, names)
        if found.result is not Result.DISABLED:
            return found
        return Found(found.result, self.values(self.rows[self.key(user)], names))


class SingleVerifier(ToyStore):
    def changed(self, row, change):
        new = super().changed(row, change)
        return {**new, **{n: v for n, v in change.values.items() if n == VERIFIERS and v}}


class Unchecking(ToyStore):
    def check(self, change):
        pass

    def changed(self, row, change):
        return {n: v for n, v in {**row, **change.values}.items() if v}


class HalfWay(ToyStore):
    """Writes before it checks."""

    def write(self, user, change):
        row = self.rows.get(self.key(user))
        if row is not None and "mailHost" in change.values:
            row["mailHost"] = change.values["mailHost"]
        return super().write(user, change)


class Plaintext(ToyStore):
    """Keeps plaintext without saying so."""

    def check(self, change):
        pass


class Unlocked(ToyStore):
    """Compares, and sets later."""

    def __init__(self, **more):
        super().__init__(**more)
        self.lock = nullcontext()

    def changed(self, row, change):
        time.sleep(0.001)
        return super().changed(row, change)


class Matching(ToyStore):
    """Takes % for a pattern."""

    def read(self, user, names):
        if "%" in user.name and self.rows:
            realm, name = next(iter(self.rows))
            user = UserName(name, realm)
        return super().read(user, names)


class Truncating(ToyStore):
    """Ends a name at a NUL, as C does."""

    def key(self, user):
        return user.realm, user.name.partition("\0")[0]


class Stumbling(ToyStore):
    """Lets a UnicodeEncodeError out."""

    def key(self, user):
        user.name.encode()
        return super().key(user)


class Stripping(ToyStore):
    def property(self, name):
        return name.strip()


class Asking(ToyStore):
    """Asks for what no store may."""

    def lookup(self, user, names):
        from sasl_core.plugin import NeedPeer

        yield from NeedPeer()
        return self.read(user, names)


class Down(ToyStore):
    """Makes an outage of everything."""

    def write(self, user, change):
        raise BackendError(detail="down")


class Spoilt(ToyStore):
    """One change that cannot be stored ends the batch."""

    def write_many(self, changes):
        results = []
        for user, change in changes:
            try:
                results.append(self.write(user, change))
            except UsageError as error:
                return [*results, *[error] * (len(changes) - len(results))]
        return results


class Forgetful(ToyStore):
    """Of two changes of one user in a batch the first is lost."""

    def write_many(self, changes):
        results = super().write_many(changes)
        for row in self.rows.values():
            if "mailHost" in row:
                row.pop(VERIFIERS, None)
        return results


CASES = [
    ("test_many", Spoilt, "update_many gives"),
    ("test_many", Forgetful, "the first change of two is lost"),
    ("test_metadata", Metadata, "override is no bool"),
    ("test_unknown_user", Inventive, "nobody is OK"),
    ("test_unknown_user", Asking, "asks for NeedPeer"),
    ("test_what_was_asked_for", Sorting, "several values"),
    ("test_what_was_asked_for", Generous, "was found and not asked for"),
    ("test_users", Unordered, "lists"),
    ("test_same_name_in_two_realms", Realmless, "creating tim@b.example gives NOCHANGE"),
    ("test_decoy_secret", Restless, "another decoy secret|secret changes"),
    ("test_decoy_secret", Short, "a decoy secret of 5 bytes"),
    ("test_drivers_agree", Mixed, "each other's values"),
    ("test_repr_shows_nothing", Showing, "a repr shows"),
    ("test_closed", Abrupt, "breaks the plugin's contract|KeyError"),
    ("test_create", Overwriting, "creating a user who is there gives OK"),
    ("test_unknown_user_is_not_made", Upserting, "a change of nobody gives OK"),
    ("test_change", Forgetting, "'alias' is"),
    ("test_compare_and_set", Credulous, "expecting .* gives OK"),
    ("test_delete", Retentive, "'mailHost' is .* made anew"),
    ("test_disabled", Blabbing, "DISABLED, and it gives values"),
    ("test_verifiers", SingleVerifier, "keeps verifiers of"),
    ("test_all_or_nothing", Unchecking, "is stored as one"),
    ("test_all_or_nothing", HalfWay, "'mailHost' is .* after a change that was refused"),
    ("test_plaintext", Plaintext, "plaintext=False is untrue"),
    ("test_threads", Unlocked, "increments came to"),
    ("test_hostile_names_are_looked_up", Matching, "is found, and nobody made it"),
    ("test_hostile_names_are_looked_up", Stumbling, "breaks the plugin's contract|UnicodeEncode"),
    ("test_hostile_names_are_stored_literally", Truncating, "as if it were there"),
    ("test_hostile_properties", Stripping, "not found as it was stored|found and not asked for"),
]


@pytest.mark.parametrize(("check", "store", "complaint"), CASES)
def test_a_wrong_store_fails(check, store, complaint):
    """The check fails on a store that is wrong in just this, and says so."""

    class Wrong(StoreConformance):
        def make_store(self, *, plaintext=False):
            return store(plaintext=plaintext)

    with pytest.raises(AssertionError, match=complaint):
        getattr(Wrong(), check)()


def test_a_missing_user_fails():
    """Users that are said to be there and are not fail the check."""

    class Wrong(TestSound):
        existing = {UserName("alice"): {"mailHost": (b"mx1",)}}

    with pytest.raises(AssertionError, match="alice is NOUSER"):
        Wrong().test_existing_users()


def test_an_outage_is_no_pass():
    """A store that cannot be written fails with its own error; no check swallows it."""

    class Wrong(StoreConformance):
        def make_store(self, *, plaintext=False):
            return Down()

    for name in dir(Wrong):
        if name.startswith("test_") and name not in ("test_metadata", "test_existing_users"):
            with pytest.raises((BackendError, AssertionError)):
                getattr(Wrong(), name)()


def test_every_check_has_a_failure():
    """No check of the kit is without a case here in which it fails."""
    checks = {name for name in dir(StoreConformance) if name.startswith("test_")}
    assert checks == {check for check, _, _ in CASES} | {"test_existing_users"}
