"""PLAIN and ANONYMOUS through the glue, both sides, against the ideal SCRAM server.

Both need to be allowed: PLAIN by a connection that is protected (`external_ssf`),
ANONYMOUS by its option. The application's own callback has the last word on the password.
"""

from __future__ import annotations

from hmac import compare_digest
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bench.measure import interleave, middle, ratio
from bench.people import HOST, PASSWORD, SERVICE, crowd, peer
from bench.rows import Goal, Row
from bench.scram import ideal_server
from sasl_core import Client, Result, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.measure import Effort, Operation
    from sasl_core import UserName

__all__ = ["anonymous_login", "application", "plain_login", "rows"]

NAME = "tim"
EXPECTED = PASSWORD.encode()


def application(user: UserName, password: bytes, service: str) -> Result:
    """The least that an application can do: one user, one password, constant time."""
    del service
    right = compare_digest(password, EXPECTED) and user.name == NAME
    return Result.OK if right else Result.BADAUTH


def plain_login(client: Client, server: Server) -> Operation:
    """Both sessions, one message, `finish`, close."""

    def run(times: int) -> float:
        begin = perf_counter()
        for _ in range(times):
            near = server.session(external_ssf=256)
            far = client.session(authid=NAME, password=PASSWORD, external_ssf=256)
            sent = far.start(("PLAIN",))
            reply = near.start(far.mechanism or "", sent.data)
            far.finish(reply.data)
            if near.authid != NAME:
                raise AssertionError("the login went wrong")
            far.close()
            near.close()
        return (perf_counter() - begin) / times

    return run


def anonymous_login(client: Client, server: Server) -> Operation:
    """Both sessions, one message, `finish`, close."""

    def run(times: int) -> float:
        begin = perf_counter()
        for _ in range(times):
            near = server.session()
            far = client.session()
            sent = far.start(("ANONYMOUS",))
            reply = near.start(far.mechanism or "", sent.data)
            far.finish(reply.data)
            if near.authid != "anonymous":
                raise AssertionError("the login went wrong")
            far.close()
            near.close()
        return (perf_counter() - begin) / times

    return run


def pysasl_login(mechanism: Any, plain: Any, credentials: Any, identity: Any) -> Operation:
    """PLAIN by pysasl, both sides, with the SASLprep that it does by default."""

    def run(times: int) -> float:
        begin = perf_counter()
        for _ in range(times):
            asked = plain.client_attempt(credentials.ClientCredentials(NAME, PASSWORD), [])
            answer = mechanism.ChallengeResponse(b"", asked.response)
            given, _ = plain.server_attempt([answer])
            if not given.verify(identity.ClearIdentity(NAME, PASSWORD)):
                raise AssertionError("the login went wrong")
        return (perf_counter() - begin) / times

    return run


def pysasl() -> Operation | None:
    """The login by pysasl, or None if it is not installed."""
    parts = [
        peer(f"pysasl.{name}")
        for name in ("mechanism", "mechanism.plain", "creds.client", "identity")
    ]
    if None in parts:
        return None
    mechanism, plain, credentials, identity = parts
    return pysasl_login(mechanism, plain.PlainMechanism(), credentials, identity)


def rows(effort: Effort) -> Iterator[Row]:
    """PLAIN, then ANONYMOUS."""
    people = crowd(f"user{number:03}" for number in range(100))
    open_house = {"allow_anonymous": True}
    with (
        Server(SERVICE, HOST, config={}, checkpass=application) as server,
        Client(SERVICE, HOST, config={}) as client,
        Server(SERVICE, HOST, config=open_house, checkpass=application) as open_server,
        Client(SERVICE, HOST, config=open_house) as open_client,
    ):
        contenders = {
            "floor": ideal_server(people),
            "PLAIN": plain_login(client, server),
            "ANONYMOUS": anonymous_login(open_client, open_server),
        }
        other = pysasl()
        if other is not None:
            contenders["pysasl"] = other
        times = interleave(contenders, effort.times(400), effort.times(40, least=5))
    typical = {name: middle(each).middle for name, each in times.items()}
    for name, limit in (("PLAIN", 1.25), ("ANONYMOUS", 1.0)):
        spread = ratio(times[name], times["floor"])
        yield Row(
            topic="simple",
            what=f"{name}, both sides",
            unit="us",
            ours=typical[name],
            floor=typical["floor"],
            floor_name="ideal SCRAM server",
            peer=typical.get("pysasl") if name == "PLAIN" else None,
            peer_name="pysasl",
            figure=spread.middle,
            figure_unit="x",
            spread=spread,
            goal=Goal(limit, "x", of="SCRAM floor"),
            note=""
            if name == "ANONYMOUS"
            else ("application's callback" + ("" if other else "; pysasl is not installed")),
        )
