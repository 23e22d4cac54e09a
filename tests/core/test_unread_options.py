"""Options for a plugin that takes none are refused, and spoil that plugin alone."""

from __future__ import annotations

import pytest

from sasl_auxprop.memory import MemoryStore
from sasl_core import MechanismError, Server


def test_options_that_no_plugin_reads_make_it_unusable_and_say_so() -> None:
    """A table for PLAIN, which has no options, takes PLAIN away with the reason."""
    config = {"mechanisms": {"PLAIN": {"colour": "red"}}, "allow_cleartext": True}
    with Server("smtp", "mail.example.com", stores=[MemoryStore()], config=config) as server:
        with server.session() as session:
            assert "PLAIN" not in session.mechanisms()
            assert "colour" in session.rejected["PLAIN"]
            assert "takes no options" in session.rejected["PLAIN"]
            assert "red" not in session.rejected["PLAIN"]
            assert "SCRAM-SHA-256" in session.mechanisms()
        with server.session() as session, pytest.raises(MechanismError, match="takes no options"):
            _ = session.start("PLAIN", b"\0tim\0secret")
