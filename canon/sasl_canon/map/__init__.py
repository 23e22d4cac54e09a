"""map: user names rewritten by the administrator's rules, the same on both sides.

Another canonicaliser, INTERNAL by default, prepares each name before the rules see it and
each name that they make, so that no spelling goes past a rule and none comes out of one
that could not have been typed. Invariants:

- The first rule that matches decides, in the order of the file; a name that none matches
  stays what the other canonicaliser made of it.
- A canonical name is its own canonical name: a rule whose outcome another rule would change
  again refuses the name, and where the outcome can be known beforehand, the file.
- The file is read once, when the plug is made. Nothing is read afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs

from sasl_canon.map.rules import Rules, parse_rules
from sasl_core.plugin import (
    CanonContext,
    CanonFlag,
    CanonUserPlug,
    PeerError,
    PluginError,
    Side,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import SaslUtils

__all__ = ["SASL_PLUGIN_API", "MapOptions", "sasl_canonuser_init"]

SASL_PLUGIN_API = 1

NO_RULES = "it has no rules: name their file in canon_user.map.rules"


@attrs.frozen
class MapOptions:
    """`rules`: the file of rules. `prepare`: the canonicaliser before and after them."""

    rules: Path | None = None
    prepare: str = "INTERNAL"


class MapCanonicalizer(CanonUserPlug):
    """See the module. Without `rules` it is there to say what it lacks, and maps nothing."""

    name = "map"

    def __init__(self, rules: Rules | None, prepare: CanonUserPlug) -> None:
        self._rules = rules
        self._prepare = prepare

    def availability(self) -> str | None:
        return NO_RULES if self._rules is None else self._prepare.availability()

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        return self._canonical(ctx, user, flags)

    def canon_user_client(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        return self._canonical(ctx, user, flags)

    def _canonical(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        rules = self._rules
        if rules is None:
            raise PluginError(self.name, "", NO_RULES)
        name = prepared(self._prepare, ctx, user, flags)
        mapped = rules.apply(name)
        if mapped is None:
            return name
        result = prepared(self._prepare, ctx, mapped.name, flags)
        again = rules.apply(result)
        if again is not None and prepared(self._prepare, ctx, again.name, flags) != result:
            raise PeerError(
                "the user name is not acceptable",
                code="bad-name",
                detail=f"what line {mapped.line} of the rules makes of the name, line "
                f"{again.line} would change again: write the last name there",
            )
        return result


def prepared(plug: CanonUserPlug, ctx: CanonContext, name: str, flags: CanonFlag) -> str:
    """What the canonicaliser `plug` makes of `name`.

    Raises:
        PeerError: it refuses the name.
        PluginError: it returned no name.
    """
    method = plug.canon_user_server if ctx.side is Side.SERVER else plug.canon_user_client
    # A stranger's plug may return anything.
    canonical = cast("object", method(ctx, name, flags))
    if not isinstance(canonical, str) or not canonical:
        raise PluginError(plug.name, "", "returned no user name")
    return canonical


@hookimpl
def sasl_canonuser_init(utils: SaslUtils) -> Sequence[CanonUserPlug]:
    """The plug, its rules read and checked against the names of this server or client."""
    options = utils.options(MapOptions)
    prepare = utils.canonicalizer(options.prepare)
    if options.rules is None:
        return [MapCanonicalizer(None, prepare)]
    ctx = CanonContext(utils.service, utils.host, utils.realm, utils.side)

    def canonical(name: str) -> str:
        return prepared(prepare, ctx, name, CanonFlag.AUTHID | CanonFlag.AUTHZID)

    rules = parse_rules(utils.read_text(options.rules), str(options.rules))
    rules.check(canonical)
    utils.log.info("%d rules from %s", len(rules), options.rules)
    return [MapCanonicalizer(rules, prepare)]
