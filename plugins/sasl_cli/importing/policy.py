"""What of an entry may be taken over, whatever it was read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from sasl_cli.importing.records import Entry, Refused, scheme_of
from sasl_core.plugin import printable, record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Policy", "judged"]


@record
class Policy:
    """What the administrator allows.

    `derive`: make verifiers of plaintext passwords. `keep_hashes`: keep hashes that are no SCRAM
    verifiers. `exact`: users log in with access tokens, and need no secret here; a property
    without values is one to be taken away. `cap`: hash -> most rounds of a verifier, beyond which
    no server of ours derives. `floor`: hash -> fewest rounds that a client of ours takes part in
    (RFC 7677 section 4).
    """

    derive: bool = False
    keep_hashes: bool = False
    exact: bool = False
    cap: Callable[[str], int] = lambda _: 1_000_000
    floor: Callable[[str], int] = lambda _: 4096

    def judge(self, entry: Entry) -> Entry | Refused:
        """`entry` without what may not be taken over, or why nothing of it may."""
        if not self.exact and not all(entry.properties.values()):
            kept = {name: values for name, values in entry.properties.items() if values}
            entry = attrs.evolve(entry, properties=kept)
        dear = next(
            (each for each in entry.verifiers if each.iterations > self.cap(each.hash)), None
        )
        if dear is not None:
            return _refused(
                entry,
                f"its verifier of {dear.hash} has {dear.iterations} rounds, more than "
                f"scram_iteration_cap = {self.cap(dear.hash)}",
            )
        if len({each.hash for each in entry.verifiers}) != len(entry.verifiers):
            return _refused(entry, "it has two verifiers of one hash")
        weak = [each for each in entry.verifiers if each.iterations < self.floor(each.hash)]
        if entry.verifiers and entry.password is None and not entry.hashes and not weak:
            return entry
        notes = list(entry.notes)
        password, hashes, verifiers = entry.password or None, entry.hashes, entry.verifiers
        if password is not None and not self.derive:
            notes.append("its password is plaintext, of which only --derive makes verifiers")
            password = None
        if password is not None and verifiers:
            notes.append("its verifiers are left out: new ones are made of its password")
            verifiers = ()
        elif weak:
            notes += [
                f"its verifier of {each.hash} has {each.iterations} rounds, and clients refuse "
                f"fewer than scram_iteration_floor = {self.floor(each.hash)}: set the password anew"
                for each in weak
            ]
        if hashes and not self.keep_hashes:
            schemes = ", ".join(map(scheme_of, hashes))
            notes.append(
                f"its password is kept as {schemes}, of which no verifier can be made; "
                f"--keep-hashes keeps it"
            )
            hashes = ()
        # A secret that is left out was meant to let somebody in, so that it is told.
        secretless = self.exact and entry.password is None and not entry.hashes
        if not (password or verifiers or hashes or entry.disabled or secretless):
            return _refused(entry, "; ".join(notes) or "it has nothing to log in with")
        return attrs.evolve(
            entry, password=password, hashes=hashes, verifiers=verifiers, notes=tuple(notes)
        )


def judged(read: Iterable[Entry | Refused], policy: Policy) -> Iterator[Entry | Refused]:
    """What was read, each entry judged."""
    for item in read:
        yield item if isinstance(item, Refused) else policy.judge(item)


def _refused(entry: Entry, reason: str) -> Refused:
    return Refused(entry.line, printable(entry.user, 80), reason)
