"""What a hook does and returns: each way of breaking the contract, with its message."""

from __future__ import annotations

import gc
import sys
import traceback
import warnings

import pytest

from plugin_sources import DOOR, SERVER, STORE, init, server_init
from sasl_core.errors import PluginError, UsageError
from sasl_core.flags import Side


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('hunter2')", "it raised ValueError (bad_plugin.py line 12)"),
        ("raise SystemExit('hunter2')", "it tried to end the program (SystemExit)"),
        ("raise ConfigError('unknown key', key='colour')", "colour: unknown key"),
        ("raise BackendError('no database')", "no database"),
        ("raise UsageError(detail='hunter2')", "wrong use of the library"),
    ],
)
def test_a_hook_that_raises(refused, body, reason):
    """The type and the line, or the message of an error of ours; no text of a stranger's."""
    error = refused(DOOR + SERVER + server_init(body, "[]"))
    # What is wrong with an option stands alone: whoever wrote it knows of no hooks.
    option = "ConfigError" in body
    assert error.reason == ("" if option else "calling its hook 'sasl_server_plug_init': ") + reason
    assert error.code == ("config" if option else "plugin-failed")
    everything = "".join(traceback.format_exception(error)) + repr(error) + (error.detail or "")
    assert "hunter2" not in everything


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("None", "returned None: return a list of plugs"),
        ("Server()", "returned a Server: return a list of plugs"),
        ("7", "returned a int, not a list of plugs"),
        ("'BAD'", "returned a str, not a list of plugs"),
        ("{'BAD': Server()}", "returned a dict, not a list of plugs"),
        ("{Server()}", "returned a set, not a list of plugs"),
        ("(Server() for _ in 'x')", "returned a generator, not a list of plugs"),
        ("[]", "returned no plug: leave the hook out when there is none"),
        ("[None]", "returned a NoneType, which does not derive from ServerPlug"),
        ("[Server]", "returned the class 'Server': make an instance"),
        ("[Client()]", "returned a Client, which does not derive from ServerPlug"),
        ("[Looks()]", "returned a Looks, which does not derive from ServerPlug"),
        ("[Registered()]", "returned a Registered, which does not derive from ServerPlug"),
        ("[Server(), Server()]", "returned two plugs named 'BAD'"),
        (
            "[Named('BUD')]",
            (
                "returned a plug named 'BUD', which is no entry point of its module; did you mean "
                "'BAD'?"
            ),
        ),
        (
            "[Server(), Named('GOOD')]",
            "returned a plug named 'GOOD', which is no entry point of its module",
        ),
    ],
)
def test_a_hook_that_returns_something_else(refused, returned, reason):
    """Anything but a sequence of instances of the kind's class, each declared once."""
    more = """
class Client(ClientPlug):
    name = "BAD"
    def converse(self, ctx): yield
class Looks:
    name = "BAD"
    def converse(self, ctx): yield
@ServerPlug.register
class Registered(Looks): pass
class Named(Server):
    def __init__(self, name): self.name = name
"""
    error = refused(DOOR + SERVER + more + server_init(returned))
    assert error.code == "plugin-return"
    assert error.reason == f"its hook 'sasl_server_plug_init' {reason}"


def test_a_coroutine_for_a_hook(refused):
    """It is told apart, and closed: nothing warns that it was never awaited."""
    source = DOOR + SERVER + "\n@hookimpl\nasync def sasl_server_plug_init(utils): return []"
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        reason = refused(source).reason  # The error itself holds the coroutine in its frames.
        gc.collect()
    assert warned == []
    assert reason == "its hook 'sasl_server_plug_init' is a coroutine: make it a plain function"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ("name = ''", "its plug Bad has no name: give it a str"),
        ("name = None", "its plug Bad has no name: give it a str"),
        ("name = b'BAD'", "its plug Bad has no name: give it a str"),
        ("name = 'bad'", "its plug 'bad' has a name that is no mechanism's"),
        ("name = 'A B'", "its plug 'A B' has a name that is no mechanism's"),
        (
            "name = 'BAD-PLUS'",
            (
                "its plug 'BAD-PLUS' is named -PLUS: return the plain name with "
                "Feature.CHANNEL_BINDING, and it is offered as both"
            ),
        ),
        ("security_flags = 1", "'security_flags' of its plug 'BAD' is a int, not a SecurityFlag"),
        (
            "security_flags = Feature.SERVER_FIRST",
            "'security_flags' of its plug 'BAD' is a Feature, not a SecurityFlag",
        ),
        ("features = None", "'features' of its plug 'BAD' is a NoneType, not a Feature"),
        ("security_flags = SecurityFlag(0x8000)", "its plug 'BAD' has flags that nobody defined"),
        ("features = Feature(0x8000)", "its plug 'BAD' has flags that nobody defined"),
        (
            "features = Feature.WANT_CLIENT_FIRST | Feature.SERVER_FIRST",
            "its plug 'BAD' wants both sides first: keep one of the two features",
        ),
        ("max_ssf = True", "'max_ssf' of its plug 'BAD' is a bool, not a int"),
        ("max_ssf = -1", "its plug 'BAD' has a negative max_ssf or hash_bits"),
        ("hash_bits = '256'", "'hash_bits' of its plug 'BAD' is a str, not a int"),
        ("attests = 1", "'attests' of its plug 'BAD' is a int, not a bool"),
        ("converse = None", "'converse' of its plug 'BAD' cannot be called"),
        ("close = None", "'close' of its plug 'BAD' cannot be called"),
        ("setpass = 'x'", "'setpass' of its plug 'BAD' cannot be called"),
    ],
)
def test_a_server_plug_that_breaks_the_contract(refused, members, reason):
    """Each piece of metadata is checked for its type, and methods for being callable."""
    source = DOOR + SERVER + f"\nclass Bad(Server):\n    {members}\n" + server_init("[Bad()]")
    error = refused(source)
    assert error.code == "plugin-return"
    assert error.reason == reason


@pytest.mark.parametrize("prompts", ["[PromptId.USER]", "(1,)", "('user',)"])
def test_a_client_plug_that_breaks_the_contract(refused, prompts):
    """What it requires is a tuple of PromptId."""
    source = DOOR + SERVER.replace("Server", "Client") + f"    required_prompts = {prompts}\n"
    error = refused(source + init("sasl_client_plug_init", "[Client()]"), side=Side.CLIENT)
    assert error.code == "plugin-return"
    assert "'required_prompts' of its plug 'BAD'" in error.reason


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ("override = 1", "'override' of its plug 'bad' is a int, not a bool"),
        ("writable = None", "'writable' of its plug 'bad' is a NoneType, not a bool"),
        ("lookup = ()", "'lookup' of its plug 'bad' cannot be called"),
    ],
)
def test_a_store_that_breaks_the_contract(refused, members, reason):
    """A store's metadata and methods are checked like a mechanism's."""
    source = DOOR + STORE + f"    {members}\n" + init("sasl_auxprop_init", "[Store()]")
    assert refused(source, "auxprop").reason == reason


def test_a_simple_store_says_how_it_blocks(refused):
    """`read_blocking` is a Blocking, not a word."""
    source = f"""{DOOR}
class Store(SimpleStore):
    name = "bad"
    read_blocking = "never"
    def read(self, user, names): return None
    def write(self, user, change): return None
    def list_users(self): return ()
    def read_decoy_secret(self): return None
"""
    error = refused(source + init("sasl_auxprop_init", "[Store()]"), "auxprop")
    assert error.reason == "'read_blocking' of its plug 'bad' is a str, not a Blocking"


CANON = DOOR + "class Canon(CanonUserPlug):\n    name = 'bad'\n"


def test_a_canonicaliser_of_neither_side(refused):
    """A canonicaliser must override one of its two methods."""
    error = refused(CANON + init("sasl_canonuser_init", "[Canon()]"), "canon_user")
    assert error.reason == (
        "its plug 'bad' overrides neither canon_user_client nor canon_user_server: "
        "it must have at least one side"
    )


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_canonicaliser_of_one_side(world, utils, side):
    """One side is enough."""
    world.module(
        f"canon_{side}",
        CANON
        + f"    def canon_user_{side}(self, ctx, user, flags): return user\n"
        + init("sasl_canonuser_init", "[Canon()]"),
    )
    world.install("d", ("canon_user", "bad", f"canon_{side}"))
    assert len(world.registry().init("canon_user", "bad", utils)) == 1


@pytest.mark.parametrize(
    ("kind", "hook", "cls"),
    [
        ("canon_user", "sasl_canonuser_init", "CanonUserPlug"),
        ("auxprop", "sasl_auxprop_init", "AuxpropPlug"),
        ("credentials", "sasl_credentials_init", "CredentialsPlug"),
        ("pwcheck", "sasl_pwcheck_init", "PwcheckPlug"),
        ("audit", "sasl_audit_init", "AuditPlug"),
    ],
)
def test_each_kind_has_its_class(refused, kind, hook, cls):
    """A plug of another kind's class is refused with the class that is wanted."""
    error = refused(DOOR + SERVER + init(hook, "[Server()]"), kind)
    assert error.reason == f"its hook {hook!r} returned a Server, which does not derive from {cls}"


HOSTILE = """
class Hostile(Server):
    def __bool__(self): raise SystemExit("bool")
    def __len__(self): raise SystemExit("len")
    def __eq__(self, other): raise SystemExit("eq")
    __hash__ = None
    def __getattr__(self, name): raise SystemExit("getattr")
"""


def test_a_plug_is_not_asked_whether_it_is_true(world, utils):
    """A plug with a hostile truth, length, comparison and hash is used like any other."""
    world.module("hostile", DOOR + SERVER + HOSTILE + server_init("[Hostile()]"))
    world.install("d", ("mechanisms", "BAD", "hostile"))
    registry = world.registry()
    assert len(registry.init("mechanisms", "BAD", utils, Side.SERVER)) == 1
    plugs = world.server_plugs(registry)
    assert plugs.get("mechanisms", "BAD") is plugs.get("mechanisms", "BAD")
    assert plugs.close() == []


@pytest.mark.parametrize(
    ("source", "returned"),
    [
        (HOSTILE + "    name = property(lambda self: {}['hunter2'])\n", "[Hostile()]"),
        (HOSTILE + "    features = property(lambda self: int('hunter2'))\n", "[Hostile()]"),
        (HOSTILE + "    __class__ = property(lambda self: int('hunter2'))\n", "Hostile()"),
        ("class L(list):\n    def __iter__(self): raise SystemExit('hunter2')\n", "L()"),
        (
            (
                "from collections.abc import Sequence\nclass S(Sequence):\n"
                "    def __len__(self): raise SystemExit('hunter2')\n"
                "    def __getitem__(self, index): raise SystemExit('hunter2')\n"
            ),
            "S()",
        ),
        ("class O:\n    __class__ = property(lambda self: int('hunter2'))\n", "O()"),
        ("class O:\n    __class__ = property(lambda self: int('hunter2'))\n", "[O()]"),
        ("class O:\n    def __getattribute__(self, name): raise SystemExit('hunter2')\n", "O()"),
    ],
)
def test_hostile_objects_are_contained(refused, source, returned):
    """Whatever an object does when it is looked at becomes a PluginError without its text."""
    error = refused(DOOR + SERVER + source + server_init(returned))
    assert error.code in ("plugin-failed", "plugin-return")
    assert "hunter2" not in "".join(traceback.format_exception(error))


def test_what_was_made_is_closed_when_one_is_refused(world, utils):
    """Each plug of a refused return is closed once, the last first, whatever close() does."""
    source = f"""{DOOR}{SERVER}
closed = []
class Named(Server):
    def __init__(self, name): self.name = name
    def close(self):
        closed.append(self.name)
        raise SystemExit
@hookimpl
def sasl_server_plug_init(utils):
    bad, wrong = Named("BAD"), Named("WRONG")
    return [bad, bad, wrong, None]
"""
    world.module("half_made", source)
    world.install("d", ("mechanisms", "BAD", "half_made"))
    with pytest.raises(PluginError, match="two plugs named 'BAD'"):
        world.registry().init("mechanisms", "BAD", utils, Side.SERVER)
    assert sys.modules["half_made"].closed == ["WRONG", "BAD"]


def test_sides_belong_to_mechanisms(world, utils):
    """A mechanism needs a side, nothing else takes one; both are the caller's mistakes."""
    world.mechanism("GOOD", "sides_of")
    world.module(
        "sides_canon", CANON.replace("bad", "c") + init("sasl_canonuser_init", "[Canon()]")
    )
    world.install("d", ("canon_user", "c", "sides_canon"))
    registry = world.registry()
    with pytest.raises(UsageError, match="mechanisms need a side"):
        registry.init("mechanisms", "GOOD", utils)
    with pytest.raises(UsageError, match="canon_user have no sides"):
        registry.init("canon_user", "c", utils, Side.SERVER)
