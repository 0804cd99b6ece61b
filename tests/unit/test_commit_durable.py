"""The names of parts are durable before the receipt tells of them; one sync serves them all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests import stores
from tests.unit.commit_world import CommittedJob, make_spec

PARTS = 40


def test_all_parts_are_synced_at_once_before_the_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = stores.file_place(tmp_path)
    job = CommittedJob(place, "job", PARTS, make_spec(place)).begin()
    job.prepared = job.prepare()
    output = place.uri("out").removeprefix("file://")
    done: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(fd: int) -> None:
        real_fsync(fd)
        if os.path.samestat(os.fstat(fd), Path(output).stat()):
            done.append("sync")

    def link(source: str, name: str, **options: Any) -> None:
        real_link(source, name, **options)
        done.append(Path(name).name.partition("-")[0])

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    job.publish()
    assert done == ["part"] * PARTS + ["sync", "_SUCCESS", "sync"]
