"""Workers that pretend: the master of `scripts/bench master-cpu` gives out and takes each task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.cases import masters
from bench.site import QUICK, Bench


def test_each_task_is_reported(tmp_path: Path) -> None:
    sizes = replace(QUICK, fleet_workers=3, fleet_tasks=30)
    (row,) = masters.cost(Bench(tmp_path, sizes))
    assert row.detail == "3 workers, 30 tasks"
    assert row.value > 0
    assert not (tmp_path / "fleet-state").exists()
