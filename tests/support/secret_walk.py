"""Finds secrets in whatever is still reachable from some objects.

It follows what the garbage collector follows, and beyond that the locals of every frame of
a traceback and of a generator, attributes, closures and defaults. It stops at modules and
classes, and at the frames of the tests themselves, which know the secrets by right.
"""

from __future__ import annotations

import base64
import gc
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["find", "spellings"]

_STOPS = (
    types.ModuleType, type, types.CodeType, types.BuiltinFunctionType, types.MethodWrapperType,
    types.WrapperDescriptorType, types.MethodDescriptorType, types.GetSetDescriptorType,
    types.MemberDescriptorType, int, float, complex, type(None), type(...), range,
)  # fmt: skip
_OURS = (
    "sasl_core", "sasl_mechanisms", "sasl_pwcheck", "sasl_canon", "sasl_auxprop", "sasl_tokens",
    "sasl_credentials", "sasl_http", "sasl_profiles",
)  # fmt: skip


def spellings(*secrets: str | bytes) -> list[bytes]:
    """Each secret as bytes, in base64 and in hexadecimal."""
    found: list[bytes] = []
    for secret in secrets:
        raw = secret.encode() if isinstance(secret, str) else secret
        assert len(raw) >= 6, "a shorter one would be found by chance"
        found += [raw, base64.b64encode(raw).rstrip(b"="), raw.hex().encode()]
    return found


def find(roots: Iterable[object], secrets: Iterable[bytes], *, limit: int = 200_000) -> list[str]:
    """The places that hold one of `secrets`, each as a path from a root."""
    wanted = tuple(secrets)
    loaded: list[object] = list(sys.modules.values())
    modules = {id(vars(module)) for module in loaded if module is not None}
    seen: set[int] = set(modules)
    # What the walk itself makes must stay alive, or its id would be taken for another's.
    alive: list[object] = []
    pending = [(root, type(root).__name__) for root in roots]
    places: list[str] = []
    while pending:
        item, path = pending.pop()
        if id(item) in seen or isinstance(item, _STOPS) or _of_a_test(item):
            continue
        seen.add(id(item))
        alive.append(item)
        assert len(seen) < limit + len(modules), "the walk ran away"
        text = _text(item)
        if any(secret in text for secret in wanted):
            places.append(path)
        elif type(item).__module__.split(".")[0] in _OURS and _shown(item, wanted):
            places.append(f"repr({path})")
        pending += [(part, f"{path} > {name}") for name, part in _parts(item)]
    return places


def _text(item: object) -> bytes:
    if isinstance(item, str):
        return item.encode("utf-8", "surrogatepass")
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    return b""


def _shown(item: object, wanted: tuple[bytes, ...]) -> bool:
    shown = f"{item!r} {item!s}".encode("utf-8", "surrogatepass")
    return any(secret in shown for secret in wanted)


def _of_a_test(item: object) -> bool:
    code = getattr(item, "f_code", None) or getattr(item, "__code__", None)
    return isinstance(code, types.CodeType) and "/tests/" in code.co_filename.replace("\\", "/")


def _parts(item: Any) -> Iterator[tuple[str, object]]:
    kind = type(item).__name__
    if isinstance(item, types.FunctionType):
        yield from ((f"{item.__qualname__} cell", cell) for cell in item.__closure__ or ())
        yield f"{item.__qualname__} defaults", item.__defaults__
        return
    if isinstance(item, types.FrameType):
        name = f"frame {item.f_code.co_qualname}"
        yield from ((f"{name}.{key}", value) for key, value in dict(item.f_locals).items())
        return
    if isinstance(item, BaseException):
        for key in ("args", "__cause__", "__context__", "__traceback__", "__notes__"):
            yield key, getattr(item, key, None)
    if isinstance(item, dict):
        for key, value in list(item.items()):
            yield "key", key
            yield f"[{key!r:.40}]", value
        return
    for key in ("gi_frame", "cr_frame", "ag_frame", "tb_frame", "tb_next"):
        yield key, getattr(item, key, None)
    for slots in (getattr(cls, "__slots__", ()) for cls in type(item).__mro__):
        for key in (slots,) if isinstance(slots, str) else slots:
            yield f"{kind}.{key}", getattr(item, key, None)
    for part in gc.get_referents(item):
        yield kind, part
