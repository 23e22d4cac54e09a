"""Listing: what distributions declare, judged without importing any of it."""

from __future__ import annotations

import sys

import pytest
from importlib_metadata import EntryPoint

from sasl_core.errors import ConfigError, PluginError, UsageError
from sasl_core.registry import KINDS, Listing, Registry


def test_the_groups_are_the_published_ones():
    """Each kind's entry-point group bears the kind's name."""
    assert list(KINDS.items()) == [
        (kind, f"sasl_core.{kind}")
        for kind in (
            "mechanisms",
            "canon_user",
            "auxprop",
            "credentials",
            "profiles",
            "pwcheck",
            "audit",
            "commands",
        )
    ]


def test_names_are_sorted_by_kind(world):
    """Names come sorted, each kind for itself; a kind without plugins is empty."""
    world.install("b", ("mechanisms", "PLAIN", "no_such"), ("auxprop", "ldap", "no_such"))
    world.install("a", ("mechanisms", "EXTERNAL", "no_such"))
    registry = world.registry()
    assert registry.names("mechanisms") == ("EXTERNAL", "PLAIN")
    assert registry.names("auxprop") == ("ldap",)
    assert registry.names("audit") == ()


def test_a_listing_tells_where_a_plugin_comes_from(world):
    """A listing holds kind, name, distribution, version and the entry point's value."""
    world.install("sasl-x", ("auxprop", "x", "sasl_x.store"), version="2.5")
    assert world.registry().listings("auxprop") == (
        Listing("auxprop", "x", "sasl-x", "2.5", "sasl_x.store", None),
    )


def test_listings_of_all_kinds_follow_the_kinds(world):
    """Without a kind, everything is listed: mechanisms first, commands last."""
    world.install("d", ("commands", "a", "m"), ("audit", "b", "m"), ("mechanisms", "C", "m"))
    assert [listing.name for listing in world.registry().listings()] == ["C", "b", "a"]


def test_the_declarations_are_read_once(world):
    """However often it is asked, the registry reads each group once, and not before."""
    world.mechanism("GOOD", "read_once")
    registry = world.registry()
    assert world.reads == []
    for _ in range(3):
        registry.names("mechanisms")
        registry.listings()
        registry.unmatched()
        registry.load("mechanisms", "GOOD")
    assert sorted(world.reads) == sorted(KINDS.values())


@pytest.mark.parametrize("ask", ["names", "listings"])
def test_an_unknown_kind_is_the_callers_mistake(world, ask):
    """A kind that does not exist is a UsageError that lists the kinds."""
    with pytest.raises(UsageError, match="'mechanism' is no kind of plugin: mechanisms, canon"):
        getattr(world.registry(), ask)("mechanism")


@pytest.mark.parametrize(
    ("kind", "name", "value", "problem"),
    [
        ("mechanisms", "Plain", "m", "no mechanism name: 1 to 20 of A-Z 0-9 - _"),
        ("mechanisms", "A" * 21, "m", "no mechanism name: 1 to 20 of A-Z 0-9 - _"),
        ("mechanisms", "X-PLUS", "m", "give the plug 'X' Feature.CHANNEL_BINDING"),
        ("mechanisms", "X", "m:plugs", "'m:plugs' must name a module"),
        ("mechanisms", "X", "m.1x", "'m.1x' is malformed"),
        ("mechanisms", "X", "..m", "'..m' is malformed"),
        ("mechanisms", "X", "m x", "'m x' is malformed"),
        ("mechanisms", "X", "m; import os", "'m; import os' is malformed"),
        ("commands", "x", "m:a..b", "'m:a..b' is malformed"),
        ("auxprop", "two words", "m", "no plugin name"),
        ("auxprop", "dist:name", "m", "no plugin name"),
        ("auxprop", "x" * 65, "m", "no plugin name"),
    ],
)
def test_a_malformed_declaration_is_listed_with_its_problem(world, kind, name, value, problem):
    """It is unusable before anything is imported, the reason is told; the others go on."""
    world.install("bad", (kind, name, value))
    world.mechanism("GOOD", "beside_malformed")
    registry = world.registry()
    (listing,) = [item for item in registry.listings(kind) if item.distribution == "bad"]
    assert problem in (listing.problem or "")
    assert registry.names(kind) == (("GOOD",) if kind == "mechanisms" else ())
    load = registry.load_object if kind == "commands" else registry.load
    with pytest.raises(PluginError) as caught:
        load(kind, name)
    assert caught.value.code == "plugin-declaration"
    assert caught.value.distribution == "bad"
    assert problem in caught.value.reason
    assert registry.load("mechanisms", "GOOD").listing.name == "GOOD"


def test_one_distribution_cannot_declare_a_name_twice(world):
    """Two values for one name are told; the distribution's other names go on."""
    world.install("d", ("auxprop", "x", "m1"), ("auxprop", "x", "m2"), ("auxprop", "y", "m1"))
    registry = world.registry()
    assert registry.names("auxprop") == ("y",)
    assert registry.listings("auxprop")[0].problem == (
        "its distribution declares it twice, as 'm1' and as 'm2': report it to its author"
    )


def test_one_distribution_found_twice_is_one_claim(world):
    """Metadata found a second time on sys.path change nothing: the first copy counts."""
    world.install("sasl-x", ("auxprop", "x", "new.store"), version="2")
    world.install("Sasl_X", ("auxprop", "x", "old.store"), version="1")
    assert world.registry().listings("auxprop") == (
        Listing("auxprop", "x", "sasl-x", "2", "new.store", None),
    )


def two_claims(world):
    for distribution in ("sasl-a", "sasl-b"):
        module = distribution.replace("-", "_")
        world.mechanism("X", module, distribution)
    world.mechanism("GOOD", "beside_claims")


def test_a_name_claimed_by_two_distributions_is_nobodys(world):
    """Both are named, with the way to choose; only that name is unusable."""
    two_claims(world)
    registry = world.registry()
    assert registry.names("mechanisms") == ("GOOD",)
    with pytest.raises(PluginError) as caught:
        registry.load("mechanisms", "X")
    assert caught.value.code == "plugin-claimed-twice"
    assert str(caught.value) == (
        "plugin 'X': claimed by distributions 'sasl-a' and 'sasl-b': choose one with "
        'plugin_list = ["sasl-a:X"], or uninstall the other'
    )
    problems = {item.distribution: item.problem for item in registry.listings("mechanisms")}
    assert problems["sasl-a"] == problems["sasl-b"] == caught.value.reason
    assert "sasl_a" not in sys.modules
    assert "sasl_b" not in sys.modules
    assert registry.load("mechanisms", "GOOD").listing.distribution == "dist-beside_claims"


@pytest.mark.parametrize("entry", ["sasl-b:X", "SASL_B:X", "sasl.b:X"])
def test_plugin_list_chooses_between_distributions(world, entry):
    """The chosen one has the name, however its distribution is spelt; nothing else changes."""
    two_claims(world)
    registry = world.registry([entry])
    assert registry.names("mechanisms") == ("GOOD", "X")
    assert registry.load("mechanisms", "X").listing.distribution == "sasl-b"
    loser = next(item for item in registry.listings() if item.distribution == "sasl-a")
    assert loser.problem == f"plugin_list chooses 'X' of {entry.partition(':')[0]!r}"
    assert "sasl_a" not in sys.modules


def test_a_bound_name_goes_to_no_other_distribution(world):
    """When the chosen distribution is not installed, nobody else gets its name."""
    world.mechanism("X", "squatter", "sasl-squatter")
    registry = world.registry(["sasl-real:X"])
    assert registry.names("mechanisms") == ()
    with pytest.raises(PluginError, match="plugin_list chooses 'X' of 'sasl-real'") as caught:
        registry.load("mechanisms", "X")
    assert caught.value.code == "plugin-excluded"
    assert "squatter" not in sys.modules


def test_choosing_both_distributions_chooses_none(world):
    """Two choices for one name leave it claimed twice."""
    two_claims(world)
    with pytest.raises(PluginError, match="claimed by distributions 'sasl-a' and 'sasl-b'"):
        world.registry(["sasl-a:X", "sasl-b:X"]).load("mechanisms", "X")


def test_bare_names_in_plugin_list_restrict(world):
    """Only what the list names may be used, profiles and commands excepted."""
    two_claims(world)
    world.install("e", ("auxprop", "x", "m"), ("profiles", "smtp", "m"), ("commands", "c", "m"))
    registry = world.registry(["GOOD", "sasl-b:X"])
    assert registry.names("mechanisms") == ("GOOD", "X")
    assert registry.names("auxprop") == ()
    assert registry.names("profiles") == ("smtp",)
    assert registry.names("commands") == ("c",)
    with pytest.raises(PluginError, match="plugin_list does not name it: add 'x'") as caught:
        registry.load("auxprop", "x")
    assert caught.value.code == "plugin-excluded"


@pytest.mark.parametrize("entry", ["", ":X", "d:", "a:b:c", "two words", "-:X", "d: X", "x" * 65])
def test_a_malformed_plugin_list_is_a_config_error(entry):
    """An entry that is neither NAME nor distribution:NAME is told with the option's name."""
    with pytest.raises(ConfigError, match="neither NAME nor distribution:NAME") as caught:
        Registry(plugin_list=["GOOD", entry])
    assert caught.value.key == "plugin_list"


def test_plugin_list_is_not_one_string():
    """A string in place of a list would be read letter by letter."""
    with pytest.raises(ConfigError, match="give a list of names") as caught:
        Registry(plugin_list="PLAIN")
    assert caught.value.key == "plugin_list"


def test_entries_of_plugin_list_that_name_nothing_are_told(world):
    """A typing mistake in plugin_list can be found; an entry that fits is not reported."""
    two_claims(world)
    registry = world.registry(["GOOD", "SCRAM-SHA256", "sasl-b:X", "sasl-c:X", "sasl-a:GOOD"])
    assert registry.unmatched() == ("SCRAM-SHA256", "sasl-a:GOOD", "sasl-c:X")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GOOT", "; did you mean 'GOOD'?"),
        ("good", "; did you mean 'GOOD'?"),
        ("this", "; install"),
        ("../../etc/passwd", "; install"),
        ("os:system", "; install"),
        ("", "; install"),
    ],
)
def test_only_declared_names_are_loaded(world, name, hint):
    """Any other name is refused without an import, with the nearest declared one."""
    world.mechanism("GOOD", "only_declared")
    registry = world.registry()
    with pytest.raises(PluginError) as caught:
        registry.load("mechanisms", name)
    assert caught.value.code == "plugin-unknown"
    assert "no installed distribution declares it in 'sasl_core.mechanisms'" in str(caught.value)
    assert hint in str(caught.value)
    assert "this" not in sys.modules
    assert "only_declared" not in sys.modules


def test_a_peers_text_is_cut_and_escaped(world):
    """A name from the wire comes back printable and short."""
    with pytest.raises(PluginError) as caught:
        world.registry().load("mechanisms", "\x1b[31m" + "A" * 10_000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_an_entry_point_without_a_distribution_works(world):
    """Entry points made by hand, of which nobody knows the origin, are usable."""
    world.mechanism("GOOD", "by_hand")
    point = EntryPoint("GOOD", "by_hand", "sasl_core.mechanisms")
    registry = Registry(entry_points=lambda group: [point] if group == point.group else [])
    assert registry.listings() == (Listing("mechanisms", "GOOD", "", "", "by_hand", None),)
    assert registry.load("mechanisms", "GOOD").api == 1


def test_metadata_that_raise_leave_a_plugin_unnamed_but_usable(world):
    """Name, version and requirements are only shown; a failure to read them costs nothing."""

    class Unreadable:
        def __getattr__(self, field):
            raise ValueError(field)

    world.module("unreadable_dist", "import no_such_lib")
    point = EntryPoint("X", "unreadable_dist", "sasl_core.mechanisms")
    vars(point).update(dist=Unreadable())
    registry = Registry(entry_points=lambda group: [point] if group == point.group else [])
    assert registry.listings() == (Listing("mechanisms", "X", "", "", "unreadable_dist", None),)
    with pytest.raises(PluginError, match="is not installed: install 'no_such_lib'"):
        registry.load("mechanisms", "X")
