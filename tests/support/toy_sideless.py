"""A canonicaliser that overrides neither side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.plugin import CanonUserPlug, hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import SaslUtils

SASL_PLUGIN_API = 1


class Sideless(CanonUserPlug):
    """Overrides neither side."""

    name = "SIDELESS"


@hookimpl
def sasl_canonuser_init(utils: SaslUtils) -> Sequence[CanonUserPlug]:
    """The plug."""
    return [Sideless()]
