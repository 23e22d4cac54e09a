"""What a store changes: all of it or nothing, and only when it says so."""

from __future__ import annotations

import threading
from functools import partial

from sasl_core._checks import is_a
from sasl_core.errors import SaslError, UsageError
from sasl_core.names import UserName
from sasl_core.needs import Change
from sasl_core.properties import PASSWORD, VERIFIERS
from sasl_core.results import Result
from sasl_core.testing.leaks import assert_no_secret
from sasl_core.testing.setups import fail, require
from sasl_core.testing.store_subject import ALICE, BOB, Desk, StoreSubject, verifier

__all__ = ["StoreWriteChecks"]

THREADS = 8
ROUNDS = 5


class StoreWriteChecks(StoreSubject):
    """Checks of what is written."""

    def test_create(self) -> None:
        """Creating makes a user once; with exist_ok the second time changes, and adds."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, mailHost=(b"mx1",), alias=(b"al",))
            again = Change({"mailHost": (b"mx2",)}, create=True)
            desk.expect(ALICE, again, Result.NOCHANGE, "creating a user who is there")
            self._holds(desk, "after a refused create", mailHost=(b"mx1",), alias=(b"al",))
            more = Change({"mailHost": (b"mx3",)}, create=True, exist_ok=True)
            desk.expect(ALICE, more, Result.OK, "creating with exist_ok")
            self._holds(desk, "after exist_ok", mailHost=(b"mx3",), alias=(b"al",))
            desk.expect(BOB, more, Result.OK, "creating somebody new with exist_ok")
            require(desk.found(BOB).result is Result.OK, f"{desk.who}: exist_ok made nobody")

    def test_unknown_user_is_not_made(self) -> None:
        """Without `create` a change of nobody is NOUSER, and makes nobody."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(BOB)
            for change in (
                Change({"mailHost": (b"mx",)}),
                Change(delete=True),
                Change(disabled=True),
            ):
                desk.expect(ALICE, change, Result.NOUSER, "a change of nobody")
            require(desk.found(ALICE).result is Result.NOUSER, f"{desk.who} made a user")
            require(ALICE not in desk.users(), f"{desk.who} lists a user who was never made")

    def test_change(self) -> None:
        """A change sets what it names, removes what it gives no values, and leaves the rest."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, mailHost=(b"mx1", b"mx2"), alias=(b"al",))
            desk.expect(ALICE, Change({"mailHost": (b"mx3",)}), Result.OK, "a change")
            self._holds(desk, "after a change", mailHost=(b"mx3",), alias=(b"al",))
            desk.expect(ALICE, Change({"alias": ()}), Result.OK, "removing a property")
            self._holds(desk, "after removing a property", mailHost=(b"mx3",), alias=())

    def test_compare_and_set(self) -> None:
        """A change whose expectation fails is NOCHANGE and changes nothing."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, mailHost=(b"mx1", b"mx2"))
            new = {"mailHost": (b"new",)}
            for expected in (
                {"mailHost": (b"mx1",)},
                {"mailHost": (b"mx2", b"mx1")},
                {"mailHost": ()},
                {"mailHost": (b"mx1", b"mx2"), "alias": (b"al",)},
            ):
                change = Change(new, expected=expected)
                desk.expect(ALICE, change, Result.NOCHANGE, f"expecting {expected}")
                deletion = Change(delete=True, expected=expected)
                desk.expect(ALICE, deletion, Result.NOCHANGE, f"deleting, expecting {expected}")
            self._holds(desk, "after failed expectations", mailHost=(b"mx1", b"mx2"))
            fits = Change(new, expected={"mailHost": (b"mx1", b"mx2"), "alias": ()})
            desk.expect(ALICE, fits, Result.OK, "expecting what is there")
            self._holds(desk, "after an expectation that holds", mailHost=(b"new",))

    def test_delete(self) -> None:
        """A deleted user is nobody, and leaves nothing to one who is made anew."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, mailHost=(b"mx1",), authPassword=(verifier("p"),))
            desk.add(BOB, mailHost=(b"mx2",))
            desk.expect(ALICE, Change(delete=True), Result.OK, "deleting")
            require(desk.found(ALICE, "mailHost").result is Result.NOUSER, f"{desk.who} keeps her")
            require(ALICE not in desk.users(), f"{desk.who} lists a deleted user")
            desk.expect(ALICE, Change(delete=True), Result.NOUSER, "deleting again")
            desk.add(ALICE)
            self._holds(desk, "made anew", mailHost=())
            require(not desk.verifiers(ALICE), f"{desk.who}: an old verifier is back")
            require(desk.found(BOB).result is Result.OK, f"{desk.who} deleted somebody else too")

    def test_disabled(self) -> None:
        """A disabled user is DISABLED, shows nothing, is listed, and comes back as before."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, mailHost=(b"mx1",), authPassword=(verifier("p"),))
            desk.expect(ALICE, Change(disabled=True), Result.OK, "disabling")
            found = desk.found(ALICE, "mailHost", VERIFIERS)
            require(found.result is Result.DISABLED, f"{desk.who}: disabled is {found.result.name}")
            require(ALICE in desk.users(), f"{desk.who} does not list a disabled user")
            desk.expect(ALICE, Change({"alias": (b"al",)}), Result.OK, "a change while disabled")
            found = desk.found(ALICE)
            require(found.result is Result.DISABLED, f"{desk.who}: a change enables a user")
            desk.expect(ALICE, Change(disabled=False), Result.OK, "enabling")
            self._holds(desk, "after enabling", mailHost=(b"mx1",), alias=(b"al",))
            require(
                desk.verifiers(ALICE) == {"SHA-256": verifier("p")},
                f"{desk.who}: the verifier is lost after enabling",
            )

    def test_verifiers(self) -> None:
        """One verifier to a hash: another hash is added, the same replaced, or all of them."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            old, new, other = verifier("old"), verifier("new"), verifier("old", "SHA-512")
            desk.add(ALICE, authPassword=(old,))
            desk.expect(ALICE, Change({VERIFIERS: (other,)}), Result.OK, "adding a hash")
            self._verified(desk, {"SHA-256": old, "SHA-512": other})
            desk.expect(ALICE, Change({VERIFIERS: (new,)}), Result.OK, "replacing a hash")
            self._verified(desk, {"SHA-256": new, "SHA-512": other})
            stale = Change({VERIFIERS: (old,)}, expected={VERIFIERS: (old, other)})
            desk.expect(ALICE, stale, Result.NOCHANGE, "expecting a verifier that is not there")
            fits = Change({VERIFIERS: (old,)}, expected={VERIFIERS: (other, new)})
            desk.expect(ALICE, fits, Result.OK, "expecting the verifiers, in any order")
            only = Change({VERIFIERS: (new,)}, replace_verifiers=True)
            desk.expect(ALICE, only, Result.OK, "replace_verifiers")
            self._verified(desk, {"SHA-256": new})
            desk.expect(ALICE, Change({VERIFIERS: ()}), Result.OK, "removing verifiers")
            self._verified(desk, {})

    def test_all_or_nothing(self) -> None:
        """A change with one part that cannot be stored changes nothing, and says why."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, mailHost=(b"mx1",))
            broken = Change({"mailHost": (b"mx2",), VERIFIERS: (self.secret,)})
            for user in (ALICE, BOB):
                change = broken
                if user is BOB:
                    change = Change(broken.values, create=True)
                try:
                    result = desk.change(user, change)
                except SaslError as error:
                    assert_no_secret(error, [self.secret])
                else:
                    fail(f"{desk.who}: what is no verifier is stored as one ({result.name})")
            self._holds(desk, "after a change that was refused", mailHost=(b"mx1",))
            require(desk.found(BOB).result is Result.NOUSER, f"{desk.who}: half a user was made")

    def test_many(self) -> None:
        """Many changes in order, each with its result; one that cannot be stored spoils none."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, mailHost=(b"mx1",))
            carol, dave = UserName("carol", "example.com"), UserName("dave", "example.com")
            broken = Change({VERIFIERS: (self.secret,)}, create=True)
            changes = [
                (BOB, Change({VERIFIERS: (verifier("p"),)}, create=True)),
                (ALICE, Change({"mailHost": (b"mx2",)}, create=True)),
                (carol, broken),
                (BOB, Change({"mailHost": (b"mx3",)})),
                (dave, Change({"mailHost": (b"mx4",)})),
            ]
            results = list(desk.run(desk.store.update_many(changes)))
            kinds = [each if is_a(each, Result) else type(each) for each in results]
            require(
                kinds == [Result.OK, Result.NOCHANGE, UsageError, Result.OK, Result.NOUSER],
                f"{desk.who}: update_many gives {kinds}",
            )
            for each in results:
                if isinstance(each, UsageError):
                    assert_no_secret(each, [self.secret])
            self._holds(desk, "after many changes", mailHost=(b"mx1",))
            require(
                desk.found(BOB, "mailHost").values == {"mailHost": (b"mx3",)},
                f"{desk.who}: the second change of one user in update_many is lost",
            )
            require(bool(desk.verifiers(BOB)), f"{desk.who}: the first change of two is lost")
            for nobody in (carol, dave):
                require(
                    desk.found(nobody).result is Result.NOUSER, f"{desk.who} made {nobody.name}"
                )

    def test_plaintext(self) -> None:
        """A store keeps a plaintext password if it says so, and otherwise never."""
        for plaintext in (False, True):
            with self.desk(plaintext=plaintext) as desk:
                if not desk.store.writable:
                    continue
                require(
                    plaintext or not desk.store.plaintext,
                    f"{desk.who} keeps plaintext without being told",
                )
                desk.add(ALICE, authPassword=(verifier("p"),))
                try:
                    _ = desk.change(ALICE, Change({PASSWORD: (self.secret,)}))
                except SaslError as error:
                    assert_no_secret(error, [self.secret])
                    require(
                        not desk.store.plaintext,
                        f"{desk.who} has plaintext, and refuses it: {error}",
                    )
                values = desk.found(ALICE, PASSWORD).values.get(PASSWORD, ())
                wanted = (self.secret,) if desk.store.plaintext else ()
                require(values == wanted, f"{desk.who}: plaintext={desk.store.plaintext} is untrue")

    def test_threads(self) -> None:
        """Threads that write at the same time lose nothing of each other's."""
        with self.desk() as desk:
            if not desk.store.writable:
                return
            desk.add(ALICE, counter=(b"0",))
            problems: list[str] = []

            def work(number: int) -> None:
                try:
                    for turn in range(ROUNDS):
                        desk.add(UserName(f"t{number}", f"r{turn}"), alias=(b"%d" % number,))
                        self._count_up(desk)
                except (SaslError, AssertionError) as error:
                    problems.append(f"{type(error).__name__}: {error}")

            threads = [threading.Thread(target=partial(work, n)) for n in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            require(not problems, f"{desk.who}: {problems[:3]}")
            counter = desk.found(ALICE, "counter").values.get("counter")
            require(
                counter == (b"%d" % (THREADS * ROUNDS),),
                f"{desk.who}: {THREADS * ROUNDS} threads' increments came to {counter}",
            )
            made = len(desk.users()) - len(self.existing) - 1
            require(made == THREADS * ROUNDS, f"{desk.who}: {made} users of {THREADS * ROUNDS}")

    @staticmethod
    def _count_up(desk: Desk) -> None:
        for _ in range(1000):
            now = desk.found(ALICE, "counter").values["counter"]
            after = (b"%d" % (int(now[0]) + 1),)
            change = Change({"counter": after}, expected={"counter": now})
            if desk.change(ALICE, change) is Result.OK:
                return
        fail(f"{desk.who}: compare and set never succeeds")

    @staticmethod
    def _holds(desk: Desk, when: str, **expected: tuple[bytes, ...]) -> None:
        found = desk.found(ALICE, *expected)
        require(found.result is Result.OK, f"{desk.who}: {found.result.name} {when}")
        for name, values in expected.items():
            held = found.values.get(name, ())
            require(held == values, f"{desk.who}: {name!r} is {held} {when}, not {values}")

    @staticmethod
    def _verified(desk: Desk, expected: dict[str, bytes]) -> None:
        held = desk.verifiers(ALICE)
        require(
            held == expected,
            f"{desk.who} keeps verifiers of {sorted(held)}, not {sorted(expected)}",
        )
