# Written by tests/tools/write_tutorials.py from docs/tutorials/submission.md: change the page.
# pyright: reportUnusedCallResult=false
import asyncio
import logging
import signal
import smtplib
import ssl
import sys
from email.parser import BytesHeaderParser
from email.policy import SMTP
from pathlib import Path

from sasl_core.aio import Server
from sasl_http import HttpTransport
from sasl_profiles.smtp import Limits, Message, SmtpServer
from sasl_tls import ServerTls

SMARTHOST, ACCOUNT, DOMAIN = ("localhost", 587), "submission", "example.com"
AUTHORS = {"from", "sender", "resent-from", "resent-sender"}


def check_author(data: bytes, sender: str) -> None:
    """One author, who is the sender, written in a way that no two programs read differently."""
    head = BytesHeaderParser(policy=SMTP).parsebytes(data)
    names = [name.lower() for name, _ in head.raw_items() if name.lower() in AUTHORS]
    # A first line "From : ..." is an mbox's separator to one program, an author to others.
    if head.defects or head.get_unixfrom() or "from" not in names or len(set(names)) < len(names):
        raise PermissionError("its head has not one clear author")
    for name in names:
        field = head[name]
        # A group's name stands where a reader expects the author's.
        grouped = any(each.display_name is not None for each in field.groups)
        if field.defects or grouped or [each.addr_spec for each in field.addresses] != [sender]:
            raise PermissionError(f"its {name} is somebody else")


def hand_on(message: Message) -> None:
    """To the smarthost, as whoever logged in; an exception here is a 451 to the client."""
    sender = f"{message.authzid}@{DOMAIN}"
    check_author(message.data, sender)
    with smtplib.SMTP(*SMARTHOST, timeout=30) as smarthost:
        smarthost.starttls(context=ssl.create_default_context())
        smarthost.login(ACCOUNT, Path("smarthost-password").read_text().strip())
        refused = smarthost.sendmail(sender, message.envelope.recipients, message.data)
        if refused:
            logging.error("the smarthost refuses %d of the recipients", len(refused))


async def relay(message: Message) -> None:
    await asyncio.to_thread(hand_on, message)


async def submission(config: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tls = ServerTls.load("mail.pem", "mail.key")
    http = HttpTransport()
    limits = Limits(total_seconds=300)  # SMTP cannot ask for a new token: connections end
    async with (
        Server("smtp", "localhost", config=config, http=http) as server,
        SmtpServer(
            server, host_name="localhost", tls=tls, on_message=relay, limits=limits
        ) as front,
    ):
        await front.start("127.0.0.1", port)
        logging.info("submission listens")
        await stop.wait()
        http.close()


if __name__ == "__main__" and len(sys.argv) == 3:
    logging.basicConfig(level=logging.INFO)
    asyncio.run(submission(sys.argv[1], int(sys.argv[2])))
