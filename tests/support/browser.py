"""Debian's Chromium without a screen, and a person in front of it.

The person is a thread: what opens a browser must not wait for who sits there.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from node_program import SECONDS, NodeProgram

__all__ = ["DESKTOP", "PHONE", "Browser", "Page", "Person", "Script", "Window"]


@dataclass(frozen=True)
class Window:
    """A window of this size, on a telephone or not."""

    width: int
    height: int
    phone: bool = False


DESKTOP = Window(1280, 800)
PHONE = Window(360, 640, phone=True)


@dataclass(frozen=True)
class Page:
    """What is seen: address, title and text, and how wide it is."""

    url: str
    title: str
    text: str
    width: int


class Browser(NodeProgram):
    """One browser; it takes the certificate's key for any host's, and else trusts as all do."""

    def __init__(self, folder: Path, modules: Path, chromium: str, certificate: Path) -> None:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        key = loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        super().__init__(
            "browser.mjs",
            folder,
            {
                "modules": str(modules),
                "chromium": chromium,
                "spki": b64encode(sha256(key).digest()).decode(),
                "root": os.geteuid() == 0,
            },
        )

    def open(self, window: Window = DESKTOP) -> None:
        """Have a new window, which knows nothing of earlier ones."""
        _ = self._do(open=[window.width, window.height, window.phone])

    def goto(self, url: str) -> None:
        """Load a page."""
        _ = self._do(goto=url)

    def fill(self, **fields: str) -> None:
        """Type into the fields of these names."""
        _ = self._do(fill={f"input[name={name}]": text for name, text in fields.items()})

    def click(self, selector: str) -> None:
        """Click, and wait for the page that follows."""
        _ = self._do(click=selector)

    def read(self) -> Page:
        """What is seen now."""
        answer = self._do(read=True)
        url, title, text = (str(answer[name]) for name in ("url", "title", "text"))
        return Page(url, title, text, int(str(answer["width"])))

    def shot(self, path: Path) -> None:
        """Take a picture of the window, a PNG."""
        _ = self._do(shot=str(path))

    def asked(self) -> list[str]:
        """All addresses that this window has loaded something from."""
        urls = self._do(asked=True)["urls"]
        assert isinstance(urls, list)
        return [str(url) for url in urls]

    def _do(self, **command: object) -> dict[str, object]:
        answer = self.command(**command)
        if "error" in answer:
            raise AssertionError(f"{answer['error']} at {answer.get('url')}")
        return answer


Script: TypeAlias = Callable[[Browser, str], None]
"""What a person does with a browser and an address."""


class Person:
    """Who is sent to a provider; `script` is what the person does there, in a thread.

    `urls` are the addresses that the person was sent to, each in a window of its own.
    """

    def __init__(self, browser: Browser, script: Script, window: Window = DESKTOP) -> None:
        self.browser = browser
        self.window = window
        self.script = script
        self.urls: list[str] = []
        self._threads = ThreadPoolExecutor(1, "person")
        self._visits: list[Future[None]] = []

    def open(self, url: str, script: Script | None = None) -> bool:
        """Send the person there, and do not wait; True, as `webbrowser.open` says."""
        self.urls.append(url)
        self._visits.append(self._threads.submit(self._visit, url, script or self.script))
        return True

    def done(self) -> None:
        """Wait until the person has done it all.

        Raises:
            Exception: what the script raised.
        """
        while self._visits:
            self._visits.pop(0).result(2 * SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def _visit(self, url: str, script: Script) -> None:
        self.browser.open(self.window)
        script(self.browser, url)
