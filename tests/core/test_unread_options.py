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


def test_a_server_logs_once_what_it_does_not_offer(caplog: pytest.LogCaptureFixture) -> None:
    """Where the configuration names a mechanism that cannot be used; not what peers ask for."""
    config = {"mechanisms": {"EXTERNAL": {"need_acount": True}}, "mech_list": ["PLAIN", "X-NONE"]}
    with Server("smtp", "mail.example.com", stores=[MemoryStore()], config=config) as server:
        for _ in range(3):
            with server.session() as session:
                assert session.mechanisms() == ()
                with pytest.raises(MechanismError):
                    _ = session.start("X-OTHER", b"")
    told = [each.getMessage() for each in caplog.records if "is not offered" in each.getMessage()]
    assert len(told) == 1, told
    assert told[0].startswith("mechanism 'X-NONE' is not offered: ")

    caplog.clear()
    config = {"mechanisms": {"EXTERNAL": {"need_acount": True}}}
    with Server("smtp", "mail.example.com", stores=[MemoryStore()], config=config) as server:
        for _ in range(3):
            with server.session() as session, pytest.raises(MechanismError):
                _ = session.start("EXTERNAL", b"")
    told = [each.getMessage() for each in caplog.records if "is not offered" in each.getMessage()]
    assert len(told) == 1, told
    assert "did you mean 'need_account'?" in told[0]
