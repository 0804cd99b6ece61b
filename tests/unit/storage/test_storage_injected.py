"""Faults of a store by a file that the environment names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrcore.errors import DiskFullError, NotFoundError, UnavailableError
from mrcore.storage import registry
from mrcore.storage.base import Storage
from mrcore.storage.faulty import FaultyStorage
from mrcore.storage.injected import FaultRates, count_hits, wrapped, write_rates
from mrcore.storage.local.store import LocalStorage
from tests.support.fake_clock import FakeClock


def write(store: Storage, path: Path, content: bytes = b"x") -> None:
    with store.open_write(f"file://{path}") as writer:
        writer.write(content)
        writer.commit()


def outcome(store: Storage, path: Path) -> str:
    """Try to write a new object; return what came of it."""
    try:
        write(store, path)
    except UnavailableError:
        return "after" if path.exists() else "before"
    return "well"


def test_nothing_fails_without_a_file(tmp_path: Path) -> None:
    store = wrapped(LocalStorage(), str(tmp_path / "faults"))
    write(store, tmp_path / "x")
    assert store.read(f"file://{tmp_path}/x") == b"x"
    assert not count_hits(tmp_path / "faults")


def test_operations_fail_before_and_after_their_effect(tmp_path: Path) -> None:
    faults = tmp_path / "faults"
    store = wrapped(LocalStorage(), str(faults))
    write_rates(faults, FaultRates(errors=1.0))
    found = [outcome(store, tmp_path / f"o{number}") for number in range(60)]
    assert set(found) == {"before", "after"}
    assert count_hits(faults) == {kind: found.count(kind) for kind in ("before", "after")}
    write_rates(faults, FaultRates(errors=0.0))
    assert outcome(store, tmp_path / "last") == "well"
    write_rates(faults, FaultRates(errors=0.5))
    assert "well" in {outcome(store, tmp_path / f"p{number}") for number in range(60)}


def test_a_process_that_is_cut_off_reaches_nothing(tmp_path: Path) -> None:
    faults = tmp_path / "faults"
    store = wrapped(LocalStorage(), str(faults))
    write_rates(faults, FaultRates(cut_off=(os.getpid() + 1,)))
    assert outcome(store, tmp_path / "a") == "well"
    write_rates(faults, FaultRates(cut_off=(os.getpid() + 1, os.getpid())))
    assert {outcome(store, tmp_path / f"b{number}") for number in range(20)} == {"before"}
    assert not count_hits(faults)
    write_rates(faults, FaultRates())
    assert outcome(store, tmp_path / "c") == "well"


def test_a_file_that_is_removed_or_broken(tmp_path: Path) -> None:
    faults = tmp_path / "faults"
    store = wrapped(LocalStorage(), str(faults))
    write_rates(faults, FaultRates(errors=1.0))
    assert outcome(store, tmp_path / "a") != "well"
    faults.write_text("{")
    assert outcome(store, tmp_path / "b") != "well"  # as it was
    faults.unlink()
    assert outcome(store, tmp_path / "c") == "well"


def test_a_full_disk_refuses_writes_alone(tmp_path: Path) -> None:
    faults = tmp_path / "faults"
    store = wrapped(LocalStorage(), str(faults))
    write(store, tmp_path / "x")
    write_rates(faults, FaultRates(full=True))
    with pytest.raises(DiskFullError, match="was made to meet a full disk"):
        write(store, tmp_path / "y")
    assert not (tmp_path / "y").exists()
    assert store.read(f"file://{tmp_path}/x") == b"x"
    assert store.delete(f"file://{tmp_path}/x")
    assert count_hits(faults) == {"full": 1}


def test_slow_operations(tmp_path: Path) -> None:
    faults, clock = tmp_path / "faults", FakeClock()
    began = clock.monotonic()
    store = wrapped(LocalStorage(), str(faults), clock)
    write_rates(faults, FaultRates(slow=1.0, slow_seconds=2.0))
    for _ in range(20):
        with pytest.raises(NotFoundError):
            store.stat(f"file://{tmp_path}/none")
    assert 5.0 < clock.monotonic() - began <= 40.0
    assert count_hits(faults) == {"slow": 20}


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = tmp_path / "faults"
    write_rates(faults, FaultRates(errors=1.0))
    monkeypatch.setenv(registry.FAULTS_VARIABLE, str(faults))
    registry.register("injected", LocalStorage)
    try:
        store = registry.storage_for("injected://x")
        assert isinstance(store, FaultyStorage)
        assert outcome(store, tmp_path / "x") != "well"
        monkeypatch.delenv(registry.FAULTS_VARIABLE)
        registry.register("injected", LocalStorage)
        assert isinstance(registry.storage_for("injected://x"), LocalStorage)
    finally:
        registry._factories.pop("injected")
        registry._stores.pop("injected", None)
