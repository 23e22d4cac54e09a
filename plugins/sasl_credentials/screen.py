"""What a person is shown, and with what: the machine's browser, and standard error.

Only checked text comes here: addresses as `sasl_tokens.urls` takes them, and codes of printable
ASCII. So no character of control, and none that turns the writing round, reaches a terminal.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sasl_credentials.device_messages import DevicePrompt

__all__ = ["call_browser", "show_code", "show_url"]

OPENING: Final = 5.0
"""Seconds after which a browser that has not said that it did not open counts as open."""


def call_browser(url: str) -> bool:
    """Open `url` in the machine's browser; whether there is one."""
    import webbrowser

    opened: list[bool] = []

    def call() -> None:
        try:
            opened.append(webbrowser.open(url))
        except (OSError, webbrowser.Error):
            opened.append(False)

    # A browser in the terminal runs until it is left, and the answer comes before that.
    thread = threading.Thread(target=call, name="sasl-browser", daemon=True)
    thread.start()
    thread.join(OPENING)
    return not opened or opened[0]


def show_url(url: str) -> None:
    """Ask the person at the terminal to open `url`, on standard error."""
    _show(f"To log in, open this address in a browser of this machine:\n{url}\n")


def show_code(prompt: DevicePrompt) -> None:
    """Ask the person at the terminal to enter the code, in three lines on standard error."""
    minutes = max(1, round(prompt.seconds / 60))
    more = f", or open {prompt.complete_uri}" if prompt.complete_uri else ""
    _show(
        f"To log in, open {prompt.uri} in any browser,\n"
        f"and enter the code {prompt.code}{more}\n"
        f"It is good for {minutes} {'minute' if minutes == 1 else 'minutes'}.\n"
    )


def _show(text: str) -> None:
    _ = sys.stderr.write(text)
