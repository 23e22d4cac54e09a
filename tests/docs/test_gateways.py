"""docs/tutorials/gateway.md: every file and command, and what it promises."""

from __future__ import annotations

import runpy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bson
import pymongo
import pytest
from pymongo.auth_oidc import OIDCCallback, OIDCCallbackContext, OIDCCallbackResult
from pymongo.errors import BulkWriteError, OperationFailure, WriteConcernError

from daemons import free_port
from mongodb_kit import MongoService
from sasl_auxprop.memory import MemoryStore
from sasl_profiles.mongodb import Command
from sasl_profiles.mongodb.events import Login
from sasl_profiles.mongodb.wire import Sequence
from tls_kit import make_tls
from tutorial_runs import (
    GroupsProvider,
    Tutorial,
    loopback,
    withdrawn,
)

PASSWORD = "password-of-the-gateway-5521"
UNSAFE = "on one machine alone"
LEAK = "what only the database knows 9917"


class Database:
    """Documents in memory, on MongoDB's protocol, for the one account; `asked` is all it heard."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.documents: list[dict[str, Any]] = []

    async def answer(self, command: Command) -> bytes:
        asked = bson.decode(command.body)
        for sequence in command.sequences:
            asked[sequence.identifier] = bson.decode_all(sequence.documents)
        self.asked.append({**asked, "by": command.login.user})
        answer: dict[str, Any] = {"ok": 1.0}
        if command.name == "find":
            found = [each for each in self.documents if matches(asked.get("filter", {}), each)]
            batch = found[: asked["limit"]]
            answer["cursor"] = {"id": 0, "ns": "orders.open", "firstBatch": batch}
        elif command.name == "insert":
            given = asked["documents"]
            known = {each["_id"] for each in self.documents}
            self.documents += [each for each in given if each["_id"] not in known]
            answer["n"] = len(given)
            if any(each["_id"] == UNSAFE for each in given):
                answer["writeConcernError"] = {"code": 64, "errmsg": LEAK}
            answer["writeErrors"] = [
                {"index": index, "code": 11000, "errmsg": LEAK}
                for index, each in enumerate(given)
                if each["_id"] in known
            ]
        else:
            answer = {"ok": 0.0, "code": 20, "codeName": "IllegalOperation", "errmsg": LEAK}
        return bson.encode(answer)


def matches(wanted: dict[str, Any], document: dict[str, Any]) -> bool:
    """Whether it has these values; of the operators $gt alone."""
    return all(
        document.get(name, 0) > value["$gt"] if isinstance(value, dict) else document[name] == value
        for name, value in wanted.items()
    )


class Tokens(OIDCCallback):
    """Made anew for each time that the driver asks."""

    def __init__(self, make: Callable[[], str]) -> None:
        self.make = make
        self.contexts: list[OIDCCallbackContext] = []

    def fetch(self, context: OIDCCallbackContext) -> OIDCCallbackResult:
        self.contexts.append(context)
        return OIDCCallbackResult(access_token=self.make())


@pytest.fixture(scope="module")
def provider() -> Iterator[GroupsProvider]:
    with GroupsProvider("orders", groups=["readers", "writers"]) as made:
        yield made


class Running:
    """The tutorial's gateway at work: in front of `database`, at `port`."""

    def __init__(self, tutorial: Tutorial, database: Database, port: int) -> None:
        self.tutorial, self.database, self.port = tutorial, database, port

    @contextmanager
    def client(self, tokens: Tokens, kind: str = "OIDC_CALLBACK") -> Iterator[Any]:
        made: pymongo.MongoClient[Any] = pymongo.MongoClient(
            "localhost",
            self.port,
            tls=True,
            tlsCAFile=str(self.tutorial.folder / "gateway.pem"),
            authMechanism="MONGODB-OIDC",
            authMechanismProperties={kind: tokens},
        )
        with made:
            yield made


@pytest.fixture(scope="module")
def gateway(
    provider: GroupsProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """All commands of the page but the last, which is left to a test."""
    folder = tmp_path_factory.mktemp("gateway")
    certificate = make_tls(tmp_path_factory.mktemp("database"))
    database = Database()
    behind = MongoService(
        config={"mech_list": ["SCRAM-SHA-256"]},
        stores=[MemoryStore({"gateway": PASSWORD})],
        tls=certificate.server(),
        on_command=database.answer,
    )
    port = free_port()
    replaced = loopback(provider.issuer) | {
        "localhost:27017": f"localhost:{behind.address[1]}",
        "27018": str(port),
    }
    (folder / "database-ca.pem").write_bytes(certificate.certificate.read_bytes())
    (folder / "database-password").write_text(f"{PASSWORD}\n")
    try:
        with Tutorial("gateway", folder, replaced) as tutorial:
            valid = tutorial.run("sasl token validate")
            for named in ("corp/backup", "corp/readers", "corp/writers"):
                assert named in valid
            tutorial.run("python gateway.py")
            yield Running(tutorial, database, port)
        # Nobody's secret is in the log.
        said = tutorial.said()
        assert PASSWORD not in said
        assert not any(part in said for token in provider.issued for part in token.split("."))
        assert LEAK not in said
    finally:
        behind.close()


@pytest.fixture
def running(gateway: Running) -> Running:
    """The same gateway for each test, and an empty database."""
    gateway.database.asked.clear()
    gateway.database.documents.clear()
    return gateway


def test_the_program_of_the_page_prints_what_it_says(running: Running) -> None:
    """What it does reaches the database in the gateway's name, with its user in the comment."""
    printed = running.tutorial.run()
    assert printed in running.tutorial.printed
    insert, find = running.database.asked
    assert (insert["by"], insert["comment"]) == ("gateway", "corp/backup")
    assert (find["by"], find["comment"], find["filter"]) == (
        "gateway",
        "corp/backup",
        {"count": {"$gt": 3}},
    )
    assert (find["limit"], find["singleBatch"]) == (1, True)
    assert "refused: 'dropDatabase' by 'corp/backup'" in running.tutorial.said()


def test_roles_decide_and_they_are_those_of_the_token(
    running: Running, provider: GroupsProvider
) -> None:
    """Who only reads does not write, and who is in no group does neither."""

    def bearing(*groups: str) -> Tokens:
        claims = {"sub": "ada", "aud": "orders", "groups": groups}
        return Tokens(lambda: provider.token(claims))

    for groups, reads, writes in (
        (("readers",), True, False),
        (("writers",), False, True),
        ((), False, False),
        (("admin", "gateway", "corp/writers"), False, False),
    ):
        running.database.asked.clear()
        with running.client(bearing(*groups)) as client:
            for allowed, call in (
                (reads, lambda: client.orders.open.find_one({})),
                (writes, lambda: client.orders.open.insert_one({})),
            ):
                if allowed:
                    call()
                else:
                    with pytest.raises(OperationFailure) as caught:
                        call()
                    assert caught.value.code == 13
        assert len(running.database.asked) == reads + writes


REFUSED: dict[str, Callable[[Any], object]] = {
    "database": lambda client: client.admin.users.find_one({}),
    "system": lambda client: client.orders["system.users"].find_one({}),
    "command": lambda client: client.orders.command("aggregate", "open", pipeline=[], cursor={}),
    "update": lambda client: client.orders.open.update_one({}, {"$set": {"a": 1}}),
    "field": lambda client: client.orders.command("find", "open", let={"a": 1}),
    "hint": lambda client: client.orders.open.find_one({}, hint="_id_"),
    "where": lambda client: client.orders.open.find_one({"$where": "sleep(1000)"}),
    "nested": lambda client: client.orders.open.find_one({"$or": [{"a": {"$where": "x"}}]}),
    "expression": lambda client: client.orders.open.find_one({"$expr": {"$function": {}}}),
    "pattern": lambda client: client.orders.open.find_one({"a": bson.Regex("(a+)+$")}),
    "code": lambda client: client.orders.open.find_one({"a": bson.Code("while(1);")}),
    "projection": lambda client: client.orders.open.find_one({}, {"a": {"$slice": 1}}),
    "variable": lambda client: client.orders.open.find_one({}, {"a": "$$USER_ROLES"}),
    "in expression": lambda client: client.orders.open.find_one({}, {"a": {"$in": ["$$NOW"]}}),
    "no projection": lambda client: client.orders.command("find", "open", projection="$$ROOT"),
    "documents": lambda client: client.orders.open.insert_many([{"a": 1}] * 1001),
    "limit": lambda client: list(client.orders.open.find({}).limit(1001)),
    "depth": lambda client: client.orders.open.find_one({"a": nested(30)}),
    "values": lambda client: client.orders.open.find_one({"a": {"$in": list(range(30_000))}}),
    "in delete": lambda client: client.orders.open.delete_one({"$where": "x"}),
}


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize("refused", REFUSED)
def test_what_is_not_listed_never_reaches_the_database(
    running: Running, provider: GroupsProvider, refused: str
) -> None:
    """Code 13, whatever the roles are; the connection stands."""
    with running.client(Tokens(lambda: provider.token(provider.claims))) as client:
        with pytest.raises(OperationFailure) as caught:
            REFUSED[refused](client)
        assert caught.value.code == 13
        assert running.database.asked == []
        assert client.orders.open.find_one({}) is None


def test_a_sequence_is_not_decoded_further_than_it_may_go(running: Running) -> None:
    """Neither one of another name, nor one that is there twice, nor what follows the 1001st."""
    page = runpy.run_path(str(running.tutorial.folder / "gateway.py"))
    login = Login("corp/ada", "$external", (("corp/writers", "admin"),))
    given = {"insert": "open", "$db": "orders"}
    most = bson.encode({"a": 1}) * 1000

    def permitted(body: dict[str, Any], *sequences: tuple[str, bytes]) -> Any:
        pieces = tuple(Sequence(name, documents) for name, documents in sequences)
        return page["permitted"](Command("insert", login, bson.encode(body), pieces))

    assert permitted(given, ("documents", most))["documents"] == [{"a": 1}] * 1000
    for body, *sequences in (
        (given, ("x", b"garbage")),
        (given, ("$db", b"garbage")),
        (given, ("documents", most), ("documents", b"garbage")),
        ({**given, "documents": []}, ("documents", b"garbage")),
        (given, ("documents", most + bson.encode({}) + b"garbage")),
    ):
        with pytest.raises(page["RefusedError"]):
            permitted(body, *sequences)


def test_what_the_database_says_of_an_error_stays_there(
    running: Running, provider: GroupsProvider
) -> None:
    """Numbers of write errors go through, and their texts do not; other failures are ours."""
    with running.client(Tokens(lambda: provider.token(provider.claims))) as client:
        orders = client.orders.open
        orders.insert_one({"_id": 1})
        with pytest.raises(BulkWriteError) as many:
            orders.insert_many([{"_id": 2}, {"_id": 1}])
        (error,) = many.value.details["writeErrors"]
        assert (error["index"], error["code"]) == (1, 11000)
        with pytest.raises(OperationFailure) as one:
            orders.delete_one({"_id": 1})
        assert one.value.code == 8
        # The write is done, and not as safe as was asked for: the program has to hear of it.
        with pytest.raises(WriteConcernError) as concern:
            orders.insert_one({"_id": UNSAFE})
        assert concern.value.code == 64
        for raised in (many.value, one.value, concern.value):
            assert LEAK not in f"{raised} {raised.details}"


@pytest.mark.parametrize("kind", ["OIDC_CALLBACK", "OIDC_HUMAN_CALLBACK"])
def test_a_token_that_expires_is_replaced_behind_the_program_s_back(
    running: Running, provider: GroupsProvider, kind: str
) -> None:
    """391, a new token, the same connection: nothing is lost."""
    moments: list[int] = []

    def make() -> str:
        moments.append(int(time.time()) + (600 if moments else 4))
        return provider.token({**provider.claims, "exp": moments[-1]})

    tokens = Tokens(make)
    with running.client(tokens, kind) as client:
        client.orders.open.insert_one({"_id": 1})
        time.sleep(max(0.0, moments[0] + 0.1 - time.time()))
        assert client.orders.open.find_one({}) == {"_id": 1}
    assert len(moments) == 2
    if kind == "OIDC_HUMAN_CALLBACK":
        info = tokens.contexts[0].idp_info
        assert info is not None
        assert (info.issuer, info.clientId) == (provider.issuer, "orders-people")


def test_nobody_comes_in_without_a_token_for_here(
    running: Running, provider: GroupsProvider
) -> None:
    """Neither by the gateway's own password, nor by a token for somebody else."""
    other = {**provider.claims, "aud": "mail"}
    with (
        running.client(Tokens(lambda: provider.token(other))) as client,
        pytest.raises(OperationFailure) as caught,
    ):
        client.orders.open.find_one({})
    assert caught.value.code == 18
    folder = running.tutorial.folder
    own: Any = pymongo.MongoClient(
        "localhost",
        running.port,
        tls=True,
        tlsCAFile=str(folder / "gateway.pem"),
        username="gateway",
        password=PASSWORD,
        serverSelectionTimeoutMS=5000,
    )
    with own, pytest.raises(OperationFailure):
        own.orders.open.find_one({})
    assert running.database.asked == []


def test_a_key_that_the_provider_withdraws_lets_nobody_in(
    running: Running, provider: GroupsProvider
) -> None:
    """The gateway asks by itself: no token with another key has to come."""
    token = provider.token(provider.claims)

    def lets_in() -> bool:
        with running.client(Tokens(lambda: token)) as client:
            try:
                client.orders.open.find_one({})
            except OperationFailure as error:
                return error.code != 18
            return True

    assert lets_in()
    with withdrawn(provider, lets_in):
        assert not lets_in()
