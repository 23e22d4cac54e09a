"""The canonicalisers that come with sasl-core pass the conformance kit."""

from __future__ import annotations

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
