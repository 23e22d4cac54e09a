"""Property contexts (rule G17), taken by themselves."""

from __future__ import annotations

import pytest

from sasl_core import UsageError
from sasl_core.properties import PropertyContext


@pytest.fixture
def context():
    """Three requested names, two of them found."""
    context = PropertyContext(["*secret", "mailHost", "quota"])
    context.set("*secret", [b"one", b"two"])
    context.set("mailHost", [b"mx1"])
    return context


def test_g17_request_keeps_each_name_once(context):
    """A name that is asked for twice is there once, in its first place."""
    context.request("quota", "new", "new", "*secret")
    assert context.names == ("*secret", "mailHost", "quota", "new")


def test_g17_request_forgets_what_was_found(context):
    """Asking again starts anew for that name, and for no other."""
    context.request("*secret")
    assert context.get("*secret") == ()
    assert context.get("mailHost") == (b"mx1",)


def test_g17_request_of_a_starred_name_is_another_name(context):
    """`*mailHost` and `mailHost` belong to two identities."""
    context.request("*mailHost")
    assert context.get("mailHost") == (b"mx1",)
    assert not context.found("*mailHost")


def test_g17_set_of_an_unrequested_name_is_an_error(context):
    """What nobody asked for is not taken, and the rest stays."""
    for name in ("other", "*mailHost", "secret", ""):
        with pytest.raises(UsageError):
            context.set(name, [b"x"])
    assert context.names == ("*secret", "mailHost", "quota")


def test_g17_set_replaces_what_was_there(context):
    """The last word counts; no value at all is "not found"."""
    context.set("mailHost", [b"mx2", b"mx3"])
    assert context.get("mailHost") == (b"mx2", b"mx3")
    context.set("mailHost", [])
    assert not context.found("mailHost")


def test_g17_get_of_what_is_not_there_is_empty(context):
    """Neither an unfound nor an unrequested name is an error to read."""
    assert context.get("quota") == ()
    assert context.get("nobody asked") == ()
    assert not context.found("nobody asked")


def test_g17_values_are_copies(context):
    """What is read or given cannot change what is kept."""
    given = bytearray(b"mx4")
    context.set("mailHost", [bytes(given)])
    given[0] = 0
    assert context.get("mailHost") == (b"mx4",)
    assert all(type(value) is bytes for value in context.get("*secret"))


def test_g17_erase_overwrites_with_zeros(context):
    """The buffers are zeroed in place, and the request stays."""
    buffers = context._values["*secret"]
    assert [bytes(buffer) for buffer in buffers] == [b"one", b"two"]
    context.erase("*secret")
    assert [bytes(buffer) for buffer in buffers] == [b"\0\0\0", b"\0\0\0"]
    assert context.get("*secret") == ()
    assert "*secret" in context.names
    context.set("*secret", [b"three"])
    assert context.get("*secret") == (b"three",)


def test_g17_erase_of_what_is_not_there_does_nothing(context):
    """Neither twice, nor of a stranger."""
    context.erase("quota")
    context.erase("nobody asked")
    assert context.names == ("*secret", "mailHost", "quota")


def test_g17_dup_is_independent(context):
    """What happens to the one does not happen to the other."""
    copy = context.dup()
    context.erase("*secret")
    context.set("mailHost", [b"changed"])
    context.request("new")
    assert copy.get("*secret") == (b"one", b"two")
    assert copy.get("mailHost") == (b"mx1",)
    assert copy.names == ("*secret", "mailHost", "quota")
    copy.clear(requests=True)
    assert context.get("mailHost") == (b"changed",)


def test_g17_clear_erases_values_and_keeps_requests(context):
    """The plain form forgets what was found."""
    buffers = context._values["*secret"]
    context.clear()
    assert context.names == ("*secret", "mailHost", "quota")
    assert not any(context.found(name) for name in context.names)
    assert [bytes(buffer) for buffer in buffers] == [b"\0\0\0", b"\0\0\0"]


def test_g17_clear_with_requests_drops_those_too(context):
    """Nothing is left, and setting needs a new request."""
    buffers = context._values["*secret"]
    context.clear(requests=True)
    assert context.names == ()
    assert [bytes(buffer) for buffer in buffers] == [b"\0\0\0", b"\0\0\0"]
    with pytest.raises(UsageError):
        context.set("mailHost", [b"x"])


def test_g17_a_repr_shows_counts_and_no_value(context):
    """Names and numbers are for a log; values are not."""
    assert "mailHost: 1" in repr(context)
    assert "*secret: 2" in repr(context)
    for value in ("one", "two", "mx1"):
        assert value not in repr(context).replace("PropertyContext", "")
    assert "empty" in repr(PropertyContext())
