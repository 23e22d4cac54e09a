"""Result codes, with Cyrus SASL's names and numbers.

The numbers are what an administrator who knows Cyrus finds in a log. `Result` is an
`IntEnum`, never a truth value: `Result.OK` is 0.

Source: Cyrus SASL 2.1.28, result codes of its application interface.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Result"]


class Result(IntEnum):
    """What became of a call, an exchange or a look-up."""

    CONTINUE = 1
    INTERACT = 2
    OK = 0
    FAIL = -1
    NOMEM = -2
    BUFOVER = -3
    NOMECH = -4
    BADPROT = -5
    NOTDONE = -6
    BADPARAM = -7
    TRYAGAIN = -8
    BADMAC = -9
    BADSERV = -10
    WRONGMECH = -11
    NOTINIT = -12
    BADAUTH = -13
    NOAUTHZ = -14
    TOOWEAK = -15
    ENCRYPT = -16
    TRANS = -17
    EXPIRED = -18
    DISABLED = -19
    NOUSER = -20
    PWLOCK = -21
    NOCHANGE = -22
    BADVERS = -23
    UNAVAIL = -24
    NOVERIFY = -26
    WEAKPASS = -27
    NOUSERPASS = -28
    NEED_OLD_PASSWD = -29
    CONSTRAINT_VIOLAT = -30
    BADBINDING = -32
    CONFIGERR = -100
