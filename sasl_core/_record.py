"""The class decorator of every plain-data class in the core.

Type checkers see a frozen attrs class. At run time the class is slotted, compared by
value and hashable, but `__setattr__` is left alone: freezing costs 1.8 us per SCRAM
login, and the type checkers already refuse the assignment.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as record
else:
    import attrs

    record = partial(attrs.define, unsafe_hash=True)

__all__ = ["record"]
