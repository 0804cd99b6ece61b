"""The names of parts are durable before the receipt lists them; one sync serves them all."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mrcore.output import commit
from mrcore.storage.local.files import TEMP_PREFIX
from tests.support import stores
from tests.support.commit_world import CommittedJob, Crash, make_spec, new_job, old_job
from tests.support.power import Disk
from tests.support.stores import Place

PARTS = 40


def test_all_parts_are_synced_at_once_before_the_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = stores.file_place(tmp_path)
    job = CommittedJob(place, "job", PARTS, make_spec(place)).begin()
    job.plan = job.prepare()
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
    begun = ["_commit", "sync"]
    assert done == begun + ["part"] * PARTS + ["sync", "_SUCCESS", "sync"]


MANY = 60
"""More operations than any commit here has."""


@pytest.fixture(params=["links", "no-links"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "no-links":
        stores.without_links(monkeypatch)
    stores.without_fsync(monkeypatch)
    return tmp_path


def interrupted(folder: Path, overwrite: bool) -> Iterator[tuple[Place, CommittedJob, Disk]]:
    """Yield a job whose committer has died, before one operation on the disk after the other."""
    for number in range(MANY):
        shutil.rmtree(folder)
        place = stores.file_place(folder)
        disk = Disk(folder / "kept")
        with stores.registered(place):
            if overwrite:
                old_job(place)
            job = new_job(place)
            job.plan = job.prepare()
            try:
                with disk.watched(number):
                    job.publish()
            except Crash:
                yield place, job, disk
            else:
                assert number > 8
                return
    raise AssertionError("a commit has fewer operations")


def check_new_output(place: Place, job: CommittedJob, disk: Disk) -> None:
    """Check that all parts are there with a content that is durable, if the receipt is."""
    held = place.get("out/_SUCCESS")
    if held != job.receipt().encode():
        return
    assert not [p for p in commit.verify(place.uri("out")).problems if "does not name" not in p]
    for path in Path(place.uri("out").removeprefix("file://")).glob("part-0000[01]"):
        assert path.stat().st_ino in disk.synced_files


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_receipt_that_outlives_a_power_cut_tells_of_parts_that_do(
    folder: Path, overwrite: bool
) -> None:
    draw = random.Random(7)
    for share in (0.3, 0.5, 0.8, 1.0):
        for place, job, disk in interrupted(folder, overwrite):
            disk.cut([draw.random() < share for _ in disk.unsynced])
            check_new_output(place, job, disk)
            job.run()
            found = {n: place.get(n) for n in place.names() if f"/{TEMP_PREFIX}" not in n}
            assert found == job.expected()


@pytest.mark.parametrize("overwrite", [False, True])
def test_who_goes_on_makes_durable_what_a_dead_committer_has_only_named(
    folder: Path, overwrite: bool
) -> None:
    for place, job, disk in interrupted(folder, overwrite):
        with disk.watched():
            job.publish()
        disk.cut([True for _ in disk.unsynced])
        check_new_output(place, job, disk)
        expected = job.expected()
        assert {name: place.get(name) for name in expected} == expected


def test_folders_of_partitions_are_made_durable_by_one_sync(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part may be renamed into its folder, so the folder's name has to last before that."""
    shutil.rmtree(folder)
    place = stores.file_place(folder)
    spec = make_spec(place, partition_by=("x",))
    job = CommittedJob(place, "new", 8, spec).begin()
    job.plan = job.prepare()
    output = Path(place.uri("out").removeprefix("file://"))
    before = output.stat().st_ino
    disk = Disk(folder / "kept")
    synced: list[int] = []
    real = Disk._synced

    def watched(disk: Disk, fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        real(disk, fd)

    monkeypatch.setattr(Disk, "_synced", watched)
    with disk.watched():
        job.publish()
    disk.cut([True for _ in disk.unsynced])
    assert commit.verify(place.uri("out")).ok
    assert {name: place.get(name) for name in job.files()} == job.files()
    # The list of names, the folders, the parts of none, the receipt, and the end of the list.
    assert synced.count(before) <= 5
    assert len(list(output.glob("x=*"))) == 9


def test_a_power_cut_among_partitions_loses_no_part(folder: Path) -> None:
    draw = random.Random(7)
    for number in range(MANY):
        shutil.rmtree(folder)
        place = stores.file_place(folder)
        disk = Disk(folder / "kept")
        job = CommittedJob(place, "new", 2, make_spec(place, partition_by=("x",))).begin()
        job.plan = job.prepare()
        try:
            with disk.watched(number):
                job.publish()
        except Crash:
            disk.cut([draw.random() < 0.6 for _ in disk.unsynced])
        else:
            assert number > 12
            return
        if place.get("out/_SUCCESS") is None:
            with disk.watched():
                job.publish()
            disk.cut([True for _ in disk.unsynced])
        assert {name: place.get(name) for name in job.files()} == job.files()
    raise AssertionError("a commit has fewer operations")


def test_each_folder_above_a_partition_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = stores.file_place(tmp_path).storage
    synced: list[str] = []
    names = Path("/proc/self/fd")
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str((names / str(fd)).readlink())))
    uris = [f"file://{tmp_path}/out/a={a}/b={b}" for a in (1, 2) for b in (1, 2)]
    storage.make_folders(uris, below=f"file://{tmp_path}/out")
    out = tmp_path / "out"
    assert synced == [str(out), str(out / "a=1"), str(out / "a=2")]
    assert len(list(out.glob("a=*/b=*"))) == 4
