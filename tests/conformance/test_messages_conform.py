"""The parsers and preparations that come with sasl-core pass the conformance kit."""

from __future__ import annotations

from sasl_core import BackendError, PeerError, b64decode, b64encode
from sasl_core.gs2 import escape_saslname, format_gs2, parse_gs2, parse_saslname
from sasl_core.saslprep import prepare_trace, saslprep
from sasl_core.testing import MessageConformance, PreparationConformance
from sasl_core.verifier import format_verifier, parse_verifier
from sasl_mechanisms import anonymous, plain
from sasl_mechanisms.scram import messages
from store_kit import make_verifier

# The exchange of RFC 7677 section 3.
NONCE = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=" + NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = b"c=biws,r=" + NONCE + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


class TestBase64(MessageConformance):
    """Base64, which has one spelling."""

    accepted = (b"", b"cQ==", b"cXE=", b"cXFx", b"biws")
    refused = (b"cQ", b"cR==", b"c Q==", b"cQ==\n", b"c-_=")

    def respell(self, message: bytes) -> bytes:
        return b64encode(b64decode(message))


class TestGs2(MessageConformance):
    """GS2 headers (RFC 5801 section 4)."""

    accepted = (b"n,,", b"y,,", b"n,a=alice,", b"p=tls-exporter,,", b"p=x,a=a=2Cb=3D,n=rest")
    refused = (b"", b"n,", b"x,,", b"n,a=,", b"n,b=alice,", b"p=,,", b"n,a=a=2cb,")

    def respell(self, message: bytes) -> bytes:
        header, rest = parse_gs2(message)
        return format_gs2(header) + rest


class TestSaslname(MessageConformance):
    """Names as SCRAM and GS2 write them (RFC 5802 section 5.1)."""

    accepted = (b"alice", b"a=2Cb", b"a=3Db", "jürgen".encode())
    refused = (b"a,b", b"a=b", b"a=2c", b"a\0", b"\xff")

    def respell(self, message: bytes) -> bytes:
        return escape_saslname(parse_saslname(message)).encode()


class TestPlain(MessageConformance):
    """PLAIN's message (RFC 4616 section 2)."""

    accepted = (b"\0tim\0secret", b"fred\0tim\0secret", "\0jürgen\0pässword".encode())
    refused = (b"", b"tim\0secret", b"\0tim\0", b"\0\0secret", b"\0tim\0a\0b", b"\0\xff\0secret")

    def respell(self, message: bytes) -> bytes:
        return plain.format_message(*plain.parse_message(message))


class TestClientFirst(MessageConformance):
    """SCRAM's client-first-message (RFC 5802 section 7)."""

    accepted = (CLIENT_FIRST, b"y,a=fred,n=user,r=abcdefgh", b"n,,n=user,r=abcdefgh,x=more")
    refused = (b"", b"n,,m=x,n=user,r=abcdefgh", b"n,,r=abcdefgh,n=user", b"n,,n=user", b"n=u,r=a")

    def respell(self, message: bytes) -> bytes:
        first = messages.parse_client_first(message)
        return b"".join(
            messages.format_client_first(first.gs2, first.username, first.nonce, first.extensions)
        )


class TestServerFirst(MessageConformance):
    """SCRAM's server-first-message."""

    accepted = (SERVER_FIRST, SERVER_FIRST + b",x=more", b"e=other-error")
    refused = (b"", b"r=abc,s=,i=4096", b"r=abc,s=QUI=,i=04096", b"r=abc,s=QUI=,i=-1", b"s=QUI=")

    def respell(self, message: bytes) -> bytes:
        first = messages.parse_server_first(message)
        if isinstance(first, messages.ServerFinal):
            return first.text
        return messages.format_server_first(
            first.nonce, first.salt, first.iterations, first.extensions
        )


class TestClientFinal(MessageConformance):
    """SCRAM's client-final-message."""

    accepted = (CLIENT_FINAL, CLIENT_FINAL.replace(b",p=", b",x=more,p="))
    refused = (b"", CLIENT_FINAL + b",x=more", b"c=biws,r=abc", CLIENT_FINAL[:-1])

    def respell(self, message: bytes) -> bytes:
        final = messages.parse_client_final(message)
        without = messages.format_without_proof(final.binding, final.nonce, final.extensions)
        return messages.format_client_final(without, final.proof)


class TestServerFinal(MessageConformance):
    """SCRAM's server-final-message: an error is kept as it was written."""

    accepted = (SERVER_FINAL, SERVER_FINAL + b",x=more", b"e=invalid-proof")
    refused = (b"", b"v=", b"v=AAA", b"e=", b"x=more")

    def respell(self, message: bytes) -> bytes:
        final = messages.parse_server_final(message)
        if final.verifier is None:
            return final.text
        return messages.format_server_final(final.verifier, final.extensions)


class TestVerifier(MessageConformance):
    """The verifier as it is stored (RFC 5803, and Cyrus SASL's authPassword)."""

    accepted = (make_verifier("wonderland-first"),)
    refused = (b"", b"SCRAM-SHA-256$4096", b"{SHA}x", b"SCRAM-SHA-256$0:AAAA$AAAA:AAAA")
    refusal = BackendError

    def respell(self, message: bytes) -> bytes:
        return format_verifier(parse_verifier(message))


class TestTrace(MessageConformance):
    """ANONYMOUS's trace, as it stands in the message (RFC 4505 section 2)."""

    accepted = (b"", b"tim@example.com", b"sirhc", "täst".encode())
    refused = (b"x" * 256, b"a\x00b", b"a@b@c")

    def respell(self, message: bytes) -> bytes:
        try:
            trace = message.decode()
        except UnicodeDecodeError:
            raise PeerError("the trace is not UTF-8") from None
        return anonymous.check_trace(trace).encode()


class TestSaslprep(PreparationConformance):
    """SASLprep of what a user types (RFC 4013 section 3)."""

    prepared = {"I\u00adX": "IX", "user": "user", "USER": "USER", "\u00aa": "a", "\u2168": "IX"}
    refused = ("\u0007", "\u0627\u0031", "\ud800")

    def prepare(self, text: str) -> str:
        return saslprep(text)


class TestStoredSaslprep(PreparationConformance):
    """SASLprep of what is stored: code points that Unicode 3.2 does not assign are refused."""

    prepared = {"I\u00adX": "IX", "\u2168": "IX"}
    refused = ("\u0007", "\u0221", "\U0001f600")

    def prepare(self, text: str) -> str:
        return saslprep(text, stored=True)


class TestTracePreparation(PreparationConformance):
    """The preparation of a trace (RFC 4505 section 3): it maps nothing, and refuses much."""

    prepared = {"tim": "tim", "a b": "a b", "\u2168": "\u2168"}
    refused = ("a\0b", "\x7f")

    def prepare(self, text: str) -> str:
        return prepare_trace(text)
