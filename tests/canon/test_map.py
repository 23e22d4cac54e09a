"""map: prepared names in, prepared names out, and nobody by a spelling past the rules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import pytest

from logins import OPEN, client, login, plant, server, store
from sasl_core import AuthenticationError, Client, PeerError, SaslError, Server
from sasl_core.errors import PluginError
from sasl_core.plugin import CanonContext, CanonFlag, CanonUserPlug, UsageError

BOTH = CanonFlag.AUTHID | CanonFlag.AUTHZID

RULES = r"""
exact root@corp.example nobody
strip corp.example
regex ([a-z]+)\.lab@other\.example \1
"""


class Desk:
    """Servers and clients that map by a file of rules."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "names.rules"
        self.owners: list[Server | Client] = []

    def config(self, rules: str | None = RULES, **more: Any) -> dict[str, Any]:
        options: dict[str, object] = {"prepare": more.pop("prepare", "INTERNAL")}
        if rules is not None:
            self.file.write_text(rules, "utf-8")
            options["rules"] = str(self.file)
        more.setdefault("canon_user", {})["map"] = options
        return {**OPEN, "canon_user_plugin": "map", **more}

    def server(self, rules: str | None = RULES, **more: Any) -> Server:
        names = {"tim": "pencil", "nobody": "x", "root": "y"}
        made = server([store(names)], config=self.config(rules, **more))
        self.owners.append(made)
        return made

    def client(self, rules: str | None = RULES, **more: Any) -> Client:
        made = client(config=self.config(rules, **more))
        self.owners.append(made)
        return made


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path)
    yield made
    for owner in made.owners:
        owner.close()


def problem(owner: Server | Client) -> str:
    """Why map cannot be used."""
    with pytest.raises(PluginError) as caught:
        owner.core.plugs.get("canon_user", "map")
    return caught.value.reason


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("name", ["tim", "tim@corp.example", "tim.lab@other.example"])
def test_mapped_names_log_in(desk: Desk, mechanism: str, name: str) -> None:
    """Each name that the rules make `tim` is tim, whether the client maps too or does not."""
    ours = desk.server()
    for theirs in (client(), desk.client()):
        far, near = theirs.session(authid=name, password="pencil"), ours.session()
        _ = login(far, near, [mechanism])
        assert near.authid == near.authzid == "tim"


@pytest.mark.parametrize(
    "name",
    [
        "root@corp.example", " root@corp.example", "root@corp.example\t", "ro\u00adot@corp.example",
        "\uff52oot@corp.example", "root\uff20corp.example", "root@corp\u00ad.example",
    ],
    ids=ascii,
)  # fmt: skip
def test_no_spelling_goes_past_a_rule(desk: Desk, name: str) -> None:
    """The root of that domain is nobody, however it is typed."""
    core = desk.server().core
    assert core.identity(name, BOTH) == "nobody"


def test_a_domain_in_another_case_is_another_domain(desk: Desk) -> None:
    """It passes no rule and is stripped by none, so that it is nobody's name here."""
    core = desk.server().core
    assert core.identity("root@CORP.example", BOTH) == "root@CORP.example"
    with pytest.raises(AuthenticationError):
        desk.server().session().start("PLAIN", b"\0root@CORP.example\0y")


@pytest.mark.parametrize("name", ["root@internal@corp.example", "", "a b", "@corp.example", "\0"])
def test_names_that_are_refused(desk: Desk, name: str) -> None:
    """What the other canonicaliser refuses, and what would keep a realm of the peer's choice."""
    with pytest.raises(PeerError):
        desk.server().core.identity(name, BOTH)


def test_the_outcome_is_prepared(desk: Desk) -> None:
    """What a template makes is a name like any other: its realm, its form, its limits."""
    core = desk.server("regex ([a-z]+)-x \\1\u00ad\n" + r"regex a(.*) \1\1\1\1\1").core
    assert core.identity("tim-x", BOTH) == "tim"
    with pytest.raises(PeerError):
        core.identity("a" + "b" * 200, BOTH)
    with pytest.raises(PeerError):
        core.identity("a", BOTH)


def test_the_default_realm(desk: Desk) -> None:
    """A stripped name has no realm, and gets the default one as any other does."""
    core = desk.server("strip corp.example", user_realm="example.com").core
    assert core.identity("tim@corp.example", BOTH) == "tim@example.com"
    assert core.identity("tim", BOTH) == "tim@example.com"
    same = desk.server("strip example.com", user_realm="example.com").core
    assert same.identity("tim@example.com", BOTH) == "tim@example.com"


def test_precis_prepares(desk: Desk) -> None:
    """With the case mapped before the rules, one rule is about every case."""
    profile = {"precis": {"profile": "UsernameCaseMapped"}}
    core = desk.server(prepare="precis", canon_user=profile).core
    assert core.identity("Root@CORP.example", BOTH) == "nobody"
    assert core.identity("TIM@corp.EXAMPLE", BOTH) == "tim"


def test_an_outcome_that_would_be_mapped_again(desk: Desk) -> None:
    """Both names could be meant, so it is neither; the detail has both lines."""
    core = desk.server("strip corp.example\nexact tim timothy").core
    assert core.identity("tim", BOTH) == "timothy"
    with pytest.raises(PeerError) as caught:
        core.identity("tim@corp.example", BOTH)
    assert "line 1" in str(caught.value.detail)
    assert "line 2" in str(caught.value.detail)
    fixed = desk.server("exact tim@corp.example timothy\nstrip corp.example\nexact tim timothy")
    assert fixed.core.identity("tim@corp.example", BOTH) == "timothy"


@pytest.mark.parametrize(
    ("rules", "line", "said"),
    [
        ("exact a b\nexact b c", 1, "line 2 would change 'b' again"),
        ("exact b c\nexact a b", 2, "line 1 would change 'b' again"),
        ("exact a b\nexact b a", 1, "line 2 would change 'b' again"),
        ("exact a b@x.example\nstrip x.example", 1, "line 2 would change 'b@x.example' again"),
        ("exact a b\nregex b c", 1, "line 2 would change 'b' again"),
        ("strip x.example\nexact a@x.example b", 2, "never reached: line 1 matches"),
        ("regex .* a\nexact b c", 2, "never reached: line 1 matches"),
        ("exact a@b@x c\nstrip x", 0, ""),
        ("strip x\nexact a@b@x c", 2, "'a@b@x' is refused: line 1 of the rules would leave"),
        ("exact a a\nregex [ab] c", 0, ""),
        ("exact T\u00adim tim", 1, "here: it is always 'Tim'"),
        ("exact tim \uff34im", 1, "it is always 'Tim'"),
        ("exact tim@ tim", 1, "'tim@' occurs in no user name: the realm after the @ is empty"),
        ("exact tim @", 1, "'@' occurs in no user name"),
        ("strip \uff58.example", 1, "it is always 'x@x.example'"),
        ("strip a@b", 1, "a domain is what follows the last @"),
    ],
)
def test_rules_that_could_only_mislead(desk: Desk, rules: str, line: int, said: str) -> None:
    """A form that no name has, a rule behind another, a chain: refused when they are read."""
    if not line:
        desk.server(rules).core.plugs.get("canon_user", "map")
        return
    reason = problem(desk.server(rules))
    assert said in reason
    assert f"names.rules:{line}: " in reason


def test_names_have_the_default_realm_in_rules_too(desk: Desk) -> None:
    """Where every name has a realm, a rule about one without it is refused and not ignored."""
    reason = problem(desk.server("exact ali alice", user_realm="example.com"))
    assert "it is always 'ali@example.com'" in reason


def test_a_changed_file_counts_from_the_next_start(desk: Desk) -> None:
    """One server keeps the rules that it has read, and the next one has the new ones."""
    first = desk.server("exact a b").core
    assert first.identity("a", BOTH) == "b"
    second = desk.server("exact a c").core
    assert first.identity("a", BOTH) == "b"
    assert second.identity("a", BOTH) == "c"
    desk.file.unlink()
    assert first.identity("a", BOTH) == "b"
    assert second.identity("a", BOTH) == "c"


def test_what_was_read_is_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """How many rules, and from where."""
    with caplog.at_level("INFO"):
        desk.server().core.plugs.get("canon_user", "map")
    assert caplog.messages == [f"3 rules from {desk.file}"]


def test_a_relative_path_counts_from_the_configuration(tmp_path: Path) -> None:
    """As the path of any option does, when a file names it."""
    (tmp_path / "names.rules").write_text("exact a b", "utf-8")
    (tmp_path / "sasl.toml").write_text(
        'canon_user_plugin = "map"\n[canon_user.map]\nrules = "names.rules"\n', "utf-8"
    )
    (tmp_path / "smtp.conf").write_text("canon_user_plugin: map\nmap_rules: names.rules\n", "utf-8")
    for name in ("sasl.toml", "smtp.conf"):
        with Server("smtp", "mail.example.com", config=tmp_path / name) as ours:
            assert ours.core.identity("a", BOTH) == "b"


def test_files_that_are_not_read(desk: Desk) -> None:
    """One that anybody may write to, one that is no file, one that is not there, no UTF-8."""
    ours = desk.server()
    desk.file.chmod(0o646)
    assert "anybody may write to the file" in problem(ours)
    ours = desk.server()
    desk.file.chmod(0o644)
    desk.file.write_bytes(b"exact a \xff")
    assert "names.rules:1: the file is not UTF-8" in problem(ours)
    ours = desk.server()
    desk.file.unlink()
    assert "names.rules: there is no such file" in problem(ours)
    ours = desk.server()
    desk.file.unlink()
    desk.file.mkdir()
    assert "no regular file" in problem(ours)


def test_without_rules_it_says_so_and_maps_nothing(desk: Desk) -> None:
    """The plug is there to be listed, and lets no name through."""
    ours = desk.server(None)
    plug = ours.core.plugs.get("canon_user", "map")
    assert "canon_user.map.rules" in str(plug.availability())
    with pytest.raises(PluginError, match=r"canon_user\.map\.rules"):
        ours.core.identity("tim", BOTH)
    assert desk.server().core.plugs.get("canon_user", "map").availability() is None


def test_what_its_preparation_lacks_it_lacks_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With precis before the rules, and without the extra, map says what to install."""
    monkeypatch.setitem(sys.modules, "precis_i18n", None)
    ours = desk.server("regex a b", prepare="precis")
    plug = ours.core.plugs.get("canon_user", "map")
    assert "sasl-core[precis]" in str(plug.availability())
    assert "sasl-core[precis]" in problem(desk.server("strip x", prepare="precis"))


@pytest.mark.parametrize(("prepare", "said"), [("map", "cycle"), ("INTERNA", "INTERNA")])
def test_a_canonicaliser_that_cannot_prepare(desk: Desk, prepare: str, said: str) -> None:
    """Itself, or none at all."""
    assert said in problem(desk.server(prepare=prepare))


class Wayward(CanonUserPlug):
    """A stranger's canonicaliser that breaks its contract."""

    name = "INTERNAL"
    answer: Any = None

    def canon_user_server(self, ctx: CanonContext, user: str, flags: CanonFlag) -> str:
        return cast("str", self.answer)


@pytest.mark.parametrize("answer", [None, b"tim", ""])
def test_a_preparation_that_breaks_its_contract(desk: Desk, answer: object) -> None:
    """What is no name is mapped to none, and the plug that gave it is named."""
    ours = desk.server("regex .* a")
    wayward = Wayward()
    wayward.answer = answer
    plant(ours, "canon_user", wayward)
    with pytest.raises(PluginError, match="INTERNAL"):
        ours.core.identity("tim", BOTH)


def test_a_preparation_for_the_other_side_only(desk: Desk) -> None:
    """A client that prepares with a server's canonicaliser is told."""
    ours = desk.client("regex .* a")
    plant(ours, "canon_user", Wayward())
    with pytest.raises(UsageError, match="has no client side"):
        ours.core.identity("tim", BOTH)


@pytest.mark.parametrize("rule", ["regex (a+)+$ b", "regex (?:a|aa)+ b"])
def test_a_hostile_name_is_answered(desk: Desk, rule: str) -> None:
    """A login with a name made to hold a pattern up ends as any other that fails."""
    ours = desk.server(rule)
    with pytest.raises(SaslError):
        ours.session().start("PLAIN", b"\0" + b"a" * 255 + b"!\0pencil")
