"""The canonicalisers that come with sasl-core pass the conformance kit."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sasl_core.testing import CanonicalizerConformance


class TestInternal(CanonicalizerConformance):
    """INTERNAL."""

    name = "INTERNAL"
    canonical = {
        "alice": "alice",
        " alice\t": "alice",
        "Alice": "Alice",
        "alice@example.org": "alice@example.org",
        "I\u00adX": "IX",
        "\u00aa": "a",
        "\uff41lice": "alice",
    }
    refused = ("", " ", "a b", "a\0", "\ud800", "x" * 257, "\u0627\u0031")
    distinct = (
        ("alice", "Alice"),
        ("alice", "alice@example.org"),
        ("alice@a.example", "alice@b.example"),
        ("e", "\u00e9"),
    )


class TestPrecis(CanonicalizerConformance):
    """precis, as it is without options."""

    name = "precis"
    canonical = {
        "alice": "alice",
        "Alice": "Alice",
        "alice@example.org": "alice@example.org",
        "\uff41lice\uff20example.org": "alice@example.org",
        "e\u0301": "\u00e9",
    }
    refused: ClassVar[tuple[str, ...]] = (
        "",
        " ",
        " alice",
        "a b",
        "a\0",
        "\ud800",
        "x" * 257,
        "\u0627x",
        "\u2163",
        "a@",
        "@a",
    )
    distinct: ClassVar[tuple[tuple[str, str], ...]] = (
        ("alice", "Alice"),
        ("alice", "alice@example.org"),
        ("alice@a.example", "alice@b.example"),
        ("e", "\u00e9"),
        ("ss", "\u00df"),
    )


class TestPrecisCaseMapped(TestPrecis):
    """precis with UsernameCaseMapped."""

    config = {"canon_user": {"precis": {"profile": "UsernameCaseMapped"}}}
    canonical = {**TestPrecis.canonical, "Alice": "alice", "ALICE@Example.ORG": "alice@example.org"}
    distinct = TestPrecis.distinct[1:]


class TestPrecisOpaque(TestPrecis):
    """precis with OpaqueString."""

    config = {"canon_user": {"precis": {"profile": "OpaqueString"}}}
    canonical = {
        "alice": "alice",
        "Alice": "Alice",
        "a\u00a0b": "a b",
        "\uff41lice": "\uff41lice",
        "\u2163": "\u2163",
    }
    refused = ("", "a\0", "\ud800", "x" * 257, "a@", "@a")
    distinct = (*TestPrecis.distinct, ("alice", "alice "))


class TestMap(CanonicalizerConformance):
    """map, after INTERNAL."""

    name = "map"
    config = {"canon_user": {"map": {"rules": str(Path(__file__).with_name("names.rules"))}}}
    canonical = {
        "ali@corp.example": "alice",
        "root@corp.example": "nobody",
        "bob@corp.example": "bob",
        " bob@corp.example": "bob",
        "carl.dee@lab.example": "dee",
        "bob@CORP.example": "bob@CORP.example",
        "bob@sub.corp.example": "bob@sub.corp.example",
        "Carl.dee@lab.example": "Carl.dee@lab.example",
    }
    refused = (*TestInternal.refused, "a@b@corp.example")
    distinct = (
        *TestInternal.distinct,
        ("bob", "bob@CORP.example"),
        ("root@corp.example", "root"),
        ("carl.dee@lab.example", "carl.dee"),
    )
