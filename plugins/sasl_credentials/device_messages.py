"""What a provider answers about a device's login, and what a person is shown of it.

Source: RFC 8628 sections 3.2 and 3.5.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

import attrs

from sasl_core.plugin import PeerError, record
from sasl_credentials.answers import provider_error
from sasl_credentials.people import odd
from sasl_tokens.strict import json_object
from sasl_tokens.urls import UrlProblem, check_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sasl_core.plugin import BackendError, HttpResponse

__all__ = ["DeviceGrant", "DevicePrompt", "parse_device_response"]

INTERVAL: Final = 5.0
"""Seconds between two polls where the provider says nothing (RFC 8628 section 3.2)."""

SHORTEST: Final = 1.0
"""Least that a provider may say for it. There is no most: it is the least that it wants."""

LIFETIME: Final = 86_400.0
"""Longest life of a code that is believed, in seconds."""

_USER_CODE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")


@record
class DevicePrompt:
    """What a person needs for the login, on any machine with a browser.

    `uri`: the page to open, and `code` what to enter there. `complete_uri`: the page with the code
    already in it, if the provider has one, for a QR code say. `seconds`: how long it is good.
    All of it is checked: https addresses, and printable ASCII.
    """

    uri: str
    code: str
    complete_uri: str | None
    seconds: float


@record
class DeviceGrant:
    """A device's login under way. `interval`: seconds between two polls."""

    device_code: str = attrs.field(repr=False)
    prompt: DevicePrompt
    interval: float


def parse_device_response(response: HttpResponse, *, allow_loopback_http: bool) -> DeviceGrant:
    """Read the answer of a device authorization endpoint.

    Raises:
        AuthenticationError, BackendError: the provider refused, as `provider_error` says.
        BackendError: it is no such answer; code "device-response".
    """
    if response.status != 200:
        raise provider_error(response)
    try:
        members = json_object(response.body, "the answer")
    except PeerError:
        members = None
    if members is None:
        raise _odd("it is no strict JSON object")
    device_code = members.get("device_code")
    if not _is_device_code(device_code):
        raise _odd("its device_code is none")
    user_code = members.get("user_code")
    if not isinstance(user_code, str) or _USER_CODE.fullmatch(user_code) is None:
        raise _odd("its user_code is not up to 64 characters of printable ASCII")
    # Google still has it under the name of a draft.
    named = "verification_uri" if "verification_uri" in members else "verification_url"
    uri = _address(members, named, allow_loopback_http)
    if uri is None:
        raise _odd("it has no verification_uri")
    complete = _address(members, "verification_uri_complete", allow_loopback_http)
    seconds = _number(members, "expires_in", LIFETIME)
    if seconds is None:
        raise _odd("it has no expires_in")
    interval = _number(members, "interval", LIFETIME)
    return DeviceGrant(
        str(device_code),
        DevicePrompt(uri, user_code, complete, seconds),
        INTERVAL if interval is None else max(interval, SHORTEST),
    )


def _is_device_code(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= 16 * 1024
        and value.isascii()
        and value.isprintable()
    )


def _address(members: Mapping[str, object], name: str, allow_loopback_http: bool) -> str | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _odd(f"its {name} is no string")
    try:
        return check_url(value, what=name, allow_loopback_http=allow_loopback_http)[0]
    except UrlProblem as error:
        problem = error.problem.replace("allowLoopbackHttp", "allow_loopback_http")
    raise _odd(problem)


def _number(members: Mapping[str, object], name: str, most: float) -> float | None:
    """Seconds, `most` at most; None where nothing is said. Some write them as a string.

    Raises:
        BackendError: they are no number that a clock could count.
    """
    value = members.get(name)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _odd(f"its {name} is no number")
    # An integer may be too large for a float, so it is compared before it is made one.
    if value < 0 or (isinstance(value, float) and not math.isfinite(value)):
        raise _odd(f"its {name} is no span of time")
    return float(min(value, most))


def _odd(problem: str) -> BackendError:
    return odd("device-response", f"the provider's answer: {problem}")
