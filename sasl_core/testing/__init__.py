"""The conformance kit: what every mechanism, canonicaliser, store and source has to pass.

Derive a test class from `MechanismConformance`, `CanonicalizerConformance`,
`StoreConformance` or `CredentialsConformance`, or from `MessageConformance` or
`PreparationConformance` for a part of a plug, set the attributes that it names, and let
pytest collect it. The checks are plain methods called `test_...` that raise AssertionError,
also under `python -O`; nothing here imports pytest. What they are made of can be used
alone: wire two sessions together with `ExchangePair`, look for secrets with
`assert_no_secret`.
"""

from __future__ import annotations

from sasl_core.testing.canonicalizers import CanonicalizerConformance
from sasl_core.testing.corruptions import Kind, Scene, corrupt
from sasl_core.testing.credentials import CredentialsConformance
from sasl_core.testing.drivers import (
    DRIVERS,
    AsyncioDriver,
    BlockingDriver,
    Driver,
    RawDriver,
)
from sasl_core.testing.leaks import assert_no_secret, captured_logs, find_secret
from sasl_core.testing.mechanisms import MechanismConformance
from sasl_core.testing.messages import MessageConformance, PreparationConformance
from sasl_core.testing.pairs import (
    FRAMINGS,
    Ending,
    ExchangePair,
    Framing,
    Message,
    Outcome,
    Slot,
    Tamper,
)
from sasl_core.testing.setups import ClientSetup, Credentials, ServerSetup, declare
from sasl_core.testing.spies import Spies, SpyStore
from sasl_core.testing.stage import Stage
from sasl_core.testing.stores import StoreConformance

__all__ = [
    "DRIVERS",
    "FRAMINGS",
    "AsyncioDriver",
    "BlockingDriver",
    "CanonicalizerConformance",
    "ClientSetup",
    "Credentials",
    "CredentialsConformance",
    "Driver",
    "Ending",
    "ExchangePair",
    "Framing",
    "Kind",
    "MechanismConformance",
    "Message",
    "MessageConformance",
    "Outcome",
    "PreparationConformance",
    "RawDriver",
    "Scene",
    "ServerSetup",
    "Slot",
    "Spies",
    "SpyStore",
    "Stage",
    "StoreConformance",
    "Tamper",
    "assert_no_secret",
    "captured_logs",
    "corrupt",
    "declare",
    "find_secret",
]
