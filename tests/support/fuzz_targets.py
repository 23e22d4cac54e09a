"""Every parser of bytes that somebody else has written, as a function of bytes.

A target takes anything and returns; an exception that it lets out is a finding. It lets no
`SaslError` out, for that is how a parser refuses. Where what was accepted can be written
again, it must come out as it was.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Final, TypeVar
from unicodedata import normalize

from sasl_auxprop.memory import MemoryStore
from sasl_canon.internal import InternalCanonicalizer
from sasl_canon.map import MapCanonicalizer, prepared
from sasl_canon.map.rules import parse_rules
from sasl_canon.precis import PrecisCanonicalizer, Profile
from sasl_cli.addresses import parse_address, parse_url, show_address
from sasl_cli.importing import csv, cyrus, dovecot, jsonl, mongodb, postgres
from sasl_cli.importing.policy import Policy, judged
from sasl_cli.importing.records import Entry, Reader
from sasl_core import (
    AuthenticationError,
    CanonFlag,
    Client,
    ConfigError,
    Configuration,
    PeerError,
    Reply,
    SaslError,
    Server,
    Side,
    UserName,
    b64decode,
    b64encode,
)
from sasl_core.conf_files import parse_toml
from sasl_core.conf_flat import parse_flat
from sasl_core.context import CanonContext
from sasl_core.gs2 import (
    escape_saslname,
    format_gs2,
    parse_gs2,
    parse_saslname,
    unescape_saslname,
)
from sasl_core.plugin import HttpResponse
from sasl_core.plugs import CanonUserPlug
from sasl_core.saslprep import prepare_trace, saslprep, saslprep_nonempty
from sasl_core.verifier import format_verifier, parse_verifier
from sasl_core.verifier_forms import (
    format_braced_verifier,
    format_mongodb_credentials,
    parse_any_verifier,
    parse_mongodb_credentials,
)
from sasl_credentials.answers import parse_token_response
from sasl_credentials.authorization import parse_answer
from sasl_credentials.device_messages import parse_device_response
from sasl_credentials.environment import parse_gcp_response
from sasl_credentials.redirect.request import RequestProblem, parse_head
from sasl_credentials.redirect.uri import parse_redirect_uri
from sasl_http import request as http_request
from sasl_http.response import ResponseReader
from sasl_mechanisms import anonymous, external, plain, xoauth2
from sasl_mechanisms.mongodb_oidc import messages as oidc
from sasl_mechanisms.oauthbearer import messages as oauthbearer
from sasl_mechanisms.scram import messages
from sasl_profiles.clients.talk import Begin, Utterance
from sasl_profiles.mongodb import Login, MongodbConnection
from sasl_profiles.mongodb import events as mongodb_events
from sasl_profiles.mongodb.client_dialogue import Dialogue as MongodbDialogue
from sasl_profiles.mongodb.client_dialogue import State as MongodbState
from sasl_profiles.mongodb.client_messages import parse_answer as parse_mongodb_answer
from sasl_profiles.mongodb.client_wire import ReplyReader as MongodbReplyReader
from sasl_profiles.mongodb.exchange import parse_authenticate, parse_continuation, parse_start
from sasl_profiles.mongodb.names import check_database, parse_roles, parse_user
from sasl_profiles.mongodb.wire import RequestReader, format_msg
from sasl_profiles.smtp.auth import parse_auth, parse_capabilities, parse_response
from sasl_profiles.smtp.connection import SmtpConnection
from sasl_profiles.smtp.envelope import DataReader, parse_mail, parse_rcpt
from sasl_profiles.smtp.events import AuthResponse, AuthStarted, MessageReceived, TlsRequested
from sasl_profiles.smtp.lines import LineReader
from sasl_profiles.smtp.replies import ReplyReader
from sasl_pwcheck.hashes.decoys import parse_label
from sasl_pwcheck.hashes.text import parse_hash
from sasl_tls import parse_subject, server_end_point
from sasl_tls.der import parse_algorithm
from sasl_tokens import (
    JWK,
    IDPManager,
    JWKSet,
    JWSValidator,
    bearer_messages,
    bson,
    introspection,
    strict_json,
)
from sasl_tokens.config import parse_providers
from sasl_tokens.discovery import parse_discovery
from sasl_tokens.gate import open_token
from sasl_tokens.identity import check_id_token
from sasl_tokens.names import AuthName
from sasl_tokens.patterns import TEXT_LIMIT, BadPattern, compile_pattern
from sasl_tokens.sent import check_token
from sasl_tokens.strict import base64url_encode
from sasl_tokens.token import inspect_unverified, peek_issuer_and_audience
from sasl_tokens.told import parse_provider

__all__ = ["TARGETS", "Target", "survives"]

Target = Callable[[bytes], None]
P = TypeVar("P")

INSTALLED: Final[Mapping[str, tuple[str, ...]]] = {
    "mechanisms": ("ANONYMOUS", "PLAIN", "SCRAM-SHA-256"),
    "canon_user": ("INTERNAL", "map", "precis"),
    "auxprop": ("memory", "sasldb"),
}


def survives(target: Target, data: bytes) -> None:
    """Give `data` to a target.

    Raises:
        Exception: anything but a SaslError that the parser raised; AssertionError where
            what was accepted does not come out as it was.
    """
    try:
        target(data)
    except SaslError:
        return


def text_of(data: bytes) -> str:
    """Text with all that a str can hold, halves of surrogate pairs too."""
    return data.decode("utf-8", "surrogateescape")


def base64(data: bytes) -> None:
    assert b64decode(b64encode(data)) == data
    assert b64encode(b64decode(data)) == data
    assert b64encode(b64decode(data.decode("latin-1"))) == data


def gs2(data: bytes) -> None:
    header, rest = parse_gs2(data)
    assert format_gs2(header) + rest == data


def saslname(data: bytes) -> None:
    name = parse_saslname(data)
    assert escape_saslname(name).encode() == data
    assert unescape_saslname(data.decode()) == name


def preparation(data: bytes) -> None:
    """Preparing twice changes nothing, under each of the profiles."""
    text = text_of(data)
    for prepare in (
        saslprep,
        lambda text: saslprep(text, stored=True),
        saslprep_nonempty,
        prepare_trace,
    ):
        try:
            prepared = prepare(text)
        except SaslError:
            continue
        assert prepare(prepared) == prepared


def verifier(data: bytes) -> None:
    assert format_verifier(parse_verifier(data)) == data


def verifier_forms(data: bytes) -> None:
    """Blanks around a `$` apart, what was read is written as it was."""
    write = format_braced_verifier if data.startswith(b"{") else format_verifier
    assert write(parse_any_verifier(data)) == data.translate(None, b" \t")


def importing(read: Reader) -> Target:
    """A reader of users: what it gives is text of which UTF-8 can be made, and shows no secret."""

    def target(data: bytes) -> None:
        policy = Policy(derive=len(data) % 2 == 0, keep_hashes=len(data) % 3 == 0)
        for found in judged(read(io.BytesIO(data)), policy):
            if isinstance(found, Entry):
                _ = found.user.encode()
                secrets = [*found.hashes, *((found.password or "").encode(),)]
                assert not any(len(each) > 20 and str(each) in repr(found) for each in secrets)
                assert found.password or found.verifiers or found.hashes or found.disabled
            else:
                assert found.reason
                assert found.line > 0

    return target


def scram_client_first(data: bytes) -> None:
    first = messages.parse_client_first(data)
    assert first.header + first.bare == data


def scram_server_first(data: bytes) -> None:
    first = messages.parse_server_first(data)
    assert first.text == data
    if isinstance(first, messages.ServerFirst):
        again = messages.format_server_first(
            first.nonce, first.salt, first.iterations, first.extensions
        )
        assert again == data


def scram_client_final(data: bytes) -> None:
    final = messages.parse_client_final(data)
    assert messages.format_client_final(final.without_proof, final.proof) == data


def scram_server_final(data: bytes) -> None:
    final = messages.parse_server_final(data)
    assert final.text == data


def external_message(data: bytes) -> None:
    authzid = external.parse_message(data)
    assert external.format_message(authzid) == normalize("NFC", data.decode()).encode()


def plain_message(data: bytes) -> None:
    authzid, authcid, password = plain.parse_message(data)
    assert plain.format_message(authzid, authcid, password) == data


def _written(write: Callable[[P], bytes], value: P) -> bytes:
    """What was accepted can be written: a refusal is a finding too."""
    try:
        return write(value)
    except SaslError as error:
        raise AssertionError(f"what was read cannot be written: {error}") from error


def bson_document(data: bytes) -> None:
    """Written again, what was read is read as the same, unless some of it was stepped over."""
    shown = repr(document := bson.decode_document(data))
    if "Opaque(" not in shown:
        assert repr(bson.decode_document(_written(bson.encode_document, document))) == shown


def oidc_client_opening(data: bytes) -> None:
    opening = oidc.parse_client_opening(data)
    if isinstance(opening, oidc.ClientStep1):
        again = _written(oidc.format_client_step1, opening.principal_name)
    else:
        again = _written(oidc.format_client_step2, opening.jwt)
    assert oidc.parse_client_opening(again) == opening


def oidc_client_step2(data: bytes) -> None:
    step = oidc.parse_client_step2(data)
    if step is not None:
        assert oidc.parse_client_step2(_written(oidc.format_client_step2, step.jwt)) == step


def oidc_server_step1(data: bytes) -> None:
    step = oidc.parse_server_step1(data)
    assert oidc.parse_server_step1(_written(oidc.format_server_step1, step)) == step
    # PyMongo hands the same over as a document that it has read itself.
    told = parse_provider(bson.decode_document(data))
    assert told == (step.issuer, step.client_id, step.request_scopes)


def json_text(data: bytes) -> None:
    """What was read has one reading: Python's own is the same, and UTF-8 can hold it."""
    value = strict_json(data, "the text")
    assert value == json.loads(data)
    _ = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def token(data: bytes) -> None:
    """A token that passes the gate has one spelling; the looks at it raise nothing foreign."""
    opened = open_token(text_of(data), accept_at_jwt=True)
    end = f".{base64url_encode(opened.payload)}.{base64url_encode(opened.signature)}"
    assert opened.signed.endswith(end)
    assert opened.signed.startswith(opened.signing_input.decode())
    for look in (peek_issuer_and_audience, inspect_unverified):
        with suppress(AuthenticationError):
            _ = look(opened.signed)


def key_set(data: bytes) -> None:
    """Every key that is kept can be written again, and be tried."""
    for key in JWKSet.parse(data).keys:
        again = JWK.from_mapping({"kid": key.kid, **key.members()})
        assert again.thumbprint() == key.thumbprint()
        with suppress(AuthenticationError):  # a point beside its curve
            _ = JWSValidator(key)


def discovery(data: bytes) -> None:
    """What is asked next is asked by https."""
    found = parse_discovery(data, "https://issuer.example.com")
    for url in (found.jwks_uri, found.token_endpoint):
        assert url is None or url.startswith("https://")


def oauthbearer_message(data: bytes) -> None:
    read = oauthbearer.parse_client_message(data)
    assert _written(oauthbearer.format_client_message, read) == data
    _credentials(read.auth)


def xoauth2_message(data: bytes) -> None:
    read = xoauth2.parse_client_message(data)
    assert _written(xoauth2.format_client_message, read) == data
    _credentials(read.auth)


def _credentials(text: str) -> None:
    token = bearer_messages.parse_credentials(text)
    again = bearer_messages.format_credentials(token)
    assert bearer_messages.parse_credentials(again) == token
    assert again.lower() == text.lower()


def bearer_pairs(data: bytes) -> None:
    """What is pairs in ASCII is so in any script."""
    pairs = bearer_messages.parse_pairs(data)
    assert _written(bearer_messages.format_pairs, pairs) == data
    assert bearer_messages.parse_pairs(data, ascii_only=False) == pairs


def bearer_error(data: bytes) -> None:
    error = bearer_messages.parse_error(data)
    assert str(error).isprintable()
    assert bearer_messages.parse_error(bearer_messages.format_error(error)) == error


_ENDPOINT: Final = introspection.Endpoint("https://localhost/", "c", "s", scope=("mail",))


def introspection_answer(data: bytes) -> None:
    """Who is let in has a name, and an end that is to come."""
    claims = introspection.parse_introspection(data)
    principal, _, end = introspection.accept(claims, _ENDPOINT, 1e9)
    assert principal
    assert end > 1e9


def anonymous_trace(data: bytes) -> None:
    trace = anonymous.check_trace(text_of(data))
    assert anonymous.check_trace(trace) == trace


def algorithm(data: bytes) -> None:
    """An object identifier in dots, and what follows it."""
    found = parse_algorithm(data)
    assert re.fullmatch(r"\d+(\.\d+)+", found.oid)
    assert data.endswith(found.parameters)


def mongodb_credentials(data: bytes) -> None:
    """What is of SHA-256 is written as it was read."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    read = parse_mongodb_credentials(document)
    assert parse_mongodb_credentials(format_mongodb_credentials(read)) == {
        name: verifier for name, verifier in read.items() if name == "SHA-256"
    }


def certificate(data: bytes) -> None:
    """A digest of the length that some hash has, or a refusal."""
    assert len(server_end_point(data)) in (28, 32, 48, 64)


def subject(data: bytes) -> None:
    """A name that can be printed, or a refusal; no octet behind the certificate is taken."""
    found = parse_subject(data)
    assert found.name
    assert found.name.isprintable()
    with suppress(PeerError):
        _ = parse_subject(data + b"\0")
        raise AssertionError("more than a certificate is taken for one")


def smtp_lines(data: bytes) -> None:
    """The same lines come out whether the bytes arrive at once or one by one."""
    assert _lines(data, len(data) or 1) == _lines(data, 1)


def _lines(data: bytes, step: int) -> list[object]:
    reader, said = LineReader(), list[object]()
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        while True:
            try:
                line = reader.next_line(40)
            except SaslError as error:
                said.append(error.code)
                if error.code != "line-too-long":
                    return said
                continue
            if line is None:
                break
            said.append(line)
    return said


def smtp_replies(data: bytes) -> None:
    reader = ReplyReader()
    reader.feed(data)
    while (reply := reader.next_reply()) is not None:
        _ = parse_capabilities(reply.lines)


def smtp_auth(data: bytes) -> None:
    text = data.decode("latin-1")
    for parse in (parse_auth, parse_response, parse_mail, parse_rcpt):
        try:
            _ = parse(text)
        except SaslError:
            continue


def smtp_server(data: bytes) -> None:
    """A whole connection; in it, every exchange goes on for two steps."""
    connection = SmtpConnection("mail.example.com", lambda: ["PLAIN"], starttls=True)
    connection.receive(data)
    steps = 0
    while (event := connection.next_event()) is not None:
        if isinstance(event, AuthStarted | AuthResponse):
            steps += 1
            if steps % 3:
                connection.challenge(b"go on")
            elif steps % 2:
                connection.auth_failed(AuthenticationError(wire=b"e=other-error"))
            else:
                connection.auth_succeeded()
        elif isinstance(event, MessageReceived):
            connection.message_done(accepted=True)
        elif isinstance(event, TlsRequested):
            if connection.accept_tls():
                connection.tls_started()
        else:
            break
        _ = connection.data_to_send()


def mongodb_frames(data: bytes) -> None:
    """The same requests come out whether the bytes arrive at once or one by one."""
    assert _requests(data, len(data) or 1) == _requests(data, 1)


def _requests(data: bytes, step: int) -> list[object]:
    reader, said = RequestReader(), list[object]()
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        try:
            while (request := reader.next_request(4096)) is not None:
                said.append(request)
        except SaslError as error:
            said.append(error.code)
            break
    return said


def mongodb_replies(data: bytes) -> None:
    """A client hears the same whether the bytes arrive at once or one by one."""
    whole, single = _heard(data, len(data) or 1), _heard(data, 1)
    assert whole == single
    with suppress(SaslError):
        answer = parse_mongodb_answer("saslStart", bson.decode_document(data[21:]))
        assert type(answer.conversation) is int


def _heard(data: bytes, step: int) -> object:
    """How far a login by PLAIN comes with a server that says this."""
    reader, dialogue = MongodbReplyReader(), MongodbDialogue(mechanism="PLAIN")
    rest = iter([data[at : at + step] for at in range(0, len(data), step)])
    said: list[bytes] = []
    try:
        for talk in (dialogue.hello(), dialogue.login()):
            answer: object = None
            with suppress(StopIteration):
                while True:
                    ask = talk.send(answer)
                    if isinstance(ask, Utterance):
                        said.append(ask.octets)
                        answer = _reply(reader, rest)
                    else:
                        begins = isinstance(ask, Begin)
                        answer = ("PLAIN", Reply(b"\0u\0p", done=True)) if begins else None
    except SaslError as error:
        return error.code, said
    assert dialogue.state is MongodbState.LOGGED_IN
    return said


def _reply(reader: MongodbReplyReader, rest: Iterator[bytes]) -> object:
    while (reply := reader.next_reply()) is None:
        piece = next(rest, b"")
        if not piece:
            raise PeerError("the end")
        reader.feed(piece)
    return reply


def mongodb_exchange(data: bytes) -> None:
    document = bson.decode_document(data)
    for parse in (
        lambda document: parse_start(document, "admin"),
        lambda document: parse_authenticate(document, "$external"),
        parse_continuation,
    ):
        with suppress(SaslError):
            assert len(parse(document).payload.data) <= len(data)


def mongodb_names(data: bytes) -> None:
    """A user comes out as it was written, a role in its database, and no database has a dot."""
    text = data.decode("utf-8", "surrogateescape")
    with suppress(SaslError):
        assert ".".join(parse_user(text, ("admin", "test"))) == text
    with suppress(SaslError):
        assert "." not in check_database(text)
    for role, database in parse_roles([data], "tim"):
        assert data.decode() in (f"{database}.{role}", role)


def mongodb_server(data: bytes) -> None:
    """A whole connection; what is a document and no message is framed first."""
    connection = MongodbConnection(lambda: ["PLAIN"], embedded=True)
    connection.receive(data)
    connection.receive(format_msg(1, 0, data))
    steps = 0
    while (event := connection.next_event()) is not None:
        if isinstance(event, mongodb_events.AuthStarted | mongodb_events.AuthContinued):
            steps += 1
            if steps % 3:
                connection.challenge(b"go on")
            elif steps % 2:
                connection.auth_failed(AuthenticationError())
            else:
                connection.auth_succeeded(Login("tim", "admin", administrator=True))
        elif isinstance(event, mongodb_events.CommandReceived):
            connection.command_done({"ok": 1.0})
        elif isinstance(event, mongodb_events.ProvidersGiven):
            connection.providers_taken(None)
        elif isinstance(event, mongodb_events.Closed):
            break
        _ = connection.data_to_send()


def flat_configuration(data: bytes) -> None:
    _ = Configuration("smtp", parse_flat(text_of(data), "smtp.conf", lambda: INSTALLED))


def toml_configuration(data: bytes) -> None:
    _ = Configuration.from_mapping(parse_toml(text_of(data), "sasl.toml"), "smtp")


_CONTEXT: Final = CanonContext("smtp", "mail.example.com", "example.com", Side.SERVER)
_INTERNAL: Final = InternalCanonicalizer()


def _stays(plug: CanonUserPlug, text: str) -> None:
    """The canonical form is its own, is one name to the stores, and can be printed."""
    canonical = plug.canon_user_server(_CONTEXT, text, CanonFlag.AUTHID)
    assert plug.canon_user_server(_CONTEXT, canonical, CanonFlag.AUTHID) == canonical
    assert str(UserName.parse(canonical)) == canonical
    assert "\n" not in canonical


def user_name(data: bytes) -> None:
    _stays(_INTERNAL, text_of(data))


def precis_name(data: bytes) -> None:
    for profile in Profile:
        try:
            _stays(_precis(profile), text_of(data))
        except PeerError:
            continue


# Made when the first name is tried, for the extra that they need is not the fuzzer's.
_precis: Final = cache(PrecisCanonicalizer)


def map_rules(data: bytes) -> None:
    """The first half is a file of rules, the second, after 0xFF, a name that meets them."""
    file, _, name = data.partition(b"\xff")
    rules = parse_rules(text_of(file), "names.rules")
    with suppress(ConfigError):  # rules that mislead must not break anything either
        rules.check(lambda name: prepared(_INTERNAL, _CONTEXT, name, CanonFlag.AUTHID))
    _stays(MapCanonicalizer(rules, _INTERNAL), text_of(name))


def hash_text(data: bytes) -> None:
    read = parse_hash(data)
    # What was read can be computed at some cost, and the cost is in its label.
    assert parse_label(read.label) == (read.scheme, read.cost)
    assert read.digest
    assert len(read.salt) <= 66


def auth_name(data: bytes) -> None:
    text = text_of(data)
    assert str(AuthName.parse(text)) == text


def identity_providers(data: bytes) -> None:
    """What is accepted serves: a step 1 is answered, whoever asks."""
    manager = IDPManager(text_of(data))
    assert manager.providers or not parse_providers(text_of(data))
    for hint in (None, "tim@corp.example", "a" * TEXT_LIMIT):
        with suppress(AuthenticationError):
            assert manager.select(hint) in manager.providers


def match_pattern(data: bytes) -> None:
    """A pattern that is accepted is searched in any text in a bounded time."""
    try:
        pattern = compile_pattern(text_of(data))
    except BadPattern:
        return
    _ = pattern.search("a" * TEXT_LIMIT)


class _Sessions:
    """A server, made when the first session is asked for."""

    def __init__(self) -> None:
        self._server: Server | None = None

    def run(self, mechanism: str, data: bytes) -> None:
        """An attempt whose messages are the lines of `data`, or what stands between 0xFF."""
        if self._server is None:
            config = {"allow_cleartext": True, "allow_anonymous": True}
            store = MemoryStore({"tim": "pencil"})
            self._server = Server("imap", "localhost", config=config, stores=[store])
        first, *rest = data.split(b"\xff")
        with self._server.session(channel_bindings={"tls-exporter": b"e" * 32}) as session:
            reply = session.start(mechanism, first)
            for message in rest:
                if reply.done:
                    break
                reply = session.step(message)


_sessions: Final = _Sessions()


class _Clients:
    """A client whose server is whoever has written the data."""

    def __init__(self) -> None:
        self._client: Client | None = None

    def run(self, mechanism: str, data: bytes, nonce_at: bytes) -> None:
        """An attempt whose challenges stand between 0xFF, and whose last comes with a success.

        0xFE stands for the client's nonce, which nobody can know beforehand.
        """
        if self._client is None:
            config = {"scram_iteration_floor": 1, "scram_iteration_cap": 4}
            self._client = Client("imap", "localhost", config=config)
        *challenges, last = data.split(b"\xff")
        with self._client.session(authid="tim", password="pencil") as session:
            said = session.start([mechanism]).data or b""
            nonce = said.rpartition(nonce_at)[2]
            for challenge in challenges:
                _ = session.step(challenge.replace(b"\xfe", nonce))
            session.finish(last.replace(b"\xfe", nonce))
            raise AssertionError("the client believes somebody who does not know its password")


_clients: Final = _Clients()


def client_scram(data: bytes) -> None:
    _clients.run("SCRAM-SHA-256", data, b"r=")


def smtp_data(data: bytes) -> None:
    """The same message comes out whether the bytes arrive at once or one by one."""
    assert _message(data, len(data) or 1) == _message(data, 1)


def _message(data: bytes, step: int) -> object:
    reader, rest = DataReader(200), None
    for start in range(0, len(data), step):
        piece = data[start : start + step]
        if rest is not None:
            rest += piece
            continue
        try:
            rest = reader.feed(piece)
        except SaslError as error:
            return error.code
    # Before its end a message is not handed out, and how much is held back is nobody's business.
    return None if rest is None else (rest, reader.overflow, reader.message)


def addresses(data: bytes) -> None:
    text = text_of(data)
    with suppress(SaslError):
        assert "@" not in parse_url(text).address
    with suppress(SaslError):
        host, port = parse_address(text)
        assert parse_address(show_address(host, port)) == (host, port)


def http_address(data: bytes) -> None:
    """What is read is written as it was, but for the case of scheme and host, and a usual port."""
    address = http_request.parse_address(text_of(data), cleartext=True)
    again = http_request.parse_address(
        f"{address.scheme}://{address.authority}{address.target}", cleartext=True
    )
    assert again == address


def http_response(data: bytes) -> None:
    """The same answer comes out whether the bytes arrive at once or one by one."""
    assert _response(data, len(data) or 1) == _response(data, 1)


def _response(data: bytes, step: int) -> object:
    reader = ResponseReader("https://idp.example.com/", 200)
    try:
        for start in range(0, len(data), step):
            response = reader.feed(data[start : start + step])
            if response is not None:
                break
        else:
            response = reader.end()
    except SaslError as error:
        return error.code
    assert len(response.body) <= 200
    return response


def _answered(data: bytes, *headers: tuple[str, str]) -> HttpResponse:
    """A provider's answer; where a digit stands before the body, its status is d00."""
    first = data[:1]
    if first.isdigit():
        return HttpResponse(int(first) * 100, headers, data[1:])
    return HttpResponse(200, headers, data)


def token_response(data: bytes) -> None:
    """What comes out may be sent, and its end is a time."""
    token = parse_token_response(_answered(data), 0.0)
    assert check_token(token.value) == token.value
    assert token.expires_at is None or 0.0 <= token.expires_at < 1e9


def device_response(data: bytes) -> None:
    """What comes out may be shown at a terminal, and counted by a clock."""
    grant = parse_device_response(_answered(data), allow_loopback_http=False)
    prompt = grant.prompt
    shown = f"{prompt.uri}{prompt.code}{prompt.complete_uri}"
    assert shown.isascii()
    assert shown.isprintable()
    assert prompt.uri.startswith("https://")
    assert 1.0 <= grant.interval <= 60.0
    assert 0.0 <= prompt.seconds <= 86_400.0


def redirect_request(data: bytes) -> None:
    """A path begins with a slash and has no query; an answer has the state, or is none."""
    try:
        path, query = parse_head(data, "127.0.0.1:8400")
    except RequestProblem:
        return
    assert path.startswith("/")
    assert "?" not in path
    answer = parse_answer(query, "state-7315")
    if answer is not None:
        assert "state-7315" in query or "%" in query
        assert answer.odd or (answer.code is None) != (answer.error is None)


def redirect_uri(data: bytes) -> None:
    """It is of the loopback, and is told the provider as it was written."""
    text = text_of(data)
    made = parse_redirect_uri(text, "redirect_uri")
    assert made.host in ("127.0.0.1", "[::1]", "localhost")
    if made.port is None:
        assert text == f"http://{made.host}{made.path}"
    else:
        assert text == made.at(made.port)


def id_token(data: bytes) -> None:
    """One that passes has the nonce in it."""
    text = text_of(data)
    check_id_token(text, issuer="https://issuer.example.com", client_id="app", nonce="nonce-9920")
    assert text.count(".") == 2


def gcp_response(data: bytes) -> None:
    answer = _answered(data, ("metadata-flavor", "Google"))
    token = parse_gcp_response(answer)
    assert check_token(token) == token == answer.body.strip().decode()


def session_scram(data: bytes) -> None:
    _sessions.run("SCRAM-SHA-256", data)


def session_scram_plus(data: bytes) -> None:
    _sessions.run("SCRAM-SHA-256-PLUS", data)


def session_plain(data: bytes) -> None:
    _sessions.run("PLAIN", data)


TARGETS: Final[Mapping[str, Target]] = {
    "addresses": addresses,
    "algorithm": algorithm,
    "anonymous": anonymous_trace,
    "auth-name": auth_name,
    "base64": base64,
    "bearer-error": bearer_error,
    "bearer-pairs": bearer_pairs,
    "bson": bson_document,
    "client-scram": client_scram,
    "certificate": certificate,
    "configuration-flat": flat_configuration,
    "configuration-toml": toml_configuration,
    "device-response": device_response,
    "gcp-response": gcp_response,
    "id-token": id_token,
    "redirect-request": redirect_request,
    "redirect-uri": redirect_uri,
    "discovery": discovery,
    "external": external_message,
    "gs2": gs2,
    "hash-text": hash_text,
    "http-address": http_address,
    "http-response": http_response,
    "identity-providers": identity_providers,
    "import-csv": importing(csv.read),
    "import-cyrus": importing(cyrus.read),
    "import-dovecot": importing(dovecot.read),
    "import-jsonl": importing(jsonl.read),
    "import-mongodb": importing(mongodb.read),
    "import-postgresql": importing(postgres.read),
    "introspection": introspection_answer,
    "json": json_text,
    "key-set": key_set,
    "map-rules": map_rules,
    "match-pattern": match_pattern,
    "mongodb-credentials": mongodb_credentials,
    "mongodb-exchange": mongodb_exchange,
    "mongodb-frames": mongodb_frames,
    "mongodb-names": mongodb_names,
    "mongodb-replies": mongodb_replies,
    "mongodb-server": mongodb_server,
    "oauthbearer": oauthbearer_message,
    "oidc-client-opening": oidc_client_opening,
    "oidc-client-step2": oidc_client_step2,
    "oidc-server-step1": oidc_server_step1,
    "plain": plain_message,
    "precis": precis_name,
    "saslname": saslname,
    "saslprep": preparation,
    "scram-client-final": scram_client_final,
    "scram-client-first": scram_client_first,
    "scram-server-final": scram_server_final,
    "scram-server-first": scram_server_first,
    "session-plain": session_plain,
    "session-scram": session_scram,
    "session-scram-plus": session_scram_plus,
    "smtp-auth": smtp_auth,
    "smtp-data": smtp_data,
    "smtp-lines": smtp_lines,
    "smtp-replies": smtp_replies,
    "smtp-server": smtp_server,
    "subject": subject,
    "token-response": token_response,
    "token": token,
    "user-name": user_name,
    "verifier": verifier,
    "verifier-forms": verifier_forms,
    "xoauth2": xoauth2_message,
}
"""Parser -> its target; the name is that of its folder in tests/fuzz/corpus."""
