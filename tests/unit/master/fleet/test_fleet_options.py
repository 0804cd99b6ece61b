"""The options of a fleet: on the command line, in the environment, and wrong."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pytest

from mrcore.errors import UsageError
from mrcore.master.fleet.core.model import Bounds
from mrcore.master.fleet.options import FleetOptions, add_options, fleet_options
from mrcore.master.main import main

STATE = "gs://bucket/mrcore/books/state"
FLEET = ("--fleet", "gce:my-project/zones/us-central1-a", "--cluster", "books")


def options(arguments: Sequence[str], environment: dict[str, str] | None = None) -> FleetOptions:
    parser = argparse.ArgumentParser()
    add_options(parser)
    found = fleet_options(parser.parse_args(arguments), STATE, environment or {})
    assert found is not None
    return found


def test_without_a_target_there_is_no_fleet() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert fleet_options(parser.parse_args([]), STATE, {"MRCORE_FLEET": ""}) is None


def test_every_bound_can_be_given() -> None:
    found = options(
        (
            *FLEET,
            *("--max-workers", "20", "--min-workers", "2", "--deadline", "1h30m"),
            *("--max-cost", "2.50", "--idle-timeout", "10m", "--spot-attempts", "5"),
            *("--prices", "own.json"),
        )
    )
    assert str(found.target) == "gce:my-project/zones/us-central1-a"
    assert found.target.master == "mrcore-books-master"
    assert found.prices == "own.json"
    assert found.bounds == Bounds(
        max_workers=20,
        min_workers=2,
        deadline_seconds=5400.0,
        max_cost=2.5,
        idle_timeout_seconds=600.0,
        spot_attempts=5,
        logs_uri="gs://bucket/mrcore/books/logs",
    )


def test_the_environment_stands_in_for_options_and_empty_is_none() -> None:
    environment = {
        "MRCORE_FLEET": "gce:my-project/regions/us-central1",
        "MRCORE_CLUSTER": "books",
        "MRCORE_MAX_WORKERS": "7",
        "MRCORE_DEADLINE": "",
        "MRCORE_MAX_COST": "",
        "MRCORE_IDLE_TIMEOUT": "0",
    }
    found = options(("--max-workers", "3"), environment)
    assert found.target.regional
    assert found.bounds.max_workers == 3
    assert found.bounds.deadline_seconds is None
    assert found.bounds.max_cost is None
    assert found.bounds.idle_timeout_seconds is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (FLEET, "needs --max-workers"),
        ((*FLEET, "--max-workers", "-1"), "--max-workers -1: write a number"),
        ((*FLEET, "--max-workers", "20000"), "write a number from 0 to 10,000"),
        ((*FLEET, "--max-workers", "2", "--deadline", "soon"), "--deadline soon: "),
        ((*FLEET, "--max-workers", "2", "--max-cost", "much"), "--max-cost much: write"),
        ((*FLEET, "--max-workers", "2", "--max-cost", "0"), "write an amount of dollars"),
        ((*FLEET[:2], "--max-workers", "2"), "--cluster '' is not a cluster name"),
    ],
)
def test_what_is_wrong_is_told_with_the_option(arguments: Sequence[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        options(arguments)


def test_the_daemon_refuses_a_fleet_that_it_cannot_read(
    capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    assert main(["--state", f"{tmp_path}", "--fleet", "aws:eu", "--max-workers", "1"]) == 2
    assert "--fleet aws:eu is not understood" in capsys.readouterr().err
