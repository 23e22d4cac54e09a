"""OAUTHBEARER, XOAUTH2, and their parsers pass the conformance kit."""

from __future__ import annotations

from typing import ClassVar

import attrs

from hasty_cache import hasten
from oauth_kit import FAR, configured
from sasl_auxprop.memory import MemoryStore
from sasl_core.plugin import AuxpropPlug, TokenRequest
from sasl_core.testing import (
    ClientSetup,
    Credentials,
    MechanismConformance,
    MessageConformance,
    Stage,
)
from sasl_credentials import CallbackTokens
from sasl_mechanisms import xoauth2
from sasl_mechanisms.oauthbearer import messages as oauthbearer
from sasl_tokens.bearer import BearerLogin, BearerRequest, set_validator
from sasl_tokens.bearer_messages import (
    format_credentials,
    format_error,
    format_pairs,
    parse_credentials,
    parse_error,
    parse_pairs,
)
from sasl_tokens.terms import UNNAMED

GOOD = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg=="
WRONG = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCh=="


def validator(token: str, request: BearerRequest) -> BearerLogin | None:
    """The one token that there is."""
    del request
    return BearerLogin("alice", "application", FAR) if token == GOOD else None


def give(request: TokenRequest) -> str:
    """The same, of a client's source."""
    del request
    return GOOD


class Bearers(MechanismConformance):
    """A server whose application knows one token."""

    credentials = Credentials("alice", token=GOOD)
    wrong_credentials: ClassVar[Credentials | None] = Credentials("alice", token=WRONG)
    expected_authid = "alice"
    expected_client_authid = UNNAMED
    expected_client_authzid = "alice"
    indistinguishable = {"an unknown user": Credentials("aline", token=WRONG)}
    proxy = Credentials("alice", token=GOOD, authzid="barry")
    config = configured()
    packages = ("sasl_mechanisms", "sasl_tokens")

    def prepare(self, stage: Stage) -> None:
        set_validator(stage.server.utils, validator)

    def stores(self) -> tuple[AuxpropPlug, ...]:
        store = MemoryStore()
        for name in ("alice", "barry"):
            store.add_user(name, properties={"mailHost": [b"mx1"]})
        return (store,)


class TestOauthbearer(Bearers):
    """OAUTHBEARER."""

    mechanism = "OAUTHBEARER"
    error_challenges = (b'{"status":"invalid_token"}', b'{"status":"insufficient_scope"}')
    still_valid = dict.fromkeys(
        ("BIT_FLIP", "RANDOM_BYTE", "QUOTE_BYTE", "CASE_FLIP"),
        "nobody vouches for host, for the scheme's case, nor for keys that are not known",
    )


class TestOauthbearerUnnamed(TestOauthbearer):
    """OAUTHBEARER of a client that leaves it to its token who it is."""

    credentials = Credentials(token=GOOD)
    wrong_credentials = Credentials(token=WRONG)
    indistinguishable = {}
    proxy = Credentials(token=GOOD, authzid="barry")
    expected_client_authzid = ""
    still_valid = dict.fromkeys(
        ("BIT_FLIP", "QUOTE_BYTE", "CASE_FLIP"),
        "nobody vouches for host, for the scheme's case, nor for keys that are not known",
    )
    bit_flips = 256


class TestXoauth2(Bearers):
    """XOAUTH2."""

    mechanism = "XOAUTH2"
    error_challenges = (b'{"status":"400","schemes":"Bearer"}',)
    still_valid = dict.fromkeys(
        ("BIT_FLIP", "CASE_FLIP", "REORDER_ATTR"),
        "the scheme is Bearer in any case (RFC 6750), and pairs have no order",
    )


class TestXoauth2FromSource(TestXoauth2):
    """XOAUTH2 of a client whose source of tokens is asked, and whose tokens are kept."""

    credentials = Credentials("alice")
    wrong_credentials = None
    indistinguishable = {}
    proxy = Credentials("alice", authzid="barry")
    other_secrets = (GOOD,)
    bit_flips = 256

    def client_setup(self) -> ClientSetup:
        return attrs.evolve(super().client_setup(), credentials=CallbackTokens(give))

    def prepare(self, stage: Stage) -> None:
        super().prepare(stage)
        hasten(stage.client)


# --- the parsers --------------------------------------------------------------------------


class TestOauthbearerMessage(MessageConformance):
    """The client's message of OAUTHBEARER (RFC 7628 section 3.1)."""

    accepted = (
        b"n,,\x01auth=Bearer abc\x01\x01",
        b"y,a=us=2Cer=3D,\x01host=h\x01port=143\x01auth=bearer a.b-c_d~e+f/g==\x01\x01",
        b"n,a=user@example.com,\x01auth=\x01unknown= \t\r\n\x01\x01",
    )
    refused = (
        b"",
        b"\x01",
        b"n,,\x01\x01",
        b"p=tls-exporter,,\x01auth=Bearer a\x01\x01",
        b"F,n,,\x01auth=Bearer a\x01\x01",
        b"n,,\x01auth=Bearer a\x01",
        b"n,,\x01auth=Bearer a\x01auth=Bearer a\x01\x01",
    )

    def respell(self, message: bytes) -> bytes:
        read = oauthbearer.parse_client_message(message)
        _ = parse_credentials(read.auth)
        return oauthbearer.format_client_message(read)


class TestXoauth2Message(MessageConformance):
    """The client's message of XOAUTH2."""

    accepted = (
        b"user=someuser@example.com\x01auth=Bearer abc\x01\x01",
        "user=j\u00fcrgen\x01auth=\x01\x01".encode(),
        b"x=y\x01auth=BEARER a=\x01user=a b\x01\x01",
    )
    refused = (
        b"",
        b"user=a\x01auth=Bearer a\x01",
        b"user=\x01auth=Bearer a\x01\x01",
        b"auth=Bearer a\x01\x01",
        b"user=\xff\x01auth=Bearer a\x01\x01",
    )

    def respell(self, message: bytes) -> bytes:
        read = xoauth2.parse_client_message(message)
        _ = parse_credentials(read.auth)
        return xoauth2.format_client_message(read)


class TestPairs(MessageConformance):
    """Pairs, with the values of RFC 7628 and with those in any script."""

    accepted = (b"", b"a=\x01", b"key=value=frop\x01b= \t\r\n\x01")
    refused = (
        b"a",
        b"=a\x01",
        b"a=b",
        b"a1=b\x01",
        b"a=\x02\x01",
        b"a=\x7f\x01",
        b"a=b\x01a=c\x01",
    )

    def respell(self, message: bytes) -> bytes:
        again = format_pairs(parse_pairs(message, ascii_only=False), ascii_only=False)
        assert format_pairs(parse_pairs(message)) == again
        return again


class TestCredentials(MessageConformance):
    """The value of `auth` (RFC 6750 section 2.1), in the spelling that we write."""

    accepted = (b"", b"Bearer abc", b"Bearer a.b-c_d~e+f/g==")
    refused = (b"Bearer", b"Bearer ", b"Basic abc", b"Bearer a b", b"Bearer =", b"Bearer  a")

    def respell(self, message: bytes) -> bytes:
        token = parse_credentials(message.decode("latin-1"))
        scheme = message[: len(message) - len(token)]
        return scheme + format_credentials(token).encode().removeprefix(b"Bearer ")


class TestError(MessageConformance):
    """A server's error: what it says is read again as what it was written from."""

    accepted = (
        b'{"status":"invalid_token"}',
        b'{"status":"400","schemes":"Bearer","scope":"mail"}',
        b'{"status":"a","scope":"b","openid-configuration":"https://example.com/"}',
    )
    refused = (b"", b"{}", b"[]", b'{"status":1}', b'{"status":"a","status":"b"}', b'{"status":""}')

    def respell(self, message: bytes) -> bytes:
        error = parse_error(message)
        assert parse_error(format_error(error)) == error
        # JSON has many spellings; ours is one of them.
        return message
