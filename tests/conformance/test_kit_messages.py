"""Each check of a parser or a preparation passes a sound one, and fails on one that is wrong."""

from __future__ import annotations

import pytest

from sasl_core import PeerError
from sasl_core.testing import MessageConformance, PreparationConformance


class Colon(MessageConformance):
    """Two words and a colon between them; a test makes it lax."""

    accepted = (b"one:two", b":")
    refused = (b"", b"one")

    def respell(self, message: bytes) -> bytes:
        one, colon, two = message.partition(b":")
        if not colon:
            raise PeerError("no colon")
        return one + b":" + two


class TestColon(Colon):
    """The sound parser passes."""


class Blind(Colon):
    """Sees no difference between letters."""

    def respell(self, message: bytes) -> bytes:
        return super().respell(message).lower()


class Raising(Colon):
    """Lets a UnicodeDecodeError out."""

    def respell(self, message: bytes) -> bytes:
        return super().respell(message).decode().encode()


class Forgetting(Colon):
    """Forgets what is long."""

    def respell(self, message: bytes) -> bytes:
        return super().respell(message)[:20]


class Lower(PreparationConformance):
    """Lower case; a test makes it something else."""

    prepared = {"Alice": "alice", "\u0130": "i\u0307"}
    refused = ("",)

    def prepare(self, text: str) -> str:
        if not text:
            raise PeerError("nothing")
        return text.lower()


class TestLower(Lower):
    """The sound preparation passes."""


class Growing(Lower):
    """Appends a letter to what is long."""

    def prepare(self, text: str) -> str:
        return super().prepare(text) + "x" * (len(text) > 7)


class Encoding(Lower):
    """Lets a UnicodeEncodeError out."""

    def prepare(self, text: str) -> str:
        return super().prepare(text).encode().decode()


CASES = [
    (Colon, {"accepted": (b"one",)}, "test_declared_messages", "b'one' is refused"),
    (Colon, {"refused": (b"a:b",)}, "test_declared_messages", "b'a:b' is accepted"),
    (Blind, {"accepted": (b"One:Two",)}, "test_declared_messages", "comes out as b'one:two'"),
    (Blind, {}, "test_changed_messages", "comes out as"),
    (Raising, {}, "test_changed_messages", "raises UnicodeDecodeError, which is no PeerError"),
    (Forgetting, {}, "test_any_bytes", "comes out as"),
    (Lower, {"prepared": {"A": "A"}}, "test_declared_texts", "makes 'a' of 'A', not 'A'"),
    (Lower, {"refused": ("a",)}, "test_declared_texts", "makes 'a' of 'a'"),
    (Growing, {}, "test_prepared_stays_prepared", "and then"),
    (Encoding, {}, "test_prepared_stays_prepared", "raises UnicodeEncodeError"),
]


@pytest.mark.parametrize(("base", "changed", "check", "complaint"), CASES)
def test_a_wrong_one_fails(base, changed, check, complaint):
    """The check fails on what is wrong in just this, and says so."""
    with pytest.raises(AssertionError, match=complaint):
        getattr(type("Wrong", (base,), changed)(), check)()


@pytest.mark.parametrize("kit", [MessageConformance, PreparationConformance])
def test_every_check_has_a_failure(kit):
    """No check of the kit is without a case here in which it fails."""
    checks = {name for name in dir(kit) if name.startswith("test_")}
    assert checks == {check for base, _, check, _ in CASES if issubclass(base, kit)}
