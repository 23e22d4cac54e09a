"""Importing a plugin module, and reading which interface it was written for."""

from __future__ import annotations

import sys
import traceback
from types import SimpleNamespace

import pytest

from plugin_sources import DOOR, SERVER, STORE, init, server_init
from sasl_core.errors import PluginError, UsageError
from sasl_core.flags import Side
from sasl_core.registry import PLUGIN_API


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "it raised ZeroDivisionError (bad_plugin.py line 1)"),
        ("x =\n", "it raised SyntaxError (bad_plugin.py line 1)"),
        ("raise SyntaxError('hunter2')", "it raised SyntaxError"),
        ("raise SystemExit(0)", "it tried to end the program (SystemExit)"),
        ("import sys\nsys.exit('hunter2')", "it tried to end the program (SystemExit)"),
        ("\nraise GeneratorExit", "it raised GeneratorExit (bad_plugin.py line 2)"),
        ("class E(BaseException): pass\nraise E", "it raised E (bad_plugin.py line 2)"),
        ("raise ValueError('hunter2')", "it raised ValueError (bad_plugin.py line 1)"),
        ("raise ImportError('hunter2')", "it raised ImportError (bad_plugin.py line 1)"),
        ("def f(): f()\nf()", "it raised RecursionError (bad_plugin.py line 1)"),
        (
            "import no_such_lib.part",
            "it needs the module 'no_such_lib', which is not installed: install 'no_such_lib'",
        ),
        (
            "from sasl_core.plugin import no_such_thing",
            (
                "it cannot import what it needs from 'sasl_core.plugin': upgrade or reinstall "
                "that package"
            ),
        ),
        (
            "from sasl_core.plugin import *\nraise BackendError('no database')",
            "no database",
        ),
    ],
)
def test_a_module_that_cannot_be_imported(refused, source, reason):
    """The reason names the type and the line, or what to install; never a foreign text."""
    error = refused(source)
    assert error.code == "plugin-import"
    assert error.reason == f"importing its module 'bad_plugin': {reason}"
    assert "hunter2" not in "".join(traceback.format_exception(error))


def test_a_module_that_does_not_exist(refused):
    """The entry point names a module that nobody installed: reinstall the distribution."""
    error = refused("", value="gone")
    assert error.reason == (
        "importing its module 'gone': the module 'gone' does not exist: reinstall 'sasl-bad'"
    )


def test_a_part_of_the_plugin_that_does_not_exist(refused, world):
    """So it is told when a part of the plugin's own package is missing."""
    world.module("own.__init__", "")
    world.module("own.plug", "import own.other")
    error = refused("", value="own.plug")
    assert error.reason.endswith("the module 'own.other' does not exist: reinstall 'sasl-bad'")


@pytest.mark.parametrize(
    ("value", "requires", "advice"),
    [
        ("bad_plugin", ['No.Such-Lib>=1; extra == "gss"'], "pip install 'sasl-bad[gss]'"),
        ("bad_plugin", ["no-such-lib (>=1) ; extra=='gss'"], "pip install 'sasl-bad[gss]'"),
        ("bad_plugin", ['other>=1; extra == "gss"'], "install 'no_such_lib'"),
        ("bad_plugin", ["no-such-lib>=1"], "install 'no_such_lib'"),
        ("bad_plugin [kerberos]", [], "pip install 'sasl-bad[kerberos]'"),
        ("bad_plugin [a, b]", [], "pip install 'sasl-bad[a,b]'"),
    ],
)
def test_the_extra_that_is_missing_is_named(refused, value, requires, advice):
    """The entry point's extras, or the extra that would have brought the module."""
    error = refused("import no_such_lib", value=value, requires=requires)
    assert error.reason.endswith(f"which is not installed: {advice}")


def test_a_library_missing_at_init_is_named_too(refused):
    """Heavy imports live inside functions; what they miss is told the same way."""
    source = DOOR + SERVER + server_init("import no_such_lib", "[Server()]")
    error = refused(source, requires=['no-such-lib; extra == "gss"'])
    assert error.code == "plugin-import"
    assert error.reason == (
        "calling its hook 'sasl_server_plug_init': it needs the module 'no_such_lib', which is "
        "not installed: pip install 'sasl-bad[gss]'"
    )


@pytest.fixture
def probe(monkeypatch):
    """A module that plugins of these tests share with the test."""
    shared = SimpleNamespace(count=0, interrupt=True)
    monkeypatch.setitem(sys.modules, "probe", shared)
    return shared


def test_a_failed_module_is_not_tried_again(world, probe):
    """What failed is remembered, for all names of the module; each raise is a new error."""
    world.module("fails_once", "import probe\nprobe.count += 1\n1 / 0")
    world.install("d", ("mechanisms", "A", "fails_once"), ("mechanisms", "B", "fails_once"))
    registry = world.registry()
    errors = []
    for name in ("A", "A", "B"):
        with pytest.raises(PluginError) as caught:
            registry.load("mechanisms", name)
        errors.append(caught.value)
    assert probe.count == 1
    assert [error.plugin for error in errors] == ["A", "A", "B"]
    assert errors[0] is not errors[1]


@pytest.mark.parametrize("where", ["import", "init"])
def test_an_interrupt_passes(world, utils, probe, where):
    """KeyboardInterrupt is the administrator's, and does not condemn the plugin."""
    strike = "import probe\ndef strike():\n    if probe.interrupt:\n"
    strike += "        probe.interrupt = False\n        raise KeyboardInterrupt\n"
    at_import = "strike()" if where == "import" else ""
    source = DOOR + SERVER + strike + at_import + server_init("strike()", "[Server()]")
    world.module("interrupted", source)
    world.install("d", ("mechanisms", "BAD", "interrupted"))
    registry = world.registry()
    with pytest.raises(KeyboardInterrupt):
        registry.init("mechanisms", "BAD", utils, Side.SERVER)
    assert len(registry.init("mechanisms", "BAD", utils, Side.SERVER)) == 1


def test_two_names_for_one_module_are_registered_once(world, utils):
    """A module that answers to two names in sys.modules serves both of its plugins."""
    source = DOOR + "class C(CanonUserPlug):\n    def __init__(self, n): self.name = n\n"
    source += "    def canon_user_server(self, ctx, user, flags): return user\n"
    source += init("sasl_canonuser_init", "[C('one')]") + "import sys\n"
    source += "sys.modules['second_name'] = sys.modules[__name__]\n"
    world.module("first_name", source)
    world.install("d", ("canon_user", "one", "first_name"), ("canon_user", "two", "second_name"))
    registry = world.registry()
    assert registry.init("canon_user", "one", utils)[0].name == "one"
    assert registry.load("canon_user", "two").api == 1


def test_a_module_is_registered_once_for_all_its_names(world, utils):
    """Several names and kinds, extras in one value: still one module, registered once."""
    source = DOOR + STORE.replace('"bad"', '"x"') + init("sasl_auxprop_init", "[Store()]")
    source += "class A(AuditPlug):\n    name = 'x'\n    def record(self, event): pass\n"
    source += init("sasl_audit_init", "[A()]")
    world.module("both_kinds", source)
    world.install("d", ("auxprop", "x", "both_kinds"), ("audit", "x", "both_kinds [extra]"))
    registry = world.registry()
    assert type(registry.init("auxprop", "x", utils)[0]).__name__ == "Store"
    assert type(registry.init("audit", "x", utils)[0]).__name__ == "A"


# --- SASL_PLUGIN_API ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "its module does not say SASL_PLUGIN_API = 1: is it a sasl-core plugin?"),
        (
            "SASL_PLUGIN_API = 2",
            (
                "it is written for plugin interface 2, this sasl-core speaks 1: "
                "upgrade sasl-core or install an older release of the plugin"
            ),
        ),
        ("SASL_PLUGIN_API = 0", "its SASL_PLUGIN_API is no positive integer: report it"),
        ("SASL_PLUGIN_API = '1'", "its SASL_PLUGIN_API is no positive integer: report it"),
        ("SASL_PLUGIN_API = True", "its SASL_PLUGIN_API is no positive integer: report it"),
        ("SASL_PLUGIN_API = 1.0", "its SASL_PLUGIN_API is no positive integer: report it"),
        ("SASL_PLUGIN_API = None", "its SASL_PLUGIN_API is no positive integer: report it"),
        (
            "def __getattr__(name): return 1",
            "its module does not say SASL_PLUGIN_API = 1: is it a sasl-core plugin?",
        ),
    ],
)
def test_the_plugin_interface_is_checked_before_init(refused, line, reason):
    """A missing, strange or newer SASL_PLUGIN_API is refused; no hook is called."""
    source = "from sasl_core.plugin import *\n" + line + SERVER
    error = refused(source + server_init("import sys", "sys.exit()"))
    assert error.code == "plugin-api"
    assert error.reason == reason


def test_a_newer_interface_is_told_before_its_unknown_hooks(refused):
    """A plugin for a newer core fails for its age, not for the hooks that come with it."""
    source = "from sasl_core.plugin import *\nSASL_PLUGIN_API = 2\n" + server_init("[]")
    assert refused(source + init("sasl_quantum_init", "[]")).code == "plugin-api"


def test_the_interface_of_this_core_is_1():
    """Plugins in the wild say 1."""
    assert PLUGIN_API == 1


def test_profiles_and_commands_are_plain_objects(world):
    """An entry point's module or attribute is handed out as it is, without hooks or API."""
    world.module("plain_object", "class Outer:\n    inner = {'a': 1}\n")
    world.install(
        "d", ("profiles", "p", "plain_object:Outer.inner"), ("commands", "c", "plain_object")
    )
    registry = world.registry()
    assert registry.load_object("profiles", "p") == {"a": 1}
    assert registry.load_object("commands", "c") is sys.modules["plain_object"]
    assert registry.load_object("profiles", "p") is registry.load_object("profiles", "p")


@pytest.mark.parametrize(
    ("source", "value", "reason"),
    [
        ("", "bad_object:run", "reading 'bad_object:run': it raised AttributeError"),
        ("", "gone_object", "importing its module 'gone_object': the module 'gone_object' does"),
        ("raise SystemExit", "bad_object", "importing its module 'bad_object': it tried to end"),
        (
            "import no_such_typer",
            "bad_object",
            (
                "it needs the module 'no_such_typer', which is not installed: "
                "pip install 'sasl-bad[cli]'"
            ),
        ),
    ],
)
def test_a_command_that_cannot_be_loaded(world, source, value, reason):
    """It is told like any plugin, each time anew; the others go on."""
    world.module("bad_object", source)
    world.module("good_object", "run = print")
    requires = ["no-such-typer>=0.15; extra == 'cli'"]
    world.install("sasl-bad", ("commands", "bad", value), requires=requires)
    world.install("d", ("commands", "good", "good_object:run"))
    registry = world.registry()
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            registry.load_object("commands", "bad")
        assert reason in str(caught.value)
        assert caught.value.distribution == "sasl-bad"
    assert registry.load_object("commands", "good") is print


def test_the_two_kinds_of_kinds_are_not_mixed(world):
    """load() is for hooks, load_object() for the others; a mix is the caller's mistake."""
    registry = world.registry()
    with pytest.raises(UsageError, match="commands have no hooks: use load_object"):
        registry.load("commands", "x")
    with pytest.raises(UsageError, match="auxprop are made by hooks: use load"):
        registry.load_object("auxprop", "x")
