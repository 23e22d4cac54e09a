"""What a stranger's profile says of itself is read with care: nonsense is told as its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sasl_cli.auth_target import Target, find_target
from sasl_core import PluginError, Registry


class Anything:
    """No text, no number, no mapping; and whoever looks closer gets a foreign error."""

    def __repr__(self) -> str:
        raise RuntimeError("look elsewhere")

    __str__ = __repr__
    __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


class Unreadable(dict[str, str]):
    """A mapping that cannot be read."""

    def keys(self) -> Any:
        raise RuntimeError("look elsewhere")

    def __iter__(self) -> Any:
        raise RuntimeError("look elsewhere")


class Raising:
    """A profile that has everything, and breaks when it is asked."""

    PORT = 25

    @staticmethod
    def make_client() -> None:
        """Never called."""

    @property
    def SERVICE(self) -> str:  # noqa: N802 - a profile's name for it
        raise RuntimeError("broken")


def target_of(monkeypatch: pytest.MonkeyPatch, profile: object) -> Target:
    """What `sasl auth` makes of a URL of this profile."""

    def load_object(self: object, kind: str, name: str) -> object:
        return profile

    def listings(self: object, kind: str) -> tuple[object, ...]:
        return (SimpleNamespace(name="strange"),)

    monkeypatch.setattr(Registry, "load_object", load_object)
    monkeypatch.setattr(Registry, "listings", listings)
    return find_target(
        "strange://h/?a=b", mechanism="X", starttls=False, cafile=None, cert=None, key=None
    )


def described(**more: object) -> SimpleNamespace:
    """A profile that says this of itself."""
    usual = {"PORT": 25, "make_client": print, "URL_OPTIONS": {"a": ""}}
    return SimpleNamespace(**{**usual, **more})


def test_a_profile_that_says_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is as with SMTP."""
    target = target_of(monkeypatch, described(ALIASES={"X": "PLAIN"}))
    assert (target.manner.service, target.manner.tls, target.port) == ("strange", "starttls", 25)
    assert (target.sasl_mechanism, target.manner.bearer) == ("PLAIN", None)
    assert target.options == {"a": "b"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "25"),
        ("PORT", True),
        ("PORT", 0),
        ("PORT", 65_536),
        ("PORT", Anything()),
        ("make_client", None),
        ("make_client", "smtp"),
        ("SERVICE", 7),
        ("SERVICE", None),
        ("SERVICE", ""),
        ("SERVICE", Anything()),
        ("TLS", ["starttls"]),
        ("TLS", "always"),
        ("TLS", None),
        ("TLS", Anything()),
        ("URL_OPTIONS", ("a",)),
        ("URL_OPTIONS", None),
        ("URL_OPTIONS", {"a": None}),
        ("URL_OPTIONS", {"a": "", 7: ""}),
        ("URL_OPTIONS", {"a": Anything()}),
        ("URL_OPTIONS", {"a": "nonsense"}),
        ("ALIASES", ["X"]),
        ("ALIASES", {"X": 7}),
        ("ALIASES", Anything()),
        ("ALIASES", Unreadable(X="Y")),
        ("BEARER_MECHANISM", 5),
        ("BEARER_MECHANISM", ""),
        ("BEARER_MECHANISM", Anything()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_nonsense_of_a_profile(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    """A PluginError that names the profile, whatever it is."""
    with pytest.raises(PluginError, match="strange") as caught:
        target_of(monkeypatch, described(**{name: value}))
    assert str(caught.value).isprintable()


def test_a_profile_that_breaks_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error's type is told."""
    with pytest.raises(PluginError, match=r"SERVICE.*RuntimeError"):
        target_of(monkeypatch, Raising())
