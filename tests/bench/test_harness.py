"""The harness measures, says so in three forms, and tells a login that went wrong."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench import measure, people, report, scram
from bench.__main__ import TOPICS
from bench.measure import Effort, Spread
from bench.plot import as_svg
from bench.rows import Goal, Row, amount

Bench = Callable[..., subprocess.CompletedProcess[str]]

# What the issue asks for, by topic: how many goals there are.
GOALS = {
    "scram": 3,
    "login": 2,
    "simple": 2,
    "tokens": 4,
    "oidc": 1,
    "stores": 1,
    "startup": 3,
    "memory": 2,
    "heartbeat": 1,
    "provider": 1,
    "timing": 3,
}
PEERS = {"SCRAM server beside scramp's", "whole login, keys kept by the client"}


@pytest.mark.slow
@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_runs(bench: Bench, topic: str, tmp_path: Path) -> None:
    """With next to no rounds each topic yields its rows, as a table, as JSON and drawn."""
    told, drawn = tmp_path / "out.json", tmp_path / "out.svg"
    done = bench("--only", topic, "--scale", "0.001", "--json", str(told), "--plot", str(drawn))
    found: dict[str, Any] = json.loads(told.read_text("utf-8"))
    assert found["scale"] == 0.001
    assert found["machine"]["python"].startswith("CPython 3.")
    rows: list[dict[str, Any]] = found["rows"]
    assert {row["topic"] for row in rows} == {topic}
    judged = [row for row in rows if row["goal"] is not None]
    assert len(judged) == GOALS[topic]
    for row in judged:
        assert row["what"] in done.stdout
        if row["what"] not in PEERS:
            assert row["figure"] is not None, row
            assert row["ours"] is not None, row
            assert row["met"] is Goal(**row["goal"]).met(row["figure"])
    assert f"of {GOALS[topic]} goals met" in done.stdout
    tree = ET.fromstring(drawn.read_text("utf-8"))  # noqa: S314 - drawn by us, just now
    texts = [each.text for each in tree.iter()]
    for row in judged:
        assert (row["what"] in texts) == (row["figure_unit"] != "yes/no")


def test_json_may_take_the_place_of_the_table(bench: Bench) -> None:
    """`--json` without a file writes JSON and nothing else to standard output."""
    done = bench("--only", "scram", "--scale", "0.001", "--json")
    assert len(json.loads(done.stdout)["rows"]) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--plot", "goals.png"), "ends in .svg"),
        (("--only", "sacrm"), "sacrm"),
        (("--scale", "0"), "above 0"),
        (("--profile", "nothing"), "nothing"),
    ],
)
def test_a_wrong_option_is_refused(bench: Bench, options: tuple[str, ...], said: str) -> None:
    """What cannot be done is said before anything is measured."""
    assert said in bench(*options, status=2).stderr


@pytest.mark.parametrize(("subject", "seen"), [("plain", "plain.py"), ("import", "sasl_core")])
def test_a_profile_names_what_costs(bench: Bench, subject: str, seen: str) -> None:
    """A summary of an operation names functions, one of an import names modules."""
    assert seen in bench("--profile", subject).stdout


def test_a_missing_peer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scramp its row is there all the same, and says what to install."""
    monkeypatch.setattr(scram, "peer", lambda name: None)
    rows = list(scram.rows(Effort(0.001)))
    beside = rows[-1]
    assert beside.met is None
    assert "not installed" in beside.note
    text = report.table(rows)
    assert "not measured" in text
    assert "missed: SCRAM server beside scramp's" in text
    assert "not measured" in as_svg(rows)


def test_a_login_that_goes_wrong_is_no_figure() -> None:
    """A contender whose server accepts nobody, or somebody else, ends the run."""
    right, wrong = people.crowd(["tim"]), people.crowd(["tim"], salt=bytes(16))
    with scram.server_of(wrong) as server, pytest.raises(Exception, match="failed"):
        scram.our_server(server, right)(1)


def test_contenders_are_measured_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs once to warm up and once a round, and none always goes first."""
    monkeypatch.setattr(measure, "_preemptions", lambda: 0)
    monkeypatch.setattr(measure, "ORDER", random.Random(1))
    ran: list[str] = []

    def contender(name: str) -> measure.Operation:
        def run(times: int) -> float:
            ran.append(name)
            return float(times)

        return run

    times = measure.interleave({name: contender(name) for name in "ab"}, 20, 7)
    assert times == {"a": [7.0] * 20, "b": [7.0] * 20}
    assert len(ran) == 42
    assert {tuple(ran[place : place + 2]) for place in range(2, 42, 2)} == {("a", "b"), ("b", "a")}


def test_a_disturbed_round_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure taken while the processor was away is dropped, and at last accepted."""
    away = iter([0, 1, 1, 2, 2, 2])
    monkeypatch.setattr(measure, "_preemptions", lambda: next(away))
    took = iter([3.0, 2.0, 1.0])
    assert measure.undisturbed(lambda _: next(took), 1) == 1.0
    monkeypatch.setattr(measure, "_preemptions", iter(range(100)).__next__)
    took = iter(float(number) for number in range(1, 100))
    assert measure.undisturbed(lambda _: next(took), 1) == measure.PATIENCE


def test_the_figures_are_medians() -> None:
    """One slow round moves neither a median nor a ratio; trimming takes both ends."""
    assert measure.middle([1.0, 1.0, 1.0, 1.0, 99.0]) == Spread(1.0, 1.0, 1.0)
    assert measure.ratio([2.0, 20.0, 2.0], [1.0, 10.0, 50.0]).middle == 2.0
    assert measure.trimmed_mean([0.0] * 1 + [5.0] * 18 + [1000.0]) == 5.0


def test_goals_have_a_direction() -> None:
    """At most and at least, and how much of each is used up."""
    most, least = Goal(2.0, "x"), Goal(4.0, "x", at_least=True)
    assert most.met(2.0)
    assert not most.met(2.01)
    assert least.met(4.0)
    assert not least.met(3.99)
    assert (most.share(1.0), least.share(8.0)) == (0.5, 0.5)
    assert most.share(-1.0) <= 0
    assert str(Goal(25e-6, "us")) == "<= 25 us"
    assert str(Goal(0.95, "%", at_least=True)) == ">= 95 %"


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (12.34e-6, "us", "12.3 us"),
        (0.0005e-3, "us", "0.50 us"),
        (1234.5, "B", "1234 B"),
        (2.0561, "x", "2.06x"),
        (0.953, "%", "95.3 %"),
        (1.0, "yes/no", "yes"),
        (None, "us", ""),
    ],
)
def test_numbers_have_three_digits(value: float | None, unit: str, words: str) -> None:
    """A figure is written with its unit, and with no more digits than it is worth."""
    assert amount(value, unit) == words


def test_a_row_without_a_goal_is_judged_neither_way() -> None:
    """It is in the table, and not counted."""
    row = Row(topic="x", what="a row", unit="us", ours=1e-6, figure=1e-6, figure_unit="us")
    assert row.met is None
    assert "0 of 0 goals met" in report.table([row])
