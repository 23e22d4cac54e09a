"""Conformance of a property store."""

from __future__ import annotations

from sasl_core.testing.store_names import StoreNameChecks
from sasl_core.testing.store_reads import StoreReadChecks
from sasl_core.testing.store_writes import StoreWriteChecks

__all__ = ["StoreConformance"]


class StoreConformance(StoreReadChecks, StoreWriteChecks, StoreNameChecks):
    """Derive from it, override `make_store`, and let pytest collect the class.

    A store that cannot be written needs no more than `existing` besides: what changes a
    store is not asked of it.
    """
