"""What a person is shown, and with what: the machine's browser, and standard error.

Only checked text comes here: addresses as `sasl_tokens.urls` takes them, and codes of printable
ASCII. So no character of control, and none that turns the writing round, reaches a terminal.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sasl_credentials.device_messages import DevicePrompt

__all__ = ["call_browser", "show_code", "show_opening", "show_url"]


def call_browser(url: str) -> None:
    """Have the machine's browser open `url`, and do not wait for it.

    Whether one appears nobody knows: desktops start it by way of other programs. So the person
    is told the address as well.
    """
    import webbrowser

    thread = threading.Thread(
        target=partial(_call, webbrowser.open, url), name="sasl-browser", daemon=True
    )
    with suppress(RuntimeError):  # There are no more threads.
        thread.start()


def _call(browser: Callable[[str], object], url: str) -> None:
    # One in the terminal runs until it is left. BROWSER may name anything, which raises anything;
    # the text of it would have the address in it, and the person has that already.
    with suppress(Exception):
        _ = browser(url)


def show_opening(url: str) -> None:
    """Tell the person at the terminal that a browser is opened, and what if not."""
    _show(
        "To log in, use the browser that is opened now. If none appears, open this address\n"
        f"in one of this machine:\n{url}\n"
    )


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
    # Windows starts some programs without one.
    if sys.stderr is not None:
        _ = sys.stderr.write(text)
