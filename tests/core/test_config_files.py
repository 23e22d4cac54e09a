"""Which file is read, which is not trusted, and what any bytes in it come to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sasl_core import conf_files
from sasl_core.config import Configuration
from sasl_core.errors import ConfigError

SECRET = "hunter2-swordfish"


@attrs.define
class Options:
    path: Path = Path("default")
    more: tuple[Path, ...] = ()


def write(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def realm(made: Configuration) -> str:
    return made.core.user_realm


def refused(path: Path | str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        Configuration.load("smtp", path=path)
    return caught.value


def outcome(path: Path) -> Configuration | ConfigError:
    """What a file makes; any error but ours goes through."""
    try:
        return Configuration.load("smtp", path=path, declared=dict)
    except ConfigError as error:
        return error


# --- which file ---------------------------------------------------------------------


def test_the_first_file_counts(tmp_path: Path) -> None:
    """Directory by directory, sasl.toml goes before <appname>.conf; the others are told of."""
    one, two = tmp_path / "one", tmp_path / "two"
    search = [str(tmp_path / "none"), str(one), str(two)]
    assert Configuration.load("smtp", search=search).origin == "defaults"
    files = [
        write(two / "smtp.conf", "user_realm: two-flat"),
        write(two / "sasl.toml", 'user_realm = "two-toml"'),
        write(one / "smtp.conf", "user_realm: one-flat"),
        write(one / "sasl.toml", 'user_realm = "one-toml"'),
    ]
    write(one / "imap.conf", "user_realm: imap")
    for file in reversed(files):
        made = Configuration.load("smtp", search=search)
        assert realm(made) == f"{file.parent.name}-{'toml' if file.suffix == '.toml' else 'flat'}"
        assert made.origin == str(file)
        assert set(made.shadowed) == {str(f) for f in files if f.exists()} - {str(file)}
        file.unlink()


def test_one_file_given_is_the_only_one(tmp_path: Path) -> None:
    """`path` is read by its suffix, and no other file beside it."""
    write(tmp_path / "sasl.toml", 'user_realm = "toml"')
    flat = write(tmp_path / "any.name", "user_realm: flat")
    assert realm(Configuration.load("smtp", path=str(flat))) == "flat"
    assert realm(Configuration.load("smtp", path=tmp_path / "sasl.toml")) == "toml"
    error = refused(tmp_path / "none.toml")
    assert error.problem == "there is no such file"
    assert error.file == str(tmp_path / "none.toml")


def test_the_environment_names_the_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SASL_CONF_PATH lists directories; empty parts do not count, without any it is not set."""
    write(tmp_path / "b" / "sasl.toml", 'user_realm = "b"')
    parts = ["", str(tmp_path / "a"), "", str(tmp_path / "b"), ""]
    monkeypatch.setenv("SASL_CONF_PATH", os.pathsep.join(parts))
    assert realm(Configuration.load("smtp")) == "b"
    assert realm(Configuration.load("smtp", search=[])) == ""
    for empty in ("", os.pathsep):
        monkeypatch.setenv("SASL_CONF_PATH", empty)
        assert conf_files.search_path() == ("/etc/sasl", "/etc/sasl2")
    monkeypatch.delenv("SASL_CONF_PATH")
    assert conf_files.search_path() == ("/etc/sasl", "/etc/sasl2")


@pytest.mark.skipif(os.name != "posix", reason="setuid programs are a matter of POSIX")
@pytest.mark.parametrize("name", ["geteuid", "getegid"])
def test_a_setuid_program_ignores_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """CVE-2004-0884: who starts a program with more rights does not choose its configuration."""
    write(tmp_path / "sasl.toml", 'user_realm = "chosen-by-the-user"')
    monkeypatch.setenv("SASL_CONF_PATH", str(tmp_path))
    assert conf_files.search_path() == (str(tmp_path),)
    monkeypatch.setattr(conf_files, "DEFAULT_SEARCH", (str(tmp_path / "system"),))
    write(tmp_path / "system" / "sasl.toml", 'user_realm = "system"')
    other = getattr(os, name)() + 1
    monkeypatch.setattr(os, name, lambda: other)
    assert realm(Configuration.load("smtp")) == "system"


def test_a_relative_path_counts_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path in a file means the same whatever the working directory; in a mapping it is kept."""
    write(tmp_path / "etc" / "sasl.toml", '[audit.log]\npath = "a.db"\nmore = ["b", "/c"]\n')
    monkeypatch.chdir(tmp_path)
    made = Configuration.load("smtp", path="etc/sasl.toml")
    monkeypatch.chdir("/")
    here = tmp_path / "etc"
    assert made.plugin_options("audit", "log", Options) == Options(
        here / "a.db", (here / "b", Path("/c"))
    )
    table = {"audit": {"log": {"path": Path("a.db"), "more": "b /c"}}}
    made = Configuration.from_mapping(table, "smtp")
    assert made.plugin_options("audit", "log", Options) == Options(
        Path("a.db"), (Path("b"), Path("/c"))
    )


# --- which is not trusted -----------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="the mode says less elsewhere")
def test_a_file_that_anybody_may_write(tmp_path: Path) -> None:
    """It is refused, whatever it says, with the way to mend it; the group may write."""
    file = write(tmp_path / "sasl.toml", "not even TOML")
    file.chmod(0o646)
    error = refused(file)
    assert error.problem == "anybody may write to the file; take that away with: chmod o-w"
    with pytest.raises(ConfigError, match="chmod o-w"):
        Configuration.load("smtp", search=[str(tmp_path)])
    write(file, "").chmod(0o664)
    assert Configuration.load("smtp", path=file).origin == str(file)


@pytest.mark.skipif(os.name != "posix", reason="FIFOs and devices are a matter of POSIX")
def test_what_is_no_file(tmp_path: Path) -> None:
    """A directory, a FIFO and a device are refused without waiting for them."""
    (tmp_path / "sasl.toml").mkdir()
    os.mkfifo(tmp_path / "smtp.conf")
    started = time.monotonic()
    for path in (tmp_path / "sasl.toml", tmp_path / "smtp.conf", "/dev/zero"):
        assert "no regular file" in refused(path).problem
    assert time.monotonic() - started < 5
    with pytest.raises(ConfigError, match="no regular file"):
        Configuration.load("smtp", search=[str(tmp_path)])


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system is told in its words; the search does not go on."""
    write(tmp_path / "sasl.toml", "")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        Configuration.load("smtp", search=[str(tmp_path)])


def test_links_are_followed_and_circles_refused(tmp_path: Path) -> None:
    """A symbolic link serves as a file; one to itself is an error, not a missing file."""
    write(tmp_path / "real", 'user_realm = "linked"')
    (tmp_path / "sasl.toml").symlink_to("real")
    assert realm(Configuration.load("smtp", search=[str(tmp_path)])) == "linked"
    (tmp_path / "circle").symlink_to("circle")
    assert "cannot be read" in refused(tmp_path / "circle").problem


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "\udfff.toml", ""])
def test_a_path_that_is_none(path: str) -> None:
    """No string makes another exception than ours."""
    assert refused(path).problem


def test_a_large_file(tmp_path: Path) -> None:
    """1 MiB is read, one byte more is not."""
    file = write(tmp_path / "smtp.conf", b"#" * (1 << 20))
    assert Configuration.load("smtp", path=file).core.mech_list is None
    write(file, b"#" * ((1 << 20) + 1))
    assert refused(file).problem == "the file has more than 1048576 bytes"


# --- any bytes ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sasl.toml", "smtp.conf"])
@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b"\xef\xbb\xbf# x\n", 1, "begins with a byte order mark"),
        (b"# 1\n# 2\n# \xff\n", 3, "is not UTF-8"),
        (b"# 1\nmech_list\n", 2, "expected"),
        (b"\xff\xfe#\0\n\0", 1, "is not UTF-8"),
    ],
)
def test_bytes_that_are_no_text(
    tmp_path: Path, name: str, data: bytes, line: int, problem: str
) -> None:
    """Each form says file and line."""
    error = refused(write(tmp_path / name, data))
    assert (error.file, error.line) == (str(tmp_path / name), line)
    assert problem.lower() in error.problem.lower()


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (f'a = "{SECRET}', 1, "Unterminated string|Illegal character"),
        (f"\npassword = {SECRET}", 2, "not TOML: Invalid value"),
        (f'\n\na = "x"\na = "{SECRET}"', 4, "Cannot overwrite a value"),
        ("\n# \0", 2, "invalid character"),
        ("a = " + "[" * 100_000, None, "nested too deeply"),
        ("a = " + "{a=" * 100_000, None, "nested too deeply"),
        ("a." * 500_000 + "a = 1", None, "nested too deeply"),
        ("[" + '""."".' * 100_000 + "a]", None, "nested too deeply"),
        ("a = " + "9" * 5000, None, "a number is too long"),
        ("a = 2000-02-30", 1, "Invalid date"),
    ],
)
def test_text_that_is_no_toml(tmp_path: Path, text: str, line: int | None, problem: str) -> None:
    """It is refused at once, with the line where that is known, and no value is shown."""
    started = time.monotonic()
    error = refused(write(tmp_path / "sasl.toml", text))
    assert time.monotonic() - started < 5
    assert error.line == line
    assert any(part in error.problem for part in problem.split("|"))
    assert SECRET not in str(error)


def reachable(error: BaseException) -> Iterator[object]:
    """The error, what caused it, and every local variable of its frames outside this file."""
    pending: list[BaseException | None] = [error]
    while pending:
        item = pending.pop()
        if item is None:
            continue
        yield from (item, item.args, vars(item))
        pending += [item.__cause__, item.__context__]
        traceback = item.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename != __file__:
                yield from traceback.tb_frame.f_locals.values()
            traceback = traceback.tb_next


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sasl.toml", f'[audit.log]\npath = "{SECRET}"\nx = = 3\n'),
        ("sasl.toml", f'[audit.log]\npath = "{SECRET}"\nmore = 3\n'),
        ("sasl.toml", f'[audit.log]\nmore = "{SECRET}"\nother = "{SECRET}"\n'),
        ("smtp.conf", f"log_path: {SECRET}\nlog_more\n"),
        ("smtp.conf", f"log_path: {SECRET}\nmin_ssf: {SECRET}\n"),
        ("smtp.conf", f"log_other: {SECRET}\n"),
    ],
)
def test_an_error_holds_no_secret(tmp_path: Path, name: str, text: str) -> None:
    """Neither message nor detail, nor any frame, cause or context of the error shows a value."""
    file = write(tmp_path / name, text)
    with pytest.raises(ConfigError) as caught:
        Configuration.load("smtp", path=file, declared=lambda: {"audit": ["log"]}).plugin_options(
            "audit", "log", Options
        )
    assert SECRET not in f"{caught.value!r}{caught.value}{caught.value.detail}"
    for thing in reachable(caught.value):
        assert SECRET not in repr(thing)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
@pytest.mark.parametrize("name", ["sasl.toml", "smtp.conf"])
def test_any_bytes_are_read_or_refused_in_our_own_words(
    tmp_path: Path, name: str, data: bytes
) -> None:
    """No file makes another exception than ours, and each names the file."""
    made = outcome(write(tmp_path / name, data))
    assert str(made).isprintable()
    assert tmp_path.name in str(made)


TOML = st.lists(
    st.sampled_from(
        ["[", "]", "[[", "{", "}", "=", ".", ",", '"', "'", "\n", " ", "a", "1", "1979-05-27", "T",
         "true", "inf", "0x", "_", "e", "\\", "#", "mech_list", "auxprop", "sasldb", "applications"]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TOML)
def test_anything_like_toml_is_read_or_refused_in_our_own_words(tmp_path: Path, text: str) -> None:
    """The pieces of TOML in any order make no other exception than ours."""
    made = outcome(write(tmp_path / "sasl.toml", text))
    assert str(made).isprintable()
