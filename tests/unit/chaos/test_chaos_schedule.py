"""Settings of a rehearsal, and the strikes that are drawn from them."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from mrcore.chaos.core.settings import (
    Settings,
    parse_share,
    victims,
    with_default_mix,
)
from mrcore.chaos.core.strikes import DONE, LEADER, STANDBY, Kind, Strike, make_schedule

ALL = Settings(
    workers=10,
    masters=3,
    kill_workers=0.3,
    kill_master=2,
    pause=True,
    storage_faults=0.01,
    memory_kills=True,
)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("30%", 0.3),
        (" 30 % ", 0.3),
        ("0.3", 0.3),
        ("1", 1.0),
        ("100%", 1.0),
        ("0", 0.0),
        ("1%", 0.01),
    ],
)
def test_a_share(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["130%", "-1", "-1%", "", "%", "nan", "nan%", "30", "many", "inf"])
def test_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="share"):
        parse_share(text)


@pytest.mark.parametrize(
    ("share", "workers", "count"),
    [(0.0, 10, 0), (0.11, 4, 1), (0.3, 10, 3), (1.0, 4, 4), (0.001, 1, 1), (0.5, 3, 2)],
)
def test_the_number_of_victims(share: float, workers: int, count: int) -> None:
    assert victims(share, workers) == count


def test_a_rehearsal_without_disasters_gets_the_default_mix() -> None:
    quiet = Settings(workers=5, masters=2, lease_seconds=7.0)
    assert quiet.is_quiet
    mix = with_default_mix(quiet)
    assert not mix.is_quiet
    assert (mix.workers, mix.masters, mix.lease_seconds) == (5, 2, 7.0)
    assert {strike.kind for strike in _many(mix)} == {
        Kind.KILL_WORKER,
        Kind.KILL_MASTER,
        Kind.PAUSE_WORKER,
        Kind.PAUSE_MASTER,
        Kind.MEMORY_KILL,
    }


@pytest.mark.parametrize(
    "settings",
    [
        Settings(workers=1, kill_workers=0.1),
        Settings(workers=1, kill_master=1),
        Settings(workers=1, storage_faults=0.1),
        Settings(workers=1, pause=True),
    ],
)
def test_one_disaster_is_not_quiet(settings: Settings) -> None:
    assert not settings.is_quiet


def test_a_seed_repeats_its_schedule() -> None:
    assert make_schedule(ALL, Random("7/1")) == make_schedule(ALL, Random("7/1"))
    assert make_schedule(ALL, Random("7/1")) != make_schedule(ALL, Random("7/2"))


def test_each_run_has_what_was_asked_for() -> None:
    for number in range(50):
        schedule = make_schedule(ALL, Random(number))
        counts = Counter(strike.kind for strike in schedule)
        assert counts[Kind.KILL_WORKER] == 3
        assert counts[Kind.KILL_MASTER] == 2
        assert counts[Kind.PAUSE_WORKER] == 1
        assert counts[Kind.MEMORY_KILL] == 5
        killed = [strike.target for strike in schedule if strike.kind is Kind.KILL_WORKER]
        assert len(set(killed)) == 3
        assert [strike.at for strike in schedule] == sorted(strike.at for strike in schedule)


def test_strikes_reach_the_commit_and_both_sides_of_a_lease() -> None:
    strikes = _many(ALL)
    assert {strike.at == DONE for strike in strikes} == {True, False}
    assert all(0.0 <= strike.at <= DONE for strike in strikes)
    paused = [strike.seconds for strike in strikes if strike.kind is Kind.PAUSE_WORKER]
    assert min(paused) < ALL.lease_seconds < max(paused)
    dead = [strike.seconds for strike in strikes if strike.kind is Kind.KILL_WORKER]
    assert min(dead) == 0.0 < ALL.lease_seconds < max(dead)


def test_a_partition_cuts_off_workers_and_masters() -> None:
    one = _many(Settings(workers=6, masters=1, partition=True))
    assert {strike.target for strike in one if strike.kind is Kind.PARTITION} == {0, 1, 2}
    masters = [strike for strike in one if strike.kind is Kind.PARTITION_MASTER]
    assert len(masters) == 100
    # Without its state a leader is replaced, and with it none is.
    assert {(strike.target, strike.with_store) for strike in masters} == {
        (LEADER, False),
        (LEADER, True),
    }
    three = _many(Settings(workers=6, masters=3, partition=True))
    standbys = [strike for strike in three if strike.target == STANDBY]
    assert len(standbys) == 100
    assert all(strike.with_store for strike in standbys)  # it would miss nothing else


def test_targets_exist() -> None:
    for strike in _many(ALL):
        if strike.kind in (Kind.KILL_MASTER, Kind.PAUSE_MASTER):
            assert strike.target == LEADER
        else:
            assert 0 <= strike.target < ALL.workers


def _many(settings: Settings) -> list[Strike]:
    return [strike for seed in range(100) for strike in make_schedule(settings, Random(seed))]
