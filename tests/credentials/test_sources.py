"""Where tokens come from: files, the machine's surroundings, a function of the application."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from sasl_core import (
    AuthenticationError,
    BackendError,
    Client,
    ConfigError,
    PluginError,
    SaslError,
    UsageError,
)
from sasl_core.plugin import (
    AccessToken,
    HttpRequest,
    HttpResponse,
    NeedCall,
    TokenRequest,
)
from sasl_credentials import (
    AzureTokens,
    CallbackTokens,
    FileTokens,
    GcpTokens,
    K8sTokens,
    TestTokens,
)
from sasl_credentials.environment import SERVICE_ACCOUNT
from sasl_credentials.secret_files import FILE_LIMIT, read_secret
from token_kit import NOW, FakeIssuer, Ticking, json_response, run

ANY = TokenRequest("mongodb", "localhost")
CLOCK = Ticking()


def write(path: Path, text: str | bytes) -> Path:
    """A file that only its owner may write."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o600)
    return path


# --- files ----------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=ascii)
def test_a_file_is_read_without_the_end_of_its_line(tmp_path: Path, end: str) -> None:
    """The token is believed for a minute, for nobody says how long it lives."""
    path = write(tmp_path / "token", "abc.def.ghi" + end)
    token = run(FileTokens(path, clock=CLOCK).token(ANY))
    assert token == AccessToken("abc.def.ghi", NOW + 60.0)


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    """Whoever replaces it is heeded; it may be a link, as in a Kubernetes pod."""
    path = tmp_path / "token"
    source = FileTokens(path)
    for number in (1, 2):
        write(tmp_path / str(number), f"token-{number}\n")
        path.unlink(missing_ok=True)
        path.symlink_to(tmp_path / str(number))
        assert run(source.token(ANY)).value == f"token-{number}"


@pytest.mark.parametrize(
    "text",
    ["", "\n", "a b", " a", "a\n\n", "a\nb", "ä", "a\0", "=", b"\xff", "x" * (FILE_LIMIT + 1)],
    ids=lambda text: ascii(text)[:12],
)
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, text: str | bytes) -> None:
    """Nor is any of it told."""
    path = write(tmp_path / "token", text)
    with pytest.raises(BackendError) as caught:
        _ = run(FileTokens(path).token(ANY))
    assert caught.value.code in ("secret-file", "bad-token")
    assert "token" in str(caught.value.detail)
    assert len(str(caught.value.detail)) < 400


def test_the_longest_token_fits(tmp_path: Path) -> None:
    """16 KiB, with the end of its line."""
    path = write(tmp_path / "token", "x" * FILE_LIMIT + "\r\n")
    assert run(FileTokens(path).token(ANY)).value == "x" * FILE_LIMIT


@pytest.mark.parametrize("kind", ["absent", "folder", "fifo", "writable", "no name"])
def test_a_file_that_cannot_be_trusted_is_refused(tmp_path: Path, kind: str) -> None:
    """And what is wrong with it is told, at once."""
    path, why = tmp_path / "token", "no regular file"
    if kind == "absent":
        why = "No such file"
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "writable":
        write(path, "token").chmod(0o666)
        why = "chmod o-w"
    else:
        path, why = Path("a\0b"), "no such name"
    with pytest.raises(BackendError) as caught:
        _ = run(FileTokens(path).token(ANY))
    assert caught.value.code == "secret-file"
    assert why in str(caught.value.detail)


def test_a_secret_may_have_blanks(tmp_path: Path) -> None:
    """It is printable ASCII, where a token is less."""
    path = write(tmp_path / "secret", " a secret \n")
    assert run(read_secret(path, "the secret")) == " a secret "


def test_a_file_is_configured(tmp_path: Path) -> None:
    """As `[credentials.token_file]`; without `path` it is an error that says so."""
    path = write(tmp_path / "token", "abc\n")
    config: dict[str, Any] = {
        "credentials_plugin": "token_file",
        "credentials": {"token_file": {"path": str(path)}},
    }
    with Client("mongodb", "localhost", config=config) as client:
        source = client.core.credentials()
        assert source is not None
        assert run(source.token(ANY)).value == "abc"
    for wrong in ({"path": ""}, {"path": str(path), "pathh": "x"}):
        config["credentials"] = {"token_file": wrong}
        with (
            Client("mongodb", "localhost", config=config) as client,
            pytest.raises(PluginError, match=r"credentials\.token_file\.path"),
        ):
            _ = client.core.credentials()


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("token_file", "path"),
        ("oidc_azure", "resource"),
        ("oidc_gcp", "resource"),
        ("client_credentials", "client_id"),
    ],
)
def test_a_source_that_is_not_configured_says_what_it_lacks(name: str, missing: str) -> None:
    """It is listed all the same; who asks it for a token is told the option."""
    with Client("mongodb", "localhost", config={"credentials_plugin": name}) as client:
        source = client.core.credentials()
        assert source is not None
        assert source.name == name
        assert missing in str(source.availability())
        with pytest.raises(ConfigError) as caught:
            _ = run(source.token(ANY))
    assert caught.value.key == f"credentials.{name}.{missing}"


# --- the surroundings -------------------------------------------------------------------


def test_oidc_test_reads_the_file_that_the_environment_names(tmp_path: Path) -> None:
    """OIDC_TOKEN_FILE; without it the error names the variable."""
    path = write(tmp_path / "token", "abc\n")
    assert run(TestTokens(environ={"OIDC_TOKEN_FILE": str(path)}).token(ANY)).value == "abc"
    for empty in ({}, {"OIDC_TOKEN_FILE": ""}):
        with pytest.raises(ConfigError, match="OIDC_TOKEN_FILE"):
            _ = run(TestTokens(environ=empty).token(ANY))


def test_the_environment_is_that_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked into when a token is due, not when the plug is made."""
    source = TestTokens()
    monkeypatch.setenv("OIDC_TOKEN_FILE", str(write(tmp_path / "token", "abc")))
    assert run(source.token(ANY)).value == "abc"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["AZURE_FEDERATED_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"], "azure"),
        (["AZURE_FEDERATED_TOKEN_FILE"], "azure"),
        (["AWS_WEB_IDENTITY_TOKEN_FILE"], "aws"),
    ],
)
def test_oidc_k8s_looks_for_azures_file_then_for_aws(
    tmp_path: Path, names: list[str], expected: str
) -> None:
    """The order of the specification."""
    files = {
        "AZURE_FEDERATED_TOKEN_FILE": str(write(tmp_path / "azure", "azure\n")),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(write(tmp_path / "aws", "aws\n")),
    }
    environ = {name: files[name] for name in names}
    assert run(K8sTokens(environ=environ).token(ANY)).value == expected


def test_oidc_k8s_ends_at_the_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Kubernetes puts it into every pod."""
    opened: list[str] = []

    def refuse(path: str, flags: int) -> int:
        opened.append(path)
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("sasl_credentials.secret_files.os.open", refuse)
    with pytest.raises(BackendError):
        _ = run(K8sTokens(environ={}).token(ANY))
    assert opened == [SERVICE_ACCOUNT]
    assert SERVICE_ACCOUNT == "/var/run/secrets/kubernetes.io/serviceaccount/token"


class Metadata:
    """A cloud's metadata service."""

    def __init__(self, answer: HttpResponse) -> None:
        self.answer = answer
        self.requests: list[HttpRequest] = []

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        return self.answer

    @property
    def asked(self) -> tuple[str, list[tuple[str, str]], Mapping[str, str]]:
        """Address, query and header of the one request."""
        (request,) = self.requests
        url = urlsplit(request.url)
        assert (request.method, request.body, request.cleartext) == ("GET", b"", True)
        assert request.deadline <= 10.0
        return (
            f"{url.scheme}://{url.netloc}{url.path}",
            parse_qsl(url.query, strict_parsing=True),
            dict(request.headers),
        )


AZURE_ANSWER = {
    "access_token": "abc.def.ghi",
    "client_id": "7c9e",
    "expires_in": "86399",
    "expires_on": "1700086500",
    "not_before": "1700000100",
    "resource": "api://x",
    "token_type": "Bearer",
}


@pytest.mark.parametrize(
    ("request_", "options", "client_id"),
    [
        (ANY, {}, None),
        (TokenRequest("mongodb", "localhost", "7c9e"), {}, "7c9e"),
        (TokenRequest("mongodb", "localhost", "7c9e"), {"client_id": "other"}, "other"),
        (TokenRequest("imap", "localhost", "tim@example.com"), {}, None),
        (TokenRequest("imap", "localhost", "tim@example.com"), {"client_id": "7c9e"}, "7c9e"),
    ],
)
def test_oidc_azure_asks_the_metadata_service(
    request_: TokenRequest, options: dict[str, str], client_id: str | None
) -> None:
    """For the resource, and for the identity that is configured or, with MongoDB, named."""
    service = Metadata(json_response(AZURE_ANSWER))
    source = AzureTokens("api://a b&c=d", clock=CLOCK, **options)
    assert run(source.token(request_), service) == AccessToken("abc.def.ghi", NOW + 86_399)
    url, query, headers = service.asked
    assert url == "http://169.254.169.254/metadata/identity/oauth2/token"
    assert query == [("api-version", "2018-02-01"), ("resource", "api://a b&c=d")] + (
        [] if client_id is None else [("client_id", client_id)]
    )
    assert "%20" in service.requests[0].url, "a blank is no plus here"
    assert headers == {"accept": "application/json", "metadata": "true"}


@pytest.mark.parametrize("cloud", [AzureTokens, GcpTokens], ids=lambda cloud: cloud.name)
def test_a_clouds_service_is_asked_for_nothing_that_no_form_can_say(cloud: Any) -> None:
    """A name with half a surrogate pair: an error of ours, and nothing of the name in it."""
    service = Metadata(json_response(AZURE_ANSWER))
    request = TokenRequest("mongodb", "localhost", "s3cr3t\udc80")
    source = cloud("api" if cloud is AzureTokens else "s3cr3t\udc80", clock=CLOCK)
    with pytest.raises(UsageError) as caught:
        _ = run(source.token(request), service)
    assert "s3cr3t" not in f"{caught.value} {caught.value.detail}"
    assert caught.value.__context__ is None
    assert service.requests == []


@pytest.mark.parametrize("body", [b"abc.def.ghi", b"abc.def.ghi\n"], ids=ascii)
def test_oidc_gcp_asks_the_metadata_service(body: bytes) -> None:
    """Its answer is the token, and nothing else."""
    service = Metadata(HttpResponse(200, (("metadata-flavor", "Google"),), body))
    source = GcpTokens("https://db.example.com", clock=CLOCK)
    assert run(source.token(ANY), service) == AccessToken("abc.def.ghi", NOW + 60.0)
    url, query, headers = service.asked
    assert url == (
        "http://metadata.google.internal"
        "/computeMetadata/v1/instance/service-accounts/default/identity"
    )
    assert query == [("audience", "https://db.example.com")]
    assert headers["metadata-flavor"] == "Google"


GOOGLE = (("metadata-flavor", "Google"),)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (HttpResponse(200, (), b"abc.def.ghi"), "not Google"),
        (HttpResponse(200, GOOGLE, b""), "no access token"),
        (HttpResponse(200, GOOGLE, b"<html>"), "no access token"),
        (HttpResponse(200, GOOGLE, b"a\xff"), "string"),
        (HttpResponse(200, GOOGLE, b"x" * 20_000), "no access token"),
        (HttpResponse(404, GOOGLE, b"not found"), "404"),
        (HttpResponse(302, GOOGLE, b""), "redirects"),
    ],
    ids=str,
)
def test_what_is_no_answer_of_googles_is_refused(answer: HttpResponse, says: str) -> None:
    """A stranger under its name, an error, something that is no token."""
    with pytest.raises(BackendError) as caught:
        _ = run(GcpTokens("x").token(ANY), Metadata(answer))
    assert says in str(caught.value.detail)


@pytest.mark.parametrize("cloud", [AzureTokens, GcpTokens], ids=lambda cloud: cloud.name)
def test_a_cloud_needs_to_know_what_the_token_is_for(cloud: Any) -> None:
    """Whoever makes the source without a resource is told so."""
    with pytest.raises(ConfigError) as caught:
        _ = cloud("")
    assert caught.value.key == f"credentials.{cloud.name}.resource"


@pytest.mark.parametrize("name", ["oidc_test", "oidc_k8s", "oidc_azure", "oidc_gcp"])
def test_the_surroundings_are_configured_by_name(name: str) -> None:
    """One module has them all, and none of them minds what the others miss."""
    config: dict[str, Any] = {"credentials_plugin": name}
    with Client("mongodb", "localhost", config=config) as client:
        source = client.core.credentials()
        assert source is not None
        assert source.name == name
    config["credentials"] = {name: {"colour": "red"}}
    with (
        Client("mongodb", "localhost", config=config) as client,
        pytest.raises(PluginError, match="colour"),
    ):
        _ = client.core.credentials()


# --- the application's function ---------------------------------------------------------


@pytest.mark.parametrize("answer", ["abc", AccessToken("abc")], ids=["text", "AccessToken"])
def test_a_callback_gives_a_token(answer: str | AccessToken) -> None:
    """It is told what the token is for."""
    asked: list[TokenRequest] = []

    def give(request: TokenRequest) -> str | AccessToken:
        asked.append(request)
        return answer

    assert run(CallbackTokens(give).token(ANY)) == AccessToken("abc")
    assert asked == [ANY]


@pytest.mark.parametrize("answer", [None, b"abc", 7, ("abc", 3600)], ids=ascii)
def test_a_callback_that_gives_something_else_is_told_so(answer: Any) -> None:
    """By type, never by value."""
    with pytest.raises(UsageError) as caught:
        _ = run(CallbackTokens(lambda request: answer).token(ANY))
    assert type(answer).__name__ in str(caught.value)


def test_a_callbacks_own_errors_are_its_own() -> None:
    """Of ours it may raise each; of others the type is told, for the text may hold a secret."""

    def refuse(error: Exception, request: TokenRequest) -> str:
        raise error

    with pytest.raises(AuthenticationError):
        _ = run(CallbackTokens(partial(refuse, AuthenticationError())).token(ANY))
    with pytest.raises(BackendError) as caught:
        _ = run(CallbackTokens(partial(refuse, ValueError("s3cr3t"))).token(ANY))
    file, line = Path(__file__).name, refuse.__code__.co_firstlineno + 1
    assert caught.value.detail == f"the token callback raised ValueError at {file}:{line} in refuse"
    assert not caught.value.temporary, "nobody knows whether it passes"
    assert caught.value.__context__ is None


def test_a_callback_that_cannot_be_called_is_told_so() -> None:
    """The place is the callback's own; where it has none, that is the call's."""
    wrong: Any = lambda: "abc"  # noqa: E731
    with pytest.raises(BackendError) as caught:
        _ = run(CallbackTokens(wrong).token(ANY))
    said = "the token callback raised TypeError, when it was called with a TokenRequest"
    assert caught.value.detail == said


class Caller:
    """A coroutine function in another shape."""

    async def __call__(self, request: TokenRequest) -> str:
        return "abc"


async def give_async(request: TokenRequest) -> str:
    """A coroutine function."""
    await asyncio.sleep(0)
    if request.username == "broken":
        raise ValueError("s3cr3t")
    if request.username == "refused":
        raise AuthenticationError(detail="no")
    if request.username == "impatient":
        raise TimeoutError
    if request.username == "slow":
        await asyncio.sleep(10)
    return "abc"


def need_of(function: Any, request: TokenRequest) -> NeedCall[Any]:
    """What a callback is asked by."""
    need = next(CallbackTokens(function).token(request))
    assert isinstance(need, NeedCall)
    return need


@pytest.mark.parametrize(
    "function",
    [give_async, partial(give_async), Caller()],
    ids=["a function", "a partial one", "an object"],
)
def test_a_coroutine_function_is_awaited(function: Any) -> None:
    """Without a thread; a blocking Client has no loop for it, and says so."""
    need = need_of(function, ANY)
    assert need.async_function is not None
    assert asyncio.run(_awaited(need)) == "abc"
    with pytest.raises(UsageError, match=r"sasl_core\.aio"):
        _ = need.function()


async def _awaited(need: NeedCall[Any]) -> object:
    assert need.async_function is not None
    return await need.async_function()


@pytest.mark.parametrize(
    ("name", "error", "code", "says"),
    [
        ("broken", BackendError, "callback-failed", "raised ValueError at test_sources.py:"),
        ("refused", AuthenticationError, "authentication-failed", "no"),
        ("impatient", BackendError, "callback-failed", "raised TimeoutError"),
        ("slow", BackendError, "timeout", "took longer than 0.05 s"),
    ],
)
def test_a_coroutine_functions_errors(
    name: str, error: type[SaslError], code: str, says: str
) -> None:
    """As a function's; and it is held to its deadline."""
    need = need_of(give_async, TokenRequest("imap", "h", name, deadline=0.05))
    with pytest.raises(error) as caught:
        _ = asyncio.run(_awaited(need))
    assert caught.value.code == code
    assert says in str(caught.value.detail)
    assert caught.value.__context__ is None
    assert getattr(caught.value, "temporary", False) is (code == "timeout")


def test_what_is_no_function_is_refused() -> None:
    """When it is given, not at the first login."""
    wrong: Any = "token"
    with pytest.raises(UsageError, match="str"):
        _ = CallbackTokens(wrong)
    with pytest.raises(ConfigError, match="allowed_hosts"):
        _ = CallbackTokens(lambda request: "abc", human=True, allowed_hosts=["http://x"])


REFRESHING = TokenRequest(
    "mongodb", "localhost", None, "https://issuer.example.com", "client", (), "old"
)


def test_a_callbacks_refresh_tokens_can_be_exchanged_for_it() -> None:
    """At the token endpoint of the issuer that they came from; the person is left alone."""
    issuer = FakeIssuer()
    issuer.answers["/token"] = json_response(
        {"access_token": "abc", "token_type": "bearer", "refresh_token": "new", "expires_in": 60}
    )
    asked: list[TokenRequest] = []

    def give(request: TokenRequest) -> str:
        asked.append(request)
        return "xyz"

    source = CallbackTokens(give, human=True, refresh=True, ca_file="/ca.pem", clock=CLOCK)
    assert run(source.token(REFRESHING), issuer.http) == AccessToken("abc", NOW + 60, "new")
    assert asked == []
    request = issuer.requests[-1]
    assert (request.method, request.url) == ("POST", "https://issuer.example.com/token")
    assert parse_qsl(request.body.decode(), strict_parsing=True) == [
        ("grant_type", "refresh_token"),
        ("refresh_token", "old"),
        ("client_id", "client"),
    ]
    assert [each.ca_file for each in issuer.requests] == ["/ca.pem"] * 2
    assert "authorization" not in dict(request.headers)

    assert run(source.token(ANY), issuer.http) == AccessToken("xyz")
    assert run(CallbackTokens(give, human=True).token(REFRESHING)) == AccessToken("xyz")
    assert asked == [ANY, REFRESHING]


def test_a_refresh_token_that_is_over_is_refused() -> None:
    """As AuthenticationError, upon which the person is asked."""
    issuer = FakeIssuer()
    issuer.answers["/token"] = json_response({"error": "invalid_grant"}, 400)
    source = CallbackTokens(lambda request: "xyz", human=True, refresh=True)
    with pytest.raises(AuthenticationError) as caught:
        _ = run(source.token(REFRESHING), issuer.http)
    assert caught.value.detail == "the provider answered 400, invalid_grant"


def test_a_refresh_token_that_no_form_can_say_is_told_of_without_its_text() -> None:
    """It is the application's own, and may be anything."""
    source = CallbackTokens(lambda request: "xyz", human=True, refresh=True)
    request = TokenRequest(
        "mongodb", "localhost", None, "https://issuer.example.com", None, (), "s3cr3t\udc80"
    )
    with pytest.raises(UsageError) as caught:
        _ = run(source.token(request), FakeIssuer().http)
    assert "s3cr3t" not in f"{caught.value} {caught.value.detail}"
    assert caught.value.__context__ is None


def test_the_files_that_a_test_wrote_are_private(tmp_path: Path) -> None:
    """The helper above does what it says: otherwise nothing here would be read."""
    mode = write(tmp_path / "token", "abc").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
