"""Whether a plugin module and the plugs that it returned keep the contract.

The type checkers tell a plugin's author the same; this tells it to the administrator who
installed a plugin that was never checked. Each check raises `ContractError` with what is
wrong and what to do; a property of a plug that raises is caught by the caller's `guarded`.

Invariant: a plug that passed has a declared name, is an instance of its kind's class, has
metadata of the documented types and methods that can be called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import CoroutineType, FunctionType, MappingProxyType, ModuleType
from typing import TypeGuard, cast

from sasl_core.credentials import CredentialsPlug
from sasl_core.errors import printable
from sasl_core.flags import Blocking, Feature, SecurityFlag, Side
from sasl_core.names import PLUS, is_mechanism_name
from sasl_core.needs import PromptId
from sasl_core.plugcodes import API, HOOK, RETURN
from sasl_core.plugfaults import ContractError, nearest
from sasl_core.plugs import (
    AuditPlug,
    AuxpropPlug,
    CanonUserPlug,
    ClientPlug,
    MechanismPlug,
    Plug,
    PwcheckPlug,
    ServerPlug,
    SimpleStore,
)

__all__ = [
    "HOOKS",
    "PLUGIN_API",
    "check_api",
    "check_plugs",
    "is_plug",
    "marked_hooks",
    "returned_plugs",
]

PLUGIN_API = 1
"""The newest plugin interface that this core speaks; a module says `SASL_PLUGIN_API`."""

HOOKS: Mapping[tuple[str, Side | None], str] = MappingProxyType(
    {
        ("mechanisms", Side.SERVER): "sasl_server_plug_init",
        ("mechanisms", Side.CLIENT): "sasl_client_plug_init",
        ("canon_user", None): "sasl_canonuser_init",
        ("auxprop", None): "sasl_auxprop_init",
        ("credentials", None): "sasl_credentials_init",
        ("pwcheck", None): "sasl_pwcheck_init",
        ("audit", None): "sasl_audit_init",
    }
)
"""Kind, and side of a mechanism -> the hook that makes the plugs. Public and fixed."""

_CLASSES: Mapping[str, type[Plug]] = MappingProxyType(
    {
        "sasl_server_plug_init": ServerPlug,
        "sasl_client_plug_init": ClientPlug,
        "sasl_canonuser_init": CanonUserPlug,
        "sasl_auxprop_init": AuxpropPlug,
        "sasl_credentials_init": CredentialsPlug,
        "sasl_pwcheck_init": PwcheckPlug,
        "sasl_audit_init": AuditPlug,
    }
)

_METADATA: Mapping[type[Plug], Mapping[str, type]] = MappingProxyType(
    {
        MechanismPlug: {
            "security_flags": SecurityFlag,
            "features": Feature,
            "max_ssf": int,
            "hash_bits": int,
        },
        ServerPlug: {"attests": bool},
        ClientPlug: {"required_prompts": tuple},
        CredentialsPlug: {"human": bool},
        AuxpropPlug: {"override": bool, "writable": bool, "plaintext": bool},
        SimpleStore: {"read_blocking": Blocking, "write_blocking": Blocking},
    }
)
"""Class -> metadata of its plugs and the exact type of each."""

_ALL_SECURITY_FLAGS = sum(SecurityFlag)
_ALL_FEATURES = sum(Feature)


def check_api(module: object) -> int:
    """The plugin interface that `module`, just imported, was written for."""
    cls = type(module)
    if not issubclass(cls, ModuleType):
        raise ContractError(HOOK, "what its entry point names is no module once it is imported")
    if cls.__eq__ is not object.__eq__ or cls.__hash__ is not object.__hash__:
        # pluggy compares modules; one that compares in its own way would spoil the others.
        raise ContractError(HOOK, "its module changes how modules are compared")
    namespace: Mapping[str, object] = vars(module)
    if "SASL_PLUGIN_API" not in namespace:
        raise ContractError(
            API,
            f"its module does not say SASL_PLUGIN_API = {PLUGIN_API}: is it a sasl-core plugin?",
        )
    api = namespace["SASL_PLUGIN_API"]
    if type(api) is not int or api < 1:
        raise ContractError(API, "its SASL_PLUGIN_API is no positive integer: report it")
    if api > PLUGIN_API:
        raise ContractError(
            API,
            f"it is written for plugin interface {api}, this sasl-core speaks {PLUGIN_API}: "
            "upgrade sasl-core or install an older release of the plugin",
        )
    return api


def marked_hooks(
    module: object, options_of: Callable[[object, str], Mapping[str, object] | None]
) -> frozenset[str]:
    """The hooks that `module` marks; `options_of` is how pluggy reads a mark.

    pluggy itself takes a mistyped hook silently and passes an unmarked one by.
    """
    hooks: set[str] = set()
    known = frozenset(HOOKS.values())
    namespace: Mapping[str, object] = vars(module)
    for name in dir(module):
        options = options_of(module, name)
        if options is None:
            if name in known:
                raise ContractError(HOOK, f"its hook {name!r} is not marked: add @hookimpl to it")
            if name.startswith("sasl_") and type(namespace.get(name)) is FunctionType:
                raise ContractError(
                    HOOK,
                    f"it has a function {_hint(name, known)}; "
                    "no other function may begin with 'sasl_'",
                )
            continue
        hook = options.get("specname") or name
        if not isinstance(hook, str) or hook not in known:
            raise ContractError(HOOK, f"it marks {_hint(printable(hook), known)}")
        if options.get("wrapper") or options.get("hookwrapper"):
            raise ContractError(HOOK, f"its hook {hook!r} is marked as a wrapper: mark it plainly")
        if hook in hooks:
            raise ContractError(HOOK, f"it marks the hook {hook!r} on two functions: keep one")
        hooks.add(hook)
    return frozenset(hooks)


def _hint(name: str, known: frozenset[str]) -> str:
    return (
        f"{printable(name, 64)!r}, which is no hook of plugin interface {PLUGIN_API}"
        f"{nearest(name, sorted(known))}"
    )


def returned_plugs(hook: str, returned: object) -> tuple[object, ...]:
    """What `hook` returned, as a tuple; the items are not checked."""
    what = type(returned).__name__
    if returned is None:
        raise ContractError(RETURN, f"its hook {hook!r} returned None: return a list of plugs")
    if isinstance(returned, CoroutineType):
        returned.close()  # Otherwise Python warns that it was never awaited.
        raise ContractError(RETURN, f"its hook {hook!r} is a coroutine: make it a plain function")
    if is_plug(returned):
        raise ContractError(RETURN, f"its hook {hook!r} returned a {what}: return a list of plugs")
    if isinstance(returned, str | bytes) or not isinstance(returned, Sequence):
        raise ContractError(RETURN, f"its hook {hook!r} returned a {what}, not a list of plugs")
    plugs: tuple[object, ...] = tuple(cast("Sequence[object]", returned))
    if not plugs:
        raise ContractError(
            RETURN, f"its hook {hook!r} returned no plug: leave the hook out when there is none"
        )
    return plugs


def is_plug(thing: object, cls: type[Plug] = Plug) -> TypeGuard[Plug]:
    """Whether `thing` derives from `cls`; neither its own code nor ABC.register is asked."""
    return cls in type(thing).__mro__


def check_plugs(hook: str, plugs: Sequence[object], declared: Sequence[str]) -> tuple[Plug, ...]:
    """Check each plug that `hook` returned for a module registered under `declared` names."""
    cls = _CLASSES[hook]
    checked: dict[str, Plug] = {}
    for thing in plugs:
        if isinstance(thing, type) and cls in thing.__mro__:
            raise ContractError(
                RETURN, f"its hook {hook!r} returned the class {thing.__name__!r}: make an instance"
            )
        if not (isinstance(thing, Plug) and is_plug(thing, cls)):
            raise ContractError(
                RETURN,
                f"its hook {hook!r} returned a {type(thing).__name__}, which does not derive from "
                f"{cls.__name__}",
            )
        name = _name_of(thing, hook, declared)
        if name in checked:
            raise ContractError(RETURN, f"its hook {hook!r} returned two plugs named {name!r}")
        _check_metadata(thing, name)
        _check_methods(thing, cls, name)
        checked[name] = thing
    return tuple(checked.values())


def _name_of(plug: Plug, hook: str, declared: Sequence[str]) -> str:
    name: object = plug.name
    if type(name) is not str or not name:
        raise ContractError(RETURN, f"its plug {type(plug).__name__} has no name: give it a str")
    shown = printable(name, 64)
    if isinstance(plug, MechanismPlug):
        if not is_mechanism_name(name):
            raise ContractError(RETURN, f"its plug {shown!r} has a name that is no mechanism's")
        if name.endswith(PLUS):
            raise ContractError(
                RETURN,
                f"its plug {shown!r} is named {PLUS}: return the plain name with "
                "Feature.CHANNEL_BINDING, and it is offered as both",
            )
    if name not in declared:
        raise ContractError(
            RETURN,
            f"its hook {hook!r} returned a plug named {shown!r}, which is no entry point of its "
            f"module{nearest(name, declared)}",
        )
    return name


def _check_metadata(plug: Plug, name: str) -> None:
    for cls, fields in _METADATA.items():
        if isinstance(plug, cls):
            for field, expected in fields.items():
                value: object = getattr(plug, field)
                if type(value) is not expected:
                    raise ContractError(
                        RETURN,
                        f"{field!r} of its plug {name!r} is a {type(value).__name__}, "
                        f"not a {expected.__name__}",
                    )
    if isinstance(plug, MechanismPlug):
        if plug.security_flags & ~_ALL_SECURITY_FLAGS or plug.features & ~_ALL_FEATURES:
            raise ContractError(RETURN, f"its plug {name!r} has flags that nobody defined")
        both = Feature.WANT_CLIENT_FIRST | Feature.SERVER_FIRST
        if plug.features & both == both:
            raise ContractError(
                RETURN, f"its plug {name!r} wants both sides first: keep one of the two features"
            )
        if plug.max_ssf < 0 or plug.hash_bits < 0:
            raise ContractError(RETURN, f"its plug {name!r} has a negative max_ssf or hash_bits")
    if isinstance(plug, ClientPlug) and {type(prompt) for prompt in plug.required_prompts} - {
        PromptId
    }:
        raise ContractError(
            RETURN, f"'required_prompts' of its plug {name!r} holds what is no PromptId"
        )


def _check_methods(plug: Plug, cls: type[Plug], name: str) -> None:
    for method in dir(cls):
        if method.startswith("_") or not callable(getattr(cls, method)):
            continue
        if not callable(getattr(plug, method)):
            raise ContractError(RETURN, f"{method!r} of its plug {name!r} cannot be called")
    if isinstance(plug, CanonUserPlug) and all(
        getattr(getattr(plug, method), "__func__", None) is getattr(CanonUserPlug, method)
        for method in ("canon_user_client", "canon_user_server")
    ):
        raise ContractError(
            RETURN,
            f"its plug {name!r} overrides neither canon_user_client nor canon_user_server: "
            "it must have at least one side",
        )
