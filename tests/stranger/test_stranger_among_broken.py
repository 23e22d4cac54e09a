"""Broken distributions beside a good one: each is named with its reason, and spoils nothing."""

from __future__ import annotations

import json

import pytest

CHOSEN = 'plugin_list = ["sasl-stranger:X-KNOCK"]'

# Name of the mechanism -> distribution, and a part of the reason that is told.
BROKEN = {
    "X-NO-IMPORT": ("sasl-import-error", "install 'a_module_that_nobody_has'"),
    "X-EXITS": ("sasl-exits", "it tried to end the program (SystemExit)"),
    "X-MISTYPED": ("sasl-mistyped-hook", "did you mean 'sasl_server_plug_init'?"),
    "X-NEWER": ("sasl-newer-api", "upgrade sasl-core or install an older release"),
}
# Of ours, what is listed and cannot be used before it has its options.
UNCONFIGURED = {"map", "client_credentials", "oidc_azure", "oidc_gcp", "token_file"}
RIVALS = (
    "claimed by distributions 'sasl-rival' and 'sasl-stranger': choose one with "
    'plugin_list = ["sasl-rival:X-KNOCK"], or uninstall the other'
)

LOGIN = """
from sasl_core import Client, Server, SetpassFlag

with Server("door", "house.example.com") as server, Client("door", "house.example.com") as client:
    told["setpass"] = server.setpass("tim", "knock knock", SetpassFlag.CREATE).ok
    with server.session() as ours, client.session(authid="tim", password="knock knock") as theirs:
        told["offered"] = ours.mechanisms()
        told["rejected"] = dict(ours.rejected)
        hello = theirs.start([{mechanism!r}])
        reply = ours.start(theirs.mechanism, hello.data)
        while not reply.done:
            reply = ours.step(theirs.step(reply.data).data)
        theirs.finish(reply.data)
        told["authid"] = ours.authid
"""


@pytest.fixture(scope="module")
def plugins(crowded, tmp_path_factory):
    """The rows of `sasl plugins --json`, with X-KNOCK chosen."""
    folder = tmp_path_factory.mktemp("plugins")
    return json.loads(crowded.run(folder, "-m", "sasl_cli", "plugins", "--json", more=CHOSEN))


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_one_is_named_with_its_reason(plugins, name):
    """`sasl plugins` tells plugin, distribution and reason."""
    distribution, reason = BROKEN[name]
    (row,) = [row for row in plugins if row["name"] == name]
    assert row["distribution"] == distribution
    assert not row["available"]
    assert reason in row["reason"]


def test_the_others_are_as_good_as_without_them(plugins):
    """Ours and the stranger's can all be used, but for those that wait for their options."""
    unusable = {row["name"] for row in plugins if not row["available"]}
    assert unusable == {*BROKEN, "X-KNOCK", *UNCONFIGURED}
    knock = {row["distribution"]: row for row in plugins if row["name"] == "X-KNOCK"}
    assert knock["sasl-stranger"]["available"]
    assert knock["sasl-rival"]["reason"] == "plugin_list chooses 'X-KNOCK' of 'sasl-stranger'"


def test_logins_work_beside_them(crowded, tmp_path):
    """A login by X-KNOCK, setpass included, while every broken one is told as rejected."""
    told = crowded.tell(tmp_path, LOGIN.format(mechanism="X-KNOCK"), more=CHOSEN)
    assert told["setpass"]
    assert told["authid"] == "tim"
    assert not set(told["offered"]) & set(BROKEN)
    for name, (distribution, reason) in BROKEN.items():
        assert repr(distribution) in told["rejected"][name]
        assert reason in told["rejected"][name]


def test_a_name_of_two_is_nobodys_until_one_is_chosen(crowded, tmp_path):
    """Without a choice X-KNOCK cannot be used, both are named, and SCRAM works on."""
    told = crowded.tell(tmp_path, LOGIN.format(mechanism="SCRAM-SHA-256"))
    assert told["authid"] == "tim"
    assert "X-KNOCK" not in told["offered"]
    assert "'sasl-rival' and 'sasl-stranger'" in told["rejected"]["X-KNOCK"]


def test_either_of_two_can_be_chosen(crowded, tmp_path):
    """plugin_list decides whose X-KNOCK it is, and the listing says whose it is not."""
    code = """
from sasl_core import Server
config = {{"mechanisms": {{"X-KNOCK": {{}}}}, "plugin_list": {chosen!r}}}
with Server("door", "house.example.com", config=config) as server:
    told["module"] = type(server.core.mechanism("X-KNOCK")).__module__
    told["problems"] = {{
        row.distribution: row.problem
        for row in server.core.registry.listings("mechanisms") if row.name == "X-KNOCK"
    }}
"""
    for chosen, other in (("sasl-stranger", "sasl-rival"), ("sasl-rival", "sasl-stranger")):
        told = crowded.tell(tmp_path, code.format(chosen=[f"{chosen}:X-KNOCK"]))
        assert told["module"] == chosen.replace("-", "_")
        assert told["problems"] == {
            chosen: None,
            other: f"plugin_list chooses 'X-KNOCK' of '{chosen}'",
        }


def test_listing_imports_none_of_them(crowded, tmp_path):
    """Every declaration is listed, the rivals with their problem, and no module is loaded."""
    code = """
import sys
from sasl_core import Registry
rows = Registry().listings()
told["rows"] = [[r.name, r.distribution, r.problem] for r in rows if r.distribution != "sasl-core"]
told["loaded"] = sorted(name for name in sys.modules if name.startswith("sasl_"))
"""
    told = crowded.tell(tmp_path, code)
    listed = {(name, origin): problem for name, origin, problem in told["rows"]}
    for name, (distribution, _) in BROKEN.items():
        assert listed.pop((name, distribution)) is None
    assert listed.pop(("X-KNOCK", "sasl-rival")) == RIVALS
    assert listed.pop(("X-KNOCK", "sasl-stranger")) == RIVALS
    assert set(listed) == {(n, "sasl-stranger") for n in ("X-TICKET", "roster", "mailbox")}
    assert {name.partition(".")[0] for name in told["loaded"]} == {"sasl_core"}
