"""Cyrus SASL's library with channel binding, which Debian's sample programs cannot be given.

A program of its own, so that the library has a configuration of its own and can bring nobody
down with it; `Cyrus` starts it. It speaks as the sample programs do (`cyrus.py`), without `-l`:
its client reads the password after the server's list, and both end with 1 after an error of the
library's. Structures and numbers are those of sasl.h (Cyrus SASL 2.1).
"""

from __future__ import annotations

import ctypes
import sys
from base64 import b64decode, b64encode
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_ulong, c_void_p
from typing import Any

OK, CONTINUE = 0, 1
USERNAME, BINDING = 0, 21
CALLBACK_END, CALLBACK_USER, CALLBACK_AUTHNAME, CALLBACK_PASS = 0, 0x4001, 0x4002, 0x4004


class Callback(ctypes.Structure):
    _fields_ = [("id", c_ulong), ("proc", c_void_p), ("context", c_void_p)]


class Binding(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("critical", c_int), ("len", c_ulong), ("data", c_char_p)]


class Secret(ctypes.Structure):
    """A password; the library reads on behind its end, where the octets are."""

    _fields_ = [("len", c_ulong), ("data", ctypes.c_char * 256)]


ASK_NAME = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, POINTER(c_char_p), POINTER(c_uint))
ASK_SECRET = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, POINTER(POINTER(Secret)))


class Connection:
    """One of the library's; `critical` is its word for a binding that is required."""

    def __init__(self, name: bytes, data: bytes, critical: bool) -> None:
        self.sasl = ctypes.CDLL("libsasl2.so.2")
        self.sasl.sasl_errdetail.restype = c_char_p
        self.sasl.sasl_errstring.restype = c_char_p
        self.handle = c_void_p()
        self.kept: list[object] = []
        self.binding = Binding(name, critical, len(data), data)

    def check(self, status: int) -> int:
        """`status`, or the end of this program where it is an error."""
        if status not in (OK, CONTINUE):
            text: bytes = self.sasl.sasl_errstring(status, None, None)
            detail: bytes = self.sasl.sasl_errdetail(self.handle) if self.handle.value else b"-"
            tell(f"error {status}: {text.decode()}: {detail.decode()}")
            sys.exit(1)
        return status

    def set_binding(self) -> None:
        self.check(self.sasl.sasl_setprop(self.handle, BINDING, byref(self.binding)))

    def begin_client(self, user: bytes, password: bytes) -> None:
        name = c_char_p(user)
        secret = Secret(len(password), password)

        def ask_name(_: object, which: int, result: Any, length: Any) -> int:
            del which
            result[0] = name
            if length:
                length[0] = len(user)
            return OK

        def ask_secret(_: object, context: object, which: int, result: Any) -> int:
            del context, which
            result[0] = ctypes.pointer(secret)
            return OK

        name_call, secret_call = ASK_NAME(ask_name), ASK_SECRET(ask_secret)
        rows = [
            Callback(key, ctypes.cast(call, c_void_p), None)
            for key, call in (
                (CALLBACK_USER, name_call),
                (CALLBACK_AUTHNAME, name_call),
                (CALLBACK_PASS, secret_call),
            )
        ]
        callbacks = (Callback * 4)(*rows, Callback(CALLBACK_END, None, None))
        # The library keeps pointers to all of these, which Python does not know of.
        self.kept += [name, secret, name_call, secret_call, callbacks]
        self.check(self.sasl.sasl_client_init(None))
        self.check(
            self.sasl.sasl_client_new(
                b"imap", b"localhost", None, None, callbacks, 0, byref(self.handle)
            )
        )
        self.set_binding()

    def begin_server(self) -> None:
        self.check(self.sasl.sasl_server_init(None, b"sample"))
        self.check(
            self.sasl.sasl_server_new(
                b"imap", b"localhost", b"localhost", None, None, None, 0, byref(self.handle)
            )
        )
        self.set_binding()

    def call(self, function: str, *before: object) -> tuple[int, bytes | None]:
        """Call what ends in the message that it returns."""
        out, length = c_void_p(), c_uint()
        arguments = [*before, byref(out), byref(length)]
        status = self.check(getattr(self.sasl, function)(self.handle, *arguments))
        return status, ctypes.string_at(out.value, length.value) if out.value else None

    def text(self, number: int) -> str:
        found = c_char_p()
        self.check(self.sasl.sasl_getprop(self.handle, number, byref(found)))
        return (found.value or b"").decode()


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say(side: str, message: bytes) -> None:
    tell(f"{side}: {b64encode(message).decode()}")


def hear(side: str) -> bytes:
    line = sys.stdin.readline()
    if not line.startswith(f"{side}:"):
        tell("the other side has gone")
        sys.exit(1)
    return b64decode(line[2:].strip())


def serve(connection: Connection, offer: str) -> None:
    connection.begin_server()
    say("S", offer.encode())
    name, separator, initial = hear("C").partition(b"\0")
    first = initial if separator else None
    status, out = connection.call("sasl_server_start", name, first, c_uint(len(initial)))
    while status == CONTINUE:
        say("S", out or b"")
        response = hear("C")
        status, out = connection.call("sasl_server_step", response, c_uint(len(response)))
    tell("Negotiation complete")
    tell(f"Username: {connection.text(USERNAME)}")
    say("S", b"srv message 1\0")
    _ = hear("C")


def log_in(connection: Connection, user: str) -> None:
    offered = hear("S")
    connection.begin_client(user.encode(), sys.stdin.readline().rstrip("\n").encode())
    chosen = c_char_p()
    out, length = c_void_p(), c_uint()
    status = connection.check(
        connection.sasl.sasl_client_start(
            connection.handle, offered, None, byref(out), byref(length), byref(chosen)
        )
    )
    initial = ctypes.string_at(out.value, length.value) if out.value else b""
    say("C", (chosen.value or b"") + b"\0" + initial)
    while status == CONTINUE:
        challenge = hear("S")
        status, message = connection.call(
            "sasl_client_step", challenge, c_uint(len(challenge)), None
        )
        if message is not None:
            say("C", message)
    tell("Negotiation complete")
    _ = hear("S")
    say("C", b"client message 1\0")


def main(arguments: Sequence[str]) -> None:
    """Side; what a server offers, or the client's user; type, data in hex; whether required."""
    side, what, name, data, critical = arguments
    connection = Connection(name.encode(), bytes.fromhex(data), critical == "critical")
    if side == "server":
        serve(connection, what)
    else:
        log_in(connection, what)


if __name__ == "__main__":
    main(sys.argv[1:])
