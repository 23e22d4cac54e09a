"""Where a declaration comes from, read without parsing all of METADATA."""

from __future__ import annotations

from email import message_from_string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from importlib_metadata import Distribution

from sasl_core.origins import Origin, stated_name


class Metadata(Distribution):
    """A distribution that has METADATA and nothing else."""

    def __init__(self, text: str) -> None:
        self.text = text

    def read_text(self, filename: object) -> str | None:
        return self.text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        return Path(str(path))


def origin(metadata: str) -> tuple[str, str]:
    """Name and version as a listing shows them."""
    found = Origin(Metadata(metadata))
    return found.name, found.version


@pytest.mark.parametrize(
    "metadata",
    [
        "Metadata-Version: 2.1\nName: sasl-x\nVersion: 2.5\n",
        "Metadata-Version: 2.1\nNAME:sasl-x\nversion:\t2.5\n\nName: other\n",
        "Metadata-Version: 2.1\nSummary: of\n Name: other\nName: sasl-x\nVersion: 2.5\n",
        "Metadata-Version: 2.1\r\nName: sasl-x\r\nVersion: 2.5\r\n",
        "Metadata-Version: 2.1\nName: sasl-x\nName: other\nVersion: 2.5\n",
        "".join(f"Classifier: {n}\n" for n in range(40)) + "Name: sasl-x\nVersion: 2.5\n",
    ],
)
def test_the_fields_are_those_of_the_header(metadata: str) -> None:
    """However METADATA is written, the fields are what importlib_metadata reads in it."""
    assert origin(metadata) == ("sasl-x", "2.5")


@pytest.mark.parametrize(
    "metadata", ["", "no header\nName: sasl-x\n", "Metadata-Version: 2.1\n\nName: sasl-x\n"]
)
def test_what_has_no_name_has_none(metadata: str) -> None:
    """A line below the header is no field."""
    assert origin(metadata) == ("", "")


def test_no_version_is_no_version() -> None:
    """Each field stands for itself."""
    assert origin("Metadata-Version: 2.1\nName: sasl-x\n") == ("sasl-x", "")


def test_the_plain_form_is_read_without_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """METADATA as every build tool writes it is never handed to `email`."""

    def parsed(_: Distribution) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(Distribution, "metadata", property(parsed))
    assert origin("Metadata-Version: 2.1\nName: sasl-x\nVersion: 2.5\n") == ("sasl-x", "2.5")


class Renamed(Metadata):
    """A distribution that says its name in a way of its own."""

    @property
    def name(self) -> str:
        return "its-own"


def test_a_distribution_with_a_word_of_its_own_is_asked() -> None:
    """A provider that overrides `name` is believed, not its METADATA."""
    dist = Renamed("Metadata-Version: 2.1\nName: sasl-x\nVersion: 2.5\n")
    assert stated_name(dist) == "its-own"
    assert Origin(dist).version == "2.5"


LINES = st.sampled_from(
    [
        "Metadata-Version: 2.1",
        "Name: a",
        "Name: b ",
        "name:c",
        "Name:",
        "Name : d",
        " folded",
        "\tfolded",
        "Version: 1",
        "",
        "no colon",
        "X Y: z",
        ":",
        "Name: \x0b",
    ]
)


@given(st.lists(LINES, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_it_is_what_email_would_have_said(lines: list[str], end: str) -> None:
    """A name that is read from the text is the one that parsing the whole finds."""
    text = end.join(lines)
    parsed = str(message_from_string(text).get("Name") or "")
    try:
        name = stated_name(Metadata(text))
    except (KeyError, FileNotFoundError):  # no such field, or no text at all
        name = ""
    assert name.strip() == parsed.strip()
