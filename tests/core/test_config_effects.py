"""What each key of the configuration does to a Server or a Client, in both file forms."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    Client,
    ConfigError,
    MechanismError,
    PeerError,
    Result,
    SecurityFlag,
    Server,
    SetpassFlag,
    UserName,
)
from sasl_core.options import CORE_KEYS, CoreOptions
from sasl_core.plugin import (
    CanonUserPlug,
    CredentialsPlug,
    PasswordAnswer,
    PluginError,
    PwcheckPlug,
)
from toys import STRONG, SpyLayer, SpyStore, Toys, client_plug, naming_client, naming_server
from toys import server_plug as toy_server

SCRAM = "SCRAM-SHA-256"
ALL = (SCRAM, "PLAIN", "ANONYMOUS")

# Key -> the tests of its effect; the last test here compares it with the keys there are.
EFFECTS: dict[str, list[str]] = {}


def effect_of(*keys):
    """Mark a test as one of the effect of `keys`."""

    def mark(test):
        for key in keys:
            EFFECTS.setdefault(key, []).append(test.__name__)
        return test

    return mark


@pytest.fixture
def toys() -> Iterator[Toys]:
    """The built-in plugins, and those that the test adds."""
    with Toys() as toys:
        yield toys


@pytest.fixture(params=["toml", "flat", "mapping"])
def made(request, tmp_path, toys):
    """Make a Server or a Client from settings, written in one of the forms."""
    owners: list[Any] = []

    def written(settings):
        if request.param == "mapping":
            return settings
        if request.param == "toml":
            path = tmp_path / "sasl.toml"
            lines = [f"{key} = {_toml(value)}" for key, value in settings.items()]
        else:
            path = tmp_path / "smtp.conf"
            lines = [f"{key}: {_flat(value)}" for key, value in settings.items()]
        path.write_text("\n".join(lines) + "\n", "utf-8")
        path.chmod(0o600)
        return path

    def make(owner, settings, **more):
        if owner is Server and "auxprop_plugin" not in settings:
            more.setdefault("stores", [MemoryStore({"tim": "pencil"})])
        if "plugin_list" not in settings:
            more.setdefault("registry", toys.registry())
        owners.append(owner("smtp", "mail.example.com", config=written(settings), **more))
        return owners[-1]

    yield make
    for owner in owners:
        owner.close()


def _toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f"'{value}'" if isinstance(value, str) else str(value)


def _flat(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(value) if isinstance(value, list) else str(value)


OPEN = {"allow_anonymous": True, "allow_cleartext": True}


def tries(server, password="pencil", user="tim"):
    """Whether PLAIN lets the user in."""
    try:
        return server.session().start("PLAIN", f"\0{user}\0{password}".encode()).done
    except AuthenticationError:
        return False


@effect_of("mech_list")
def test_mech_list_is_what_a_server_offers(made):
    """It filters and orders."""
    server = made(Server, OPEN | {"mech_list": ["PLAIN", SCRAM]})
    assert server.session().mechanisms() == ("PLAIN", SCRAM)
    assert made(Server, OPEN).session().mechanisms() == ALL


@effect_of("client_mech_list")
def test_client_mech_list_is_what_a_client_takes(made):
    """It filters and orders, and says nothing of servers."""
    client = made(Client, OPEN | {"client_mech_list": ["PLAIN", SCRAM]})
    session = client.session(authid="tim", password="pencil")
    session.start(ALL)
    assert session.mechanism == "PLAIN"
    assert made(Server, OPEN | {"client_mech_list": ["PLAIN"]}).session().mechanisms() == ALL


@effect_of("plugin_list")
def test_plugin_list_is_what_may_be_loaded(made):
    """A bare name restricts every kind to what is named."""
    names = ["INTERNAL", "sasldb", "memory", "PLAIN"]
    server = made(Server, OPEN | {"plugin_list": names})
    assert server.session().mechanisms() == ("PLAIN",)
    assert tries(server)
    with pytest.raises(MechanismError):
        server.session().start(SCRAM, b"")


LINES = {
    "none": (0, 0),
    "error": (0, 0),
    "fail": (0, 1),
    "warn": (0, 1),
    "note": (1, 1),
    "debug": (1, 1),
    "trace": (1, 1),
}


@effect_of("log_level")
@pytest.mark.parametrize("level", LINES)
def test_log_level_decides_what_is_logged(made, caplog, level):
    """Failures from `fail` on, successes from `note` on, each by standard logging."""
    server = made(Server, OPEN | {"log_level": level})
    with caplog.at_level(logging.DEBUG):
        assert tries(server)
        assert not tries(server, "wrong")
    levels = [record.levelname for record in caplog.records]
    good, bad = LINES[level]
    assert levels == ["INFO"] * good + ["WARNING"] * bad
    assert {record.name for record in caplog.records} <= {"sasl_core.smtp"}
    assert "pencil" not in caplog.text
    assert "wrong" not in caplog.text.replace("wrong password", "")


@effect_of("log_level")
def test_log_level_is_the_clients_too(made, caplog):
    """A client logs why an attempt failed."""
    for level, lines in (("none", 0), ("fail", 1)):
        caplog.clear()
        client = made(Client, OPEN | {"log_level": level})
        with caplog.at_level(logging.DEBUG), pytest.raises(MechanismError):
            client.session(authid="tim", password="pencil").start("NOPE")
        assert len(caplog.records) == lines


@effect_of("log_level")
@pytest.mark.parametrize("user", ["%s{0.__class__}", "%(name)s", "{user}", "%n%d"])
def test_log_level_keeps_a_name_literal(made, caplog, user):
    """A user name is an argument of the line, never part of its format."""
    server = made(Server, OPEN)
    with caplog.at_level(logging.DEBUG):
        assert not tries(server, "wrong", user)
    (record,) = caplog.records
    assert user in record.getMessage()
    assert user not in str(record.msg)


class Believing(PwcheckPlug):
    """Knows everybody by `pw`."""

    name = "believing"

    def check_password(self, user, password, service):
        yield from ()
        return PasswordAnswer(Result.OK if password == b"pw" else Result.BADAUTH)


@effect_of("pwcheck_method")
def test_pwcheck_method_is_who_checks_a_password(made, toys):
    """In the order of the list."""
    toys.plug("pwcheck", Believing())
    only = made(Server, OPEN | {"pwcheck_method": ["believing"]})
    both = made(Server, OPEN | {"pwcheck_method": ["auxprop", "believing"]})
    assert (tries(only, "pw"), tries(only, "pencil")) == (True, False)
    assert (tries(both, "pw"), tries(both, "pencil")) == (True, True)
    assert (tries(made(Server, OPEN), "pw"), tries(made(Server, OPEN))) == (False, True)


@effect_of("auxprop_plugin")
def test_auxprop_plugin_is_which_stores_are_asked(made, toys):
    """By name, in their order."""
    for name in ("one", "two"):
        store = SpyStore(name)
        store.add_user("tim", password=name)
        toys.plug("auxprop", store)
    one = made(Server, OPEN | {"auxprop_plugin": ["one"]})
    assert (tries(one, "one"), tries(one, "two")) == (True, False)
    two = made(Server, OPEN | {"auxprop_plugin": ["two", "one"]})
    assert (tries(two, "one"), tries(two, "two")) == (False, True)


@effect_of("auto_transition")
@pytest.mark.parametrize(
    ("value", "verifier", "plain"), [("no", 0, 0), ("yes", 1, 1), ("noplain", 1, 0)]
)
def test_auto_transition_is_what_is_kept_of_a_password(made, toys, value, verifier, plain):
    """Nothing, everything that the store takes, or verifiers only."""
    toys.plug("pwcheck", Believing())
    store = MemoryStore(plaintext=True)
    settings = {"pwcheck_method": ["believing"], "auto_transition": value}
    assert tries(made(Server, OPEN | settings, stores=[store]), "pw")
    found = store.read(UserName("tim"), ("authPassword", "userPassword"))
    assert len(found.verifiers) == verifier
    assert len(found.values.get("userPassword", ())) == plain


class Shouting(CanonUserPlug):
    """Upper case."""

    name = "shouting"

    def canon_user_server(self, ctx, user, flags):
        return user.upper()

    canon_user_client = canon_user_server


@effect_of("canon_user_plugin")
def test_canon_user_plugin_is_who_canonicalises(made, toys):
    """On both sides."""
    toys.plug("canon_user", Shouting())
    toys.mechanism(toy_server("TOY", naming_server()), client_plug("TOY", naming_client()))
    settings = OPEN | {"canon_user_plugin": "shouting"}
    server = made(Server, settings, stores=[MemoryStore({"TIM": "pencil"})]).session()
    server.start("TOY", b"tim")
    assert server.authid == "TIM"
    client = made(Client, settings).session(authid="tim")
    assert client.start("TOY").data == b"TIM"


@effect_of("user_realm")
def test_user_realm_is_added_to_names_without_one(made, toys):
    """And to no other; the `realm` argument goes before it."""
    store = MemoryStore({"tim@example.com": "pencil"})
    server = made(Server, OPEN | {"user_realm": "example.com"}, stores=[store])
    session = server.session()
    session.start("PLAIN", b"\0tim\0pencil")
    assert session.authid == "tim@example.com"
    assert not tries(server, user="tim@elsewhere")
    other = made(Server, OPEN | {"user_realm": "elsewhere"}, stores=[store], realm="example.com")
    assert tries(other)


@effect_of("scram_iteration_counter")
def test_scram_iteration_counter_is_the_rounds_of_new_verifiers(made):
    """And of what unknown users are told, where the store has no word on it."""
    store = MemoryStore()
    server = made(Server, OPEN | {"scram_iteration_counter": 5000}, stores=[store])
    assert server.setpass("tim", "pencil", SetpassFlag.CREATE).ok
    found = store.read(UserName("tim"), ("authPassword",))
    assert found.verifiers["SHA-256"].iterations == 5000
    reply = server.session().start(SCRAM, b"n,,n=tim,r=aaaaaaaaaaaaaaaaaaaaaaaa")
    assert reply.data is not None
    assert reply.data.endswith(b",i=5000")


@effect_of("scram_hashes")
def test_scram_hashes_are_written_and_offered(made):
    """A password gets a verifier of each, and nobody is offered a mechanism of another."""
    store = MemoryStore()
    server = made(Server, {"scram_hashes": ["SHA-512", "SHA-1"]}, stores=[store])
    assert server.setpass("tim", "pencil", SetpassFlag.CREATE).ok
    assert set(store.read(UserName("tim"), ("authPassword",)).verifiers) == {"SHA-1", "SHA-512"}
    session = server.session()
    assert session.mechanisms() == ("SCRAM-SHA-512", "SCRAM-SHA-1")
    assert "scram_hashes" in session.rejected[SCRAM]


@effect_of("scram_downgrade_protection")
def test_scram_downgrade_protection_signs_the_offer(made):
    """A server signs it; a client that requires it takes no challenge without it."""
    plain, signing = (
        made(Server, OPEN | settings).session().start(SCRAM, b"n,,n=tim,r=aaaaaaaaaaaaaaaa").data
        for settings in ({}, {"scram_downgrade_protection": "want"})
    )
    assert b",h=" not in plain
    assert b",h=" in signing
    assert challenged(made(Client, {"scram_downgrade_protection": "want"}), 4096).data
    with pytest.raises(AuthenticationError) as caught:
        challenged(made(Client, {"scram_downgrade_protection": "require"}), 4096)
    assert "scram_downgrade_protection" in str(caught.value.detail)


def test_a_hash_may_have_rounds_of_its_own(made):
    """For new verifiers, decoys, and what a client accepts."""
    settings = {"scram_hashes": ["SHA-256", "SHA-512"], "scram_iteration_counter": "SHA-512:5000"}
    store = MemoryStore()
    server = made(Server, settings, stores=[store])
    for name, rounds in (("SHA-256", 15000), ("SHA-512", 5000)):
        decoy = server.session().start(f"SCRAM-{name}", b"n,,n=no,r=aaaaaaaaaaaaaaaa").data
        assert decoy.endswith(b",i=%d" % rounds)
    assert server.setpass("tim", "pencil", SetpassFlag.CREATE).ok
    verifiers = store.read(UserName("tim"), ("authPassword",)).verifiers
    assert {name: each.iterations for name, each in verifiers.items()} == {
        "SHA-256": 15000, "SHA-512": 5000,
    }  # fmt: skip
    client = made(
        Client, {"scram_iteration_floor": "SHA-512:9000", "scram_iteration_cap": "SHA-512:20000"}
    )
    assert challenged(client, 4096)
    assert challenged(client, 9000, "SCRAM-SHA-512")
    for rounds in (8999, 20001):
        with pytest.raises(PeerError, match=f"{rounds} iterations; 9000 to 20000"):
            challenged(client, rounds, "SCRAM-SHA-512")


def challenged(client, rounds, mechanism=SCRAM):
    """The client's answer to a server that asks for so many rounds."""
    session = client.session(authid="tim", password="pencil")
    nonce = session.start(mechanism).data.split(b"r=")[1]
    return session.step(b"r=" + nonce + b"more,s=c2FsdHNhbHRzYWx0c2FsdA==,i=%d" % rounds)


@effect_of("scram_iteration_floor")
def test_scram_iteration_floor_is_the_fewest_rounds_a_client_takes(made):
    """Fewer are refused before anything is derived."""
    with pytest.raises(PeerError, match="scram_iteration_floor"):
        challenged(made(Client, {}), 4095)
    low = made(Client, {"scram_iteration_floor": 100})
    assert challenged(low, 100).data.startswith(b"c=")
    with pytest.raises(PeerError):
        challenged(low, 99)


@effect_of("scram_iteration_cap")
def test_scram_iteration_cap_is_the_most_rounds_a_client_takes(made):
    """More are refused before anything is derived."""
    low = made(Client, {"scram_iteration_cap": 5000, "scram_iteration_counter": 4096})
    assert challenged(low, 5000).data.startswith(b"c=")
    with pytest.raises(PeerError, match="scram_iteration_cap"):
        challenged(low, 5001)


@effect_of("min_ssf")
def test_min_ssf_leaves_out_what_is_too_weak(made, toys):
    """TLS counts toward it, a mechanism's own layer too."""
    toys.mechanism(toy_server("TOY", naming_server(), max_ssf=56))
    server = made(Server, OPEN | {"min_ssf": 56})
    assert server.session().mechanisms() == ("TOY",)
    assert "min_ssf" in server.session().rejected["PLAIN"]
    assert set(server.session(external_ssf=56).mechanisms()) == {*ALL, "TOY"}


@effect_of("max_ssf", "maxbufsize")
@pytest.mark.parametrize(
    ("settings", "offered"),
    [
        ({"min_ssf": 40, "max_ssf": 256}, True),
        ({"min_ssf": 40, "max_ssf": 256, "maxbufsize": 0}, False),
    ],
)
def test_maxbufsize_zero_forbids_layers(made, toys, settings, offered):
    """Without buffers there is no layer, and what is left of min_ssf cannot be had."""
    toys.mechanism(toy_server("TOY", naming_server(), max_ssf=56))
    session = made(Server, settings).session()
    assert ("TOY" in session.mechanisms()) is offered


@effect_of("max_ssf")
@pytest.mark.parametrize(("most", "ok"), [(56, True), (55, False)])
def test_max_ssf_bounds_a_negotiated_layer(made, toys, most, ok):
    """A layer that is stronger than allowed ends in a refusal."""
    toys.mechanism(toy_server("TOY", naming_server(layer=SpyLayer(56)), max_ssf=56))
    session = made(Server, {"max_ssf": most}).session()
    if ok:
        assert session.start("TOY", b"tim").done
        assert session.ssf == 56
    else:
        with pytest.raises(AuthenticationError) as caught:
            session.start("TOY", b"tim")
        assert "max_ssf" in (caught.value.detail or "")


@effect_of("security_flags")
def test_security_flags_leave_out_what_does_not_protect(made):
    """On both sides, with the flag's name and the option's in the reason."""
    settings = OPEN | {"security_flags": ["noplaintext", "mutual_auth"]}
    session = made(Server, settings).session()
    assert session.mechanisms() == (SCRAM,)
    assert "noplaintext" in session.rejected["PLAIN"]
    assert "security_flags" in session.rejected["PLAIN"]
    with pytest.raises(MechanismError) as caught:
        made(Client, settings).session(authid="tim", password="pencil").start("PLAIN")
    assert "security_flags" in caught.value.reasons["PLAIN"]
    assert SecurityFlag.MUTUAL_AUTH & ~STRONG


@effect_of("allow_anonymous")
def test_allow_anonymous_opens_anonymous(made):
    """Off by default, on both sides, and the reason names the option."""
    for owner in (Server, Client):
        closed = made(owner, {})
        session = closed.session()
        argument: Any = "ANONYMOUS" if owner is Server else ["ANONYMOUS"]
        with pytest.raises(MechanismError, match="allow_anonymous"):
            session.start(argument)
        if owner is Server:
            assert "allow_anonymous" in closed.session().rejected["ANONYMOUS"]
    assert made(Server, {"allow_anonymous": True}).session().start("ANONYMOUS", b"").done
    assert made(Client, {"allow_anonymous": True}).session().start("ANONYMOUS").data == b""


@effect_of("allow_cleartext")
def test_allow_cleartext_opens_plain_without_tls(made):
    """Off by default, unless TLS is below, on both sides; the reason names the option."""
    assert "allow_cleartext" in made(Server, {}).session().rejected["PLAIN"]
    with pytest.raises(MechanismError, match="allow_cleartext") as caught:
        made(Server, {}).session().start("PLAIN", b"\0tim\0pencil")
    assert caught.value.result is Result.ENCRYPT
    with pytest.raises(MechanismError, match="allow_cleartext"):
        made(Client, {}).session(authid="tim", password="pencil").start("PLAIN")
    assert "PLAIN" in made(Server, {}).session(external_ssf=128).mechanisms()
    assert "PLAIN" not in made(Server, {}).session(external_ssf=1).mechanisms()
    assert tries(made(Server, {"allow_cleartext": True}))


@effect_of("allow_unencrypted_scram")
@pytest.mark.parametrize("owner", [Server, Client])
def test_allow_unencrypted_scram_opens_scram_over_an_open_network(made, owner):
    """Refused when the peer is known and far away, TLS apart; the reason names the option."""
    closed, opened = made(owner, {}), made(owner, {"allow_unencrypted_scram": True})

    def starts(made_of, **facts):
        if owner is Server:
            return SCRAM in made_of.session(**facts).mechanisms()
        session = made_of.session(authid="tim", password="pencil", **facts)
        try:
            return session.start(SCRAM).data is not None
        except MechanismError as error:
            return "allow_unencrypted_scram" not in error.reasons[SCRAM]

    far = {"remote": "192.0.2.1;40000"}
    assert not starts(closed, **far)
    assert starts(opened, **far)
    assert starts(closed, **far, external_ssf=128)
    assert starts(closed)
    for near in ("127.0.0.1;1", "127.8.8.8;1", "::1;1", "[::1];1", "::ffff:127.0.0.1;1", "/run/s"):
        assert starts(closed, remote=near), near
    for other in ("127.0.0.1.example.com;1", "10.0.0.1;1", "fe80::1;1", "128.0.0.1;1", "localhost"):
        assert not starts(closed, remote=other), other


@pytest.mark.parametrize("form", ["toml", "flat"])
def test_sasldb_path_is_where_the_users_are(tmp_path, form):
    """A table in sasl.toml, Cyrus's key in a flat file: the same database."""
    database = tmp_path / "users.sqlite"
    if form == "toml":
        path = tmp_path / "sasl.toml"
        path.write_text(f'allow_cleartext = true\n[auxprop.sasldb]\npath = "{database}"\n')
    else:
        path = tmp_path / "smtp.conf"
        path.write_text(f"allow_cleartext: yes\nsasldb_path: {database}\n")
    path.chmod(0o600)
    with Server("smtp", "mail.example.com", config=path) as server:
        assert not database.exists()
        assert server.setpass("tim", "pencil", SetpassFlag.CREATE).ok
        assert database.exists()
        assert tries(server)


def test_an_option_that_no_plugin_knows_is_an_error(tmp_path):
    """A mistyped key of a plugin is refused when the plugin is made, with the nearest one."""
    path = tmp_path / "sasl.toml"
    path.write_text('allow_cleartext = true\n[auxprop.sasldb]\npaht = "/tmp/x"\n')
    path.chmod(0o600)
    with Server("smtp", "mail.example.com", config=path) as server:
        with pytest.raises(Exception, match="paht") as caught:
            server.session().start("PLAIN", b"\0tim\0pencil")
        assert type(caught.value).__module__ == "sasl_core.errors"


def test_an_applications_own_value_goes_before_the_one_for_all():
    """`[applications.NAME]` is read for the application of that name, and for no other."""
    tables: dict[str, object] = {
        "mech_list": ["PLAIN"],
        "applications": {"smtp": {"mech_list": [SCRAM]}},
    }
    tables |= OPEN
    for appname, offered in (("smtp", (SCRAM,)), ("imap", ("PLAIN",))):
        with Server(appname, "mail.example.com", config=tables) as server:
            assert server.session().mechanisms() == offered


def test_a_wrong_value_is_told_when_the_server_is_made(made):
    """No Server starts with a configuration that it does not understand."""
    for settings in ({"min_ssf": 300, "max_ssf": 100}, {"mech_list": ["no/such"]}):
        with pytest.raises(ConfigError):
            made(Server, settings)


@effect_of("credentials_plugin")
def test_credentials_plugin_is_where_tokens_come_from(made, toys):
    """A client's mechanism finds the source that is named; without one there is none."""

    class Source(CredentialsPlug):
        name = "source"

    toys.plug("credentials", Source())
    client = made(Client, {"credentials_plugin": "source"})
    found = client.core.credentials()
    assert found is not None
    assert found.name == "source"
    assert made(Client, {"log_level": 1}).core.credentials() is None
    with pytest.raises(PluginError, match="elsewhere"):
        made(Client, {"credentials_plugin": "elsewhere"}).core.credentials()


@effect_of("identity_providers")
def test_identity_providers_are_handed_on_as_they_are(made):
    """What is configured is what a token library reads."""
    text = '[{"issuer": "https://idp.example.com"}]'
    assert made(Server, {"identity_providers": text}).utils.identity_providers == text
    assert made(Server, {"log_level": 1}).utils.identity_providers is None


@effect_of("identity_providers_file")
def test_identity_providers_file_is_read_each_time(made, tmp_path):
    """The file's text is what a token library reads, as it is then; its absence is an error."""
    file = tmp_path / "idps.json"
    server = made(Server, {"identity_providers_file": str(file)})
    with pytest.raises(ConfigError, match="no such file"):
        _ = server.utils.identity_providers
    for text in ("[]", "[{}]"):
        file.write_text(text, "utf-8")
        assert server.utils.identity_providers == text


def test_identity_providers_come_from_one_place(made):
    """Both keys at once contradict each other."""
    with pytest.raises(ConfigError, match="keep one"):
        made(Server, {"identity_providers": "[]", "identity_providers_file": "/idps.json"})


def test_every_key_has_a_test_of_its_effect():
    """A new key needs a test above: this fails until there is one."""
    fields = {field.name for field in attrs.fields(CoreOptions)}
    assert fields == set(CORE_KEYS)
    assert set(EFFECTS) == fields
    assert all(name in globals() for names in EFFECTS.values() for name in names)
