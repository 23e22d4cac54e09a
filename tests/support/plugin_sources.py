"""Source of plugin modules, in pieces, for tests that write plugins."""

from __future__ import annotations

__all__ = ["DOOR", "MECHANISM", "SERVER", "SERVER_INIT", "STORE", "init", "server_init"]

# The module of a plugin that keeps the contract: both sides of mechanism {name}.
MECHANISM = """
from sasl_core.plugin import *

SASL_PLUGIN_API = 1

class Server(ServerPlug):
    name = "{name}"
    def converse(self, ctx):
        raise PeerError()
        yield

class Client(ClientPlug):
    name = "{name}"
    def converse(self, ctx):
        raise PeerError()
        yield

@hookimpl
def sasl_server_plug_init(utils):
    return [Server()]

@hookimpl
def sasl_client_plug_init(utils):
    return [Client()]
"""

DOOR = "from sasl_core.plugin import *\nSASL_PLUGIN_API = 1\n"

SERVER = """
class Server(ServerPlug):
    name = "BAD"
    def converse(self, ctx):
        raise PeerError()
        yield
"""

STORE = """
class Store(AuxpropPlug):
    name = "bad"
    def lookup(self, user, names): return iter(())
    def update(self, user, change): return iter(())
    def users(self): return iter(())
    def decoy_secret(self): return iter(())
"""

SERVER_INIT = """
@hookimpl
def sasl_server_plug_init(utils):
    return [Server()]
"""


def init(hook: str, *returned: str) -> str:
    """The source of `hook`, which returns the last of `returned`."""
    body = "; ".join((*returned[:-1], f"return {returned[-1]}"))
    return f"\n@hookimpl\ndef {hook}(utils):\n    {body}\n"


def server_init(*returned: str) -> str:
    """The source of a module's server hook."""
    return init("sasl_server_plug_init", *returned)
