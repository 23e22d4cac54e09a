"""What all sessions of one Client share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core._checks import is_a
from sasl_core.credentials import CredentialsPlug
from sasl_core.errors import SaslError, UsageError
from sasl_core.flags import Side
from sasl_core.plugset import Plugs
from sasl_core.registry import Registry

if TYPE_CHECKING:
    from sasl_core.plugs import ClientPlug


from sasl_core.core.base import CACHED_OFFERS, LOG_FAILURE, WARNING, Config, Core
from sasl_core.utils import SaslUtils

__all__ = ["ClientCore"]


class ClientCore(Core):
    """What all sessions of one Client share."""

    side = Side.CLIENT
    _list_name = "client_mech_list"

    def __init__(
        self,
        service: str,
        host: str,
        *,
        appname: str | None = None,
        config: Config = None,
        realm: str | None = None,
        registry: Registry | None = None,
        credentials: CredentialsPlug | str | None = None,
    ) -> None:
        super().__init__(
            service, host, appname=appname, config=config, realm=realm, registry=registry
        )
        # What was chosen for a question, and why the others were passed over.
        self.chosen: dict[tuple[object, ...], tuple[str, dict[str, str]]] = {}
        self.plugs: Plugs[ClientPlug] = Plugs(
            self.registry, Side.CLIENT, self.utils, SaslUtils.refuse_unread_options
        )

        if credentials is None:
            credentials = self.options.credentials_plugin
        elif not is_a(credentials, (str, CredentialsPlug)):
            kind = type(credentials).__name__
            raise UsageError(f"credentials are a CredentialsPlug or its name, not a {kind}")
        self._credentials = credentials

    def credentials(self) -> CredentialsPlug | None:
        """The source of secrets, None without one.

        Raises:
            PluginError: it is not installed, or cannot be used.
        """
        source = self._credentials
        if isinstance(source, str):
            return self.plugs.get("credentials", source) if source else None
        return source

    def forget_offers(self) -> None:
        super().forget_offers()
        self.chosen.clear()

    def remember(self, key: tuple[object, ...], name: str, rejected: dict[str, str]) -> None:
        """Keep which mechanism was chosen for a question; beyond a bound, begin anew."""
        if len(self.chosen) >= CACHED_OFFERS:
            self.chosen.clear()
        self.chosen[key] = name, dict(rejected)

    def mechanism(self, name: str) -> ClientPlug:
        return self.plugs.get("mechanisms", name)

    def log_refusal(self, mechanism: str | None, error: SaslError) -> None:
        """Log why an attempt failed, where `log_level` lets it through."""
        if self.options.log_level >= LOG_FAILURE:
            self.log(
                WARNING,
                "login %s: mechanism=%s detail=%s",
                error.result.name,
                mechanism or "-",
                error.detail or "-",
            )
