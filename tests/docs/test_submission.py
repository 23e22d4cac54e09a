"""docs/tutorials/submission.md: every file and command, and what it promises."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from daemons import free_port
from mailhost import Authority, MailHost, make_authority
from sasl_profiles.smtp import Message, MessageRefusedError, SmtpReply
from sasl_profiles.smtp.envelope import Transaction
from sasl_profiles.smtp.replies import reply
from tutorial_runs import (
    SMARTHOST_PASSWORD,
    GroupsProvider,
    Tutorial,
    submission_page,
    withdrawn,
)

MINE = b"From: backup@example.com\r\n"
FORGED = [
    b"",
    b"From: boss@example.com\r\n",
    b"From: boss@example.com, backup@example.com\r\n",
    b"From: backup@example.com <boss@example.com>\r\n",
    b"From: backup@example.com, nobody\r\n",
    # Groups, with a name and without.
    b'From: "boss@example.com": backup@example.com;\r\n',
    b"From: The Boss: backup@example.com;\r\n",
    MINE + b"Sender: boss@example.com: backup@example.com;\r\n",
    # A second one, before and behind; the first line of an mbox too.
    *(
        b"".join(pair)
        for other in (
            b"From: boss@example.com\r\n",
            b"From : boss@example.com\r\n",
            b"From boss@example.com\r\n",
            b"Sender: boss@example.com\r\n",
            b"Sender : boss@example.com\r\n",
            b"SENDER: backup@example.com\r\nSender: boss@example.com\r\n",
            b"Resent-From: boss@example.com\r\n",
            b"Resent-Sender: boss@example.com\r\n",
        )
        for pair in ((other, MINE), (MINE, other))
    ),
]


LONG = [
    b"From: " + b"a@b,\r\n " * 20_000 + b"backup@example.com\r\n",
    MINE + b"Sender: " + b"a@b,\r\n " * 1000 + b"backup@example.com\r\n",
    MINE + b"From: " + b"a@b,\r\n " * 1000 + b"backup@example.com\r\n",
    MINE + b"X-Much: 12345678\r\n" * 5000,
]
NONSENSE = [
    b"From: =?utf-8?q?boss=40example.com=0D=0AFrom=3A_boss?= <backup@example.com>\r\n",
    b"From: =?utf-8?b?PGJvc3NAZXhhbXBsZS5jb20+?= backup@example.com\r\n",
    b"From: " + b"\t(" * 480 + b"backup@example.com\r\n",
]


class Submission:
    """The tutorial's gateway for mail at work, in front of a smarthost; `printed` by the page."""

    def __init__(self, tutorial: Tutorial, provider: GroupsProvider, port: int) -> None:
        self.tutorial, self.provider, self.port = tutorial, provider, port
        # curl, which is no part of Python, has a test among the peers.
        self.printed = tutorial.run(without="curl")
        self.token = provider.token(provider.claims)
        self.letter = (tutorial.folder / "letter").read_bytes()

    @contextmanager
    def login(self) -> Iterator[smtplib.SMTP]:
        """A client that has logged in as `backup`."""
        cafile = str(self.tutorial.folder / "mail.pem")
        with smtplib.SMTP("localhost", self.port, timeout=30) as smtp:
            smtp.starttls(context=ssl.create_default_context(cafile=cafile))
            smtp.ehlo()
            message = f"user=backup\x01auth=Bearer {self.token}\x01\x01"
            smtp.auth("XOAUTH2", lambda challenge=None: "" if challenge else message)
            yield smtp

    def refusal(self, smtp: smtplib.SMTP, letter: bytes, *recipients: str) -> tuple[int, bytes]:
        """What is answered to a letter that is not taken on."""
        with pytest.raises(smtplib.SMTPDataError) as caught:
            smtp.sendmail("backup@example.com", recipients or ["ada@example.org"], letter)
        assert isinstance(caught.value.smtp_error, bytes)
        return caught.value.smtp_code, caught.value.smtp_error


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Submission, MailHost]]:
    """All commands of the page but curl's; its smarthost has TLS, and one account."""
    folder = tmp_path_factory.mktemp("smarthost")
    authority: Authority = make_authority(folder)
    host = MailHost(folder, {}, {"submission": SMARTHOST_PASSWORD}, authority)
    port = free_port()
    try:
        with (
            GroupsProvider("mail", groups=["staff"]) as provider,
            submission_page(tmp_path_factory.mktemp("mail"), provider, host, port) as tutorial,
        ):
            made = Submission(tutorial, provider, port)
            yield made, host
        said = tutorial.said()
        assert SMARTHOST_PASSWORD not in said
        assert made.token not in said
        assert "All saved" not in said
    finally:
        host.close()


@pytest.fixture
def submission(mail: tuple[Submission, MailHost]) -> Submission:
    """The same gateway for each test."""
    return mail[0]


@pytest.fixture
def smarthost(mail: tuple[Submission, MailHost]) -> Iterator[MailHost]:
    """Behind it, without letters."""
    mail[1].messages.clear()
    yield mail[1]
    mail[1].on_message = None


def test_mail_goes_to_the_smarthost_in_the_name_of_who_logged_in(
    submission: Submission, smarthost: MailHost
) -> None:
    """With another sender it has ours."""
    assert "corp/backup" not in submission.printed
    assert submission.printed.endswith("authenticated by its access token, by OAUTHBEARER\n")
    with submission.login() as smtp:
        assert smtp.esmtp_features["auth"].split() == ["OAUTHBEARER", "XOAUTH2"]
        smtp.sendmail("boss@example.com", ["ada@example.org"], submission.letter)
    (message_on,) = smarthost.messages
    assert message_on.data == submission.letter
    assert message_on.envelope.sender == "backup@example.com"
    assert message_on.envelope.recipients == ("ada@example.org",)
    assert message_on.authid == "submission"


def test_a_letter_in_another_s_name_is_refused_for_good(
    submission: Submission, smarthost: MailHost
) -> None:
    """Whatever the way it is written in; quickly, however long it is, and the log says why."""
    with submission.login() as smtp:
        for head in FORGED + LONG + NONSENSE:
            forged = submission.letter.replace(MINE, head)
            assert forged != submission.letter
            began = time.monotonic()
            code, _ = submission.refusal(smtp, forged)
            assert (code, time.monotonic() - began < 5) == (550, True), head[:80]
    assert smarthost.messages == []
    said = submission.tutorial.said()
    for reason in (
        "its head is too long",
        "its head has not one clear author",
        "a field that names its author is too long",
        "a field that names its author has no meaning",
        "it is in another's name",
    ):
        assert f"a message of backup is refused: {reason}" in said


def test_a_letter_goes_to_all_of_its_recipients_or_the_client_hears_of_it(
    submission: Submission, smarthost: MailHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """550 for what the smarthost will never take, 451 for what it cannot take now; no halves."""
    known = Transaction.rcpt
    answers = {"gone": reply(550, "5.1.1", "No such user"), "full": reply(452, "4.2.2", "Full")}

    def rcpt(transaction: Transaction, arguments: str) -> SmtpReply:
        named = [answer for name, answer in answers.items() if name in arguments]
        return named[0] if named else known(transaction, arguments)

    async def refuse(message: Message) -> None:
        raise MessageRefusedError("spam")

    # The gateway is another process: this is the smarthost's.
    monkeypatch.setattr(Transaction, "rcpt", rcpt)
    with submission.login() as smtp:
        for recipients, code in (
            (("ada@example.org", "gone@example.org"), 550),
            (("full@example.org", "ada@example.org"), 451),
            (("full@example.org", "gone@example.org"), 550),
        ):
            assert submission.refusal(smtp, submission.letter, *recipients)[0] == code
        smarthost.on_message = refuse
        assert submission.refusal(smtp, submission.letter)[0] == 550
        assert smarthost.messages == []
        smarthost.on_message = None
        smtp.sendmail("backup@example.com", ["ada@example.org"], submission.letter)
    assert len(smarthost.messages) == 1
    said = submission.tutorial.said()
    assert "a message of backup is refused: the smarthost says 550" in said
    assert "the smarthost says 452 to a letter of 'backup'" in said


def test_one_user_has_no_more_than_a_few_letters_under_way(
    submission: Submission, smarthost: MailHost
) -> None:
    """The fifth is 451 at once while a slow smarthost has four; then there is room again."""
    go_on = threading.Event()
    waiting = threading.Semaphore(0)

    async def slow(message: Message) -> None:
        waiting.release()
        while not go_on.is_set():  # noqa: ASYNC110 - of another loop's thread.
            await asyncio.sleep(0.01)

    def send() -> None:
        with submission.login() as smtp:
            smtp.sendmail("backup@example.com", ["ada@example.org"], submission.letter)

    smarthost.on_message = slow
    with ThreadPoolExecutor(4) as pool:
        try:
            sent = [pool.submit(send) for _ in range(4)]
            for _ in range(4):
                assert waiting.acquire(timeout=20)
            with submission.login() as smtp:
                assert submission.refusal(smtp, submission.letter)[0] == 451
        finally:
            go_on.set()
        for each in sent:
            each.result(20)
    assert (
        "a message of backup could not be taken on: BlockingIOError" in submission.tutorial.said()
    )
    send()
    assert len(smarthost.messages) == 5


def test_a_key_that_the_provider_withdraws_sends_no_mail(submission: Submission) -> None:
    """As for the database."""

    def lets_in() -> bool:
        try:
            with submission.login():
                return True
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code != 535

    assert lets_in()
    with withdrawn(submission.provider, lets_in):
        assert not lets_in()
