"""What was read, written to the stores: batch by batch, each user created or compared.

Invariants:
- Whoever is there already is changed only with `replace`; otherwise an equal one is left as it
  is, and one that differs is a conflict. Therefore the same import may be run again at any time,
  and after an interruption it goes on.
- `replace` takes back whatever else let the user in: other verifiers, plaintext, hashes. But
  what the file does not say changes nothing: nobody is unlocked by its silence, and of whom it
  has nothing to log in with the secrets stay.
- A batch is one call of `update_many` for each store, and what cannot be stored spoils no other.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from sasl_cli.importing.records import Refused, exact_name
from sasl_cli.output import one_line
from sasl_cli.supply import supply
from sasl_core import CanonFlag, Result, SetpassFlag
from sasl_core.plugin import (
    HASHES,
    PASSWORD,
    VERIFIERS,
    BackendError,
    Change,
    SaslError,
    UsageError,
    UserName,
    derive,
    format_verifier,
    parse_verifier,
    printable,
    record,
    saslprep,
    stored_keys,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sasl_cli.importing.records import Entry
    from sasl_core import Found, ScramVerifier, Server
    from sasl_core.plugin import AuxpropPlug

__all__ = ["BATCH", "Import", "Outcome", "Told", "is_new"]

BATCH: Final = 1000
"""Users of one transaction: many, for each waits for the disk; few, for others wait for it."""
DERIVED_BATCH: Final = 200
"""The same where verifiers are derived, which takes milliseconds a user."""

Outcome: TypeAlias = Literal["created", "replaced", "unchanged", "conflict", "refused", "skipped"]
_RANK: Final[Sequence[Outcome]] = (
    "unchanged",
    "created",
    "replaced",
    "skipped",
    "conflict",
    "refused",
)
"""Of what several stores say of one user the last one counts."""

Properties: TypeAlias = "Mapping[str, tuple[bytes, ...]]"


@record
class Told:
    """What came of one user of the file. `notes`: what of it was not taken over.

    `user` is empty where there is neither a reason nor a note.
    """

    line: int
    user: str
    outcome: Outcome
    reason: str = ""
    notes: tuple[str, ...] = ()


class _Candidate:
    """An entry on its way: under its canonical name, with all that is to be stored of it."""

    __slots__ = ("_verifiers", "entry", "name", "opens", "password", "secrets", "told")

    def __init__(self, entry: Entry, name: UserName) -> None:
        self.entry = entry
        self.name = name
        self.password: bytes | None = None
        self.secrets: Properties = {}
        self.opens = bool(entry.verifiers or entry.hashes or entry.password is not None)
        self._verifiers = tuple(sorted(map(format_verifier, entry.verifiers)))
        self.told: Outcome | None = None

    def credentials(self, store: AuxpropPlug) -> dict[str, tuple[bytes, ...]]:
        """Everything that lets the user in, by property; what it has not is an empty tuple.

        Nothing at all where the file has nothing to log in with, as of a locked user.
        """
        if not self.opens:
            return {}
        values: dict[str, tuple[bytes, ...]] = {
            VERIFIERS: self._verifiers,
            HASHES: self.entry.hashes,
        }
        values.update(self.secrets)
        if store.plaintext:
            values[PASSWORD] = () if self.password is None else (self.password,)
        return values


class Import:
    """One import into the stores of `server`.

    `replace`: users that differ become those of the file. `dry_run`: write nothing, and tell
    what would come of each. `strip_realm`: this realm is left off, and a name that would then
    be one of another realm is refused. `exact`: names go to no canonicaliser.

    Raises:
        BackendError: no store can be written.
    """

    def __init__(
        self,
        server: Server,
        *,
        replace: bool = False,
        dry_run: bool = False,
        strip_realm: str | None = None,
        exact: bool = False,
    ) -> None:
        self._core = server.core
        self._stores = [store for store in server.core.stores() if store.writable]
        self._replace = replace
        self._dry_run = dry_run
        self._strip = None if strip_realm is None else "@" + strip_realm
        self._exact = exact
        # With `replace` the second user of one name would take over the first one's account.
        self._seen: dict[int, int] = {}
        if not self._stores:
            raise BackendError(
                "no store named by auxprop_plugin can be written",
                code="no-writable-store",
                temporary=False,
            )

    def take(self, batch: Iterable[Entry | Refused]) -> list[Told]:
        """Write a batch; what came of each user, in order.

        Raises:
            BackendError: a store failed. What `take` told before is on the disk.
        """
        items: list[_Candidate | Told] = [self._candidate(item) for item in batch]
        places = [place for place, item in enumerate(items) if isinstance(item, _Candidate)]
        for store in self._stores:
            going = [item for place in places if isinstance(item := items[place], _Candidate)]
            told = self._store(store, going)
            for place, candidate in zip(list(places), going, strict=True):
                said = told[id(candidate)]
                if _RANK.index(said.outcome) >= _RANK.index("conflict"):
                    items[place] = said
                    places.remove(place)
                elif _RANK.index(said.outcome) >= _RANK.index(candidate.told or "unchanged"):
                    candidate.told = said.outcome
        return [
            item if isinstance(item, Told) else _told(item, item.told or "unchanged")
            for item in items
        ]

    def _candidate(self, item: Entry | Refused) -> _Candidate | Told:
        if isinstance(item, Refused):
            outcome: Outcome = "skipped" if item.skipped else "refused"
            return Told(item.line, item.user, outcome, item.reason)
        given = item.user
        if self._strip is not None and given.endswith(self._strip):
            given = given.removesuffix(self._strip)
            if "@" in given:
                reason = f"without {self._strip} it would be a user of another realm"
                return Told(item.line, printable(item.user, 80), "refused", reason)
        try:
            identity = self._identity(given)
            made = _Candidate(item, UserName.parse(identity))
            if item.password is not None:
                made.password = _prepared(item.password)
        except SaslError as error:
            return Told(item.line, printable(given, 80), "refused", one_line(error))
        if self._replace:
            first = self._seen.setdefault(hash(identity), item.line)
            if first != item.line:
                reason = f"the file has this user twice, first in line {first}"
                return Told(item.line, printable(given, 80), "refused", reason)
        return made

    def _identity(self, given: str) -> str:
        """The name under which the stores keep the user.

        Raises:
            SaslError: nobody can have it.
        """
        if self._exact:
            return exact_name(given)
        return self._core.identity(given, CanonFlag.AUTHID | CanonFlag.AUTHZID)

    # --- one store ---------------------------------------------------------------------

    def _store(self, store: AuxpropPlug, candidates: Sequence[_Candidate]) -> dict[int, Told]:
        """Write `candidates` to one store; what came of each, by `id`."""
        told: dict[int, Told] = {}
        new = list(candidates)
        if self._dry_run or any(each.password is not None for each in new):
            # Looked for first, so that nothing is derived, or written, in vain.
            new = [each for each in new if is_new(store, each.name)]
            self._derive(each for each in new if not each.secrets)
        if self._dry_run:
            told.update({id(each): _told(each, "created") for each in new})
            new = []
        results = supply(store.update_many([(each.name, _creation(each, store)) for each in new]))
        for each, result in zip(new, results, strict=True):
            if result is not Result.NOCHANGE:
                told[id(each)] = _written(each, result, "created")
        replaced: list[_Candidate] = []
        for each in candidates:
            if id(each) in told:
                continue
            different = self._differences(store, each)
            if not different:
                told[id(each)] = _told(each, "unchanged")
            elif self._replace:
                replaced.append(each)
            else:
                reason = f"is there already, with other {' and '.join(different)}"
                told[id(each)] = _told(each, "conflict", reason)
        if self._dry_run:
            told.update({id(each): _told(each, "replaced") for each in replaced})
            return told
        self._derive(each for each in replaced if not each.secrets)
        changes = [(each.name, _replacement(each, store)) for each in replaced]
        for each, result in zip(replaced, supply(store.update_many(changes)), strict=True):
            told[id(each)] = _written(each, result, "replaced")
        return told

    def _derive(self, candidates: Iterable[_Candidate]) -> None:
        """Have the mechanisms make the secrets of those whose password is known."""
        going = [each for each in candidates if each.password is not None]
        if not going or self._dry_run:
            return
        plugs = self._core.secret_plugs(None)

        def make(candidate: _Candidate) -> None:
            values: dict[str, tuple[bytes, ...]] = {}
            for plug in plugs:
                flags = SetpassFlag.CREATE
                made = supply(plug.setpass(candidate.name, candidate.password, flags))
                for name, more in (made or {}).items():
                    values[name] = (*values.get(name, ()), *more)
            if not values and not any(store.plaintext for store in self._stores):
                raise BackendError(
                    "no mechanism that keeps a secret is installed, and no store takes plaintext",
                    code="no-secret-kept",
                    temporary=False,
                )
            candidate.secrets = values

        # PBKDF2 lets other threads run meanwhile.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(make, going):
                pass

    def _differences(self, store: AuxpropPlug, candidate: _Candidate) -> list[str]:
        """In what the store's user is another one than the file's; nothing where it is not."""
        entry, wanted = candidate.entry, candidate.credentials(store)
        names = (VERIFIERS, HASHES, PASSWORD, *entry.properties)
        found = supply(store.lookup(candidate.name, names))
        if found.result is Result.DISABLED:
            return self._disabled_differences(store, candidate, wanted)
        different: list[str] = []
        if entry.disabled:
            different.append("state (it is enabled)")
        if candidate.password is None:
            held = _held(found)
            if any(held.get(name, ()) != values for name, values in wanted.items()):
                different.append("secrets")
        elif not _opens(found, candidate.password, self._core.options.scram_iteration_cap.of):
            different.append("secrets")
        if any(found.values.get(name, ()) != each for name, each in entry.properties.items()):
            different.append("properties")
        return different

    def _disabled_differences(
        self, store: AuxpropPlug, candidate: _Candidate, wanted: Properties
    ) -> list[str]:
        """The same of a disabled user, of whom a look-up tells nothing; compare and set does."""
        if candidate.entry.disabled is False:
            return ["state (it is disabled)"]
        if candidate.password is not None:
            # New salts cannot be compared, and nobody gets in with either password.
            return []
        # It changes nothing, so a dry run may do it too.
        same = Change(expected={**wanted, **candidate.entry.properties})
        result = supply(store.update(candidate.name, same))
        return [] if result is Result.OK else ["secrets or properties"]


def is_new(store: AuxpropPlug, user: UserName) -> bool:
    """Whether the store does not have the user, or is not there yet."""
    try:
        return supply(store.lookup(user, ())).result is Result.NOUSER
    except BackendError as error:
        # sasldb makes its file with the first user.
        if error.code == "store-missing":
            return True
        raise


def _creation(candidate: _Candidate, store: AuxpropPlug) -> Change:
    values = {**candidate.entry.properties, **candidate.credentials(store)}
    kept = {name: each for name, each in values.items() if each}
    return Change(kept, create=True, disabled=True if candidate.entry.disabled else None)


def _replacement(candidate: _Candidate, store: AuxpropPlug) -> Change:
    values = {**candidate.entry.properties, **candidate.credentials(store)}
    return Change(
        values,
        replace_verifiers=candidate.opens,
        disabled=candidate.entry.disabled,
        create=True,
        exist_ok=True,
    )


def _written(candidate: _Candidate, result: Result | UsageError, outcome: Outcome) -> Told:
    if isinstance(result, UsageError):
        return _told(candidate, "refused", one_line(result))
    if result is Result.OK:
        return _told(candidate, outcome)
    return _told(candidate, "refused", f"the store says {result.name}")


def _told(candidate: _Candidate, outcome: Outcome, reason: str = "") -> Told:
    entry = candidate.entry
    # Of most users there is nothing to tell, and nobody asks for the name.
    user = printable(candidate.name, 80) if reason or entry.notes else ""
    return Told(entry.line, user, outcome, reason, entry.notes)


def _verifiers(found: Found) -> list[ScramVerifier]:
    """What was found, parsed by the store or not.

    Raises:
        BackendError: one cannot be read.
    """
    return [*found.verifiers.values(), *map(parse_verifier, found.values.get(VERIFIERS, ()))]


def _held(found: Found) -> dict[str, tuple[bytes, ...]]:
    texts = [format_verifier(each) for each in found.verifiers.values()]
    return {
        **found.values,
        VERIFIERS: tuple(sorted([*texts, *found.values.get(VERIFIERS, ())])),
    }


def _opens(found: Found, password: bytes, cap: Callable[[str], int]) -> bool:
    """Whether `password` is that of every secret which was found.

    Derives at most `cap(hash)` rounds.
    """
    plaintext = found.values.get(PASSWORD, ())
    if found.values.get(HASHES) or any(each != password for each in plaintext):
        return False
    try:
        verifiers = _verifiers(found)
    except BackendError:
        return False
    for each in verifiers:
        if each.iterations > cap(each.hash):
            return False
        salted = derive(each.hash, password, each.salt, each.iterations)
        if stored_keys(each.hash, salted)[1] != each.stored_key:
            return False
    return bool(verifiers)


def _prepared(password: str) -> bytes:
    """A plaintext password as it is derived.

    Raises:
        UsageError: it is one that nobody could log in with.
    """
    try:
        prepared = saslprep(password, stored=True).encode()
    except SaslError as error:
        problem = str(error)
    else:
        if 0 < len(password) <= 8192 and prepared:
            return prepared
        problem = "it is empty once prepared, or longer than 8192 characters"
    raise UsageError(f"its password cannot be used: {problem}", code="bad-password")
