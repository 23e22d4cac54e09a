"""The hooks of a plugin module: marked, named and called as pluggy alone would not."""

from __future__ import annotations

import pytest

from plugin_sources import DOOR, SERVER, SERVER_INIT, STORE, init
from sasl_core.errors import PluginError
from sasl_core.flags import Side
from sasl_core.plugs import ClientPlug, ServerPlug
from sasl_core.registry import HOOKS

MARK = "\n@hookimpl\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "",
            (
                "its module 'bad_plugin' has no hook 'sasl_server_plug_init' or "
                "'sasl_client_plug_init' marked with @hookimpl"
            ),
        ),
        (
            STORE + init("sasl_auxprop_init", "[Store()]"),
            (
                "its module 'bad_plugin' has no hook 'sasl_server_plug_init' or "
                "'sasl_client_plug_init' marked with @hookimpl"
            ),
        ),
        (
            "\ndef sasl_server_plug_init(utils): return [Server()]",
            "its hook 'sasl_server_plug_init' is not marked: add @hookimpl to it",
        ),
        (
            "\nsasl_server_plug_init = [Server()]",
            "its hook 'sasl_server_plug_init' is not marked: add @hookimpl to it",
        ),
        (
            "\ndef sasl_client_plug_init(utils): return []" + SERVER_INIT,
            "its hook 'sasl_client_plug_init' is not marked: add @hookimpl to it",
        ),
        (
            MARK + "def sasl_server_plugin_init(utils): return [Server()]",
            (
                "it marks 'sasl_server_plugin_init', which is no hook of plugin interface 1; "
                "did you mean 'sasl_server_plug_init'?"
            ),
        ),
        (
            "\ndef sasl_sever_plug_init(utils): return [Server()]\n" + SERVER_INIT,
            (
                "it has a function 'sasl_sever_plug_init', which is no hook of plugin interface 1; "
                "did you mean 'sasl_server_plug_init'?; no other function may begin with 'sasl_'"
            ),
        ),
        (
            MARK + "def server_plug_init(utils): return [Server()]",
            (
                "it marks 'server_plug_init', which is no hook of plugin interface 1; did you "
                "mean 'sasl_server_plug_init'?"
            ),
        ),
        (
            "\n@hookimpl(specname='sasl_nothing')\ndef sasl_server_plug_init(utils): pass",
            "it marks 'sasl_nothing', which is no hook of plugin interface 1",
        ),
        (
            "\n@hookimpl(wrapper=True)\ndef sasl_server_plug_init(utils): return (yield)",
            "its hook 'sasl_server_plug_init' is marked as a wrapper: mark it plainly",
        ),
        (
            SERVER_INIT + "\n@hookimpl(specname='sasl_server_plug_init')\n"
            "def other(utils): return [Server()]",
            "it marks the hook 'sasl_server_plug_init' on two functions: keep one",
        ),
        (
            MARK + "def sasl_server_plug_init(u): return [Server()]",
            "one of its hooks has a wrong signature: each takes 'utils' alone",
        ),
        (
            MARK + "def sasl_server_plug_init(utils, more): return [Server()]",
            "one of its hooks has a wrong signature: each takes 'utils' alone",
        ),
        (
            SERVER_INIT + "\nimport sys, types\n"
            "class Odd(types.ModuleType):\n    def __eq__(self, other): raise SystemExit\n"
            "sys.modules[__name__].__class__ = Odd",
            "its module changes how modules are compared",
        ),
        (
            "\nimport sys\nsys.modules[__name__] = Server()",
            "what its entry point names is no module once it is imported",
        ),
    ],
)
def test_hooks_that_pluggy_would_pass_by(refused, source, reason):
    """A missing, unmarked, mistyped, doubled or misshapen hook is told with its name."""
    error = refused(DOOR + SERVER + source)
    assert error.code == "plugin-hook"
    assert error.reason == reason


def test_a_hostile_dir_is_contained(refused):
    """A module whose own `__dir__` raises is refused, with the type of what it raised."""
    error = refused(DOOR + "\ndef __dir__(): raise SystemExit('hunter2')")
    assert error.reason == (
        "checking its module 'bad_plugin': it tried to end the program (SystemExit)"
    )


def test_other_sasl_names_than_functions_are_free(world, utils):
    """A class, a constant or a module that begins with sasl_ is no hook and no mistake."""
    source = DOOR + SERVER + SERVER_INIT + "import sasl_core\nsasl_limit = 3\nclass sasl_x: pass\n"
    world.module("free_names", source)
    world.install("d", ("mechanisms", "BAD", "free_names"))
    assert len(world.registry().init("mechanisms", "BAD", utils, Side.SERVER)) == 1


def test_a_hook_under_another_name_is_called(world, utils):
    """A mark's `specname` names the hook in place of the function's name."""
    source = DOOR + SERVER + "\n@hookimpl(specname='sasl_server_plug_init')\n"
    world.module("other_name", source + "def make(utils): return [Server()]")
    world.install("d", ("mechanisms", "BAD", "other_name"))
    assert len(world.registry().init("mechanisms", "BAD", utils, Side.SERVER)) == 1


@pytest.mark.parametrize(("has", "lacks"), [(Side.SERVER, Side.CLIENT), (Side.CLIENT, Side.SERVER)])
def test_a_mechanism_of_one_side_is_no_mistake(world, utils, has, lacks):
    """It loads, works on its side, and says on the other that it has no such side."""
    hook = "sasl_server_plug_init" if has is Side.SERVER else "sasl_client_plug_init"
    source = DOOR + SERVER + SERVER.replace("Server", "Client")
    world.module("one_side", source + init(hook, f"[{has.name.title()}()]"))
    world.install("d", ("mechanisms", "BAD", "one_side"))
    registry = world.registry()
    assert registry.load("mechanisms", "BAD").hooks == {HOOKS["mechanisms", has]}
    assert len(registry.init("mechanisms", "BAD", utils, has)) == 1
    with pytest.raises(PluginError, match=f"has no {lacks.name.lower()} side") as caught:
        registry.init("mechanisms", "BAD", utils, lacks)
    assert caught.value.code == "plugin-no-side"


def test_both_sides_are_told_apart(world, utils):
    """Each side's hook gives that side's plugs."""
    world.mechanism("GOOD", "two_sides")
    registry = world.registry()
    assert isinstance(registry.init("mechanisms", "GOOD", utils, Side.SERVER)[0], ServerPlug)
    assert isinstance(registry.init("mechanisms", "GOOD", utils, Side.CLIENT)[0], ClientPlug)


def test_only_the_modules_own_hook_is_called(world, utils):
    """Of many registered modules, the one that is asked for is called, whichever came last."""
    for name in ("A", "B", "C"):
        world.mechanism(name, f"only_{name.lower()}")
    registry = world.registry()
    for name in ("A", "B", "C", "B", "A"):
        assert [plug.name for plug in registry.init("mechanisms", name, utils, Side.SERVER)] == [
            name
        ]
