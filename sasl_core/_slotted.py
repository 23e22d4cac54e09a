"""attrs classes that attrs completes when they are first used.

To make a class, attrs takes half a millisecond, nearly all of it to compile methods; a process
that logs in once needs every third of ours. So a class is made here with its slots alone, and
what attrs writes into it is written at the first call of it. Invariants:

- Whoever asks is answered by attrs: comparing, hashing and printing, `attrs.fields`, `match` and
  `inspect.signature` complete the class first. Making an object writes the constructor alone.
- Completing a class twice, as two threads may, leaves it as completing it once does. No lock is
  held meanwhile, for a fork might leave it locked.
- What is out of the ordinary is made by attrs at once.
"""

from __future__ import annotations

from functools import cached_property, partial
from types import FunctionType, MemberDescriptorType
from typing import TYPE_CHECKING, TypeVar, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["record"]

T = TypeVar("T")

# Python copies and pickles slots by itself; methods of attrs for that would have to be there
# before the first call.
_define = partial(attrs.define, unsafe_hash=True, getstate_setstate=False)

_CONSTRUCTION = ("__init__", "__setattr__", "__attrs_own_setattr__")
_METHODS = ("__repr__", "__eq__", "__hash__")
_FACTS = ("__attrs_attrs__", "__attrs_props__", "__match_args__")
_WRITTEN = (*_CONSTRUCTION, *_METHODS, *_FACTS, "__ne__", "__replace__")
"""What attrs may write into a class."""

_CLASS_VARIABLES = ("ClassVar", "typing.ClassVar", "t.ClassVar", "typing_extensions.ClassVar")
_Field = type(cast("object", attrs.field()))


def record(cls: type[T]) -> type[T]:
    """`attrs.define` with a hash of its values; completed at the first use where it can be."""
    return _made(cls) if _is_plain(cls) else _define(cls)


def _is_plain(cls: type) -> bool:
    """Whether `cls` has nothing that only attrs knows how to carry over to another class."""
    body, fields = vars(cls), cls.__annotations__
    return (
        type(cls) is type
        and cast("object", cls.__setattr__) is object.__setattr__
        and not issubclass(cls, BaseException)
        and "__slots__" not in body
        and all(isinstance(kind, str) for kind in fields.values())
        and not any(name in body for name in _WRITTEN)
        and all(name in fields or _is_carried(value) for name, value in body.items())
    )


def _is_carried(value: object) -> bool:
    """Whether a value of a class may stand in another one as it is."""
    # `super()` without arguments keeps its class in a closure.
    inner = getattr(value, "__func__", getattr(value, "fget", value))
    bound = isinstance(inner, FunctionType) and inner.__closure__ is not None
    return not bound and not isinstance(value, (_Field, cached_property))


class _Unwritten:
    """What attrs has not said of a class yet."""

    __slots__ = ("complete", "name")

    def __init__(self, complete: Callable[[], type], name: str) -> None:
        self.complete = complete
        self.name = name

    def __get__(self, _instance: object, _owner: type) -> object:
        value: object = vars(self.complete())[self.name]
        if value is self:  # attrs leaves a signature to be found in `__init__`
            raise AttributeError(self.name)
        return value


def _made(cls: type[T]) -> type[T]:
    """`cls` with slots, and stubs for the rest."""
    whole = {
        name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")
    }
    whole["__qualname__"] = cls.__qualname__
    bases = cls.__mro__[1:]
    fields = [
        name
        for name, kind in cls.__annotations__.items()
        if not kind.strip("'\"").startswith(_CLASS_VARIABLES)
    ]
    slots = [
        name
        for name in fields
        if not any(isinstance(vars(base).get(name), MemberDescriptorType) for base in bases)
    ]
    if not any("__weakref__" in vars(base) for base in bases):
        slots.append("__weakref__")

    def complete(names: Iterable[str] = _WRITTEN, **but: Any) -> type:
        # Not of `cls`, from which attrs takes the defaults away: another thread may be here too.
        twin = _define(type(cls.__name__, cls.__bases__, dict(whole)), slots=False, **but)
        written = vars(twin)
        for name in names:
            if name in written:
                setattr(made, name, written[name])
        return made

    def __init__(self: object, *values: object, **named: object) -> None:  # noqa: N807
        # Most objects are made and read, and neither compared nor shown.
        _ = complete(_CONSTRUCTION, repr=False, eq=False, unsafe_hash=None, match_args=False)
        vars(made)["__init__"](self, *values, **named)

    def stub(name: str) -> Callable[..., object]:
        def method(self: object, *values: object, **named: object) -> object:
            written = cast("Callable[..., object]", vars(complete())[name])
            return written(self, *values, **named)

        return method

    body = {name: value for name, value in whole.items() if name not in fields}
    body |= {name: stub(name) for name in _METHODS}
    body["__init__"] = __init__
    for name in (*_FACTS, "__signature__"):
        body[name] = _Unwritten(complete, name)
    body["__slots__"] = tuple(slots)
    made = cast("type[T]", type(cls.__name__, cls.__bases__, body))
    return made
