"""The command itself: what is missing, what is broken, how it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cli_runs import PASSWORD, Sasl, lines

BUILT_IN = {"auth", "config", "demo", "passwd", "plugins", "serve", "token", "users"}

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Hidden())
from sasl_cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("name", ["typer", "rich"])
@pytest.mark.parametrize("arguments", [(), ("--help",), ("demo",)])
def test_without_its_extra_it_says_in_one_line_what_to_install(
    sasl: Sasl, name: str, arguments: tuple[str, ...]
) -> None:
    """Without typer or rich: one line that names the extra, and 1."""
    done = sasl.run(*arguments, code=HIDE.format(name=name))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'sasl-core[cli]'" in done.stderr


def test_the_version_is_the_distributions(sasl: Sasl) -> None:
    """`sasl --version` names the version that is installed."""
    from importlib.metadata import version

    done = sasl.run("--version")
    assert (done.returncode, done.stdout) == (0, f"sasl-core {version('sasl-core')}\n")


def test_help_names_every_command_with_a_whole_sentence(sasl: Sasl) -> None:
    """`sasl --help` has a line for each command, none of them cut off."""
    done = sasl.run("--help")
    listed = done.stdout.partition("Commands:\n")[2].splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[0] for line in listed} == BUILT_IN
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize(
    "command",
    [*sorted(BUILT_IN), "config check", "token inspect", "token validate", "token fetch", ""],
)
def test_each_help_fits_a_terminal(sasl: Sasl, command: str) -> None:
    """No line of any help is wider than 80 columns, and every option is explained."""
    done = sasl.run(*command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, lines(done.stdout))) <= 80
    options = done.stdout.partition("Options:\n")[2].partition("\n\n")[0]
    assert options.count("--help") == 1
    assert "--install-completion" not in options


def test_an_unknown_command_names_the_nearest(sasl: Sasl) -> None:
    """A slip of the keyboard: one line, the command that was meant, and 2."""
    done = sasl.run("paswd")
    assert done.returncode == 2
    assert done.stderr == "sasl: no command 'paswd'; did you mean 'passwd'?\n"


def test_nothing_is_loaded_that_the_command_does_not_need(sasl: Sasl) -> None:
    """`sasl users` loads no other command, no profile, no asyncio server of ours."""
    code = """
    import sys
    from sasl_cli.app import run
    status = run(sys.argv[1:])
    print(*sys.modules)
    """
    done = sasl.run("config", "check", "--help", code=code)
    loaded = set(done.stdout.split())
    assert "sasl_cli.config" in loaded
    assert not {"sasl_cli.demo", "sasl_cli.serve", "sasl_profiles", "sasl_core.aio"} & loaded


def test_strangers_bring_commands(sasl: Sasl) -> None:
    """A function, a typer application, and a module that holds one as `command`."""
    sasl.module(
        "stranger",
        """
        import typer

        app = typer.Typer(add_completion=False)

        @app.command()
        def one() -> None:
            "The first."
            print("one of two")

        @app.command()
        def two() -> None:
            "The second."

        def greet(name: str) -> None:
            "Say hello."
            print(f"hello {name}")

        command = greet
        """,
    )
    sasl.install(
        "stranger",
        ("commands", "greet", "stranger:greet"),
        ("commands", "tree", "stranger:app"),
        ("commands", "whole", "stranger"),
    )
    assert sasl.run("greet", "tim").stdout == "hello tim\n"
    assert sasl.run("whole", "tim").stdout == "hello tim\n"
    assert sasl.run("tree", "one").stdout == "one of two\n"
    assert "greet    Say hello." in sasl.run("--help").stdout


@pytest.mark.parametrize(
    ("source", "value", "reason"),
    [
        ("import nowhere_to_be_found", "odd", "nowhere_to_be_found"),
        (f"raise ValueError({PASSWORD!r})", "odd", "ValueError"),
        ("raise SystemExit(3)", "odd", "SystemExit"),
        ("command = 7", "odd", "neither a function nor a typer.Typer"),
        ("", "odd:missing", "AttributeError"),
        ("def command(a: 'Nowhere') -> None: ...", "odd", "typer cannot make"),
    ],
)
def test_a_broken_command_spoils_no_other(sasl: Sasl, source: str, value: str, reason: str) -> None:
    """It is named in the help, says why when called, and the others go on."""
    sasl.module("odd", source)
    sasl.install("odd-dist", ("commands", "odd", value))
    shown = sasl.run("--help")
    assert shown.returncode == 0
    assert "odd      Not usable: " in shown.stdout
    called = sasl.run("odd")
    assert called.returncode == 1
    assert reason in called.stderr
    assert len(called.stderr.splitlines()) == 1
    assert sasl.run("users", "--help").returncode == 0


def test_two_that_claim_one_name_are_chosen_between(sasl: Sasl) -> None:
    """Neither is run, both are named, until plugin_list chooses."""
    sasl.module("mine", "def command() -> None:\n    print('mine')")
    sasl.module("yours", "def command() -> None:\n    print('yours')")
    sasl.install("mine", ("commands", "greet", "mine"))
    sasl.install("yours", ("commands", "greet", "yours"))
    done = sasl.run("greet")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'mine'" in done.stderr
    assert "'yours'" in done.stderr
    etc = sasl.folder / "etc"
    etc.mkdir()
    (etc / "sasl.toml").write_text('plugin_list = ["yours:greet"]\n')
    assert sasl.run("greet").stdout == "yours\n"


def test_what_a_foreign_exception_says_is_not_shown(sasl: Sasl) -> None:
    """Of an exception that is not ours only the type and the place are told."""
    sasl.module("odd", f"def command() -> None:\n    raise KeyError({PASSWORD!r})")
    sasl.install("odd", ("commands", "odd", "odd"))
    done = sasl.run("odd")
    assert (done.returncode, done.stderr) == (1, "sasl: odd: unexpected KeyError in odd.py:2\n")


def test_an_interruption_is_130(sasl: Sasl) -> None:
    """Control-C ends a command without a word."""
    sasl.module("odd", "def command() -> None:\n    raise KeyboardInterrupt")
    sasl.install("odd", ("commands", "odd", "odd"))
    done = sasl.run("odd")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_reader_that_has_gone_is_no_error_to_tell(sasl: Sasl) -> None:
    """`sasl plugins --json | head -c 1` ends without a word."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "sasl_cli", "plugins", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=sasl.environment(),
        cwd=sasl.folder,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(20) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (b"\xff\xfe",),
        (b"passwd", b"-p", b"--db", b"d", b"\xff"),
        (b"passwd", b"-p", b"--db", b"\xff", b"tim"),
        (b"passwd", b"-p", b"--realm", b"\xff", b"tim"),
        (b"passwd", b"-p", b"--db", b"d", b"a" * 100_000),
        (b"passwd", b"-p", b"--db", b"d", b"\x01\x1b[31m"),
        (b"passwd", b"-p", b"--db", b"d" * 5000, b"tim"),
        (b"passwd", b"-p", b"--appname", b"\xff", b"tim"),
        (b"users", b"--db", b"\xff"),
        (b"users", b"--config", b"\xff"),
        (b"config", b"check", b"--appname", b"../x"),
        (b"serve", b"smtp", b"--listen", b"\xff:0"),
        (b"serve", b"\xff", b"--listen", b"127.0.0.1:0"),
        (b"auth", b"\xff://127.0.0.1", b"--user", b"tim", b"-p"),
        (b"auth", b"smtp://127.0.0.1:1", b"--mechanism", b"\xff", b"--user", b"tim", b"-p"),
        (b"auth", b"smtp://127.0.0.1:99999", b"--user", b"\xff", b"-p"),
        (b"plugins", b"--appname", b"\x01"),
    ],
)
def test_any_bytes_on_the_command_line_are_a_clear_error(
    sasl: Sasl, arguments: tuple[bytes, ...]
) -> None:
    """Half characters, control characters and floods: an error in our words, nothing raw."""
    done = sasl.run(*arguments, stdin=PASSWORD.encode())
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("sasl: ")
    assert "unexpected" not in done.stderr
    assert "\x1b" not in done.stderr
    assert "\x01" not in done.stderr
    assert len(done.stderr) < 5000
