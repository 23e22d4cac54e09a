"""Flags and small enumerations, with Cyrus SASL's names and numbers where it has them.

Source: Cyrus SASL 2.1.28 (`SASL_SEC_*`, `SASL_FEAT_*`, `SASL_CU_*`, `SASL_SET_*`).
"""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag

__all__ = [
    "Availability",
    "BindingPolicy",
    "Blocking",
    "CanonFlag",
    "Decision",
    "DowngradePolicy",
    "Feature",
    "SecurityFlag",
    "SetpassFlag",
    "Side",
]


class Side(IntEnum):
    """Which end of the connection: the one that asks to be let in, or the one that decides."""

    CLIENT = 1
    SERVER = 2


class SecurityFlag(IntFlag):
    """What a mechanism protects from (`SASL_SEC_*`).

    As a mechanism's metadata: the properties it has. As a security requirement: the
    properties a mechanism must have (`PASS_CREDENTIALS` excepted, which a requirement
    also reads as "must pass credentials on").
    """

    NONE = 0
    NOPLAINTEXT = 0x01
    NOACTIVE = 0x02
    NODICTIONARY = 0x04
    FORWARD_SECRECY = 0x08
    NOANONYMOUS = 0x10
    PASS_CREDENTIALS = 0x20
    MUTUAL_AUTH = 0x40


class Feature(IntFlag):
    """What the glue handles for a mechanism (`SASL_FEAT_*`).

    With neither `WANT_CLIENT_FIRST` nor `SERVER_FIRST` the mechanism copes itself with a
    client that may or may not send an initial response, through `NeedInitial`.
    `NEEDS_EXTERNAL_ID` is ours: a server offers the mechanism only where the connection has an
    `external_id`, and a client takes it only there, or where `client_mech_list` names it.
    """

    NONE = 0
    NEEDSERVERFQDN = 0x0001
    WANT_CLIENT_FIRST = 0x0002
    SERVER_FIRST = 0x0010
    ALLOWS_PROXY = 0x0020
    CHANNEL_BINDING = 0x0800
    SUPPORTS_HTTP = 0x1000
    NEEDS_EXTERNAL_ID = 0x10000


class CanonFlag(IntFlag):
    """Which identity is being canonicalised, and what is already known of it (`SASL_CU_*`)."""

    NONE = 0
    AUTHID = 0x01
    AUTHZID = 0x02
    EXTERNALLY_VERIFIED = 0x04


class SetpassFlag(IntFlag):
    """How `Server.setpass` works (`SASL_SET_*`)."""

    NONE = 0
    CREATE = 0x01
    DISABLE = 0x02
    NOPLAIN = 0x04
    CURMECH_ONLY = 0x08


class Blocking(IntEnum):
    """How long a function may keep its caller waiting; tells a runner where to run it.

    `NEVER` and `LOCAL` (a read of a local file) run in place: a hop to a thread costs
    more than an SQLite read. `CPU` goes to the derivation executor. `WRITE` (a local
    file is written and synchronised to disk) and `REMOTE` leave the event loop.
    """

    NEVER = 0
    LOCAL = 1
    CPU = 2
    WRITE = 3
    REMOTE = 4


class Availability(Enum):
    """What a mechanism says of itself for one user on one connection."""

    YES = "yes"
    LATER = "not for this user now"
    NEVER = "never on this connection"


class Decision(Enum):
    """An application's answer to `NeedAuthorize`: never a bool, so that no forgotten call
    or truthy object can permit anything.
    """

    PERMIT = "permit"
    DENY = "deny"


class BindingPolicy(Enum):
    """What a session demands of channel binding (RFC 5802 section 6)."""

    OFF = "off"
    WANT = "want"
    REQUIRE = "require"

    # Each is one object; the hash of an Enum is a call of Python's, and every session has one.
    __hash__ = object.__hash__


class DowngradePolicy(Enum):
    """What is done against a changed offer of mechanisms (XEP-0474).

    A server that does not say OFF signs its offer, a client checks the signature: with WANT
    where there is one, and with REQUIRE it takes no exchange without.
    """

    OFF = "off"
    WANT = "want"
    REQUIRE = "require"
