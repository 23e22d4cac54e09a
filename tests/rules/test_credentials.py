"""A client's sources of secrets, and what they decide."""

from __future__ import annotations

from typing import Any

import pytest

from drivers import Driver
from sasl_core import MechanismError, UsageError
from sasl_core.plugin import (
    AccessToken,
    CredentialsPlug,
    Needs,
    PromptId,
    Success,
    TokenRequest,
)
from toys import OPEN, client_plug, naming_client


class Source(CredentialsPlug):
    """Tokens with the name of whom they are for."""

    name = "source"

    def token(self, request: TokenRequest) -> Needs[AccessToken]:
        yield from ()
        return AccessToken(f"for {request.username} at {request.host}")


def bearer(ctx: Any) -> Needs[Success]:
    """Sends the token that the session was given, or one of the source."""
    if ctx.credentials is None:
        (token,) = yield from ctx.ask(PromptId.TOKEN)
    else:
        token = (yield from ctx.credentials.token(TokenRequest(ctx.service, ctx.host, "tim"))).value
    ctx.canon_user("tim")
    ctx.refused_hook = lambda: True
    return Success(data=token.encode())


@pytest.fixture
def mechanisms(toys: Any) -> Any:
    """TOY wants a token, NAMED a name."""
    toys.mechanism(client=client_plug("TOY", bearer, required_prompts=(PromptId.TOKEN,)))
    named = client_plug("NAMED", naming_client(), required_prompts=(PromptId.AUTHNAME,))
    toys.mechanism(client=named)
    toys.plug("credentials", Source())
    return toys.registry()


def test_a_token_chooses_its_mechanism(driver: Driver, mechanisms: Any) -> None:
    """A session with a token, as text or as a callable, and without a name."""
    client = driver.client(OPEN, registry=mechanisms)
    for token in ("abc", lambda prompt: "abc"):
        session = client.session(token=token)
        assert session.start("NAMED TOY").data == b"abc"
        assert session.mechanism == "TOY"


def test_without_a_token_or_a_source_it_is_passed_over(driver: Driver, mechanisms: Any) -> None:
    """And says what is missing."""
    session = driver.client(OPEN, registry=mechanisms).session()
    with pytest.raises(MechanismError, match="TOKEN"):
        session.start("TOY")


@pytest.mark.parametrize("how", ["plug", "name", "configured"])
def test_a_source_stands_in_for_the_token(driver: Driver, mechanisms: Any, how: str) -> None:
    """Given as a plug, by its name, or by the configuration."""
    config = {**OPEN, **({"credentials_plugin": "source"} if how == "configured" else {})}
    given: dict[str, Any] = {"plug": {"credentials": Source()}, "name": {"credentials": "source"}}
    client = driver.client(config, registry=mechanisms, **given.get(how, {}))
    session = client.session()
    assert session.start("TOY").data == b"for tim at mail.example.com"


def test_a_source_that_is_not_there_is_named(driver: Driver, mechanisms: Any, caplog: Any) -> None:
    """The mechanism is passed over, and the log says which source is missing."""
    session = driver.client(OPEN, registry=mechanisms, credentials="elsewhere").session()
    with pytest.raises(MechanismError):
        session.start("TOY")
    assert "elsewhere" in caplog.text


def test_what_is_no_source_is_refused(driver: Driver, mechanisms: Any) -> None:
    """At once, not at the first login."""
    with pytest.raises(UsageError, match="CredentialsPlug"):
        driver.client(OPEN, registry=mechanisms, credentials=3)


def test_refused_asks_the_mechanism(driver: Driver, mechanisms: Any) -> None:
    """Whether trying again makes sense; a mechanism that says nothing means no."""
    client = driver.client(OPEN, registry=mechanisms)
    session = client.session(token="abc")
    assert session.refused() is False
    session.start("TOY")
    assert session.refused() is True
    named = client.session(authid="tim")
    named.start("NAMED")
    assert named.refused() is False


def test_a_source_without_tokens_says_so() -> None:
    """The default of a source of something else."""
    with pytest.raises(UsageError, match="give no tokens"):
        next(CredentialsPlug().token(TokenRequest("smtp", "mail.example.com")))


def test_no_secret_shows() -> None:
    """Neither of a token nor of a request is the secret part in the repr."""
    assert "s3cret" not in repr(AccessToken("s3cret", refresh_token="s3cret"))
    assert "s3cret" not in repr(TokenRequest("s", "h", refresh_token="s3cret"))
