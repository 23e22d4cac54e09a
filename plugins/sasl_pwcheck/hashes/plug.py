"""The password method `hashes`: one look-up, one piece of work, whoever the user is.

Invariants:

- Every check asks the same needs in the same order: the user, then one computation off the
  event loop. A user who is unknown, locked, without a hash or with one that cannot be
  used costs a decoy.
- Nothing is computed whose cost was not capped, and no password longer than allowed.
- A hash is good only as long as the store has nothing newer: once the user has a SCRAM
  verifier or a plaintext password, a hash left behind lets nobody in. Otherwise a changed
  password would leave the old one valid.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, cast

from sasl_core.plugin import (
    HASHES,
    PASSWORD,
    VERIFIERS,
    BackendError,
    Blocking,
    NeedCall,
    NeedUser,
    PasswordAnswer,
    PwcheckPlug,
    Result,
    printable,
    record,
)
from sasl_pwcheck.hashes import work
from sasl_pwcheck.hashes.decoys import make_decoy
from sasl_pwcheck.hashes.text import parse_hash

if TYPE_CHECKING:
    from sasl_core.plugin import Found, Needs, SaslUtils, UserName
    from sasl_pwcheck.hashes.options import HashesOptions
    from sasl_pwcheck.hashes.schemes import StoredHash

__all__ = ["MOST_HASHES", "Hashes"]

MOST_HASHES: Final = 4
"""Hashes that one user may have; each of them is computed at each login."""
MOST_WARNINGS: Final = 64
"""Kinds of hashes that the log is told of because no decoy is like them."""

_PROPERTIES: Final = ("*" + HASHES, "*" + VERIFIERS, "*" + PASSWORD)


@record
class _Case:
    """The user's hashes, if any can be used, and what is said unless one of them matches."""

    hashes: tuple[StoredHash, ...] = ()
    refusal: Result = Result.BADAUTH
    detail: str | None = None


class Hashes(PwcheckPlug):
    """Checks passwords against hashes of other systems, kept in the property `passwordHash`."""

    name = "hashes"

    def __init__(self, utils: SaslUtils, options: HashesOptions) -> None:
        self._utils = utils
        self._options = options
        self._scram_cap = utils.scram_rounds_cap
        self._decoys = tuple(make_decoy(label, utils.random) for label in options.decoy_labels)
        self._secret = utils.random(32)
        self._told = set(options.decoy_labels)

    def check_password(
        self, user: UserName, password: bytes, service: str
    ) -> Needs[PasswordAnswer]:
        """Compare `password` with the hashes of `user`.

        NOUSER: nobody of that name; DISABLED: locked; NOVERIFY: the user has no hash, or
        something newer; BADAUTH: wrong, or no hash that can be used.

        Raises:
            BackendError: a store or the library behind a scheme failed.
        """
        longest = self._options.longest_password
        if not password or len(password) > longest:
            # Said before the user is known: it is the same for everybody.
            return PasswordAnswer(
                Result.BADAUTH, f"an empty password, or one of more than {longest} octets"
            )
        found = cast("Found", (yield NeedUser(str(user), None, _PROPERTIES)))
        case = self._case(found, password)
        hashes = case.hashes or (self._decoy(user, found.decoy_secret),)
        matched, failed = yield from NeedCall(
            lambda: _compute(hashes, password, user), Blocking.CPU
        )
        if matched and case.hashes:
            return PasswordAnswer(Result.OK)
        if failed is not None:
            raise BackendError(
                code="hash-failed", detail=f"a stored hash was not computed: {failed}"
            )
        return PasswordAnswer(case.refusal, case.detail)

    def user_exists(self, user: UserName) -> Needs[PasswordAnswer]:
        """What the stores say of `user`."""
        found = cast("Found", (yield NeedUser(str(user))))
        return PasswordAnswer(Result.OK if found.result is Result.NOVERIFY else found.result)

    def _case(self, found: Found, password: bytes) -> _Case:
        values = found.values.get(HASHES, ())
        if found.result not in (Result.OK, Result.NOVERIFY):
            return _Case(refusal=found.result)
        if found.verifiers or found.values.get(VERIFIERS) or found.values.get(PASSWORD):
            left = f"; its {HASHES} counts no more" if values else ""
            return _Case(
                refusal=Result.NOVERIFY,
                detail=f"the user's password is kept by the store itself{left}"
                " (auxprop in pwcheck_method checks it)",
            )
        if not values:
            return _Case(refusal=Result.NOVERIFY, detail=f"the user has no {HASHES}")
        if len(values) > MOST_HASHES:
            return _Case(detail=f"the user has {len(values)} values of {HASHES}, not {MOST_HASHES}")
        hashes: list[StoredHash] = []
        problems: list[str] = []
        for value in values:
            try:
                stored = parse_hash(value)
            except BackendError as error:
                problems.append(error.detail or "")
                continue
            problem = self._options.refusal(stored, self._scram_cap) or self._options.overlong(
                stored, password
            )
            if problem is None:
                hashes.append(stored)
            else:
                problems.append(problem)
        self._compare_with_decoys(hashes)
        return _Case(tuple(hashes), detail="; ".join(problems) or None)

    def _decoy(self, user: UserName, secret: bytes | None) -> StoredHash:
        """Of several decoys the one that this name has, today and tomorrow."""
        if len(self._decoys) == 1:
            return self._decoys[0]
        name = str(user).encode("utf-8", "surrogatepass")
        octets = hmac.digest(secret or self._secret, name, "sha256")
        return self._decoys[int.from_bytes(octets[:8]) % len(self._decoys)]

    def _compare_with_decoys(self, hashes: list[StoredHash]) -> None:
        """Tell the log of a kind of hashes whose owners can be told from unknown users."""
        kind = " + ".join(stored.label for stored in hashes)
        if kind and kind not in self._told and len(self._told) < MOST_WARNINGS:
            self._told.add(kind)
            self._utils.log.warning(
                "users with %s can be told from unknown ones by the time a login takes; "
                "decoys of [pwcheck.hashes] should have what most users have",
                printable(kind),
            )


def _compute(
    hashes: tuple[StoredHash, ...], password: bytes, user: UserName
) -> tuple[bool, str | None]:
    """Whether any hash matches, and what failed; all are computed, matching or not."""
    matched = False
    failed: str | None = None
    for stored in hashes:
        try:
            matched |= work.matches(stored, password, user)
        except Exception as error:  # noqa: BLE001 - whatever a library raises becomes ours.
            # Its text may hold the hash or the password.
            failed = f"{stored.label}: {type(error).__name__}"
    return matched, failed
