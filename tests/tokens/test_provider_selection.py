"""Step 1: which provider a client without a token is told of."""

from __future__ import annotations

import pytest

from sasl_core import ConfigError, Result
from sasl_tokens import CODES, IDPManager, TokenError

TIM, PAT, EVE = "tim@corp.example", "pat@lab.example", "eve@elsewhere.example"
LONG = "x" * 400 + "@corp.example"


def provider(name: str, pattern: str | None = None, **more: object) -> dict[str, object]:
    """A human provider; its issuer tells which it is."""
    made: dict[str, object] = {
        "issuer": f"https://{name}.example.com",
        "audience": "sasl",
        "authNamePrefix": name,
        "clientId": f"client-of-{name}",
        "authorizationClaim": "groups",
        **more,
    }
    return made if pattern is None else {**made, "matchPattern": pattern}


def machine(name: str, pattern: str | None = None, **more: object) -> dict[str, object]:
    """A provider without human flows."""
    made = provider(name, pattern, supportsHumanFlows=False, **more)
    del made["clientId"]
    return made


CORP = provider("corp", r"@corp\.example$")
LAB = provider("lab", r"@lab\.example$")
ANY = provider("any")
JOBS = machine("jobs")
# A pattern of a machine provider does not bring it into step 1.
PATTERNED_JOBS = machine("jobs", r".")
JOBS_THAT_ANSWER = machine("j", "^job", stepOneWithoutClientId=True)

NONE, NEEDED, NOBODY = "oidc-no-human-provider", "oidc-hint-needed", "oidc-no-provider"

# providers, hint, the one that is chosen or the code of the refusal.
TABLE: list[tuple[str, list[dict[str, object]], str | None, str]] = [
    # None supports human flows.
    *(
        (what, providers, hint, NONE)
        for what, providers in (
            ("no provider", []),
            ("no human one", [JOBS]),
            ("no human one, a pattern", [PATTERNED_JOBS]),
        )
        for hint in (None, TIM, "")
    ),
    # One without a pattern: any hint or none selects it.
    *(
        ("one without a pattern", providers, hint, "any")
        for providers in ([ANY], [JOBS, ANY], [ANY, JOBS], [PATTERNED_JOBS, ANY])
        for hint in (None, TIM, EVE, LONG, "")
    ),
    # One with a pattern: the hint must be there and match.
    *(
        ("one with a pattern", providers, hint, chosen)
        for providers in ([CORP], [JOBS, CORP], [PATTERNED_JOBS, CORP])
        for hint, chosen in ((None, NEEDED), (TIM, "corp"), (EVE, NOBODY), ("", NOBODY))
    ),
    # Several: the first that matches.
    *(
        ("two with patterns", [CORP, LAB], hint, chosen)
        for hint, chosen in (
            (None, NEEDED),
            (TIM, "corp"),
            (PAT, "lab"),
            (EVE, NOBODY),
            ("", NOBODY),
        )
    ),
    ("the first of two that match", [provider("a", "tim"), provider("b", "tim")], TIM, "a"),
    ("the order of the array counts", [provider("b", "tim"), provider("a", "tim")], TIM, "b"),
    ("three", [CORP, provider("none", "zzz"), LAB], PAT, "lab"),
    # The pattern is searched, not matched from the start; nothing else is.
    ("unanchored", [provider("a", "im@c")], TIM, "a"),
    ("anchored", [provider("a", "^im")], TIM, NOBODY),
    ("case counts", [CORP], TIM.upper(), NOBODY),
    ("case does not count", [provider("a", r"(?i)@corp\.example$")], TIM.upper(), "a"),
    ("a line's end ends nothing", [CORP], f"{TIM}\nx", NOBODY),
    ("longer than a pattern is searched in", [CORP], LONG, NOBODY),
    # A machine provider that answers step 1 too, as older servers did.
    *(
        (
            "a machine answers",
            [machine("jobs", stepOneWithoutClientId=True)],
            hint,
            "jobs",
        )
        for hint in (None, TIM, EVE)
    ),
    *(
        ("a machine with a pattern answers", [JOBS_THAT_ANSWER], hint, chosen)
        for hint, chosen in ((None, NEEDED), ("job-1", "j"), (TIM, NOBODY))
    ),
    *(
        ("beside a human one", [JOBS_THAT_ANSWER, CORP], hint, chosen)
        for hint, chosen in ((None, NEEDED), ("job-1", "j"), (TIM, "corp"), (EVE, NOBODY))
    ),
]


@pytest.mark.parametrize(("what", "providers", "hint", "wanted"), TABLE)
def test_selection(
    what: str, providers: list[dict[str, object]], hint: str | None, wanted: str
) -> None:
    """{0, 1, 2 and more human providers} x {pattern, none} x {no hint, matching, not matching}."""
    manager = IDPManager(providers)
    if wanted not in CODES:
        chosen = manager.select(hint)
        assert chosen.config.auth_name_prefix == wanted
        assert chosen in manager.providers
        return
    with pytest.raises(TokenError) as caught:
        _ = manager.select(hint)
    assert caught.value.code == wanted
    assert caught.value.result is Result.BADAUTH
    # The peer is told nothing of it.
    assert str(caught.value) == "authentication failed"
    assert caught.value.wire is None
    assert caught.value.detail


def test_no_hint_is_the_default() -> None:
    """`select()` is a step 1 without a name."""
    assert IDPManager([ANY]).select().config.client_id == "client-of-any"


def test_two_human_providers_without_a_pattern_cannot_be() -> None:
    """The row of the table that has no selection: the configuration is refused."""
    with pytest.raises(ConfigError, match=r"^\[1\]\.matchPattern: required"):
        _ = IDPManager([CORP, ANY])


def test_without_a_configuration_nothing_is_selected() -> None:
    """A manager that was given nothing says so, and refuses."""
    manager = IDPManager()
    assert not manager.configured
    assert IDPManager([]).configured
    with pytest.raises(TokenError) as caught:
        _ = manager.select(TIM)
    assert caught.value.code == NONE


def test_a_hint_in_a_detail_is_short_and_printable() -> None:
    """What a stranger said does not fill the log, and cannot forge a line of it."""
    with pytest.raises(TokenError) as caught:
        _ = IDPManager([CORP]).select("a\nb" * 5000)
    assert caught.value.detail is not None
    assert len(caught.value.detail) < 600
    assert caught.value.detail.isprintable()
