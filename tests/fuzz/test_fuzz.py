"""Hostile bytes: a few hundred inputs for each reader, and those that once did harm."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.__main__ import FaultFound, fuzz
from tests.fuzz.targets import TARGETS, Target

INPUTS = 200
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.bin"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log nothing: damaged snapshots are in each run."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", TARGETS)
def test_readers_answer_hostile_bytes(name: str) -> None:
    fuzz(name, INPUTS, seed=0)


@pytest.mark.parametrize("name", TARGETS)
def test_readers_read_what_was_not_changed(name: str) -> None:
    for data in TARGETS[name].corpus():
        TARGETS[name].read(data)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: str(path.name))
def test_inputs_that_did_harm_once_are_refused(path: Path) -> None:
    target = next(t for name, t in TARGETS.items() if path.name.startswith(f"{name}-"))
    with contextlib.suppress(*target.errors):
        target.read(path.read_bytes())


def test_a_crash_is_a_fault_and_its_input_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fragile(data: bytes) -> None:
        assert len(data) < 3

    monkeypatch.setitem(TARGETS, "fragile", Target(fragile, lambda: [b"abcdef"]))
    kept = tmp_path / "kept"
    with pytest.raises(FaultFound, match="AssertionError"):
        fuzz("fragile", 10, seed=0, kept=kept)
    assert len(kept.read_bytes()) >= 3
    monkeypatch.setitem(TARGETS, "fragile", Target(fragile, lambda: [b""], (AssertionError,)))
    fuzz("fragile", 10, seed=0, kept=kept)
    assert not kept.exists()
