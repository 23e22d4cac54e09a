"""By what `sasl auth` logs in: what its options and the configuration add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sasl_cli.auth_facts import TOKENS
from sasl_core import Registry
from sasl_core.plugin import (
    MechanismError,
    UsageError,
    base_name,
    is_mechanism_name,
    printable,
    record,
    suggestion,
)

if TYPE_CHECKING:
    from sasl_cli.auth_target import Target
    from sasl_core import Configuration

__all__ = ["ANONYMOUS", "Choice", "check_offer", "choose"]

ANONYMOUS: Final = "ANONYMOUS"
EXTERNAL: Final = "EXTERNAL"
XOAUTH2: Final = "XOAUTH2"
WITHOUT_PASSWORD: Final = frozenset({ANONYMOUS, EXTERNAL, *TOKENS})


@record
class Choice:
    """By what to log in.

    `mechanism`: as SASL calls it, None for the best; `called`: as the protocol does. `authzid`:
    as whom to act. `source`: where a token comes from, "" for none. `by_token`, `by_password`:
    what is shown, if it is either. `settings`: the configuration, and what follows from all this.
    """

    mechanism: str | None
    called: str | None
    authzid: str | None
    source: str
    by_token: bool
    by_password: bool
    settings: Configuration


def choose(
    where: Target,
    settings: Configuration,
    *,
    user: str | None,
    authzid: str | None,
    pipe: bool,
    token_file: str | None,
    credentials: str | None,
) -> Choice:
    """What the options say together.

    Raises:
        UsageError: they contradict each other, there is no such mechanism, or nobody is to log in.
    """
    wanted, called = where.sasl_mechanism, where.mechanism
    given = token_file is not None or credentials is not None
    if given and (pipe or (token_file is not None and credentials is not None)):
        raise UsageError("-p, --token-file and --credentials exclude each other")
    _check_name(where, settings)
    # Whoever pipes a password in, or names a mechanism for passwords, wants no token.
    source = credentials or ("" if pipe else settings.core.credentials_plugin)
    by_token = given or bool(source and (wanted is None or wanted in TOKENS))
    if by_token and wanted is None:
        wanted = called = where.manner.bearer
        # What a client of all mechanisms would take first is no matter of an alphabet.
        if wanted is None and settings.core.client_mech_list is None:
            settings = settings.overlaid({"client_mech_list": list(TOKENS)})
    elif wanted is None and user is None and where.cert is not None:
        # The certificate says who comes.
        wanted = EXTERNAL
        names = where.manner.aliases.items()
        called = next((name for name, meant in names if meant == wanted), wanted)
    if wanted is not None and is_mechanism_name(wanted):
        # Chosen so, and not by telling the session of a smaller offer than the server's, which
        # may be signed (scram_downgrade_protection).
        settings = settings.overlaid({"client_mech_list": [wanted]})
    if wanted in TOKENS and not by_token:
        raise UsageError(
            f"{wanted} takes an access token: --token-file FILE, or --credentials NAME"
        )
    if user is None and wanted is None and not by_token:
        raise UsageError("give --user, or a --mechanism that needs none, or an access token")
    if user is None and wanted == XOAUTH2:
        raise UsageError("XOAUTH2 sends a name along with the token: give --user NAME")
    if wanted == EXTERNAL and user is not None:
        if authzid not in (None, user):
            raise UsageError(f"{called} has room for one name: --user or --authzid, not both")
        # The certificate says who comes, and the server whether that is this one.
        authzid = user
    by_password = user is not None and wanted not in WITHOUT_PASSWORD and not by_token
    return Choice(wanted, called, authzid, source, by_token, by_password, settings)


def check_offer(offered: tuple[str, ...], choice: Choice) -> None:
    """Make sure that nobody is sent a password who did not ask for it, nor a person asked in vain.

    Raises:
        MechanismError: the server does not offer the mechanism, or none for a token.
    """
    wanted = choice.called
    offer = " ".join(offered) or "none at all"
    if wanted is None:
        if choice.by_token and not TOKENS.keys() & set(offered):
            raise MechanismError(
                f"the server offers nothing that takes an access token, but {offer}"
            )
    elif wanted not in offered and f"{wanted}-PLUS" not in offered:
        raise MechanismError(f"the server does not offer {printable(wanted, 40)}, but {offer}")


def _check_name(where: Target, settings: Configuration) -> None:
    wanted = where.sasl_mechanism
    if wanted is None:
        return
    known = Registry(plugin_list=settings.core.plugin_list).names("mechanisms")
    if base_name(wanted) not in known:
        near = suggestion(wanted, [*known, *where.manner.aliases])
        raise UsageError(
            f"no mechanism {printable(wanted, 40)!r} is installed{near}"
            f"{'' if near else '; sasl plugins lists those that are'}"
        )
