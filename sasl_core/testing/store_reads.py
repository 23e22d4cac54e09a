"""What a store answers: look-ups, the list of users, the secret for decoys, and its end."""

from __future__ import annotations

from sasl_core._checks import is_a
from sasl_core.errors import SaslError
from sasl_core.names import UserName
from sasl_core.needs import Change, Found
from sasl_core.properties import PASSWORD, VERIFIERS
from sasl_core.results import Result
from sasl_core.testing.drivers import DRIVERS
from sasl_core.testing.leaks import find_secret
from sasl_core.testing.setups import require
from sasl_core.testing.store_subject import ALICE, BOB, Desk, StoreSubject, verifier

__all__ = ["StoreReadChecks"]

NOBODY = UserName("nobody-of-that-name", "example.com")
DECOY_SIZE = 16


class StoreReadChecks(StoreSubject):
    """Checks of what is read."""

    def _open(self, desk: Desk) -> None:
        """See to it that the store can be read: some stores begin with their first user."""
        if desk.store.writable and not self.existing:
            desk.add(UserName("first", "example.com"), mailHost=(b"mx0",))

    def test_metadata(self) -> None:
        """Name and metadata are what they should be."""
        with self.desk() as desk:
            store = desk.store
            require(is_a(store.name, str) and store.name, f"{desk.who} has no name")
            for what in ("override", "writable", "plaintext"):
                require(is_a(getattr(store, what), bool), f"{desk.who}: {what} is no bool")
            require(
                is_a(store.availability(), (str, type(None))),
                f"{desk.who}: availability() is no reason",
            )

    def test_existing_users(self) -> None:
        """Users that are there from the beginning are found and listed."""
        with self.desk() as desk:
            for user, values in self.existing.items():
                found = desk.found(user, *values)
                require(found.result is Result.OK, f"{desk.who}: {user} is {found.result.name}")
                for name, value in values.items():
                    require(
                        found.values.get(name) == value, f"{desk.who}: {name!r} of {user} differs"
                    )
            if self.existing:
                listed = desk.users()
                require(set(self.existing) <= set(listed), f"{desk.who} does not list {listed}")

    def test_unknown_user(self) -> None:
        """Who is not there is NOUSER, with nothing else in the answer, each time."""
        with self.desk() as desk:
            self._open(desk)
            for names in ((), ("mailHost",), (VERIFIERS, PASSWORD), ("no-such-property",)):
                for _ in range(2):
                    found = desk.found(NOBODY, *names)
                    require(
                        found.result is Result.NOUSER,
                        f"{desk.who}: nobody is {found.result.name}",
                    )
            require(NOBODY not in desk.users(), f"{desk.who} lists whoever was looked up")

    def test_what_was_asked_for(self) -> None:
        """A look-up gives the properties asked for, in their order, and no others."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            many = tuple(b"value %d" % number for number in (3, 1, 2, 10, 11))
            binary = bytes(range(256))
            desk.add(ALICE, mailHost=many, homeDirectory=(binary,), authPassword=(verifier("p"),))
            found = desk.found(ALICE, "mailHost", "homeDirectory", "absent")
            require(found.result is Result.OK, f"{desk.who}: alice is {found.result.name}")
            require(
                found.values.get("mailHost") == many,
                f"{desk.who} does not keep several values as they were",
            )
            require(found.values.get("homeDirectory") == (binary,), f"{desk.who} alters bytes")
            require(not found.verifiers, f"{desk.who} gives verifiers that nobody asked for")
            require(
                desk.found(ALICE).result is Result.OK, f"{desk.who}: a look-up of nothing fails"
            )
            require(
                desk.verifiers(ALICE) == {"SHA-256": verifier("p")},
                f"{desk.who} does not keep a verifier",
            )

    def test_users(self) -> None:
        """The list holds each user once, in the order of realm and name."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            names = [
                UserName("b", "b.example"),
                UserName("a", "b.example"),
                UserName("c", "a.example"),
                UserName("z"),
                UserName("a", "a.example"),
            ]
            for user in names:
                desk.add(user, mailHost=(b"mx",), alias=(b"1", b"2"))
            listed = [user for user in desk.users() if user not in self.existing]
            wanted = sorted(names, key=lambda user: (user.realm, user.name))
            require(listed == wanted, f"{desk.who} lists {listed}, not {wanted}")

    def test_same_name_in_two_realms(self) -> None:
        """The same name in another realm, or in none, is another user."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            users = [UserName("tim", "a.example"), UserName("tim", "b.example"), UserName("tim")]
            for number, user in enumerate(users):
                desk.add(user, mailHost=(b"%d" % number,))
            desk.expect(users[0], Change(delete=True), Result.OK, "deleting one of them")
            require(desk.found(users[0]).result is Result.NOUSER, f"{desk.who} keeps the deleted")
            for number, user in enumerate(users[1:], 1):
                found = desk.found(user, "mailHost")
                require(
                    found.values.get("mailHost") == (b"%d" % number,),
                    f"{desk.who} mixes up users of the same name in two realms",
                )

    def test_decoy_secret(self) -> None:
        """The secret for decoys is none, or 16 bytes at least that stay the same for everybody."""
        with self.desk() as desk:
            self._open(desk)
            secret = desk.run(desk.store.decoy_secret())
            if secret is None:
                return
            require(is_a(secret, bytes), f"{desk.who}: a decoy secret that is no bytes")
            require(len(secret) >= DECOY_SIZE, f"{desk.who}: a decoy secret of {len(secret)} bytes")
            if desk.store.writable:
                desk.add(BOB, mailHost=(b"mx1",))
            for user in (*self.existing, BOB, NOBODY):
                found = desk.found(user, VERIFIERS)
                require(
                    found.decoy_secret in (None, secret),
                    f"{desk.who}: look-ups give another decoy secret than decoy_secret()",
                )
            again = desk.run(desk.store.decoy_secret())
            require(again == secret, f"{desk.who}: the decoy secret changes")

    def test_drivers_agree(self) -> None:
        """Blocking and asyncio runners get the same from the store, one call or many at once."""
        for driver in DRIVERS:
            with self.desk(driver) as desk:
                if not desk.store.writable:
                    return
                desk.add(ALICE, mailHost=(b"mx1",))
                found: Found = desk.found(ALICE, "mailHost")
                require(found.values == {"mailHost": (b"mx1",)}, f"{desk.who} ({driver}) differs")
                users = [UserName(f"user{number:02}", "example.com") for number in range(40)]
                store = desk.store
                made = desk.together(
                    [
                        store.update(user, Change({"alias": (user.name.encode(),)}, create=True))
                        for user in users
                    ]
                )
                require(set(made) == {Result.OK}, f"{desk.who} ({driver}): {set(made)}")
                seen = desk.together([store.lookup(user, ["alias"]) for user in users])
                for user, one in zip(users, seen, strict=True):
                    require(
                        one.values.get("alias") == (user.name.encode(),),
                        f"{desk.who} ({driver}): concurrent look-ups get each other's values",
                    )

    def test_repr_shows_nothing(self) -> None:
        """Neither the store's repr nor that of what it finds shows a value."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, secretAnswer=(self.secret,), authPassword=(verifier("p"),))
            found = desk.found(ALICE, "secretAnswer", VERIFIERS)
            texts = (repr(desk.store), str(desk.store), repr(found), str(found))
            path = find_secret(texts, [self.secret, verifier("p")])
            require(path is None, f"{desk.who}: a repr shows what is stored")

    def test_closed(self) -> None:
        """A store that was closed answers as before, or with a SaslError; closing is quiet."""
        with self.desk() as desk:
            self._open(desk)
            desk.store.close()
            for names in ((), (VERIFIERS,)):
                try:
                    _ = desk.found(NOBODY, *names)
                except SaslError as error:
                    require(error.detail or str(error), f"{desk.who}: no word on why")
