"""Look-ups, writes and passwords across the configured stores: bodies for any runner.

Everything here is a generator of the needs that stores and pwcheck plugs ask
themselves; none of it is on behalf of a peer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, TypeVar, cast

from sasl_core._checks import is_a
from sasl_core._record import record
from sasl_core.edge import OUTAGES
from sasl_core.errors import BackendError, PluginError, SaslError, UsageError, printable
from sasl_core.exchange import foreign
from sasl_core.flags import Blocking, SetpassFlag
from sasl_core.names import UserName
from sasl_core.needs import Change, Found, NeedStore, NeedUser, PasswordAnswer
from sasl_core.plugs import SimpleStore
from sasl_core.properties import HASHES, PASSWORD, VERIFIERS
from sasl_core.results import Result
from sasl_core.saslprep import saslprep
from sasl_core.verifier import SCRAM_HASHES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sasl_core.core import ServerCore
    from sasl_core.plugs import AuxpropPlug, Needs, Plug, ServerPlug
    from sasl_core.verifier import ScramVerifier

R = TypeVar("R")

_UNAVAIL = Result.UNAVAIL
_NOBODY = Found(Result.NOUSER)

__all__ = [
    "PASSWORD_LIMIT",
    "SetpassReport",
    "TargetResult",
    "check_by_plug",
    "list_users",
    "look_up",
    "look_up_at_once",
    "look_up_for",
    "set_password",
    "store",
    "transition",
    "user_exists",
]


PASSWORD_LIMIT: Final = 8192
"""Longest password accepted, in characters."""


@record
class TargetResult:
    """What one target of `setpass` did: a store ("auxprop:sasldb") or a mechanism."""

    target: str
    result: Result
    detail: str | None = None


@record
class SetpassReport:
    """What `setpass` did, target by target. `result`: OK, or the first failure."""

    user: UserName
    result: Result
    targets: tuple[TargetResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every target that has something to keep has kept it."""
        return self.result is Result.OK


def _of(plug: Plug, body: Needs[R]) -> Needs[R]:
    """`body` of `plug`, whose exceptions become ours, and name it.

    Raises:
        PluginError: it raised what is not of our family.
    """
    try:
        return (yield from body)
    except SaslError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises becomes ours.
        failure = foreign(error, plug.name)
    raise failure


# --- look-ups ---------------------------------------------------------------------


def look_up(core: ServerCore, user: UserName, names: Sequence[str]) -> Needs[Found]:
    """Ask every configured store, in order, and merge what they say (G14, G15).

    `names` are without `*`. A value already found stays, unless a later store overrides.

    Raises:
        BackendError: a store is unavailable.
    """
    stores = core.stores()
    if core.first_secret is None:
        core.first_secret = (
            (yield from _of(stores[0], stores[0].decoy_secret())) if stores else None
        )
        core.first_secret = core.first_secret or core.random_secret
        core.read_at_once = _read_at_once(stores)
    if len(stores) == 1:
        found = yield from _of(stores[0], stores[0].lookup(user, names))
        if type(found) is not Found or type(found.result) is not Result or found.result is _UNAVAIL:
            _check_found(stores[0], found)
        return found
    result = Result.NOUSER
    values: dict[str, tuple[bytes, ...]] = {}
    verifiers: dict[str, ScramVerifier] = {}
    secret: bytes | None = None
    rounds: dict[str, int] = {}
    for plug in stores:
        found = yield from _of(plug, plug.lookup(user, names))
        _check_found(plug, found)
        result = _merge(result, found.result)
        # Decoys are the first store's that has any, for known and unknown users alike.
        secret = secret or found.decoy_secret
        for name in SCRAM_HASHES:
            count = rounds.get(name) or found.decoy_rounds(name)
            if count:
                rounds[name] = count
        for name, value in found.values.items():
            if plug.override or name not in values:
                values[name] = value
        for name, verifier in found.verifiers.items():
            if plug.override or name not in verifiers:
                verifiers[name] = verifier
    return Found(result, values, verifiers, secret, rounds)


def look_up_at_once(core: ServerCore, identity: str, properties: tuple[str, ...]) -> Found:
    """What `look_up` finds, where the one store has a `read` that never blocks.

    (`core.read_at_once`.) Otherwise three generators would be made for one call, and a need
    surface that nobody has to wait for.

    Raises:
        BackendError: the store is unavailable.
    """
    read = core.read_at_once
    if read is None:  # pragma: no cover - the caller has looked.
        raise UsageError("no store can be read at once")
    try:
        found = read(UserName.parse(identity), bare_names(properties))
        if type(found) is not Found or type(found.result) is not Result or found.result is _UNAVAIL:
            _check_found(core.stores()[0], found)
        return found
    except SaslError as error:
        if isinstance(error, OUTAGES):
            raise
        failure: SaslError = BackendError(detail=error.detail or str(error))
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises becomes ours.
        failure = foreign(error, core.stores()[0].name)
    raise failure


def _nobody(user: UserName, names: Sequence[str]) -> Found:
    """What no store knows."""
    del user, names
    return _NOBODY


def _read_at_once(
    stores: Sequence[AuxpropPlug],
) -> Callable[[UserName, Sequence[str]], Found] | None:
    if not stores:
        return _nobody
    if len(stores) == 1:
        store = stores[0]
        # One that has a look-up of its own is asked by that.
        own = getattr(store.lookup, "__func__", None) is not SimpleStore.lookup
        if isinstance(store, SimpleStore) and not own and store.read_blocking is Blocking.NEVER:

            def read(user: UserName, names: Sequence[str]) -> Found:
                # As it is at the time, for whoever puts another in its place.
                return store.read(user, names)

            return read
    return None


def look_up_for(core: ServerCore, need: NeedUser) -> Needs[Found]:
    """`look_up` for `need`."""
    return look_up(core, UserName.parse(need.authid), bare_names(need.properties))


@lru_cache(maxsize=256)
def bare_names(properties: tuple[str, ...]) -> tuple[str, ...]:
    """The names without `*`, as stores know them; mechanisms ask for the same few each time."""
    return tuple(name.lstrip("*") for name in properties)


def _check_found(plug: AuxpropPlug, found: object) -> None:
    if not isinstance(found, Found):
        raise PluginError(plug.name, "", f"lookup returned {type(found).__name__}, not Found")
    if not is_a(found.result, Result):
        raise PluginError(plug.name, "", "lookup returned a Found whose result is no Result")
    if found.result is Result.UNAVAIL:
        raise BackendError(detail=f"store {plug.name!r} is unavailable")


def _merge(so_far: Result, result: Result) -> Result:
    """G15: OK and NOVERIFY beat NOUSER, DISABLED beats OK."""
    if Result.DISABLED in (so_far, result):
        return Result.DISABLED
    if so_far is Result.NOUSER:
        return result
    return so_far if result is Result.NOUSER or so_far is Result.OK else result


# --- writes --------------------------------------------------------------------------


def store(core: ServerCore, user: UserName, change: Change) -> Needs[Result]:
    """Write `change` to every configured store that can be written; stop at the first failure.

    (G16.) A plaintext password goes only to stores that keep such.
    """
    result, _ = yield from _store_each(core, user, change)
    return result


def _store_each(
    core: ServerCore, user: UserName, change: Change
) -> Needs[tuple[Result, list[TargetResult]]]:
    targets: list[TargetResult] = []
    writable = [plug for plug in core.stores() if plug.writable]
    if not writable:
        raise BackendError(
            "no property store can be written",
            code="no-writable-store",
            temporary=False,
            detail="no store named by auxprop_plugin can be written",
        )
    for plug in writable:
        wanted = change
        if PASSWORD in change.values and not plug.plaintext:
            values = {name: v for name, v in change.values.items() if name != PASSWORD}
            wanted = Change(
                values,
                replace_verifiers=change.replace_verifiers,
                disabled=change.disabled,
                create=change.create,
                exist_ok=change.exist_ok,
                delete=change.delete,
                expected=change.expected,
            )
        result = yield from _of(plug, plug.update(user, wanted))
        if not is_a(result, Result):
            raise PluginError(plug.name, "", f"update returned {type(result).__name__}, not Result")
        targets.append(TargetResult(f"auxprop:{plug.name}", result))
        if result is not Result.OK:
            return result, targets
    return Result.OK, targets


def set_password(
    core: ServerCore,
    identity: str,
    password: str | None,
    flags: SetpassFlag,
    current: str | None = None,
    *,
    exact: bool = False,
) -> Needs[SetpassReport]:
    """Set, or with DISABLE take away, a user's password everywhere (G19).

    Asks each mechanism with secrets of its own (with CURMECH_ONLY, `current` alone) for
    the properties to keep, then writes them and the user in one change. `identity` is
    canonical. `exact`: it is a name of logins by token, whose account may be made to be locked.

    Raises:
        UsageError: an empty password without DISABLE, one with DISABLE, CREATE with DISABLE
            unless `exact`, a password that SASLprep refuses, or CURMECH_ONLY of no mechanism,
            or of one that keeps no secret.
        BackendError: neither a mechanism nor a store would keep the password.
    """
    if not is_a(password, (str, type(None))):
        raise UsageError(f"a password is a string, not {type(password).__name__}")
    only = bool(flags & SetpassFlag.CURMECH_ONLY)
    if only is not (current is not None):
        raise UsageError("CURMECH_ONLY and the name of a mechanism go together")
    disable = bool(flags & SetpassFlag.DISABLE)
    if disable and flags & SetpassFlag.CREATE and not exact:
        raise UsageError("CREATE and DISABLE exclude each other")
    if not password and not disable:
        raise UsageError("the password is empty; to lock the user, use DISABLE")
    if disable and password:
        raise UsageError("DISABLE takes no password")
    prepared: bytes | None = None
    if password:
        if len(password) > PASSWORD_LIMIT:
            # Nobody could log in with it: `check_password` takes no longer one.
            raise UsageError(f"a password has at most {PASSWORD_LIMIT} characters")
        try:
            prepared = saslprep(password, stored=True).encode()
        except SaslError as error:
            raise UsageError(f"the password cannot be used: {error}", code="bad-password") from None
        if not prepared:
            raise UsageError("the password is empty once prepared", code="bad-password")
    user = UserName.parse(identity)
    values: dict[str, tuple[bytes, ...]] = {}
    targets: list[TargetResult] = []
    for plug in core.secret_plugs(current):
        try:
            made = yield from _secrets(plug, user, prepared, flags)
        except SaslError as error:
            targets.append(TargetResult(plug.name, error.result, error.detail or str(error)))
            continue
        if made is None:
            continue
        for name, more in made.items():
            values[name] = values.get(name, ()) + more
        targets.append(TargetResult(plug.name, Result.OK))
    if only and not targets:
        raise UsageError(f"{printable(current, 40)} keeps no secret of its own")
    if prepared is not None and not targets and not _keeps_plaintext(core, flags):
        raise BackendError(
            "nobody keeps the password",
            code="no-secret-kept",
            temporary=False,
            detail="no mechanism that keeps a secret is installed, and no store takes plaintext",
        )
    if prepared is not None and not only:
        # With NOPLAIN the old plaintext goes too: it is not the password any more.
        values[PASSWORD] = () if flags & SetpassFlag.NOPLAIN else (prepared,)
        values[HASHES] = ()
    change = Change(
        {} if disable else values,
        # Verifiers of the old password must not outlive it, whatever their hash.
        replace_verifiers=not disable and not only,
        # A new password is no pardon: only whoever makes users lets one in again.
        disabled=True if disable else False if flags & SetpassFlag.CREATE else None,
        # With DISABLE: locked from the start, and without a secret.
        create=bool(flags & SetpassFlag.CREATE),
        exist_ok=True,
    )
    failed = next((t for t in targets if t.result is not Result.OK), None)
    if failed is None:
        result, written = yield from _store_each(core, user, change)
    else:
        result, written = failed.result, []
    return SetpassReport(user, result, (*written, *targets))


def _secrets(
    plug: ServerPlug, user: UserName, password: bytes | None, flags: SetpassFlag
) -> Needs[Mapping[str, tuple[bytes, ...]] | None]:
    """What the glue is to store for a mechanism, None when that has no secret of its own.

    Raises:
        PluginError: it raised, or returned, what it must not.
    """
    made: object = yield from _of(plug, plug.setpass(user, password, flags))
    if made is None:
        return None
    if is_a(made, Mapping):
        given = cast("Mapping[str, Iterable[bytes]]", made)
        return {name: tuple(values) for name, values in given.items()}
    raise PluginError(plug.name, "", f"setpass returned {type(made).__name__}, not properties")


def _keeps_plaintext(core: ServerCore, flags: SetpassFlag) -> bool:
    return not flags & SetpassFlag.NOPLAIN and any(
        plug.writable and plug.plaintext for plug in core.stores()
    )


def transition(core: ServerCore, identity: str, password: bytes) -> Needs[Result]:
    """Keep verifiers of a password that was verified elsewhere, for a user who has none.

    (G20, `auto_transition`.) Compare and set: a password set meanwhile is left alone, and
    so is a user whose stored plaintext is another one. A password that could not be set
    (`setpass` is stricter about unassigned code points than a login) is not kept.
    """
    user = UserName.parse(identity)
    properties = ("*" + VERIFIERS, "*" + PASSWORD, "*" + HASHES)
    found = cast("Found", (yield NeedUser(identity, None, properties)))
    kept = found.verifiers or found.values.get(VERIFIERS)
    plaintext = found.values.get(PASSWORD, ())
    if found.result not in (Result.OK, Result.NOUSER, Result.NOVERIFY) or kept:
        return Result.NOCHANGE
    if (plaintext and password not in plaintext) or not _may_be_stored(password):
        return Result.NOCHANGE
    values: dict[str, tuple[bytes, ...]] = {}
    for plug in core.secret_plugs(None):
        made = yield from _secrets(plug, user, password, SetpassFlag.CREATE)
        for name, more in (made or {}).items():
            values[name] = values.get(name, ()) + more
    keeps = _keeps_plaintext(core, SetpassFlag.NONE)
    if core.transition_plaintext and keeps and not plaintext:
        values[PASSWORD] = (password,)
    if not values:
        # A user without any secret would be none the better for being there.
        return Result.NOCHANGE
    expected: dict[str, tuple[bytes, ...]] = {VERIFIERS: ()}
    if keeps:
        expected[PASSWORD] = plaintext
    hashes = found.values.get(HASHES, ())
    if hashes:
        values[HASHES] = ()
        expected[HASHES] = hashes
    change = Change(values, create=True, exist_ok=True, expected=expected)
    return (yield from NeedStore(user, change))


def _may_be_stored(password: bytes) -> bool:
    try:
        return compare_digest(saslprep(password.decode(), stored=True).encode(), password)
    except (SaslError, UnicodeDecodeError):
        return False


# --- passwords by other means, and whether a user is there ------------------------------


def check_by_plug(
    core: ServerCore, method: str, user: UserName, password: bytes, service: str
) -> Needs[PasswordAnswer]:
    """Ask the pwcheck plugin `method`."""
    plug = core.password_plug(method)
    answer = yield from _of(plug, plug.check_password(user, password, service))
    if not is_a(answer, PasswordAnswer):
        raise PluginError(
            method, "", f"check_password returned {type(answer).__name__}, not PasswordAnswer"
        )
    return answer


def user_exists(core: ServerCore, identity: str) -> Needs[Result]:
    """OK, NOUSER or DISABLED; NOVERIFY when no configured method can tell (G20)."""
    user = UserName.parse(identity)
    worst = Result.NOVERIFY
    for method in core.options.pwcheck_method:
        if method == "auxprop":
            result = (yield from look_up(core, user, ())).result
        else:
            plug = core.password_plug(method)
            result = (yield from _of(plug, plug.user_exists(user))).result
        if result in (Result.OK, Result.DISABLED):
            return result
        if result is Result.UNAVAIL:
            raise BackendError(detail=f"pwcheck method {method!r} is unavailable")
        if result is Result.NOUSER:
            worst = result
    return worst


def list_users(core: ServerCore) -> Needs[list[UserName]]:
    """Every user of every store, each once."""
    users: dict[UserName, None] = {}
    for plug in core.stores():
        for user in (yield from _of(plug, plug.users())):
            users[user] = None
    return list(users)
