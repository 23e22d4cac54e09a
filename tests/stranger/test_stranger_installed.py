"""A stranger's distribution, installed with pip: found, configured, and logged in through.

Nothing of sasl-core knows of it; each test runs in an interpreter of the scratch environment.
"""

from __future__ import annotations

import json

# A user, set by the mechanism and by the store that the configuration names.
USER = """
from sasl_core import Client, Server, SetpassFlag

server = Server("door", "house.example.com")
report = server.setpass("Tim@Example.com", "knock knock", SetpassFlag.CREATE)
told["ok"] = report.ok
told["targets"] = {t.target: t.result.name for t in report.targets}

def login(name, password, mechanism, **facts):
    client = Client("door", "house.example.com")
    with server.session(**facts) as ours, client.session(authid=name, password=password) as theirs:
        hello = theirs.start([mechanism])
        reply = ours.start(theirs.mechanism, hello.data)
        while not reply.done:
            reply = ours.step(theirs.step(reply.data).data)
        theirs.finish(reply.data)
        return ours.authid
"""


def test_it_comes_from_where_it_was_installed(scratch, tmp_path):
    """The module is the installed one, and no path of ours leads to it."""
    told = scratch.tell(tmp_path, "import sasl_stranger\ntold['file'] = sasl_stranger.__file__")
    assert told["file"] == str(scratch.site / "sasl_stranger.py")


def test_a_login_through_the_strangers_mechanism(scratch, tmp_path):
    """Client and server log in by X-KNOCK, with the store and canonicaliser of the stranger."""
    code = USER + (
        "with server.session() as session:\n"
        "    told['offered'] = session.mechanisms()\n"
        "told['authid'] = login('TIM', 'knock knock', 'X-KNOCK', success_data=True)\n"
        "told['again'] = login('tim@example.com', 'knock knock', 'X-KNOCK')\n"
        "told['plug'] = type(server.core.mechanism('X-KNOCK')).__module__\n"
    )
    told = scratch.tell(tmp_path, code)
    assert "X-KNOCK" in told["offered"]
    assert told["authid"] == told["again"] == "tim"
    assert told["plug"] == "sasl_stranger"


def test_its_secret_is_in_its_own_database(scratch, tmp_path):
    """Each target of setpass is reported; the key is in the mechanism's file, and there alone."""
    told = scratch.tell(tmp_path, USER)
    assert told["ok"]
    assert told["targets"] == {"auxprop:roster": "OK", "X-KNOCK": "OK", "SCRAM-SHA-256": "OK"}
    book = json.loads((tmp_path / "secrets.json").read_text())
    assert list(book) == ["tim"]
    roster = json.loads((tmp_path / "users.json").read_text())
    assert list(roster["users"]["tim"]["values"]) == ["authPassword"]
    assert book["tim"][1] not in (tmp_path / "users.json").read_text()


def test_a_database_that_cannot_be_written_is_reported(scratch, tmp_path):
    """When the mechanism's own database fails, setpass says whose it is, and writes nothing."""
    (tmp_path / "secrets.json.new").mkdir()
    told = scratch.tell(tmp_path, USER)
    assert not told["ok"]
    assert told["targets"]["X-KNOCK"] == "UNAVAIL"
    assert not (tmp_path / "users.json").exists()


def test_a_wrong_password_and_an_unknown_user_are_refused(scratch, tmp_path):
    """Both get the one public message; the administrator reads what was wrong."""
    code = USER + (
        "from sasl_core import AuthenticationError\n"
        "for user in ('tim', 'tom'):\n"
        "    try:\n"
        "        login(user, 'who is there', 'X-KNOCK')\n"
        "    except AuthenticationError as error:\n"
        "        told[user] = [str(error), error.detail]\n"
    )
    told = scratch.tell(tmp_path, code)
    assert told["tim"] == ["authentication failed", "wrong response for user 'tim'"]
    assert told["tom"][0] == "authentication failed"
    assert "'tom'" in told["tom"][1]


def test_the_store_serves_the_built_in_mechanisms(scratch, tmp_path):
    """SCRAM and PLAIN are checked against what the stranger's store keeps."""
    code = USER + (
        "told['scram'] = login('tim', 'knock knock', 'SCRAM-SHA-256')\n"
        "with server.session(external_ssf=128) as session:\n"
        "    assert session.start('PLAIN', b'\\0TIM@example.com\\0knock knock').done\n"
        "    told['plain'] = session.authid\n"
    )
    told = scratch.tell(tmp_path, code)
    assert (told["scram"], told["plain"]) == ("tim", "tim")


def test_only_who_is_in_the_book_is_offered_the_mechanism(scratch, tmp_path):
    """`available` of the stranger's plug decides for each user."""
    code = USER + (
        "with server.session() as session:\n"
        "    for user in ('tim', 'tom'):\n"
        "        told[user] = session.mechanisms(user)\n"
    )
    told = scratch.tell(tmp_path, code)
    assert "X-KNOCK" in told["tim"]
    assert "X-KNOCK" not in told["tom"]


def test_a_login_under_asyncio(scratch, tmp_path):
    """The same plugs serve the asyncio door, unchanged."""
    code = """
import asyncio
from sasl_core import SetpassFlag, aio

async def main():
    async with aio.Server("door", "house.example.com") as server:
        report = await server.setpass("tim", "knock knock", SetpassFlag.CREATE)
        client = aio.Client("door", "house.example.com")
        async with server.session() as ours:
            async with client.session(authid="tim", password="knock knock") as theirs:
                hello = await theirs.start(["X-KNOCK"])
                reply = await ours.start(theirs.mechanism, hello.data)
                while not reply.done:
                    reply = await ours.step((await theirs.step(reply.data)).data)
                await theirs.finish(reply.data)
                told["authid"] = ours.authid
        await client.close()

asyncio.run(main())
"""
    assert scratch.tell(tmp_path, code)["authid"] == "tim"


def test_the_client_only_mechanism_is_no_fault_of_the_server(scratch, tmp_path):
    """X-TICKET has a client; a server neither offers it nor complains."""
    code = """
import logging
from sasl_core import Client, MechanismError, PromptId, Server

logged = []
class Listener(logging.Handler):
    def emit(self, record):
        logged.append(record.getMessage())
logging.getLogger("sasl_core").addHandler(Listener())
server = Server("door", "house.example.com")
client = Client("door", "house.example.com", config={"allow_cleartext": True})
with server.session() as session:
    told["offered"] = session.mechanisms()
    told["rejected"] = session.rejected.get("X-TICKET")
    told["logged"] = list(logged)
    try:
        session.start("X-TICKET", b"tim 4711")
    except MechanismError as error:
        told["refused"] = str(error)
with client.session(authid="tim", interact=lambda prompts: ["4711"]) as session:
    told["sent"] = session.start(["X-TICKET"]).data.decode()
"""
    told = scratch.tell(tmp_path, code)
    assert "X-TICKET" not in told["offered"]
    assert told["sent"] == "tim 4711"
    assert told["logged"] == []
    assert told["rejected"].endswith("has no server side")
    assert told["refused"] == f"mechanism X-TICKET cannot be used: {told['rejected']}"


def test_the_command_line_shows_it(scratch, tmp_path):
    """`sasl plugins` lists all of it, with its sides and flags, as it lists our own."""
    rows = json.loads(scratch.run(tmp_path, "-m", "sasl_cli", "plugins", "--json"))
    strange = {row["name"]: row for row in rows if row["distribution"] == "sasl-stranger"}
    assert set(strange) == {"X-KNOCK", "X-TICKET", "roster", "mailbox"}
    assert all(row["available"] and row["reason"] is None for row in strange.values())
    assert strange["X-KNOCK"]["sides"] == ["client", "server"]
    assert strange["X-KNOCK"]["flags"] == ["NOPLAINTEXT", "NOACTIVE", "NOANONYMOUS", "MUTUAL_AUTH"]
    assert strange["X-TICKET"]["sides"] == ["client"]
    assert not any(row["attests"] for row in strange.values())


def test_a_missing_folder_is_told_in_the_strangers_words(scratch, tmp_path):
    """`availability()` of a plug is what `sasl plugins` and `rejected` say."""
    folder = tmp_path / "elsewhere"
    more = "[applications.nowhere.mechanisms.X-KNOCK]\npath = 'gone/secrets.json'"
    rows = json.loads(
        scratch.run(
            folder, "-m", "sasl_cli", "plugins", "--json", "--appname", "nowhere", more=more
        )
    )
    (row,) = [row for row in rows if row["name"] == "X-KNOCK"]
    assert row["reason"].startswith("the folder ")
    assert row["reason"].endswith(" does not exist: make it, or set path")
