"""The one place that starts gcloud: patience, deadlines, the log, and commands to paste."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from mrcore.gce.console import quoted
from mrcore.gce.crew import Crew
from mrcore.gce.failures import GcloudError, Kind, StepsFailedError
from mrcore.gce.gcloud import PATIENCE_SECONDS, Gcloud, Plan
from tests.support.fake_clock import FakeClock
from tests.support.runner_site import RunnerSite

ACCOUNT = "ERROR: (gcloud.x) INVALID_ARGUMENT: Service account mrcore-worker@p does not exist."


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunnerSite:
    made = RunnerSite(tmp_path)
    made.says("", 0)
    monkeypatch.setenv("PATH", made.environment()["PATH"])
    return made


def test_a_new_account_that_is_not_known_everywhere_is_waited_for(
    house: RunnerSite, capfd: pytest.CaptureFixture[str]
) -> None:
    house.says(ACCOUNT, to="^one ", times=3)
    house.says(ACCOUNT, to="^two ", times=1)
    gcloud = Gcloud("p", clock=FakeClock())
    Crew().together(
        lambda: gcloud.patiently(lambda: gcloud.change("Binding", "one")),
        lambda: gcloud.patiently(lambda: gcloud.change("Binding", "two")),
    )
    assert sorted(call.split()[0] for call in house.calls()) == ["one"] * 4 + ["two"] * 2
    (said,) = capfd.readouterr().err.splitlines()
    assert "the new accounts are not known everywhere yet; trying again" in said


def test_an_account_that_never_comes_is_an_error(house: RunnerSite) -> None:
    house.says(ACCOUNT)
    clock = FakeClock(0.0)
    gcloud = Gcloud("p", clock=clock)
    with pytest.raises(GcloudError, match="Binding failed: the service account does not exist, or"):
        gcloud.patiently(lambda: gcloud.change("Binding", "projects", "add"))
    assert 5 < len(house.calls()) < 40
    assert PATIENCE_SECONDS / 2 < clock.now <= PATIENCE_SECONDS


def test_what_has_another_cause_is_not_tried_again(house: RunnerSite) -> None:
    house.says("ERROR: (gcloud.x) something new")
    gcloud = Gcloud("p", clock=FakeClock())
    with pytest.raises(GcloudError, match="something new"):
        gcloud.patiently(lambda: gcloud.change("Binding", "x"))
    assert len(house.calls()) == 1


def test_what_is_there_already_and_what_is_gone_is_fine(house: RunnerSite) -> None:
    house.says("ERROR: The resource 'x' already exists", to="^make ")
    house.says("ERROR: The resource 'x' was not found", to="^delete ")
    gcloud = Gcloud("p")
    gcloud.make("Making x", "make", "x")
    gcloud.delete("Deleting x", "delete", "x")
    with pytest.raises(GcloudError) as raised:
        gcloud.make("Making x", "delete", "x")
    assert raised.value.kind is Kind.NOT_FOUND


def test_a_call_that_never_ends_is_ended(
    house: RunnerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = house.folder / "bin/gcloud"
    stuck.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    gcloud = Gcloud("p")
    gcloud.log = house.folder / "gcloud.log"
    with pytest.raises(GcloudError, match=r"Google Cloud cannot be reached .*timed out after 0 s"):
        gcloud.call("Looking", "x", deadline=0.3)
    assert "killed after" in gcloud.log.read_text()


def test_output_that_is_no_json_is_an_error(house: RunnerSite) -> None:
    house.says("", 0, out="oops")
    with pytest.raises(GcloudError, match="Looking failed: gcloud printed no JSON"):
        Gcloud("p").read("Looking", "x")


def test_each_failed_step_is_reported_and_all_are_waited_for(
    house: RunnerSite, capfd: pytest.CaptureFixture[str]
) -> None:
    house.says("ERROR: (gcloud.x) one is wrong", to="^one ")
    house.says("ERROR: (gcloud.x) two is wrong", to="^two ")
    gcloud = Gcloud("p")
    with pytest.raises(StepsFailedError):
        Crew().together(
            *(lambda word=word: gcloud.change(word, word) for word in ("one", "two", "three"))
        )
    said = capfd.readouterr().err
    assert said.count("one is wrong") == said.count("two is wrong") == 1
    assert len(house.calls()) == 3


def test_a_plan_has_each_read_once_and_runs_nothing(
    house: RunnerSite, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = Plan()
    gcloud = Gcloud("p", plan=plan)
    for _ in range(2):
        assert gcloud.read("Looking", "x", "list") is None
        gcloud.change("Making", "x", "create")
    plan.summarize(["Two things."])
    plan.show()
    assert capfd.readouterr().out.splitlines() == [
        *("# Two things.", "#", "# The commands, in their order:"),
        "# reads: gcloud x list --project=p",
        *(2 * ["gcloud x create --quiet --project=p"]),
    ]
    assert house.calls() == []


@pytest.mark.parametrize(
    "word", ["plain", "", "two words", "it's", 'a "b"', "$HOME `x`", "line\nline\t'x'\\y", "^@@^a"]
)
def test_a_command_can_be_pasted(word: str) -> None:
    command = quoted(["printf", "%s", word])
    assert "\n" not in command
    printed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert printed.stdout == word
    if "\n" not in word:
        assert shlex.split(command)[2] == word
