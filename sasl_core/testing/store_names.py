"""Names that somebody chose to do harm: stored as they are, or refused, and nothing else."""

from __future__ import annotations

from typing import Final

from sasl_core.errors import SaslError
from sasl_core.names import UserName
from sasl_core.needs import Change
from sasl_core.results import Result
from sasl_core.testing.setups import require
from sasl_core.testing.store_subject import ALICE, Desk, StoreSubject

__all__ = ["HOSTILE_NAMES", "StoreNameChecks"]

HOSTILE_NAMES: Final = (
    "",
    " ",
    "'",
    '"',
    "''--",
    "alice'; DROP TABLE users; --",
    "alice' OR '1'='1",
    "*)(uid=*",
    "*",
    "%",
    "_lice",
    "a%",
    "%u",
    "%s%s%n",
    "{0.__class__}",
    "$(id)",
    "`id`",
    "../../etc/passwd",
    "a/b\\c",
    "a:b",
    "a,b",
    "a\nb",
    "a\0",
    "alice\0",
    "\0alice",
    "\x1b[2J",
    "\ud800",
    "a\udfff",
    "\ufeffalice",
    "al\u200bice",
    "\u202ealice",
    "e\u0301",
    "\u00e9",
    "ALICE",
    "alice ",
    " alice",
    "alice@example.com",
    "@",
    "0",
    "00",
    "NULL",
    "None",
    "\U0001f600",
    "x" * 255,
    "x" * 1024,
    "x" * (1 << 20),
)
"""Names to be tried as a user's name and as a realm."""


class StoreNameChecks(StoreSubject):
    """Checks of hostile names."""

    def test_hostile_names_are_looked_up(self) -> None:
        """Looking any name up finds nobody, or says in our own words why it cannot."""
        with self.desk() as desk:
            if desk.store.writable:
                desk.add(ALICE, mailHost=(b"mx1",))
            for user in _users():
                try:
                    found = desk.found(user, "mailHost")
                except SaslError:
                    continue
                require(
                    found.result is Result.NOUSER or user in self.existing,
                    f"{desk.who}: {_shown(user)} is found, and nobody made it",
                )

    def test_hostile_names_are_stored_literally(self) -> None:
        """Each name is stored as it is, and found by itself alone, or refused."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, mailHost=(b"hers",))
            stored: dict[UserName, bytes] = {}
            for number, user in enumerate(_users()):
                try:
                    result = desk.change(user, Change({"mailHost": (b"%d" % number,)}, create=True))
                except SaslError:
                    require(
                        self._nobody(desk, user),
                        f"{desk.who} refuses {_shown(user)}, and keeps it all the same",
                    )
                    continue
                require(
                    result is Result.OK,
                    f"{desk.who}: creating {_shown(user)} gives {result.name}, as if it were there",
                )
                stored[user] = b"%d" % number
            for user, value in {**stored, ALICE: b"hers"}.items():
                held = desk.found(user, "mailHost").values.get("mailHost")
                require(held == (value,), f"{desk.who}: {_shown(user)} has the values of another")
            listed = desk.users()
            require(
                len(listed) == len(set(listed)) and {*stored, ALICE} <= set(listed),
                f"{desk.who} does not list every name as it is",
            )
            for user in stored:
                desk.expect(user, Change(delete=True), Result.OK, f"deleting {_shown(user)}")
            left = set(desk.users()) - set(self.existing)
            require(left == {ALICE}, f"{desk.who}: after deleting all others, {len(left)} are left")

    def test_hostile_properties(self) -> None:
        """Names of properties are literal too, or refused."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, mailHost=(b"mx1",))
            for name in HOSTILE_NAMES:
                try:
                    result = desk.change(ALICE, Change({name: (b"value",)}))
                    found = desk.found(ALICE, name)
                except SaslError:
                    continue
                require(
                    result is not Result.OK or found.values.get(name) == (b"value",),
                    f"{desk.who}: property {name[:20]!a} is not found as it was stored",
                )
            held = desk.found(ALICE, "mailHost").values.get("mailHost")
            require(held == (b"mx1",), f"{desk.who}: another property's name has changed mailHost")

    @staticmethod
    def _nobody(desk: Desk, user: UserName) -> bool:
        try:
            return desk.found(user).result is Result.NOUSER
        except SaslError:
            return True


def _users() -> list[UserName]:
    as_name = [UserName(name, "example.com") for name in HOSTILE_NAMES]
    as_realm = [UserName("alice", name) for name in HOSTILE_NAMES if name]
    return [user for user in (*as_name, *as_realm) if user != ALICE]


def _shown(user: UserName) -> str:
    return f"{user.name[:30]!a} of realm {user.realm[:30]!a}"
