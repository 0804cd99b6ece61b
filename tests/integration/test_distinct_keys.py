"""Keys that hardly ever repeat: a small run of what `scripts/bench distinct` does at full size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.cases.memory import distinct
from bench.site import QUICK, Bench


def test_each_of_many_different_keys_is_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(QUICK, keys=100_000))
    (tmp_path / "out").mkdir()
    (row,) = distinct(bench)  # raises if a key is missing, wrong or out of place
    assert row.name == "100,000 distinct keys"
    assert row.value > 0
