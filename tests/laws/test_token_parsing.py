"""A token is read by `JWSValidatedToken` and by nothing else.

Its README asks for that in code review: "directly parsing the signed compact serialization by any
other means should be considered an error". Here the review is a walk through the syntax of all
that is shipped. What it looks for, and who alone may do it:

- a library for tokens (PyJWT and its kin): the validator, and of PyJWT the algorithms alone;
- a function of such a library that decodes tokens, or reads a header without verifying: nobody;
- taking something apart at its dots whose name says that it is a token: the gate;
- decoding base64url: the strict readers, for the gate and for the numbers of keys;
- the gate's own opening of tokens, and the two looks at unverified ones: who they were made for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

GATE, STRICT, TOKEN = "sasl_tokens/gate.py", "sasl_tokens/strict.py", "sasl_tokens/token.py"
VALIDATOR = "sasl_tokens/validator.py"

LIBRARIES = {"jwt", "jose", "joserfc", "jwcrypto", "authlib", "python_jwt", "google.auth.jwt"}

# Who may import what of them.
IMPORTERS = {VALIDATOR: {"jwt.algorithms"}}

DECODERS = {
    "PyJWK",
    "PyJWKClient",
    "PyJWKSet",
    "PyJWS",
    "PyJWT",
    "api_jws",
    "api_jwt",
    "decode_complete",
    "get_unverified_claims",
    "get_unverified_header",
    "get_unverified_headers",
}

# Name -> the files that may use it; a folder stands for all that is in it.
RESERVED: dict[str, tuple[str, ...]] = {
    "base64url_decode": (STRICT, "sasl_tokens/jwk.py"),
    "decode_segment": (STRICT, GATE),
    "open_token": (GATE, TOKEN),
    "OpenedToken": (GATE, TOKEN),
    "read_claims": (GATE, TOKEN, "sasl_core/entrypoints.py", "sasl_core/registry.py"),
    "read_identity": (GATE, "sasl_tokens/identity.py"),
    "check_id_token": ("sasl_tokens/identity.py", "sasl_credentials/authorization_code.py"),
    "peek_issuer_and_audience": (TOKEN, "sasl_tokens/manager.py"),
    "inspect_unverified": (TOKEN, "sasl_cli/"),
    "urlsafe_b64decode": (),
}
# The core's read_claims reads the claims of distributions on names; tokens are unknown to it.

SPLITTERS = {"split", "rsplit", "partition", "rpartition", "find", "rfind", "index", "rindex"}
TOKENISH = re.compile(r"(?i)tok|jwt|jws|bearer|compact|signed|credential")


def names_in(node: ast.AST) -> Iterator[str]:
    """Every name and attribute in an expression."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield each.id
        elif isinstance(each, ast.Attribute):
            yield each.attr


def is_library(module: str) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in LIBRARIES)


def may(file: str, files: tuple[str, ...]) -> bool:
    return any(file.startswith(each) if each.endswith("/") else file == each for each in files)


def is_dot(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in (".", b".")


def offences(source: str, file: str) -> Iterator[str]:
    """What `file`, named from its package on, does with tokens that it must not."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node, file, line)
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            yield from named(name, file, line)
        elif isinstance(node, ast.Call):
            yield from calls(node, file, line)


def imports(node: ast.Import | ast.ImportFrom, file: str, line: int) -> Iterator[str]:
    given = [alias.name for alias in node.names]
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else given
    if not {each for each in modules if is_library(each)} <= IMPORTERS.get(file, set()):
        yield f"{file}:{line}: a library for tokens is imported"
    for name in given:
        yield from named(name, file, line)


def named(name: str, file: str, line: int) -> Iterator[str]:
    if name in DECODERS:
        yield f"{file}:{line}: {name} reads tokens"
    if name in RESERVED and not may(file, RESERVED[name]):
        yield f"{file}:{line}: {name} is not for everybody"


def calls(node: ast.Call, file: str, line: int) -> Iterator[str]:
    function = node.func
    called = (
        function.attr
        if isinstance(function, ast.Attribute)
        else function.id
        if isinstance(function, ast.Name)
        else ""
    )
    first = node.args[0] if node.args else None
    named_module = str(first.value) if isinstance(first, ast.Constant) else ""
    if called in {"import_module", "__import__", "find_spec"} and is_library(named_module):
        yield f"{file}:{line}: a library for tokens is imported"
    if called == "b64decode" and _has_other_characters(node):
        yield f"{file}:{line}: base64url is decoded"
    if not isinstance(function, ast.Attribute):
        return
    owner = function.value
    if called in {"decode", "loads"} and isinstance(owner, ast.Name) and owner.id in LIBRARIES:
        yield f"{file}:{line}: tokens are decoded"
    # str.split(token, "."), re.split(r"\.", token) and token.split(".") alike.
    dots = any(map(is_dot, node.args)) or _is_pattern_of_dots(first)
    words = (name for part in (owner, *node.args) for name in names_in(part))
    if called in SPLITTERS and file != GATE and dots and any(map(TOKENISH.search, words)):
        yield f"{file}:{line}: a token is taken apart at its dots"


def _has_other_characters(node: ast.Call) -> bool:
    """Whether base64.b64decode is told of other characters than the standard's (`altchars`)."""
    second = node.args[1] if len(node.args) > 1 else None
    given = isinstance(second, ast.Constant) and isinstance(second.value, bytes)
    return given or any(word.arg == "altchars" for word in node.keywords)


def _is_pattern_of_dots(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value in (r"\.", rb"\.", "[.]", b"[.]")


def shipped(folders: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """The name and source of every module that the wheel has."""
    for package, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            yield f"{package}/{path.relative_to(folder).as_posix()}", path.read_text("utf-8")


def test_nobody_else_parses_tokens(package_folders: dict[str, Path]) -> None:
    """All that is shipped leaves tokens to the library."""
    seen = dict(shipped(package_folders))
    assert {GATE, TOKEN, VALIDATOR, "sasl_core/entrypoints.py"} <= set(seen)
    found = [each for file, source in seen.items() for each in offences(source, file)]
    assert not found, "\n".join(found)


def test_the_exceptions_are_needed(package_folders: dict[str, Path]) -> None:
    """Every file that is excepted uses what it is excepted for: none outlives its reason."""
    seen = dict(shipped(package_folders))
    for name, files in RESERVED.items():
        for file in files:
            users = [each for each in seen if may(each, (file,)) and name in seen[each]]
            assert users, f"{file} does not use {name}"
    for file in IMPORTERS:
        assert "jwt.algorithms" in seen[file]


VIOLATIONS = [
    ("import jwt", "sasl_mechanisms/x.py"),
    ("import jwt as j", "sasl_tokens/login.py"),
    ("from jwt import decode", "sasl_profiles/x.py"),
    ("from jwt.algorithms import RSAAlgorithm", "sasl_tokens/token.py"),
    ("import jwt", VALIDATOR),
    ("from jwt import algorithms", VALIDATOR),
    ("from jwt.api_jws import PyJWS", VALIDATOR),
    ("def f():\n    import jwt.utils", "sasl_cli/token.py"),
    ("import importlib\nimportlib.import_module('jwt')", "sasl_core/x.py"),
    ("__import__('jwt.api_jwt')", "sasl_core/x.py"),
    ("from jose import jws", "sasl_auxprop/x.py"),
    ("import joserfc.jwt", "sasl_auxprop/x.py"),
    ("from authlib.jose import jwt", "sasl_canon/x.py"),
    ("jwt.decode(text, options={})", "sasl_mechanisms/x.py"),
    ("library.get_unverified_header(text)", "sasl_tokens/manager.py"),
    ("self._jws.decode_complete(text)", VALIDATOR),
    ("library.PyJWKClient(url)", "sasl_tokens/jwks.py"),
    ("token.split('.')", "sasl_mechanisms/x.py"),
    ("header, _, rest = self.signed.partition('.')", "sasl_tokens/login.py"),
    ("jwt_text.encode().rsplit(b'.', 1)", "sasl_cli/token.py"),
    ("str.split(access_token, '.')", "sasl_cli/token.py"),
    ("re.split(r'\\.', token)", "sasl_cli/token.py"),
    ("answer['x'].bearer.value.split('.', 2)[1]", "sasl_credentials/x.py"),
    ("token[: token.index('.')]", "sasl_tokens/provider.py"),
    ("from base64 import urlsafe_b64decode", "sasl_http/x.py"),
    ("base64.urlsafe_b64decode(part)", STRICT),
    ("from sasl_tokens.strict import decode_segment", "sasl_tokens/login.py"),
    ("base64.b64decode(part, altchars=b'-_')", "sasl_tokens/jwk.py"),
    ("base64.b64decode(part, b'-_')", "sasl_tokens/jwk.py"),
    ("from sasl_tokens.strict import base64url_decode", "sasl_tokens/provider.py"),
    ("from sasl_tokens.gate import open_token", "sasl_tokens/manager.py"),
    ("gate.read_claims(gate.open_token(text))", "sasl_cli/token.py"),
    ("from sasl_tokens.token import peek_issuer_and_audience", "sasl_tokens/provider.py"),
    ("from sasl_tokens.token import peek_issuer_and_audience as p", "sasl_mechanisms/x.py"),
    ("from sasl_tokens.token import inspect_unverified", "sasl_tokens/manager.py"),
    ("from sasl_tokens.gate import read_identity", "sasl_credentials/authorization_code.py"),
    ("from sasl_tokens.identity import check_id_token", "sasl_mechanisms/x.py"),
    ("sasl_tokens.token.inspect_unverified(text)", "sasl_mechanisms/x.py"),
]


@pytest.mark.parametrize(("source", "file"), VIOLATIONS)
def test_a_violation_is_found(source: str, file: str) -> None:
    """Each way around the library is seen."""
    assert list(offences(source, file))


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("from jwt.algorithms import get_default_algorithms", VALIDATOR),
        ("b64decode(text, LIMIT)", "sasl_profiles/x.py"),
        ("from sasl_tokens import JWSValidatedToken", "sasl_mechanisms/x.py"),
        ("host.split('.')", "sasl_core/x.py"),
        ("token.split(',')", "sasl_core/x.py"),
        ("data.split(b'.')", GATE),
        ("base64.b64decode(text, validate=True)", "sasl_core/x.py"),
        ("text.decode('ascii')", "sasl_core/x.py"),
        ("from sasl_tokens.token import peek_issuer_and_audience", "sasl_tokens/manager.py"),
        ("from sasl_tokens.token import inspect_unverified", "sasl_cli/token_inspect.py"),
        ("from sasl_core.entrypoints import read_claims", "sasl_core/registry.py"),
    ],
)
def test_what_is_right_is_let_be(source: str, file: str) -> None:
    """Neither the library's own use nor other dots are offences."""
    assert not list(offences(source, file))
