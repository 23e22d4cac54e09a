"""G1 to G4: the order of strength, the lists, the client's choice, channel binding."""

from __future__ import annotations

from typing import Any

import pytest

from drivers import exchange
from sasl_auxprop.memory import MemoryStore
from sasl_core import (
    AuthenticationError,
    BindingPolicy,
    Feature,
    MechanismError,
    PeerError,
    SecurityFlag,
    SecurityProperties,
    UsageError,
    choice,
)
from sasl_core.choice import split_names
from sasl_core.plugin import PromptId, Success
from toys import (
    CLIENT_FIRST,
    OPEN,
    SpyLayer,
    client_plug,
    naming_client,
    naming_server,
    server_plug,
)

BINDING = Feature.CHANNEL_BINDING
EXPORTER = {"tls-exporter": b"E" * 32}

# From the weakest to the strongest: each has one property of rule G1 that those before it lack,
# and lacks all those that count less.
LADDER = [
    ("HASH-0", SecurityFlag.NONE, Feature.NONE, 0, 0),
    ("HASH-256", SecurityFlag.NONE, Feature.NONE, 0, 256),
    ("SSF-56", SecurityFlag.NONE, Feature.NONE, 56, 0),
    ("BINDING", SecurityFlag.NONE, BINDING, 0, 0),
    ("FORWARD", SecurityFlag.FORWARD_SECRECY, Feature.NONE, 0, 0),
    ("NODICT", SecurityFlag.NODICTIONARY, Feature.NONE, 0, 0),
    ("NOACTIVE", SecurityFlag.NOACTIVE, Feature.NONE, 0, 0),
    ("MUTUAL", SecurityFlag.MUTUAL_AUTH, Feature.NONE, 0, 0),
    ("NOPLAIN", SecurityFlag.NOPLAINTEXT, Feature.NONE, 0, 0),
    ("NOANON", SecurityFlag.NOANONYMOUS, Feature.NONE, 0, 0),
]


def proven_client(ctx):
    """A client's body that believes the server, and ends with a layer."""
    ctx.canon_user("alice")
    yield from ()
    return Success(data=b"alice", peer=ctx.attest_peer(how="toy"), layer=SpyLayer(256))


def layerless_client(ctx):
    """The same without a layer."""
    ctx.canon_user("alice")
    yield from ()
    return Success(data=b"alice", peer=ctx.attest_peer(how="toy"))


@pytest.fixture
def ladder(toys):
    """The mechanisms of the ladder, and no others."""
    toys.without("mechanisms", "ANONYMOUS", "PLAIN", "SCRAM-SHA-256")
    for name, flags, features, max_ssf, bits in LADDER:
        more = {"security_flags": flags, "max_ssf": max_ssf, "hash_bits": bits}
        toys.mechanism(
            server_plug(name, naming_server(), CLIENT_FIRST | features, **more),
            client_plug(name, layerless_client, CLIENT_FIRST | features, **more),
        )
    return toys


def test_g1_the_offer_goes_from_the_strongest_to_the_weakest(driver, ladder):
    """Each property of rule G1 outweighs all those after it together."""
    server = driver.server(OPEN, registry=ladder.registry())
    names = server.session(external_ssf=2).mechanisms()
    assert names == tuple(name for name, *_ in reversed(LADDER))


def test_g1_a_heavier_property_outweighs_all_lighter_ones(driver, toys):
    """One NOANONYMOUS beats everything that counts less, taken together."""
    light = SecurityFlag.NOPLAINTEXT | SecurityFlag.MUTUAL_AUTH | SecurityFlag.NOACTIVE
    light |= SecurityFlag.NODICTIONARY | SecurityFlag.FORWARD_SECRECY
    toys.without("mechanisms", "ANONYMOUS", "PLAIN", "SCRAM-SHA-256")
    toys.mechanism(
        server_plug(
            "LIGHT",
            naming_server(),
            CLIENT_FIRST | BINDING,
            security_flags=light,
            max_ssf=256,
            hash_bits=512,
        )
    )
    toys.mechanism(server_plug("HEAVY", naming_server(), security_flags=SecurityFlag.NOANONYMOUS))
    server = driver.server(OPEN, registry=toys.registry())
    assert server.session().mechanisms() == ("HEAVY", "LIGHT")


def test_g1_the_client_walks_the_same_order(driver, ladder):
    """Of any offer the client takes the one that the server would have put first."""
    client = driver.client(OPEN, registry=ladder.registry())
    for count in range(1, len(LADDER) + 1):
        offered = [name for name, *_ in LADDER[:count]]
        session = client.session(external_ssf=2)
        session.start(offered)
        assert session.mechanism == offered[-1]


def test_g1_equals_are_ordered_by_name(driver, toys):
    """Two mechanisms of the same strength come in the order of their names."""
    toys.without("mechanisms", "ANONYMOUS", "PLAIN", "SCRAM-SHA-256")
    for name in ("ZZ", "AA", "MM"):
        toys.mechanism(server_plug(name, naming_server()))
    server = driver.server(OPEN, registry=toys.registry())
    assert server.session().mechanisms() == ("AA", "MM", "ZZ")


def test_g1_the_built_ins_rank_scram_plain_anonymous(driver):
    """The bound SCRAM first, the mechanism without a name last."""
    server = driver.server(OPEN, stores=[MemoryStore()])
    names = server.session(channel_bindings=EXPORTER).mechanisms()
    assert names == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "ANONYMOUS")


def test_g2_mech_list_filters_and_orders_the_offer(driver):
    """The server offers what mech_list names, in its order, and says why not the rest."""
    server = driver.server(OPEN | {"mech_list": ["PLAIN", "SCRAM-SHA-256"]})
    session = server.session()
    assert session.mechanisms() == ("PLAIN", "SCRAM-SHA-256")
    assert "mech_list" in session.rejected["ANONYMOUS"]
    with pytest.raises(MechanismError, match="mech_list"):
        session.start("ANONYMOUS", b"")


def test_g2_a_plus_name_alone_leaves_the_unbound_variant_out(driver):
    """`X-PLUS` in the list offers the bound variant only."""
    server = driver.server(OPEN | {"mech_list": ["SCRAM-SHA-256-PLUS", "PLAIN"]})
    session = server.session(channel_bindings=EXPORTER)
    assert session.mechanisms() == ("SCRAM-SHA-256-PLUS", "PLAIN")
    with pytest.raises(MechanismError, match="mech_list"):
        session.start("SCRAM-SHA-256", b"")


def test_g2_client_mech_list_filters_and_orders_the_choice(driver):
    """The client prefers by client_mech_list, and takes nothing that is not in it."""
    client = driver.client(OPEN | {"client_mech_list": ["PLAIN", "SCRAM-SHA-256"]})
    session = client.session(authid="tim", password="pencil")
    session.start("SCRAM-SHA-256 PLAIN")
    assert session.mechanism == "PLAIN"
    with pytest.raises(MechanismError) as caught:
        client.session(authid="tim", password="pencil").start("ANONYMOUS")
    assert "client_mech_list" in caught.value.reasons["ANONYMOUS"]


def test_g2_the_lists_do_not_mix(driver):
    """mech_list is the server's alone, client_mech_list the client's."""
    config = OPEN | {"mech_list": ["PLAIN"], "client_mech_list": ["ANONYMOUS"]}
    assert driver.server(config).session().mechanisms() == ("PLAIN",)
    client = driver.client(config).session(trace="me", authid="tim", password="pencil")
    client.start("PLAIN ANONYMOUS")
    assert client.mechanism == "ANONYMOUS"


@pytest.mark.parametrize(
    "offered",
    [
        "PLAIN SCRAM-SHA-256",
        "PLAIN,SCRAM-SHA-256",
        "(PLAIN)/(SCRAM-SHA-256)\r\n",
        "PLAIN\0SCRAM-SHA-256",
        "  PLAIN\t=SCRAM-SHA-256;",
        ["PLAIN", "SCRAM-SHA-256"],
        ["PLAIN SCRAM-SHA-256"],
        ("PLAIN", "SCRAM-SHA-256"),
    ],
    ids=str,
)
def test_g3_the_list_is_split_on_all_that_is_no_name(driver, offered):
    """Anything outside of A-Z a-z 0-9 _ - separates names."""
    client = driver.client(OPEN)
    session = client.session(authid="tim", password="pencil")
    session.start(offered)
    assert session.mechanism == "SCRAM-SHA-256"


def test_g3_underscore_and_digits_belong_to_a_name(driver, toys):
    """`A_B-9` is one name."""
    toys.mechanism(client=client_plug("A_B-9", naming_client()))
    client = driver.client(registry=toys.registry())
    session = client.session(authid="alice")
    session.start("x,A_B-9,y")
    assert session.mechanism == "A_B-9"


@pytest.mark.parametrize("offered", ["PLAIN SCRAM-SHA-256", "SCRAM-SHA-256 PLAIN"])
def test_g3_the_servers_order_does_not_matter(driver, offered):
    """The client's own order decides."""
    session = driver.client(OPEN).session(authid="tim", password="pencil")
    session.start(offered)
    assert session.mechanism == "SCRAM-SHA-256"


def passed_over(driver, toys, reason, host="mail.example.com", *, facts=None, **more):
    """The client prefers TOP, passes it over with `reason`, and takes LOW, which can do all."""
    toys.mechanism(client=client_plug("TOP", naming_client(), **more))
    features = CLIENT_FIRST | Feature.ALLOWS_PROXY | Feature.SUPPORTS_HTTP
    everything = {"security_flags": SecurityFlag(0x7F), "max_ssf": 512}
    toys.mechanism(client=client_plug("LOW", proven_client, features, **everything))
    order = {"client_mech_list": ["TOP", "LOW"]}
    client = driver.client(order, host=host, registry=toys.registry())
    session = client.session(**({"authid": "alice"} | (facts or {})))
    session.start("LOW TOP")
    assert session.mechanism == "LOW"
    assert reason in session.rejected["TOP"]


def test_g3_a_mechanism_whose_prompts_nobody_answers_is_passed_over(driver, toys):
    """Prompts come first: without a password the mechanism that needs one is no candidate."""
    passed_over(driver, toys, "PASS", required_prompts=(PromptId.AUTHNAME, PromptId.PASS))


def test_g3_an_interaction_makes_every_prompt_answerable(driver, toys):
    """With interact= the same mechanism is taken."""
    toys.mechanism(
        client=client_plug("TOP", naming_client(), required_prompts=(PromptId.AUTHNAME,))
    )
    client = driver.client(registry=toys.registry())
    session = client.session(interact=lambda prompts: tuple("alice" for _ in prompts))
    session.start("TOP")
    assert session.mechanism == "TOP"


def test_g3_a_mechanism_that_is_too_weak_is_passed_over(driver, toys):
    """min_ssf demands a layer that TOP has not got."""
    facts = {"security": SecurityProperties(min_ssf=100)}
    passed_over(driver, toys, "min_ssf", facts=facts)


def test_g3_a_mechanism_without_the_flags_is_passed_over(driver, toys):
    """security_flags demand what TOP does not protect from."""
    facts = {"security": SecurityProperties(flags=SecurityFlag.FORWARD_SECRECY)}
    passed_over(driver, toys, "forward_secrecy", facts=facts)


def test_g3_an_unbound_mechanism_is_passed_over_when_binding_is_required(driver, toys):
    """A required channel binding leaves no mechanism without one."""
    toys.mechanism(client=client_plug("TOP", naming_client()))
    client = driver.client(registry=toys.registry())
    session = client.session(authid="alice", binding_policy=BindingPolicy.REQUIRE)
    with pytest.raises(MechanismError) as caught:
        session.start("TOP")
    assert "channel binding is required" in caught.value.reasons["TOP"]


def test_g3_a_mechanism_that_needs_the_full_name_is_passed_over_without(driver, toys):
    """NEEDSERVERFQDN wants a host with a dot."""
    features = CLIENT_FIRST | Feature.NEEDSERVERFQDN
    passed_over(driver, toys, "full name", host="localhost", features=features)


def test_g3_a_mechanism_that_cannot_carry_an_authzid_is_passed_over(driver, toys):
    """Whoever acts for another needs ALLOWS_PROXY."""
    passed_over(
        driver, toys, "authorization identity", facts={"authzid": "bob"}, features=CLIENT_FIRST
    )


def test_g3_need_proxy_and_need_http_are_demands_too(driver, toys):
    """The connection's own demands filter alike."""
    passed_over(driver, toys, "HTTP", facts={"need_http": True})


def test_g3_an_empty_list_names_no_mechanism(driver):
    """Nothing offered, nothing chosen, and it says so."""
    with pytest.raises(MechanismError, match="the server offered none"):
        driver.client(OPEN).session(authid="tim", password="pencil").start("")


def test_g3_what_is_not_installed_is_named_with_its_reason(driver):
    """Each offered name that nobody knows has a reason of its own."""
    with pytest.raises(MechanismError) as caught:
        driver.client(OPEN).session(authid="tim", password="x").start("NTLM login")
    assert "installed" in caught.value.reasons["NTLM"]
    assert set(caught.value.reasons) == {"NTLM", "login"}


def scram_pair(driver, offer_facts, client_facts, **config):
    server = driver.server(OPEN | config, stores=[MemoryStore({"tim": "pencil"})])
    client = driver.client(OPEN | config)
    return (
        server.session(**offer_facts),
        client.session(authid="tim", password="pencil", **client_facts),
    )


def test_g4_plus_goes_first_when_there_are_binding_data(driver):
    """Both sides have the data: the bound variant is offered first and chosen."""
    facts = {"channel_bindings": EXPORTER}
    server, client = scram_pair(driver, facts, facts)
    assert server.mechanisms()[0] == "SCRAM-SHA-256-PLUS"
    exchange(server, client)
    assert client.mechanism == server.mechanism == "SCRAM-SHA-256-PLUS"
    assert client.channel_binding == server.channel_binding == "tls-exporter"


def test_g4_plus_is_dropped_when_there_are_none(driver):
    """No data: the server does not offer it, and says why."""
    server, client = scram_pair(driver, {}, {})
    assert "SCRAM-SHA-256-PLUS" not in server.mechanisms()
    assert "channel binding data" in server.rejected["SCRAM-SHA-256-PLUS"]
    client.start("SCRAM-SHA-256-PLUS SCRAM-SHA-256")
    assert client.mechanism == "SCRAM-SHA-256"


def test_g4_a_client_cannot_start_plus_where_it_was_not_offered(driver):
    """The server refuses the name as well, not only its listing."""
    server, _ = scram_pair(driver, {}, {})
    with pytest.raises(MechanismError, match="channel binding data"):
        server.start("SCRAM-SHA-256-PLUS", b"p=tls-exporter,,n=tim,r=abcdefghijklmnop")


def test_g4_only_plus_offered_and_no_data_is_no_mechanism_with_the_reason(driver):
    """The error says that the data are missing, not merely that nothing fits."""
    _, client = scram_pair(driver, {}, {})
    with pytest.raises(MechanismError) as caught:
        client.start("SCRAM-SHA-256-PLUS")
    assert "channel binding data" in caught.value.reasons["SCRAM-SHA-256-PLUS"]
    assert "channel binding data" in str(caught.value)


def test_g4_binding_that_is_off_drops_plus_too(driver):
    """Data that must not be used are no data."""
    facts = {"channel_bindings": EXPORTER, "binding_policy": BindingPolicy.OFF}
    server, client = scram_pair(driver, facts, facts)
    assert "SCRAM-SHA-256-PLUS" not in server.mechanisms()
    exchange(server, client)
    assert server.channel_binding is None


def test_g4_a_plus_name_of_a_mechanism_without_binding_is_no_mechanism(driver):
    """PLAIN-PLUS is nothing, on either side."""
    server, client = scram_pair(
        driver, {"channel_bindings": EXPORTER}, {"channel_bindings": EXPORTER}
    )
    with pytest.raises(MechanismError, match="no -PLUS variant"):
        server.start("PLAIN-PLUS", b"\0tim\0pencil")
    with pytest.raises(MechanismError, match="no -PLUS variant"):
        client.start("PLAIN-PLUS")


def test_g4_different_binding_data_never_log_in(driver):
    """Somebody who sits between the two has another channel on either side."""
    server, client = scram_pair(
        driver,
        {"channel_bindings": EXPORTER},
        {"channel_bindings": {"tls-exporter": b"F" * 32}},
    )
    with pytest.raises(AuthenticationError) as caught:
        exchange(server, client)
    assert caught.value.wire == b"e=channel-bindings-dont-match"
    assert not server.done


def test_g4_the_data_may_come_from_a_callable(driver):
    """A callable is asked when a mechanism binds; one that gives nothing is an error of ours."""
    asked = []

    def data():
        asked.append(True)
        return b"E" * 32

    server, client = scram_pair(
        driver, {"channel_bindings": {"tls-exporter": data}}, {"channel_bindings": EXPORTER}
    )
    assert asked == []
    exchange(server, client)
    assert asked
    server, client = scram_pair(
        driver,
        {"channel_bindings": {"tls-exporter": lambda: b""}},
        {"channel_bindings": EXPORTER},
    )
    with pytest.raises((UsageError, PeerError)):
        exchange(server, client)


def test_g3_what_servers_offer_fills_no_memory():
    """Only short offers are remembered, and not many: a peer decides what is in them."""
    choice._SPLIT.clear()
    long: list[Any] = ["X" * 5000, ("\0" * 5000,), tuple("," * 400), ["PLAIN"]]
    for offered in long:
        _ = split_names(offered)
    assert not choice._SPLIT
    for number in range(2 * choice.CACHED_SPLITS):
        assert split_names(f"PLAIN X{number}") == ("PLAIN", f"X{number}")
        assert split_names((f"PLAIN X{number}",)) == ("PLAIN", f"X{number}")
    assert len(choice._SPLIT) == choice.CACHED_SPLITS
    choice._SPLIT.clear()


def test_g3_an_offer_that_is_remembered_is_still_checked():
    """What cannot be hashed, or is no text, is refused each time."""
    unfit: list[Any] = [("PLAIN", []), (1,), (b"PLAIN",), 7]
    for offered in unfit:
        for _ in range(2):
            with pytest.raises(UsageError):
                split_names(offered)
