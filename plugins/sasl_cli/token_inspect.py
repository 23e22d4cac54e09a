"""`sasl token inspect`: what a token says of itself, and that nobody has checked it.

Invariants: every form of the output says that the signature was not checked; the signature
itself is never printed, so that what is printed lets nobody in.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sasl_cli.output import columns, fail
from sasl_cli.token_input import STDIN, TokenArgument, TokenFile, read_token
from sasl_core.plugin import printable
from sasl_tokens.terms import LATEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sasl_tokens.token import Inspection

__all__ = ["UNVERIFIED", "distance", "inspect_token", "moment"]

UNVERIFIED: Final = "NOT VERIFIED: nobody has checked the signature"

TIMES: Final = ("exp", "nbf", "iat", "auth_time", "updated_at")
"""Claims that are seconds since the epoch (RFC 7519 section 4.1, OpenID Connect Core)."""

SKEW: Final = 60
"""How far an issuer's clock may be ahead of ours, in seconds."""

NAME_WIDTH: Final = 40
"""How wide the column of names may get."""

UNITS: Final = ((172800, 86400, "days"), (7200, 3600, "hours"), (120, 60, "minutes"))
"""From how many seconds on which unit is told."""


def inspect_token(
    argument: TokenArgument = STDIN,
    file: TokenFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what a token says of itself, WITHOUT checking its signature.

    Anybody can write such a token: trust nothing that is printed here, and let no script
    decide by it. Whether a token is good is told by 'sasl token validate'. The signature is
    not printed.
    """
    from sasl_tokens.errors import TokenError
    from sasl_tokens.token import inspect_unverified

    token = read_token(argument, file)
    try:
        found = inspect_unverified(token)
    except TokenError as error:
        why = f"{error.code}: {error.detail}"
    else:
        now = time.time()
        wrong = (*found.problems, *_untimely(found.body, now))
        if as_json:
            _print_json(found, wrong)
        else:
            _print_text(found, wrong, now)
        return
    fail(f"no server would read this as a signed token: {why}")


def _print_json(found: Inspection, wrong: tuple[str, ...]) -> None:
    import json

    shown = {
        "verified": False,
        "warning": UNVERIFIED,
        "header": dict(found.header),
        "claims": dict(found.body),
        "times": {
            name: moment(value)
            for name in TIMES
            if (value := _seconds(found.body.get(name))) is not None
        },
        "problems": list(wrong),
    }
    print(json.dumps(shown, indent=2, default=dict))


def _print_text(found: Inspection, wrong: tuple[str, ...], now: float) -> None:
    print(f"{UNVERIFIED}.")
    print("Whoever made this token may have written anything into it.")
    for title, members in (("header", found.header), ("claims", found.body)):
        print(f"\n{title}")
        if members:
            rows = [(name, _shown(name, value, now)) for name, value in members.items()]
            print("\n".join(_lines(rows)))
    print("\nsignature\n  not checked, and not shown")
    print("\nwhat looks wrong")
    for problem in wrong:
        print(f"  {printable(problem, 400)}")
    if not wrong:
        print("  nothing; but that says nothing of the signature, issuer or audience")


def _lines(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The rows in columns; a long name has a line of its own, and pushes no other's aside."""
    from rich.cells import cell_len

    printed = [(printable(_named(name), 2048), text) for name, text in rows]
    short = [cell_len(name) <= NAME_WIDTH for name, _ in printed]
    inline = [row for row, fits in zip(printed, short, strict=True) if fits]
    aligned = iter(columns(inline, indent="  ").split("\n"))
    for (name, text), fits in zip(printed, short, strict=True):
        if fits:
            yield next(aligned)
        else:
            yield f"  {name}"
            yield columns([(text,)], indent="    ")


def _named(name: str) -> str:
    """A name as it is, or, if one could see a name and a value in it, in quotes."""
    import json

    return name if re.fullmatch(r'[^\s"]+', name) else json.dumps(name, ensure_ascii=False)


def _shown(name: str, value: object, now: float) -> str:
    import json

    seconds = _seconds(value) if name in TIMES else None
    if seconds is not None:
        return f"{value}  {moment(seconds)}, {distance(seconds - now)}"
    # A text that could be mistaken for a value, or for a time as it is shown, is in quotes.
    if isinstance(value, str) and name not in TIMES and not _like_json(value):
        return value
    return json.dumps(value, default=dict, ensure_ascii=False)


def _like_json(text: str) -> bool:
    """Whether it is a JSON value, or begins as one, or is nothing at all."""
    import json

    if text.lstrip()[:1] in ("", "{", "[", '"'):
        return True
    try:
        _ = json.loads(text)
    except ValueError:
        return False
    return True


def _seconds(value: object) -> float | None:
    """A claim that can be a time, as seconds since the epoch."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= LATEST else None


def moment(seconds: float) -> str:
    """A time in UTC, as people write it."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def distance(seconds: float) -> str:
    """How far from now, ahead or back."""
    away = abs(seconds)
    size, unit = next((row[1:] for row in UNITS if away >= row[0]), (1, "seconds"))
    number = f"{away / size:.0f}"
    # From two on the larger units begin.
    count = f"{number} {unit if number != '1' else unit.removesuffix('s')}"
    return f"in {count}" if seconds > 0 else f"{count} ago"


def _untimely(claims: Mapping[str, object], now: float) -> list[str]:
    """What is wrong with the token's times, as far as they are such."""
    wrong: list[str] = []
    if "exp" not in claims:
        wrong.append("it has no exp: it would never end, and is refused")
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if name in claims and (isinstance(value, bool) or not isinstance(value, int)):
            wrong.append(f"{name} is not an integer")
        elif isinstance(value, int) and value > LATEST:
            wrong.append(f"{name} is later than the year 9999")
        elif isinstance(value, int) and name == "exp" and now >= value:
            wrong.append(f"expired {distance(value - now)}")
        elif isinstance(value, int) and name != "exp" and value > now + SKEW:
            what = "not valid before" if name == "nbf" else "issued in the future:"
            wrong.append(f"{what} {moment(value)}, {distance(value - now)}")
    return wrong
