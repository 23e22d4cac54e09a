"""The class decorator of every plain-data class in the core.

Type checkers see a frozen attrs class. At run time the class is slotted, compared by
value and hashable, but `__setattr__` is left alone: freezing costs 1.8 us per SCRAM
login, and the type checkers already refuse the assignment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as record
else:
    from sasl_core._slotted import record

__all__ = ["record"]
