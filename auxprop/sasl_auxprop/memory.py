"""A property store in memory, for embedding and for tests.

Nothing outlives the object. Accounts are replaced whole, never changed in place, so that
a reader needs no lock and sees all of a write or nothing of it. SCRAM verifiers are kept
parsed; a password given to `add_user` is derived there and then and not kept, unless the
store was made to hold plaintext.

    store = MemoryStore({"alice": "wonderland"})
    store.add_user("bob", password="builder", properties={"mailHost": [b"mx1"]})
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs

from sasl_auxprop import check_user, checked, stored_form, usual_rounds
from sasl_core.plugin import (
    PASSWORD,
    SCRAM_HASHES,
    VERIFIERS,
    Change,
    Found,
    Result,
    SaslError,
    ScramVerifier,
    SimpleStore,
    UsageError,
    UserName,
    derive,
    format_verifier,
    hookimpl,
    saslprep,
    verifier_from_salted_password,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sasl_auxprop import CheckedChange
    from sasl_core.plugin import AuxpropPlug, SaslUtils

__all__ = ["SASL_PLUGIN_API", "MemoryOptions", "MemoryStore", "sasl_auxprop_init"]

SASL_PLUGIN_API = 1

DEFAULT_ITERATIONS: Final = 15_000
"""PBKDF2 rounds of `add_user`, as many as `scram_iteration_counter` has by default."""
MAX_ITERATIONS: Final = 10_000_000
SALT_SIZE: Final = 16
SECRET_SIZE: Final = 32

_UNKNOWN, _DISABLED, _OK = Result.NOUSER, Result.DISABLED, Result.OK


class _Account:
    """One user's data. Never changed once it is in the store's table.

    `found` is what the last look-up of it returned, for which names, and with which rounds
    for decoys: the next look-up is nearly always the same, and returns the same.
    """

    __slots__ = ("disabled", "found", "values", "verifiers")

    def __init__(
        self,
        values: Mapping[str, tuple[bytes, ...]],
        verifiers: Mapping[str, ScramVerifier],
        *,
        disabled: bool,
    ) -> None:
        self.values = values
        self.verifiers = verifiers
        self.disabled = disabled
        self.found: tuple[Sequence[str], Mapping[str, int] | None, Found] | None = None

    def holds(self, name: str) -> tuple[bytes, ...]:
        """The values of one property, verifiers in the form in which they are compared."""
        if name == VERIFIERS:
            return stored_form(self.verifiers.values())
        return self.values.get(name, ())


_NOBODY: Final = _Account({}, {}, disabled=False)
"""What a user is before it is added."""


class MemoryStore(SimpleStore):
    """Users in a dict. Safe to share between threads.

    `users`: identity -> password, each added as `add_user` does. `plaintext`: keep
    `userPassword` too. The decoy secret is random and lives as long as the store. Decoys
    have the rounds that most of its verifiers of that hash have: others would show who is
    unknown.

    Raises:
        UsageError: as `add_user`.
    """

    name = "memory"

    def __init__(
        self, users: Mapping[str, str | bytes] | None = None, *, plaintext: bool = False
    ) -> None:
        self.plaintext = plaintext
        self._accounts: dict[tuple[str, str], _Account] = {}
        # Whoever is not there is looked up as this, so that the look-up does the same work.
        self._nobody = _Account({}, {}, disabled=False)
        # How many verifiers of a hash have how many rounds, and what most of them have.
        self._counts: Counter[tuple[str, int]] = Counter()
        self._usual: Mapping[str, int] | None = None
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(SECRET_SIZE)
        for identity, password in (users or {}).items():
            self.add_user(identity, password=password)

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._accounts)} users>"

    # --- convenience ---------------------------------------------------------------

    def add_user(
        self,
        user: str | UserName,
        *,
        password: str | bytes | None = None,
        verifiers: Iterable[ScramVerifier] = (),
        properties: Mapping[str, Iterable[bytes]] | None = None,
        hashes: Iterable[str] = ("SHA-256",),
        iterations: int = DEFAULT_ITERATIONS,
        disabled: bool = False,
    ) -> None:
        """Add a user, or replace one and everything of it.

        `user`: a canonical identity. `password` is prepared with SASLprep and derived
        once for each of `hashes`, a millisecond for every four thousand `iterations`;
        bytes are UTF-8. `verifiers` are kept beside those derived.

        Raises:
            UsageError: a name, hash, number or verifier is not acceptable, or the
                password is empty or forbidden once prepared.
        """
        name = user if isinstance(user, UserName) else UserName.parse(user)
        values = {key: tuple(each) for key, each in (properties or {}).items()}
        made = [format_verifier(verifier) for verifier in verifiers]
        if password is not None:
            prepared = _prepared(password)
            made += [format_verifier(_derived(prepared, each, iterations)) for each in hashes]
            if self.plaintext:
                values[PASSWORD] = (prepared,)
        if made:
            values[VERIFIERS] = (*values.get(VERIFIERS, ()), *made)
        check_user(name)
        new = checked(Change(values, create=True), plaintext=self.plaintext)
        with self._lock:
            self._put((name.realm, name.name), _changed(_NOBODY, new, disabled=disabled))

    # --- the store -----------------------------------------------------------------

    def read(self, user: UserName, names: Sequence[str]) -> Found:
        account = self._accounts.get((user.realm, user.name), self._nobody)
        last = account.found
        if last is not None and last[0] is names and last[1] is self._usual:
            return last[2]
        usual = self._usual
        found = self._found(account, names, usual)
        if isinstance(names, tuple):
            account.found = (names, usual, found)
        return found

    def _found(
        self, account: _Account, names: Sequence[str], usual: Mapping[str, int] | None
    ) -> Found:
        if account is self._nobody:
            return Found(_UNKNOWN, {}, {}, self._secret, usual)
        if account.disabled:
            return Found(_DISABLED, {}, {}, self._secret, usual)
        kept = account.values
        values = {name: kept[name] for name in names if name in kept}
        verifiers = account.verifiers if VERIFIERS in names else _NOBODY.verifiers
        return Found(_OK, values, verifiers, self._secret, usual)

    def write(self, user: UserName, change: Change) -> Result:
        """Carry `change` out.

        Raises:
            UsageError: see `checked` and `check_user`.
        """
        new = checked(change, plaintext=self.plaintext)
        check_user(user)
        key = (user.realm, user.name)
        with self._lock:
            account = self._accounts.get(key)
            if account is None and not new.create:
                return Result.NOUSER
            if account is not None and new.create and not new.exist_ok:
                return Result.NOCHANGE
            held = account or _NOBODY
            if any(held.holds(name) != values for name, values in new.expected.items()):
                return Result.NOCHANGE
            if new.delete:
                self._put(key, None)
            else:
                disabled = held.disabled if new.disabled is None else new.disabled
                self._put(key, _changed(held, new, disabled=disabled))
        return Result.OK

    def _put(self, key: tuple[str, str], account: _Account | None) -> None:
        """Replace an account, or remove it, and count its verifiers. Needs the lock."""
        for verifier in self._accounts.get(key, _NOBODY).verifiers.values():
            self._counts[verifier.hash, verifier.iterations] -= 1
        if account is None:
            del self._accounts[key]
        else:
            self._accounts[key] = account
            self._counts.update((e.hash, e.iterations) for e in account.verifiers.values())
        # A Counter keeps what it has none of any more.
        self._counts = +self._counts
        usual = usual_rounds(self._counts)
        if usual != self._usual:
            # Another object only when it says something else: look-ups are kept with it.
            self._usual = usual

    def list_users(self) -> Iterable[UserName]:
        return [UserName(name, realm) for realm, name in sorted(self._accounts)]

    def read_decoy_secret(self) -> bytes | None:
        return self._secret


def _changed(account: _Account, change: CheckedChange, *, disabled: bool) -> _Account:
    """The account that `change` makes of `account`."""
    values = {**account.values, **change.values}
    kept = _NOBODY.verifiers if change.drop_verifiers else account.verifiers
    verifiers = {**kept, **change.verifiers}
    return _Account(
        {name: each for name, each in values.items() if each}, verifiers, disabled=disabled
    )


def _prepared(password: str | bytes) -> bytes:
    """`password` as it is derived and compared: SASLprep's stored form, in UTF-8."""
    try:
        text = password if isinstance(password, str) else password.decode()
        prepared = saslprep(text, stored=True).encode()
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except SaslError as error:
        problem = str(error)
    else:
        if prepared:
            return prepared
        problem = "it is empty once prepared"
    raise UsageError(f"the password cannot be used: {problem}", code="bad-password")


def _derived(password: bytes, hash_name: str, iterations: int) -> ScramVerifier:
    """A verifier of `password` under a new salt."""
    if hash_name not in SCRAM_HASHES:
        raise UsageError(f"the hashes of SCRAM are {', '.join(SCRAM_HASHES)}", code="scram-hash")
    if not 0 < iterations <= MAX_ITERATIONS:
        raise UsageError(f"iterations lie between 1 and {MAX_ITERATIONS}")
    salt = secrets.token_bytes(SALT_SIZE)
    salted = derive(hash_name, password, salt, iterations)
    return verifier_from_salted_password(hash_name, salted, salt, iterations)


@attrs.frozen
class MemoryOptions:
    """The options of `[auxprop.memory]`. `plaintext`: keep `userPassword` too."""

    plaintext: bool = False


@hookimpl
def sasl_auxprop_init(utils: SaslUtils) -> Sequence[AuxpropPlug]:
    """An empty store, one to a Server; the application adds the users to it."""
    options = utils.options(MemoryOptions)
    return [MemoryStore(plaintext=options.plaintext)]
