# Written by tests/tools/write_tutorials.py from docs/tutorials/submission.md: change the page.
# pyright: reportUnusedCallResult=false
import asyncio
import logging
import signal
import smtplib
import ssl
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.parser import BytesHeaderParser
from email.policy import SMTP
from pathlib import Path

from sasl_core.aio import Server
from sasl_http import HttpTransport
from sasl_profiles.smtp import Limits, Message, MessageRefusedError, SmtpServer
from sasl_tls import ServerTls

SMARTHOST, ACCOUNT, DOMAIN = ("localhost", 587), "submission", "example.com"
AUTHORS = {"from", "sender", "resent-from", "resent-sender"}
HEAD, LINE = 65536, 998  # octets of a letter's head, and of a field that names an author
WORKERS, EACH = 16, 4  # letters that are handed on at once, and how many of one user's


def check_author(data: bytes, sender: str) -> None:
    """One author, who is the sender, written in a way that no two programs read differently."""
    octets = data.partition(b"\r\n\r\n")[0]
    if len(octets) > HEAD:
        raise MessageRefusedError("its head is too long")
    head = BytesHeaderParser(policy=SMTP).parsebytes(octets + b"\r\n\r\n")
    # As they came: to take addresses apart takes a time that grows with the square of their length.
    fields = [(name.lower(), text) for name, text in head.raw_items() if name.lower() in AUTHORS]
    names = {name for name, _ in fields}
    # A first line "From : ..." is an mbox's separator to one program, an author to others.
    if head.defects or head.get_unixfrom() or "from" not in names or len(names) < len(fields):
        raise MessageRefusedError("its head has not one clear author")
    if any(len(text) > LINE for _, text in fields):
        raise MessageRefusedError("a field that names its author is too long")
    for name in names:
        try:
            field = head[name]
        except Exception:  # What the parser raises about nonsense is of many kinds.
            raise MessageRefusedError("a field that names its author has no meaning") from None
        # A group's name stands where a reader expects the author's.
        grouped = any(each.display_name is not None for each in field.groups)
        if field.defects or grouped or [each.addr_spec for each in field.addresses] != [sender]:
            raise MessageRefusedError("it is in another's name")


def hand_on(message: Message) -> None:
    """To the smarthost, as whoever logged in. An exception here is a 451 to the client."""
    sender = f"{message.authzid}@{DOMAIN}"
    check_author(message.data, sender)
    with smtplib.SMTP(*SMARTHOST, timeout=30) as smarthost:
        smarthost.starttls(context=ssl.create_default_context())
        smarthost.login(ACCOUNT, Path("smarthost-password").read_text().strip())
        # To all recipients or to none: there is one answer for all of them.
        codes = [smarthost.mail(sender)[0]]
        codes += [smarthost.rcpt(each)[0] for each in message.envelope.recipients]
        if all(code in (250, 251) for code in codes):
            codes = [smarthost.data(message.data)[0]]
    if any(code >= 500 for code in codes):
        raise MessageRefusedError(f"the smarthost says {max(codes)} to it or to a recipient")
    if any(code not in (250, 251) for code in codes):
        logging.warning("the smarthost says %d to a letter of %r", max(codes), message.authzid)
        raise ConnectionError("not now")


class Relay:
    """Has letters handed on, by threads of its own: nobody's may keep all the others waiting."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool, self.under_way = pool, Counter[str]()

    async def take(self, message: Message) -> None:
        who = message.authzid
        if self.under_way[who] >= EACH:
            raise BlockingIOError("too many at once")
        self.under_way[who] += 1
        work = asyncio.get_running_loop().run_in_executor(self.pool, hand_on, message)
        work.add_done_callback(lambda _: self.under_way.subtract([who]))
        # When the client goes, its letter is under way all the same, and counts.
        await asyncio.shield(work)


async def submission(config: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tls = ServerTls.load("mail.pem", "mail.key")
    http = HttpTransport()
    # SMTP cannot ask for a new token: connections end. A hundred letters of 10 MB are 1 GB and more.
    limits = Limits(total_seconds=300, message_size=10_000_000)
    pool = ThreadPoolExecutor(WORKERS)
    async with (
        Server("smtp", "localhost", config=config, http=http) as server,
        SmtpServer(
            server, host_name="localhost", tls=tls, on_message=Relay(pool).take,
            limits=limits, max_connections=100,
        ) as front,
    ):
        await front.start("127.0.0.1", port)
        logging.info("submission listens")
        await stop.wait()
        http.close()
    pool.shutdown()


if __name__ == "__main__" and len(sys.argv) == 3:
    logging.basicConfig(level=logging.INFO)
    asyncio.run(submission(sys.argv[1], int(sys.argv[2])))
