"""The plugs of one owner: made once, kept, and closed once."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import assert_type, cast

import pytest

from plugin_sources import DOOR, SERVER, SERVER_INIT, init
from sasl_core.credentials import CredentialsPlug
from sasl_core.errors import PluginError, UsageError
from sasl_core.flags import Side
from sasl_core.plugs import AuxpropPlug, ClientPlug, ServerPlug
from sasl_core.registry import Plugs, Registry

# A module of several names, which notes in module `probe` what happens to it.
NOTING = f"""{DOOR}
import probe, time
probe.imported.append(__name__)

class Noting(CanonUserPlug):
    def __init__(self, name):
        self.name = name
    def canon_user_server(self, ctx, user, flags):
        return user
    def close(self):
        probe.closed.append(self.name)
        if self.name in probe.explosive:
            raise probe.explosive[self.name]

@hookimpl
def sasl_canonuser_init(utils):
    time.sleep(0.02)
    probe.inited.append(__name__)
    return [Noting(name) for name in probe.names[__name__]]
"""


@pytest.fixture
def probe(monkeypatch):
    """What the modules of a test note: imports, initialisations and closings."""
    shared = SimpleNamespace(imported=[], inited=[], closed=[], explosive={}, names={}, ask=None)
    monkeypatch.setitem(sys.modules, "probe", shared)
    return shared


@pytest.fixture
def noting(world, probe):
    """Install a noting module for several canonicalisers."""

    def install(module, *names):
        probe.names[module] = names
        world.module(module, NOTING)
        world.install(f"dist-{module}", *(("canon_user", name, module) for name in names))

    return install


def test_a_plug_is_made_at_first_use_and_kept(world, probe, noting):
    """Making the owner loads nothing; asking twice gives the same plug."""
    noting("kept", "a")
    plugs = world.server_plugs()
    assert probe.imported == []
    assert plugs.get("canon_user", "a") is plugs.get("canon_user", "a")
    assert (probe.imported, probe.inited) == (["kept"], ["kept"])


def test_a_module_of_several_names_is_initialised_once(world, probe, noting):
    """One initialisation gives the plugs of all its names; utils are made for the first."""
    noting("several", "b", "a", "c")
    plugs = world.server_plugs()
    assert [plugs.get("canon_user", name).name for name in "cab"] == ["c", "a", "b"]
    assert probe.inited == ["several"]
    assert world.utils_made == [("canon_user", "a")]


def test_a_malformed_name_is_none_of_the_modules_names(world):
    """Utils are made for a name that is one, though a malformed one comes first."""
    world.mechanism("X", "malformed_beside", "d")
    world.distributions.clear()
    world.install(
        "d", ("mechanisms", "A-PLUS", "malformed_beside"), ("mechanisms", "X", "malformed_beside")
    )
    registry = world.registry()
    assert registry.load("mechanisms", "X").names == ("X",)
    world.server_plugs(registry).get("mechanisms", "X")
    assert world.utils_made == [("mechanisms", "X")]


def test_each_owner_has_its_own_plugs(world, probe, noting):
    """Two owners of one registry: one import, two initialisations, two plugs."""
    noting("owned", "a")
    registry = world.registry()
    first, second = world.server_plugs(registry), world.client_plugs(registry)
    assert first.get("canon_user", "a") is not second.get("canon_user", "a")
    assert (probe.imported, probe.inited) == (["owned"], ["owned", "owned"])
    first.close()
    assert probe.closed == ["a"]
    assert second.get("canon_user", "a").name == "a"


def test_an_owner_gets_the_plugs_of_its_side(world):
    """A server's mechanism is a ServerPlug, a client's a ClientPlug, and so say the types."""
    world.mechanism("GOOD", "sided")
    registry = world.registry()
    server, client = world.server_plugs(registry), world.client_plugs(registry)
    mine = server.get("mechanisms", "GOOD")
    yours = client.get("mechanisms", "GOOD")
    assert isinstance(mine, ServerPlug)
    assert isinstance(yours, ClientPlug)


def test_types_follow_kind_and_side(world):
    """What `get` returns has the class of its kind for the type checkers too."""
    world.mechanism("GOOD", "typed")
    registry = cast("Registry", world.registry())
    server = Plugs(registry, Side.SERVER, world.make_utils)
    assert_type(server.get("mechanisms", "GOOD"), ServerPlug)
    client = Plugs(registry, Side.CLIENT, world.make_utils)
    assert_type(client.get("mechanisms", "GOOD"), ClientPlug)
    with pytest.raises(PluginError):
        assert_type(server.get("auxprop", "x"), AuxpropPlug)
    with pytest.raises(PluginError):
        assert_type(server.get("credentials", "x"), CredentialsPlug)


@pytest.mark.parametrize("attempt", range(3))
def test_sixteen_threads_initialise_once(world, probe, noting, attempt):
    """Threads that ask at the same time get the same plugs, made once."""
    module = f"raced_{attempt}"
    noting(module, "a", "b")
    plugs = world.server_plugs()
    start = threading.Barrier(16)

    def ask(number):
        start.wait()
        return plugs.get("canon_user", "ab"[number % 2])

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(16)))
    assert len({id(plug) for plug in found}) == 2
    assert (probe.imported, probe.inited) == ([module], [module])


def test_sixteen_threads_see_one_failure(world, probe):
    """A module that fails is imported once, however many threads ask; all get the reason."""
    world.module("raced_failure", "import probe\nprobe.imported.append(1)\n1 / 0")
    world.install("d", ("canon_user", "a", "raced_failure"))
    registry = world.registry()
    start = threading.Barrier(16)

    def ask(_):
        start.wait()
        with pytest.raises(PluginError) as caught:
            world.server_plugs(registry).get("canon_user", "a")
        return caught.value

    with ThreadPoolExecutor(16) as pool:
        errors = list(pool.map(ask, range(16)))
    assert probe.imported == [1]
    assert len({id(error) for error in errors}) == 16
    assert len({error.reason for error in errors}) == 1


def test_problems_are_kept_for_reading(world, noting):
    """What was asked for and failed is listed; raised errors are new, kept ones unraised."""
    noting("fine", "a")
    world.module("broken", "1 / 0")
    world.install("d", ("canon_user", "x", "broken"))
    plugs = world.server_plugs()
    raised = []
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            plugs.get("canon_user", "x")
        raised.append(caught.value)
    assert plugs.get("canon_user", "a").name == "a"
    assert list(plugs.problems) == [("canon_user", "x")]
    kept = plugs.problems["canon_user", "x"]
    assert str(raised[0]) == str(raised[1]) == str(kept)
    assert len({id(error) for error in (*raised, kept)}) == 3
    assert kept.__traceback__ is None
    assert kept.code == raised[1].code == "plugin-import"


def test_a_failed_init_concerns_all_names_of_the_module(world, probe):
    """It is not tried again for the next name, which is blamed by its own name."""
    source = DOOR + init("sasl_canonuser_init", "__import__('probe').inited.append(1)", "1 / 0")
    world.module("fails_for_all", source)
    world.install("d", ("canon_user", "a", "fails_for_all"), ("canon_user", "b", "fails_for_all"))
    plugs = world.server_plugs()
    for name in ("b", "a"):
        with pytest.raises(PluginError, match="it raised ZeroDivisionError") as caught:
            plugs.get("canon_user", name)
        assert caught.value.plugin == name
    assert probe.inited == [1]


def test_a_name_that_the_hook_left_out(world, probe, noting):
    """The names that it returned go on; the missing one is told."""
    noting("leaves_out", "a", "b")
    probe.names["leaves_out"] = ("a",)
    plugs = world.server_plugs()
    with pytest.raises(PluginError, match="hook returned no plug of this name") as caught:
        plugs.get("canon_user", "b")
    assert caught.value.code == "plugin-return"
    assert plugs.get("canon_user", "a").name == "a"


def test_a_mechanism_of_the_other_side_is_no_fault(world):
    """Whether the hook or only the plug is missing, the code says: no such side."""
    both = SERVER + "class Named(Server):\n    name = 'OTHER'\n"
    client = both.replace("ServerPlug", "ClientPlug").replace("Server", "Client")
    world.module(
        "uneven", DOOR + both + client + SERVER_INIT + init("sasl_client_plug_init", "[Named()]")
    )
    world.install("d", ("mechanisms", "BAD", "uneven"), ("mechanisms", "OTHER", "uneven"))
    world.module("server_only", DOOR + SERVER.replace("BAD", "ONLY") + SERVER_INIT)
    world.install("e", ("mechanisms", "ONLY", "server_only"))
    registry = world.registry()
    assert list(world.server_plugs(registry).usable("mechanisms")) == ["BAD", "ONLY"]
    plugs = world.client_plugs(registry)
    assert list(plugs.usable("mechanisms")) == ["OTHER"]
    assert {key[1]: error.code for key, error in plugs.problems.items()} == {
        "BAD": "plugin-no-side",
        "ONLY": "plugin-no-side",
    }
    assert {error.reason for error in plugs.problems.values()} == {"has no client side"}


def test_usable_plugs_go_on_beside_broken_ones(world, noting):
    """`usable` gives every plug that works, in order, and keeps the others' problems."""
    noting("works", "c", "a")
    for name, source in (("b", "raise SystemExit"), ("d", DOOR), ("e", "import gone_lib")):
        world.module(f"broken_{name}", source)
        world.install(f"dist-{name}", ("canon_user", name, f"broken_{name}"))
    plugs = world.server_plugs()
    assert list(plugs.usable("canon_user")) == ["a", "c"]
    assert {name: error.code for (_, name), error in plugs.problems.items()} == {
        "b": "plugin-import",
        "d": "plugin-hook",
        "e": "plugin-import",
    }


def test_a_name_left_out_by_plugin_list_is_made_but_not_given(world, probe, noting):
    """A module's plug that the list excludes is closed with the others, and never served."""
    noting("partly", "a", "b")
    plugs = world.server_plugs(world.registry(["b"]))
    assert plugs.get("canon_user", "b").name == "b"
    with pytest.raises(PluginError, match="plugin_list does not name it"):
        plugs.get("canon_user", "a")
    plugs.close()
    assert probe.closed == ["b", "a"]


def test_names_that_nobody_declares_leave_nothing_behind(world):
    """A peer that asks for a thousand mechanisms does not fill the table of problems."""
    plugs = world.server_plugs()
    for number in range(1000):
        with pytest.raises(PluginError):
            plugs.get("mechanisms", f"X-{number}")
    assert plugs.problems == {}


# --- plugs that ask for others ---------------------------------------------------------------

ASKING = f"""{DOOR}
class Canon(CanonUserPlug):
    name = "{{name}}"
    def canon_user_server(self, ctx, user, flags):
        return user
    def close(self):
        __import__("probe").closed.append(self.name)

@hookimpl
def sasl_canonuser_init(utils):
    __import__("probe").ask("{{other}}")
    return [Canon()]
"""


def test_a_plugin_may_ask_for_another_while_it_is_made(world, probe, noting):
    """The other is complete before it, and closed after it."""
    noting("other", "a")
    world.module("asking", ASKING.format(name="z", other="a"))
    world.install("d", ("canon_user", "z", "asking"))
    plugs = world.server_plugs()
    probe.ask = lambda name: plugs.get("canon_user", name)
    plugs.get("canon_user", "z")
    plugs.close()
    assert probe.closed == ["z", "a"]


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_circle_is_refused(world, probe, noting, first):
    """Plugins that need each other fail with the circle told, and the others go on."""
    noting("beside_circle", "c")
    for name, other in (("a", "b"), ("b", "a")):
        world.module(f"circle_{name}", ASKING.format(name=name, other=other))
        world.install(f"d{name}", ("canon_user", name, f"circle_{name}"))
    plugs = world.server_plugs()
    probe.ask = lambda name: plugs.get("canon_user", name)
    with pytest.raises(PluginError, match="a cycle: canon_user circle_") as caught:
        plugs.get("canon_user", first)
    assert caught.value.plugin == first
    assert set(plugs.problems) == {("canon_user", "a"), ("canon_user", "b")}
    assert plugs.get("canon_user", "c").name == "c"


# --- the end -----------------------------------------------------------------------------


def test_plugs_are_closed_once_the_last_made_first(world, probe, noting):
    """In reverse order, each once, however often the owner is closed."""
    noting("first_made", "a", "b")
    noting("last_made", "c")
    plugs = world.server_plugs()
    plugs.get("canon_user", "a")
    plugs.get("canon_user", "c")
    assert plugs.close() == []
    assert plugs.close() == []
    assert probe.closed == ["c", "b", "a"]


def test_a_close_that_fails_stops_no_other(world, probe, noting):
    """Every plug is closed; what went wrong is returned, named, without a foreign text."""
    noting("explosive", "a", "b", "c")
    probe.explosive = {"c": ValueError("hunter2"), "b": SystemExit("hunter2")}
    plugs = world.server_plugs()
    plugs.get("canon_user", "a")
    failures = plugs.close()
    assert probe.closed == ["c", "b", "a"]
    assert [failure.plugin for failure in failures] == ["c", "b"]
    assert "calling its close(): it raised ValueError" in failures[0].reason
    assert "calling its close(): it tried to end the program" in failures[1].reason
    assert not any("hunter2" in str(failure) for failure in failures)


def test_an_interrupted_close_closes_the_rest(world, probe, noting):
    """KeyboardInterrupt comes through, after the other plugs were closed."""
    noting("stopped", "a", "b")
    probe.explosive = {"b": KeyboardInterrupt()}
    plugs = world.server_plugs()
    plugs.get("canon_user", "a")
    with pytest.raises(KeyboardInterrupt):
        plugs.close()
    assert probe.closed == ["b", "a"]
    assert plugs.close() == []


def test_a_closed_owner_makes_nothing(world, probe, noting):
    """Asking afterwards is the caller's mistake, for plugs made before too."""
    noting("too_late", "a")
    plugs = world.server_plugs()
    plugs.get("canon_user", "a")
    plugs.close()
    with pytest.raises(UsageError, match="is closed") as caught:
        plugs.get("canon_user", "a")
    assert caught.value.code == "closed"
    assert probe.inited == ["too_late"]


def test_sixteen_threads_close_once(world, probe, noting):
    """Owners closed from several threads at once close each plug once."""
    noting("raced_close", *"abcdefgh")
    plugs = world.server_plugs()
    plugs.get("canon_user", "a")
    start = threading.Barrier(16)

    def close(_):
        start.wait()
        return plugs.close()

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(close, range(16))) == [[]] * 16
    assert probe.closed == list("hgfedcba")
