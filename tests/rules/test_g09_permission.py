"""G9: what a server permits, in the order in which it is asked, each with its result."""

from __future__ import annotations

import pytest

from sasl_core import (
    Feature,
    MechanismError,
    Result,
    SecurityFlag,
    SecurityProperties,
)
from sasl_core.plugin import Availability
from toys import CLIENT_FIRST, OPEN, STRONG, naming_server, server_plug

# Everything that is wrong with WEAK, from the first question to the last, and what makes it right.
WRONGS = ("banned", "max_ssf", "available", "proxy", "http", "flags", "cleartext")
RESULTS = {
    "banned": Result.NOMECH,
    "max_ssf": Result.TOOWEAK,
    "available": Result.NOMECH,
    "proxy": Result.NOMECH,
    "http": Result.NOMECH,
    "flags": Result.NOMECH,
    "cleartext": Result.ENCRYPT,
}
REASONS = {
    "banned": "not available on this connection",
    "max_ssf": "min_ssf",
    "available": "its library is missing",
    "proxy": "authorization identity",
    "http": "HTTP",
    "flags": "forward_secrecy",
    "cleartext": "allow_cleartext",
}


def attempt(driver, toys, wrongs):
    """Start a mechanism of which all of `wrongs` are true; the error."""
    features = CLIENT_FIRST
    if "proxy" not in wrongs:
        features |= Feature.ALLOWS_PROXY
    if "http" not in wrongs:
        features |= Feature.SUPPORTS_HTTP
    flags = SecurityFlag.NOANONYMOUS
    if "flags" not in wrongs:
        flags |= SecurityFlag.FORWARD_SECRECY
    if "cleartext" not in wrongs:
        flags |= SecurityFlag.NOPLAINTEXT
    reason = "its library is missing" if "available" in wrongs else None
    says = Availability.NEVER if "banned" in wrongs else Availability.YES
    toys.mechanism(
        server_plug(
            "WEAK",
            naming_server(look_up=False),
            features,
            security_flags=flags,
            max_ssf=0 if "max_ssf" in wrongs else 56,
            availability=lambda self: reason,
            available=lambda self, user: says,
        )
    )
    demands = SecurityProperties(min_ssf=56, flags=SecurityFlag.FORWARD_SECRECY)
    session = driver.server({}, registry=toys.registry()).session(
        security=demands, need_proxy=True, need_http=True
    )
    if "banned" in wrongs:
        # Whoever is listed for somebody of whom it says "never" is banned from then on; what
        # is refused anyway is not even asked, so the ban comes from an allowed twin.
        session.raw()._banned = {"WEAK": "it is not available on this connection"}
    with pytest.raises(MechanismError) as caught:
        session.start("WEAK", b"alice")
    assert not session.done
    return caught.value


@pytest.mark.parametrize("first", range(len(WRONGS)), ids=WRONGS)
def test_g9_the_first_thing_that_is_wrong_is_the_one_that_is_told(driver, toys, first):
    """Of everything that is wrong from here on, the earliest question decides the result."""
    error = attempt(driver, toys, WRONGS[first:])
    assert REASONS[WRONGS[first]] in str(error)
    assert error.result is RESULTS[WRONGS[first]]


@pytest.mark.parametrize("wrong", WRONGS)
def test_g9_each_question_by_itself_refuses(driver, toys, wrong):
    """Each alone is enough, with its result, and the reason is in the error by name."""
    error = attempt(driver, toys, (wrong,))
    assert error.result is RESULTS[wrong]
    assert REASONS[wrong] in error.reasons["WEAK"]


def start(driver, toys, flags, demanded, **facts):
    toys.mechanism(server_plug("TOY", naming_server(look_up=False), security_flags=flags))
    security = SecurityProperties(flags=demanded, min_ssf=facts.pop("min_ssf", 0))
    server = driver.server(OPEN, registry=toys.registry())
    return server.session(security=security, **facts).start("TOY", b"alice")


def test_g9_only_noplaintext_missing_asks_for_encryption(driver, toys):
    """ENCRYPT says that TLS would help."""
    with pytest.raises(MechanismError) as caught:
        start(driver, toys, SecurityFlag.NOANONYMOUS, STRONG & ~SecurityFlag.NODICTIONARY)
    assert caught.value.result is Result.ENCRYPT
    assert "noplaintext" in str(caught.value)


def test_g9_noplaintext_and_another_missing_is_no_mechanism(driver, toys):
    """TLS alone would not help."""
    with pytest.raises(MechanismError) as caught:
        start(driver, toys, SecurityFlag.NOANONYMOUS, STRONG)
    assert caught.value.result is Result.NOMECH


def test_g9_noplaintext_is_waived_under_an_external_layer(driver, toys):
    """An external layer of SSF > 1 that meets min_ssf makes plain text safe."""
    flags, demanded = SecurityFlag.NOANONYMOUS, SecurityFlag.NOPLAINTEXT
    assert start(driver, toys, flags, demanded, external_ssf=128, min_ssf=128).done


@pytest.mark.parametrize(("external", "least"), [(0, 0), (1, 0)])
def test_g9_noplaintext_is_not_waived_without_one(driver, toys, external, least):
    """SSF 1 is integrity alone, 0 is nothing."""
    with pytest.raises(MechanismError) as caught:
        start(
            driver,
            toys,
            SecurityFlag.NOANONYMOUS,
            SecurityFlag.NOPLAINTEXT,
            external_ssf=external,
            min_ssf=least,
        )
    assert caught.value.result is Result.ENCRYPT


@pytest.mark.parametrize(
    ("external", "least", "ok"), [(0, 57, False), (0, 56, True), (1, 57, True), (128, 128, True)]
)
def test_g9_the_external_layer_counts_toward_min_ssf(driver, toys, external, least, ok):
    """What is left of min_ssf is what a mechanism's own layer must reach."""
    toys.mechanism(server_plug("TOY", naming_server(look_up=False), max_ssf=56))
    server = driver.server(registry=toys.registry())
    session = server.session(security=SecurityProperties(min_ssf=least), external_ssf=external)
    assert ("TOY" in session.mechanisms()) is ok


def test_g9_a_connection_that_forbids_layers_finds_them_too_weak(driver, toys):
    """Maxbufsize 0 means that no layer can be had."""
    toys.mechanism(server_plug("TOY", naming_server(look_up=False), max_ssf=56))
    session = driver.server(registry=toys.registry()).session(
        security=SecurityProperties(min_ssf=1, maxbufsize=0)
    )
    with pytest.raises(MechanismError) as caught:
        session.start("TOY", b"alice")
    assert caught.value.result is Result.TOOWEAK


def test_g9_a_banned_mechanism_stays_banned_on_its_connection_only(driver, toys):
    """`never` holds for the session that was told so; the next one asks anew."""
    asked = []

    def available(self, user):
        asked.append(user)
        return Availability.NEVER

    toys.mechanism(server_plug("TOY", naming_server(look_up=False), available=available))
    server = driver.server(registry=toys.registry())
    session = server.session()
    assert "TOY" in session.mechanisms()
    assert "TOY" not in session.mechanisms("alice")
    assert "TOY" not in session.mechanisms("bob")
    assert "TOY" not in session.mechanisms()
    assert asked == ["alice"]
    assert "TOY" in session.rejected
    with pytest.raises(MechanismError) as caught:
        session.start("TOY", b"alice")
    assert caught.value.result is Result.NOMECH
    assert server.session().start("TOY", b"alice").done


@pytest.mark.parametrize(
    "name",
    ["", "plain", "PLÄIN", "A" * 21, "A" * 100_000, "PLAIN ", "PLAIN\0", "-PLUS", "%s%n", "../X"],
    ids=lambda name: ascii(name[:12]),
)
def test_g9_a_bad_name_is_no_mechanism(driver, name):
    """A name is checked before anything is looked up with it, and is not echoed at length."""
    session = driver.server(OPEN).session()
    with pytest.raises(MechanismError) as caught:
        session.start(name, b"")
    assert caught.value.result is Result.NOMECH
    assert len(str(caught.value)) < 300
