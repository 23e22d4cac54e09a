# Written by tests/tools/write_tutorials.py from docs/tutorials/gateway.md: change the page.
# pyright: reportUnusedCallResult=false
import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import bson
from bson import ObjectId
from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from sasl_core.aio import Server
from sasl_http import HttpTransport
from sasl_profiles.mongodb import Command, Limits, MongodbServer
from sasl_tls import ServerTls

DATABASE = "mongodb://localhost:27017/?tls=true&tlsCAFile=database-ca.pem"
SERVED = "orders"
READ, WRITE = ("corp/readers", "admin"), ("corp/writers", "admin")
MOST = 1000  # documents in an answer or a sequence; twenty times as many values in a command

# What is forwarded: the role that it takes, and the fields that go along. All else is refused.
COMMANDS: Mapping[str, tuple[tuple[str, str], tuple[str, ...]]] = {
    "find": (READ, ("filter", "sort", "projection", "skip", "limit")),
    "insert": (WRITE, ("documents", "ordered")),
    "delete": (WRITE, ("deletes", "ordered")),
}
NOT_FORWARDED = {"$db", "$readPreference", "singleBatch", "batchSize", "lsid", "$clusterTime"}
# No $where, $function or $expr, which run code; no $regex, which can keep the database busy.
OPERATORS = {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$and", "$or", "$exists"}
VALUES = {str, int, float, bool, bytes, type(None), datetime, ObjectId, Binary, Int64, Decimal128}
log = logging.getLogger("gateway")


class RefusedError(Exception):
    """The text is for log and client: nothing of a document stands in it."""


def check(value: dict[str, Any] | list[Any] | str, room: list[int], depth: int = 0) -> None:
    """Walk through what a client sent: nothing but known values and operators, and not too many."""
    room[0] -= 1
    if room[0] < 0 or depth > 20:
        raise RefusedError("the command holds too much")
    if isinstance(value, dict):
        for name, inner in value.items():
            if name.startswith("$") and name not in OPERATORS:
                raise RefusedError("an operator is not allowed")
            check(inner, room, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check(inner, room, depth + 1)
    elif type(value) not in VALUES:
        raise RefusedError("a value of this type is not allowed")


def permitted(command: Command) -> dict[str, Any]:
    """What the database is asked in place of this command, if its user may have that asked."""
    if command.name not in COMMANDS:
        raise RefusedError("this command is not served")
    role, fields = COMMANDS[command.name]
    if role not in command.login.roles:
        raise RefusedError(f"this takes the role {role[0]}")
    asked: dict[str, Any] = bson.BSON(command.body).decode()
    for sequence in command.sequences:
        if (name := sequence.identifier) not in fields or name in asked:
            raise RefusedError("a field of the command is not allowed")
        # No further than it may go: to decode is what costs, and everybody waits for it.
        asked[name] = list(islice(bson.decode_iter(sequence.documents), MOST + 1))
        if len(asked[name]) > MOST:
            raise RefusedError("the command holds too much")
    collection = asked[command.name]
    if asked.get("$db") != SERVED or type(collection) is not str or not collection.isidentifier():
        raise RefusedError("no such collection is served")
    if not asked.keys() <= {command.name, *fields, *NOT_FORWARDED}:
        raise RefusedError("a field of the command is not allowed")
    wanted = {name: asked[name] for name in (command.name, *fields) if name in asked}
    check(wanted, [20 * MOST])
    if command.name == "find":
        # It names fields, and computes nothing: an expression reads variables ("$$USER_ROLES").
        chosen: dict[str, Any] = wanted.get("projection", {})
        if type(chosen) is not dict or not {*map(type, chosen.values())} <= {int, bool, Int64}:
            raise RefusedError("a projection names fields by 0 and 1")
        limit = wanted.get("limit") or MOST
        if type(limit) not in (int, Int64) or not 0 < limit <= MOST:
            raise RefusedError(f"a limit is at most {MOST}")
        # One answer, and no cursor that somebody else could go on with.
        wanted |= {"limit": limit, "singleBatch": True, "batchSize": limit}
    # The database's own log then says on whose behalf.
    return wanted | {"comment": command.login.user}


def answered(found: Mapping[str, Any]) -> bytes:
    """What the client is told: of errors their numbers alone, for the texts quote documents."""
    kept = {name: found[name] for name in ("n", "cursor", "ok") if name in found}
    text = {"errmsg": "refused by the database"}
    if errors := found.get("writeErrors"):
        kept["writeErrors"] = [{"index": e["index"], "code": e["code"], **text} for e in errors]
    if concern := found.get("writeConcernError"):
        kept["writeConcernError"] = {"code": concern["code"], **text}
    return bson.encode(kept)


class Gateway:
    def __init__(self, database: AsyncMongoClient[dict[str, Any]]) -> None:
        self.database = database

    async def answer(self, command: Command) -> Mapping[str, object] | bytes:
        who, what = command.login.user, command.name[:40]
        try:
            wanted = permitted(command)
        except RefusedError as error:
            log.warning("refused: %r by %r: %s", what, who, error)
            return {"ok": 0.0, "code": 13, "codeName": "Unauthorized", "errmsg": str(error)}
        try:
            found = await self.database[SERVED].command(wanted)
        except PyMongoError as error:
            log.error("failed: %r by %r: %s", what, who, type(error).__name__)
            return {"ok": 0.0, "code": 8, "codeName": "UnknownError", "errmsg": "it failed"}
        log.info("done: %r by %r", what, who)
        return answered(found)


async def gateway(config: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    database: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        DATABASE, username="gateway", password=Path("database-password").read_text().strip(),
        authMechanism="SCRAM-SHA-256", timeoutMS=5000, maxPoolSize=20,
    )
    tls, http = ServerTls.load("gateway.pem", "gateway.key"), HttpTransport()
    limits, answer = Limits(message_size=1_000_000), Gateway(database).answer
    async with (
        database,
        Server("mongodb", "localhost", config=config, http=http) as server,
        MongodbServer(server, tls=tls, on_command=answer, limits=limits) as front,
    ):
        await front.start("127.0.0.1", port)
        log.info("the gateway listens")
        await stop.wait()
        http.close()


if __name__ == "__main__" and len(sys.argv) == 3:
    logging.basicConfig(level=logging.INFO)
    asyncio.run(gateway(sys.argv[1], int(sys.argv[2])))


from pathlib import Path
from sys import argv
from typing import Any

from pymongo import MongoClient
from pymongo.auth_oidc import OIDCCallback, OIDCCallbackContext, OIDCCallbackResult
from pymongo.errors import OperationFailure


class TokenFile(OIDCCallback):
    """Asked at the first login, and again whenever the token has expired."""

    def fetch(self, context: OIDCCallbackContext) -> OIDCCallbackResult:
        return OIDCCallbackResult(access_token=Path("token").read_text().strip())


def ask(port: int) -> None:
    client: MongoClient[dict[str, Any]] = MongoClient(
        "localhost", port, tls=True, tlsCAFile="gateway.pem", authMechanism="MONGODB-OIDC",
        authMechanismProperties={"OIDC_CALLBACK": TokenFile()},
    )
    with client:
        client.orders.open.insert_one({"_id": 1, "item": "chair", "count": 4})
        print(client.orders.open.find_one({"count": {"$gt": 3}}))
        try:
            client.orders.command("dropDatabase")
        except OperationFailure as error:
            print(error.code)


if __name__ == "__main__" and len(argv) == 2:
    ask(int(argv[1]))
