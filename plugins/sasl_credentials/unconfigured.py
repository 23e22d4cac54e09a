"""A source that is installed and lacks what it needs: it is listed, and says what that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.plugin import ConfigError, CredentialsPlug

if TYPE_CHECKING:
    from sasl_core.plugin import AccessToken, Needs, TokenRequest

__all__ = ["Unconfigured"]


class Unconfigured(CredentialsPlug):
    """Stands for the source `name`, of whose table the option `missing` has to be given."""

    def __init__(self, name: str, missing: str) -> None:
        self.name = name
        self._missing = missing

    def availability(self) -> str | None:
        return f"the option {self._missing} is missing; give it in [credentials.{self.name}]"

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        del request
        yield from ()
        raise ConfigError("the option is missing", key=f"credentials.{self.name}.{self._missing}")
