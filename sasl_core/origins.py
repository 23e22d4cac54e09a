"""Where a declaration comes from: a distribution's name, version and requirements.

importlib_metadata parses all of METADATA with `email` to tell a name: 35 ms in a process
that reads no mail, most of it spent on imports. The two fields that a listing shows are
taken from the text itself here; whatever is out of the ordinary is left to
importlib_metadata, whose word counts.

Source: the core metadata specification of the Python packaging user guide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sasl_core.errors import printable

if TYPE_CHECKING:
    from importlib_metadata._meta import IDistribution

__all__ = ["Origin", "stated_name"]


class Origin:
    """A distribution's name and version, read once; "" where it has none."""

    __slots__ = ("_dist", "name", "version")

    def __init__(self, dist: object) -> None:
        self._dist = dist
        self.name = self._text("name")
        self.version = self._text("version")

    def _text(self, field: str) -> str:
        try:
            value = _stated(self._dist, field)
        except Exception:  # noqa: BLE001 - broken metadata of a stranger; it goes unnamed.
            return ""
        return printable(value, 128) if isinstance(value, str) else ""

    def requires(self) -> tuple[str, ...]:
        """Its requirements as written, extras included; none where they cannot be read."""
        try:
            return tuple(getattr(self._dist, "requires", None) or ())
        except Exception:  # noqa: BLE001 - only needed for advice.
            return ()


def stated_name(dist: IDistribution) -> str:
    """The name of `dist`; "" where it has none. Raises what reading it raises."""
    return str(_stated(dist, "name") or "")


def _stated(dist: object, field: str) -> object:
    """`dist.name` or `dist.version`."""
    from importlib_metadata import Distribution

    # Who answers in a way of its own is asked.
    if isinstance(dist, Distribution) and (
        getattr(type(dist), field, None) is getattr(Distribution, field)
    ):
        text = dist.read_text("METADATA")  # pyright: ignore[reportUnknownMemberType] - untyped there
        found = _header(text or "", field)
        if found:
            return found
    value: object = getattr(dist, field, None)
    return value


def _header(text: str, field: str) -> str:
    """The value of a header in the lines that begin `text`; "" unless it is a plain one."""
    found = ""
    for line in text.split("\n", 20):
        name, colon, value = line.partition(":")
        if found:
            # A line that goes on in the next is no plain one.
            return "" if line.startswith((" ", "\t")) else found
        if not colon or not name.replace("-", "").isalnum():
            return ""
        if name.lower() == field:
            found = value.strip(" \t")
            if not found.isprintable() or not found:
                return ""
    return ""
