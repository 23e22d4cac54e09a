"""Password hashes of other systems (entry point `hashes`): the way from there to SCRAM.

The property `passwordHash` holds what another system kept: `{SHA512-CRYPT}$6$...` as
Dovecot writes it, or bare `$2b$...`. A login with a password (PLAIN) is checked against
it, and with the core's `auto_transition` the store has SCRAM verifiers from then on.

`schemes` says which there are, `text` takes a hash apart, `options` what is accepted and
at what cost, `decoys` make up what an unknown user has, `work` computes, `plug` is the
method. What computes is imported at the first use.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from sasl_core.plugin import ConfigError, hookimpl
from sasl_pwcheck.hashes.options import HashesOptions
from sasl_pwcheck.hashes.plug import Hashes
from sasl_pwcheck.hashes.schemes import library_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sasl_core.plugin import PwcheckPlug, SaslUtils

__all__ = ["SASL_PLUGIN_API", "Hashes", "HashesOptions", "sasl_pwcheck_init"]

SASL_PLUGIN_API = 1


@hookimpl
def sasl_pwcheck_init(utils: SaslUtils) -> Sequence[PwcheckPlug]:
    """The configured method.

    Raises:
        ConfigError: code `missing-package`: a library of an accepted scheme is not
            installed. Said here and not at a login, where only users of that scheme would
            see it, and so be told apart.
    """
    options = utils.options(HashesOptions)
    missing: dict[str, list[str]] = {}
    for scheme in options.accepted:
        library = library_of(scheme)
        if library is not None and find_spec(library[0]) is None:
            missing.setdefault(library[1], []).append(scheme)
    if missing:
        wanted = "; ".join(f"{', '.join(names)} need {of}" for of, names in missing.items())
        raise ConfigError(
            f"{wanted}: pip install 'sasl-core[hashes]', or leave them out of schemes and "
            "weak_schemes of [pwcheck.hashes]",
            code="missing-package",
        )
    return [Hashes(utils, options)]
