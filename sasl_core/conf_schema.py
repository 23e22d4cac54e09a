"""A plugin's options, checked against the attrs class in which the plugin declares them.

Each field of the class that `__init__` takes is a key; its annotation is the type, its
default the default, and its validators run. The types there are: `str`, `int`, `float`,
`bool`, `pathlib.Path`, any `Enum` or `Flag`, `tuple[T, ...]` of these, and each of them
`| None`. A value never gets into a message, for any option of a plugin may be a secret.
"""

from __future__ import annotations

import types
import typing
from enum import Enum, Flag
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs

from sasl_core.conf_values import (
    Setting,
    Unfit,
    boolean,
    choice,
    number,
    suggestion,
    text,
    whole_number,
    words,
    wrong,
)
from sasl_core.errors import ConfigError, PluginError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sasl_core.conf_values import Converter

__all__ = ["read_options"]

T = TypeVar("T")


def read_options(
    schema: type[T], given: Mapping[str, Setting], table: str, plugin: str, file: str | None
) -> T:
    """An instance of `schema` made of what was `given` for its keys.

    `table` names the options in messages about no single key, `file` where they came from.

    Raises:
        ConfigError: an unknown key, a missing one, a value of the wrong type or one that
            a validator refuses.
        PluginError: `schema` is no attrs class, or has a field of a type that cannot be
            read from a configuration.
    """
    fields = _fields(schema, plugin)
    for key, setting in given.items():
        if key not in fields:
            raise setting.error(f"unknown option {printable(key, 64)!r}{suggestion(key, fields)}")
    values: dict[str, object] = {}
    for key, field in fields.items():
        convert = _converter(field.type, plugin, key)
        if key in given:
            values[key] = given[key].read(partial(_from_setting, convert, given[key]))
        elif field.default is attrs.NOTHING:
            raise wrong("the option is missing", file=file, key=f"{table}.{key}")
    where = partial(wrong, file=file, key=table)
    return _made(schema, fields, values, given, where)


def _fields(schema: type[object], plugin: str) -> dict[str, attrs.Attribute[Any]]:
    """The keys of `schema`, each with its attribute, types resolved."""
    if not isinstance(cast("object", schema), type) or not attrs.has(schema):
        raise PluginError(plugin, "", "the schema of its options is no attrs class")
    try:
        resolved = attrs.resolve_types(schema)
    except Exception as error:  # noqa: BLE001 - annotations are a stranger's code.
        reason = f"the types of its options cannot be resolved: {printable(error)}"
    else:
        return {field.alias or field.name: field for field in attrs.fields(resolved) if field.init}
    raise PluginError(plugin, "", reason)


# --- from annotations to converters ---------------------------------------------------


def _converter(annotation: object, plugin: str, key: str) -> Converter[object]:
    """The converter for values of the type `annotation`."""
    found = _scalar(_without_none(annotation))
    if found is None:
        raise PluginError(plugin, "", f"option {key!r} has a type that no configuration can give")
    return found


def _without_none(annotation: object) -> object:
    """The `X` of `X | None`; a key that is left out is how None is said."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(annotation) if part is not types.NoneType]
        if len(rest) == 1:
            return rest[0]
    return annotation


_SIMPLE: Final[dict[object, Converter[object]]] = {
    str: text,
    int: whole_number(),
    float: number,
    bool: boolean,
}


def _scalar(annotation: object) -> Converter[object] | None:
    simple = _SIMPLE.get(annotation) if isinstance(annotation, type) else None
    if simple is not None:
        return simple
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple and len(arguments) == 2 and arguments[1] is ...:
        item = _scalar(arguments[0])
        return None if item is None else partial(_tuple, item)
    if not isinstance(annotation, type):
        return None
    if issubclass(annotation, Flag):
        return partial(_flags, annotation)
    if issubclass(annotation, Enum):
        return partial(_member, annotation)
    from pathlib import Path

    return _path if annotation is Path else None


def _tuple(item: Converter[object], value: object) -> tuple[object, ...]:
    return tuple(item(each) for each in words(value))


def _member(enum: type[Enum], value: object) -> object:
    """A member of `enum`, or its text value or else its name in lower case."""
    if isinstance(value, enum):
        return value
    names = {m.value if isinstance(m.value, str) else m.name.lower(): m for m in enum}
    return choice({name.lower(): member for name, member in names.items()})(value)


def _flags(enum: type[Flag], value: object) -> object:
    """The flags of a list of their names."""
    if isinstance(value, enum):
        return value
    named = choice({str(flag.name).lower(): flag for flag in enum})
    flags = enum(0)
    for word in words(value):
        flags |= named(word)
    return flags


def _path(value: object) -> object:
    """A path; the caller makes it absolute, for only a file's own directory can."""
    from os import PathLike
    from pathlib import Path

    if isinstance(value, PathLike):
        value = cast("PathLike[str]", value).__fspath__()
    if not isinstance(value, str) or not value or "\0" in value:
        raise Unfit("expected a path")
    return Path(text(value))


def _from_setting(convert: Converter[object], setting: Setting, value: object) -> object:
    """Convert; a relative path counts from the directory of the file that names it."""
    from pathlib import Path

    converted = convert(value)
    if setting.file is None:
        return converted
    if isinstance(converted, Path):
        return Path(setting.file).parent / converted
    if isinstance(converted, tuple):
        items = cast("tuple[object, ...]", converted)
        return tuple(
            Path(setting.file).parent / item if isinstance(item, Path) else item for item in items
        )
    return converted


# --- the class's own checks -----------------------------------------------------------


def _made(
    schema: type[T],
    fields: Mapping[str, attrs.Attribute[Any]],
    values: Mapping[str, object],
    given: Mapping[str, Setting],
    where: Callable[[str], ConfigError],
) -> T:
    """Construct; when a validator refuses, find the key that it refuses."""
    make = cast("Callable[..., T]", schema)
    try:
        return make(**values)
    except Exception as error:  # noqa: BLE001 - validators are a stranger's code.
        problem = _problem(error)
    culprit = _culprit(make, fields, values)
    if culprit is None:
        raise where(problem)
    validator = fields[culprit].validator
    raise given[culprit].error(problem if validator is None else f"{problem}: {_named(validator)}")


def _problem(error: Exception) -> str:
    """What a validator found. Only a ConfigError is quoted: other texts often hold the value."""
    if isinstance(error, ConfigError):
        return error.problem
    return f"the value does not pass the plugin's check ({type(error).__name__})"


def _named(validator: object) -> str:
    """How attrs shows its own validators, with their bounds; the name of a function."""
    return printable(getattr(validator, "__name__", validator))


def _culprit(
    make: Callable[..., object],
    fields: Mapping[str, attrs.Attribute[Any]],
    values: Mapping[str, object],
) -> str | None:
    """The one key that is refused even when no other optional key is given."""
    required = {k: v for k, v in values.items() if fields[k].default is attrs.NOTHING}
    if not _accepts(make, required):
        return next(iter(required)) if len(required) == 1 else None
    for key, value in values.items():
        if key not in required and not _accepts(make, required | {key: value}):
            return key
    return None


def _accepts(make: Callable[..., object], values: Mapping[str, object]) -> bool:
    try:
        _ = make(**values)
    except Exception:  # noqa: BLE001 - validators are a stranger's code.
        return False
    return True
